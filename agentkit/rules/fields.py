"""What the API refuses about a request: the fields one by one, then what its headers leave out, then all together.

`check_request` looks in the order in which the API does: every field's own shape, then unknown keys, then what the
fields are together (`body` and the modules that it names), then the history (`history`). Where a shape is wrong,
nothing after the shapes is looked at, as with the API. An emulator needs these rules; a runtime must not apply them to
what it sends, or a future field could never be used.

Source: messages-api.md sections 3, 5, 7.4, 9, 12, 14, 18; recordings/api-errors.md; order and types as live probes of
2026-08-31 found and published them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agentkit.rules.blocks import CACHE_CONTROL, message, system
from agentkit.rules.body import check_body
from agentkit.rules.definitions import definition
from agentkit.rules.headers import check_betas, check_gates
from agentkit.rules.shapes import (
    EXTRA,
    Kinds,
    Look,
    Record,
    anything,
    array,
    at_least,
    boolean,
    fraction,
    integer,
    mapping,
    one_of,
    say,
    string,
    text,
)
from agentkit.rules.texts import Problem

__all__ = ["check_request"]

_MESSAGES = 100_000
_SKILLS = 20
_FALLBACKS = 3
_GREATER = "Input should be greater than or equal to {}"


def check_request(
    body: Mapping[str, Any], *, version: str | None = None, betas: Collection[str] | None = None
) -> list[Problem]:
    """Every problem of a request body, the one that the API would answer with first.

    Args:
        body: The JSON of a `POST /v1/messages`.
        version: The `anthropic-version` header; None: not known, so nothing is refused for it.
        betas: The names in the `anthropic-beta` header; None: not known, so nothing is refused for lack of one, and
            nothing that one of them may allow.
    """
    found = [*check_betas(betas), *_shapes(body)]
    return found or list(check_gates(body, version, betas)) or check_body(body, betas)


def _shapes(body: Mapping[str, Any]) -> Iterator[Problem]:
    for field in _FIELDS:
        if field.name not in body:
            if field.required:
                yield say("field_required", field.name, "Field required")
        elif body[field.name] is not None or not field.nullable:
            yield from field.look(field.name, body[field.name])
    for key in body:
        if key not in _KNOWN:
            yield say("field_unknown", str(key), EXTRA)


def _geo(path: str, value: Any) -> Iterator[Problem]:
    if value not in ("global", "us"):
        yield say("field_value", path, "must be one of ['global', 'us']")


def _metadata(path: str, value: Any) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield say("field_type", path, "Input should be a valid dictionary")
    else:
        yield from Record(may={"user_id": string})(path, value)


def _stops(path: str, value: Any) -> Iterator[Problem]:
    yield from array(string)(path, value)
    if isinstance(value, list) and any(isinstance(each, str) and not each.strip() for each in value):
        yield say("stop_sequence_blank", path, "each stop sequence must contain non-whitespace")


def _container(path: str, value: Any) -> Iterator[Problem]:
    if isinstance(value, dict):
        yield from _CONTAINER(f"{path}.ContainerParams", value)
    else:
        yield from string(path, value)


def _fallbacks(path: str, value: Any) -> Iterator[Problem]:
    look = one_of("default") if isinstance(value, str) else array(_FALLBACK, most=_FALLBACKS)
    yield from look(path, value)


def _edit_inputs(path: str, value: Any) -> Iterator[Problem]:
    if not isinstance(value, bool):
        yield from array(string)(path, value)


def _kept(path: str, value: Any) -> Iterator[Problem]:
    if value != "all":
        yield from _amount("thinking_turns")(path, value)


def _amount(*kinds: str, least: int = 0) -> Record:
    return Record({"type": one_of(*kinds), "value": at_least(least, _GREATER)})


_TOOL_CHOICE = Kinds(
    {
        "auto": Record(may={"disable_parallel_tool_use": boolean}),
        "any": Record(may={"disable_parallel_tool_use": boolean}),
        "tool": Record({"name": string}, {"disable_parallel_tool_use": boolean}),
        "none": Record(),
    },
    closed=True,
)
_BINDING = Record(may={"prefix_mismatch_behavior": one_of("error", "drop_block")})
_SHOWN: dict[str, Look] = {"display": one_of("summarized", "omitted", "updates"), "block_binding": _BINDING}
_THINKING = Kinds(
    {
        "adaptive": Record(may=_SHOWN),
        "between_tools": Record(may=_SHOWN),
        "disabled": Record(),
        "enabled": Record({"budget_tokens": at_least(1024, _GREATER, rule="thinking_budget")}, _SHOWN),
    },
    closed=True,
)
_FORMAT = Record({"schema": mapping}, {"type": one_of("json_schema")})
_BUDGET = Record({"type": one_of("tokens"), "total": at_least(20_000, _GREATER)}, {"remaining": integer})
_OUTPUT_CONFIG = Record(
    may={
        "effort": one_of("low", "medium", "high", "xhigh", "max"),
        "format": _FORMAT,
        "task_budget": _BUDGET,
    }
)
_SKILL = Record({"type": one_of("anthropic", "custom"), "skill_id": string}, {"version": string})
_CONTAINER = Record(may={"id": string, "skills": array(_SKILL, most=_SKILLS)})
_SERVER = Record(
    {"type": string, "name": text(1), "url": text(1)},
    {"authorization_token": string, "tool_configuration": mapping},
    closed=False,
)
_FALLBACK = Record(
    {"model": text(1)},
    {"max_tokens": integer, "thinking": _THINKING, "output_config": _OUTPUT_CONFIG, "speed": string},
)
_COMPACT = Record(
    may={
        "trigger": _amount("input_tokens", least=50_000),
        "pause_after_compaction": boolean,
        "instructions": string,
    }
)
_EDITS = Kinds(
    {
        "clear_thinking_20251015": Record(may={"keep": _kept}),
        "clear_tool_uses_20250919": Record(
            may={
                "trigger": _amount("input_tokens", "tool_uses"),
                "keep": _amount("tool_uses"),
                "clear_at_least": _amount("input_tokens"),
                "exclude_tools": array(string),
                "clear_tool_inputs": _edit_inputs,
            }
        ),
        "compact_20260112": _COMPACT,
    }
)
_THREAD = Kinds({"create": Record(), "continue": Record({"previous_message_id": string})}, closed=True)


@dataclass(frozen=True, slots=True)
class _Field:
    """A top-level field; `nullable` says that null counts as absent (a wrong type elsewhere)."""

    name: str
    look: Look
    required: bool = False
    nullable: bool = False


# In the order in which the API reports them. Those of betas come last: their order is not known.
_FIELDS = (
    _Field("model", text(1), required=True),
    _Field("tool_choice", _TOOL_CHOICE),
    _Field("tools", array(definition)),
    _Field("messages", array(message, most=_MESSAGES), required=True),
    _Field("system", system),
    _Field("thinking", _THINKING),
    _Field("output_config", _OUTPUT_CONFIG),
    _Field("output_format", _FORMAT, nullable=True),
    _Field("cache_control", CACHE_CONTROL, nullable=True),
    _Field("max_tokens", at_least(0), required=True),
    _Field("metadata", _metadata, nullable=True),
    _Field("stop_sequences", _stops, nullable=True),
    _Field("temperature", fraction),
    _Field("service_tier", one_of("auto", "standard_only")),
    _Field("top_k", integer),
    _Field("top_p", fraction),
    _Field("stream", boolean),
    _Field("container", _container, nullable=True),
    _Field("inference_geo", _geo, nullable=True),
    _Field("diagnostics", Record(may={"previous_message_id": string}, closed=False), nullable=True),
    _Field("speed", one_of("standard", "fast"), nullable=True),
    _Field("context_management", Record(may={"edits": array(_EDITS)}), nullable=True),
    _Field("compaction", Record({"type": one_of("summarize")}, {"instructions": string}), nullable=True),
    _Field("mcp_servers", array(_SERVER), nullable=True),
    _Field("fallbacks", _fallbacks, nullable=True),
    _Field("fallback_credit_token", anything, nullable=True),
    _Field("thread", _THREAD, nullable=True),
    _Field("billing_policy", mapping, nullable=True),
)
_KNOWN = {field.name for field in _FIELDS}
