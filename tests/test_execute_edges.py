"""What mutants of `agentkit.execute` showed untested."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread
import pytest
from calls import World, uses_of
from clock import LONG, TRIO, jump
from runs import until
from scripted import tool_use

from agentkit.errors import JournalError, ToolError
from agentkit.events import ToolCall, ToolHeld, ToolResult
from agentkit.tools import RunContext, tool
from agentkit.transcript import Decision

pytestmark = pytest.mark.anyio


async def test_a_call_from_code_may_run_early() -> None:
    @tool(effect="read")
    async def look(at: int) -> str:
        """Looks."""
        return f"saw {at}"

    use = {**tool_use("look", at=1), "caller": {"type": "code_execution_20260120", "tool_id": "srvtoolu_1"}}
    world = World([look], [use])
    async with world.calls() as calls:
        calls.offer(use)
        await anyio.wait_all_tasks_blocked()
        world.commit()
        await world.drain(calls)
    assert world.outcomes == ["done"]


async def test_what_ran_early_for_one_turn_is_not_the_result_of_an_equal_call_of_the_next() -> None:
    entered: list[int] = []

    @tool(effect="read")
    async def look(at: int) -> str:
        """Looks."""
        entered.append(at)
        return f"look {len(entered)}"

    world = World([look], uses_of("look", 1))
    async with world.calls() as calls:
        calls.offer(world.uses[0])
        await anyio.wait_all_tasks_blocked()
        world.commit()
        await world.drain(calls)
        assert [block["content"] for block in world.answer()] == ["look 1"]
        world.commit()  # local servers give the same ids each time
        await world.drain(calls)
        assert [block["content"] for block in world.answer()] == ["look 2"]


async def test_the_rest_of_a_toolset_names_the_member_that_failed_first() -> None:
    @tool
    async def click() -> str:
        """Clicks."""
        raise ToolError("no")

    @tool
    async def scroll() -> str:
        """Scrolls."""
        return "fine"

    names = ["click", "scroll", "scroll"]
    uses = [{**tool_use(name, id=f"toolu_{at}"), "toolset_name": "browser"} for at, name in enumerate(names)]
    results = await World([click, scroll], uses).run()
    said = "Not executed: click, an earlier call of this toolset, did not succeed."
    assert [result["content"] for result in results] == ["no", said, said]


async def test_an_unknown_tool_leaves_the_calls_beside_it_alone() -> None:
    @tool
    async def slow() -> str:
        """Takes a while."""
        await anyio.sleep(0.02)
        return "done"

    world = World([slow], [tool_use("slwo"), tool_use("slow", id="toolu_2")])
    first, second = await world.run()
    assert first["content"] == "There is no tool 'slwo'. Did you mean slow?"
    assert (second["content"], world.outcomes) == ("done", ["failed", "done"])
    assert len(world.of(ToolResult)) == 2


async def test_a_call_that_a_dead_run_started_is_not_asked_about_again() -> None:
    @tool(idempotent=True, needs_approval=lambda: True)
    async def pay() -> str:
        """Pays."""
        return "paid"

    world = World([pay], [tool_use("pay")])
    world.commit()
    (call,) = world.transcript.unended()
    world.transcript.start(call, tool=pay.digest)  # by a process that held nothing
    await world.carry_out()
    assert world.outcomes == ["done"]


async def test_what_is_offered_and_stopped_at_once_never_starts() -> None:
    entered: list[int] = []

    @tool(effect="read")
    async def look(at: int) -> str:
        """Looks."""
        entered.append(at)
        return "saw"

    world = World([look], uses_of("look", 3))
    async with world.calls() as calls:
        for use in world.uses:
            calls.offer(use)
    assert entered == []


class SlowLease:
    """Writes slowly, and notes what it has written."""

    def __init__(self, calls: list[str]) -> None:
        self._written = calls

    async def commit(self, durable: bool) -> None:
        self._written.append("intent, synced" if durable else "intent")

    async def confirm(self) -> None:
        self._written.append("confirmed")

    async def commit_result(self) -> None:
        self._written.append("result begun")
        await anyio.sleep(0.02)
        self._written.append("result written")

    def now(self) -> float:
        return 0.0


@pytest.mark.parametrize("stopped", [False, True])
async def test_an_effect_is_written_around_it_also_when_the_run_is_stopped(stopped: bool) -> None:
    written: list[str] = []

    @tool
    async def pay() -> str:
        """Pays."""
        written.append("paid")
        return "paid"

    @tool(effect="read")
    async def look() -> str:
        """Looks."""
        return "saw"

    world = World([pay, look], [tool_use("pay")])
    world.commit()
    async with world.calls() as calls:
        calls._lease = SlowLease(written)  # type: ignore[assignment]
        async with anyio.create_task_group() as group:
            group.start_soon(world.drain, calls)
            await until(lambda: "result begun" in written)
            if stopped:
                await calls.aclose()
                group.cancel_scope.cancel()
    expected = ["intent, synced", "confirmed", "paid", "result begun", "result written"]
    assert (written, world.outcomes) == (expected, ["done"])
    world.answer()
    world.uses = [tool_use("look", id="toolu_2")]
    written.clear()
    world.commit()
    async with world.calls() as calls:
        calls._lease = SlowLease(written)  # type: ignore[assignment]
        await world.drain(calls)
    assert (written, world.outcomes) == ([], ["done", "done"])


@pytest.mark.parametrize("attempts", [1, 2])
async def test_a_tool_is_told_which_attempt_it_is(attempts: int) -> None:
    told: list[int] = []

    @tool(idempotent=True)
    async def pay(ctx: RunContext[None]) -> str:
        """Pays."""
        told.append(ctx.attempt)
        return "paid"

    world = World([pay], [tool_use("pay")])
    world.commit()
    for _ in range(attempts - 1):
        world.transcript.start(world.transcript.unended()[0], tool=pay.digest)
    await world.carry_out()
    assert told == [attempts]


@pytest.mark.parametrize("commits_first", [True, False])
async def test_what_runs_early_is_the_first_attempt(commits_first: bool) -> None:
    told: list[int] = []

    @tool(effect="read")
    async def look(ctx: RunContext[None]) -> str:
        """Looks."""
        told.append(ctx.attempt)
        return "saw"

    world = World([look], [tool_use("look")])
    async with world.calls() as calls:
        calls.offer(world.uses[0])
        if commits_first:  # before it begins
            world.commit()
        await anyio.wait_all_tasks_blocked()
    assert told == [1]


async def test_verify_is_told_how_long_it_has() -> None:
    told: list[float] = []

    async def verify(ctx: RunContext[None], arguments: dict[str, Any]) -> str:
        told.extend((ctx.deadline or 0.0, anyio.current_time()))
        return "paid before"

    @tool(verify=verify, timeout=7.0)
    async def pay() -> str:
        """Pays."""
        return "paid"

    world = World([pay], [tool_use("pay")])
    world.commit()
    world.transcript.start(world.transcript.unended()[0], tool=pay.digest)
    began = anyio.current_time()
    await world.carry_out()
    assert world.outcomes == ["done"]
    deadline, entered = told
    assert began + 7 <= deadline <= entered + 7


@pytest.mark.parametrize("fails", [True, False])
async def test_a_held_call_says_its_tool_and_is_written_before_it_is_shown(
    fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    written: list[str] = []

    @tool(needs_approval=True)
    async def pay() -> str:
        """Pays."""
        return "paid"

    async def approve(pending: Any) -> Decision:
        raise OSError("nobody is there")

    world = World([pay], [tool_use("pay")])
    world.commit()
    async with world.calls() as calls:
        calls._lease = SlowLease(written)  # type: ignore[assignment]
        calls._approve = approve if fails else None
        await world.drain(calls)
    (event,) = world.events
    assert (event, written) == (ToolHeld("1:toolu_1", "pay", {}), ["intent"])
    (call,) = world.transcript.held()
    assert (call.tool, world.transcript.entries[-1]["tool"]) == (pay.digest, pay.digest)
    assert [entry.get("state") for entry in world.transcript.entries if entry["entry"] == "call"] == ["held"]
    assert ("approve failed for pay" in caplog.text) == fails


async def test_an_end_has_the_name_of_its_tool_and_what_polls_is_never_the_same_call() -> None:
    @tool(effect="read", polls=True)
    async def status() -> str:
        """Says how far it is."""
        return "not yet"

    world = World([status], [tool_use("status")])
    await world.run()
    assert [event.name for event in world.of(ToolResult)] == ["status"]
    (ended,) = (entry for entry in world.transcript.entries if entry.get("state") == "ended")
    assert ended["digest"] == "1:toolu_1"


async def test_no_more_than_three_names_are_proposed() -> None:
    @tool
    async def look() -> str:
        """Looks."""
        return ""

    names = ["look1", "look2", "look3", "look4"]
    world = World([look], [tool_use("look")])
    world.tools = dict.fromkeys(names, look)
    (result,) = await world.run()
    assert result["content"].count(" or ") == 2


async def test_code_waits_four_minutes() -> None:
    told: list[float] = []

    @tool(timeout=1000)
    async def look(ctx: RunContext[None]) -> str:
        """Looks."""
        told.append((ctx.deadline or 0.0) - anyio.current_time())
        return "saw"

    use = {**tool_use("look"), "caller": {"type": "code_execution_20260120", "tool_id": "srvtoolu_1"}}
    world = World([look], [use], max_seconds=1000)
    world.commit()
    await world.carry_out()
    assert 200 < told[0] <= 240.0


@TRIO  # on asyncio anyio frees the place at once
async def test_threads_that_were_given_up_leave_room_for_three_more() -> None:
    entered: list[int] = []
    release = threading.Event()

    @tool(timeout=LONG)
    def stuck(at: int) -> str:
        """Does not come back."""
        entered.append(at)
        release.wait(600)
        return ""

    world = World([stuck], uses_of("stuck", 6), max_parallel_tools=1, max_seconds=1000)

    async def time_passes() -> None:
        for at in range(6):
            await until(lambda at=at: len(world.outcomes) == at)  # type: ignore[misc]
            await until(lambda at=at: len(entered) == min(at + 1, 4))  # type: ignore[misc]
            await anyio.wait_all_tasks_blocked()
            jump()

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(time_passes)
            await world.run()
        assert world.outcomes == ["timed_out"] * 6
        assert len(entered) == 4
    finally:
        release.set()


class OneDatabase:
    """Where a transactional tool writes; it may fail before its work, or after it."""

    def __init__(self, fails: str = "") -> None:
        self._fails = fails
        self._db = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)

    async def transact(self, work: Callable[[Any], None]) -> None:
        if self._fails == "before":
            self._db.close()
            raise JournalError("the disk is full")
        self._db.execute("BEGIN")
        await anyio.to_thread.run_sync(work, self._db)
        self._db.close()
        if self._fails == "after":
            raise JournalError("the disk is full")

    def now(self) -> float:
        return 0.0


@pytest.mark.parametrize("fails", ["", "before", "after"])
async def test_a_transactional_call_has_begun_and_ended_only_if_it_is_written(fails: str) -> None:
    told: list[Any] = []

    @tool(transactional=True, timeout=7.0)
    def pay(ctx: RunContext[None]) -> str:
        """Pays."""
        told.append(ctx)
        return "paid"

    world = World([pay], [tool_use("pay")])
    world.commit()
    began = anyio.current_time()
    async with world.calls() as calls:
        calls._lease = OneDatabase(fails)  # type: ignore[assignment]
        if fails:
            with pytest.raises(JournalError, match="the disk is full"):
                await world.drain(calls)
        else:
            await world.drain(calls)
    states = [entry["state"] for entry in world.transcript.entries if entry["entry"] == "call"]
    assert states == {"": ["started", "ended"], "before": ["started"], "after": ["started", "ended", "started"]}[fails]
    assert [type(event) for event in world.events] == ([ToolCall, ToolResult] if not fails else [ToolCall])
    assert world.transcript.calls["1:toolu_1"].state == ("started" if fails else "ended"), "nothing of it has happened"
    assert [(ctx.attempt, ctx.call_id) for ctx in told] == ([] if fails == "before" else [(1, "1:toolu_1")])
    assert all(began + 7 <= ctx.deadline <= anyio.current_time() + 7 for ctx in told)
