"""Two tools, and what runs a tool as `execute` does: for the tests of tools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import anyio
from pydantic import BaseModel

from agentkit.tools import RunContext, Tool, tool


@dataclass
class Deps:
    key: str


class Forecast(BaseModel):
    city: str
    days: int


@tool(effect="read", timeout=20)
async def lookup(ctx: RunContext[Deps], city: str, days: int = 3) -> Forecast:
    """Look up a forecast.

    Args:
        city: Name of the city,
            in English.
        days: How many days, 1 to 14.
    """
    assert ctx.deps.key == "k"
    return Forecast(city=city, days=days)


@tool
def add(a: int, b: int = 1) -> int:
    """Add."""
    return a + b


class Run:
    """Runs tools as `execute` does."""

    def __init__(self) -> None:
        self.progress: list[str] = []
        self.threads = anyio.CapacityLimiter(4)
        self.ctx = RunContext(
            deps=Deps("k"),
            run_id="run_1",
            call_id="0.toolu_1",
            tool_use_id="toolu_1",
            tool_name="t",
            report=self.progress.append,
        )

    async def __call__(self, it: Tool, **value: Any) -> Any:
        arguments = it.validate(value)
        return await it.run(self.ctx, arguments, threads=self.threads)
