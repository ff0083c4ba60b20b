"""The shapes of tool definitions: ours, server tools of known versions, and client tools that the API defines.

A tool of a type that is not here may have any keys.

Source: messages-api.md sections 9 to 12; api-errors.md A (rig) and B (home-assistant#147760, claude-code#96152,
claude-code#86664, Codewhale#4329). The words on domains and on examples are ours: none are known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from agentkit.json_schema import misfits
from agentkit.rules.blocks import CACHE_CONTROL
from agentkit.rules.schemas import is_schema
from agentkit.rules.shapes import (
    Kinds,
    Look,
    Record,
    anything,
    array,
    at_least,
    boolean,
    integer,
    mapping,
    one_of,
    say,
    string,
    text,
)
from agentkit.rules.texts import Problem
from agentkit.support import SERVER_TOOLS

__all__ = ["definition"]

_NAME = re.compile(r"[a-zA-Z0-9_-]*")
_NAME_LENGTH = 128
_SCHEMA = (
    "JSON schema is invalid. It must match JSON Schema draft 2020-12 (https://json-schema.org/draft/2020-12). Learn "
    "more about tool use at https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview."
)
# A host has labels, perhaps a port, and a path; `*` may be in the path alone.
_DOMAIN = re.compile(r"(?!https?$)[^\s:/*]+(:\d+)?(/\S*)?", re.IGNORECASE)


def definition(path: str, tool: Any) -> Iterator[Problem]:
    """One of the tools of a request."""
    if not isinstance(tool, dict):
        yield say("field_type", path, "Input does not match the expected shape.")
    elif tool.get("type") in (None, "custom"):
        yield from _CUSTOM(f"{path}.custom", tool)
        yield from _examples(f"{path}.custom", tool)
    else:
        yield from _DEFINED(path, tool)


def _name(path: str, value: Any) -> Iterator[Problem]:
    yield from string(path, value)
    if isinstance(value, str) and (not value or not _NAME.fullmatch(value)):
        yield say("tool_name", path, f"String should match pattern '^[a-zA-Z0-9_-]{{1,{_NAME_LENGTH}}}$'")
    elif isinstance(value, str) and len(value) > _NAME_LENGTH:
        yield say("tool_name", path, f"String should have at most {_NAME_LENGTH} characters")


def _input_schema(path: str, schema: Any) -> Iterator[Problem]:
    if not isinstance(schema, dict):
        yield say("input_schema", path, "Input does not match the expected shape.")
    elif "type" not in schema:
        yield say("input_schema", f"{path}.type", "Field required")
    elif schema["type"] != "object":
        yield say("input_schema", f"{path}.type", "Input should be 'object'")
    elif not schema.keys().isdisjoint(("oneOf", "allOf", "anyOf")):
        yield say("input_schema", path, "input_schema does not support oneOf, allOf, or anyOf at the top level")
    elif not is_schema(schema):
        yield say("schema_invalid", path, _SCHEMA)


def _examples(path: str, tool: Mapping[str, Any]) -> Iterator[Problem]:
    examples, schema = tool.get("input_examples"), tool.get("input_schema")
    if not isinstance(examples, list) or not is_schema(schema):
        return
    for at, example in enumerate(examples):
        try:
            wrong = next(misfits(example, schema), None) if isinstance(example, dict) else None
        except LookupError:  # a reference leads elsewhere: it can't be checked here
            wrong = None
        if wrong:
            where = f"{path}.input_examples.{at}"
            yield say("input_example", where, f"does not match the input_schema: {wrong}")


def _domain(path: str, value: Any) -> Iterator[Problem]:
    yield from string(path, value)
    if isinstance(value, str) and not _DOMAIN.fullmatch(value):
        yield say("domain", path, "a domain has no scheme, and a wildcard only in its path")


_COMMON: dict[str, Look] = {
    "cache_control": CACHE_CONTROL,
    "defer_loading": boolean,
    "strict": boolean,
    "allowed_callers": array(string),
}
_CUSTOM = Record(
    {"name": _name, "input_schema": _input_schema},
    {
        "type": anything,
        "description": string,
        "eager_input_streaming": boolean,
        "input_examples": array(mapping),
        **_COMMON,
    },
)
_LOCATION = Record(
    {"type": one_of("approximate")},
    {"city": text(1), "region": text(1), "country": text(2, 2), "timezone": text(1)},  # the text on country: probe
)
_DOMAINS: dict[str, Look] = {"allowed_domains": array(_domain), "blocked_domains": array(_domain)}
_ENABLED = Record(may={"enabled": boolean})
# What the kinds have beside what all have. An option that came later is a matter of `check_tool`.
_OPTIONS: dict[str, dict[str, Look]] = {
    "web_search": {
        "max_uses": at_least(1),
        **_DOMAINS,
        "user_location": _LOCATION,
        "response_inclusion": one_of("full", "excluded"),
    },
    "web_fetch": {
        "max_uses": at_least(1),
        **_DOMAINS,
        "citations": _ENABLED,
        "max_content_tokens": at_least(1),
        "use_cache": boolean,
        "response_inclusion": one_of("full", "excluded"),
        "url_sources": mapping,
    },
    "code_execution": {},
}
_SEARCHES = ("tool_search_tool_regex", "tool_search_tool_bm25")
_ADVISOR = Record(
    {"name": one_of("advisor"), "model": text(1)},
    {"max_uses": at_least(1), "max_tokens": at_least(1024), "caching": CACHE_CONTROL, **_COMMON},
)
# Ours to run, defined by the API; not all that they may have is certain.
_CLIENT: dict[str, str] = {
    "bash_20241022": "bash",
    "bash_20250124": "bash",
    "text_editor_20241022": "str_replace_editor",
    "text_editor_20250124": "str_replace_editor",
    "text_editor_20250429": "str_replace_based_edit_tool",
    "text_editor_20250728": "str_replace_based_edit_tool",
    "memory_20250818": "memory",
}
_SCREEN: dict[str, Look] = {"name": one_of("computer"), "display_width_px": integer, "display_height_px": integer}
_DEFINED = Kinds(
    {
        **{
            f"{kind}_{date}": Record({"name": one_of(kind)}, {**_OPTIONS[kind], **_COMMON})
            for kind, versions in SERVER_TOOLS.items()
            for date in versions.dates
        },
        **{
            f"{name}{date}": Record({"name": one_of(name)}, _COMMON) for name in _SEARCHES for date in ("", "_20251119")
        },
        "advisor_20260301": _ADVISOR,
        "mcp_toolset": Record({"mcp_server_name": text(1)}, {"cache_control": CACHE_CONTROL}, closed=False),
        **{kind: Record({"name": one_of(name)}, _COMMON, closed=False) for kind, name in _CLIENT.items()},
        **{f"computer_{date}": Record(_SCREEN, _COMMON, closed=False) for date in ("20241022", "20250124", "20251124")},
    }
)
