"""Fields of the body by name, and the betas that they bring along."""

from __future__ import annotations

from typing import Any

import pytest

from agentkit import Agent, Client
from agentkit.errors import ConfigurationError
from agentkit.parameters import Parameters, betas_of, parameters_of

NOWHERE = Client(base_url="http://127.0.0.1:9")

SERVERS = [{"type": "url", "url": "https://a.test", "name": "a"}]
TOOLS: dict[str, list[Any]] = {  # what a parameter does not go without
    "tool_choice": [{"name": "a", "input_schema": {"type": "object"}}],
    "mcp_servers": [{"type": "mcp_toolset", "mcp_server_name": "a"}],
}
WIRE: dict[str, tuple[Any, dict[str, Any]]] = {
    "thinking": ({"type": "adaptive"}, {"thinking": {"type": "adaptive"}}),
    "effort": ("low", {"output_config": {"effort": "low"}}),
    "task_budget": (30_000, {"output_config": {"task_budget": {"type": "tokens", "total": 30_000}}}),
    "tool_choice": ({"type": "auto"}, {"tool_choice": {"type": "auto"}}),
    "stop_sequences": (("END",), {"stop_sequences": ["END"]}),
    "cache_control": ({"type": "ephemeral"}, {"cache_control": {"type": "ephemeral"}}),
    "metadata": ({"user_id": "u"}, {"metadata": {"user_id": "u"}}),
    "service_tier": ("auto", {"service_tier": "auto"}),
    "speed": ("fast", {"speed": "fast"}),
    "inference_geo": ("us", {"inference_geo": "us"}),
    "container": ("container_1", {"container": "container_1"}),
    "context_management": ({"edits": []}, {"context_management": {"edits": []}}),
    "mcp_servers": (SERVERS, {"mcp_servers": SERVERS}),
    "fallbacks": ("default", {"fallbacks": "default"}),
    "fallback_credit_token": ("t", {"fallback_credit_token": "t"}),
    "thread": ({"type": "create"}, {"thread": {"type": "create"}}),
    "diagnostics": ({"previous_message_id": None}, {"diagnostics": {"previous_message_id": None}}),
    "temperature": (0.5, {"temperature": 0.5}),
    "top_p": (0.9, {"top_p": 0.9}),
    "top_k": (5, {"top_k": 5}),
}


def test_each_parameter_is_tried() -> None:
    assert WIRE.keys() == Parameters.__annotations__.keys()


@pytest.mark.parametrize("name", WIRE)
def test_a_parameter_is_the_field_of_its_name(name: str) -> None:
    value, wire = WIRE[name]
    given: Any = {name: value}
    model = "claude-sonnet-4-5" if name in ("temperature", "top_p", "top_k") else "claude-opus-4-6"
    body = Agent(model, tools=TOOLS.get(name, []), client=NOWHERE, **given).preview("Hi").body
    assert {key: body.get(key) for key in wire} == wire


@pytest.mark.parametrize("name", ["output_format", "billing_policy", "a_field_to_come"])
def test_a_field_without_a_name_goes_in_extra_body(name: str) -> None:
    body = Agent("claude-opus-4-6", client=NOWHERE, extra_body={name: {"type": "x"}}).preview("Hi").body
    assert body[name] == {"type": "x"}


def test_extra_body_beats_names_and_none_is_left_out() -> None:
    given: Parameters = {"effort": "low", "speed": None, "metadata": {"user_id": "a"}}
    extra = {"output_config": {"effort": "high", "new": 1}, "metadata": {"user_id": "b"}, "field": None}
    assert parameters_of(given, extra, {"type": "json_schema"}) == {
        "metadata": {"user_id": "b"},
        "output_config": {"effort": "high", "format": {"type": "json_schema"}, "new": 1},
    }


def test_a_name_that_is_no_parameter_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no parameter 'efort'; a new field of the API goes in extra_body"):
        Agent("claude-opus-4-6", client=NOWHERE, efort="low")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("params", "named", "betas"),
    [
        ({}, [], ()),
        ({"metadata": {}}, ["a-1"], ("a-1",)),
        ({"fallbacks": "default"}, [], ("server-side-fallback-2026-07-01",)),
        ({"fallbacks": []}, ["server-side-fallback-2026-06-01"], ("server-side-fallback-2026-06-01",)),
        ({"fallbacks": None}, [], ()),
        (
            {"context_management": {"edits": [{"type": "compact_20260112"}]}},
            ["x-1"],
            ("x-1", "context-management-2025-06-27", "compact-2026-01-12"),
        ),
        ({"compaction": {"type": "summarize"}}, [], ("compact-2026-09-04",)),
        ({"thread": {"type": "create"}}, [], ("message-threads-2026-08-12",)),
        ({"diagnostics": {"previous_message_id": None}}, [], ("cache-diagnosis-2026-04-07",)),
        ({"mcp_servers": []}, ["mcp-client-2026-09-15"], ("mcp-client-2026-09-15",)),
        ({"fallback_credit_token": "t"}, [], ("fallback-credit-2026-07-01",)),
        ({"speed": "fast"}, [], ("fast-mode-2026-02-01",)),
        ({"speed": "standard"}, [], ()),
        ({"output_config": {"task_budget": {"total": 1}}}, [], ("task-budgets-2026-03-13",)),
        ({"thinking": {"type": "adaptive", "display": "updates"}}, [], ("thinking-display-updates-2026-08-18",)),
        ({"thinking": {"block_binding": {"a": 1}}}, [], ("thinking-binding-controls-2026-08-01",)),
    ],
)
def test_a_field_brings_its_beta(params: dict[str, Any], named: list[str], betas: tuple[str, ...]) -> None:
    assert betas_of(params, named) == betas
