"""A process of a simulation: an agent with its journal, that can be killed, frozen and cancelled at any point."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import anyio
import httpx
from anyio.lowlevel import checkpoint
from simulated_api import SimulatedTransport
from simulated_events import Watch
from simulated_secrets import ADDRESSES, KEYS, shown_in, texts_of
from simulated_spending import look_at_spending
from simulated_store import SimulatedStore, parsed
from simulated_tools import CHANGED, SEARCH, TOOLS

from agentkit import Agent, Client, Journal, Limits, RunResult, lease
from agentkit.call import Decision, Pending
from agentkit.errors import JournalError, LeaseLost
from agentkit.settings import Timeouts
from agentkit.store import Lines, RunRow

if TYPE_CHECKING:
    from simulated_world import World

__all__ = ["Fault", "Killed", "Process", "in_line"]

Kind: TypeAlias = Literal["kill", "power", "cancel", "stop", "leave", "freeze", "jump", "store"]
MAX_SECONDS = 120.0
_GRACE = 10.0  # for what ends in it, and for what it has to store
_PATIENCE = 65.0  # a minute of tries to store a result, where the store fails
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


@dataclass(frozen=True)
class Habits:
    """What is the same at every point of a process.

    Attributes:
        streams: Whether somebody watches its runs.
        approves: Whether it decides while a run goes on, and does not leave it held.
        version: Of its tools: 0 or 1.
        address: Of the endpoint: 0 or 1.
        limits: Of its runs, beside the time.
        lingers: Seconds between the last event and the end of the block of who watches.
    """

    streams: bool = False
    approves: bool = False
    version: int = 0
    address: int = 0
    limits: Mapping[str, float] = field(default_factory=dict)
    lingers: float = 0.0


class Process:
    """One process.

    Attributes:
        number: Its place among those of the world.
        address: The number of the endpoint that it asks.
        tools: By name, of its version.
        paid: Replies that came whole.
        stored: Turns that it has written.
        received: The replies.
        open_replies: Those that were begun and not closed.
        taken: The epoch of each run when it was taken up, and how many turns it had.
        follows: A run that it was asked to go on from, and who held it then.
        dead: Whether it was killed.
        lost: Whether it has lost a run, as far as it tried to write it.
        frozen: Seconds that it was frozen in all.
        holders: The name under which it has held each run last.
        points: How many of each kind it has passed.
        is_going: Whether it goes on with a run.
        store_errors: How many calls of its store will fail.
    """

    def __init__(
        self, world: World, number: int, faults: Mapping[tuple[str, int], Fault], habits: Habits, *, seconds: float
    ) -> None:
        self.world = world
        self.number = number
        self.name = f"p{number}"
        self.dead = self.lost = self.is_leaving = False
        self.frozen = 0.0
        self.is_going = self.has_failed = self.is_hampered = False
        self.points: Counter[str] = Counter()
        self.store_errors = self.paid = self.stored = self.open_replies = 0
        self.holders: dict[str, str | None] = {}
        self.received: set[bytes] = set()
        self._told_to_end = inf
        self.follows: tuple[str, str] | None = None
        self.taken: dict[str, tuple[int, int]] = {}
        self.address = habits.address
        self.limits = Limits(max_seconds=seconds, **habits.limits)  # type: ignore[arg-type]
        self._thawed_at = 0.0
        self._faults = faults
        self._requests: dict[int, int] = {}
        self._streams, self._lingers = habits.streams, habits.lingers
        self._options: dict[str, Any] = {"deps": self, "limits": self.limits}
        if habits.approves:
            self._options["approve"] = self._approve
        self._run: Any = None
        self.scope = anyio.CancelScope()
        self.tools = {tool.name: tool for tool in (CHANGED if habits.version else TOOLS)}
        self.agent = copy(_AGENTS[habits.version])  # making one takes as long as a run of it
        self.agent._client = _client(self.address, SimulatedTransport(self), tool=10 * seconds)
        self.agent.journal = Journal(_ProcessStore(self), clock=world.clock)

    async def point(self, kind: str) -> None:
        """Something may happen here."""
        if self.dead:
            raise Killed
        self.points[kind] += 1
        if fault := self._faults.get((kind, self.points[kind])):
            self.world.note(f"{self.name} {fault.kind} at {kind} {fault.nth}")
            self._suffer(fault)
        await checkpoint()
        if self._thawed_at > anyio.current_time():
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
            case "cancel" | "stop":
                self._told_to_end = anyio.current_time()
                if fault.kind == "stop" and self._run is not None:
                    self._run.cancel()
                else:
                    self.scope.cancel()
            case "leave":
                self.is_leaving = True
            case "freeze":
                self._thawed_at = anyio.current_time() + fault.size
                self.frozen += fault.size
            case "jump":
                self.world.offset += fault.size
            case "store":
                self.store_errors, self.is_hampered = int(fault.size), True
                self.has_failed |= self.store_errors > 2  # before that the lease is renewed in time

    def kill(self) -> None:
        """All that it has in memory is gone."""
        self.dead = True
        self.scope.cancel()
        if self.number % 2:  # of another machine, or one whose ids of processes can't be asked for
            return
        for holder in self.holders.values():
            lease.release_holder(holder)

    def may_die_taking_in(self) -> None:
        """A point at which nothing can be waited for."""
        self.points["taking in"] += 1
        if fault := self._faults.get(("taking in", self.points["taking in"])):
            self.world.note(f"{self.name} {fault.kind} at taking in {fault.nth}")
            self._suffer(fault)
            raise Killed

    def receive(self, message: bytes) -> None:
        """A reply has come whole."""
        self.paid += 1
        self.received.add(message)

    def look_at_claim(self, row: RunRow) -> None:
        """A run was taken up: not one that goes on from a run which another has held all the while."""
        if self.follows and row.parent == self.follows[0]:
            held = self.world.disk.rows[row.parent].holder == self.follows[1] and self.world.is_going(self.follows[1])
            self.world.check(not held, "I12", lambda: f"{self.name} goes on from a run that goes on itself")

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
                    self.world.fail("I10", f"{self.name} can't go on: {type(error).__name__}: {error}")
                shown = any(map(shown_in, texts_of(error)))
                self.world.check(not shown, "I17", lambda: f"{self.name} raises a secret")
                self.world.note(f"{self.name} ends with {type(error).__name__}")
        finally:
            current.reset(token)
        return None

    async def drive(self, run_id: str | None, prompt: str | None, after: str | None = None) -> RunResult:
        """Begins or resumes a run, and decides on what is held."""
        result = await self._once(prompt, run_id or after, {})
        while result.finish.reason == "needs_approval" and not self.is_leaving:
            held = self.world.held(result.run_id)
            decisions = {
                pending.call_id: self.world.decision_on(pending, held.get(pending.call_id))
                for pending in result.pending
            }
            result = await self._once(None, result.run_id, decisions)
        self.world.note(f"{self.name} ends with {result.finish.reason}")
        return result

    async def _once(self, prompt: str | None, after: str | None, decisions: Mapping[str, Decision]) -> RunResult:
        began, frozen = anyio.current_time(), self.frozen
        self._requests, self.is_going, self.paid, self.stored = {}, True, 0, 0
        try:
            result = await self._to_its_end(prompt, after, decisions)
            look_at_spending(self, result)
            return result
        finally:
            self.is_going = False
            took = anyio.current_time() - began - (self.frozen - frozen)
            most = self.limits.max_seconds + _GRACE + self._lingers + (_PATIENCE if self.is_hampered else 0)
            self.world.check(self.dead or took <= most, "I8", lambda: f"{self.name} went on for {took:.0f} seconds")
            late = anyio.current_time() - self._told_to_end - self._lingers
            excused = self.dead or self.frozen or self.is_hampered
            self.world.check(excused or late <= _GRACE, "I8", lambda: f"{self.name} ended {late:.0f} seconds late")

    async def _to_its_end(self, prompt: str | None, after: str | None, decisions: Mapping[str, Decision]) -> RunResult:
        if not self._streams:
            if prompt is None:
                assert after is not None
                return await self.agent.resume(after, decisions=decisions, **self._options)
            return await self.agent.run(prompt, after=after, **self._options)
        try:
            async with self.agent.stream(prompt, after=after, decisions=decisions, **self._options) as self._run:
                watch = Watch(self, self._run.run_id)
                async for event in self._run:
                    watch.see(event)
                    await self.point("event")
                    if self.is_leaving:
                        break
                await anyio.sleep(self._lingers)
            result: RunResult = self._run.result
            watch.look_at_end(result)
            return result
        finally:
            self._run = None

    async def _approve(self, pending: Pending) -> Decision:
        await self.point("approve")
        await anyio.sleep(pending.input["n"] % 3)
        return self.world.decision_on(pending, self.tools[pending.name].digest)


def _client(address: int, transport: SimulatedTransport | None, tool: float = 1.0) -> Client:
    http = httpx.AsyncClient(transport=transport, trust_env=False) if transport else None
    timeouts = Timeouts(tool=tool)
    return Client(api_key=KEYS[address], base_url=ADDRESSES[address], http_client=http, timeouts=timeouts)


def _agent(tools: list[Any]) -> Agent:
    # What may take long is streamed, also where nobody watches.
    asked = Agent("claude-sonnet-4-6", tools=tools, max_tokens=32_000).as_tool("ask", "Asks.")
    return Agent("claude-sonnet-4-6", tools=[*tools, asked, SEARCH], max_tokens=32_000, client=_client(0, None))


_AGENTS = (_agent(TOOLS), _agent(CHANGED))


class _ProcessStore:
    """What a process sees of the disk."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world
        self._store = SimulatedStore(process.world.disk, process.may_die_taking_in)

    def claim(self, row: RunRow, lines: Lines, *, dead: str | None = None) -> int:
        self._may_fail("claim")
        held = self._world.holder_of(row)
        self._process.holders[row.run_id] = row.holder
        epoch = self._store.claim(row, lines, dead=dead)
        self._process.look_at_claim(row)
        if not self._process.frozen:  # else more may have been rescued since the run was read
            self._world.look_at_rescued(row.run_id)
        self._process.taken[row.run_id] = epoch, len(self._world.turns_of(row.run_id))
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
        self._process.stored += sum("message" in parsed(entry) for entry, _ in lines)
        self._world.note(f"{self._process.name} writes {len(lines)} lines at {row.length}, durable {durable}")
        self._world.look_at_lines(row, lines)

    def orphan(self, row: RunRow, lines: Lines) -> None:
        self._may_fail("orphan")
        self._store.orphan(row, lines)

    def rescue(self, row: RunRow, lines: Lines) -> str:
        self._may_live()
        self._world.note(f"{self._process.name} rescues {len(lines)} lines at {row.length}")
        known = self._world.disk.rows.get(row.run_id)
        self._process.lost |= known is not None and known.epoch != row.epoch  # which a store that fails can't tell it
        self._world.rescued += [(row.run_id, entry, anyio.current_time()) for entry, _ in lines]
        return self._store.rescue(row, lines)

    def recover(self, run_id: str) -> None:
        self._may_live()
        known = self._store.run(run_id)
        try:
            self._store.recover(run_id)
        finally:  # it may die with what is written
            if known and (lines := self._store.lines(run_id, known.length, known.length + 99)):
                self._world.note(f"{self._process.name} recovers {len(lines)} lines at {known.length}")
                self._world.look_at_lines(known, lines)

    def _may_live(self) -> None:
        if self._process.dead:
            raise Killed

    def _may_fail(self, what: str) -> None:
        self._may_live()
        if self._process.store_errors:
            self._process.store_errors -= 1
            self._world.note(f"{self._process.name} can't {what}")
            error = JournalError("the disk is full")
            error.retryable = True
            raise error

    def __getattr__(self, name: str) -> Any:
        self._may_live()
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
