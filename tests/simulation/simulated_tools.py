"""The tools of a simulation. Their effects are the world's, so they outlive the process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio

from agentkit import NotDone, RunContext, ToolError, tool

if TYPE_CHECKING:
    from simulated_process import Process

__all__ = ["SEARCH", "TOOLS", "Entered"]

SEARCH = {"type": "web_search_20250305", "name": "web_search"}


@dataclass
class Entered:
    """A tool that was entered.

    Attributes:
        n: The number of the call.
        given: Its input.
        call_id: Of the call.
        run_id: Of the run.
        key: For targets that take one.
        process: Which has entered it.
        at: When.
        is_done: Whether its effect has happened.
        has_ended: Whether it returned or raised for itself.
    """

    n: int
    tool: str
    given: int
    call_id: str
    run_id: str
    key: str
    attempt: int
    process: Process
    at: float
    is_done: bool = False
    has_ended: bool = False


async def _enter(ctx: RunContext[Any], n: int, seconds: float = 0.0) -> str:
    process: Process = ctx.deps
    await process.point("entry")
    entered = process.world.enter(ctx, n)
    planned = process.world.script.call_of(n)
    await process.point("tool")
    await anyio.sleep(planned.before + seconds)
    await process.point("effect")
    entered.is_done = True
    process.world.note(f"{process.name} has done {n}")
    await anyio.sleep(planned.after)
    await process.point("tool's end")
    entered.has_ended = True
    return f"{ctx.tool_name} {n} done"


@tool(effect="read")
async def look(ctx: RunContext[Any], n: int) -> str:
    """Looks."""
    return await _enter(ctx, n)


@tool
async def act(ctx: RunContext[Any], n: int) -> str:
    """Acts."""
    return await _enter(ctx, n)


@tool(idempotent=True)
async def put(ctx: RunContext[Any], n: int) -> str:
    """Puts."""
    return await _enter(ctx, n)


async def _became(ctx: RunContext[Any], arguments: dict[str, Any]) -> str:
    process: Process = ctx.deps
    await process.point("verify")
    if process.world.is_done(arguments["n"]):
        return f"{ctx.tool_name} {arguments['n']} done"
    raise NotDone


@tool(verify=_became)
async def wire(ctx: RunContext[Any], n: int) -> str:
    """Wires."""
    return await _enter(ctx, n)


@tool(needs_approval=True)
async def refund(ctx: RunContext[Any], n: int) -> str:
    """Refunds."""
    return await _enter(ctx, n)


@tool
async def fail(ctx: RunContext[Any], n: int) -> str:
    """Fails."""
    raise ToolError(await _enter(ctx, n))


@tool
async def slow(ctx: RunContext[Any], n: int) -> str:
    """Takes its time."""
    return await _enter(ctx, n, 40.0)


@tool(timeout=10)
async def hang(ctx: RunContext[Any], n: int) -> str:
    """Times out."""
    return await _enter(ctx, n, 1000.0)


@tool
async def wait(ctx: RunContext[Any], n: int) -> str:
    """Takes longer than the run may."""
    return await _enter(ctx, n, 400.0)


TOOLS = [look, act, put, wire, refund, fail, slow, hang, wait]
