"""A uvicorn server that begins and ends at once, so that each test can have one of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from agentkit.emulator.faults.delivery import CONNECTION

__all__ = ["OpenProtocol", "QuickServer"]

_TICK = 0.1  # seconds; uvicorn counts ten to a second
_IDLE = 0.002  # seconds that idle connections need to close


class QuickServer(uvicorn.Server):
    """uvicorn's own looks for its end ten times a second, and then waits another tenth for nothing."""

    _loop: asyncio.AbstractEventLoop | None = None
    _woken: asyncio.Event

    def stop(self) -> None:
        """Ends it, from any thread."""
        self.should_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._woken.set)

    async def main_loop(self) -> None:
        self._woken = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), _TICK)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await asyncio.sleep(_IDLE)
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
        for server in self.servers:
            server.close()


class OpenProtocol(H11Protocol):
    """HTTP/1.1 whose application gets at the connection itself, so that a fault can break it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        app: Any = self.app

        async def with_connection(scope: Any, receive: Any, send: Any) -> None:
            extensions = {**scope.get("extensions", {}), CONNECTION: transport}
            await app({**scope, "extensions": extensions}, receive, send)

        self.app = with_connection
