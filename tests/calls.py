"""A transcript whose last turn calls tools, and what runs the calls: for the tests of `execute`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Iterable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio
from scripted import reply, tool_use

from agentkit.events import ToolResult
from agentkit.execute import Calls
from agentkit.settings import Limits
from agentkit.tools import Tool, tool
from agentkit.transcript import Transcript

SECRET = "sk-ant-api03-do-not-show"
UNKNOWN = "The outcome is unknown: it may or may not have taken effect. Check before repeating it."


class World:
    """A transcript whose last turn calls tools, and what runs the calls."""

    def __init__(
        self,
        tools: Iterable[Tool],
        uses: Iterable[dict[str, Any]] = (),
        timeout: float = 120.0,
        available: Collection[str] | None = None,
        **limits: Any,
    ) -> None:
        self.transcript = Transcript()
        self.transcript.begin("run_1", [{"role": "user", "content": [{"type": "text", "text": "Go"}]}])
        self.transcript.answer()
        self.limits = Limits(**limits)
        self.tools = {item.name: item for item in tools}
        self.timeout = timeout
        self.available = available
        self.uses = list(uses)
        self.others: list[dict[str, Any]] = []
        self.events: list[Any] = []

    def commit(self) -> None:
        self.transcript.take_turn(reply(*self.others, *self.uses), "req_1", 0.0)

    def new_calls(self) -> Calls:
        began = anyio.current_time()
        return Calls(
            self.transcript,
            self.tools,
            deps={"db": 1},
            limits=self.limits,
            timeout=self.timeout,
            deadline=began + self.limits.max_seconds,
            clock=lambda: anyio.current_time() - began,
            available=self.available,
        )

    @asynccontextmanager
    async def calls(self) -> AsyncGenerator[Calls]:
        calls = self.new_calls()
        try:
            yield calls
        finally:
            await calls.aclose()

    async def drain(self, calls: Calls) -> None:
        """Runs the calls that are due, to the end."""
        async with aclosing(calls.run(self.transcript.unended())) as events:
            async for event in events:
                self.events.append(event)

    async def leave_at(self, condition: Callable[[], bool]) -> None:
        """Runs the calls of the turn, and leaves at the first event at which this holds."""
        self.commit()
        async with self.calls() as calls, aclosing(calls.run(self.transcript.unended())) as events:
            async for event in events:
                self.events.append(event)
                if condition():
                    break

    async def run(self) -> list[dict[str, Any]]:
        """Commits the turn, runs its calls, answers; the results as the model gets them."""
        self.commit()
        await self.carry_out()
        return self.answer()

    async def carry_out(self) -> None:
        """Runs the calls that are due."""
        async with self.calls() as calls:
            await self.drain(calls)

    def answer(self) -> list[dict[str, Any]]:
        self.transcript.answer()
        message = self.transcript.messages()[-1]
        assert message["role"] == "user"
        blocks: Any = message["content"]
        assert [block["tool_use_id"] for block in blocks] == [use["id"] for use in self.uses]
        assert self.transcript.history.refused(container=True) == []
        return list(blocks)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def outcomes(self) -> list[str]:
        return [entry["outcome"] for entry in self.transcript.entries if entry.get("state") == "ended"]


def uses_of(name: str, count: int) -> list[dict[str, Any]]:
    return [tool_use(name, id=f"toolu_{at}", at=at) for at in range(count)]


async def one(made: Tool, given: Any = None, **options: Any) -> tuple[str, Any]:
    """Outcome and content of one call; a sibling must finish whatever it does."""

    @tool
    async def sibling() -> str:
        """Is not disturbed."""
        await anyio.sleep(0.01)
        return "fine"

    use = {**tool_use(made.name), "input": {} if given is None else given}
    world = World([made, sibling], [use, tool_use("sibling", id="toolu_2")], **options)
    first, second = await world.run()
    assert (second["content"], "is_error" in second) == ("fine", False)
    ended = {event.block["tool_use_id"]: event for event in world.of(ToolResult)}
    assert ended["toolu_1"].block == first
    assert (ended["toolu_1"].outcome == "done") == ("is_error" not in first)
    return ended["toolu_1"].outcome, first["content"]
