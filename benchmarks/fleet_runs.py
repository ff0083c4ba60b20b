"""A process of `fleet.py` that runs agents: some runs by themselves, or as a worker of a queue until its input ends.

    python benchmarks/fleet_runs.py direct SERVER PLACE EFFECT CALLS RUNS
    python benchmarks/fleet_runs.py worker SERVER PLACE EFFECT CONCURRENCY
    python benchmarks/fleet_runs.py submit PLACE CALLS RUNS

PLACE is a journal's, or `-` for none. Each prints one line of JSON when it is ready and one when it is asked (a line of
input): the seconds of CPU that it has used.
"""

from __future__ import annotations

import json
import os
import sys
import time
from resource import RUSAGE_SELF, getrusage

import anyio
from anyio import to_thread

from agentkit import Agent, Client, tool

__all__ = ["QUEUE", "question"]

QUEUE = "bench"
RESULT = ("All records are in good order. " * 7)[:200]


async def lookup(key: str) -> str:
    """Look up a record.

    Args:
        key: The key of the record.
    """
    return RESULT


def question(run: str, calls: int) -> str:
    """What a run is asked."""
    return f"This is run {run}: look up {calls} records, one after the other, then say that you are done."


def agent(server: str, place: str, effect: str) -> Agent:
    """The agent that is measured; its tool does nothing, in no time."""
    tools = [tool(lookup, effect="read" if effect == "read" else None)]
    client = Client(api_key="k", base_url=server)
    return Agent("claude-sonnet-4-6", tools=tools, client=client, journal=None if place == "-" else place)


async def direct(server: str, place: str, effect: str, calls: str, runs: str) -> None:
    """Runs one after the other, when the first has shown that all is there."""
    asked = agent(server, place, effect)
    for number in range(3):
        await asked.run(question(f"warm-{number}", int(calls)))
    tell(ready=True)
    await to_thread.run_sync(sys.stdin.readline)
    before, began = cpu(), time.monotonic()
    for number in range(int(runs)):
        result = await asked.run(question(str(number), int(calls)))
        assert result.turns == int(calls) + 1
    tell(cpu=cpu() - before, seconds=time.monotonic() - began)


async def worker(server: str, place: str, effect: str, concurrency: str) -> None:
    """Serves the queue, and says how much CPU it has used when it is asked."""
    from agentkit.integrations.durable import Worker

    def told(what: object) -> None:
        if getattr(what, "what", "") == "serving":
            tell(ready=True)

    works = Worker(agent(server, place, effect), QUEUE, concurrency=int(concurrency), tell=told)

    async def answer() -> None:
        while await to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            tell(cpu=cpu(), ended=works.ended.total(), memory=getrusage(RUSAGE_SELF).ru_maxrss / 1024)
        works.stop()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        await works.run()
        tasks.cancel_scope.cancel()


async def submit(place: str, calls: str, runs: str) -> None:
    """Puts runs on the queue."""
    from agentkit.integrations.durable import Queue

    queue = Queue(QUEUE, place)
    tell(ready=True)
    await to_thread.run_sync(sys.stdin.readline)
    before, began = cpu(), time.monotonic()
    for number in range(int(runs)):
        await queue.submit(question(str(number), int(calls)))
    tell(cpu=cpu() - before, seconds=time.monotonic() - began)
    queue.close()


def cpu() -> float:
    """Seconds of this process, its threads included."""
    times = os.times()
    return times.user + times.system


def tell(**numbers: float) -> None:
    print(json.dumps(numbers), flush=True)


if __name__ == "__main__":
    anyio.run({"direct": direct, "worker": worker, "submit": submit}[sys.argv[1]], *sys.argv[2:])
