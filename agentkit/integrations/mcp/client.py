"""`mcp_server`: the tools of an MCP server, as tools for an agent."""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Literal, overload

from mcp import StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import Tool as Offered

from agentkit.errors import ConfigurationError, ToolDefinitionError, ToolError
from agentkit.integrations.mcp.connection import Connection
from agentkit.integrations.mcp.definitions import description_of, effects_of, named
from agentkit.integrations.mcp.limits import GIVEN, MESSAGE_CAP, Streams
from agentkit.integrations.mcp.pins import digest_of, pin, pinned
from agentkit.integrations.mcp.process import Log, process_streams
from agentkit.integrations.mcp.results import content_of
from agentkit.integrations.mcp.schemas import acceptable
from agentkit.integrations.mcp.web import capped_client
from agentkit.redaction import logger_of
from agentkit.secrets import Secret
from agentkit.terminal import safe_line
from agentkit.tools import RunContext, Tool

__all__ = ["ServerTools", "mcp_server"]

_logger = logger_of("agentkit.mcp")
_CHANGED = "the server has changed it since it was approved"
_NEW = "it was not approved"
_Text = str | Secret


class ServerTools(Sequence[Tool]):
    """The tools of an open server, for `Agent(tools=[*tools])`.

    Attributes:
        name: The server's, as the operator calls it.
    """

    def __init__(self, name: str, connection: Connection, log: Log, pins: str | os.PathLike[str] | None) -> None:
        self.name = name
        self._left_out: dict[str, str] = {}
        self._connection = connection
        self._log = log
        self._pins = pins
        self._tools: list[Tool] = []

    @overload
    def __getitem__(self, at: int) -> Tool: ...

    @overload
    def __getitem__(self, at: slice) -> list[Tool]: ...

    def __getitem__(self, at: int | slice) -> Tool | list[Tool]:
        return self._tools[at]

    def __len__(self) -> int:
        return len(self._tools)

    def __repr__(self) -> str:
        return f"ServerTools({self.name!r}, {[tool.name for tool in self._tools]})"

    @property
    def stderr(self) -> str:
        """The last 64 KiB that the server wrote to stderr, safe to print; empty for one at a URL."""
        return self._log.text()

    @property
    def disabled(self) -> dict[str, str]:
        """Why a tool was left out or can't be called any more, by the server's name for it."""
        return {**self._left_out, **self._connection.off}

    def offers(self) -> dict[str, dict[str, Any]]:
        """What the server says of each of its tools now: to be read before it is approved."""
        return {name: tool.model_dump(exclude_none=True) for name, tool in self._connection.latest.items()}

    def approve(self, *names: str) -> None:
        """Pins tools as the server offers them now: all, or those named. It counts when the server is opened again.

        Raises:
            ConfigurationError: There is no such tool, or no file for pins.
        """
        if self._pins is None:
            raise ConfigurationError(f"MCP server {self.name!r}: approve writes to a file: give mcp_server(pins=…)")
        offered = self._connection.latest
        if unknown := set(names) - offered.keys():
            raise ConfigurationError(f"MCP server {self.name!r} has no tool {min(unknown)!r}")
        pin(self._pins, self.name, {name: offered[name] for name in names or offered})


@asynccontextmanager
async def mcp_server(
    command: Sequence[str] | None = None,
    *,
    url: str | None = None,
    name: str,
    env: Mapping[str, _Text] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    headers: Mapping[str, _Text] | None = None,
    only: Collection[str] | None = None,
    effects: Mapping[str, str | Sequence[str]] | None = None,
    trust_annotations: bool = False,
    needs_approval: bool | None = None,
    pins: str | os.PathLike[str] | None = None,
    trust: Literal["pinned", "first use"] = "pinned",
    connect_timeout: float = 30.0,
    timeout: float = 60.0,
) -> AsyncGenerator[ServerTools]:
    """The tools of an MCP server, named `name__tool`, for as long as the block runs; then its process is killed.

    What a tool may do is not declared: it counts as `write`, `net` and `untrusted`. One that the server changes is
    disabled, and what it adds is not offered. A call whose connection broke is not repeated, unless it only reads.

    Args:
        command: The program and its arguments, run without a shell and with few environment variables.
        url: In its place, the address of a server that speaks streamable HTTP.
        name: What the server is called here, and in the file of pins.
        env: More environment variables for the program.
        cwd: The folder where the program runs.
        headers: Sent with each request to the URL.
        only: The tools to take, by the server's names; None for all.
        effects: What tools may do, by the server's names, as `effect=` of `@tool`.
        trust_annotations: Whether `readOnlyHint` and its like are believed; else they only add to what a tool may do.
        needs_approval: Whether a human decides each call; None: of the tools that say they are destructive.
        pins: A JSON file with a digest of each approved tool: others are left out, changed ones are disabled.
        trust: With `first use`, a server that has no pins yet gets them: all that it offers is approved.
        connect_timeout: Seconds for starting, connecting and listing the tools.
        timeout: Seconds for a call.

    Raises:
        ConfigurationError: The server can't be had, two tools have the same name, or the pins do not fit.
    """
    log = Log()
    transport = _transport(name, command, url, env=env, cwd=cwd, headers=headers, seconds=timeout, log=log)
    approved = _approved(name, pins, trust)
    connection = Connection(name, transport, seconds=connect_timeout, only=only)
    try:
        await _open(connection, log)
        tools = ServerTools(name, connection, log, pins)
        offered = _wanted(name, connection.first, only)
        if pins is not None and approved is None:
            pin(pins, name, offered)
        options = partial(_options, effects or {}, trust_annotations, needs_approval, timeout)
        _fill(tools, connection, offered, approved, options)
        yield tools
    finally:
        await connection.aclose()


def _transport(
    server: str,
    command: Sequence[str] | None,
    url: str | None,
    *,
    env: Mapping[str, _Text] | None,
    cwd: str | os.PathLike[str] | None,
    headers: Mapping[str, _Text] | None,
    seconds: float,
    log: Log,
) -> Callable[[], AbstractAsyncContextManager[Streams]]:
    if (command is None) == (url is None):
        raise ConfigurationError(f"MCP server {server!r}: give either command=[…] or url=")
    if command is None:
        return partial(_over_http, str(url), _revealed(headers), seconds)
    if isinstance(command, str) or not command:
        raise ConfigurationError(f"MCP server {server!r}: command must be a list: ['program', 'argument']")
    return partial(_over_pipes, list(command), _revealed(env), cwd, log)


def _approved(server: str, pins: str | os.PathLike[str] | None, trust: str) -> dict[str, str] | None:
    """The pins of a server; None if all that it offers is to be taken."""
    approved = pinned(pins, server) if pins is not None else None
    if pins is not None and approved is None and trust != "first use":
        raise ConfigurationError(
            f"MCP server {server!r} has no pins in {os.fspath(pins)}: read what it offers, then open it once with "
            "trust='first use'"
        )
    return approved


async def _open(connection: Connection, log: Log) -> None:
    try:
        await connection.open()
    except ConfigurationError as error:
        said = log.last_line()
        raise ConfigurationError(f"{error}{f' (it said: {said})' if said else ''}") from None


def _wanted(server: str, offered: Mapping[str, Offered], only: Collection[str] | None) -> dict[str, Offered]:
    if only is None:
        return dict(offered)
    if missing := set(only) - offered.keys():
        raise ConfigurationError(f"MCP server {server!r} has no tool {min(missing)!r}")
    return {tool: offered[tool] for tool in only}


def _options(
    effects: Mapping[str, Any], is_trusted: bool, needs_approval: bool | None, seconds: float, tool: Offered
) -> dict[str, Any]:
    options = {"timeout": seconds, **effects_of(tool, effects.get(tool.name), is_trusted=is_trusted)}
    return options if needs_approval is None else {**options, "needs_approval": needs_approval}


def _fill(
    tools: ServerTools,
    connection: Connection,
    offered: Mapping[str, Offered],
    approved: Mapping[str, str] | None,
    options: Any,
) -> None:
    for tool, its_name in named(offered, tools.name).items():
        given = offered[tool]
        if approved is not None and approved.get(tool) != digest_of(given):
            tools._left_out[tool] = _CHANGED if tool in approved else _NEW
            if tool in approved:
                tools._tools.append(_disabled(its_name))
            continue
        try:
            tools._tools.append(_made(connection, given, its_name, options(given)))
        except ToolDefinitionError as error:
            tools._left_out[tool] = f"it can't be offered: {error}"
            _logger.warning("MCP server %s: %s left out: %s", tools.name, safe_line(tool)[:100], error)


def _made(connection: Connection, offered: Offered, name: str, options: dict[str, Any]) -> Tool:
    schema, hidden = acceptable(offered.input_schema.get(GIVEN, offered.input_schema))
    made: list[Tool] = []

    async def call(ctx: RunContext[Any], /, **arguments: Any) -> Any:
        may_repeat = "read" in made[0].effect and not made[0].effect & {"write", "exec"}
        result = await connection.call(offered.name, arguments, is_read=may_repeat, report=ctx.progress)
        content = content_of(result)
        if result.is_error:
            raise ToolError(content or "The tool failed, and does not say why.")
        return content

    made.append(Tool(name=name, description=description_of(offered, hidden), input_schema=schema, call=call, **options))
    return made[0]


def _disabled(name: str) -> Tool:
    async def call(**_: Any) -> Any:
        raise ToolError(f"This tool is disabled: {_CHANGED}. A human has to approve it. The call was not sent.")

    return Tool(name=name, description=f"Disabled: {_CHANGED}.", input_schema={"type": "object"}, call=call)


def _revealed(texts: Mapping[str, _Text] | None) -> dict[str, str]:
    return {key: text.reveal() if isinstance(text, Secret) else text for key, text in (texts or {}).items()}


def _over_pipes(
    command: list[str], env: dict[str, str], cwd: str | os.PathLike[str] | None, log: Log
) -> AbstractAsyncContextManager[Streams]:
    if os.name == "posix":
        return process_streams(command, env, cwd, log)
    where = None if cwd is None else os.fspath(cwd)
    return stdio_client(StdioServerParameters(command=command[0], args=command[1:], env=env, cwd=where))


@asynccontextmanager
async def _over_http(url: str, headers: dict[str, str], seconds: float) -> AsyncGenerator[Streams]:
    # mcp before 2.2 has no limit to set.
    known = inspect.signature(streamable_http_client).parameters
    limit: dict[str, Any] = {"max_sse_event_size": MESSAGE_CAP} if "max_sse_event_size" in known else {}
    async with (
        capped_client(headers, seconds) as client,
        streamable_http_client(url, http_client=client, **limit) as it,
    ):
        yield it
