"""An agent as a tool of another one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import Any

import anyio

from agentkit.errors import APIError, RunBusy, ToolError
from agentkit.events import ToolCall
from agentkit.result import RunResult
from agentkit.run import Run
from agentkit.tools import RunContext, Tool, tool

__all__ = ["agent_tool", "effects_of"]

_PATIENCE = 30.0  # a process that died holds its runs for 20 seconds


def agent_tool(
    begin: Callable[[str, RunContext[Any]], Run], *, name: str, description: str, effect: Iterable[str] | None
) -> Tool:
    """A tool that asks an agent.

    Args:
        begin: Begins a run of it, or goes on with the one of this call.
        name: Of the tool.
        description: What the agent is good for: the model reads this.
        effect: What its tools may do; None is undeclared.
    """

    async def ask(ctx: RunContext[Any], prompt: str) -> Any:
        """Ask.

        Args:
            prompt: What is to be done, with all that has to be known for it: nothing of this conversation is seen.
        """
        try:
            return _answer(await _ended(begin, prompt, ctx))
        except APIError as error:
            raise ToolError(f"The agent could not go on: its request failed ({type(error).__name__}).") from error

    # A run that the journal knows goes on where it was, so entering it again repeats nothing.
    return tool(name=name, description=description, effect=effect, idempotent=True, timeout=inf)(ask)


async def _ended(begin: Callable[[str, RunContext[Any]], Run], prompt: str, ctx: RunContext[Any]) -> RunResult:
    give_up = anyio.current_time() + _PATIENCE
    while True:
        asked = ctx.shared.asked.copy()
        try:
            async with begin(prompt, ctx) as run:
                async for event in run:
                    if isinstance(event, ToolCall):
                        ctx.progress(f"calls {event.name}")
            return run.result
        except RunBusy:
            if anyio.current_time() > give_up:
                raise
            ctx.shared.asked.clear()
            ctx.shared.asked.update(asked)
        await anyio.sleep(0.5)


def _answer(result: RunResult) -> Any:
    if result.finish.reason in ("end_turn", "stop_sequence"):
        return result.output
    detail = f" ({result.finish.detail})" if result.finish.detail else ""
    said = f" So far it has said: {result.partial_text}" if result.partial_text else ""
    raise ToolError(f"The agent ended with {result.finish.reason}{detail}, so it has no answer.{said}")


def effects_of(tools: Iterable[Any]) -> set[str] | None:
    """What an agent with these tools may do: it sends what it is told to the API, and the tools do what they do.

    None where one of them does not say.
    """
    effects = {"net"}
    for item in tools:
        if not isinstance(item, Tool):
            effects |= {"read", "untrusted"}  # the API runs it
        elif not item.effect:
            return None
        else:
            effects |= item.effect
    return effects
