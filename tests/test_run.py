"""A run as its consumer sees it: events, leaving at any of them, the time it has, failures."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from clock import BACKENDS, jump
from runs import FOUND, SEARCH, add, agent_for, drain, look, nothing_leaks, pause_tools_answer, tasks, until, valid
from scripted import Drop, ScriptedServer, error, reply, server_tool_use, text, tool_use

from agentkit import Agent, APIError, Client, ConfigurationError, Limits, Run, RunResult, RunUnfinished, allow, tool
from agentkit.events import RunEnd

pytestmark = pytest.mark.anyio


async def outcome_of(run: Run, act: Callable[[Any], None]) -> RunResult:
    async with run:
        async for event in run:
            act(event)
    return run.result


# Events


async def test_events_are_json_and_the_last_is_run_end() -> None:
    async with agent_for(pause_tools_answer, add, look, SEARCH) as (agent, _), agent.stream("Go") as run:
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


async def test_text_stream_has_an_empty_line_where_text_has_one() -> None:
    found = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
    said = [text("I look. "), text("Now."), server_tool_use("web_search"), found, text("It is "), text("so.")]
    async with agent_for([reply(*said)]) as (agent, _), agent.stream("Hi.") as run:
        pieces = "".join([piece async for piece in run.text_stream])
    assert pieces == run.result.text == "I look. Now.\n\nIt is so."


async def test_the_seconds_of_a_run_that_failed_are_those_it_took() -> None:
    async with agent_for([error(400, "invalid_request_error")]) as (agent, _):
        began = anyio.current_time()
        with pytest.raises(APIError) as failed:
            await agent.run("Hi.")
        assert 0 < failed.value.result.seconds <= anyio.current_time() - began


async def test_text_stream_is_the_text() -> None:
    async with agent_for(pause_tools_answer, add, look, SEARCH) as (agent, _), agent.stream("Go") as run:
        pieces = [piece async for piece in run.text_stream]
    assert "".join(pieces) == "Let me search.\n\nNow both.\n\nIt is six."
    assert run.result.text == "It is six."


async def test_iterating_again_goes_on_and_after_the_end_there_is_nothing() -> None:
    async with agent_for(pause_tools_answer, add, look, SEARCH) as (agent, _):
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
    async with (
        agent_for([Drop("stall")]) as (agent, server),
        agent.stream("Go") as run,
        anyio.create_task_group() as group,
    ):
        group.start_soon(drain, run)
        await until(lambda: bool(server.requests))
        with pytest.raises(ConfigurationError, match="another task"):
            await anext(run)
        assert not hasattr(run, "result")
        run.cancel()
    assert run.result.finish.reason == "cancelled"


async def test_an_unused_run_is_cancelled() -> None:
    async with agent_for([]) as (agent, server), agent.stream("Go") as run:
        pass
    assert run.result.finish.reason == "cancelled"
    assert server.requests == []
    valid(run.result)


# The time of the run


@BACKENDS
async def test_L4_the_time_is_up_during_tools() -> None:
    @tool
    async def hang() -> None:
        """Hangs."""
        jump(31)
        await anyio.sleep_forever()

    async with agent_for([reply(tool_use("hang"))], hang, limits=Limits(max_seconds=30)) as (agent, _):
        result = await agent.run("Go")
    assert (result.finish.reason, result.finish.detail) == ("max_seconds", "the time is up")
    assert [entry["outcome"] for entry in result.dump()["entries"] if entry.get("state") == "ended"] == ["cancelled"]
    valid(result)


async def test_L4_the_time_is_up_during_the_request() -> None:
    async with agent_for([Drop("stall")], limits=Limits(max_seconds=0.2)) as (agent, _):
        result = await agent.run("Go")
    assert (result.finish.reason, result.turns) == ("max_seconds", 0)
    valid(result)


@BACKENDS
async def test_L4_time_parked_does_not_count_and_time_used_does() -> None:
    @tool(needs_approval=True)
    async def pay() -> str:
        """Pays."""
        return "paid"

    @tool
    async def think() -> str:
        """Takes 20 seconds."""
        jump(20)
        return "thought"

    script = [reply(tool_use("think")), reply(tool_use("pay", id="toolu_2")), reply(text("Done."))]
    async with agent_for(script, pay, think, limits=Limits(max_seconds=30)) as (agent, _):
        result = await agent.run("Go")
        assert result.finish.reason == "needs_approval"
        assert 20 <= result.seconds < 30
        jump(3600)
        late = await agent.resume(result, limits=Limits(max_seconds=20), decisions={"2:toolu_2": allow()})
        assert late.finish.reason == "max_seconds"
        done = await agent.resume(result, decisions={"2:toolu_2": allow()})
    assert done.text == "Done."
    assert 20 <= result.seconds <= done.seconds < 30


# A pause


@pytest.mark.parametrize("drained", [True, False])
async def test_a_pause_lets_the_calls_end_and_another_process_go_on(drained: bool) -> None:
    @tool
    async def look() -> str:
        """Looks while the run is paused."""
        run.pause("a new version comes")
        await anyio.sleep(0.01)
        return "seen"

    script = [reply(text("I look."), tool_use("look")), reply(text("Done."))]
    async with agent_for(script, look) as (agent, server):
        run = agent.stream("Go")
        if drained:
            await run.drain()
        else:
            async with run:
                events = await drain(run)
            assert isinstance(events[-1], RunEnd)
            assert [event.type for event in events].count("turn_start") == 1
        result = run.result
        assert (result.finish.reason, result.finish.detail) == ("paused", "a new version comes")
        assert [entry["outcome"] for entry in result.dump()["entries"] if entry.get("state") == "ended"] == ["done"]
        assert len(server.requests) == 1
        assert (await agent.resume(result.dump())).text == "Done."
    valid(result)


async def test_a_pause_at_once_cancels_the_calls() -> None:
    @tool
    async def hang() -> None:
        """Hangs."""
        run.pause(at_once=True)
        await anyio.sleep_forever()

    async with agent_for([reply(tool_use("hang")), reply(text("Done."))], hang) as (agent, _):
        run = agent.stream("Go")
        result = await run.drain()
        assert (result.finish.reason, result.finish.detail) == ("paused", None)
        assert [entry["outcome"] for entry in result.dump()["entries"] if entry.get("state") == "ended"] == [
            "cancelled"
        ]
        assert (await agent.resume(result)).text == "Done."
    valid(result)


async def test_a_pause_of_a_run_that_ends_changes_nothing() -> None:
    async with agent_for([reply(text("Done."))]) as (agent, _), agent.stream("Go") as run:
        async for event in run:
            if event.type == "text_delta":
                run.pause()
    assert run.result.text == "Done."


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


@pytest.mark.parametrize("how", ["break", pytest.param("exception", marks=pytest.mark.slow), "cancel"])
async def test_C5_leaving_at_every_event(how: str) -> None:
    with ScriptedServer(pause_tools_answer) as server:
        async with nothing_leaks(server), Client(base_url=server.url) as client:
            agent = Agent("claude-sonnet-4-6", tools=[add, look, SEARCH], client=client)
            before = tasks()
            for at in range(100):
                result = await leave(agent, at, how)
                await until(lambda: tasks() <= before and server.open_connections <= 1)
                if result is None:
                    break
                valid(result)
                assert result.finish.reason in ("end_turn", "cancelled")
                again = await agent.resume(result.dump())
                assert again.text == "It is six."
            assert at > 30


# Failures


async def test_an_api_error_carries_a_result_to_resume_from() -> None:
    script = [
        reply(text("Both."), tool_use("add", id="toolu_a", a=1, b=2)),
        error(400, "invalid_request_error", "refused: ask otherwise"),
        reply(text("Three.")),
    ]
    async with agent_for(script, add) as (agent, server):
        run = agent.stream("Go")
        with pytest.raises(APIError, match="refused: ask otherwise") as caught:
            async with run:
                await drain(run)
        result = caught.value.result
        assert result is run.result
        assert result.finish.reason == "error"
        assert "ask otherwise" in result.finish.detail
        with pytest.raises(RunUnfinished, match="ended with error"):
            _ = result.text
        valid(result)
        assert (await agent.resume(result)).text == "Three."
    assert server.requests[1].json["messages"] == server.requests[2].json["messages"]


async def test_a_failure_inside_an_event_loop_of_the_consumer_is_the_consumers() -> None:
    async with agent_for(pause_tools_answer, add, look, SEARCH) as (agent, _):
        run = agent.stream("Go")
        with pytest.raises(Leave):
            await outcome_of(run, _fail)
    assert run.result.finish.detail == "the consumer left before the end"


def _fail(event: Any) -> None:
    raise Leave


async def test_what_a_consumer_changes_in_events_does_not_change_the_log() -> None:
    @tool
    async def blocks() -> list[Any]:
        """Blocks."""
        return [text("Seen.")]

    first = [server_tool_use("web_search", query="a"), FOUND, {"type": "new", "a": {}}, tool_use("blocks")]
    script = [reply(*first), reply(text("Done."))]
    async with agent_for(script, blocks) as (agent, server), agent.stream("Go") as run:
        async for event in run:
            for name in ("block", "message", "input"):
                deface(getattr(event, name, None))
    sent = server.requests[1].json["messages"]
    assert sent[1]["content"] == first
    assert sent[2]["content"] == [{"type": "tool_result", "tool_use_id": "toolu_1", "content": [text("Seen.")]}]
    assert "defaced" not in json.dumps([run.result.dump(), run.result.messages])


def deface(value: Any) -> None:
    """Changes every object and array in it."""
    for item in list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ():
        deface(item)
    if isinstance(value, dict):
        value["defaced"] = True
    elif isinstance(value, list):
        value.append("defaced")


async def test_leaving_the_text_early_warns_of_nothing() -> None:
    async with agent_for(pause_tools_answer, add, look, SEARCH) as (agent, _), agent.stream("Go") as run:
        pieces = run.text_stream
        assert await anext(pieces) == "Let me search."
        del pieces
        gc.collect()
    assert run.result.finish.reason == "cancelled"
