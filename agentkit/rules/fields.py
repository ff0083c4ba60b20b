"""What the API refuses about the fields of a request: JSON types, ranges, unknown keys.

`check_request` looks in the order in which the API does: every field's own shape, then unknown keys, then what the
fields are together (`body`), then the history (`history`). Where a shape is wrong, nothing after the shapes is
looked at, as with the API. An emulator needs these rules; a runtime must not apply them to what it sends, or a future
field could never be used.

Source: messages-api.md sections 3, 5, 9, 14; recordings/api-errors.md; order and types as live probes of 2026-08-31
found and published them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from agentkit.rules.body import check_body
from agentkit.rules.history import check_history
from agentkit.rules.texts import TEXTS, Problem

__all__ = ["check_request"]

Look: TypeAlias = Callable[[str, Any], Iterator[Problem]]
"""Looks at the value at a path."""

_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]*")
_ROLES = ("user", "assistant", "system")
_MESSAGE_KEYS = {"role", "content", "clear_at", "output_config"}
_TOOL_CHOICES = ("auto", "any", "tool", "none")
_THINKING = ("adaptive", "between_tools", "disabled", "enabled")
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_LEAST_BUDGET = 1024

# Keys that a block must have, and whether they are strings. Source: messages-api.md section 5; api-errors.md part B.
_BLOCKS: dict[str, dict[str, bool]] = {
    "text": {"text": True},
    "image": {"source": False},
    "document": {"source": False},
    "tool_use": {"id": True, "name": True, "input": False},
    "server_tool_use": {"id": True, "name": True, "input": False},
    "tool_result": {"tool_use_id": True},
    "thinking": {"thinking": True, "signature": True},
    "redacted_thinking": {"data": True},
}


def check_request(body: Mapping[str, Any]) -> list[Problem]:
    """Every problem of a request body, the one that the API would answer with first.

    Args:
        body: The JSON of a `POST /v1/messages`. Beta fields count as known: the header is not seen here.
    """
    found = list(_shapes(body))
    return found or [*check_body(body), *check_history(body["messages"], container=bool(body.get("container")))]


def _shapes(body: Mapping[str, Any]) -> Iterator[Problem]:
    for field in _FIELDS:
        if field.name not in body:
            if field.required:
                yield _say("field_required", field.name, "Field required")
        elif body[field.name] is not None or not field.nullable:
            yield from field.look(field.name, body[field.name])
    for key in body:
        if key not in _KNOWN:
            yield _say("field_unknown", str(key), "Extra inputs are not permitted")


def _say(rule: str, path: str, text: str) -> Problem:
    return Problem(rule, path, f"{path}: {text}")


def _required(path: str, value: Mapping[str, Any], *keys: str) -> Iterator[Problem]:
    for key in keys:
        if key not in value:
            yield _say("field_required", f"{path}.{key}", "Field required")


def _string(path: str, value: Any, *, least: int = 0) -> Iterator[Problem]:
    if not isinstance(value, str):
        yield _say("field_type", path, "Input should be a valid string")
    elif len(value) < least:
        yield _say("field_value", path, f"String should have at least {least} character")


def _integer(path: str, value: Any, *, least: int | None = None) -> Iterator[Problem]:
    if not isinstance(value, int) or isinstance(value, bool):
        yield _say("field_type", path, "Input should be a valid integer")
    elif least is not None and value < least:
        yield _say("field_range", path, f"must be greater than or equal to {least}")


def _fraction(path: str, value: Any) -> Iterator[Problem]:
    if not isinstance(value, int | float) or isinstance(value, bool):
        yield _say("field_type", path, "Input should be a valid number")
    elif not 0 <= value <= 1:
        yield _say("field_range", path, "range: 0..1")


def _boolean(path: str, value: Any) -> Iterator[Problem]:
    if not isinstance(value, bool):
        yield _say("field_type", path, "Input should be a valid boolean")


def _one_of(path: str, value: Any, *, values: tuple[str, ...]) -> Iterator[Problem]:
    if value not in values:
        *most, last = (f"'{each}'" for each in values)
        yield _say("field_value", path, f"Input should be {', '.join(most)} or {last}")


def _geo(path: str, value: Any) -> Iterator[Problem]:
    if value not in ("global", "us"):
        yield _say("field_value", path, "must be one of ['global', 'us']")


def _object(path: str, value: Any) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield _say("field_type", path, "Input should be an object")


def _array(path: str, value: Any, *, item: Look) -> Iterator[Problem]:
    if not isinstance(value, list):
        yield _say("field_type", path, "Input should be a valid array")
        return
    for at, each in enumerate(value):
        yield from item(f"{path}.{at}", each)


def _tagged(path: str, value: Any, *, tags: tuple[str, ...]) -> Iterator[Problem]:
    """An object whose `type` says what else it has."""
    if not isinstance(value, dict):
        yield from _object(path, value)
    elif "type" not in value:
        yield from _required(path, value, "type")
    elif value["type"] not in tags:
        expected = ", ".join(f"'{tag}'" for tag in tags)
        text = f"Input tag '{value['type']}' found using 'type' does not match any of the expected tags: {expected}"
        yield _say("field_value", path, text)


def _tool_choice(path: str, value: Any) -> Iterator[Problem]:
    yield from _tagged(path, value, tags=_TOOL_CHOICES)
    if isinstance(value, dict) and value.get("type") == "tool":
        yield from _required(f"{path}.tool", value, "name")
        yield from _string(f"{path}.tool.name", value.get("name", ""))


def _thinking(path: str, value: Any) -> Iterator[Problem]:
    yield from _tagged(path, value, tags=_THINKING)
    if isinstance(value, dict) and value.get("type") == "enabled":
        budget = value.get("budget_tokens", _LEAST_BUDGET)
        yield from _required(f"{path}.enabled", value, "budget_tokens")
        yield from _integer(f"{path}.enabled.budget_tokens", budget)
        if isinstance(budget, int) and budget < _LEAST_BUDGET:
            text = f"Input should be greater than or equal to {_LEAST_BUDGET}"
            yield _say("thinking_budget", f"{path}.enabled.budget_tokens", text)


def _output_config(path: str, value: Any) -> Iterator[Problem]:
    yield from _object(path, value)
    if isinstance(value, dict) and value.get("effort") is not None:
        yield from _one_of(f"{path}.effort", value["effort"], values=_EFFORTS)
    if isinstance(value, dict) and value.get("format") is not None:
        yield from _format(f"{path}.format", value["format"])


def _format(path: str, value: Any) -> Iterator[Problem]:
    yield from _object(path, value)
    if isinstance(value, dict):
        yield from _required(path, value, "schema")
        yield from _object(f"{path}.schema", value.get("schema", {}))


def _metadata(path: str, value: Any) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield _say("field_type", path, "Input should be a valid dictionary")
        return
    if value.get("user_id") is not None:
        yield from _string(f"{path}.user_id", value["user_id"])
    for key in value:
        if key != "user_id":
            yield _say("field_unknown", f"{path}.{key}", "Extra inputs are not permitted")


def _stops(path: str, value: Any) -> Iterator[Problem]:
    yield from _array(path, value, item=_string)
    if isinstance(value, list) and any(isinstance(each, str) and not each.strip() for each in value):
        yield _say("stop_sequence_blank", path, "each stop sequence must contain non-whitespace")


def _container(path: str, value: Any) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield from _string(path, value)


def _tool(path: str, value: Any) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield _say("field_type", path, "Input does not match the expected shape.")
    elif value.get("type") in (None, "custom"):
        yield from _client_tool(f"{path}.custom", value)


def _client_tool(path: str, tool: dict[str, Any]) -> Iterator[Problem]:
    yield from _required(path, tool, "name", "input_schema")
    name = tool.get("name", "-")
    yield from _string(f"{path}.name", name)
    if isinstance(name, str) and (not name or not _TOOL_NAME.fullmatch(name)):
        yield _say("tool_name", f"{path}.name", "String should match pattern '^[a-zA-Z0-9_-]{1,128}$'")
    elif isinstance(name, str) and len(name) > 128:
        yield _say("tool_name", f"{path}.name", "String should have at most 128 characters")
    if "input_schema" in tool:
        yield from _input_schema(f"{path}.input_schema", tool["input_schema"])


def _input_schema(path: str, schema: Any) -> Iterator[Problem]:
    if not isinstance(schema, dict):
        yield _say("input_schema", path, "Input does not match the expected shape.")
    elif "type" not in schema:
        yield _say("input_schema", f"{path}.type", "Field required")
    elif schema["type"] != "object":
        yield _say("input_schema", f"{path}.type", "Input should be 'object'")
    elif not schema.keys().isdisjoint(("oneOf", "allOf", "anyOf")):
        yield _say("input_schema", path, "input_schema does not support oneOf, allOf, or anyOf at the top level")


def _system(path: str, value: Any) -> Iterator[Problem]:
    if not isinstance(value, str):
        yield from _array(path, value, item=_system_block)


def _system_block(path: str, block: Any) -> Iterator[Problem]:
    if not isinstance(block, dict):
        yield _say("field_type", path, "Input does not match the expected shape.")
    else:
        yield from _required(path, block, "type", "text")
        yield from _string(f"{path}.text", block.get("text", ""))


def _message(path: str, message: Any) -> Iterator[Problem]:
    if not isinstance(message, dict):
        yield _say("field_type", path, "Input does not match the expected shape.")
        return
    yield from _required(path, message, "role", "content")
    role, content = message.get("role", "user"), message.get("content", "")
    if role not in _ROLES:
        yield Problem("role_unknown", path, TEXTS["role_unknown"].format(role=role))
    if not isinstance(content, str):
        yield from _array(f"{path}.content", content, item=_block)
    for key in message:
        if key not in _MESSAGE_KEYS:
            yield _say("field_unknown", f"{path}.{key}", "Extra inputs are not permitted")


def _block(path: str, block: Any) -> Iterator[Problem]:
    if not isinstance(block, dict):
        yield from _object(path, block)
        return
    yield from _required(path, block, "type")
    kind = block.get("type", "")
    yield from _string(f"{path}.type", kind)
    for key, is_string in _BLOCKS.get(kind, {}).items() if isinstance(kind, str) else ():
        yield from _required(f"{path}.{kind}", block, key)
        if is_string:
            yield from _string(f"{path}.{kind}.{key}", block.get(key, ""))


@dataclass(frozen=True, slots=True)
class _Field:
    """A top-level field; `nullable` says that null counts as absent (a wrong type elsewhere)."""

    name: str
    look: Look
    required: bool = False
    nullable: bool = False


# In the order in which the API reports them.
_FIELDS = (
    _Field("model", partial(_string, least=1), required=True),
    _Field("tool_choice", _tool_choice),
    _Field("tools", partial(_array, item=_tool)),
    _Field("messages", partial(_array, item=_message), required=True),
    _Field("system", _system),
    _Field("thinking", _thinking),
    _Field("output_config", _output_config),
    _Field("output_format", _format, nullable=True),
    _Field("cache_control", _object, nullable=True),
    _Field("max_tokens", partial(_integer, least=0), required=True),
    _Field("metadata", _metadata, nullable=True),
    _Field("stop_sequences", _stops, nullable=True),
    _Field("temperature", _fraction),
    _Field("service_tier", partial(_one_of, values=("auto", "standard_only"))),
    _Field("top_k", _integer),
    _Field("top_p", _fraction),
    _Field("stream", _boolean),
    _Field("container", _container, nullable=True),
    _Field("inference_geo", _geo, nullable=True),
)
_BETA = {
    "betas", "billing_policy", "compaction", "context_management", "diagnostics", "fallback_credit_token", "fallbacks",
    "mcp_servers", "speed", "thread",
}  # fmt: skip
_KNOWN = {field.name for field in _FIELDS} | _BETA
