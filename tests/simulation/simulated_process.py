"""A process of a simulation: an agent with its journal, that can be killed, frozen and cancelled at any point."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import anyio
from anyio.lowlevel import checkpoint
from simulated_store import SimulatedStore
from simulated_tools import SEARCH, TOOLS

from agentkit import Agent, Client, Journal, Limits, RunResult, lease
from agentkit.call import Decision
from agentkit.errors import JournalError, LeaseLost
from agentkit.settings import Timeouts
from agentkit.store import Lines, RunRow

if TYPE_CHECKING:
    from simulated_world import World

__all__ = ["Fault", "Killed", "Process", "in_line"]

Kind: TypeAlias = Literal["kill", "power", "cancel", "stop", "leave", "freeze", "jump", "store"]
MAX_SECONDS = 120.0
_SETTLES = 75.0  # a minute of tries to store a result, and some grace
current: ContextVar[Process] = ContextVar("process")


class Killed(BaseException):
    """The process is gone."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong once.

    Attributes:
        process: The number of the process.
        at: The kind of point at which this happens.
        nth: Which of those of the process, from 1.
        kind: What happens.
        size: Seconds, commits that are lost, or calls of the store that fail.
    """

    process: int
    at: str
    nth: int
    kind: Kind
    size: float = 0.0


class Process:
    """One process.

    Attributes:
        number: Its place among those of the world.
        dead: Whether it was killed.
        lost: Whether a lease was lost.
        frozen: Seconds that it was frozen in all.
        holders: The names under which it has held runs.
        points: How many of each kind it has passed.
        is_going: Whether it goes on with a run.
        store_errors: How many calls of its store will fail.
    """

    def __init__(
        self, world: World, number: int, faults: Mapping[tuple[str, int], Fault], *, streams: bool, limit: float
    ) -> None:
        self.world = world
        self.number = number
        self.name = f"p{number}"
        self.dead = self.lost = self.is_leaving = False
        self.frozen = 0.0
        self.is_going = self.has_failed = False
        self.points: Counter[str] = Counter()
        self.store_errors = 0
        self.is_closed = False  # the interface of an HTTP client
        self.holders: list[str | None] = []
        self._thawed_at = 0.0
        self._faults = faults
        self._requests: dict[int, int] = {}
        self._streams = streams
        self._limits = Limits(max_seconds=limit)
        self._run: Any = None
        self.scope = anyio.CancelScope()
        self.journal = Journal(_ProcessStore(self), clock=world.clock)
        self.agent = copy(_AGENT)  # making one takes as long as a run of it
        self.agent._client = _client(self, tool=10 * limit)
        self.agent._journal = self.journal

    async def point(self, kind: str) -> None:
        """Something may happen here."""
        if self.dead:
            raise Killed
        self.points[kind] += 1
        if fault := self._faults.get((kind, self.points[kind])):
            self.world.note(f"{self.name} {fault.kind} at {kind} {fault.nth}")
            self._suffer(fault)
        await checkpoint()
        with anyio.CancelScope(shield=True):
            await anyio.sleep_until(self._thawed_at)
        if self.dead:
            raise Killed

    def _suffer(self, fault: Fault) -> None:
        match fault.kind:
            case "kill":
                self.kill()
            case "power":
                self.world.lose_power(int(fault.size))
            case "stop" if self._run is not None:
                self._run.cancel()
            case "cancel" | "stop":
                self.scope.cancel()
            case "leave":
                self.is_leaving = True
            case "freeze":
                self._thawed_at = anyio.current_time() + fault.size
                self.frozen += fault.size
            case "jump":
                self.world.offset += fault.size
            case "store":
                self.store_errors = int(fault.size)
                self.has_failed |= self.store_errors > 2  # before that the lease is renewed in time

    def kill(self) -> None:
        """All that it has in memory is gone."""
        self.dead = True
        self.scope.cancel()
        if self.number % 2:  # of another machine, or one whose ids of processes can't be asked for
            return
        for holder in self.holders:
            lease.release_holder(holder)

    def count_request(self, number: int) -> None:
        """A request for a turn."""
        tried = self._requests[number] = self._requests.get(number, 0) + 1
        self.world.check(tried <= 4, "I13", lambda: f"{tried} requests for turn {number} in {self.name}")

    async def go(self, work: Callable[[], Any]) -> Any:
        """Does something in this process; None if it was killed, cancelled or failed with what may happen."""
        token = current.set(self)
        try:
            with anyio.CancelScope() as self.scope:
                return await work()
        except (Exception, Killed, BaseExceptionGroup) as error:
            if not self.dead:
                if not self.world.is_expected(error):
                    self.world.fail("error", f"{self.name}: {type(error).__name__}: {error}")
                self.world.note(f"{self.name} ends with {type(error).__name__}")
        finally:
            current.reset(token)
        return None

    async def drive(self, run_id: str | None, prompt: str | None, after: str | None = None) -> RunResult:
        """Begins or resumes a run, and decides on what is held."""
        result = await self._once(prompt, run_id or after, {})
        while result.finish.reason == "needs_approval" and not self.is_leaving:
            decisions = {pending.call_id: self.world.decision_on(pending) for pending in result.pending}
            result = await self._once(None, result.run_id, decisions)
        self.world.note(f"{self.name} ends with {result.finish.reason}")
        return result

    async def _once(self, prompt: str | None, after: str | None, decisions: Mapping[str, Decision]) -> RunResult:
        began, frozen = anyio.current_time(), self.frozen
        self._requests, self.is_going = {}, True
        try:
            return await self._to_its_end(prompt, after, decisions)
        finally:
            self.is_going = False
            took = anyio.current_time() - began - (self.frozen - frozen)
            most = self._limits.max_seconds + _SETTLES
            self.world.check(self.dead or took <= most, "I9", lambda: f"{self.name} went on for {took:.0f} seconds")

    async def _to_its_end(self, prompt: str | None, after: str | None, decisions: Mapping[str, Decision]) -> RunResult:
        options: Any = {"deps": self, "limits": self._limits}
        if not self._streams:
            if prompt is None:
                assert after is not None
                return await self.agent.resume(after, decisions=decisions, **options)
            return await self.agent.run(prompt, after=after, **options)
        try:
            async with self.agent.stream(prompt, after=after, decisions=decisions, **options) as self._run:
                async for _ in self._run:
                    await self.point("event")
                    if self.is_leaving:
                        break
            return self._run.result  # type: ignore[no-any-return]
        finally:
            self._run = None


def _client(http: Any, tool: float = 1.0) -> Client:
    address = "https://api.anthropic.com"
    return Client(api_key="sk-ant-simulated", base_url=address, http_client=http, timeouts=Timeouts(tool=tool))


# What may take long is streamed, also where nobody watches.
_AGENT = Agent("claude-sonnet-4-6", tools=[*TOOLS, SEARCH], max_tokens=32_000, client=_client(None))


class _ProcessStore:
    """What a process sees of the disk."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world
        self._store = SimulatedStore(process.world.disk)

    def claim(self, row: RunRow, lines: Lines, *, dead: str | None = None) -> int:
        self._may_fail("claim")
        held = self._world.holder_of(row)
        self._process.holders.append(row.holder)
        epoch = self._store.claim(row, lines, dead=dead)
        self._world.check(held is None, "I11", lambda: f"a run was taken up that {held} held and went on with")
        self._world.note(f"{self._process.name} takes up epoch {epoch}, {len(lines)} lines")
        self._world.look_at_lines(row, lines)
        return epoch

    def append(self, row: RunRow, lines: Lines, *, durable: bool) -> None:
        self._may_fail("append")
        known = self._world.disk.rows.get(row.run_id)
        try:
            self._store.append(row, lines, durable=durable)
        except LeaseLost:
            self._process.lost = True
            raise
        self._world.check(known is not None and known.epoch == row.epoch, "I11", lambda: "a stale epoch wrote")
        self._world.note(f"{self._process.name} writes {len(lines)} lines at {row.length}, durable {durable}")
        self._world.look_at_lines(row, lines)

    def orphan(self, row: RunRow, lines: Lines) -> None:
        self._may_fail("orphan")
        self._store.orphan(row, lines)

    def _may_fail(self, what: str) -> None:
        if self._process.dead:
            raise Killed
        if self._process.store_errors:
            self._process.store_errors -= 1
            self._world.note(f"{self._process.name} can't {what}")
            error = JournalError("the disk is full")
            error.retryable = True
            raise error

    def __getattr__(self, name: str) -> Any:
        if self._process.dead:
            raise Killed
        return getattr(self._store, name)


async def in_line(function: Callable[..., Any], *given: Any, **options: object) -> Any:
    """In place of `anyio.to_thread.run_sync`: here, between two points.

    As with a thread, it can be cancelled before, and not from then on.
    """
    process, name = current.get(), getattr(function, "__name__", "call")
    await checkpoint()
    with anyio.CancelScope(shield=True):
        await process.point(f"before {name}")
        found = function(*given)
        await process.point(f"after {name}")
        return found
