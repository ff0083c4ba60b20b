"""What mutants of `agentkit.early` and `agentkit.jobs`, and of how `execute` uses them, showed untested."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from calls import World, uses_of
from clock import BACKENDS, jump, settle, stopped
from runs import until
from scripted import tool_use

from agentkit.errors import JournalError
from agentkit.events import ToolProgress, ToolResult
from agentkit.invocation import Ended
from agentkit.jobs import GRACE, Jobs
from agentkit.tools import RunContext, tool

pytestmark = pytest.mark.anyio


async def test_calls_that_run_early_keep_to_max_parallel_tools() -> None:
    running: list[int] = []
    most = 0
    both = anyio.Event()

    @tool(effect="read")
    async def look(at: int) -> str:
        """Looks."""
        nonlocal most
        running.append(at)
        most = max(most, len(running))
        if most == 2:
            both.set()
        await both.wait()
        await anyio.sleep(0.01)
        running.remove(at)
        return f"saw {at}"

    world = World([look], uses_of("look", 4), max_parallel_tools=2)
    async with world.calls() as calls:
        for use in world.uses:
            calls.offer(use)
        await anyio.wait_all_tasks_blocked()
        world.commit()
        await world.drain(calls)
    assert (most, world.outcomes) == (2, ["done"] * 4)


async def test_what_a_call_of_a_failed_turn_reported_is_never_shown() -> None:
    entered: list[int] = []

    @tool(effect="read")
    async def look(ctx: RunContext[Any], at: int) -> str:
        """Looks."""
        entered.append(at)
        if len(entered) == 1:
            ctx.progress("of the failed turn")
        return "saw"

    world = World([look], uses_of("look", 1))
    async with world.calls() as calls:
        calls.offer(world.uses[0])
        await anyio.wait_all_tasks_blocked()
        calls.forget_early()
        world.commit()
        await world.drain(calls)
    assert (world.of(ToolProgress), world.outcomes, len(entered)) == ([], ["done"], 2)


async def test_each_early_call_has_its_own_result_and_its_progress_is_shown_once() -> None:
    @tool(effect="read")
    async def look(ctx: RunContext[Any], at: int) -> str:
        """Looks."""
        ctx.progress(f"at {at}")
        return f"saw {at}"

    world = World([look], uses_of("look", 3))
    async with world.calls() as calls:
        for use in reversed(world.uses):
            calls.offer(use)
        await anyio.wait_all_tasks_blocked()
        world.commit()
        await world.drain(calls)
    assert [block["content"] for block in world.answer()] == ["saw 0", "saw 1", "saw 2"]
    assert sorted((event.call_id, event.text) for event in world.of(ToolProgress)) == [
        (f"1:toolu_{at}", f"at {at}") for at in range(3)
    ]


async def test_a_call_whose_intent_can_not_be_written_ends_the_run_and_never_runs() -> None:
    entered: list[str] = []

    class Full:
        async def commit(self, durable: bool) -> None:
            raise JournalError("the disk is full")

        def now(self) -> float:
            return 0.0

    @tool
    async def pay() -> str:
        """Pays."""
        entered.append("pay")
        return "paid"

    world = World([pay], [tool_use("pay")])
    world.commit()
    async with world.calls() as calls:
        calls._lease = Full()  # type: ignore[assignment]
        with pytest.raises(JournalError, match="the disk is full"):
            await world.drain(calls)
    assert (entered, world.outcomes) == ([], ["not_run"])
    assert [event.block["content"] for event in world.of(ToolResult)] == [
        "The run was stopped before this call, so it has not run."
    ]


async def test_the_first_failure_of_several_jobs_is_the_one_that_is_raised() -> None:
    jobs = Jobs()

    async def fail(text: str) -> None:
        raise OSError(text)

    jobs.start(lambda: fail("first"))
    await anyio.wait_all_tasks_blocked()
    jobs.start(lambda: fail("second"))
    await anyio.wait_all_tasks_blocked()
    for wait in (jobs.next_event, jobs.next_event):
        with pytest.raises(OSError, match="first"):
            await wait()
    with pytest.raises(OSError, match="first"):
        jobs.check()
    await jobs.aclose()


async def test_events_come_in_order_and_before_a_failure() -> None:
    jobs = Jobs()
    events: list[Any] = [ToolProgress("1:a", "look", str(at)) for at in range(3)]

    async def work() -> None:
        for event in events:
            jobs.emit(event)
            await anyio.lowlevel.checkpoint()
        raise OSError("disk full")

    jobs.start(work)
    with anyio.fail_after(30):
        assert [await jobs.next_event() for _ in events] == events
        with pytest.raises(OSError, match="disk full"):
            await jobs.next_event()
    await jobs.aclose()


@BACKENDS
async def test_the_calls_that_are_overdue_are_given_up_each_at_its_time() -> None:
    jobs = Jobs()
    given_up: list[tuple[str, bool]] = []

    def watch(name: str, seconds: float) -> Any:
        return jobs.watch(anyio.current_time() + seconds, lambda is_late: given_up.append((name, is_late)))

    async def after(seconds: float) -> list[tuple[str, bool]]:
        jump(seconds)
        await settle()
        return given_up

    with stopped():
        late, ended, early = watch("late", 15), watch("ended", 2), watch("early", 5)
        jobs.unwatch(ended)
        await settle()
        assert await after(GRACE + 4.9) == []
        assert await after(0.2) == [("early", True)]
        assert await after(9.8) == [("early", True)]
        assert await after(0.2) == [("early", True), ("late", True)]
        assert (early.is_given_up, late.is_given_up, ended.is_given_up) == (True, True, False)
        again = watch("again", 5)  # when none was left
        await settle()
        assert (await after(GRACE + 5.1))[2:] == [("again", True)]
        assert again.is_given_up
        left = watch("left", 60)
        assert not left.is_given_up
        await jobs.aclose()
    assert (left.is_given_up, given_up[-1]) == (True, ("left", False))
    assert len(given_up) == 4
    await jobs.aclose()
    assert len(given_up) == 4


async def test_a_call_that_is_given_up_and_what_it_comes_to_are_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("agentkit.jobs.GRACE", 0.02)
    caplog.set_level(logging.INFO, "agentkit.tools")
    free = anyio.Event()

    @tool(timeout=0.02)
    async def act() -> str:
        """Does not stop."""
        with anyio.CancelScope(shield=True):
            await free.wait()
        return "acted"

    world = World([act], [tool_use("act")])
    world.commit()
    async with world.calls() as calls:
        await world.drain(calls)
        assert world.outcomes == ["timed_out"]
        free.set()
    await until(lambda: len(caplog.records) == 2)
    assert [(one.levelno, one.getMessage()) for one in caplog.records] == [
        (logging.WARNING, "tool act goes on though it was cancelled: its call is given up"),
        (logging.INFO, "act (1:toolu_1) has ended (done) after its call was given up"),
    ]


async def test_what_is_stopped_early_never_gives_a_result() -> None:
    from agentkit.early import EarlyCalls

    jobs = Jobs()
    early = EarlyCalls(jobs)
    ended: list[str] = []

    async def enter() -> Ended:
        try:
            await anyio.sleep_forever()
            return Ended("done", "saw")
        finally:
            ended.append("stopped")

    block = tool_use("look")
    early.start(block, enter)
    assert early.result_of(block) is not None
    assert early.result_of({**block, "name": "another"}) is None
    await anyio.wait_all_tasks_blocked()
    early.stop()
    assert early.result_of(block) is None
    with anyio.fail_after(30):
        await until(lambda: ended == ["stopped"])
    with pytest.raises(RuntimeError, match="the run's tools were stopped"):
        await jobs.next_event()
    await jobs.aclose()


async def test_closed_jobs_leave_no_task_behind_and_what_was_cancelled_is_no_failure() -> None:
    async def wait() -> None:
        await anyio.sleep(60)

    before = anyio.get_running_tasks()
    jobs = Jobs()
    jobs.start(wait)
    for seconds in (60, 30, 45, 10):
        jobs.watch(anyio.current_time() + seconds, lambda is_late: None)
    await anyio.wait_all_tasks_blocked()
    await jobs.aclose()
    await anyio.wait_all_tasks_blocked()
    assert [task for task in anyio.get_running_tasks() if task not in before] == []
    jobs.check()
    with pytest.raises(RuntimeError, match="the run's tools were stopped"):
        await jobs.next_event()


async def test_jobs_are_waited_for_though_the_caller_is_cancelled() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await anyio.sleep(60)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.02)
            ended.append("cleaned up")

    jobs = Jobs()
    jobs.start(work)
    await anyio.wait_all_tasks_blocked()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await jobs.aclose()
    assert ended == ["cleaned up"]


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio takes its tasks in any order
async def test_who_gets_a_place_as_the_run_is_stopped_is_not_entered(anyio_backend: str, early: bool) -> None:
    entered: list[int] = []
    free = anyio.Event()

    @tool(effect="read")
    async def look(at: int) -> str:
        """Looks."""
        entered.append(at)
        await free.wait()
        return "saw"

    async def drain() -> None:
        with pytest.raises(RuntimeError, match="the run's tools were stopped"):
            await world.drain(calls)

    world = World([look], uses_of("look", 2), max_parallel_tools=1)
    async with world.calls() as calls, anyio.create_task_group() as group:
        if early:
            for use in world.uses:
                calls.offer(use)
        else:
            world.commit()
            group.start_soon(drain)
        await anyio.wait_all_tasks_blocked()
        free.set()
        await anyio.lowlevel.checkpoint()
        if early:
            calls.forget_early()
            await anyio.wait_all_tasks_blocked()
        else:
            await calls.aclose()
    assert entered == [0]


class Aside:
    """A lease that keeps what comes late."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, str, Any]] = []

    async def commit(self, durable: bool) -> None: ...

    async def confirm(self) -> None: ...

    async def commit_result(self) -> None: ...

    def keep_late(self, call_id: str, outcome: str, result: Any) -> None:
        self.kept.append((call_id, outcome, result["content"]))

    def now(self) -> float:
        return 0.0


@pytest.mark.parametrize(("effect", "keeps"), [("write", True), ("read", False)])
@pytest.mark.parametrize("stopped", [True, False])
async def test_what_an_effect_comes_to_late_is_kept_beside_the_run(
    monkeypatch: pytest.MonkeyPatch, effect: str, keeps: bool, stopped: bool
) -> None:
    monkeypatch.setattr("agentkit.jobs.GRACE", 0.02)
    free, entered = anyio.Event(), anyio.Event()

    @tool(timeout=60 if stopped else 0.02, effect=effect)
    async def act() -> str:
        """Does not stop."""
        entered.set()
        with anyio.CancelScope(shield=True):
            await free.wait()
        return "acted"

    lease = Aside()
    world = World([act], [tool_use("act")])
    world.transcript.repeats.are_noticed = lambda digest: True  # type: ignore[method-assign]
    world.commit()
    async with world.calls() as calls:
        calls._lease = lease  # type: ignore[assignment]
        async with anyio.create_task_group() as group:
            group.start_soon(world.drain, calls)
            await entered.wait()
            if stopped:
                group.cancel_scope.cancel()
        await calls.aclose()
        assert world.outcomes == (["cancelled"] if stopped else ["timed_out"])
        assert lease.kept == []
        free.set()
        await until(lambda: not calls._jobs._tasks)
    assert lease.kept == ([("1:toolu_1", "done", "acted")] if keeps else [])
    log = world.transcript.calls["1:toolu_1"].result
    assert log is not None
    said = "The run was stopped while this call ran" if stopped else "Timed out after 0.02 seconds"
    assert log["content"][0]["text"].startswith(f"{said}, and ")


async def test_who_looks_after_the_calls_mostly_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentkit.jobs.GRACE", 0.03)
    looks: list[float] = []
    sleep_until = anyio.sleep_until

    async def counted(deadline: float) -> None:
        looks.append(deadline)
        await sleep_until(deadline)

    monkeypatch.setattr(anyio, "sleep_until", counted)
    jobs = Jobs()
    watch = jobs.watch(anyio.current_time() + 0.03, lambda is_late: None)
    await until(lambda: watch.is_given_up)
    assert looks[0] == pytest.approx(watch.deadline + 0.03)
    assert len(looks) <= 2
    await jobs.aclose()
