"""The shapes of content blocks, messages and the system prompt: required keys, types, media types, unknown keys.

Blocks of a type that is not here may have any keys, and so may those whose keys are not all known.

Source: messages-api.md sections 3, 5 and 17; api-errors.md B (noted.md#8, claude-code#4378, claude-code#20635,
OmniRoute#2191, copilot-api#145).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agentkit.rules.shapes import (
    EXTRA,
    Kinds,
    Look,
    Record,
    anything,
    array,
    boolean,
    mapping,
    nullable,
    one_of,
    required,
    say,
    string,
    text,
)
from agentkit.rules.texts import TEXTS, Problem

__all__ = ["CACHE_CONTROL", "message", "system"]

_ROLES = ("user", "assistant", "system")
_MESSAGE_KEYS = {"role", "content", "clear_at", "output_config"}

# `scope` is of a beta that the header check knows.
CACHE_CONTROL = Kinds({"ephemeral": Record(may={"ttl": one_of("5m", "1h"), "scope": anything})}, closed=True)
_MARK: dict[str, Look] = {"cache_control": CACHE_CONTROL}
_CITES: dict[str, Look] = {"citations": Record(may={"enabled": boolean})}


def _string_or(look: Look) -> Look:
    return lambda path, value: iter(()) if isinstance(value, str) else look(path, value)


_URL = Record({"url": string})
_FILE = Record({"file_id": string})
_IMAGE = Kinds(
    {
        "base64": Record({"media_type": one_of("image/jpeg", "image/png", "image/gif", "image/webp"), "data": string}),
        "url": _URL,
        "file": _FILE,
    }
)
_DOCUMENT = Kinds(
    {
        "base64": Record({"media_type": one_of("application/pdf"), "data": string}),
        "text": Record({"media_type": one_of("text/plain"), "data": string}),
        "content": Record({"content": _string_or(array(mapping))}),
        "url": _URL,
        "file": _FILE,
    }
)
_TEXT = Record({"text": string}, {"citations": array(mapping), **_MARK})
_PARTS: dict[str, Record] = {
    "text": _TEXT,
    "image": Record({"source": _IMAGE}, {"transformations": mapping, **_MARK}),
    "document": Record({"source": _DOCUMENT}, {"title": string, "context": string, **_CITES, **_MARK}),
    "search_result": Record(
        {"source": string, "title": string, "content": array(Kinds({"text": _TEXT}))}, {**_CITES, **_MARK}
    ),
    "tool_reference": Record({"tool_name": text(most=64, rule="tool_reference_name")}, _MARK),
}
_USE: dict[str, Look] = {"id": string, "name": string, "input": anything}
_RESULT = Record({"tool_use_id": string, "content": anything}, {"caller": mapping, **_MARK})
_SERVER_RESULTS = (
    "web_search_tool_result",
    "web_fetch_tool_result",
    "code_execution_tool_result",
    "bash_code_execution_tool_result",
    "text_editor_code_execution_tool_result",
    "tool_search_tool_result",
    "advisor_tool_result",
)
_BLOCK = Kinds(
    {
        **_PARTS,
        "tool_use": Record(_USE, {"caller": mapping, "toolset_name": string, **_MARK}),
        "tool_result": Record(
            {"tool_use_id": string},
            {"content": _string_or(array(Kinds(_PARTS))), "is_error": boolean, "toolset_name": string, **_MARK},
        ),
        "thinking": Record({"thinking": string, "signature": string}),
        "redacted_thinking": Record({"data": string}),
        "server_tool_use": Record(_USE, {"caller": mapping, **_MARK}),
        **dict.fromkeys(_SERVER_RESULTS, _RESULT),
        "mcp_tool_use": Record({**_USE, "server_name": string}, _MARK),
        "mcp_tool_result": Record(
            {"tool_use_id": string}, {"content": _string_or(array(mapping)), "is_error": boolean, **_MARK}
        ),
        "container_upload": Record({"file_id": string}, _MARK),
        "compaction": Record({"content": nullable(text(least=1))}, _MARK, closed=False),
    }
)
_SYSTEM_BLOCK = Record({"type": one_of("text"), "text": string}, {"citations": array(mapping), **_MARK})


def system(path: str, value: Any) -> Iterator[Problem]:
    """The system prompt: a string, or text blocks."""
    if isinstance(value, str):
        return
    for problem in array(_SYSTEM_BLOCK)(path, value):
        # Not an object: the words are those of the API, which differ here.
        is_block = problem.rule == "field_type" and problem.path.count(".") == 1
        yield say("field_type", problem.path, "Input does not match the expected shape.") if is_block else problem


def message(path: str, value: Any) -> Iterator[Problem]:
    """One of the messages. Source: api-errors.md A (dd-trace-py); probe."""
    if not isinstance(value, dict):
        yield say("field_type", path, "Input does not match the expected shape.")
        return
    yield from required(path, value, "role", "content")
    yield from _role(path, value)
    content = value.get("content", "")
    yield from _string_or(array(_BLOCK))(f"{path}.content", content)
    for key in value:
        if key not in _MESSAGE_KEYS:
            yield say("field_unknown", f"{path}.{key}", EXTRA)
    yield from nullable(one_of("next_user_message", "never"))(f"{path}.clear_at", value.get("clear_at"))


def _role(path: str, value: Mapping[str, Any]) -> Iterator[Problem]:
    role = value.get("role", "user")
    if role not in _ROLES:
        yield Problem("role_unknown", path, TEXTS["role_unknown"].format(role=role))
