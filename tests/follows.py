"""Runs to be followed, and what is the same in their live events and in those of their log."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import anyio
from journaled import Clock
from runs import add, look
from scripted import ScriptedServer, reply, text, thinking, tool_use

from agentkit import Agent, Client, Journal, Run, tool
from agentkit.errors import APIError, JournalError, ToolError
from agentkit.events import (
    Event,
    InputDelta,
    Retry,
    RunEnd,
    TextDelta,
    ThinkingDelta,
    ToolProgress,
    ToolResult,
    TurnRestarted,
    TurnStart,
)
from agentkit.lease import LEASE_SECONDS, chained
from agentkit.settings import RetryPolicy
from agentkit.sqlite_store import SqliteStore
from agentkit.store import RunRow
from agentkit.transcript import Transcript

__all__ = ["CALLS", "DONE", "ELSEWHERE", "MODEL", "PAYS", "Elsewhere", "followed", "live", "merged", "world"]

MODEL = "claude-sonnet-4-6"
ELSEWHERE = "elsewhere/1:1:f00d"
"""A holder on another machine."""
_NOT_IN_THE_LOG = (InputDelta, Retry, TurnRestarted, ToolProgress)


@tool
async def fail(at: int) -> str:
    """Fails."""
    raise ToolError(f"no {at}")


@tool(needs_approval=True)
async def pay(euros: int) -> str:
    """Pays."""
    return f"paid {euros}"


@tool(timeout=0.01)
async def hang() -> str:
    """Takes too long."""
    yield "still here"
    await anyio.sleep(5)


TOOLS = [add, look, fail, pay, hang]


CALLS = reply(
    thinking("Hm."),
    text("Now."),
    tool_use("add", id="toolu_a", a=1, b=2),
    tool_use("look", id="toolu_b", at=1),
    tool_use("fail", id="toolu_c", at=1),
    tool_use("add", id="toolu_d", a="x"),
    tool_use("nobody", id="toolu_e"),
    tool_use("hang", id="toolu_f"),
)
PAYS = reply(
    tool_use("pay", id="toolu_p", euros=5),
    tool_use("pay", id="toolu_q", euros=6),
    tool_use("look", id="toolu_l", at=2),
)
DONE = reply(text("Done."))


def merged(events: Iterable[Event]) -> list[Event]:
    """What the log can have of events: nothing of a reply that came to nothing, texts whole, no times."""
    told: list[Any] = []
    for event in events:
        if isinstance(event, RunEnd) and told and isinstance(told[-1], TurnStart):
            told.pop()
        elif isinstance(event, TurnStart) and event in told:  # it is asked for again
            del told[told.index(event) :]
        elif isinstance(event, TurnRestarted):
            began = max(at for at, known in enumerate(told) if isinstance(known, TurnStart))
            del told[began + 1 :]
        last = told[-1] if told else None
        if isinstance(event, TextDelta) and isinstance(last, TextDelta) and last.index == event.index:
            told[-1] = replace(last, text=last.text + event.text)
        elif isinstance(event, ThinkingDelta) and isinstance(last, ThinkingDelta) and last.index == event.index:
            told[-1] = replace(last, thinking=last.thinking + event.thinking)
        elif not isinstance(event, _NOT_IN_THE_LOG):
            told.append(replace(event, seconds=0.0) if isinstance(event, ToolResult | RunEnd) else event)
    return in_order(told)


def in_order(events: Iterable[Event]) -> list[Event]:
    """Calls run side by side: only the events of one of them have an order."""
    told: list[Event] = []
    for of_calls, part in groupby(events, lambda event: hasattr(event, "call_id")):
        told += sorted(part, key=lambda event: getattr(event, "call_id", "") if of_calls else "")
    return told


async def live(run: Run) -> list[Event]:
    """The events of a run, as its own consumer sees them; of one that fails, those before."""
    events = []
    try:
        async with run:
            async for event in run:
                events.append(event)
    except APIError:
        pass
    return events


async def followed(journal: Journal, run_id: str, after: int = 0) -> list[tuple[int, Event]]:
    with anyio.fail_after(10):
        return [told async for told in journal.follow(run_id, after)]


@asynccontextmanager
async def world(place: Any, script: Any, **options: Any) -> AsyncGenerator[tuple[Agent, Journal]]:
    """An agent whose runs are kept in a journal; failed requests are sent again at once."""
    journal = Journal(place / "runs.db" if isinstance(place, Path) else place)
    with ScriptedServer(script) as server:
        async with Client(base_url=server.url, retry=RetryPolicy(base=0.001)) as client:
            yield Agent(MODEL, client=client, journal=journal, **{"tools": TOOLS, **options}), journal
    journal.close()


class CountedStore:
    """SQLite, which counts what it is asked for.

    Attributes:
        asked: How often each was asked for.
        read: How many lines it gave.
        fails: Whether it can't be reached.
    """

    def __init__(self, folder: Path) -> None:
        self._store = SqliteStore(folder / "runs.db")
        self.asked: dict[str, int] = {}
        self.read = 0
        self.fails = False

    def run(self, run_id: str) -> RunRow | None:
        if self.fails:
            raise JournalError("the server can't be reached")
        self.asked["run"] = self.asked.get("run", 0) + 1
        return self._store.run(run_id)

    def lines(self, run_id: str, start: int, stop: int) -> Any:
        found = self._store.lines(run_id, start, stop)
        self.asked["lines"] = self.asked.get("lines", 0) + 1
        self.read += len(found)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Elsewhere:
    """A run of another machine: written entry by entry, as its holder there does."""

    def __init__(self, folder: Path, state: str = "running") -> None:
        self.clock, self.store = Clock(), CountedStore(folder)
        self.journal = Journal(self.store, clock=self.clock)
        self._log = Transcript()
        self._log.begin("there", [{"role": "user", "content": [text("Go.")]}], asks=(MODEL, "127.0.0.1"))
        holder = ELSEWHERE if state == "running" else None
        now = self.clock()
        self._row = RunRow(
            run_id="there",
            parent=None,
            parent_length=0,
            model=MODEL,
            title="Go.",
            state=state,
            detail=None,
            created=now,
            updated=now,
            length=0,
            epoch=1,
            holder=holder,
            expires=now + LEASE_SECONDS,
        )
        lines = list(chained(self._log.entries, b""))
        self.store.claim(self._row, lines)
        self._row, self._digest = replace(self._row, length=len(lines)), lines[-1][1]

    def says(self, *content: Any, **about: Any) -> None:
        """The model answers; `about` is what the log has of its turn."""
        self._log.answer()
        self._log.take_turn(reply(*content), "req_1", 1.0, **about)
        self.write(*self._log.entries[self._row.length :])

    def write(self, *entries: dict[str, Any], **changed: Any) -> None:
        """Its holder appends entries."""
        lines = list(chained(entries, self._digest))
        self.store.append(replace(self._row, **changed), lines, durable=False)
        self._digest = lines[-1][1] if lines else self._digest
        self._row = replace(self._row, length=self._row.length + len(lines), **changed)

    def close(self) -> None:
        self.journal.close()
