"""What the API takes as a schema of structured output, written a second time: nothing here is agentkit's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

__all__ = ["fits", "refused"]

_NOTES = {"title", "description", "default"}
_ALLOWED = {
    None: {"enum", "const"},
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "minItems"},
    "string": {"format", "pattern", "enum", "const"},
    "integer": {"enum", "const"},
    "number": {"enum", "const"},
    "boolean": {"enum", "const"},
    "null": {"enum", "const"},
}
_FORMATS = ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"]


def refused(schema: dict[str, Any]) -> list[str]:
    """What the API would refuse. Source: messages-api.md section 13."""
    root = {key: value for key, value in schema.items() if key not in ("$defs", "definitions", "$schema")}
    names = {f"#/{key}/{name}" for key in ("$defs", "definitions") for name in schema.get(key, {})}
    parts = [part for key in ("$defs", "definitions") for part in schema.get(key, {}).values()]
    return [problem for part in [root, *parts] for problem in _refused(part, names)]


def _refused(schema: Any, names: set[str]) -> Iterator[str]:
    if not isinstance(schema, dict):
        yield f"{schema!r} is no schema"
        return
    keys = schema.keys() - _NOTES
    if "$ref" in schema:
        if keys | schema.keys() != {"$ref"} or schema["$ref"] not in names:
            yield f"$ref: {schema}"
        return
    if keys in ({"anyOf"}, {"allOf"}):
        (key,) = keys
        for part in schema[key]:
            yield from ["$ref in allOf"] if key == "allOf" and "$ref" in part else _refused(part, names)
        return
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if not kinds or any(kind not in _ALLOWED for kind in kinds):
        yield f"type: {kinds}"
        return
    if kinds == [None] and not keys:
        yield "anything"
    yield from (f"{key} with {kinds}" for key in keys - {"type"}.union(*(_ALLOWED[kind] for kind in kinds)))
    yield from _refused_values(schema)
    if "object" in kinds:
        if schema.get("additionalProperties") is not False:
            yield "an open object"
        for part in schema.get("properties", {}).values():
            yield from _refused(part, names)
        yield from (f"required: {name}" for name in schema.get("required", []) if name not in schema["properties"])
    if "items" in schema:
        yield from _refused(schema["items"], names)


def _refused_values(schema: dict[str, Any]) -> Iterator[str]:
    for value in [*schema.get("enum", []), schema.get("const")]:
        if isinstance(value, dict | list):
            yield f"value {value}"
    if schema.get("minItems", 0) not in (0, 1):
        yield "minItems"
    if schema.get("format", "date") not in _FORMATS:
        yield f"format {schema['format']}"
    if re.search(r"\(\?[^:]|\\[bBAZpPk1-9]|\{\d{3}|[*+?}]\?", schema.get("pattern", "")):
        yield f"pattern {schema['pattern']}"


def fits(value: Any, schema: dict[str, Any], root: dict[str, Any] | None = None) -> bool:
    """Whether a value fits a schema of the subset; formats are not looked at."""
    root = schema if root is None else root
    if "$ref" in schema:
        return fits(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in schema:
        return any(fits(value, part, root) for part in schema["anyOf"])
    kinds = schema.get("type", _kind(value))
    named = _kind(value) in kinds if isinstance(kinds, list) else _kind(value) == kinds
    if not named and not (kinds == "number" and _kind(value) == "integer"):
        return False
    if "enum" in schema and not any(value == one and _kind(value) == _kind(one) for one in schema["enum"]):
        return False
    if "const" in schema and (value != schema["const"] or _kind(value) != _kind(schema["const"])):
        return False
    if isinstance(value, dict):
        shapes = schema["properties"]
        named = all(name in value for name in schema.get("required", []))
        return named and all(name in shapes and fits(part, shapes[name], root) for name, part in value.items())
    if isinstance(value, list):
        return len(value) >= schema.get("minItems", 0) and all(
            fits(item, schema["items"], root) if "items" in schema else True for item in value
        )
    return not isinstance(value, str) or bool(re.search(schema.get("pattern", ""), value))


def _kind(value: Any) -> str:
    names = {type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    return names.get(type(value), "object")
