"""The input schema of a server's tool → one that the API takes.

Nothing is lost by that: the server checks each input against its own schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from agentkit.errors import ToolDefinitionError
from agentkit.json_schema import CONSTRAINTS, target
from agentkit.rules.schemas import is_schema
from agentkit.terminal import safe

__all__ = ["acceptable"]

_SIZE_CAP = 64 * 1024  # characters, as JSON
_DEEPEST = 16  # levels of schemas; below them, anything fits
_LONGEST_TEXT = 2000
# Source: the API's own words on such keys, "Property keys should match pattern '^[a-zA-Z0-9_.-]{1,64}$'".
_KEY = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_COMBINED = ("allOf", "anyOf", "oneOf")
_PARTS = ("additionalProperties", "items", "not", "if", "then", "else", "contains", "propertyNames")
_LISTS = (*_COMBINED, "prefixItems")
_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_TEXTS = ("description", "title")
# Others say nothing to the model, or change where references lead.
_KEPT = {
    *("$ref", "type", "enum", "const", "default", "examples", "format", "required", "dependentRequired"),
    *("minContains", "maxContains", "deprecated", "contentEncoding", "contentMediaType"),
    *(*_PARTS, *_LISTS, *_MAPS, *_TEXTS, *CONSTRAINTS),
}


def acceptable(schema: Mapping[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """The schema for the API, and what stood at its root that the API refuses there: the model may be told.

    Combinations at the root become one object with the properties of all; older drafts become draft 2020-12; references
    to elsewhere, what is no schema, and what lies too deep fit anything.

    Raises:
        ToolDefinitionError: The tool could not be called with it.

    Source: messages-api.md section 9.
    """
    if len(json.dumps(schema)) > _SIZE_CAP:
        raise ToolDefinitionError(f"its schema has more than {_SIZE_CAP:,} characters")
    whole = _cleaned(schema)
    root = _resolved(whole, whole) if isinstance(whole, dict) else {}
    kind = root.get("type", "object")
    if kind != "object" and not (isinstance(kind, list) and "object" in kind):
        raise ToolDefinitionError("its input is no object")
    hidden = [{key: root[key]} for key in _COMBINED if key in root]
    merged = {key: part for key, part in root.items() if key not in _COMBINED}
    for key in _COMBINED:
        _merge(merged, [_resolved(part, whole) for part in root.get(key, ())], needs_all=key == "allOf")
    merged = {"type": "object", **{key: part for key, part in merged.items() if key != "type"}}
    merged["properties"] = dict(_callable(merged.get("properties", {}), merged.get("required", ())))
    return {key: _without_loose_ends(part, merged) for key, part in merged.items()}, hidden


def _callable(properties: Mapping[str, Any], required: Any) -> Iterator[tuple[str, Any]]:
    for key, part in properties.items():
        if _KEY.fullmatch(key):
            yield key, part
        elif key in required:
            raise ToolDefinitionError(f"the API takes no parameter of the name {safe(key)[:80]!r}")


def _resolved(part: Any, root: Mapping[str, Any]) -> dict[str, Any]:
    """`part` with what its reference leads to beside what it says itself."""
    seen: list[str] = []
    while isinstance(part, dict) and isinstance(part.get("$ref"), str) and part["$ref"] not in seen:
        seen.append(part["$ref"])
        rest = {key: value for key, value in part.items() if key != "$ref"}
        try:
            led = target(root, seen[-1])
        except LookupError:
            led = {}
        part = {**(led if isinstance(led, dict) else {}), **rest}
    return {key: value for key, value in part.items() if key != "$ref"} if isinstance(part, dict) else {}


def _merge(into: dict[str, Any], parts: list[dict[str, Any]], *, needs_all: bool) -> None:
    """Adds the properties of `parts`: a property that differs may be any of them."""
    if not parts:
        return
    properties = dict(into.get("properties", {}))
    for part in parts:
        for key, shape in part.get("properties", {}).items():
            known = properties.setdefault(key, shape)
            if known != shape:
                shapes = known["anyOf"] if isinstance(known, dict) and known.keys() == {"anyOf"} else [known]
                properties[key] = {"anyOf": [*shapes, shape]} if shape not in shapes else known
    needed = [set(part.get("required", ())) for part in parts]
    required = set.union(*needed) if needs_all else set.intersection(*needed)
    into["properties"] = properties
    if required:
        into["required"] = sorted({*into.get("required", ()), *required})


def _cleaned(part: Any, depth: int = 0) -> Any:
    """A copy of a schema that is one of draft 2020-12: what is none is left out."""
    if isinstance(part, bool):
        return part
    if not isinstance(part, Mapping) or depth > _DEEPEST:
        return {}
    cleaned = {key: _cleaned_value(key, value, depth) for key, value in _modern(part).items() if key in _KEPT}
    return {key: value for key, value in cleaned.items() if is_schema({key: value})}


def _cleaned_value(key: str, value: Any, depth: int) -> Any:
    if key in _PARTS:
        return _cleaned(value, depth + 1)
    if key in _LISTS and isinstance(value, list):
        return [_cleaned(part, depth + 1) for part in value]
    if key in _MAPS and isinstance(value, Mapping):
        return {name: _cleaned(part, depth + 1) for name, part in value.items()}
    if key in _TEXTS and isinstance(value, str):
        text = safe(value)
        return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"
    return value


def _modern(part: Mapping[str, Any]) -> dict[str, Any]:
    """Drafts 4 to 7 as draft 2020-12."""
    given = dict(part)
    if isinstance(given.get("items"), list):
        given["prefixItems"] = given.pop("items")
        if "additionalItems" in given:
            given["items"] = given.pop("additionalItems")
    for bound, other in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(given.get(bound), bool) and given.pop(bound) and other in given:
            given[bound] = given.pop(other)
    return given


def _without_loose_ends(part: Any, root: Any) -> Any:
    """`part` without references that lead nowhere in what is left of the schema."""
    if isinstance(part, list):
        return [_without_loose_ends(each, root) for each in part]
    if not isinstance(part, dict):
        return part
    kept = {key: _without_loose_ends(value, root) for key, value in part.items()}
    if isinstance(kept.get("$ref"), str) and not _leads_somewhere(kept["$ref"], root):
        del kept["$ref"]
    return kept


def _leads_somewhere(ref: str, root: Any) -> bool:
    try:
        return isinstance(target(root, ref), dict | bool)
    except LookupError:
        return False
