"""What a run needs of asyncio or trio: the only core file that names them.

A task group or cancel scope can't stay open across a `yield`: a consumer that leaves would break it. So what has to go
on while the consumer looks away runs in a task of its own (`Background`), and what the consumer waits for is one step
at a time (`Stoppable`).
"""

from __future__ import annotations

import contextvars
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import anyio

__all__ = ["Background", "Stoppable", "stoppable"]

T = TypeVar("T")


def _trio() -> Any:
    """The module, where it runs this task."""
    trio = sys.modules.get("trio")
    return trio if trio is not None and trio.lowlevel.in_trio_run() else None


class Background:
    """One task that runs `work` until it ends or is stopped.

    Attributes:
        error: What `work` raised, None while it runs or if it raised nothing.
    """

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self.error: BaseException | None = None
        self._work = work
        self._scope = anyio.CancelScope()
        self._done = anyio.Event()
        self._on_end: Callable[[], None] = lambda: None
        self._spawn()

    def _spawn(self) -> None:
        if trio := _trio():
            trio.lowlevel.spawn_system_task(self._main, context=contextvars.copy_context())
        else:
            import asyncio

            self._task = asyncio.create_task(self._main())  # kept: the loop holds tasks weakly
            # A loop that ends throws a task away that has not begun, and then `_main` is never entered.
            self._task.add_done_callback(lambda _: self._end())

    async def _main(self) -> None:
        try:
            with self._scope:
                await self._work()
        except anyio.get_cancelled_exc_class():
            raise  # the event loop itself is shutting down
        except BaseException as error:
            self.error = error
        finally:
            self._end()

    def _end(self) -> None:
        if not self._done.is_set():
            self._done.set()
            self._on_end()

    def on_end(self, tell: Callable[[], None]) -> None:
        """Calls `tell` when the task has ended; to be asked for at once, before the task can begin."""
        self._on_end = tell

    def cancel(self) -> None:
        """Cancels the task."""
        self._scope.cancel()

    async def ended(self) -> None:
        """Waits until the task has ended."""
        await self._done.wait()

    async def join(self) -> None:
        """Waits until the task has ended, and raises what it raised. Who is cancelled meanwhile leaves it alone."""
        with anyio.CancelScope(shield=True):
            await self._done.wait()
        if self.error is not None:
            raise self.error

    async def stop(self) -> None:
        """Cancels the task and waits until it has ended, whatever happens to the caller."""
        self.cancel()
        with anyio.CancelScope(shield=True):
            await self._done.wait()


class Stoppable(Protocol):
    """Awaits one step after the other in the caller's task, and gives up the one at hand when it is told to.

    Attributes:
        is_waiting: Whether a step is at hand.
    """

    is_waiting: bool

    async def wait(self, step: Awaitable[T]) -> T | None:
        """What the step gives, or None if it was given up."""

    def stop(self) -> None:
        """Gives up the step at hand, if there is one: to be called on the same event loop."""


def stoppable() -> Stoppable:
    """One for the running event loop."""
    return _InScope() if _trio() else _InTask()


class _InScope:
    def __init__(self) -> None:
        self.is_waiting = False
        self._scope = anyio.CancelScope()

    async def wait(self, step: Awaitable[T]) -> T | None:
        self.is_waiting = True
        try:
            with anyio.CancelScope() as self._scope:
                return await step
        finally:
            self.is_waiting = False
        return None

    def stop(self) -> None:
        self._scope.cancel()


class _InTask:
    """Does what `asyncio.timeout` does: there a cancel scope costs as much as all else of a streamed event."""

    def __init__(self) -> None:
        import asyncio

        self.is_waiting = False
        self._task: asyncio.Task[Any] | None = None
        self._is_stopped = False
        self._current_task = asyncio.current_task
        self._cancelled = asyncio.CancelledError

    async def wait(self, step: Awaitable[T]) -> T | None:
        task = self._task = self._current_task()
        assert task is not None
        before = task.cancelling()
        self.is_waiting = True
        try:
            return await step
        except self._cancelled:
            if not self._is_stopped or task.cancelling() - 1 > before:  # others have cancelled it too
                raise
            return None
        finally:
            self.is_waiting, self._task = False, None
            if self._is_stopped:
                self._is_stopped = False
                task.uncancel()

    def stop(self) -> None:
        # A hook inside the step that calls this goes on to its end: nothing waits that could be given up.
        if self._task and not self._is_stopped and self._current_task() is not self._task:
            self._is_stopped = True
            self._task.cancel()
