"""One MCP server, connected in a task of its own, and connected again when the connection broke."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from typing import Any, TypeAlias

import anyio
from mcp import Client, MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    CallToolResult,
    Implementation,
    Tool,
    ToolListChangedNotification,
)
from pydantic import ValidationError

from agentkit.background import Background
from agentkit.errors import ConfigurationError, ToolError
from agentkit.integrations.mcp.limits import MOST_TOOLS, Broken, Streams, limited
from agentkit.integrations.mcp.pins import digest_of
from agentkit.invocation import MAY_HAVE_RUN
from agentkit.redaction import logger_of
from agentkit.terminal import safe_line

__all__ = ["Connection", "Progress"]

Progress: TypeAlias = Callable[[str], None]

_MOST_PAGES = 100
_ATTEMPTS = 3  # to connect, and to send a call that only reads. Source: faults.md, U2
_logger = logger_of("agentkit.mcp")
_CLOSING = 5.0  # seconds that a server may take to end its session
_CLOSED = "Connection closed"  # the words of the package mcp, as the next
_FORGOTTEN = "Session terminated"
_MOST_SAID = 1000  # characters of a server's error


class Connection:
    """A server and the tools that it offered first.

    A call is sent once, unless it only reads; one whose connection breaks has an unknown outcome.

    Args:
        name: Of the server, for messages.
        transport: Makes what a connection runs over: asked again for each one.
        seconds: That connecting and listing the tools may take.
        only: The tools that are wanted; None for all.

    Attributes:
        first: What the server offered first, by name.
        latest: What it offered when it was asked last.
        off: Why a tool can't be called any more, by name.
    """

    def __init__(
        self,
        name: str,
        transport: Callable[[], AbstractAsyncContextManager[Streams]],
        *,
        seconds: float,
        only: Collection[str] | None = None,
    ) -> None:
        self.first: dict[str, Tool] = {}
        self.latest: dict[str, Tool] = {}
        self.off: dict[str, str] = {}
        self._name = name
        self._transport = transport
        self._seconds = seconds
        self._only = only
        self._client: Client | None = None
        self._failure = "was not connected"
        self._is_stale = False
        self._is_closed = False
        self._listing = anyio.Lock()
        self._wanted = anyio.Event()
        self._settled = anyio.Event()
        self._lost = anyio.Event()
        self._done = anyio.Event()
        self._thread = threading.get_ident()
        self._background: Background | None = None

    async def open(self) -> None:
        """Connects, and asks what the server offers.

        Raises:
            ConfigurationError: It can't be had; the text says why.
        """
        self._wanted.set()
        self._background = Background(self._keep)
        try:
            await self._settled.wait()
        except BaseException:
            await self.aclose()
            raise
        if self._client is None:
            await self.aclose()
            raise ConfigurationError(f"MCP server {self._name!r} {self._failure}")

    async def aclose(self) -> None:
        """Ends the connection and what belongs to it, whatever happens to the caller."""
        is_served, self._is_closed = self._client is not None, True
        self._wanted.set()
        self._lost.set()
        if self._background:
            if is_served:
                with anyio.move_on_after(_CLOSING, shield=True):
                    await self._done.wait()
            await self._background.stop()

    async def call(self, tool: str, arguments: dict[str, Any], *, is_read: bool, report: Progress) -> CallToolResult:
        """Calls a tool.

        Args:
            tool: Its name on the server.
            arguments: Its input.
            is_read: Whether it may be sent again after the connection broke.
            report: Gets what the server tells meanwhile.

        Raises:
            ToolError: There is no result; the text says what is known of the call.
        """

        async def told(progress: float, total: float | None, message: str | None) -> None:
            known = f"{progress:g} of {total:g}" if total else f"{progress:g}"
            report(safe_line(message)[:200] if message else known)

        for attempt in range(1, _ATTEMPTS + 1):
            client = await self._connected()
            await self._check(client, tool)
            try:
                return await client.call_tool(tool, arguments, progress_callback=told)
            except MCPError as error:
                if error.message == _FORGOTTEN:
                    self._ended("has ended its session")
                elif not _is_closed(error):
                    raise ToolError(self._said(error)) from None
                if is_read and attempt < _ATTEMPTS:
                    continue
                why = f"it {self._failure}"
                text = f"The connection to the MCP server {self._name!r} broke while this call ran: {why}."
            except ValidationError:
                text = f"What the MCP server {self._name!r} answered is no result of a tool."
            except Exception as error:
                text = f"The call of the MCP server {self._name!r} failed with {type(error).__name__}."
            raise ToolError(text if is_read else f"{text} {MAY_HAVE_RUN}")
        raise AssertionError("the last attempt returns or raises")

    async def _check(self, client: Client, tool: str) -> None:
        """That the tool is still the one that the model knows."""
        if self._is_stale:
            try:
                with anyio.fail_after(self._seconds):
                    await self._list(client)
            except (MCPError, ValidationError, Broken, TimeoutError) as error:
                why = "too slow" if isinstance(error, TimeoutError) else "; ".join(_words(error))
                raise self._unsent(f"says that its tools have changed, and does not list them ({why})") from None
        if why_off := self.off.get(tool):
            raise ToolError(f"This tool is disabled: {why_off}. The call was not sent.")

    def _said(self, error: MCPError) -> str:
        said = safe_line(error.message)[:_MOST_SAID]
        if error.code in (INVALID_PARAMS, METHOD_NOT_FOUND):  # it never began
            return f"The MCP server {self._name!r} refused the call: {said}"
        return f"The MCP server {self._name!r} answered with an error: {said}. {MAY_HAVE_RUN}"

    def _unsent(self, why: str) -> ToolError:
        return ToolError(f"The MCP server {self._name!r} {why}. The call was not sent.")

    async def _connected(self) -> Client:
        if threading.get_ident() != self._thread:
            raise self._unsent(
                "belongs to another event loop: run the agent with `await agent.run(…)` where it is open"
            )
        for attempt in range(_ATTEMPTS):
            if self._is_closed:
                raise self._unsent("is closed")
            if self._client is not None:
                return self._client
            if attempt:
                await anyio.sleep(0.25 * 2**attempt)
            if self._settled.is_set() and self._client is None:
                self._settled = anyio.Event()
                self._wanted.set()
            await self._settled.wait()
        if self._client is None:
            raise self._unsent(self._failure)
        return self._client

    # The task that owns the connection.

    async def _keep(self) -> None:
        try:
            while True:
                await self._wanted.wait()
                if self._is_closed:
                    return
                self._wanted, self._lost = anyio.Event(), anyio.Event()
                settled = self._settled  # who finds this connection lost waits for the next one
                try:
                    await self._connect(settled)
                finally:
                    self._client = None
                    settled.set()
        finally:
            self._done.set()

    async def _connect(self, settled: anyio.Event) -> None:
        """One connection, from its beginning to its end."""
        self._failure = "has ended"
        with anyio.CancelScope(deadline=anyio.current_time() + self._seconds) as scope:
            try:
                client = Client(
                    limited(self._transport(), self._ended),
                    message_handler=self._notice,
                    client_info=Implementation(name="agentkit", version=version("agentkit-loop")),
                    cache=None,
                )
                async with client:
                    try:
                        await self._list(client)
                        scope.deadline = float("inf")
                        await self._serve(client, settled)
                    finally:
                        self._client = None
                        scope.deadline = min(scope.deadline, anyio.current_time() + _CLOSING)
            except Exception as error:
                words = list(dict.fromkeys(_words(error)))
                # Where a task of the transport failed, what waited for it only says that it is closed.
                telling = [text for text in words if text != _CLOSED]
                if telling or self._failure == "has ended":
                    self._failure = "; ".join(telling or ["has ended before it had answered"])
        if scope.cancelled_caught and not settled.is_set():
            self._failure = f"did not answer within {self._seconds:g} seconds"

    async def _serve(self, client: Client, settled: anyio.Event) -> None:
        if self._lost.is_set():
            return
        self._client = client
        settled.set()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen, client)
            await self._lost.wait()
            tasks.cancel_scope.cancel()

    async def _listen(self, client: Client) -> None:
        """Since 2026-07-28 a server tells of changes only where it is asked to."""
        changes = client.server_capabilities.tools
        if not (changes and changes.list_changed and client.protocol_version >= "2026-07-28"):
            return
        try:
            async with client.listen(tools_list_changed=True) as events:
                async for _ in events:
                    self._is_stale = True
        except Exception as error:  # it tells of no changes
            _logger.debug("MCP server %s: listening ended with %s", self._name, type(error).__name__)

    async def _notice(self, message: object) -> None:
        if isinstance(message, ToolListChangedNotification):
            self._is_stale = True

    def _ended(self, why: str | None) -> None:
        self._client = None
        if why:
            self._failure = why
        self._lost.set()

    async def _list(self, client: Client) -> None:
        """Asks for the tools, and compares them with those that were offered first."""
        async with self._listing:
            self._is_stale = False
            try:
                self.latest = await _offered(client, self._only)
            except BaseException:
                self._is_stale = True
                raise
        if not self.first:
            self.first = self.latest
        for name, tool in self.first.items():
            now = self.latest.get(name)
            if now is not None and digest_of(now) != digest_of(tool):
                self.off[name] = "the server has changed it since the run began, and nobody has approved that"


async def _offered(client: Client, only: Collection[str] | None) -> dict[str, Tool]:
    """All tools of a server by name, page by page, until those that are wanted are there."""
    found: dict[str, Tool] = {}
    cursor: str | None = None
    seen: set[str] = set()
    for _ in range(_MOST_PAGES):
        page = await client.list_tools(cursor=cursor, cache_mode="bypass")
        for tool in page.tools:
            if tool.name in found:
                raise Broken(f"lists the tool {safe_line(tool.name)[:80]!r} twice")
            found[tool.name] = tool
        cursor = page.next_cursor
        if not cursor or (only is not None and found.keys() >= set(only)):
            return found
        if cursor in seen:
            raise Broken("lists its tools in a circle")
        seen.add(cursor)
        if len(found) > MOST_TOOLS:
            break
    raise Broken(f"lists more than {MOST_TOOLS:,} tools, or more than {_MOST_PAGES} pages of them")


def _is_closed(error: MCPError) -> bool:
    """Whether the connection broke: servers use the code for errors of their own too."""
    return error.code == CONNECTION_CLOSED and error.message.startswith((_CLOSED, "SSE stream "))


def _words(error: BaseException) -> Iterator[str]:
    """What went wrong, as what follows the server's name; what comes in groups is taken apart."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _words(inner)
    elif isinstance(error, Broken | ConfigurationError):
        yield str(error)
    elif isinstance(error, MCPError):
        said = safe_line(error.message)[:_MOST_SAID]
        yield said if _is_closed(error) else f"answered with an error: {said}"
    elif isinstance(error, ValidationError):
        yield "sent what is no message of MCP"
    else:
        said = safe_line(str(error))[:_MOST_SAID]
        yield f"can't be reached: {said or type(error).__name__}"
