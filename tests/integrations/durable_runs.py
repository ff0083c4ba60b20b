"""Queues, workers and an endpoint for the tests of runs on many machines."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
from scripted import Request, Sse, reply, text, tool_use

from agentkit import Agent, Client, RetryPolicy
from agentkit.integrations.durable import Queue, Worker, engine
from agentkit.integrations.durable import queue as queues
from agentkit.integrations.durable import worker as workers
from agentkit.integrations.durable.worker import Told
from agentkit.messages import text_of

if TYPE_CHECKING:
    import pytest
    from postgres_server import PostgresServer

__all__ = [
    "Serving",
    "agent_at",
    "answer",
    "emptied",
    "looks_often",
    "open_queue",
    "rows_of_the_engine",
    "serving",
    "until",
    "worker_process",
]

_TABLES = """
SELECT string_agg(format('%I.%I', schemaname, tablename), ', ') FROM pg_tables
WHERE schemaname = 'dbos' AND tablename NOT LIKE '%migration%'
"""


def answer(request: Request) -> object:
    """A model that calls the tool which the question begins with, once, and takes its time if that is `Slow`."""
    messages = request.json["messages"]
    last = messages[-1]["content"]
    if isinstance(last, list) and any(block["type"] == "tool_result" for block in last):
        return reply(text("All done."))
    name = text_of(last).split()[0].lower().strip(".")
    if name == "slow":
        return Sse(reply(text("Slowly heard.")), delay=1.5)
    if any(tool["name"] == name for tool in request.json.get("tools", ())):
        return reply(tool_use(name, id=f"toolu_{request.number}"))
    return reply(text("Heard."))


def looks_often(patch: pytest.MonkeyPatch) -> None:
    """Has queues and workers look more often than is good for a database."""
    patch.setattr(engine, "_POLLS_EVERY", 0.1)
    patch.setattr(queues, "_LOOKS_EVERY", 0.05)
    patch.setattr(workers, "_WATCHES_EVERY", 0.2)


def emptied(postgres: PostgresServer, database: str) -> str:
    """The same database without jobs of an earlier test; to make the engine's tables anew takes two seconds."""
    if tables := postgres.execute(_TABLES):
        postgres.execute(f"TRUNCATE {tables}")
    return database


def rows_of_the_engine(postgres: PostgresServer) -> str:
    """All that is in its tables."""
    tables = "SELECT string_agg(format('SELECT t::text FROM dbos.%I t', tablename), ' UNION ALL ') FROM pg_tables"
    rows = postgres.execute(f"{tables} WHERE schemaname = 'dbos'")
    return str(postgres.execute(f"SELECT string_agg(t, ' ') FROM ({rows}) AS all_rows"))


@contextmanager
def open_queue(place: str, name: str = "research") -> Iterator[Queue]:
    """A queue, as another machine has it."""
    queue = Queue(name, place)
    try:
        yield queue
    finally:
        queue.close()


@asynccontextmanager
async def agent_at(url: str, place: str, *tools: Any, attempts: int = 4, **options: Any) -> AsyncGenerator[Agent]:
    """An agent whose runs are in a journal at `place`."""
    async with Client(base_url=url, api_key="sk-ant-secret-key", retry=RetryPolicy(max_attempts=attempts)) as client:
        agent = Agent("claude-sonnet-4-6", tools=tools, client=client, journal=place, **options)
        yield agent
        assert agent.journal
        agent.journal.close()


@dataclass
class Serving:
    """A worker that serves, and what it has told."""

    worker: Worker
    told: list[Told] = field(default_factory=list)

    def of(self, what: str) -> list[tuple[str | None, str | None]]:
        """Run and detail of what it told of this kind."""
        return [(told.run_id, told.detail) for told in self.told if told.what == what]


@asynccontextmanager
async def serving(agent: Agent, queue: str = "research", **options: Any) -> AsyncGenerator[Serving]:
    """A worker in this process, stopped in the end."""
    told: list[Told] = []
    made = Serving(Worker(agent, queue, tell=told.append, **options), told)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(made.worker.run)
        await until(lambda: bool(told))
        try:
            yield made
        finally:
            made.worker.stop()


async def until(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    """Waits for something that no event tells of."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.03)


_WORKER = """
import os, signal, sys, threading, time
import anyio
from agentkit import Agent, Client, tool
from agentkit.integrations.durable import Worker, worker

worker.MOST_DEATHS = int(os.environ.get("MOST_DEATHS", "5"))
place, url, marks = sys.argv[1:4]

def mark(what):
    with open(marks, "a") as file:
        print(what, os.getpid(), file=file, flush=True)

@tool
def pay() -> str:
    "Pays, which takes a while."
    mark("paid")
    while "PAYS_UNTIL" in os.environ and not os.path.exists(os.environ["PAYS_UNTIL"]):
        time.sleep(0.05)
    return "paid"

@tool(effect="read")
def die() -> str:
    "Takes the process with it."
    mark("died")
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    async with Client(base_url=url, api_key="k") as client:
        agent = Agent("claude-sonnet-4-6", tools=[pay, die], client=client, journal=place)
        def tell(told):
            print(told.what, told.run_id, told.detail, flush=True)
            if told.what == os.environ.get("WAIT_WHEN"):
                mark(told.what)
                while not os.path.exists(os.environ["WAIT_FOR"]):
                    time.sleep(0.05)

        await Worker(agent, "research", tell=tell, grace=float(os.environ.get("GRACE", "20"))).run()

anyio.run(main)
"""


@contextmanager
def worker_process(place: str, url: str, marks: Any, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A worker in a process of its own that has begun to serve; killed in the end.

    Its tools write into the file `marks`.
    """
    command = [sys.executable, "-c", _WORKER, place, url, str(marks)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "default", **environment},
    ) as process:
        try:
            assert process.stdout
            # What waits on the queue may begin before.
            serves = any(line.startswith("serving") for line in process.stdout)
            assert serves, process.stderr and process.stderr.read()
            yield process
        finally:
            process.kill()
