"""What a server may send: how much, how fast, and what of it is looked at."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, TypeAlias

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCNotification, JSONRPCResponse

__all__ = ["GIVEN", "MESSAGE_CAP", "MOST_TOOLS", "Broken", "Streams", "Traffic", "limited"]

MESSAGE_CAP = 16 * 1024 * 1024
"""Bytes of one message. Source: faults.md, U4."""

MOST_TOOLS = 1000
"""Tools that a server may list."""

GIVEN = "agentkit/given"
"""Where an input schema is kept that the package mcp would refuse."""

_BURST = 200  # messages at once
_RATE = 100  # messages a second after that
_MOST_TOO_FAST = 5000
# Nothing here listens to others, and the package mcp writes a traceback to the log for each that is not well formed.
_HEEDED = ("notifications/progress", "notifications/tools/", "notifications/subscriptions/", "notifications/cancelled")

Streams: TypeAlias = tuple[Any, Any]
"""What a transport of the package mcp gives: one that receives messages, one that sends them."""


class Broken(Exception):
    """The server has broken a limit; the text says which, as what follows its name."""


class Traffic:
    """A bucket of 200 messages that fills with 100 a second. Source: faults.md, U4."""

    def __init__(self) -> None:
        self._left = float(_BURST)
        self._at = anyio.current_time()
        self._too_fast = 0

    def takes(self, message: SessionMessage) -> bool:
        """Whether the message goes on to the client: an answer does, and all else that comes within the rate.

        Raises:
            Broken: Too many have come too fast.
        """
        now = anyio.current_time()
        self._left = min(self._left + (now - self._at) * _RATE, _BURST)
        self._at = now
        if self._left >= _BURST:
            self._too_fast = 0
        if self._left >= 1:
            self._left -= 1
            return _is_heeded(message)
        self._too_fast += 1
        if self._too_fast > _MOST_TOO_FAST:
            raise Broken(f"sent more than {_MOST_TOO_FAST:,} messages too fast")
        return isinstance(message.message, JSONRPCResponse)


def _is_heeded(message: SessionMessage) -> bool:
    it = message.message
    return not isinstance(it, JSONRPCNotification) or it.method.startswith(_HEEDED)


@asynccontextmanager
async def limited(
    transport: AbstractAsyncContextManager[Streams], ended: Callable[[str | None], None]
) -> AsyncGenerator[Streams]:
    """The streams of a transport, with what a server sends held to the limits.

    Args:
        transport: Of the package mcp, or `process_streams`.
        ended: Called as soon as nothing more can come, with why if a limit was broken.
    """
    async with transport as (inner, write):
        passed, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)

        async def pass_on() -> None:
            why = None
            try:
                with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                    async for item in _admitted(inner):
                        await passed.send(item)
            except Broken as error:
                why = str(error)
            finally:
                ended(why)  # first, so that no call enters what is closing
                passed.close()

        with read:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(pass_on)
                try:
                    yield read, write
                finally:
                    tasks.cancel_scope.cancel()


async def _admitted(stream: AsyncIterator[SessionMessage | Exception]) -> AsyncGenerator[SessionMessage | Exception]:
    traffic = Traffic()
    async for item in stream:
        if isinstance(item, Broken):
            raise item
        if isinstance(item, SessionMessage):
            if not traffic.takes(item):
                continue
            _look_at_tools(item)
        yield item


def _look_at_tools(message: SessionMessage) -> None:
    """What the client of the package mcp would do with a list of tools, and should not.

    It would run the patterns of schemas for output, which may take for ever, and refuse the whole list for one schema
    whose type is not `object`.
    """
    answer = message.message
    found = answer.result.get("tools") if isinstance(answer, JSONRPCResponse) else None
    listed = found if isinstance(found, list) else []
    if len(listed) > MOST_TOOLS:
        raise Broken(f"lists {len(listed):,} tools at once, and at most {MOST_TOOLS:,} are taken")
    for tool in listed:
        if isinstance(tool, dict):
            tool.pop("outputSchema", None)
            schema = tool.get("inputSchema")
            if isinstance(schema, dict) and schema.get("type") != "object":
                tool["inputSchema"] = {"type": "object", GIVEN: schema}
