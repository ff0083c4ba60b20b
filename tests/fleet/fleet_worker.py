"""A worker process of the fleet: its tools leave marks outside of the journal, so that it can be counted what happened.

It takes one job in JSON: `journal`, `url` of the model, `folder` for marks and for what the worker tells,
`concurrency`, `grace`, and `machine`, the name of the machine that it believes to be on.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anyio

from agentkit import Agent, Client, NotDone, RunContext, Tool, tool
from agentkit.integrations.durable import Worker
from agentkit.integrations.durable.worker import Told
from agentkit.lease import Lease

QUEUE = "fleet"


@dataclass(frozen=True)
class World:
    """Another system, in which tools have effects.

    Attributes:
        folder: Where it keeps them.
    """

    folder: Path

    def write(self, name: str, about: dict[str, Any]) -> None:
        """Appends a line to a file that all processes share."""
        line = json.dumps({"pid": os.getpid(), "at": time.time(), **about}).encode() + b"\n"
        file = os.open(self.folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(file, line)
        finally:
            os.close(file)

    def mark(self, what: str, ctx: RunContext[Any]) -> None:
        about = {"run": ctx.run_id, "call": ctx.call_id, "key": ctx.idempotency_key, "attempt": ctx.attempt}
        about["amount"] = ctx.input["amount"]
        self.write("marks.jsonl", {"what": what, **about})

    def has(self, key: str) -> bool:
        """Whether an effect has happened."""
        lines = (self.folder / "marks.jsonl").read_text().splitlines()
        return any(f'"{key}"' in line and '"effect"' in line for line in lines)

    async def act(self, ctx: RunContext[Any], seconds: float) -> str:
        """An effect, which takes about so many seconds before and after."""
        self.mark("enter", ctx)
        await anyio.sleep(seconds * random.random())
        self.mark("effect", ctx)
        await anyio.sleep(seconds * random.random())
        return f"{ctx.tool_name}: done"

    def tools(self) -> list[Tool]:
        """One of each kind; `pay`, `crawl`, `charge` and `refund` declare nothing."""

        def was_booked(ctx: RunContext[Any], arguments: dict[str, Any]) -> str:
            if self.has(ctx.idempotency_key):
                return "book: done"
            raise NotDone

        @tool
        async def pay(ctx: RunContext[Any], amount: int) -> str:
            """Pays."""
            return await self.act(ctx, 0.4)

        @tool
        async def crawl(ctx: RunContext[Any], amount: int) -> str:
            """Crawls, slowly."""
            return await self.act(ctx, 1.5)

        @tool
        def charge(ctx: RunContext[Any], amount: int) -> str:
            """Charges, in a thread."""
            self.mark("enter", ctx)
            time.sleep(0.4 * random.random())
            self.mark("effect", ctx)
            return "charge: done"

        @tool(needs_approval=True)
        async def refund(ctx: RunContext[Any], amount: int) -> str:
            """Pays back."""
            return await self.act(ctx, 0.4)

        @tool(idempotent=True)
        async def send(ctx: RunContext[Any], amount: int) -> str:
            """Sends."""
            return await self.act(ctx, 0.4)

        @tool(verify=was_booked)
        async def book(ctx: RunContext[Any], amount: int) -> str:
            """Books."""
            return await self.act(ctx, 0.4)

        @tool(effect="read")
        async def look(amount: int) -> str:
            """Looks."""
            await anyio.sleep(0.2 * random.random())
            return f"saw {amount}"

        return [pay, crawl, charge, refund, send, book, look]


async def serve(job: dict[str, Any]) -> None:
    """Serves the queue until SIGTERM."""
    world = World(Path(job["folder"]))

    def tell(told: Told) -> None:
        world.write("told.jsonl", asdict(told))

    async with Client(base_url=job["url"], api_key="any") as client:
        agent = Agent("claude-sonnet-4-6", tools=world.tools(), journal=job["journal"], client=client)
        worker = Worker(agent, QUEUE, concurrency=job["concurrency"], grace=job["grace"], tell=tell)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_stop_at_sigterm, worker)
            await worker.run()
            tasks.cancel_scope.cancel()


def mark_what_is_confirmed(world: World) -> None:
    """Marks that a call may be entered: from there on nothing can hold it back, though the process may be stopped."""
    confirm = Lease.confirm

    async def confirmed(self: Lease) -> None:
        await confirm(self)
        world.write("marks.jsonl", {"what": "confirm", "run": self._row.run_id})

    Lease.confirm = confirmed  # type: ignore[method-assign]


def end_with_our_parent() -> None:
    """Ends this process when the pipe from the tests is closed, also by their death."""
    os.read(0, 1)
    os._exit(1)


async def _stop_at_sigterm(worker: Worker) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            worker.stop()


def main() -> None:
    job = json.loads(sys.argv[1])
    if job["machine"]:
        socket.gethostname = lambda: job["machine"]
    threading.Thread(target=end_with_our_parent, daemon=True).start()
    mark_what_is_confirmed(World(Path(job["folder"])))
    anyio.run(serve, job)


if __name__ == "__main__":
    main()
