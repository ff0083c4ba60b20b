"""The sync door: one background thread with an event loop of its own, for each Client."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import TypeVar

import anyio
from anyio.from_thread import BlockingPortal

from agentkit.errors import ConfigurationError

__all__ = ["Portal"]

T = TypeVar("T")


class Portal:
    """Runs async functions for callers that are not async, also where an event loop runs already."""

    def __init__(self) -> None:
        self._portal: BlockingPortal | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """Runs `function` on the portal's event loop and waits for it; Ctrl-C cancels it, and waits for its cleanup.

        Raises:
            ConfigurationError: The caller is on that event loop itself.
        """
        if threading.current_thread() is self._thread:
            raise ConfigurationError("run_sync would wait for itself here: in an async tool use `await agent.run(…)`")
        ended = threading.Event()

        async def run() -> T:
            try:
                return await function()
            finally:
                ended.set()

        future: Future[T] | None = None
        try:
            future = self._open().start_task_soon(run)
            return future.result()
        except BaseException:
            if future and future.cancel():
                ended.wait(timeout=10)  # so that what it was doing is written down
            raise

    def close(self) -> None:
        """Ends the thread, and waits for that."""
        with self._lock:
            portal, self._portal = self._portal, None
            thread, self._thread = self._thread, None
        if portal and thread:
            portal.call(portal.stop)
            thread.join()

    def abandon(self, closing: Callable[[], Awaitable[None]]) -> None:
        """Ends the thread after `closing` has run in it, and does not wait: what the garbage collector may call."""

        def end() -> None:
            self.call(closing)
            self.close()

        if self._portal is not None:
            threading.Thread(target=end, name="agentkit ends", daemon=True).start()

    def _open(self) -> BlockingPortal:
        with self._lock:
            if self._portal is None:
                ready: Future[BlockingPortal] = Future()
                # A daemon: a script that never closes its client must still be able to end.
                self._thread = threading.Thread(target=anyio.run, args=(_serve, ready), name="agentkit", daemon=True)
                self._thread.start()
                self._portal = ready.result()
            return self._portal


async def _serve(ready: Future[BlockingPortal]) -> None:
    async with BlockingPortal() as portal:
        ready.set_result(portal)
        await portal.sleep_until_stopped()
