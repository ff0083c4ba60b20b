"""`@tool` and `Tool`."""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel
from tool_runs import Deps, Forecast, Run, add, lookup

from agentkit.errors import ToolDefinitionError
from agentkit.tools import InvalidInput, RunContext, Tool, tool


def test_definition() -> None:
    assert lookup.definition == {
        "name": "lookup",
        "description": "Look up a forecast.",
        "input_schema": {
            "type": "object",
            "properties": {
                "city": {"description": "Name of the city, in English.", "type": "string"},
                "days": {"description": "How many days, 1 to 14.", "type": "integer", "default": 3},
            },
            "required": ["city"],
            "additionalProperties": False,
        },
    }
    lookup.definition["input_schema"]["properties"].clear()
    assert json.dumps(lookup.definition) == json.dumps(lookup.definition)
    assert lookup.input_schema["required"] == ["city"]
    assert lookup.description == "Look up a forecast."


def test_options() -> None:
    assert (lookup.name, lookup.effect, lookup.timeout) == ("lookup", {"read"}, 20)
    assert (add.name, add.effect, add.timeout, add.strict) == ("add", frozenset(), None, None)
    assert (add.needs_approval, add.polls, add.idempotent) == (False, False, False)

    def ask(a: int) -> bool:
        return a > 1

    it = tool(
        name="plus",
        description="Another text.",
        effect=["write", "net"],
        needs_approval=ask,
        strict=True,
        polls=True,
        idempotent=True,
    )(add.__wrapped__)  # type: ignore[attr-defined]
    assert it.definition["name"] == "plus"
    assert it.definition["description"] == "Another text."
    assert it.definition["strict"] is True
    assert list(it.definition) == ["name", "description", "input_schema", "strict"]
    assert (it.effect, it.needs_approval, it.polls, it.idempotent) == ({"write", "net"}, ask, True, True)
    assert "description" not in tool(description="")(add.__wrapped__).definition  # type: ignore[attr-defined]
    assert tool(strict=False)(add.__wrapped__).definition["strict"] is False  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("effect", "is_read"),
    [
        (None, False),
        ((), False),
        ("read", True),
        ({"read", "private"}, True),
        (["private"], False),
        ({"read", "untrusted"}, False),
        ({"read", "net"}, False),
        ("write", False),
        ("exec", False),
    ],
)
def test_is_read(effect: Any, is_read: bool) -> None:
    assert tool(effect=effect)(add.__wrapped__).is_read is is_read  # type: ignore[attr-defined]


def test_it_stays_the_function() -> None:
    assert add(2) == 3
    assert add(2, 5) == 7
    assert add(b=1, a=1) == 2
    assert add.__name__ == "add"
    assert add.__doc__ == "Add."
    assert add.__module__ == "tool_runs"
    assert list(inspect.signature(add).parameters) == ["a", "b"]
    assert inspect.iscoroutinefunction(inspect.unwrap(lookup))
    assert repr(add) == "Tool('add')"


@pytest.mark.anyio
async def test_an_async_one_too() -> None:
    ctx = Run().ctx
    assert await lookup(ctx, "Rome", days=1) == Forecast(city="Rome", days=1)


def test_it_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match="make another one with name=…"):
        add.name = "other"
    with pytest.raises(AttributeError):
        del add.name
    assert add.name == "add"
    assert len({add, lookup, add}) == 2


class Desk:
    def __init__(self, factor: int = 2) -> None:
        self.factor = factor

    def times(self, a: int) -> int:
        """Multiply."""
        return a * self.factor

    async def __call__(self, a: int) -> int:
        """Call."""
        return a * self.factor

    @staticmethod
    @tool
    def static(a: int) -> int:
        return a

    @classmethod
    def made(cls, a: int) -> int:
        return cls(3).times(a)


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


async def slow(a: int, secret: str = "") -> str:
    """Slow."""
    return f"{a}{secret}"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("function", "name", "description", "result"),
    [
        (Desk().times, "times", "Multiply.", "14"),
        (Desk.made, "made", "", "21"),
        (Desk.static.__wrapped__, "static", "", "7"),  # type: ignore[attr-defined]
        (Desk(), "Desk", "Call.", "14"),
        (functools.partial(slow, secret="x"), "slow", "Slow.", "7x"),
        (functools.partial(Desk()), "Desk", "", "14"),
        (wrapped(slow), "slow", "Slow.", "7"),
        (wrapped(add.__wrapped__), "add", "Add.", "8"),  # type: ignore[attr-defined]
        (functools.partial(wrapped(slow)), "slow", "Slow.", "7"),
    ],
)
async def test_what_can_be_a_tool(function: Callable[..., Any], name: str, description: str, result: str) -> None:
    it = tool(function)
    assert (it.name, it.description) == (name, description)
    assert "secret" not in it.input_schema["properties"] or name == "slow"
    assert await Run()(it, a=7) == result


def test_what_a_partial_gives_is_not_asked_for() -> None:
    it = tool(functools.partial(slow, secret="x"))
    assert list(it.input_schema["properties"]) == ["a"]
    with pytest.raises(InvalidInput):
        it.validate({"a": 1, "secret": "mine"})


def test_decorating_where_the_types_are_local() -> None:
    class Place(BaseModel):
        name: str

    @tool
    def go(to: list[Place], via: Place | None = None) -> str:
        return to[0].name

    assert set(go.input_schema["$defs"]) == {"Place"}
    assert go(**go.validate({"to": [{"name": "Rome"}]})) == "Rome"


def no_annotation(city):  # type: ignore[no-untyped-def]
    ...


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: tool(no_annotation), "tool 'no_annotation': parameter 'city': it has no annotation: say its type"),
        (lambda: tool(Desk.times), "tool 'times': parameter 'self': it has no annotation: decorate the bound method"),
        (lambda: tool(lambda: 1), "a tool can't have the name '<lambda>': give it 1 to 64"),
        (lambda: tool(name="two words")(slow), "a tool can't have the name 'two words'"),
        (lambda: tool(name="x" * 65)(slow), "a tool can't have the name"),
        (lambda: tool(name="é")(slow), "a tool can't have the name"),
        (lambda: tool(name="new\n")(slow), "a tool can't have the name"),
        (lambda: tool(add), "Tool('add') can't be made a tool: give a function"),
        (lambda: tool(Desk), "<class 'test_tools.Desk'> can't be made a tool"),
        (lambda: tool("lookup"), "'lookup' can't be made a tool"),  # type: ignore[call-overload]
        (lambda: tool(effect="reed")(slow), "tool 'slow': there is no effect 'reed': use exec, net, private, read"),
        (lambda: tool(effect=["read", 3])(slow), "tool 'slow': there is no effect 3"),  # type: ignore[list-item]
        (lambda: tool(timeout=0)(slow), "tool 'slow': timeout must be more than 0 seconds"),
        (lambda: tool(timeout=float("nan"))(slow), "tool 'slow': timeout must be more than 0 seconds"),
        (lambda: given(name=3), "a tool can't have the name 3"),
        (lambda: given(call=3), "tool 'sum': call must be a function, not a int"),
        (lambda: given(input_schema={"type": "string"}), "tool 'sum': input_schema needs"),
    ],
)
def test_refused(make: Callable[[], Any], text: str) -> None:
    with pytest.raises(ToolDefinitionError) as caught:
        make()
    assert str(caught.value).startswith(text)
    assert "\n" not in str(caught.value)


def given(**options: Any) -> Tool:
    """A tool that is known by its schema."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    return Tool(**{"name": "sum", "description": "Sums.", "input_schema": schema, "call": lambda **it: it, **options})


@pytest.mark.anyio
async def test_a_tool_known_by_its_schema() -> None:
    async def asks(ctx: RunContext[Deps], **it: Any) -> Any:
        return [ctx.tool_use_id, it]

    it = given(effect="net", strict=True)
    assert it.definition == {
        "name": "sum",
        "description": "Sums.",
        "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}},
        "strict": True,
    }
    run = Run()
    assert await run(it, a="no integer", other=[1]) == '{"a":"no integer","other":[1]}'
    assert await run(given(call=asks), a=1) == '["toolu_1",{"a":1}]'
    assert it(a=1) == {"a": 1}
    with pytest.raises(InvalidInput, match="the input should be an object, not an array"):
        it.validate([1])


def test_the_first_tool_loads_pydantic_and_no_docstring_parser() -> None:
    import subprocess

    script = """
import sys
from agentkit.tools import Tool, tool
print({"pydantic", "docstring_parser"} & set(sys.modules))
Tool(name="a", description="", input_schema={"type": "object"}, call=print).definition
print({"pydantic", "docstring_parser"} & set(sys.modules))
@tool
def f(x: int) -> None: "One line."
f.definition
print({"pydantic", "docstring_parser"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["set()", "set()", "{'pydantic'}"]
