"""A run-owned task on asyncio or trio: the only core file that names them.

A task group can't stay open across a `yield`: a consumer that leaves would break it. So what has to go on
while the consumer looks away runs in a task of its own, and whoever started it ends it.
"""

from __future__ import annotations

import contextvars
import sys
from collections.abc import Awaitable, Callable

import anyio

__all__ = ["Background"]


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
        self._spawn()

    def _spawn(self) -> None:
        trio = sys.modules.get("trio")
        if trio is not None and trio.lowlevel.in_trio_run():
            trio.lowlevel.spawn_system_task(self._main, context=contextvars.copy_context())
        else:
            import asyncio

            self._task = asyncio.create_task(self._main())  # kept: the loop holds tasks weakly
            # A loop that ends throws a task away that has not begun, and then `_main` is never entered.
            self._task.add_done_callback(lambda _: self._done.set())

    async def _main(self) -> None:
        try:
            with self._scope:
                await self._work()
        except anyio.get_cancelled_exc_class():
            raise  # the event loop itself is shutting down
        except BaseException as error:
            self.error = error
        finally:
            self._done.set()

    async def stop(self) -> None:
        """Cancels the task and waits until it has ended, whatever happens to the caller."""
        self._scope.cancel()
        with anyio.CancelScope(shield=True):
            await self._done.wait()
