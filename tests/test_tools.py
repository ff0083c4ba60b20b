"""`@tool`, `Tool`, and what happens when a call enters one."""

from __future__ import annotations

import contextvars
import functools
import inspect
import json
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pydantic import BaseModel

from agentkit.errors import ToolDefinitionError, ToolError
from agentkit.tool_results import HARD_CAP, TEXT_CAP
from agentkit.tools import InvalidInput, RunContext, Tool, tool


@dataclass
class Deps:
    key: str


class Forecast(BaseModel):
    city: str
    days: int


@tool(effect="read", timeout=20)
async def lookup(ctx: RunContext[Deps], city: str, days: int = 3) -> Forecast:
    """Look up a forecast.

    Args:
        city: Name of the city,
            in English.
        days: How many days, 1 to 14.
    """
    assert ctx.deps.key == "k"
    return Forecast(city=city, days=days)


@tool
def add(a: int, b: int = 1) -> int:
    """Add."""
    return a + b


class Run:
    """Runs tools as `execute` does."""

    def __init__(self) -> None:
        self.progress: list[str] = []
        self.threads = anyio.CapacityLimiter(4)
        self.ctx = RunContext(
            deps=Deps("k"), run_id="run_1", call_id="0.toolu_1", tool_use_id="toolu_1", tool_name="t", deadline=None
        )

    async def __call__(self, it: Tool, **value: Any) -> Any:
        arguments = it.validate(value)
        return await it.run(self.ctx, arguments, threads=self.threads, progress=self.progress.append)


# Making one.


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
    assert add.__module__ == __name__
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


# Running one.


@pytest.mark.anyio
async def test_results() -> None:
    run = Run()
    assert await run(lookup, city="Rome") == '{"city":"Rome","days":3}'
    assert await run(add, a="2") == "3"

    @tool
    async def blocks() -> list[Any]:
        return ["see", b"\x89PNG\r\n\x1a\n"]

    @tool
    def nothing() -> None: ...

    content = await run(blocks)
    assert [block["type"] for block in content] == ["text", "image"]
    assert await run(nothing) == ""
    assert run.progress == []


@pytest.mark.anyio
async def test_an_empty_list_of_blocks_is_not_run_again() -> None:
    entered = 0

    @tool
    def blank() -> list[Any]:
        nonlocal entered
        entered += 1
        return [{"type": "text", "text": " "}]

    assert await Run()(blank) == []
    assert entered == 1


@pytest.mark.anyio
@pytest.mark.parametrize("error", [KeyError("x"), ZeroDivisionError(), SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize("is_async", [True, False])
async def test_what_it_raises_comes_out(error: BaseException, is_async: bool) -> None:
    @tool
    def sync() -> None:
        raise error

    @tool
    async def not_sync() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        await Run()(not_sync if is_async else sync)
    assert caught.value is error


@pytest.mark.anyio
async def test_stop_iteration_in_a_thread() -> None:
    @tool
    def stops() -> Any:
        return next(iter([]))

    with pytest.raises((RuntimeError, StopIteration)), anyio.fail_after(5):
        await Run()(stops)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("plain", "plain"),
        ("x\0" * TEXT_CAP, None),
        ([{"type": "text", "text": "a\ud800"}], [{"type": "text", "text": "a\ufffd"}]),
    ],
)
async def test_the_text_of_a_tool_error_is_made_fit_to_send(content: Any, expected: Any) -> None:
    @tool
    async def fails() -> None:
        raise ToolError(content)

    with pytest.raises(ToolError) as caught:
        await Run()(fails)
    if expected is None:
        assert "left out" in str(caught.value.content)
        assert len(str(caught.value.content)) < TEXT_CAP + 100
    else:
        assert caught.value.content == expected


@pytest.mark.anyio
@pytest.mark.parametrize("is_async", [True, False])
async def test_what_cannot_be_sent_is_an_error(is_async: bool) -> None:
    @tool
    def sync() -> object:
        return object()

    @tool
    async def not_sync() -> object:
        return object()

    with pytest.raises(ToolError, match="The tool returned object, which can't be sent"):
        await Run()(not_sync if is_async else sync)


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.mark.anyio
async def test_sync_ones_run_in_a_thread_with_the_context() -> None:
    @tool
    def where() -> list[Any]:
        return [threading.get_ident(), variable.get()]

    variable.set("set")
    thread, value = json.loads(await Run()(where))
    assert thread != threading.get_ident()
    assert value == "set"


@pytest.mark.anyio
async def test_the_limit_of_threads_is_kept() -> None:
    run = Run()
    run.threads.total_tokens = 1
    at_once: list[int] = []

    @tool
    def busy() -> None:
        at_once.append(run.threads.borrowed_tokens)
        time.sleep(0.01)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(run, busy)
    assert at_once == [1, 1, 1]


@pytest.mark.anyio
async def test_a_thread_is_left_behind_when_cancelled() -> None:
    go_on = threading.Event()

    @tool
    def hangs() -> None:
        go_on.wait(10)

    before = time.monotonic()
    with anyio.move_on_after(0.05) as scope:
        await Run()(hangs)
    go_on.set()
    assert scope.cancelled_caught
    assert time.monotonic() - before < 5


# Progress.


@pytest.mark.anyio
@pytest.mark.parametrize("is_async", [True, False])
async def test_progress(is_async: bool) -> None:
    here = threading.get_ident()
    seen: list[tuple[str, bool]] = []

    @tool
    def sync(ctx: RunContext, text: str) -> str:
        ctx.progress(f"{text} 1")
        ctx.progress(f"{text} 2")
        return ctx.call_id

    @tool
    async def not_sync(ctx: RunContext, text: str) -> str:
        ctx.progress(f"{text} 1")
        await anyio.lowlevel.checkpoint()
        ctx.progress(f"{text} 2")
        return ctx.call_id

    run = Run()
    content = await (not_sync if is_async else sync).run(
        run.ctx,
        {"text": "t"},
        threads=run.threads,
        progress=lambda text: seen.append((text, threading.get_ident() == here)),
    )
    assert content == "0.toolu_1"
    assert seen == [("t 1", True), ("t 2", True)]


def test_progress_without_a_run() -> None:
    ctx = RunContext(deps=Deps("hidden"), run_id="r", call_id="c", tool_use_id="u", tool_name="t")
    ctx.progress("nobody sees it")
    assert "hidden" not in repr(ctx)
    assert ctx.deadline is None


@tool
async def async_pieces(count: int) -> AsyncIterator[Any]:
    for number in range(count):
        yield f"{number} "
        await anyio.lowlevel.checkpoint()
    yield {"done": count}


@tool
def pieces(count: int) -> Iterator[Any]:
    for number in range(count):
        yield f"{number} "
    yield {"done": count}


@tool
async def returns_pieces(count: int) -> Any:
    return pieces(count)


@tool
def returns_async_pieces(count: int) -> Any:
    return async_pieces(count)


@tool
def ends_with(count: int) -> Any:
    yield from (f"{number} " for number in range(count))
    return {"done": count}


@pytest.mark.anyio
@pytest.mark.parametrize("it", [async_pieces, pieces, returns_pieces, returns_async_pieces, ends_with])
async def test_generators(it: Tool) -> None:
    run = Run()
    assert await run(it, count=2) == '0 1 {"done":2}\n'
    assert run.progress == ["0 ", "1 ", '{"done":2}\n']


@pytest.mark.anyio
async def test_a_generator_of_images_and_nothing() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}

    @tool
    def shows() -> Iterator[Any]:
        yield image

    @tool
    def is_silent() -> Iterator[Any]:
        yield from ()

    run = Run()
    assert await run(shows) == [image]
    assert await run(is_silent) == ""
    assert run.progress == []


@pytest.mark.anyio
@pytest.mark.parametrize("is_async", [True, False])
async def test_an_endless_generator_is_stopped_and_closed(is_async: bool) -> None:
    closed = False

    @tool
    def sync() -> Iterator[str]:
        nonlocal closed
        try:
            while True:
                yield "x" * 1_000_000
        finally:
            closed = True

    @tool
    async def not_sync() -> AsyncIterator[str]:
        nonlocal closed
        try:
            while True:
                yield "x" * 1_000_000
        finally:
            closed = True

    content = await Run()(not_sync if is_async else sync)
    assert closed
    assert f"stopped after {HARD_CAP:,} bytes" in content[-100:]
    assert len(content) < TEXT_CAP + 200


@pytest.mark.anyio
@pytest.mark.parametrize("is_async", [True, False])
async def test_a_generator_that_fails_or_yields_what_cannot_be_sent(is_async: bool) -> None:
    closed = 0

    @tool
    def sync(good: bool) -> Iterator[Any]:
        nonlocal closed
        try:
            yield "before"
            yield 1 / 0 if good else object()
        finally:
            closed += 1

    @tool
    async def not_sync(good: bool) -> AsyncIterator[Any]:
        nonlocal closed
        try:
            yield "before"
            yield 1 / 0 if good else object()
        finally:
            closed += 1

    it = not_sync if is_async else sync
    with pytest.raises(ZeroDivisionError):
        await Run()(it, good=True)
    with pytest.raises(ToolError):
        await Run()(it, good=False)
    assert closed == 2


@pytest.mark.anyio
@pytest.mark.parametrize("is_async", [True, False])
async def test_a_cancelled_generator_stops(is_async: bool) -> None:
    stopped = threading.Event()

    @tool
    def sync() -> Iterator[str]:
        try:
            while True:
                time.sleep(0.005)
                yield "x"
        finally:
            stopped.set()

    @tool
    async def not_sync() -> AsyncIterator[str]:
        try:
            while True:
                await anyio.sleep(0.005)
                yield "x"
        finally:
            stopped.set()

    with anyio.move_on_after(0.05) as scope:
        await Run()(not_sync if is_async else sync)
    assert scope.cancelled_caught
    assert await anyio.to_thread.run_sync(stopped.wait, 5)


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
