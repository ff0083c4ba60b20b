"""A run that goes on, as its consumer sees it: events, cancellation, leaving at any event."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import trio
from leaks import nothing_leaks
from scripted import Drop, Request, ScriptedServer, Sse, error, reply, server_tool_use, text, thinking, tool_use

from agentkit import Agent, APIError, Client, ConfigurationError, Limits, Run, RunResult, RunUnfinished, tool
from agentkit.events import RunEnd
from agentkit.rules import check_history, check_request

pytestmark = pytest.mark.anyio
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
CITED = {"type": "web_search_result_location", "url": "https://a.test", "title": "A", "cited_text": "six"}


@tool
async def add(a: int, b: int) -> int:
    """Adds."""
    await anyio.sleep(0.001)
    return a + b


@tool(effect="read")
def look(at: int) -> str:
    """Looks, in a thread."""
    return f"saw {at}"


def two_turns(request: Request) -> object:
    """A pause, a turn with tools, an answer; by what the history has, so that a resumed run can go on anywhere."""
    if problems := check_request(request.json):
        return error(400, "invalid_request_error", problems[0].message)
    blocks = [block for message in request.json["messages"] for block in message["content"]]
    if not any(block["type"] == "server_tool_use" for block in blocks):
        return reply(thinking("Hm."), text("Let me search."), server_tool_use("web_search"), stop="pause_turn")
    if not any(block["type"] == "tool_result" for block in blocks):
        return reply(
            FOUND, text("Now both."), tool_use("add", id="toolu_a", a=1, b=2), tool_use("look", id="toolu_b", at=1)
        )
    return reply(text("It is "), text("six", citations=[CITED]), text("."))


@asynccontextmanager
async def agent_for(script: Any, *tools: Any, **options: Any) -> AsyncGenerator[tuple[Agent, ScriptedServer]]:
    with ScriptedServer(script) as server:
        async with nothing_leaks(server), Client(base_url=server.url) as client:
            yield Agent("claude-sonnet-4-6", tools=tools, client=client, **options), server


async def drain(run: Run) -> list[Any]:
    return [event async for event in run]


async def outcome_of(run: Run, act: Callable[[Any], None]) -> RunResult:
    async with run:
        async for event in run:
            act(event)
    return run.result


def valid(result: RunResult) -> None:
    assert check_history(result.messages) == []
    assert json.loads(json.dumps(result.dump()))["entries"]


# Events


async def test_events_are_json_and_the_last_is_run_end() -> None:
    async with agent_for(two_turns, add, look) as (agent, _):
        async with agent.stream("Go", limits=Limits(max_turns=9)) as run:
            events = await drain(run)
    kinds = {event.type for event in events}
    assert kinds >= {
        "turn_start",
        "thinking_delta",
        "text_delta",
        "server_tool_call",
        "server_tool_result",
        "input_delta",
        "content_block_stop",
        "turn_end",
        "tool_call",
        "tool_result",
        "run_end",
    }
    for event in events:
        assert json.loads(json.dumps(event.as_dict()))["type"] == event.type
    end = events[-1]
    assert isinstance(end, RunEnd)
    assert [event.type for event in events].count("run_end") == 1
    shown = end.as_dict()
    assert shown["citations"] == [{"url": "https://a.test", "title": "A", "cited_text": "six"}]
    assert (end.finish, end.detail, end.text, end.turns) == ("end_turn", None, "It is six.", 3)
    assert (end.run_id, end.usage, end.seconds) == (run.run_id, run.result.usage, run.result.seconds)
    assert run.result.usage.output_tokens == 15
    assert run.result.text == end.text


async def test_text_stream_is_the_text() -> None:
    async with agent_for(two_turns, add, look) as (agent, _):
        async with agent.stream("Go") as run:
            pieces = [piece async for piece in run.text_stream]
    assert "".join(pieces) == "Let me search.Now both.It is six."
    assert run.result.text == "It is six."


async def test_iterating_again_goes_on_and_after_the_end_there_is_nothing() -> None:
    async with agent_for(two_turns, add, look) as (agent, _):
        async with agent.stream("Go") as run:
            async for event in run:
                if event.type == "turn_end":
                    break
            rest = await drain(run)
            assert rest[-1].type == "run_end"
            assert await drain(run) == []
        assert await drain(run) == []
    assert run.result.text == "It is six."


async def test_without_async_with_it_says_how() -> None:
    async with agent_for([]) as (agent, _):
        run = agent.stream("Go")
        with pytest.raises(ConfigurationError, match=r"`async with agent\.stream\(…\) as run:`"):
            await anext(run)
        with pytest.raises(ConfigurationError, match="async with"):
            await anext(run.text_stream)


async def test_two_tasks_can_not_share_it() -> None:
    async with agent_for([Drop("stall")]) as (agent, server):
        async with agent.stream("Go") as run, anyio.create_task_group() as group:
            group.start_soon(drain, run)
            await anyio.to_thread.run_sync(server.wait_until, lambda: bool(server.requests))
            with pytest.raises(ConfigurationError, match="another task"):
                await anext(run)
            assert not hasattr(run, "result")
            run.cancel()
    assert run.result.finish.reason == "cancelled"


async def test_an_unused_run_is_cancelled() -> None:
    async with agent_for([]) as (agent, server):
        async with agent.stream("Go") as run:
            pass
    assert run.result.finish.reason == "cancelled"
    assert server.requests == []
    valid(run.result)


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
        "pings": Sse(whole, cut=700, end="pings"),
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
        with anyio.fail_after(1):
            while server.open_connections:
                await anyio.sleep(0.005)
    assert took < 0.5
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
        release.wait(5)

    uses = [tool_use("hang", id="toolu_0", at=0), tool_use("block", id="toolu_1", at=1)]
    uses += [tool_use("hang", id=f"toolu_{at}", at=at) for at in (2, 3)]
    async with agent_for([reply(*uses)], hang, block, limits=Limits(max_parallel_tools=2)) as (agent, server):
        async with agent.stream("Go") as run:
            async for _ in run:
                if len(started) == 2 and not run._cancelled:
                    began = time.monotonic()
                    run.cancel()
            assert time.monotonic() - began < 0.5
        release.set()
        result = run.result
        assert result.finish.reason == "cancelled"
        valid(result)
        states = [entry["state"] for entry in result.dump()["entries"] if entry["entry"] == "call"]
        assert sorted(states) == ["ended", "ended", "started", "started"]
        outcomes = {entry["outcome"] for entry in result.dump()["entries"] if entry.get("state") == "ended"}
        assert outcomes == {"cancelled"}


async def test_C3_cancel_between_turns_and_then_resume() -> None:
    async with agent_for(two_turns, add, look) as (agent, _):
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
    async with agent_for([reply(text("Hi."))]) as (agent, _):
        async with agent.stream("Go") as run:
            await drain(run)
            run.cancel()
            assert await drain(run) == []
    assert run.result.finish.reason == "end_turn"


# The time of the run


async def test_L4_the_time_is_up_during_tools() -> None:
    @tool
    async def hang() -> None:
        """Hangs."""
        await anyio.sleep_forever()

    async with agent_for([reply(tool_use("hang"))], hang, limits=Limits(max_seconds=0.3)) as (agent, _):
        began = time.monotonic()
        result = await agent.run("Go")
        assert time.monotonic() - began < 1
    assert (result.finish.reason, result.finish.detail) == ("max_seconds", "the time is up")
    assert [entry["outcome"] for entry in result.dump()["entries"] if entry.get("state") == "ended"] == ["cancelled"]
    valid(result)


async def test_L4_the_time_is_up_during_the_request() -> None:
    async with agent_for([Drop("stall")], limits=Limits(max_seconds=0.2)) as (agent, _):
        result = await agent.run("Go")
    assert (result.finish.reason, result.turns) == ("max_seconds", 0)
    valid(result)


async def test_L4_time_parked_does_not_count_and_time_used_does() -> None:
    @tool(needs_approval=True)
    async def pay() -> str:
        """Pays."""
        return "paid"

    limits = Limits(max_seconds=0.4)
    async with agent_for([reply(tool_use("pay")), reply(text("Done."))], pay, limits=limits) as (agent, _):
        result = await agent.run("Go")
        assert result.finish.reason == "needs_approval"
        await anyio.sleep(0.5)
        late = await agent.resume(result, limits=Limits(max_seconds=result.seconds))
        assert late.finish.reason in ("max_seconds", "needs_approval")
        from agentkit import allow

        done = await agent.resume(result, decisions={"1:toolu_1": allow()})
    assert done.text == "Done."
    assert done.seconds >= result.seconds


# Leaving


class Leave(Exception):
    """The consumer has had enough."""


async def leave(agent: Agent, at: int, how: str) -> RunResult | None:
    """The result of a run that is left at event `at`; None if there is no such event."""
    run = agent.stream("Go")
    left = False
    try:
        async with run:
            number = 0
            async for _ in run:
                if number == at:
                    left = True
                    if how == "exception":
                        raise Leave
                    if how == "cancel":
                        run.cancel()
                        continue
                    break
                number += 1
    except Leave:
        pass
    return run.result if left else None


@pytest.mark.parametrize("how", ["break", "exception", "cancel"])
async def test_C5_leaving_at_every_event(how: str) -> None:
    with ScriptedServer(two_turns) as server:
        at = 0
        while True:
            async with nothing_leaks(server), Client(base_url=server.url) as client:
                agent = Agent("claude-sonnet-4-6", tools=[add, look], client=client)
                result = await leave(agent, at, how)
                if result is None:
                    break
                valid(result)
                ended = result.finish.reason == "end_turn"
                assert ended or result.finish.reason == "cancelled"
                again = await agent.resume(result.dump())
                assert again.text == "It is six."
            at += 1
    assert at > 30


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
    async with agent_for(script, hang) as (agent, server):
        run = agent.stream("Go")

        async def work() -> None:
            async with run:
                async for event in run:
                    if when == "request":
                        ready.set()
                    if when == "event" and event.type == "turn_end":
                        ready.set()
                        await anyio.sleep_forever()

        with anyio.fail_after(2):
            assert await way(work, ready)
    result = run.result
    assert result.finish.reason == "cancelled", result.finish
    assert result.turns == (when != "request")
    states = [entry["state"] for entry in result.dump()["entries"] if entry["entry"] == "call"]
    assert states == (["started", "ended"] if when == "tools" else [])
    valid(result)


# Failures


async def test_an_api_error_carries_a_result_to_resume_from() -> None:
    script = [
        reply(text("Both."), tool_use("add", id="toolu_a", a=1, b=2)),
        error(400, "invalid_request_error", "No."),
        reply(text("Three.")),
    ]
    async with agent_for(script, add) as (agent, server):
        run = agent.stream("Go")
        with pytest.raises(APIError, match="No.") as caught:
            async with run:
                await drain(run)
        result = caught.value.result
        assert result is run.result
        assert result.finish.reason == "error"
        assert "No." in result.finish.detail
        with pytest.raises(RunUnfinished, match="ended with error"):
            _ = result.text
        valid(result)
        assert (await agent.resume(result)).text == "Three."
    assert server.requests[1].json["messages"] == server.requests[2].json["messages"]


async def test_a_failure_inside_an_event_loop_of_the_consumer_is_the_consumers() -> None:
    async with agent_for(two_turns, add, look) as (agent, _):
        run = agent.stream("Go")
        with pytest.raises(Leave):
            await outcome_of(run, _fail)
    assert run.result.finish.detail == "the consumer left before the end"


def _fail(event: Any) -> None:
    raise Leave
