"""What happens when a call enters the function of a tool, and what comes out."""

from __future__ import annotations

import contextvars
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from tool_runs import Deps, Run, add, lookup

from agentkit.errors import ToolError
from agentkit.tool_results import HARD_CAP, TEXT_CAP
from agentkit.tools import RunContext, Tool, tool


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

    with pytest.raises((RuntimeError, StopIteration)), anyio.fail_after(30):
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
        go_on.wait(60)

    before = time.monotonic()
    with anyio.move_on_after(0.05) as scope:
        await Run()(hangs)
    go_on.set()
    assert scope.cancelled_caught
    assert time.monotonic() - before < 30


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
    ctx = replace(run.ctx, report=lambda text: seen.append((text, threading.get_ident() == here)))
    content = await (not_sync if is_async else sync).run(ctx, {"text": "t"}, threads=run.threads)
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
    begun, stopped = threading.Event(), threading.Event()

    @tool
    def sync() -> Iterator[str]:
        try:
            while True:
                begun.set()
                time.sleep(0.005)
                yield "x"
        finally:
            stopped.set()

    @tool
    async def not_sync() -> AsyncIterator[str]:
        try:
            while True:
                begun.set()
                await anyio.sleep(0.005)
                yield "x"
        finally:
            stopped.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Run(), not_sync if is_async else sync)
        assert await anyio.to_thread.run_sync(begun.wait, 30)
        tasks.cancel_scope.cancel()
    assert await anyio.to_thread.run_sync(stopped.wait, 30)
