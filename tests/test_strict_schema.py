"""A JSON Schema in the subset that the API can hold the model to."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import MISSING, PATH, exchanges
from schemas import refused

from agentkit.errors import ConfigurationError
from agentkit.json_schema import misfits
from agentkit.strict_schema import Size, size_of, strict_schema

POINT = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
CLOSED = {**POINT, "additionalProperties": False}


def converted(schema: dict[str, Any]) -> dict[str, Any]:
    before = copy.deepcopy(schema)
    strict = strict_schema(schema, "Report")
    assert schema == before
    assert refused(strict) == []
    return strict


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (POINT, CLOSED),
        ({**POINT, "additionalProperties": True, "x-mine": 1, "$schema": "…", "deprecated": True}, CLOSED),
        ({"properties": POINT["properties"], "required": ["x", "y"]}, CLOSED),
        ({"type": "object", "properties": {}}, {"type": "object", "properties": {}, "additionalProperties": False}),
        (
            {"type": "object", "additionalProperties": False},
            {"type": "object", "properties": {}, "additionalProperties": False},
        ),
        ({"type": ["string"]}, {"type": "string"}),
        (
            {"type": ["string", "null"], "maxLength": 3},
            {"type": ["string", "null"], "description": "(must have at most 3 characters)"},
        ),
        (
            {"type": ["object", "null"], **{k: v for k, v in POINT.items() if k != "type"}, "title": "P"},
            {"anyOf": [CLOSED, {"type": "null"}], "title": "P"},
        ),
        ({"enum": ["a", 1, None, True]}, {"enum": ["a", 1, None, True]}),
        ({"const": "a", "type": "string"}, {"const": "a", "type": "string"}),
        (
            {"type": "integer", "minimum": 1, "maximum": 9, "description": "How many."},
            {"type": "integer", "description": "How many.\n(must be at least 1, must be at most 9)"},
        ),
        (
            {"type": "integer", "default": 3, "examples": [1, 2]},
            {"type": "integer", "default": 3, "description": "For example: 1, 2"},
        ),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        ({"type": "string", "format": "path"}, {"type": "string", "description": "(must have the format path)"}),
        ({"type": "integer", "format": "uint32"}, {"type": "integer", "description": "(must have the format uint32)"}),
        ({"type": "array", "items": POINT}, {"type": "array", "items": CLOSED}),
        ({"type": "array"}, {"type": "array"}),
        ({"type": "array", "items": POINT, "minItems": 0}, {"type": "array", "items": CLOSED, "minItems": 0}),
        ({"type": "array", "items": POINT, "minItems": 1}, {"type": "array", "items": CLOSED, "minItems": 1}),
        (
            {"items": POINT, "minItems": 2, "uniqueItems": False},
            {"type": "array", "items": CLOSED, "minItems": 1, "description": "(must have at least 2 items)"},
        ),
        (
            {"items": POINT, "maxItems": 2, "uniqueItems": True},
            {
                "type": "array",
                "items": CLOSED,
                "description": "(must have at most 2 items, must have no two equal items)",
            },
        ),
        (
            {"prefixItems": [POINT, {"type": "null"}, {"const": 1}], "minItems": 3, "maxItems": 3, "items": False},
            {
                "type": "array",
                "minItems": 1,
                "items": {"anyOf": [CLOSED, {"type": "null"}, {"const": 1}]},
                "description": "(must have these items, in this order: object, null, 1)",
            },
        ),
        (
            {"prefixItems": [{"type": "null"}, {"type": "null"}], "minItems": 2},
            {
                "type": "array",
                "minItems": 1,
                "items": {"type": "null"},
                "description": "(must have these items, in this order: null, null, must have at least 2 items)",
            },
        ),
        (
            {
                "prefixItems": [{"enum": ["a", 1]}, {"anyOf": [{"type": "null"}, POINT]}],
                "items": {"type": ["string", "null"]},
            },
            {
                "type": "array",
                "items": {
                    "anyOf": [{"enum": ["a", 1]}, {"anyOf": [{"type": "null"}, CLOSED]}, {"type": ["string", "null"]}]
                },
                "description": '(must have these items, in this order: "a" or 1, null or object)',
            },
        ),
        (
            {"oneOf": [POINT, {"type": "null"}], "discriminator": {}, "title": "T"},
            {"anyOf": [CLOSED, {"type": "null"}], "title": "T"},
        ),
        ({"type": "object", "anyOf": [{"properties": POINT["properties"], "required": ["x"]}]}, {"anyOf": [CLOSED]}),
        ({**POINT, "anyOf": [{"required": ["x"]}]}, {**CLOSED, "description": '(must fit anyOf [{"required":["x"]}])'}),
        ({"type": "string", "not": {"const": ""}}, {"type": "string", "description": '(must fit not {"const":""})'}),
        (
            {"allOf": [POINT, {"properties": {"y": {"type": "null"}}, "required": ["y", "x"]}]},
            {
                "type": "object",
                "properties": {"x": {"type": "integer"}, "y": {"type": "null"}},
                "required": ["x", "y"],
                "additionalProperties": False,
            },
        ),
        (
            {"allOf": [POINT, {"properties": {"x": {"minimum": 1}}}]},
            {**CLOSED, "properties": {"x": {"type": "integer", "description": "(must be at least 1)"}}},
        ),
        (
            {"allOf": [{"type": "string", "title": "A"}, {"type": "string", "enum": ["a"], "title": "B"}]},
            {"type": "string", "enum": ["a"], "title": "B"},
        ),
    ],
)
def test_shapes(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    assert converted(schema) == expected


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [
        ("^[a-z]+$", True),
        (r"^\d{3}-[A-Z]{2,5}(?:\.\w*)?$", True),
        (r"a|(b\.c)", True),
        ("[]^]{29}", True),
        ("é{2,}", True),
        (r"(?=a)", False),
        (r"(?!a)", False),
        (r"(?<=a)", False),
        (r"(?P<a>b)", False),
        (r"(a)\1", False),
        (r"\bword\b", False),
        (r"[\b]", False),
        (r"\p{L}", False),
        (r"a{1,64}", False),
        (r"a{300}", False),
        (r"a*?", False),
        (r"a++", False),
        (r"[a", False),
    ],
)
def test_patterns(pattern: str, kept: bool) -> None:
    strict = converted({"type": "string", "pattern": pattern})
    words = {"description": f"(must match the pattern {pattern})"}
    assert strict == {"type": "string", **({"pattern": pattern} if kept else words)}


def test_definitions_are_kept_by_reference() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"$ref": "#/definitions/P", "title": "only a title"},
            "b": {"$ref": "#/definitions/P", "description": "the b"},
            "c": {"$ref": "#/$defs/P"},
            "d": {"$ref": "#/$defs/x~1y"},
        },
        "definitions": {"P": {**POINT, "title": "P"}, "unused": True},
        "$defs": {"P": {"type": "string"}, "x/y": {"$ref": "#/$defs/P"}},
    }
    strict = converted(schema)
    assert strict["properties"] == {
        "a": {"$ref": "#/$defs/P"},
        "b": {**CLOSED, "title": "P", "description": "the b"},
        "c": {"$ref": "#/$defs/P_"},
        "d": {"$ref": "#/$defs/x_1y"},
    }
    assert strict["$defs"] == {"P": CLOSED, "P_": {"type": "string"}, "x_1y": {"type": "string"}}


def test_recursion() -> None:
    node = {
        "type": "object",
        "properties": {
            "next": {"$ref": "#/$defs/Node", "description": "the one after"},
            "all": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
        },
    }
    strict = converted({"$ref": "#/$defs/Node", "$defs": {"Node": node}})
    assert strict["properties"]["next"]["properties"]["next"] == {"$ref": "#/$defs/Node"}
    assert strict["properties"]["next"]["description"] == "the one after"
    itself = converted({"type": "object", "properties": {"next": {"$ref": "#"}}})
    assert itself["properties"] == itself["$defs"]["root"]["properties"] == {"next": {"$ref": "#/$defs/root"}}


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "object"}, "Report: it may have any keys: name them, or make it a list of keys and values"),
        ({"type": "object", "properties": {}, "additionalProperties": POINT}, "Report: it may have any keys"),
        ({"properties": {"a": {"items": {"type": "object"}}}}, r"Report at a\[\]: it may have any keys"),
        ({"properties": {"a": {"properties": {"b": {}}}}}, r"Report at a\.b: it may be anything: say which type"),
        ({"properties": {"a": True}}, "Report at a: it may be anything"),
        ({"anyOf": [{"type": "null"}, False]}, "Report: it may be anything"),
        ({"type": "text"}, "Report: JSON has no type 'text'"),
        ({"enum": [[1]]}, "Report: it can list text, numbers, true, false and null only"),
        ({"const": {}}, "Report: it can list text, numbers, true, false and null only"),
        ({"$ref": "https://a.b/c"}, "'https://a.b/c' leads to no definition in the schema itself"),
        ({"properties": {"a": {"$ref": "#/$defs/b"}}}, r"Report at a: \$ref '#/\$defs/b' leads to no definition"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, r"Report: \$ref '#/\$defs/a' leads to itself"),
        ({"allOf": [{"type": "string"}, {"type": "null"}]}, "Report: the parts of allOf say two things about type"),
        ({"properties": 3}, "Report is no JSON Schema: 'int' object"),
        ({"type": [[]]}, "Report is no JSON Schema: unhashable type"),
        ({"type": "string", "not": {"a": float("inf")}}, "can't be sent as JSON"),
    ],
)
def test_what_is_refused(schema: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text) as caught:
        strict_schema(schema, "Report")
    assert "\n" not in str(caught.value)


def test_size() -> None:
    assert size_of({}) == size_of(True) == Size(0, 0)
    schema = {
        "properties": {"a": {"type": ["string", "null"]}, "b": {"anyOf": [POINT, {"properties": {"c": True}}]}},
        "required": ["a"],
        "$defs": {"A": {"properties": {"d": {"type": "null"}}}},
        "items": {"properties": {"e": {"oneOf": []}}, "required": ["e"]},
    }
    assert size_of(schema) == Size(3, 3)


# Any schema of the keywords that there are.

LEAF = st.sampled_from(
    [
        {"type": "string", "pattern": "^a"},
        {"type": "string", "format": "date", "maxLength": 20},
        {"type": "integer", "minimum": -3},
        {"type": "number", "multipleOf": 2, "description": "even"},
        {"type": ["boolean", "null"]},
        {"enum": [1, "a", None]},
        {"$ref": "#/$defs/P"},
        {"$ref": "#/$defs/P", "description": "point"},
        {"$ref": "#/$defs/Q"},
    ]
)


OBJECT = {"type": "object", "additionalProperties": False}


def _grown(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    named = st.dictionaries(st.sampled_from("abc"), inner, min_size=1)
    return st.one_of(
        st.builds(lambda properties: {**OBJECT, "properties": properties, "required": [*properties]}, named),
        st.builds(lambda properties: {**OBJECT, "type": ["object", "null"], "properties": properties}, named),
        st.builds(lambda items, least: {"type": "array", "items": items, "minItems": least}, inner, st.integers(0, 3)),
        st.builds(lambda *parts: {"type": "array", "prefixItems": [*parts]}, inner, inner),
        st.builds(lambda key, *parts: {key: [*parts]}, st.sampled_from(["anyOf", "oneOf"]), inner, inner),
        st.builds(lambda part: {"allOf": [part]}, inner),
    )


# Closed, since that is what the subset changes.
DEFINITIONS = {
    "P": CLOSED,
    "Q": {
        "type": "object",
        "properties": {"q": {"anyOf": [{"$ref": "#/$defs/Q"}, CLOSED]}},
        "additionalProperties": False,
    },
}


@given(schema=st.recursive(LEAF, _grown, max_leaves=12))
def test_any_schema_becomes_one_of_the_subset(schema: dict[str, Any]) -> None:
    strict = converted({**schema, "$defs": DEFINITIONS})
    assert refused(strict_schema(strict, "again")) == []
    assert size_of(strict).optional >= 0


@given(schema=st.recursive(LEAF, _grown, max_leaves=12), data=st.data())
def test_a_value_of_the_original_fits(schema: dict[str, Any], data: st.DataObject) -> None:
    whole = {**schema, "$defs": DEFINITIONS}
    value = data.draw(_value_of(schema))
    if not list(misfits(value, whole)):
        assert list(misfits(value, strict_schema(whole, "Report"))) == []


def _value_of(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that mostly fit."""
    if "$ref" in schema:
        return st.sampled_from([{"x": 1}, {"q": {"x": 1}}, {"q": {"q": {"x": 2}}}, {}])
    parts = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if parts:
        return st.one_of(*map(_value_of, parts))
    if "properties" in schema:
        return st.fixed_dictionaries({name: _value_of(part) for name, part in schema["properties"].items()})
    if "prefixItems" in schema:
        return st.tuples(*map(_value_of, schema["prefixItems"])).map(list)
    if "items" in schema:
        return st.lists(_value_of(schema["items"]), min_size=schema["minItems"], max_size=4)
    return st.sampled_from(["a", "ab", 0, 2, 4, None, True])


@pytest.mark.recordings
@pytest.mark.skipif(not PATH.exists(), reason=MISSING)
def test_what_the_api_took_is_in_the_subset() -> None:
    formats, tools = [], []
    for exchange in exchanges():
        body = exchange["request_body"]
        if exchange["status"] != 200 or not isinstance(body, dict):
            continue
        asked = body.get("output_format") or (body.get("output_config") or {}).get("format")
        formats += [asked["schema"]] if asked else []
        tools += [tool["input_schema"] for tool in body.get("tools") or [] if tool.get("strict")]
    assert (len(formats), len(tools)) > (80, 100)
    for schema in formats:
        assert refused(schema) == []
        assert size_of(converted(schema)) == size_of(schema)
    # Definitions within definitions are taken for tools, and never made by us.
    assert {problem for schema in tools for problem in refused(schema)} <= {f"{key} with ['object']" for key in NESTED}
    for schema in tools:
        converted(schema)


NESTED = ("$defs", "definitions")
