"""JSON schemas: which are none (draft 2020-12), and what the API's compiler of grammars refuses.

The compiler reads the schemas of strict tools and of the output format. What it makes of their size (`Schema is too
complex for compilation`) only the API knows.

Source: messages-api.md section 13; api-errors.md A (rig, maruel/genai) and B (ax#458). Texts on keywords: published by
many between 2025-12 and 2026-09 (such as agentjido/req_llm#302); the words on references and on enums are ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from agentkit.json_schema import TYPES
from agentkit.rules.texts import Problem

__all__ = ["check_schemas", "cycle", "is_schema"]

_STRICT_TOOLS = 20
_OPTIONAL = 24
_UNIONS = 16

_PARTS = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_UNSUPPORTED = {
    "integer": ("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum", "multipleOf"),
    "number": ("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum", "multipleOf"),
    "string": ("maxLength", "minLength"),
    "array": ("maxItems",),
    "object": ("propertyNames",),
}
# Lookaround, a backreference, a word boundary.
_UNSUPPORTED_PATTERN = re.compile(r"\(\?<?[=!]|\\[1-9bB]")
_REGEX = "Unsupported regex feature in pattern field"


def check_schemas(body: Mapping[str, Any]) -> Iterator[Problem]:
    """What the compiler refuses in the schemas of a request, one by one and together."""
    strict = [
        (f"tools.{at}.custom", tool) for at, tool in enumerate(body.get("tools", [])) if tool.get("strict") is True
    ]
    if len(strict) > _STRICT_TOOLS:
        text = (
            f"Too many strict tools ({len(strict)}). The maximum number of strict tools supported is {_STRICT_TOOLS}. "
            "Try reducing the number of tools marked as strict."
        )
        yield Problem("strict_tools", "tools", text)
    ours = [(path, tool["input_schema"]) for path, tool in strict if "input_schema" in tool]
    for path, schema in ours:
        yield from _circular(path, schema)
    compiled = ours + list(_formats(body))
    for path, schema in compiled:
        yield from _refused(path, schema)
    yield from _size([schema for _, schema in compiled])


def _formats(body: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    given = body.get("output_config", {}).get("format")
    alias = body.get("output_format")
    for path, form in (("output_config.format", given), ("output_format", alias)):
        if form and is_schema(form["schema"]):
            yield f"{path}.schema", form["schema"]


def _refused(path: str, schema: Mapping[str, Any]) -> Iterator[Problem]:
    """One thing, as the compiler stops there; which is first is not known."""
    wrong = [each for part in _parts(schema) for each in _wrong(part)]
    if wrong:
        rule, words = min(wrong, key=lambda each: each[0] != "schema_open")
        yield Problem(rule, path, f"{path}: {words}")


def _wrong(part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    kind = part.get("type")
    if "oneOf" in part:
        yield "schema_unsupported", "Schema type 'oneOf' is not supported"
    found = [key for key in _UNSUPPORTED.get(kind, ()) if key in part] if isinstance(kind, str) else []
    if len(found) == 1:
        yield "schema_unsupported", f"For '{kind}' type, property '{found[0]}' is not supported"
    elif found:
        yield "schema_unsupported", f"For '{kind}' type, properties {', '.join(found)} are not supported"
    if kind == "array" and part.get("minItems", 0) not in (0, 1):
        yield "schema_unsupported", "For 'array' type, 'minItems' values other than 0 or 1 are not supported"
    if kind == "object":
        yield from _wrong_object(part)
    if any(isinstance(value, dict | list) for value in part.get("enum", ())):
        yield "schema_unsupported", "an enum of objects or arrays is not supported"
    if isinstance(part.get("$ref"), str) and not part["$ref"].startswith("#"):
        yield "schema_unsupported", f"the $ref '{part['$ref']}' leads out of the schema"
    if isinstance(part.get("pattern"), str) and _UNSUPPORTED_PATTERN.search(part["pattern"]):
        yield "schema_pattern", f"{_REGEX}: lookaround, backreferences and word boundaries are not supported"


def _wrong_object(part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    others = part.get("additionalProperties")
    if others is True:
        words = "'additionalProperties: true' is not supported. Please set 'additionalProperties' to false"
        yield "schema_open", f"For 'object' type, {words}"
    elif isinstance(others, dict):
        yield "schema_open", "For 'object' type, 'additionalProperties: object' is not supported"
    elif others is not False:
        yield "schema_open", "For 'object' type, 'additionalProperties' must be explicitly set to false"
    properties = part.get("properties")
    if isinstance(properties, dict) and any(isinstance(value, bool) for value in properties.values()):
        yield "schema_unsupported", "For 'object' type, property 'properties' is not supported"


def _circular(path: str, schema: Mapping[str, Any]) -> Iterator[Problem]:
    """Source: api-errors.md A (rig); section 13 has it that an output format may be recursive."""
    names = cycle(schema)
    if names:
        text = (
            f"Invalid schema: Circular reference detected in schema definitions: {' -> '.join(names)}. "
            "Self-referencing or mutually-referencing definitions are not supported."
        )
        yield Problem("schema_circular", path, f"{path}: {text}")


def cycle(schema: Mapping[str, Any]) -> list[str]:
    """The names of definitions that refer to each other in a circle, the first again at the end; `#` is the root."""
    groups = {key: schema[key] for key in ("$defs", "definitions") if isinstance(schema.get(key), dict)}
    parts = {f"#/{key}/{name}": part for key, group in groups.items() for name, part in group.items()}
    parts["#"] = {key: part for key, part in schema.items() if key not in groups}
    leads = {pointer: [ref for ref in _refs(part) if ref in parts] for pointer, part in parts.items()}
    done: set[str] = set()
    for start in parts:
        way = [start]
        left = [iter(leads[start])]
        while left:
            step = next(left[-1], None)
            if step is None:
                done.add(way.pop())
                left.pop()
            elif step in way:
                return [pointer.rpartition("/")[2] for pointer in [*way[way.index(step) :], step]]
            elif step not in done:
                way.append(step)
                left.append(iter(leads[step]))
    return []


def _refs(schema: Any) -> Iterator[str]:
    left = [schema]
    while left:
        part = left.pop()
        if isinstance(part, list):
            left += part
        elif isinstance(part, dict):
            if isinstance(part.get("$ref"), str):
                yield part["$ref"]
            left += part.values()


def _size(schemas: list[Mapping[str, Any]]) -> Iterator[Problem]:
    """Parameters of all schemas together. Source: api-errors.md A (rig)."""
    optional = unions = 0
    for schema in schemas:
        for part in _parts(schema):
            properties = part["properties"] if isinstance(part.get("properties"), dict) else {}
            optional += len(properties.keys() - set(part.get("required", ())))
            unions += sum(map(_is_union, properties.values()))
    if optional > _OPTIONAL:
        text = (
            f"Schemas contains too many optional parameters ({optional}), which would make grammar compilation "
            f"inefficient. Reduce the number of optional parameters in your tool schemas (limit: {_OPTIONAL})."
        )
        yield Problem("schema_optional", "tools", text)
    if unions > _UNIONS:
        text = (
            f"Schemas contains too many parameters with union types ({unions} parameters with type arrays or anyOf). "
            "This causes exponential compilation cost. Reduce the number of nullable or union-typed parameters "
            f"(limit: {_UNIONS} parameters with unions)."
        )
        yield Problem("schema_unions", "tools", text)


def _is_union(schema: Any) -> bool:
    return isinstance(schema, dict) and (isinstance(schema.get("type"), list) or "anyOf" in schema)


def _parts(schema: Any) -> Iterator[Mapping[str, Any]]:
    """A schema and all schemas in it; definitions once."""
    left = [schema]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            yield part
            left += [part[key] for key in _PARTS if key in part]
            left += [each for key in _LISTS if isinstance(part.get(key), list) for each in part[key]]
            left += [each for key in _MAPS if isinstance(part.get(key), dict) for each in part[key].values()]


def is_schema(schema: Any) -> bool:
    """Whether it is a JSON Schema, as far as the well-known keywords go."""
    left = [schema]
    while left:
        part = left.pop()
        if isinstance(part, bool):
            continue
        if not isinstance(part, dict) or not all(_KEYWORDS[key](part[key]) for key in part.keys() & _KEYWORDS.keys()):
            return False
        left += [part[key] for key in _PARTS if key in part]
        left += [each for key in _LISTS if key in part for each in part[key]]
        left += [each for key in _MAPS if key in part for each in part[key].values()]
    return True


def _is_count(value: Any) -> bool:
    return TYPES["integer"](value) and value >= 0


def _is_type(value: Any) -> bool:
    kinds = value if isinstance(value, list) else [value]
    return bool(kinds) and all(isinstance(kind, str) and kind in TYPES for kind in kinds)


def _are_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


_KEYWORDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), TYPES["number"]),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), _is_count),
    **dict.fromkeys(("$ref", "$schema", "$id", "title", "description", "format", "pattern"), TYPES["string"]),
    **dict.fromkeys(_MAPS, TYPES["object"]),
    **dict.fromkeys(_LISTS, lambda value: isinstance(value, list) and bool(value)),
    "enum": TYPES["array"],
    "required": _are_strings,
    "type": _is_type,
    "uniqueItems": TYPES["boolean"],
}
