"""What a run does beside its consumer: each job in a task of its own, and the events that come of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from math import inf

import anyio

from agentkit.background import Background
from agentkit.events import Event

__all__ = ["GRACE", "Jobs", "Watch"]

GRACE = 5.0
"""Seconds that a tool has to end once it is cancelled. Source: faults.md, C2 and X8."""


@dataclass(eq=False, slots=True)
class Watch:
    """A call that runs, and is given up if it does not end when it is told to.

    Attributes:
        deadline: When it is told to, on anyio's clock.
        give_up: Writes down that it did not end: whether it is the deadline that is over, and not the run.
        is_given_up: Whether that has happened.
    """

    deadline: float
    give_up: Callable[[bool], None]
    is_given_up: bool = False


class Jobs:
    """Runs jobs at the same time, outside any scope of the consumer's, so that it may leave at any event."""

    def __init__(self) -> None:
        # In the order of their start: that of a set is another each time, and so would a simulation be.
        self._tasks: dict[Background, None] = {}
        self._watches: dict[Watch, None] = {}
        self._watchdog: Background | None = None
        self._looks_at = inf
        self._events: deque[Event] = deque()
        self._failed: BaseException | None = None
        self._wake = anyio.Event()

    def start(self, job: Callable[[], Awaitable[None]]) -> None:
        """Begins a job. What it raises ends the run, and not at once the jobs beside it."""
        task = Background(partial(self._noted, job))
        self._tasks[task] = None
        task.on_end(partial(self._ended, task))

    def emit(self, event: Event) -> None:
        """Hands on an event."""
        self._events.append(event)
        self._wake.set()

    def watch(self, deadline: float, give_up: Callable[[bool], None]) -> Watch:
        """Gives up what does not end by `deadline` and the grace after it; `unwatch` when it has ended."""
        watch = Watch(deadline, give_up)
        self._watches[watch] = None
        if deadline < self._looks_at:
            if self._watchdog:
                self._watchdog.cancel()
            self._looks_at = deadline
            self._watchdog = Background(self._give_up_overdue)
        return watch

    def unwatch(self, watch: Watch) -> None:
        """It has ended."""
        self._watches.pop(watch, None)

    def check(self) -> None:
        """Raises what a job raised."""
        if self._failed:
            raise self._failed

    async def next_event(self) -> Event:
        """The next event, once there is one.

        Raises:
            BaseException: What a job raised.
        """
        # Not a memory object stream: that costs a turn of the event loop for every event.
        while not self._events:
            self.check()
            if not self._tasks:
                raise RuntimeError("the run's tools were stopped")
            self._wake = anyio.Event()
            await self._wake.wait()
        return self._events.popleft()

    async def aclose(self) -> None:
        """Cancels all jobs and waits until they have ended, but no longer than the grace."""
        for task in self._tasks:
            task.cancel()
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + GRACE):
            for task in list(self._tasks):
                await task.ended()
        for watch in list(self._watches):
            self._give_up(watch, is_late=False)
        if self._watchdog:
            await self._watchdog.stop()

    async def _give_up_overdue(self) -> None:
        # One for all, which mostly sleeps: a deadline for each wait would cost as much as a call does.
        while self._looks_at < inf:
            await anyio.sleep_until(self._looks_at + GRACE)
            for watch in [watch for watch in self._watches if watch.deadline + GRACE <= anyio.current_time()]:
                self._give_up(watch, is_late=True)
            self._looks_at = min((watch.deadline for watch in self._watches), default=inf)

    def _give_up(self, watch: Watch, *, is_late: bool) -> None:
        self.unwatch(watch)
        watch.is_given_up = True
        watch.give_up(is_late)

    async def _noted(self, job: Callable[[], Awaitable[None]]) -> None:
        try:
            await job()
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:
            self._failed = self._failed or error

    def _ended(self, task: Background) -> None:
        self._tasks.pop(task, None)
        self._wake.set()
