"""Calls of a run: at the same time, in order, bounded, cancelled."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint
from calls import SECRET, UNKNOWN, World, uses_of
from hypothesis import given
from hypothesis import strategies as st
from scripted import tool_use

from agentkit.events import ToolResult
from agentkit.tools import RunContext, Tool, tool

pytestmark = pytest.mark.anyio
who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


# Concurrency


@pytest.mark.parametrize("sort", ["async", "sync"])
async def test_X6_calls_overlap_and_results_are_in_call_order(sort: str) -> None:
    if sort == "async":
        ended = [anyio.Event() for _ in range(9)]

        @tool
        async def wait(at: int) -> str:
            """Each call waits for the one after it."""
            await ended[at + 1].wait()
            ended[at].set()
            return f"result {at}"
    else:
        ended = [threading.Event() for _ in range(9)]

        @tool
        def wait(at: int) -> str:
            """Each call waits for the one after it."""
            assert ended[at + 1].wait(30)
            ended[at].set()
            return f"result {at}"

    ended[8].set()
    world = World([wait], uses_of("wait", 8))
    with anyio.fail_after(60):
        results = await world.run()
    assert [block["content"] for block in results] == [f"result {at}" for at in range(8)]
    assert world.outcomes == ["done"] * 8


@pytest.mark.parametrize("sort", ["async", "sync"])
async def test_X6_no_more_than_max_parallel_tools_at_once(sort: str) -> None:
    running, most = 0, 0
    lock, three = threading.Lock(), threading.Event()

    @contextmanager
    def counted() -> Iterator[None]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if most == 3:
                three.set()
        yield
        with lock:
            running -= 1

    async def wait_async(at: int) -> int:
        """Counts."""
        with counted():
            await anyio.to_thread.run_sync(three.wait, 30)
            await anyio.sleep(0.01)
        return at

    def wait_sync(at: int) -> int:
        """Counts."""
        with counted():
            three.wait(30)
            time.sleep(0.01)
        return at

    made = tool(name="wait")(wait_async if sort == "async" else wait_sync)
    world = World([made], uses_of("wait", 10), max_parallel_tools=3)
    results = await world.run()
    assert most == 3
    assert [block["content"] for block in results] == [str(at) for at in range(10)]


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_fifty_calls_do_not_wait_for_each_other() -> None:
    running, sixteen = 0, anyio.Event()

    @tool
    async def wait(at: int) -> int:
        """Waits until as many run as may."""
        nonlocal running
        running += 1
        if running == 16:
            sixteen.set()
        await sixteen.wait()
        return at

    world = World([wait], uses_of("wait", 50))
    with anyio.fail_after(30):
        assert len(await world.run()) == 50


async def test_X19_sync_tools_run_in_threads_with_context_variables() -> None:
    seen: list[tuple[str, bool]] = []
    main = threading.current_thread()

    @tool
    def look() -> None:
        """Looks around."""
        seen.append((who.get(), threading.current_thread() is main))

    who.set("ada")
    world = World([look], [tool_use("look")])
    assert (await world.run())[0]["content"] == ""
    assert seen == [("ada", False)]


async def test_the_context_of_a_call() -> None:
    seen: list[RunContext[Any]] = []
    entered: list[float] = []

    @tool(timeout=5)
    async def look(ctx: RunContext[Any]) -> None:
        """Looks around."""
        entered.append(anyio.current_time())
        seen.append(ctx)

    world = World([look], [tool_use("look")])
    began = anyio.current_time()
    await world.run()
    (ctx,) = seen
    assert (ctx.deps, ctx.run_id, ctx.call_id, ctx.tool_use_id, ctx.tool_name) == (
        {"db": 1},
        "run_1",
        "1:toolu_1",
        "toolu_1",
        "look",
    )
    assert ctx.deadline is not None
    assert began + 5 <= ctx.deadline <= entered[0] + 5


async def test_intents_are_written_before_and_results_after() -> None:
    seen: list[str] = []

    @tool
    async def look() -> str:
        """Looks at the log."""
        seen.append(world.transcript.calls["1:toolu_1"].state)
        return "x"

    world = World([look], [tool_use("look")])
    world.commit()
    async with world.calls() as calls:
        async for event in calls.run(world.transcript.unended()):
            seen.append(f"{event.type} {world.transcript.calls['1:toolu_1'].state}")
    assert seen[0] == "started"
    assert seen[-1] == "tool_result ended"


# Cancellation


async def test_C2_started_calls_end_as_cancelled_and_the_others_stay_open() -> None:
    started: list[int] = []

    @tool
    async def hang(at: int) -> None:
        """Hangs."""
        started.append(at)
        await anyio.sleep_forever()

    world = World([hang], uses_of("hang", 4), max_parallel_tools=2)
    await world.leave_at(lambda: len(started) == 2)
    states = [call.state for call in world.transcript.calls.values()]
    assert sorted(states) == ["ended", "ended", "open", "open"]
    assert world.outcomes == ["cancelled", "cancelled"]
    ended = [call for call in world.transcript.calls.values() if call.result]
    assert all(
        call.result["content"] == f"The run was stopped while this call ran. {UNKNOWN}"  # type: ignore[index]
        for call in ended
    )
    assert sorted(started) == sorted(call.block["input"]["at"] for call in ended)


async def test_C2_a_tool_that_finishes_its_work_while_it_is_cancelled_is_done() -> None:
    @tool
    async def stubborn() -> str:
        """Finishes."""
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.03)
        return "finished"

    world = World([stubborn], [tool_use("stubborn")])
    await world.leave_at(lambda: True)
    assert world.outcomes == ["done"]
    assert world.answer()[0]["content"] == "finished"


async def test_C4_closing_twice_and_closing_what_never_ran() -> None:
    world = World([])
    async with world.calls() as calls:
        await calls.aclose()
    async with world.calls() as calls:
        await world.drain(calls)  # nothing to run
    assert world.events == []


async def test_a_fault_of_the_log_ends_the_run_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    @tool
    async def act() -> str:
        """Acts."""
        return "ran"

    world = World([act], [tool_use("act")])
    world.commit()

    def full(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(world.transcript, "start", full)
    async with world.calls() as calls:
        with pytest.raises(OSError, match="disk full"):
            await world.drain(calls)


# Any schedule

_EFFECTS = st.sampled_from([None, "read", "write"])
_ENDS = st.sampled_from(["value", "error", "hang", "thread"])
_SCHEDULE = st.lists(st.tuples(_EFFECTS, _ENDS, st.booleans(), st.integers(0, 3)), max_size=7)


@pytest.mark.slow
@given(schedule=_SCHEDULE, cap=st.integers(1, 4), spread=st.booleans(), backend=st.sampled_from(["asyncio", "trio"]))
def test_any_schedule_ends_with_one_result_each(
    schedule: list[tuple[str | None, str, bool, int]], cap: int, spread: bool, backend: str
) -> None:
    running: list[int] = []
    most = [0]
    entered: list[int] = []

    async def act(at: int) -> str:
        _, end, _, pause = schedule[at]
        entered.append(at)
        running.append(at)
        most[0] = max(most[0], len(running))
        try:
            for _ in range(pause):
                await checkpoint()
            if end == "hang":
                await anyio.sleep_forever()
            if end == "thread":
                await anyio.to_thread.run_sync(int)
            if end == "error":
                raise LookupError(SECRET)
        finally:
            running.remove(at)
        return f"value {at}"

    tools = [
        Tool(
            name=f"act{at}",
            description="",
            input_schema={"type": "object"},
            call=act,
            effect=effect,
            timeout=0.01 if end == "hang" else 20,
        )
        for at, (effect, end, *_) in enumerate(schedule)
    ]
    uses = [tool_use(f"act{at}", id=f"toolu_{at}", at=at) for at in range(len(schedule))]
    world = World(tools, uses, max_parallel_tools=cap)

    async def main() -> None:
        async with world.calls() as calls:
            for use, (_, _, offered, _) in zip(uses, schedule, strict=True):
                if offered:
                    calls.offer(use)
                    if spread:
                        await checkpoint()
            world.commit()
            with anyio.fail_after(30):
                await world.drain(calls)

    anyio.run(main, backend=backend)
    assert sorted(entered) == list(range(len(schedule)))  # each once, early or not
    assert most[0] <= cap
    expected = {"value": "done", "thread": "done", "error": "failed", "hang": "timed_out"}
    if schedule:
        for (_, end, _, _), block in zip(schedule, world.answer(), strict=True):
            assert ("is_error" in block) == (expected[end] != "done")
    ended = {event.call_id: event.outcome for event in world.of(ToolResult)}
    assert ended == {f"1:toolu_{at}": expected[end] for at, (_, end, _, _) in enumerate(schedule)}
    started = [entry["call"] for entry in world.transcript.entries if entry.get("state") == "started"]
    assert sorted(started) == sorted(ended)


async def test_C6_a_tool_never_waits_for_a_slow_consumer() -> None:
    @tool
    async def chatter() -> AsyncGenerator[str]:
        """Talks."""
        for at in range(2000):
            yield f"{at}\n"

    world = World([chatter], [tool_use("chatter")])
    world.commit()
    async with world.calls() as calls, aclosing(calls.run(world.transcript.unended())) as events:
        await anext(events)
        await anyio.wait_all_tasks_blocked()
        assert world.outcomes == ["done"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("sort", ["early", "called"])
def test_an_event_loop_ends_while_a_tool_hangs(backend: str, sort: str) -> None:
    @tool(effect="read")
    async def hang() -> None:
        """Hangs."""
        await anyio.sleep_forever()

    world = World([hang], [tool_use("hang")])
    kept: list[Any] = []

    async def main() -> None:
        calls = world.new_calls()
        kept.append(calls)
        if sort == "early":
            calls.offer(world.uses[0])
            await anyio.wait_all_tasks_blocked()
            return
        world.commit()
        events = calls.run(world.transcript.unended())
        kept.append(events)
        await anext(events)

    began = time.monotonic()
    anyio.run(main, backend=backend)
    assert time.monotonic() - began < 20


async def test_C2_what_was_not_entered_before_the_end_of_the_run_is_not_entered() -> None:
    entered: list[str] = []

    @tool
    async def act() -> None:
        """Acts."""
        entered.append("act")

    world = World([act], [tool_use("act")])
    world.commit()
    async with world.calls() as calls:
        for call in world.transcript.unended():
            calls._jobs.start(partial(calls._run, call))
    assert entered == []
    assert [call.state for call in world.transcript.calls.values()] == ["open"]
