"""An agent's tools as an MCP server, for any program that speaks the protocol."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
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
from agentkit.policy import Policy, Verdict, policy_of
from agentkit.taint import taint_of
from agentkit.tools import RunContext, Tool

__all__ = ["serve_tools", "served"]

_TIMEOUT = 60.0
_THREADS = 16
_MOST_PROGRESS = 100  # texts that wait


async def serve_tools(
    tools: Iterable[Tool],
    *,
    name: str = "agentkit",
    deps: Any = None,
    approve: Approve | None = None,
    policy: Policy | str | os.PathLike[str] | None = None,
) -> None:
    """Serves tools over stdin and stdout until stdin is closed: `anyio.run(serve_tools, [lookup])`.

    What tools print goes to stderr meanwhile, so that it can't be taken for messages.

    Args:
        tools: What to serve.
        name: What the server calls itself.
        deps: For the tools' `RunContext`.
        approve: Decides on calls that need it; None refuses them.
        policy: What the tools may do, and what `approve` is asked about: a `Policy`, or the path of its file. It knows
            what these tools have returned so far, and not what else the caller has read. Without one, every tool that
            is served may run.

    Raises:
        ConfigurationError: Two tools have the same name, or the policy can't be read.
    """
    server = served(tools, name=name, deps=deps, approve=approve, policy=policy)
    async with stdio_server() as (read, write):
        try:
            await server.run(read, write, server.create_initialization_options())
        finally:
            sys.stdout.flush()  # while it still goes to stderr


def served(
    tools: Iterable[Tool],
    *,
    name: str = "agentkit",
    deps: Any = None,
    approve: Approve | None = None,
    policy: Policy | str | os.PathLike[str] | None = None,
) -> Server[Any]:
    """The server itself, for other transports of the package mcp, and for tests: `mcp.Client(served([lookup]))`.

    Each call is validated, judged, timed and cut as in a run of an agent. Args and errors are those of `serve_tools`.
    """
    known: dict[str, Tool] = {}
    for tool in tools:
        if tool.name in known:
            raise ConfigurationError(f"two tools have the name {tool.name!r}: give one of them another (name=…)")
        known[tool.name] = tool
    calls = _Calls(deps, approve, policy_of(policy))

    async def list_tools(_: ServerRequestContext[Any], __: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=[_offered(tool) for tool in known.values()])

    async def call_tool(ctx: ServerRequestContext[Any], params: CallToolRequestParams) -> CallToolResult:
        tool = known.get(params.name)
        if tool is None:
            raise MCPError(INVALID_PARAMS, f"Unknown tool: {params.name}")
        ended = await _with_progress(ctx, partial(calls.run, tool, params.arguments or {}))
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


@dataclass
class _Calls:
    """The calls of one server.

    Attributes:
        taint: What its tools may have told so far.
    """

    deps: Any
    approve: Approve | None
    policy: Policy | None
    threads: anyio.CapacityLimiter = field(default_factory=partial(anyio.CapacityLimiter, _THREADS), init=False)
    taint: frozenset[str] = field(default=frozenset(), init=False)

    async def run(self, tool: Tool, given: dict[str, Any], report: Callable[[str], None]) -> Ended:
        """One call, from its arguments to its end."""
        call_id = f"mcp_{uuid4().hex}"
        try:
            given = await self._allowed(tool, call_id, given)
            arguments = tool.validate(given)
        except ToolError as error:
            return Ended("failed", error.content)
        except _Refused as refused:
            return Ended("denied", str(refused))
        seconds = _TIMEOUT if tool.timeout is None else tool.timeout
        ctx = RunContext(
            deps=self.deps,
            run_id=call_id,
            call_id=call_id,
            tool_use_id=call_id,
            tool_name=tool.name,
            input=given,
            deadline=anyio.current_time() + seconds,
            report=report,
        )
        self.taint |= taint_of(tool.effect)  # before its end: who calls may read what it reports on the way
        return await invoke(tool, ctx, arguments, seconds=seconds, threads=self.threads, available=(), whole=False)

    async def _allowed(self, tool: Tool, call_id: str, given: dict[str, Any]) -> dict[str, Any]:
        """What the call runs with, once policy and human agree."""
        arguments = tool.validate(given)
        block: Block = {"type": "tool_use", "id": call_id, "name": tool.name, "input": given}
        verdict = self._judged(tool, given)
        asks = await needs_approval(tool, call := Call(call_id, block), arguments, time.time())
        if self.approve is None and verdict and verdict.action == "ask":
            raise _Refused(verdict.refusal)
        if not asks and (verdict is None or verdict.action == "allow"):
            return given
        decision = await self._decided(call)
        if decision.action == "deny":
            raise _Refused(f"The user declined this call. {decision.reason}".strip())
        if decision.input is None:
            return given
        self._judged(tool, decision.input)
        return decision.input

    def _judged(self, tool: Tool, given: dict[str, Any]) -> Verdict | None:
        verdict = self.policy.judge(tool, given, self.taint) if self.policy else None
        if verdict and verdict.action == "deny":
            raise _Refused(verdict.refusal)
        return verdict

    async def _decided(self, call: Call) -> Decision:
        if self.approve is None:
            return Decision("deny", "It needs an approval, and nobody is there to give it.")
        decision: Decision = await answer_of(self.approve, call.pending(), threads=self.threads)
        return decision


class _Refused(Exception):
    """A call that may not run; the text tells the caller why."""
