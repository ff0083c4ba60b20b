"""Read tools that start while the reply still streams: used only if their turn is committed."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import anyio
import pytest
from calls import SECRET, World, uses_of
from scripted import tool_use

from agentkit.events import ToolProgress
from agentkit.settings import Limits
from agentkit.tools import RunContext, tool

pytestmark = pytest.mark.anyio


def early_world(**options: Any) -> tuple[World, list[int], anyio.Event]:
    entered: list[int] = []
    release = anyio.Event()

    @tool(**options)
    async def look(at: int) -> str:
        """Looks."""
        entered.append(at)
        await release.wait()
        return f"saw {at}"

    return World([look], uses_of("look", 2)), entered, release


@pytest.mark.parametrize("effect", ["read", ("read", "private")], ids=str)
async def test_X23_an_offered_read_runs_early_and_is_written_after_the_commit(effect: Any) -> None:
    world, entered, release = early_world(effect=effect)
    async with world.calls() as calls:
        for use in world.uses:
            calls.offer(use)
        await anyio.wait_all_tasks_blocked()
        assert sorted(entered) == [0, 1]
        release.set()
        await anyio.wait_all_tasks_blocked()
        assert not any(entry["entry"] == "call" for entry in world.transcript.entries)
        world.commit()
        await world.drain(calls)
    assert sorted(entered) == [0, 1]
    assert [block["content"] for block in world.answer()] == ["saw 0", "saw 1"]
    assert [entry["state"] for entry in world.transcript.entries if entry["entry"] == "call"].count("started") == 2


async def test_X23_an_early_call_that_still_runs_at_the_commit() -> None:
    world, entered, release = early_world(effect="read")
    async with world.calls() as calls:
        calls.offer(world.uses[0])
        await anyio.wait_all_tasks_blocked()
        world.commit()
        async for event in calls.run(world.transcript.unended()):
            release.set()
            world.events.append(event)
    assert sorted(entered) == [0, 1]
    assert [block["content"] for block in world.answer()] == ["saw 0", "saw 1"]


@pytest.mark.parametrize(
    ("options", "change"),
    [
        ({}, {}),
        ({"effect": "write"}, {}),
        ({"effect": ("read", "net")}, {}),
        ({"effect": "read", "needs_approval": True}, {}),
        ({"effect": "read", "needs_approval": lambda at: False}, {}),
        ({"effect": "read"}, {"input": {"at": "x"}}),
        ({"effect": "read"}, {"input": '{"at":'}),
        ({"effect": "read"}, {"name": "lok"}),
    ],
    ids=["undeclared", "write", "read and net", "approval", "asks", "invalid", "cut JSON", "unknown"],
)
async def test_X23_never_early(options: dict[str, Any], change: dict[str, Any]) -> None:
    world, entered, _ = early_world(**options)
    async with world.calls() as calls:
        calls.offer({**world.uses[0], **change})
        await anyio.wait_all_tasks_blocked()
    assert entered == []


async def test_X23_what_was_started_for_a_turn_that_failed_is_stopped_and_not_used() -> None:
    world, entered, release = early_world(effect="read")
    world.limits = Limits(max_parallel_tools=1)
    world.uses = world.uses[:1]
    async with world.calls() as calls:
        calls.offer(world.uses[0])
        await anyio.wait_all_tasks_blocked()
        calls.forget_early()
        world.commit()  # the turn that was asked for again has the same call
        release.set()
        with anyio.fail_after(30):
            await world.drain(calls)
    assert entered == [0, 0]
    assert world.answer()[0]["content"] == "saw 0"


async def test_X23_a_stopped_early_call_gives_its_place_back() -> None:
    entered: list[int] = []

    @tool(effect="read")
    async def look(at: int) -> str:
        """Hangs the first time."""
        entered.append(at)
        if len(entered) == 1:
            await anyio.sleep_forever()
        return "saw"

    world = World([look], uses_of("look", 1), max_parallel_tools=1)
    async with world.calls() as calls:
        calls.offer(world.uses[0])
        await anyio.wait_all_tasks_blocked()
        calls.forget_early()
        world.commit()
        with anyio.fail_after(30):
            await world.drain(calls)
    assert world.answer()[0]["content"] == "saw"


async def test_X23_only_the_same_call_may_use_an_early_result() -> None:
    world, entered, release = early_world(effect="read")
    release.set()
    async with world.calls() as calls:
        calls.offer(tool_use("look", id="toolu_0", at=7))
        await anyio.wait_all_tasks_blocked()
        world.commit()
        await world.drain(calls)
    assert sorted(entered) == [0, 1, 7]
    assert [block["content"] for block in world.answer()] == ["saw 0", "saw 1"]


async def test_X23_a_run_that_ends_before_the_commit_writes_nothing() -> None:
    world, entered, _ = early_world(effect="read")
    async with world.calls() as calls:
        calls.offer(world.uses[0])
        await anyio.wait_all_tasks_blocked()
    assert entered == [0]
    assert not any(entry["entry"] == "call" for entry in world.transcript.entries)


async def test_X23_an_early_call_fails_like_any_other() -> None:
    @tool(effect="read")
    async def look(ctx: RunContext[Any]) -> None:
        """Fails."""
        ctx.progress("before the turn")
        raise LookupError(SECRET)

    world = World([look], [tool_use("look")])
    async with world.calls() as calls:
        calls.offer(world.uses[0])
        await anyio.wait_all_tasks_blocked()
        world.commit()
        await world.drain(calls)
    assert world.answer()[0]["content"] == "The tool failed with LookupError."
    assert [event.text for event in world.of(ToolProgress)] == ["before the turn"]


async def test_cancelled_while_it_waits_for_an_early_call() -> None:
    world, _, _ = early_world(effect="read")
    async with world.calls() as calls:
        for use in world.uses:
            calls.offer(use)
        await anyio.wait_all_tasks_blocked()
        world.commit()
        async with aclosing(calls.run(world.transcript.unended())) as events:
            await anext(events)
    assert set(world.outcomes) == {"cancelled"}


async def test_X23_an_early_call_is_one_of_its_own_turn_however_late_it_begins() -> None:
    seen: list[tuple[str, str]] = []

    @tool(effect="read")
    async def look(ctx: RunContext[Any], at: int) -> str:
        """Looks."""
        seen.append((ctx.call_id, ctx.idempotency_key))
        ctx.progress("looking")
        return "saw"

    for commits_first in (True, False):
        world = World([look], uses_of("look", 1))
        async with world.calls() as calls:
            calls.offer(world.uses[0])
            if not commits_first:
                await anyio.wait_all_tasks_blocked()
            world.commit()
            await world.drain(calls)
    assert seen[0] == seen[1]
    assert seen[0][0] == f"1:{world.uses[0]['id']}"


async def test_the_last_progress_of_an_early_call_is_shown_once_its_turn_stands() -> None:
    @tool(effect="read")
    async def look(ctx: RunContext[Any], at: int) -> str:
        """Looks."""
        for step in range(3):
            ctx.progress(f"step {step}")
        return "seen"

    world = World([look], uses_of("look", 1))
    async with world.calls() as calls:
        calls.offer(world.uses[0])
        await anyio.wait_all_tasks_blocked()
        calls.forget_early()
        assert not world.of(ToolProgress)
        calls.offer(world.uses[0])
        await anyio.wait_all_tasks_blocked()
        world.commit()
        await world.drain(calls)
    assert [event.text for event in world.of(ToolProgress)] == ["step 2"]
