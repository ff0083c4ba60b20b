"""Schemas that the API compiles: keywords, objects that are open, circles, and the size of all together."""

from __future__ import annotations

from typing import Any

import pytest
from bodies import Body, Case, body, tools

from agentkit.rules import Problem, check_request
from agentkit.rules.schemas import cycle

FORMAT = "output_config.format.schema"
OBJECT = "For 'object' type, {}"


def closed(**properties: Any) -> Body:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def strict(*schemas: Body) -> Body:
    return tools(*({"name": f"t{at}", "strict": True, "input_schema": each} for at, each in enumerate(schemas)))


def formed(schema: Any, **fields: Any) -> Body:
    return body(output_config={"format": {"type": "json_schema", "schema": schema}}, **fields)


def optional(number: int) -> Body:
    return closed() | {"properties": {f"p{at}": {"type": "string"} for at in range(number)}}


def unions(number: int) -> Body:
    return closed(**{f"p{at}": {"anyOf": [{"type": "string"}, {"type": "null"}]} for at in range(number)})


NODE = closed(value={"type": "string"}, next={"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]})
LIST = closed(first={"$ref": "#/$defs/Node"}) | {"$defs": {"Node": NODE}}
CIRCLE = (
    "Invalid schema: Circular reference detected in schema definitions: {}. Self-referencing or mutually-referencing "
    "definitions are not supported."
)
REGEX = "Unsupported regex feature in pattern field: lookaround, backreferences and word boundaries are not supported"

# The text follows the path, but for those of the size.
REFUSED: list[Case] = [
    (
        "schema_unsupported",
        FORMAT,
        "For 'integer' type, properties maximum, minimum are not supported",
        formed(closed(a={"type": "integer", "minimum": 1, "maximum": 9})),
    ),
    (
        "schema_unsupported",
        "tools.0.custom",
        "For 'string' type, property 'maxLength' is not supported",
        strict(closed(a={"type": "string", "maxLength": 9})),
    ),
    (
        "schema_unsupported",
        FORMAT,
        "For 'array' type, 'minItems' values other than 0 or 1 are not supported",
        formed(closed(a={"type": "array", "items": {"type": "string"}, "minItems": 2})),
    ),
    ("schema_unsupported", FORMAT, "Schema type 'oneOf' is not supported", formed(closed(a={"oneOf": [{"const": 1}]}))),
    (
        "schema_unsupported",
        "tools.0.custom",
        OBJECT.format("property 'properties' is not supported"),
        strict(closed(a=True)),
    ),
    ("schema_unsupported", FORMAT, "an enum of objects or arrays is not supported", formed(closed(a={"enum": [{}]}))),
    (
        "schema_unsupported",
        FORMAT,
        "the $ref 'https://a.example/b' leads out of the schema",
        formed(closed(a={"$ref": "https://a.example/b"})),
    ),
    ("schema_pattern", FORMAT, REGEX, formed(closed(a={"type": "string", "pattern": r"^(?!a)\w+$"}))),
    (
        "schema_open",
        FORMAT,
        OBJECT.format("'additionalProperties' must be explicitly set to false"),
        formed(closed(a={"type": "object", "maximum": 1})),
    ),
    (
        "schema_open",
        FORMAT,
        OBJECT.format("'additionalProperties: true' is not supported. Please set 'additionalProperties' to false"),
        formed({"type": "object", "additionalProperties": True}),
    ),
    (
        "schema_open",
        "tools.1.custom",
        OBJECT.format("'additionalProperties: object' is not supported"),
        strict(closed(), {"type": "object", "additionalProperties": {"type": "string"}}),
    ),
    ("schema_circular", "tools.0.custom", CIRCLE.format("Node -> Node"), strict(LIST)),
    (
        "schema_circular",
        "tools.0.custom",
        CIRCLE.format("A -> B -> A"),
        strict(
            closed(a={"$ref": "#/definitions/A"})
            | {"definitions": {"A": closed(b={"$ref": "#/definitions/B"}), "B": closed(a={"$ref": "#/definitions/A"})}}
        ),
    ),
]
SIZE: list[Case] = [
    (
        "schema_optional",
        "tools",
        "Schemas contains too many optional parameters (25), which would make grammar compilation inefficient. Reduce "
        "the number of optional parameters in your tool schemas (limit: 24).",
        strict(optional(20), closed(a=optional(5))),
    ),
    (
        "schema_unions",
        "tools",
        "Schemas contains too many parameters with union types (17 parameters with type arrays or anyOf). This causes "
        "exponential compilation cost. Reduce the number of nullable or union-typed parameters (limit: 16 parameters "
        "with unions).",
        strict(unions(8), unions(8)) | formed(closed(a={"type": ["string", "null"]})),
    ),
]

ACCEPTED = [
    formed(LIST),
    strict(optional(24), unions(16)),
    strict(closed(a={"type": "array", "items": {"$ref": "#/$defs/A"}, "minItems": 1}) | {"$defs": {"A": closed()}}),
    tools({"name": "a", "input_schema": {"type": "object", "properties": {"a": {"minimum": 1, "type": "integer"}}}}),
    tools({"type": "web_search_20250305", "name": "web_search", "strict": True}),
    formed({"type": "no schema at all"}),
    formed(closed(a={"type": ["integer", "null"], "minimum": 1}, b={"type": "string", "pattern": "^[a-z]+$"})),
    formed(closed(minimum={"type": "integer"}, properties={"type": "boolean"})),
]


@pytest.mark.parametrize(("rule", "path", "words", "request_body"), REFUSED, ids=[case[0] for case in REFUSED])
def test_each_part_is_refused(rule: str, path: str, words: str, request_body: Body) -> None:
    assert check_request(request_body) == [Problem(rule, path, f"{path}: {words}")]


@pytest.mark.parametrize(("rule", "path", "words", "request_body"), SIZE, ids=[case[0] for case in SIZE])
def test_schemas_are_limited_together(rule: str, path: str, words: str, request_body: Body) -> None:
    assert check_request(request_body) == [Problem(rule, path, words)]


@pytest.mark.parametrize("request_body", ACCEPTED)
def test_what_can_be_compiled_passes(request_body: Body) -> None:
    assert check_request(request_body) == []


def test_circles_are_found_wherever_they_are() -> None:
    assert cycle({"properties": {"a": {"$ref": "#"}}}) == ["#", "#"]
    ways = {"A": {"$ref": "#/$defs/B"}, "B": {}, "C": {"items": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}]}}
    assert cycle({"$ref": "#/$defs/C", "$defs": ways}) == []
    assert cycle({"$defs": ways | {"B": {"$ref": "#/$defs/C"}}}) == ["B", "C", "B"]
