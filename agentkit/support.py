"""What providers and models support: data only.

A model that is not in the table is not judged: nothing is refused for it, so that a future model is never blocked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Literal

__all__ = [
    "ANTHROPIC",
    "COMETAPI",
    "EMULATOR",
    "GENERIC",
    "LOCAL",
    "MODELS",
    "PROVIDERS",
    "SERVER_TOOLS",
    "Model",
    "Provider",
    "ServerToolVersions",
    "model_of",
    "provider_of",
    "told",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """How an endpoint wants to be spoken to.

    Attributes:
        name: What `Client(provider=…)` calls it.
        base_url: Where it is; None where only the user knows. `/v1/messages` is added to it.
        key_headers: The headers of an API key: `x-api-key`, and `authorization` for `Bearer`.
        version: The `anthropic-version` header.
        server_tools: `all`: every version; `portable`: only the first version of each is to be counted on;
            `none`: it runs none.
        automatic_cache: Whether it takes `cache_control` at the top level, and an hour as its `ttl`.
        cache_marks: How many `cache_control` a request may have; gateways put some of their own in.
        runs_at_end_turn: Whether calls of a reply that stops with `end_turn` run: some servers say no `tool_use`.
    """

    name: str
    base_url: str | None
    key_headers: tuple[str, ...] = ("x-api-key",)
    version: str = "2023-06-01"
    server_tools: Literal["all", "portable", "none"] = "portable"
    automatic_cache: bool = False
    cache_marks: int = 2
    runs_at_end_turn: bool = False


_EITHER = ("x-api-key", "authorization")  # who knows which one an unknown endpoint reads

# Source: messages-api.md sections 2, 17, 22 and 23; gateways know 2023-06-01 only.
ANTHROPIC = Provider(
    name="anthropic",
    base_url="https://api.anthropic.com",
    server_tools="all",
    automatic_cache=True,
    cache_marks=4,
)
COMETAPI = Provider(name="cometapi", base_url="https://api.cometapi.com", cache_marks=3)
GENERIC = Provider(name="generic", base_url=None, key_headers=_EITHER)
# Ollama, LM Studio, llama.cpp, vLLM
LOCAL = Provider(
    name="local",
    base_url=None,
    key_headers=_EITHER,
    server_tools="none",
    cache_marks=0,
    runs_at_end_turn=True,
)
EMULATOR = Provider(name="emulator", base_url=None, automatic_cache=True, cache_marks=4)
PROVIDERS = {provider.name: provider for provider in (ANTHROPIC, COMETAPI, GENERIC, LOCAL, EMULATOR)}


def provider_of(base_url: str) -> Provider:
    """The provider at an address."""
    for provider in PROVIDERS.values():
        if provider.base_url and f"{base_url}/".startswith(f"{provider.base_url}/"):
            return provider
    return GENERIC


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What a family of models takes.

    Attributes:
        context_window: Tokens of input and output together.
        max_tokens: The most output tokens of one reply.
        thinking: Types of `thinking` that are accepted.
        thinking_default: Without the parameter: `off`; `on`, but it can be turned off or down; `always` on.
        efforts: Levels of `output_config.effort`, lowest first; empty where the parameter is refused.
        default_effort: The level without the parameter.
        unthinking_efforts: Levels that go with thinking `disabled` or `between_tools`; None: all.
        forced: Whether `tool_choice` may be `any` or `tool`.
        sampling: Whether `temperature`, `top_p` and `top_k` may differ from their defaults.
        prefill: Whether the last message may be the beginning of the answer.
        system_role: Whether messages may have the role `system`.
        programmatic: Whether code that it runs may call tools; None: not known.
    """

    context_window: int
    max_tokens: int
    thinking: frozenset[str]
    thinking_default: Literal["off", "on", "always"]
    efforts: tuple[str, ...] = ()
    default_effort: str | None = None
    unthinking_efforts: tuple[str, ...] | None = None
    forced: bool = True
    sampling: bool = False
    prefill: bool = False
    system_role: bool = True
    programmatic: bool | None = None


_ENABLED = frozenset({"enabled", "disabled"})
_ADAPTIVE = frozenset({"adaptive", "disabled"})
_ALWAYS = frozenset({"adaptive"})
_THREE = ("low", "medium", "high")
_FOUR = (*_THREE, "max")
_FIVE = (*_THREE, "xhigh", "max")

_4_5 = Model(
    context_window=200_000,
    max_tokens=64_000,
    thinking=_ENABLED,
    thinking_default="off",
    sampling=True,
    prefill=True,
    system_role=False,
    programmatic=True,
)
_4_6 = replace(
    _4_5,
    context_window=1_000_000,
    max_tokens=128_000,
    thinking=_ENABLED | _ADAPTIVE,
    efforts=_FOUR,
    default_effort="high",
    prefill=False,
)
_4_7 = replace(_4_6, thinking=_ADAPTIVE, efforts=_FIVE, sampling=False)
_4_8 = replace(_4_7, system_role=True)
_5 = replace(_4_8, thinking_default="on")
_FABLE_5 = replace(_5, thinking=_ALWAYS, thinking_default="always")
_NEWEST = replace(_FABLE_5, forced=False)

# By the id without a date. Source: messages-api.md sections 3 and 4, which leave Haiku 5.5's `forced` and `system_role`
# open; `programmatic` as the documentation of programmatic tool calling listed models on 2026-09-08: None came later.
MODELS: Mapping[str, Model] = {
    "claude-haiku-4-5": replace(_4_5, programmatic=False),
    "claude-sonnet-4-5": _4_5,
    "claude-opus-4-5": replace(_4_5, efforts=_THREE, default_effort="high"),
    "claude-sonnet-4-6": _4_6,
    "claude-opus-4-6": _4_6,
    "claude-opus-4-7": _4_7,
    "claude-opus-4-8": _4_8,
    "claude-sonnet-5": replace(_5, system_role=False),
    "claude-opus-5": replace(_5, unthinking_efforts=_THREE),
    "claude-fable-5": _FABLE_5,
    "claude-mythos-5": _FABLE_5,
    "claude-mythos-preview": replace(_NEWEST, programmatic=None),
    "claude-haiku-5-5": replace(_5, default_effort="medium", programmatic=None),
    "claude-sonnet-5-5": replace(
        _NEWEST,
        thinking=frozenset({"adaptive", "between_tools"}),
        thinking_default="on",
        unthinking_efforts=_THREE,
        programmatic=None,
    ),
    "claude-opus-5-5": replace(_NEWEST, default_effort="medium", programmatic=None),
    "claude-fable-5-1": _NEWEST,
    "claude-mythos-5-1": _NEWEST,
    "claude-fable-5-2": replace(_NEWEST, programmatic=None),
    "claude-mythos-5-2": replace(_NEWEST, programmatic=None),
}
_DATE = re.compile(r"[-@]\d{8}$")


_told: ContextVar[tuple[str, Model] | None] = ContextVar("told", default=None)


@contextmanager
def told(name: str, model: Model | None) -> Iterator[None]:
    """Inside, `model_of(name)` is `model`: what an endpoint has said beats the table. None says nothing."""
    token = _told.set((_DATE.sub("", name), model) if model else None)
    try:
        yield
    finally:
        _told.reset(token)


def model_of(name: str) -> Model | None:
    """What a model takes, by its id with or without a date; None where that is not known."""
    undated = _DATE.sub("", name)
    said = _told.get()
    return said[1] if said and said[0] == undated else MODELS.get(undated)


@dataclass(frozen=True, slots=True)
class ServerToolVersions:
    """The versions of a server tool that has several.

    Attributes:
        dates: Of the versions, oldest first.
        programmatic: The first version that, without `allowed_callers`, is called from code alone; None: there is none.
        since: The first version that takes an option, for options that not all versions take.
    """

    dates: tuple[str, ...]
    programmatic: str | None = None
    since: Mapping[str, str] = field(default_factory=dict)


# Source: messages-api.md sections 10.1 to 10.3.
SERVER_TOOLS: Mapping[str, ServerToolVersions] = {
    "web_search": ServerToolVersions(
        ("20250305", "20260209", "20260318"), "20260209", {"response_inclusion": "20260318"}
    ),
    "web_fetch": ServerToolVersions(
        ("20250910", "20260209", "20260309", "20260318"),
        "20260209",
        {"use_cache": "20260309", "response_inclusion": "20260318", "url_sources": "20260318"},
    ),
    "code_execution": ServerToolVersions(("20250522", "20250825", "20260120", "20260521")),
}
