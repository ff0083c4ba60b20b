"""The tools of a simulation. Their effects are the world's, so they outlive the process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
from simulated_secrets import TOKEN

from agentkit import NotDone, RunContext, Tool, ToolError, tool

if TYPE_CHECKING:
    from simulated_process import Process

__all__ = ["CHANGED", "SEARCH", "TOOLS", "Entered"]

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


class Broken(Exception):
    """What a library raises, with the token in its text."""


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


def _changed(before: Tool[Any, Any]) -> Tool[Any, Any]:
    about = {
        "effect": sorted(before.effect) or None,
        "timeout": before.timeout,
        "needs_approval": before.needs_approval,
    }
    again = {"idempotent": before.idempotent, "verify": before.verify}
    return tool(name=before.name, description="Another one.", **about, **again)(before.__wrapped__)


async def _became(ctx: RunContext[Any], arguments: dict[str, Any]) -> str:
    process: Process = ctx.deps
    await process.point("verify")
    if process.world.is_done(ctx.idempotency_key):
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
async def crash(ctx: RunContext[Any], n: int) -> str:
    """Raises."""
    raise Broken(f"{await _enter(ctx, n)} with {TOKEN}")


@tool
async def slow(ctx: RunContext[Any], n: int) -> str:
    """Takes its time."""
    return await _enter(ctx, n, 40.0)


@tool(timeout=10)
async def hang(ctx: RunContext[Any], n: int) -> str:
    """Times out."""
    return await _enter(ctx, n, 1000.0)


@tool(timeout=10)
async def cling(ctx: RunContext[Any], n: int) -> str:
    """Does not stop."""
    with anyio.CancelScope(shield=True):
        return await _enter(ctx, n, 60.0)


@tool
async def wait(ctx: RunContext[Any], n: int) -> str:
    """Takes longer than the run may."""
    return await _enter(ctx, n, 150.0)


TOOLS = [look, act, put, wire, refund, fail, crash, slow, hang, cling, wait]
CHANGED = [_changed(tool) for tool in TOOLS]  # those of another version of the program
