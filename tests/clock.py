"""A clock of the event loop that a test can put forward or stop, so that no limit races a slow machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import httpx
import pytest
import trio
from anyio.lowlevel import checkpoint
from trio.testing import MockClock

__all__ = ["BACKENDS", "CLOCK", "LONG", "TRIO", "SlowHTTP", "jump", "settle", "stopped"]

LONG = 60.0
"""Seconds: a limit that ends a wait where a test puts the clock forward, and never else."""
CLOCK = MockClock(rate=1)  # goes on as clocks do
TRIO = pytest.mark.parametrize("anyio_backend", [("trio", {"clock": CLOCK})], ids=["trio"])
BACKENDS = pytest.mark.parametrize("anyio_backend", ["asyncio", ("trio", {"clock": CLOCK})], ids=["asyncio", "trio"])


class _LoopTime:
    """In place of `time` of an event loop of asyncio."""

    def __init__(self, real: Callable[[], float]) -> None:
        self._real = real
        self._ahead = 0.0
        self._stands_at: float | None = None

    def __call__(self) -> float:
        return self._real() + self._ahead if self._stands_at is None else self._stands_at

    def jump(self, seconds: float) -> None:
        self._ahead += seconds
        if self._stands_at is not None:
            self._stands_at += seconds

    def stop(self) -> None:
        self._stands_at = self()

    def go_on(self) -> None:
        assert self._stands_at is not None
        self._ahead, self._stands_at = self._stands_at - self._real(), None


def _loop_time() -> _LoopTime:
    loop: Any = asyncio.get_running_loop()
    if not isinstance(loop.time, _LoopTime):
        loop.time = _LoopTime(loop.time)
    return cast(_LoopTime, loop.time)


def jump(seconds: float = LONG + 1) -> None:
    """Puts the clock of the running event loop forward."""
    (CLOCK if trio.lowlevel.in_trio_run() else _loop_time()).jump(seconds)


@contextmanager
def stopped() -> Iterator[None]:
    """The clock of the running event loop stands still, but for jumps."""
    if trio.lowlevel.in_trio_run():
        CLOCK.rate = 0
        try:
            yield
        finally:
            CLOCK.rate = 1
    else:
        time = _loop_time()
        time.stop()
        try:
            yield
        finally:
            time.go_on()


async def settle() -> None:
    """The event loop takes what has come from its sockets, and its tasks what that gives them."""
    for _ in range(20):
        await checkpoint()


class SlowHTTP(httpx.AsyncHTTPTransport):
    """Each piece of a reply takes two thirds of `LONG` to come."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Slow(response.stream)
        return response


class _Slow(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            jump(LONG * 2 / 3)
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()
