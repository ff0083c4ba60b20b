"""What models and providers support: the table against messages-api.md, and ids."""

from __future__ import annotations

import pytest

from agentkit.support import ANTHROPIC, COMETAPI, GENERIC, LOCAL, MODELS, SERVER_TOOLS, Model, model_of

# messages-api.md section 4, a line for each row: thinking, default, forced tool_choice, sampling, prefill.
FAMILIES = [
    (("haiku-4-5", "sonnet-4-5", "opus-4-5"), {"enabled", "disabled"}, "off", True, True, True),
    (("opus-4-6", "sonnet-4-6"), {"adaptive", "enabled", "disabled"}, "off", True, True, False),
    (("opus-4-7", "opus-4-8"), {"adaptive", "disabled"}, "off", True, False, False),
    (("sonnet-5", "opus-5"), {"adaptive", "disabled"}, "on", True, False, False),
    (("fable-5", "mythos-5"), {"adaptive"}, "always", True, False, False),
    (("mythos-preview",), {"adaptive"}, "always", False, False, False),
    (("opus-5-5", "fable-5-1", "mythos-5-1", "fable-5-2", "mythos-5-2"), {"adaptive"}, "always", False, False, False),
    (("sonnet-5-5",), {"adaptive", "between_tools"}, "on", False, False, False),
    (("haiku-5-5",), {"adaptive", "disabled"}, "on", True, False, False),
]
THREE = ("low", "medium", "high")


def known(name: str) -> Model:
    model = model_of(f"claude-{name}")
    assert model is not None
    return model


def test_the_table_has_every_model_of_the_families() -> None:
    assert {f"claude-{name}" for names, *_ in FAMILIES for name in names} == set(MODELS)


@pytest.mark.parametrize(("names", "thinking", "default", "forced", "sampling", "prefill"), FAMILIES)
def test_switches(
    names: tuple[str, ...], thinking: set[str], default: str, forced: bool, sampling: bool, prefill: bool
) -> None:
    for name in names:
        model = known(name)
        assert model.thinking == thinking
        assert model.thinking_default == default
        assert (model.forced, model.sampling, model.prefill) == (forced, sampling, prefill)


def test_sizes() -> None:
    for name, model in MODELS.items():
        older = name.endswith("-4-5")
        assert (model.context_window, model.max_tokens) == ((200_000, 64_000) if older else (1_000_000, 128_000))


def test_effort() -> None:
    levels = {name.removeprefix("claude-"): model.efforts for name, model in MODELS.items()}
    assert levels.pop("haiku-4-5") == levels.pop("sonnet-4-5") == ()
    assert levels.pop("opus-4-5") == THREE
    assert levels.pop("opus-4-6") == levels.pop("sonnet-4-6") == (*THREE, "max")
    assert set(levels.values()) == {(*THREE, "xhigh", "max")}
    for name, model in MODELS.items():
        medium = name in ("claude-opus-5-5", "claude-haiku-5-5")
        assert model.default_effort == (("medium" if medium else "high") if model.efforts else None)
        limited = name in ("claude-opus-5", "claude-sonnet-5-5")
        assert model.unthinking_efforts == (THREE if limited else None)


def test_system_messages() -> None:
    without = {"haiku-4-5", "sonnet-4-5", "opus-4-5", "sonnet-4-6", "opus-4-6", "opus-4-7", "sonnet-5"}
    assert {name.removeprefix("claude-") for name, model in MODELS.items() if not model.system_role} == without


def test_calls_from_code() -> None:
    assert [name for name, model in MODELS.items() if model.programmatic is False] == ["claude-haiku-4-5"]
    open_ = {"mythos-preview", "haiku-5-5", "sonnet-5-5", "opus-5-5", "fable-5-2", "mythos-5-2"}
    assert {name.removeprefix("claude-") for name, model in MODELS.items() if model.programmatic is None} == open_


@pytest.mark.parametrize("name", ["claude-opus-4-5", "claude-opus-4-5-20251101", "claude-opus-4-5@20251101"])
def test_a_date_makes_no_other_model(name: str) -> None:
    assert model_of(name) is MODELS["claude-opus-4-5"]


@pytest.mark.parametrize(
    "name",
    ["claude-opus-5-6", "claude-opus-9", "claude-opus", "anthropic/claude-opus-5", "claude-sonnet-4-5-thinking", ""],
)
def test_other_models_are_not_judged(name: str) -> None:
    assert model_of(name) is None


def test_server_tools() -> None:
    assert [provider.server_tools for provider in (ANTHROPIC, COMETAPI, GENERIC, LOCAL)] == [
        "all",
        "portable",
        "portable",
        "none",
    ]
    for versions in SERVER_TOOLS.values():
        assert list(versions.dates) == sorted(versions.dates)
        assert versions.programmatic is None or versions.programmatic in versions.dates[1:]
        assert set(versions.since.values()) <= set(versions.dates[1:])
    # What CometAPI documents. Source: messages-api.md section 22.
    assert [f"{name}_{versions.dates[0]}" for name, versions in SERVER_TOOLS.items()] == [
        "web_search_20250305",
        "web_fetch_20250910",
        "code_execution_20250522",
    ]
