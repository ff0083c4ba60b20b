"""Cancellation: by `run.cancel()`, and the caller's own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
import trio
from runs import SEARCH, add, agent_for, drain, look, pause_tools_answer, until, valid
from scripted import Drop, Sse, reply, text, tool_use

from agentkit import Limits, Run, RunResult, RunUnfinished, tool
from agentkit.encode import events as wire_events

pytestmark = pytest.mark.anyio


async def outcome_of(run: Run, act: Callable[[Any], None]) -> RunResult:
    async with run:
        async for event in run:
            act(event)
    return run.result


# run.cancel()


async def test_C3_cancel_before_the_first_event() -> None:
    async with agent_for([]) as (agent, server):
        run = agent.stream("Go")
        run.cancel()
        async with run:
            events = await drain(run)
    assert [event.type for event in events] == ["run_end"]
    assert (run.result.finish.reason, server.requests) == ("cancelled", [])
    with pytest.raises(RunUnfinished):
        _ = run.result.text


@pytest.mark.parametrize("end", ["no reply", "stalled stream", "pings"])
async def test_C1_cancel_during_the_request(end: str) -> None:
    whole = reply(text("Half an answer that never comes to its end"))
    script: Any = {
        "no reply": Drop("stall"),
        "stalled stream": Sse(whole, cut=700, end="stall"),
        "pings": Sse(list(wire_events(whole))[:5], end="pings"),
    }[end]
    async with agent_for([script]) as (agent, server):
        async with agent.stream("Go") as run, anyio.create_task_group() as group:

            async def cancel() -> None:
                await anyio.to_thread.run_sync(server.wait_until, lambda: bool(server.requests))
                await anyio.sleep(0.05)
                began.append(time.monotonic())
                run.cancel()
                run.cancel()

            began: list[float] = []
            group.start_soon(cancel)
            events = await drain(run)
        took = time.monotonic() - began[0]
        await until(lambda: not server.open_connections)
        assert time.monotonic() - began[0] < 20
    assert took < 20
    assert events[-1].finish == "cancelled"
    assert run.result.turns == 0
    assert [entry["entry"] for entry in run.result.dump()["entries"]] == ["run", "turn"]
    valid(run.result)


async def test_C2_cancel_during_tools() -> None:
    started: list[int] = []
    release = threading.Event()

    @tool
    async def hang(at: int) -> None:
        """Hangs."""
        started.append(at)
        await anyio.sleep_forever()

    @tool
    def block(at: int) -> None:
        """Hangs in its thread."""
        started.append(at)
        release.wait(60)

    uses = [tool_use("hang", id="toolu_0", at=0), tool_use("block", id="toolu_1", at=1)]
    uses += [tool_use("hang", id=f"toolu_{at}", at=at) for at in (2, 3)]
    async with agent_for([reply(*uses)], hang, block, limits=Limits(max_parallel_tools=2)) as (agent, _server):
        async with agent.stream("Go") as run, anyio.create_task_group() as group:

            async def cancel() -> None:
                await until(lambda: len(started) == 2)
                began.append(time.monotonic())
                run.cancel()

            began: list[float] = []
            group.start_soon(cancel)
            await drain(run)
        assert time.monotonic() - began[0] < 20
        release.set()
        result = run.result
        assert result.finish.reason == "cancelled"
        valid(result)
        states = [entry["state"] for entry in result.dump()["entries"] if entry["entry"] == "call"]
        assert sorted(states) == ["ended", "ended", "started", "started"]
        outcomes = {entry["outcome"] for entry in result.dump()["entries"] if entry.get("state") == "ended"}
        assert outcomes == {"cancelled"}


async def test_C3_cancel_between_turns_and_then_resume() -> None:
    async with agent_for(pause_tools_answer, add, look, SEARCH) as (agent, _):
        seen: list[str] = []

        def act(event: Any) -> None:
            seen.append(event.type)
            if seen.count("tool_result") == 2:
                run.cancel()

        run = agent.stream("Go")
        result = await outcome_of(run, act)
        assert (result.finish.reason, result.turns) == ("cancelled", 2)
        valid(result)
        assert (await agent.resume(result)).text == "It is six."


async def test_a_cancel_after_the_end_changes_nothing() -> None:
    async with agent_for([reply(text("Hi."))]) as (agent, _), agent.stream("Go") as run:
        await drain(run)
        run.cancel()
        assert await drain(run) == []
    assert run.result.finish.reason == "end_turn"


# The caller's own cancellation


def by_scope(work: Callable[[], Awaitable[None]], ready: anyio.Event) -> Awaitable[bool]:
    async def cancelled() -> bool:
        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as scope:
                group.start_soon(_cancel_when, ready, scope)
                await work()
        return scope.cancelled_caught

    return cancelled()


async def _cancel_when(ready: anyio.Event, scope: anyio.CancelScope) -> None:
    await ready.wait()
    scope.cancel()


async def by_task(work: Callable[[], Awaitable[None]], ready: anyio.Event) -> bool:
    if trio.lowlevel.in_trio_run():
        return await by_scope(work, ready)
    task = asyncio.ensure_future(work())
    await ready.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return True


@pytest.mark.parametrize("way", [by_scope, by_task], ids=["scope", "task"])
@pytest.mark.parametrize("when", ["request", "tools", "event"])
async def test_C4_the_callers_own_cancellation_leaves_a_result(way: Any, when: str) -> None:
    ready = anyio.Event()

    @tool
    async def hang() -> None:
        """Hangs."""
        ready.set()
        await anyio.sleep_forever()

    script: Any = [Drop("stall")] if when == "request" else [reply(text("Now."), tool_use("hang"))]
    async with agent_for(script, hang) as (agent, _server):
        run = agent.stream("Go")

        async def work() -> None:
            async with run:
                async for event in run:
                    if when == "request":
                        ready.set()
                    if when == "event" and event.type == "turn_end":
                        ready.set()
                        await anyio.sleep_forever()

        with anyio.fail_after(30):
            assert await way(work, ready)
    result = run.result
    assert result.finish.reason == "cancelled", result.finish
    assert result.turns == (when != "request")
    states = [entry["state"] for entry in result.dump()["entries"] if entry["entry"] == "call"]
    assert states == (["started", "ended"] if when == "tools" else [])
    valid(result)
