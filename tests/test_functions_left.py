"""Sync functions whose thread is left behind: what they come to is told all the same."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import anyio
import pytest

from agentkit.errors import ToolError
from agentkit.functions import Report, content_of


class Left:
    """A function that is called in a thread, and what becomes of it once nobody waits for it."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self.entered, self.free, self.told = (threading.Event() for _ in range(3))
        self.came: list[Any] = []
        self.progress: list[str] = []
        self.act = act

    def __call__(self) -> Any:
        self.entered.set()
        assert self.free.wait(30)
        return self.act()

    def late(self, came: Any) -> None:
        self.came.append(came)
        self.told.set()

    async def leave(self) -> Report:
        report = Report(self.progress.append, self.late)
        threads = anyio.CapacityLimiter(1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(content_of, self, on_loop=False, threads=threads, report=report, whole=False))
            assert await anyio.to_thread.run_sync(self.entered.wait, 5)
            tasks.cancel_scope.cancel()
        return report


def raises() -> None:
    raise KeyError("x")


def stopped() -> Iterator[str]:
    yield "a piece"
    raise AssertionError("it is stopped")


async def later() -> str:
    raise AssertionError("it is not awaited")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("act", "came"),
    [
        (lambda: "paid", ["paid"]),
        (lambda: {"paid": 1}, ['{"paid":1}']),
        (lambda: None, [""]),
        (raises, [KeyError]),
        (object, [ToolError]),
        (stopped, []),
        (later, []),
    ],
)
async def test_X20_what_a_thread_that_was_left_behind_comes_to_is_told(act: Callable[[], Any], came: list[Any]) -> None:
    left = Left(act)
    await left.leave()
    assert left.came == []
    left.free.set()
    if came:
        assert await anyio.to_thread.run_sync(left.told.wait, 5)
    else:
        await anyio.sleep(0.05)
    assert [type(one) if isinstance(one, Exception) else one for one in left.came] == came


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_X20_also_when_the_event_loop_is_gone(backend: str) -> None:
    left = Left(lambda: "paid")
    report = anyio.run(left.leave, backend=backend)

    def act() -> str:
        report("progress that nobody sees")
        return "paid"

    left.act = act
    left.free.set()
    assert left.told.wait(30)
    assert (left.came, left.progress) == (["paid"], [])


@pytest.mark.anyio
async def test_X20_what_ends_while_the_cancellation_is_on_its_way_is_told_once() -> None:
    for moment in range(60):
        left = Left(lambda: "paid")
        gave: list[Any] = []
        report, threads = Report(left.progress.append, left.late), anyio.CapacityLimiter(1)

        async def call(
            left: Left = left, gave: list[Any] = gave, report: Report = report, threads: Any = threads
        ) -> None:
            gave.append(await content_of(left, on_loop=False, threads=threads, report=report, whole=False))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await anyio.to_thread.run_sync(left.entered.wait, 5)
            left.free.set()
            time.sleep(moment % 6 * 0.0002)  # noqa: ASYNC251 - the thread ends, and the loop does not hear of it
            tasks.cancel_scope.cancel()
        if not gave:
            assert await anyio.to_thread.run_sync(left.told.wait, 5)
        assert gave + left.came == ["paid"]


@pytest.mark.anyio
@pytest.mark.parametrize("act", [lambda: "paid", raises])
async def test_what_comes_in_time_is_not_told_as_late(act: Callable[[], Any]) -> None:
    left = Left(act)
    left.free.set()
    report, threads = Report(left.progress.append, left.late), anyio.CapacityLimiter(1)
    try:
        assert await content_of(left, on_loop=False, threads=threads, report=report, whole=False) == "paid"
    except KeyError:
        assert act is raises
    assert left.came == []
