"""Jobs of a run: tools that do not stop when they are told to are given up, and what they come to is kept aside."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import anyio
import pytest
from calls import World
from runs import agent_for, until
from scripted import reply, text, tool_use

from agentkit import Journal, Tool, ToolError, tool
from agentkit.events import ToolResult
from agentkit.jobs import GRACE, Jobs
from agentkit.rules import check_history

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    assert GRACE == 5
    monkeypatch.setattr("agentkit.jobs.GRACE", 0.1)


class Stubborn:
    """A tool that goes on when it is cancelled, until it is let go."""

    def __init__(self) -> None:
        self.entered = 0
        self.free = anyio.Event()
        self.fails = False

    def tool(self, **options: Any) -> Tool:
        @tool(**options)
        async def act() -> str:
            """Acts."""
            self.entered += 1
            with anyio.CancelScope(shield=True):
                await self.free.wait()
            if self.fails:
                raise OSError("the secret is 17")
            return "acted"

        return act


@pytest.fixture
def stubborn() -> Stubborn:
    return Stubborn()


async def test_X8_a_call_that_does_not_stop_at_its_deadline_is_given_up(stubborn: Stubborn) -> None:
    @tool
    async def sibling() -> str:
        """Is not disturbed."""
        return "fine"

    world = World([stubborn.tool(timeout=0.05), sibling], [tool_use("act"), tool_use("sibling", id="toolu_2")])
    world.commit()
    async with world.calls() as calls:
        with anyio.fail_after(30):
            await world.drain(calls)
        assert sorted(world.outcomes) == ["done", "timed_out"]
        log = len(world.transcript.entries)
        stubborn.free.set()
        await until(lambda: not calls._jobs._tasks)
        assert len(world.transcript.entries) == log, "what comes late is no part of the log"
    first, second = world.answer()
    assert first["content"].startswith("Timed out after 0.05 seconds, and did not stop then. The outcome is unknown")
    assert second["content"] == "fine"


async def test_C2_a_call_that_does_not_stop_with_its_run_is_given_up(stubborn: Stubborn) -> None:
    world = World([stubborn.tool()], [tool_use("act")])
    world.commit()
    began = anyio.current_time()
    async with world.calls() as calls:

        async def drain() -> None:
            await world.drain(calls)

        async with anyio.create_task_group() as group:
            group.start_soon(drain)
            await until(lambda: stubborn.entered == 1)
            group.cancel_scope.cancel()
        with anyio.fail_after(30):
            await calls.aclose()
        assert anyio.current_time() - began < 20
        assert world.outcomes == ["cancelled"]
        stubborn.free.set()
        await until(lambda: not calls._jobs._tasks)
    (block,) = world.answer()
    assert "did not stop then. The outcome is unknown" in block["content"]


async def test_a_call_that_stops_within_the_grace_says_itself_how_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentkit.jobs.GRACE", 60)

    @tool(timeout=0.01)
    async def act() -> str:
        """Needs a moment to stop."""
        try:
            await anyio.sleep(60)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.03)
        raise AssertionError

    world = World([act], [tool_use("act")])
    (block,) = await world.run()
    assert block["content"].startswith("Timed out after 0.01 seconds. The outcome")


@pytest.mark.parametrize("raised", [OSError, SystemExit])
async def test_what_a_tool_raises_over_its_deadline_is_no_failure_of_its_own(raised: type[BaseException]) -> None:
    @tool(timeout=0.01)
    async def act() -> str:
        """Wraps what it is cancelled with."""
        try:
            await anyio.sleep(60)
        except anyio.get_cancelled_exc_class() as error:
            raise raised from error
        return "acted"

    (block,) = await World([act], [tool_use("act")]).run()
    assert block["content"].startswith("Timed out after 0.01 seconds. The outcome")


@pytest.mark.parametrize("ends", ["deadline", "cancel"])
async def test_a_call_that_is_told_to_stop_may_say_what_it_came_to(ends: str) -> None:
    """In a ToolError, as in a result: these are its words for the model."""
    entered = anyio.Event()

    @tool(timeout=0.05 if ends == "deadline" else 60)
    async def act() -> str:
        """Says how far it came."""
        entered.set()
        try:
            await anyio.sleep(60)
        except anyio.get_cancelled_exc_class():
            raise ToolError("Stopped after 17 rows.") from None
        return "acted"

    world = World([act], [tool_use("act")])
    world.commit()
    async with world.calls() as calls, anyio.create_task_group() as group:
        group.start_soon(world.drain, calls)
        if ends == "cancel":
            await entered.wait()
            await calls.aclose()
            group.cancel_scope.cancel()
    (block,) = world.answer()
    assert block["content"] == "Stopped after 17 rows."


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("ends", ["deadline", "cancel"])
async def test_X20_what_comes_late_is_kept_beside_the_run(
    tmp_path: Path, stubborn: Stubborn, ends: str, fails: bool
) -> None:
    journal, stubborn.fails = Journal(tmp_path / "runs.db"), fails
    late = ("failed", "The tool failed with") if ends == "cancel" else ("timed_out", "Timed out after 0.05 seconds.")
    outcome, words = late if fails else ("done", "acted")
    script = [reply(tool_use("act")), reply(text("Well."))][: 2 if ends == "deadline" else 1]
    made = stubborn.tool(effect="write", timeout=0.05 if ends == "deadline" else 60)
    async with agent_for(script, made, journal=journal) as (agent, _):
        async with agent.stream("Go.") as run, anyio.create_task_group() as group:

            async def cancel() -> None:
                await until(lambda: stubborn.entered == 1)
                run.cancel()

            if ends == "cancel":
                group.start_soon(cancel)
            async for _ in run:
                pass
        assert run.result.finish.reason == ("end_turn" if ends == "deadline" else "cancelled")
        assert check_history(run.result.messages) == []
        assert journal.orphans(run.run_id) == []
        stubborn.free.set()
        await until(lambda: bool(journal.orphans(run.run_id)))
        (orphan,) = journal.orphans(run.run_id)
        assert (orphan["call"], orphan["outcome"]) == ("1:toolu_1", outcome)
        assert orphan["result"]["content"].startswith(words)
        assert journal.load(run.run_id).dump() == run.result.dump()
    journal.close()


async def test_X20_one_that_stops_at_last_with_its_run_has_come_to_nothing(caplog: pytest.LogCaptureFixture) -> None:
    free, entered = anyio.Event(), anyio.Event()

    @tool
    async def act() -> str:
        """Stops when it is let go."""
        entered.set()
        with anyio.CancelScope(shield=True):
            await free.wait()
        await anyio.sleep(60)
        return "acted"

    world = World([act], [tool_use("act")])
    world.commit()
    async with world.calls() as calls:
        async with anyio.create_task_group() as group:
            group.start_soon(world.drain, calls)
            await entered.wait()
            group.cancel_scope.cancel()
        with caplog.at_level(logging.INFO, "agentkit.tools"):
            await calls.aclose()
            free.set()
            await until(lambda: not calls._jobs._tasks)
    assert "its call is given up" in caplog.text
    assert "has ended" not in caplog.text


async def test_X8_that_a_call_is_given_up_is_stored_before_it_is_shown(tmp_path: Path, stubborn: Stubborn) -> None:
    journal = Journal(tmp_path / "runs.db")
    script, made = [reply(tool_use("act")), reply(text("Well."))], stubborn.tool(effect="write", timeout=0.05)
    async with agent_for(script, made, journal=journal) as (agent, _), agent.stream("Go.") as run:
        async for event in run:
            if isinstance(event, ToolResult):
                shown, stored = event.block, journal.load(run.run_id).calls["1:toolu_1"]
        stubborn.free.set()
    assert (stored.outcome, stored.result) == ("timed_out", shown)
    journal.close()


async def test_a_job_that_fails_ends_the_wait() -> None:
    jobs = Jobs()

    async def fail() -> None:
        raise OSError("disk full")

    jobs.start(fail)
    with pytest.raises(OSError, match="disk full"):
        await jobs.next_event()
    await jobs.aclose()


async def test_without_a_job_there_is_nothing_to_wait_for() -> None:
    jobs = Jobs()

    async def end() -> None:
        pass

    jobs.start(end)
    with pytest.raises(RuntimeError, match="the run's tools were stopped"):
        await jobs.next_event()
