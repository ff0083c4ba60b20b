"""A program with an agent that kills itself at a named point, with SIGKILL. It imports once, and forks for each order.

It reads orders from its input, a list of jobs in JSON on each line, forks a process for each job, and prints their
process ids, then how they ended. What a job has to say it writes to the file that the job names.

A *point* is what a process reaches: `before`, `within` (the transaction is open) or `after` a write of the journal,
named by what it writes (`claim`, `turn`, `intent pay`, `result pay`, `hold`, `release ended`…); `enter pay`, and
`effect pay` once it has happened; an event (`event text_delta`); `parked`, `ended`. `turn#2` is the second time.
"""

from __future__ import annotations

import json
import os
import random
import signal
import ssl
import sys
import threading
import time
import traceback
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from agentkit import Agent, Client, Journal, NotDone, RunContext, RunResult, Tool, allow, tool
from agentkit.sqlite_store import SqliteStore
from agentkit.store import Lines, RunRow

QUESTION = "Do it."


@dataclass
class World:
    """What a job finds around it, and where it dies.

    Attributes:
        job: `folder`, `url`, `point`, `signal`, `result`, `waits_for`, `lease_seconds`…: see `work`.
        reached: How often each point was reached.
        is_paid: Set once the result of `pay` is stored.
        writing: Held while SQLite writes.
    """

    job: dict[str, Any]
    reached: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_paid: threading.Event = field(default_factory=threading.Event)
    writing: AbstractContextManager[Any] = field(default_factory=nullcontext)

    def reach(self, point: str) -> None:
        """Dies, or stops, where this is the point."""
        if point == "after result pay":
            self.is_paid.set()
        with self.lock:
            self.reached[point] += 1
            name, _, number = self.job.get("point", "").partition("#")
            if name == point and self.reached[point] == int(number or 1):
                # To this thread: another one would get it a moment later, and this one is to come no further.
                signal.pthread_kill(threading.get_ident(), getattr(signal, self.job.get("signal", "SIGKILL")))

    def reach_in_a_tool(self, point: str) -> None:
        """Dies there, or stops where its lease is not just being renewed: SQLite would keep all others from writing."""
        with self.writing if self.job.get("signal") == "SIGSTOP" else nullcontext():
            self.reach(point)

    def effects(self) -> list[dict[str, Any]]:
        """What has happened, in all processes."""
        path = Path(self.job["folder"], "effects.jsonl")
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def forget_effects(self) -> None:
        """Begins anew."""
        Path(self.job["folder"], "effects.jsonl").unlink(missing_ok=True)

    def act(self, ctx: RunContext[Any]) -> str:
        """An effect in another system, which knows each by its key."""
        self.reach_in_a_tool(f"enter {ctx.tool_name}")
        about = {"run": ctx.run_id, "call": ctx.call_id, "key": ctx.idempotency_key, "pid": os.getpid()}
        file = os.open(Path(self.job["folder"], "effects.jsonl"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(file, json.dumps({**about, "attempt": ctx.attempt}).encode() + b"\n")
            os.fsync(file)
        finally:
            os.close(file)
        self.reach_in_a_tool(f"effect {ctx.tool_name}")
        return f"{ctx.tool_name}: done"

    def pause(self) -> float:
        """Seconds that a tool takes, more or less."""
        return random.random() * float(self.job.get("pause", 0))

    async def beside(self, point: str) -> None:
        """Where the job dies here, waits until another call of the turn has its result stored."""
        if self.job.get("point") == point:
            await to_thread.run_sync(self.is_paid.wait, 20)
            self.reach(point)

    def tools(self) -> list[Tool]:
        """One of each kind."""

        def was_booked(ctx: RunContext[Any], arguments: dict[str, Any]) -> str:
            if any(effect["key"] == ctx.idempotency_key for effect in self.effects()):
                return "book: done"
            raise NotDone

        @tool
        async def pay(ctx: RunContext[Any], amount: int) -> str:
            """Pays."""
            await anyio.sleep(self.pause())
            done = self.act(ctx)
            await anyio.sleep(self.pause())
            return done

        @tool(idempotent=True)
        async def send(ctx: RunContext[Any], amount: int) -> str:
            """Sends."""
            await self.beside("beside before send")
            done = self.act(ctx)
            await self.beside("beside after send")
            return done

        @tool(verify=was_booked)
        def book(ctx: RunContext[Any], amount: int) -> str:
            """Books, in a thread."""
            time.sleep(self.pause())
            return self.act(ctx)

        @tool(effect="read")
        def look(ctx: RunContext[Any], amount: int) -> str:
            """Looks."""
            self.reach("enter look")
            return f"saw {amount}"

        @tool(needs_approval=True)
        async def refund(ctx: RunContext[Any], amount: int) -> str:
            """Refunds."""
            return self.act(ctx)

        return [pay, send, book, look, refund]


class DyingStore(SqliteStore):
    """SQLite, that tells the world what it writes."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._kinds: set[str] = set()
        super().__init__(Path(world.job["folder"], "runs.db"))
        world.writing = self._lock

    def claim(self, row: RunRow, lines: Lines, *, dead: str | None = None) -> int:
        self._reach("before", kinds := kinds_of(row, lines))
        epoch = super().claim(row, lines, dead=dead)
        self._reach("after", kinds)
        return epoch

    def append(self, row: RunRow, lines: Lines, *, durable: bool) -> None:
        self._reach("before", kinds := kinds_of(row, lines))
        super().append(row, lines, durable=durable)
        self._reach("after", kinds)

    def _write(self, db: Any, row: RunRow, epoch: int, lines: Lines) -> None:
        super()._write(db, row, epoch, lines)
        self._reach("within", kinds_of(row, lines))

    def _reach(self, when: str, kinds: set[str]) -> None:
        for kind in sorted(kinds):
            self._world.reach(f"{when} {kind}")


def kinds_of(row: RunRow, lines: Lines) -> set[str]:
    """What a write of the journal writes."""
    kinds = set() if lines else {"renew"}
    for entry in (json.loads(line) for line, _ in lines):
        match entry["entry"]:
            case "run":
                kinds.add("resume" if entry["resume"] else "claim")
            case "turn":
                kinds.add("turn" if "message" in entry else "answer")
            case "call":
                state = {"started": "intent", "ended": "result", "held": "hold"}[entry["state"]]
                kinds |= {state, f"{state} {entry['call'].partition('toolu_')[2]}"}
            case other:
                kinds.add(other)
    if row.holder is None:
        kinds.add("release parked" if row.state == "needs_approval" else "release ended")
        kinds.discard("renew")
    return kinds


def client_of(job: dict[str, Any]) -> tuple[Client, dict[str, Any]]:
    """The endpoint, and what is added to each request so that the server knows who asks."""
    point = job.get("point", "") if job.get("point", "").startswith("request") else ""
    return Client(base_url=job["url"], api_key="any"), {"metadata": {"user_id": f"{os.getpid()}:{point}"}}


async def drive(world: World) -> RunResult:
    """What a program around the agent does: start, or go on with what there is; decide, until the end."""
    client, body = client_of(world.job)
    journal = Journal(DyingStore(world))
    async with client:
        agent = Agent("claude-sonnet-4-6", tools=world.tools(), journal=journal, client=client, extra_body=body)
        known = journal.runs(1)
        is_held = bool(known) and known[0].state == "needs_approval"
        held = journal.load(known[0].run_id).held() if is_held else []
        decisions = {call.call_id: allow() for call in held}
        result = await watched(world, agent, known[0].run_id if known else None, decisions=decisions)
        if result.finish.reason == "needs_approval":
            world.reach("parked")
            decisions = {pending.call_id: allow() for pending in result.pending}
            result = await watched(world, agent, result.run_id, decisions=decisions)
        world.reach("ended")
    journal.close()
    return result


async def watched(world: World, agent: Agent, run_id: str | None, **options: Any) -> RunResult:
    async with agent.stream(None if run_id else QUESTION, after=run_id, **options) as run:
        async for event in run:
            world.reach(f"event {event.type}")
            if "waits_for" in world.job:
                await to_thread.run_sync(wait_for_others, world)
    return run.result


def wait_for_others(world: World) -> None:
    """The one that goes on waits for the files of those that must not, so that it is under way while they try."""
    Path(world.job["folder"], "going on").touch()
    paths, give_up = [Path(path) for path in world.job.pop("waits_for")], time.monotonic() + 20
    while not all(path.exists() for path in paths) and time.monotonic() < give_up:
        time.sleep(0.005)


def outcome_of(world: World) -> dict[str, Any]:
    """Runs a job to its end; what it says then."""
    try:
        result = anyio.run(drive, world, backend=world.job.get("backend", "asyncio"))
    except BaseException as error:
        return {"error": type(error).__name__, "detail": str(error), "trace": traceback.format_exc()}
    return {
        "finish": result.finish.reason,
        "text": result.partial_text,
        "outcomes": {call.call_id: call.outcome for call in result.tool_calls},
    }


def work(job: dict[str, Any]) -> None:
    """Does one job.

    Args:
        job: `folder` and `url`; `result`: the file for what it says; `point` and `signal`: where it dies, and of what;
            `dies_after`: seconds; `lease_seconds`; `pause`: seconds that a tool takes at most; `start_at`: on the clock
            of `time.monotonic`; `waits_for`: files (see `wait_for_others`); `threads`: jobs that this process does at
            once; `cancels`: see `chaos_cancels`; `backend`: `asyncio` or `trio`.
    """
    if "lease_seconds" in job:
        shorten_leases(job["lease_seconds"])
    if "dies_after" in job:
        timer = threading.Timer(job["dies_after"], os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()
    time.sleep(max(job.get("start_at", 0) - time.monotonic(), 0))
    if "cancels" in job:
        from chaos_cancels import cancel_rounds

        report(job["result"], cancel_rounds(job))
    elif "threads" in job:
        threads = [threading.Thread(target=work, args=({**job, **one},)) for one in job.pop("threads")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:
        report(job["result"], outcome_of(World(job)))


def shorten_leases(seconds: float) -> None:
    for name, module in list(sys.modules.items()):
        if name.startswith("agentkit."):
            for constant, value in (("LEASE_SECONDS", seconds), ("RENEWED_EVERY", seconds / 4)):
                if hasattr(module, constant):
                    setattr(module, constant, value)


def report(path: str, said: dict[str, Any]) -> None:
    """Writes a file that is whole once it is there."""
    part = Path(f"{path}.part")
    part.write_text(json.dumps(said))
    part.rename(path)


def serve() -> None:
    """Forks for each job of each order, until there are no more orders."""
    import anyio._backends._asyncio
    import anyio._backends._trio  # noqa: F401
    import httpx

    import agentkit.record  # noqa: F401

    ssl.create_default_context = cache(ssl.create_default_context)  # it takes longer than a run
    httpx.AsyncClient()
    Agent("claude-sonnet-4-6", tools=World({}).tools(), client=client_of({"url": "http://127.0.0.1"})[0])
    for line in sys.stdin:
        pids = [forked(job) for job in json.loads(line)]
        print(json.dumps({"pids": pids}), flush=True)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        print(json.dumps({"codes": codes}), flush=True)


def forked(job: dict[str, Any]) -> int:
    if pid := os.fork():
        return pid
    try:
        work(job)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    serve()
