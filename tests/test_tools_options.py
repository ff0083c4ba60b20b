"""The options of a tool that are sent: as the wire has them, in its order, and refused where they can't work."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agentkit import Agent, Client
from agentkit.errors import ToolDefinitionError
from agentkit.rules import check_request
from agentkit.tools import Tool, tool

CODE = "code_execution_20260120"
ORDER = [
    "name",
    "description",
    "input_schema",
    "cache_control",
    "strict",
    "defer_loading",
    "allowed_callers",
    "eager_input_streaming",
    "input_examples",
]  # Source: messages-api.md section 9


def weather(city: str, days: int = 3) -> str:
    """Looks up a forecast."""
    return f"{city}: {days}"


def schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def test_options_are_sent_in_the_order_of_the_wire() -> None:
    made = tool(
        input_examples=[{"city": "Lindholm"}, {"city": "Aldham", "days": 1}],
        eager_input_streaming=True,
        allowed_callers=("direct", CODE),
        defer_loading=True,
        strict=False,
    )(weather)
    cached = tool(cache_control={"type": "ephemeral", "ttl": "1h"}, strict=True)(weather)
    assert list(made.definition) == [name for name in ORDER if name != "cache_control"]
    assert list(cached.definition) == ORDER[:5]
    assert cached.definition["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    sent = {name: made.definition[name] for name in ORDER[5:]}
    assert sent == {
        "defer_loading": True,
        "allowed_callers": ["direct", CODE],
        "eager_input_streaming": True,
        "input_examples": [{"city": "Lindholm"}, {"city": "Aldham", "days": 1}],
    }
    assert json.dumps(made.definition) == json.dumps(made.definition)
    body = {"model": "claude-sonnet-4-6", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    assert check_request({**body, "tools": [made.definition, {**cached.definition, "name": "cached"}]}) == []


def test_only_what_is_given_is_sent() -> None:
    assert list(tool(weather).definition) == ORDER[:3]
    assert tool(defer_loading=False)(weather).definition["defer_loading"] is False
    one = tool(allowed_callers=CODE)(weather)
    assert one.definition["allowed_callers"] == [CODE]


def test_a_tool_shares_nothing_with_what_it_was_given() -> None:
    mark, examples = {"type": "ephemeral"}, [{"city": "Lindholm"}]
    made = tool(cache_control=mark, input_examples=examples)(weather)
    mark["ttl"], examples[0]["city"] = "1h", "Aldham"
    made.definition["input_examples"].clear()
    made.definition["cache_control"].clear()
    assert made.definition["cache_control"] == {"type": "ephemeral"}
    assert made.definition["input_examples"] == [{"city": "Lindholm"}]


def test_a_caller_that_is_not_known_passes() -> None:
    made = tool(allowed_callers=["code_execution_20991231", "agents_20300101"])(weather)
    assert made.definition["allowed_callers"] == ["code_execution_20991231", "agents_20300101"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"defer_loading": True, "cache_control": {"type": "ephemeral"}},
            "cache_control set.*leave one of the two out",
        ),
        ({"strict": True, "allowed_callers": [CODE]}, "strict=true cannot.*leave strict out, or set allowed_callers="),
        ({"needs_approval": True, "allowed_callers": [CODE]}, '270 seconds.*add "direct", or leave needs_approval out'),
        ({"needs_approval": lambda **_: True, "allowed_callers": CODE}, "needs_approval can't go with"),
        ({"allowed_callers": []}, "allowed_callers must name one or more"),
        ({"allowed_callers": [""]}, "allowed_callers must name one or more"),
        ({"allowed_callers": [None]}, "allowed_callers must name one or more"),
        ({"cache_control": {"type": {1, 2}}}, "can't be sent as JSON"),
        ({"input_examples": [{"city": b"x"}]}, "can't be sent as JSON"),
    ],
)
def test_what_cannot_work_is_refused_with_the_way_out(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ToolDefinitionError, match=f"tool 'weather': .*{text}"):
        tool(**options)(weather)


def test_what_can_work_is_not_refused() -> None:
    tool(needs_approval=True, allowed_callers=["direct", CODE])(weather)
    tool(strict=True, allowed_callers=["direct"])(weather)
    tool(strict=True, defer_loading=False, cache_control={"type": "ephemeral"})(weather)


def test_code_calls_no_tool_with_a_recursive_schema() -> None:
    tree = {"$defs": {"tree": schema(left={"$ref": "#/$defs/tree"})}, **schema(root={"$ref": "#/$defs/tree"})}
    given: dict[str, Any] = {"name": "grow", "description": "Grows.", "input_schema": tree, "call": print}
    Tool(**given)
    with pytest.raises(ToolDefinitionError, match=r"tool 'grow': Circular \$ref detected; write the schema without"):
        Tool(**given, allowed_callers=[CODE])


@pytest.mark.parametrize(
    ("examples", "text"),
    [
        ([{"city": "Lindholm"}, {"days": 2}], r"input_examples\[1\] does not fit: city: "),
        ([{"city": "Lindholm", "days": "soon"}], r"input_examples\[0\] does not fit: days: "),
        ([{"city": "Lindholm", "days": "3"}], r"input_examples\[0\] does not fit: days"),  # pydantic would take it
        ([{"city": "Lindholm", "when": 1}], r"input_examples\[0\] does not fit: when"),
        (["Lindholm"], r"input_examples\[0\] does not fit: the input should be an object"),
    ],
)
def test_an_example_that_does_not_fit_is_named(examples: list[Any], text: str) -> None:
    with pytest.raises(ToolDefinitionError, match=f"tool 'weather': {text}"):
        tool(input_examples=examples)(weather)


def test_examples_of_a_tool_with_a_schema_alone_must_fit_it() -> None:
    given: dict[str, Any] = {"name": "plus", "description": "Adds.", "call": print}
    Tool(**given, input_schema=schema(a={"type": "integer"}), input_examples=[{"a": 1}])
    Tool(**given, input_schema=schema(a={"$ref": "https://a.test/b"}), input_examples=[{"a": 1}])
    with pytest.raises(ToolDefinitionError, match=r"'plus': input_examples\[0\] does not fit: a: must be integer"):
        Tool(**given, input_schema=schema(a={"type": "integer"}), input_examples=[{"a": "x"}])


def test_an_agent_sends_them() -> None:
    made = tool(allowed_callers=["direct", CODE], defer_loading=False)(weather)
    agent = Agent("claude-sonnet-4-6", tools=[made], client=Client(base_url="http://127.0.0.1:9"))
    assert agent.preview("Hi.").body["tools"] == [made.definition]
