"""A task of the run's own: it ends when it is told to, and its event loop can always end."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable

import anyio
import pytest
import trio
from anyio.lowlevel import checkpoint

from agentkit.background import Background, stoppable

pytestmark = pytest.mark.anyio
who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


async def test_it_runs_beside_its_owner_and_is_stopped() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("ended")

    background = Background(work)
    await anyio.wait_all_tasks_blocked()
    assert ended == []
    await background.stop()
    assert ended == ["ended"]
    assert background.error is None
    await background.stop()


async def test_a_stop_before_its_first_step_does_not_wait_for_ever() -> None:
    entered: list[str] = []

    async def work() -> None:
        entered.append("entered")
        await anyio.sleep_forever()

    with anyio.fail_after(30):
        await Background(work).stop()
    assert entered == ["entered"]


async def test_it_may_end_by_itself() -> None:
    done = anyio.Event()

    async def work() -> None:
        done.set()

    background = Background(work)
    await done.wait()
    with anyio.fail_after(30):
        await background.stop()
    assert background.error is None


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
async def test_what_it_raised_is_kept(kind: type[BaseException]) -> None:
    error = kind("no")

    async def work() -> None:
        raise error

    background = Background(work)
    await anyio.wait_all_tasks_blocked()
    await background.stop()
    assert background.error is error


async def test_a_stop_waits_for_its_cleanup_although_the_caller_is_cancelled() -> None:
    cleaned: list[str] = []

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.02)
            cleaned.append("cleaned")

    background = Background(work)
    await anyio.wait_all_tasks_blocked()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await background.stop()
    assert cleaned == ["cleaned"]


async def test_it_sees_the_context_variables_of_its_owner() -> None:
    seen: list[str] = []

    async def work() -> None:
        seen.append(who.get())

    token = who.set("ada")
    background = Background(work)
    who.reset(token)
    await anyio.wait_all_tasks_blocked()
    await background.stop()
    assert seen == ["ada"]


async def test_the_cancelled_scope_of_its_owner_is_not_its_own() -> None:
    steps: list[str] = []
    went_on = anyio.Event()

    async def work() -> None:
        await anyio.sleep(0.02)
        steps.append("went on")
        went_on.set()

    with anyio.CancelScope() as scope:
        background = Background(work)
        scope.cancel()
        await anyio.sleep_forever()
    with anyio.move_on_after(20):
        await went_on.wait()
    await background.stop()
    assert steps == ["went on"]


@pytest.mark.parametrize("run", [asyncio.run, trio.run], ids=["asyncio", "trio"])
def test_an_event_loop_ends_while_it_hangs(run: Callable[..., None]) -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("ended")

    kept: list[Background] = []

    async def main() -> None:
        kept.append(Background(work))
        await anyio.wait_all_tasks_blocked()

    async def started(main: Callable[[], Awaitable[None]]) -> None:
        await main()

    began = time.monotonic()
    run(started(main)) if run is asyncio.run else run(started, main)
    assert time.monotonic() - began < 20
    assert ended == ["ended"]
    assert kept[0].error is None


def test_the_loop_ends_before_its_first_step() -> None:
    """asyncio throws a task away that has not begun; whoever closes what waits for it must not hang."""
    entered: list[str] = []

    async def work() -> None:
        entered.append("entered")

    async def owner() -> Background:
        return Background(work)

    async def main() -> None:
        background = await owner()
        background._task.cancel()
        with anyio.fail_after(30):
            await background.stop()

    asyncio.run(main())
    assert entered == []


# Steps that are given up.


async def for_ever() -> None:
    await anyio.sleep_forever()


async def test_a_step_that_is_not_stopped_gives_what_it_has() -> None:
    step = stoppable()

    async def seven() -> int:
        assert step.is_waiting
        await checkpoint()
        return 7

    assert await step.wait(seven()) == 7
    assert not step.is_waiting
    step.stop()  # nothing waits
    assert await step.wait(seven()) == 7


async def test_a_step_that_is_stopped_gives_nothing_and_the_task_goes_on() -> None:
    step = stoppable()
    for _ in range(2):
        async with anyio.create_task_group() as group:
            group.start_soon(after_a_moment, step.stop)
            assert await step.wait(for_ever()) is None
        await checkpoint()


async def test_a_failure_of_a_step_comes_out() -> None:
    async def fails() -> None:
        raise KeyError("mine")

    step = stoppable()
    with pytest.raises(KeyError, match="mine"):
        await step.wait(fails())
    assert not step.is_waiting


async def test_who_else_cancels_a_step_that_is_stopped_is_heard() -> None:
    """Both at once: the task must end, and the step must not swallow it."""
    step = stoppable()
    ended: list[str] = []

    async def waits() -> None:
        ended.append(str(await step.wait(for_ever())))
        await checkpoint()
        ended.append("went on")

    async with anyio.create_task_group() as group:
        group.start_soon(waits)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
        step.stop()
    assert "went on" not in ended


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # tasks of trio can't be cancelled from outside
@pytest.mark.parametrize("ours_first", [True, False])
async def test_a_task_that_is_cancelled_while_its_step_is_stopped_ends(ours_first: bool) -> None:
    step = stoppable()
    went_on: list[bool] = []

    async def waits() -> None:
        await step.wait(for_ever())
        went_on.append(True)

    task = asyncio.create_task(waits())
    await anyio.wait_all_tasks_blocked()
    for act in (step.stop, task.cancel) if ours_first else (task.cancel, step.stop):
        act()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert went_on == []


async def test_a_step_that_stops_itself_goes_on_to_its_end() -> None:
    step = stoppable()

    async def stops_itself() -> int:
        step.stop()
        return 7

    assert await step.wait(stops_itself()) == 7
    await checkpoint()


async def test_a_step_that_swallows_its_end_leaves_nothing_behind() -> None:
    step = stoppable()

    async def stubborn() -> str:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            return "all the same"

    async with anyio.create_task_group() as group:
        group.start_soon(after_a_moment, step.stop)
        assert await step.wait(stubborn()) == "all the same"
    await anyio.sleep(0.001)
    assert await step.wait(checkpoint()) is None


async def after_a_moment(act: Callable[[], None]) -> None:
    await anyio.wait_all_tasks_blocked()
    act()
