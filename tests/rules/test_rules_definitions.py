"""The shapes of tool definitions: ours, server tools of known versions, client tools that the API defines."""

from __future__ import annotations

from typing import Any

import pytest
from bodies import EXTRA, REQUIRED, SEARCH, TOOL, Body, Case, tools

from agentkit.rules import Problem, check_request

CUSTOM = "tools.0.custom"
FETCH = {"type": "web_fetch_20250910", "name": "web_fetch"}
INVALID = (
    "JSON schema is invalid. It must match JSON Schema draft 2020-12 (https://json-schema.org/draft/2020-12). Learn "
    "more about tool use at https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview."
)
DOMAIN = "a domain has no scheme, and a wildcard only in its path"
AT_LEAST = "must be greater than or equal to 1"


def ours(**fields: Any) -> Body:
    return tools(TOOL | fields)


def taking(schema: Any) -> Body:
    return ours(input_schema={"type": "object", "properties": {"a": schema}})


def located(**fields: Any) -> Body:
    return tools(SEARCH | {"user_location": {"type": "approximate"} | fields})


REFUSED: list[Case] = [
    ("field_unknown", f"{CUSTOM}.parameters", EXTRA, ours(parameters={})),
    ("field_type", f"{CUSTOM}.description", "Input should be a valid string", ours(description=7)),
    ("field_type", f"{CUSTOM}.strict", "Input should be a valid boolean", ours(strict="yes")),
    ("field_type", f"{CUSTOM}.allowed_callers", "Input should be a valid array", ours(allowed_callers="direct")),
    ("schema_invalid", f"{CUSTOM}.input_schema", INVALID, taking({"type": "text"})),
    ("schema_invalid", f"{CUSTOM}.input_schema", INVALID, taking({"type": "array", "items": [{}, {}]})),
    ("schema_invalid", f"{CUSTOM}.input_schema", INVALID, taking({"type": "string", "required": True})),
    ("schema_invalid", f"{CUSTOM}.input_schema", INVALID, taking({"type": "integer", "exclusiveMinimum": True})),
    ("schema_invalid", f"{CUSTOM}.input_schema", INVALID, taking({"anyOf": []})),
    ("schema_invalid", f"{CUSTOM}.input_schema", INVALID, taking({"type": "string", "minLength": -1})),
    ("schema_invalid", f"{CUSTOM}.input_schema", INVALID, taking({"type": []})),
    ("schema_invalid", f"{CUSTOM}.input_schema", INVALID, taking("string")),
    (
        "input_example",
        f"{CUSTOM}.input_examples.1",
        "does not match the input_schema: a: must be integer",
        ours(
            input_schema={"type": "object", "properties": {"a": {"type": "integer"}}},
            input_examples=[{"a": 1}, {"a": "1"}],
        ),
    ),
    (
        "field_unknown",
        "tools.0.web_search_20250305.input_examples",
        EXTRA,
        tools(SEARCH | {"input_examples": [{}]}),
    ),
    ("field_value", "tools.0.web_search_20250305.name", "Input should be 'web_search'", tools(SEARCH | {"name": "s"})),
    ("field_range", "tools.0.web_search_20250305.max_uses", AT_LEAST, tools(SEARCH | {"max_uses": 0})),
    (
        "field_range",
        "tools.0.advisor_20260301.max_tokens",
        "must be greater than or equal to 1024",
        tools({"type": "advisor_20260301", "name": "advisor", "model": "m", "max_tokens": 100}),
    ),
    (
        "field_value",
        "tools.0.web_search_20250305.user_location.country",
        "String should have at most 2 characters",
        located(country="Italy"),
    ),
    (
        "field_value",
        "tools.0.web_search_20250305.user_location.country",
        "String should have at least 2 characters",
        located(country="I"),
    ),
    (
        "field_value",
        "tools.0.web_search_20250305.user_location.type",
        "Input should be 'approximate'",
        located(type="exact"),
    ),
    (
        "domain",
        "tools.0.web_search_20250305.allowed_domains.0",
        DOMAIN,
        tools(SEARCH | {"allowed_domains": ["https://a.example"]}),
    ),
    (
        "domain",
        "tools.0.web_fetch_20250910.blocked_domains.1",
        DOMAIN,
        tools(FETCH | {"blocked_domains": ["a.example", "*.b.example"]}),
    ),
    (
        "field_value",
        "tools.0.bash_20250124.name",
        "Input should be 'bash'",
        tools({"type": "bash_20250124", "name": "shell"}),
    ),
    (
        "field_required",
        "tools.0.computer_20251124.display_height_px",
        REQUIRED,
        tools({"type": "computer_20251124", "name": "computer", "display_width_px": 100}),
    ),
    ("field_required", "tools.0.mcp_toolset.mcp_server_name", REQUIRED, tools({"type": "mcp_toolset"}, TOOL)),
]

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "title": {"type": ["string", "null"], "format": "later", "minLength": 1.0},
        "list": {"type": "array", "prefixItems": [{"const": 1}], "items": False, "uniqueItems": True},
        "any": True,
        "one": {"oneOf": [{"enum": [1, {}]}, {"$ref": "#/$defs/A"}]},
    },
    "required": ["title"],
    "$defs": {"A": {"not": {"type": "null"}}},
    "later": 1,
}
ACCEPTED = [
    ours(type="custom", description="Adds.", input_schema=SCHEMA, eager_input_streaming=True, strict=None),
    ours(input_examples=[{"a": 1}]),
    ours(input_schema={"type": "object", "properties": {"a": {"$ref": "#/gone"}}}, input_examples=[{"a": 1}]),
    tools(SEARCH | {"max_uses": None, "allowed_domains": ["a.example", "b.example:80/x/*"], "cache_control": None}),
    tools(FETCH | {"citations": {"enabled": True}, "max_content_tokens": 1000}),
    located(city="Rome", region=None, country="IT", timezone="Europe/Rome"),
    tools({"type": "web_search_20991231", "name": "find", "later": 1}),
    tools({"type": "tool_search_tool_regex", "name": "tool_search_tool_regex"}, TOOL),
    tools({"type": "memory_20250818", "name": "memory", "later": 1}),
    tools({"type": "browser_toolset_20260801", "configs": {}}),
]


@pytest.mark.parametrize(("rule", "path", "words", "request_body"), REFUSED, ids=[case[1] for case in REFUSED])
def test_each_shape_is_refused(rule: str, path: str, words: str, request_body: Body) -> None:
    assert check_request(request_body) == [Problem(rule, path, f"{path}: {words}")]


@pytest.mark.parametrize("request_body", ACCEPTED)
def test_what_is_right_or_not_known_passes(request_body: Body) -> None:
    assert check_request(request_body) == []


def test_an_example_that_is_none_is_a_matter_of_shape() -> None:
    wrong = check_request(ours(input_examples=["a"]))
    assert [problem.path for problem in wrong] == [f"{CUSTOM}.input_examples.0"]
    assert [problem.rule for problem in check_request(ours(input_schema=7, input_examples=[{}]))] == ["input_schema"]
