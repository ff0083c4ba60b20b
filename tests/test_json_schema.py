"""What in a value does not fit a JSON Schema."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.json_schema import at, misfits, target

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
ITEM = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"]}


@pytest.mark.parametrize(
    ("schema", "value", "problem"),
    [
        ({"type": "string"}, 1, "the output: must be string"),
        ({"type": ["string", "null"]}, 1, "the output: must be string or null"),
        ({"type": "integer"}, True, "the output: must be integer"),
        ({"type": "integer"}, 1.5, "the output: must be integer"),
        ({"type": "number"}, False, "the output: must be number"),
        ({"type": "boolean"}, 0, "the output: must be boolean"),
        ({"type": "null"}, 0, "the output: must be null"),
        ({"type": "array"}, {}, "the output: must be array"),
        ({"type": "object"}, [], "the output: must be object"),
        ({"enum": ["a", 2]}, "b", 'the output: must be "a" or 2'),
        ({"enum": [1]}, True, "the output: must be 1"),
        ({"const": {"a": [1]}}, {"a": [True]}, 'the output: must be {"a": [1]}'),
        ({"minimum": 3}, 2, "the output: must be at least 3"),
        ({"maximum": 3}, 3.5, "the output: must be at most 3"),
        ({"exclusiveMinimum": 3}, 3, "the output: must be more than 3"),
        ({"exclusiveMaximum": 3}, 3, "the output: must be less than 3"),
        ({"multipleOf": 0.1}, 0.35, "the output: must be a multiple of 0.1"),
        ({"minLength": 2}, "é", "the output: must have at least 2 characters"),
        ({"maxLength": 1}, "ab", "the output: must have at most 1 characters"),
        ({"pattern": "^a+$"}, "ab", "the output: must match the pattern ^a+$"),
        ({"minItems": 1}, [], "the output: must have at least 1 items"),
        ({"maxItems": 1}, [1, 2], "the output: must have at most 1 items"),
        ({"uniqueItems": True}, [{"a": 1, "b": 2}, {"b": 2.0, "a": 1}], "the output: must have no two equal items"),
        ({"minProperties": 1}, {}, "the output: must have at least 1 keys"),
        ({"maxProperties": 0}, {"a": 1}, "the output: must have at most 0 keys"),
        ({"items": ITEM}, [{"n": 1}, {"n": 0}, {}], "[1].n: must be at least 1\n[2].n: is missing"),
        ({"prefixItems": [{"type": "null"}], "items": False}, [None, 1], "[1]: nothing may be here"),
        ({"properties": {"a": {}}, "additionalProperties": False}, {"a": 1, "b": 2}, "b: nothing may be here"),
        ({"additionalProperties": ITEM}, {"a": {"n": 0}}, "a.n: must be at least 1"),
        ({"patternProperties": {"^x": {"type": "null"}}}, {"x1": 1, "y": 1}, "x1: must be null"),
        ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, 3, "the output: must be at most 2"),
        ({"anyOf": [{"type": "null"}, ITEM]}, {"n": 0}, "n: must be at least 1"),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, 1, "the output: must be null"),
        ({"oneOf": [{"type": "null"}, ITEM]}, {"n": 0}, "n: must be at least 1"),
        ({"oneOf": [{"minimum": 1}, {"minimum": 2}]}, 3, "the output: must fit one of its shapes only"),
        ({"not": {"const": 1}}, 1, 'the output: must not fit {"const": 1}'),
        ({"if": {"type": "string"}, "then": {"minLength": 1}}, "", "the output: must have at least 1 characters"),
        ({"if": {"type": "string"}, "else": {"type": "null"}}, 1, "the output: must be null"),
        ({"$ref": "#/$defs/a%20b~1c", "$defs": {"a b/c": ITEM}}, {"n": 0}, "n: must be at least 1"),
        ({"properties": {"next": {"$ref": "#"}}, "required": ["n"]}, {"n": 1, "next": {}}, "next.n: is missing"),
    ],
)
def test_misfits(schema: Any, value: Any, problem: str) -> None:
    assert "\n".join(misfits(value, schema)) == problem


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (True, 1),
        ({}, None),
        ({"type": "integer"}, 2.0),
        ({"const": 1}, 1.0),
        ({"multipleOf": 0.1}, 0.3),
        ({"multipleOf": 0}, 3),
        ({"minimum": 3}, "text"),
        ({"minimum": "three"}, 3),
        ({"pattern": r"\p{L}"}, "1"),
        ({"uniqueItems": False}, [1, 1]),
        ({"uniqueItems": True}, [1, True, "1", None]),
        ({"type": ["any", "integer"]}, 3),
        ({"format": "date", "future": 3}, "x"),
        ({"if": {"type": "string"}, "then": False}, 1),
        ({"oneOf": [{"type": "null"}, ITEM]}, {"n": 1}),
        ({"patternProperties": {"(": {"type": "null"}}}, {"x": None}),
    ],
)
def test_what_fits(schema: Any, value: Any) -> None:
    assert list(misfits(value, schema)) == []


@given(value=JSON)
def test_every_value_is_what_it_is(value: Any) -> None:
    assert list(misfits(value, {"const": value})) == []
    assert list(misfits(value, {"enum": [value]})) == []
    assert list(misfits(value, {"not": {"const": value}}))
    assert list(misfits([value], {"items": {"not": {}}}))


@pytest.mark.parametrize("ref", ["https://a.b/c", "#/a/c", "#/a/b/c", "a", 3, "#a"])
def test_references_that_lead_nowhere(ref: Any) -> None:
    with pytest.raises(LookupError):
        target({"a": {"b": 1}}, ref)


def test_paths() -> None:
    assert at(("value", 0, "price", 1)) == "value[0].price[1]"
    assert at((0, "x" * 100)) == f"[0].{'x' * 80}"
    assert at(()) == "the output"
