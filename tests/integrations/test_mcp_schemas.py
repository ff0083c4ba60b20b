"""Input schemas of MCP servers become ones that the API takes; what it takes already stays as it is."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit import ToolDefinitionError
from agentkit.rules.body import check_body

pytest.importorskip("mcp", reason="needs the extra mcp")

from mcp_types import Tool as Offered
from mcp_types import ToolAnnotations

from agentkit.integrations.mcp.definitions import effects_of, name_of
from agentkit.integrations.mcp.schemas import acceptable

ID = {"type": "object", "properties": {"id": {"type": "integer"}, "kind": {"const": "a"}}, "required": ["kind", "id"]}
NAME = {"type": "object", "properties": {"name": {"type": "string"}, "kind": {"const": "b"}}, "required": ["kind"]}


def problems(schema: dict[str, Any]) -> list[Any]:
    """What the API would say of a tool with this schema."""
    body = {
        "model": "claude-sonnet-4-6",
        "max_tokens": 10,
        "messages": [{"role": "user", "content": "x"}],
        "tools": [{"name": "t", "input_schema": schema}],
    }
    return list(check_body(body, None))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {}},
        {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Where.", "minLength": 1, "pattern": "^[A-Z]"},
                "days": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "default": None},
                "list": {"type": "array", "items": {"$ref": "#/$defs/Item"}, "uniqueItems": True},
            },
            "required": ["city"],
            "additionalProperties": False,
            "$defs": {"Item": {"type": "object", "properties": {"parent": {"$ref": "#/$defs/Item"}}}},
        },
        {"type": "object", "properties": {"a": {"type": "string"}}, "not": {"required": ["b"]}},
    ],
)
def test_what_is_fine_stays(schema: dict[str, Any]) -> None:
    before = copy.deepcopy(schema)
    assert acceptable(schema) == (schema, [])
    assert schema == before
    assert problems(schema) == []


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, {"type": "object", "properties": {}}),
        ({"properties": {"a": {}}}, {"type": "object", "properties": {"a": {}}}),
        ({"type": ["object", "null"]}, {"type": "object", "properties": {}}),
        (  # draft 4 and 7
            {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "id": "x",
                "type": "object",
                "properties": {
                    "n": {"type": "number", "minimum": 0, "exclusiveMinimum": True, "exclusiveMaximum": False},
                    "pair": {"items": [{"type": "string"}, {"type": "integer"}], "additionalItems": False},
                },
            },
            {
                "type": "object",
                "properties": {
                    "n": {"type": "number", "exclusiveMinimum": 0},
                    "pair": {"prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False},
                },
            },
        ),
        (  # no schema at all, here and there
            {
                "type": "object",
                "properties": {"a": "string", "b": {"type": "text"}, "c": {"required": True, "enum": "x"}, "d": None},
                "required": "a",
                "title": 7,
                "x-order": 1,
            },
            {"type": "object", "properties": {"a": {}, "b": {}, "c": {}, "d": {}}},
        ),
        (  # references
            {
                "$ref": "#/$defs/In",
                "$defs": {"In": {"type": "object", "properties": {"a": {"$ref": "file:///etc/passwd"}}}},
            },
            {
                "type": "object",
                "properties": {"a": {}},
                "$defs": {"In": {"type": "object", "properties": {"a": {}}}},
            },
        ),
        ({"type": "object", "properties": {"a b": {}, "c": {}}}, {"type": "object", "properties": {"c": {}}}),
        (
            {"type": "object", "properties": {"a": {"description": "x\u202e\x1b[2J", "enum": ["\u202e"]}}},
            {"type": "object", "properties": {"a": {"description": "xU+202E[2J", "enum": ["\u202e"]}}},
        ),
    ],
)
def test_what_is_mended(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    found, hidden = acceptable(schema)
    assert found == expected
    assert hidden == []
    assert problems(found) == []


@pytest.mark.parametrize(("key", "required"), [("anyOf", ["kind"]), ("oneOf", ["kind"]), ("allOf", ["id", "kind"])])
def test_combinations_at_the_root(key: str, required: list[str]) -> None:
    schema = {"type": "object", "$defs": {"Name": NAME}, key: [ID, {"$ref": "#/$defs/Name"}]}
    found, hidden = acceptable(schema)
    assert found["properties"] == {
        "id": {"type": "integer"},
        "kind": {"anyOf": [{"const": "a"}, {"const": "b"}]},
        "name": {"type": "string"},
    }
    assert found["required"] == required
    assert [list(rule) for rule in hidden] == [[key]]
    assert problems(found) == []


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "array"}, "its input is no object"),
        ({"type": "object", "properties": {"a b": {}}, "required": ["a b"]}, "takes no parameter of the name 'a b'"),
        ({"type": "object", "description": "x" * 70_000}, "more than 65,536 characters"),
    ],
)
def test_what_can_not_be_mended(schema: dict[str, Any], why: str) -> None:
    with pytest.raises(ToolDefinitionError, match=why):
        acceptable(schema)


@pytest.mark.parametrize("ref", ["#", "#/$defs/a", "#/anyOf/0", "#/properties/a", "x.json", "#/$defs/none", "#/x/y"])
def test_references_that_go_in_a_circle_or_nowhere(ref: str) -> None:
    schema = {
        "$ref": ref,
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
        "anyOf": [{"$ref": ref}],
        "properties": {"a": {"$ref": ref}},
        "x": {"y": {"$ref": ref}},
    }
    found, _ = acceptable(schema)
    assert problems(found) == []


KEYWORDS = st.sampled_from(
    [
        *("type", "properties", "required", "items", "anyOf", "oneOf", "allOf", "not", "if", "then", "enum", "const"),
        *("$ref", "$defs", "minimum", "exclusiveMinimum", "pattern", "additionalProperties", "prefixItems", "title"),
        *("description", "default", "minLength", "format", "uniqueItems", "x-y"),
    ]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from(["object", "string", "#", "#/$defs/a", "#/properties/a", "http://x/y", "a"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KEYWORDS, inner, max_size=4)
        | st.dictionaries(st.sampled_from(["a", "b", "c d"]), inner, max_size=3)
    ),
    max_leaves=20,
)


@given(st.dictionaries(KEYWORDS, VALUES, max_size=6))
def test_whatever_comes_is_taken_or_refused(schema: dict[str, Any]) -> None:
    try:
        found, _ = acceptable(schema)
    except ToolDefinitionError:
        return
    assert problems(json.loads(json.dumps(found))) == []
    again, hidden = acceptable(found)
    assert (again, hidden) == (found, [])


def test_names() -> None:
    assert name_of("time", "get_current_time") == "time__get_current_time"
    assert name_of("my server", "it's/é.x") == "my_server__it_s___x"
    long = name_of("s", "x" * 100)
    assert len(long) == 64
    assert long != name_of("s", "x" * 101)
    assert name_of("s", "x" * 61) == f"s__{'x' * 61}"


@pytest.mark.parametrize(
    ("annotations", "declared", "is_trusted", "effects", "needs_approval"),
    [
        (None, None, False, {"write", "net", "untrusted"}, False),
        ({"read_only_hint": True}, None, False, {"write", "net", "untrusted"}, False),
        ({"read_only_hint": True}, None, True, {"read", "net", "untrusted"}, False),
        ({"read_only_hint": True, "open_world_hint": False}, None, True, {"read", "untrusted"}, False),
        ({"destructive_hint": True}, None, False, {"write", "net", "untrusted"}, True),
        ({"destructive_hint": True}, "read", False, {"read", "write"}, True),
        ({"destructive_hint": False}, "read", False, {"read"}, False),
        ({}, ["read", "private"], False, {"read", "private"}, False),
    ],
)
def test_annotations_only_raise(
    annotations: dict[str, bool] | None, declared: Any, is_trusted: bool, effects: set[str], needs_approval: bool
) -> None:
    said = None if annotations is None else ToolAnnotations(**annotations)
    offered = Offered(name="t", input_schema={"type": "object"}, annotations=said)
    options = effects_of(offered, declared, is_trusted=is_trusted)
    assert set(options["effect"]) == effects
    assert options.get("needs_approval", False) is needs_approval
