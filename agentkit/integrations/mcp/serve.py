"""An agent's tools as an MCP server, for any program that speaks the protocol."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from typing import Any
from uuid import uuid4

import anyio
from mcp import MCPError
from mcp.server import Server, ServerRequestContext
from mcp.server.stdio import stdio_server
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    ToolAnnotations,
)
from mcp_types import Tool as Offered

from agentkit.call import Approve, Call, Decision
from agentkit.errors import ConfigurationError, ToolError
from agentkit.integrations.mcp.results import mcp_content_of
from agentkit.invocation import Ended, answer_of, invoke, needs_approval
from agentkit.messages import Block
from agentkit.tools import RunContext, Tool

__all__ = ["serve_tools", "served"]

_TIMEOUT = 60.0
_THREADS = 16
_MOST_PROGRESS = 100  # texts that wait


async def serve_tools(
    tools: Iterable[Tool], *, name: str = "agentkit", deps: Any = None, approve: Approve | None = None
) -> None:
    """Serves tools over stdin and stdout until stdin is closed: `anyio.run(serve_tools, [lookup])`.

    What tools print goes to stderr meanwhile, so that it can't be taken for messages.

    Args:
        tools: What to serve.
        name: What the server calls itself.
        deps: For the tools' `RunContext`.
        approve: Decides on calls that need it; None refuses them.

    Raises:
        ConfigurationError: Two tools have the same name.
    """
    server = served(tools, name=name, deps=deps, approve=approve)
    async with stdio_server() as (read, write):
        try:
            await server.run(read, write, server.create_initialization_options())
        finally:
            sys.stdout.flush()  # while it still goes to stderr


def served(
    tools: Iterable[Tool], *, name: str = "agentkit", deps: Any = None, approve: Approve | None = None
) -> Server[Any]:
    """The server itself, for other transports of the package mcp, and for tests: `mcp.Client(served([lookup]))`.

    Each call is validated, timed and cut as in a run of an agent. Args and errors are those of `serve_tools`.
    """
    known: dict[str, Tool] = {}
    for tool in tools:
        if tool.name in known:
            raise ConfigurationError(f"two tools have the name {tool.name!r}: give one of them another (name=…)")
        known[tool.name] = tool
    threads = anyio.CapacityLimiter(_THREADS)

    async def list_tools(_: ServerRequestContext[Any], __: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=[_offered(tool) for tool in known.values()])

    async def call_tool(ctx: ServerRequestContext[Any], params: CallToolRequestParams) -> CallToolResult:
        tool = known.get(params.name)
        if tool is None:
            raise MCPError(INVALID_PARAMS, f"Unknown tool: {params.name}")
        run = partial(_call, tool, params.arguments or {}, deps=deps, approve=approve, threads=threads)
        ended = await _with_progress(ctx, run)
        return CallToolResult(content=mcp_content_of(ended.content), is_error=ended.outcome != "done")

    return Server(name, version=version("agentkit-loop"), on_list_tools=list_tools, on_call_tool=call_tool)


def _offered(tool: Tool) -> Offered:
    reads = "read" in tool.effect and not tool.effect & {"write", "exec"}
    annotations = ToolAnnotations(
        read_only_hint=reads,
        destructive_hint=None if reads else True,
        idempotent_hint=tool.idempotent or None,
        open_world_hint=not tool.effect or bool(tool.effect & {"net", "untrusted"}),
    )
    return Offered(
        name=tool.name, description=tool.description, input_schema=tool.input_schema, annotations=annotations
    )


async def _with_progress(
    ctx: ServerRequestContext[Any], run: Callable[[Callable[[str], None]], Awaitable[Ended]]
) -> Ended:
    """Runs a call, and sends on what it reports meanwhile."""
    send, receive = anyio.create_memory_object_stream[str](_MOST_PROGRESS)

    async def send_on() -> None:
        with receive:
            count = 0
            async for text in receive:
                count += 1
                await ctx.session.report_progress(count, message=text)

    def report(text: str) -> None:
        with suppress(anyio.WouldBlock):
            send.send_nowait(text)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send_on)
        with send:
            ended = await run(report)
    return ended


async def _call(
    tool: Tool,
    given: dict[str, Any],
    report: Callable[[str], None],
    *,
    deps: Any,
    approve: Approve | None,
    threads: anyio.CapacityLimiter,
) -> Ended:
    call_id = f"mcp_{uuid4().hex}"
    block: Block = {"type": "tool_use", "id": call_id, "name": tool.name, "input": given}
    try:
        arguments = tool.validate(given)
        if await needs_approval(tool, call := Call(call_id, block), arguments, time.time()):
            decision = await _decided(call, approve, threads)
            if decision.action == "deny":
                return Ended("denied", f"The user declined this call. {decision.reason}".strip())
            if decision.input is not None:
                arguments = tool.validate(given := decision.input)
    except ToolError as error:
        return Ended("failed", error.content)
    seconds = _TIMEOUT if tool.timeout is None else tool.timeout
    ctx = RunContext(
        deps=deps,
        run_id=call_id,
        call_id=call_id,
        tool_use_id=call_id,
        tool_name=tool.name,
        input=given,
        deadline=anyio.current_time() + seconds,
        report=report,
    )
    return await invoke(tool, ctx, arguments, seconds=seconds, threads=threads, available=(), whole=False)


async def _decided(call: Call, approve: Approve | None, threads: anyio.CapacityLimiter) -> Decision:
    if approve is None:
        return Decision("deny", "It needs an approval, and nobody is there to give it.")
    decision: Decision = await answer_of(approve, call.pending(), threads=threads)
    return decision
