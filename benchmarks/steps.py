"""What a step of DBOS costs beside an entry of the journal, in one PostgreSQL: see docs/decisions/0008.

Run it as `python benchmarks/steps.py`. It needs PostgreSQL on this machine, and what `make test` has installed.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from anyio import to_thread
from dbos import DBOS, DBOSPortableJSONSerializer

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "integrations"))

import postgres_server

from agentkit.journal import Journal
from agentkit.transcript import Transcript

COUNT = 150
TEXT = "x" * 400
postgres_server._SETTINGS = tuple(one for one in postgres_server._SETTINGS if not one.startswith("fsync"))


async def measured(name: str, commits: Callable[[], int], work: Callable[[], Awaitable[None]]) -> None:
    before, wall, cpu = commits(), time.perf_counter(), time.process_time()
    await work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    await asyncio.sleep(1.5)  # the server counts with a delay
    made = (commits() - before) / COUNT
    print(f"{name:24} {wall / COUNT * 1e3:6.1f} ms  {cpu / COUNT * 1e3:5.2f} ms CPU  {made:4.1f} transactions")


async def steps(url: str, commits: Callable[[], int]) -> None:
    DBOS(
        config={
            "name": "agentkit",
            "system_database_url": url,
            "log_level": "CRITICAL",
            "serializer": DBOSPortableJSONSerializer(),
        }
    )

    async def turn() -> dict[str, str]:
        return {"turn": TEXT}

    @DBOS.workflow()
    async def run() -> None:
        for _ in range(COUNT):
            await DBOS.run_step_async({"name": "turn"}, turn)

    DBOS.launch()
    for _ in range(3):
        await measured("DBOS, a step", commits, run)
    await to_thread.run_sync(DBOS.destroy)


async def entries(url: str, commits: Callable[[], int]) -> None:
    journal, transcript = Journal(url), Transcript()
    transcript.begin("run", [{"role": "user", "content": [{"type": "text", "text": "Go."}]}])
    lease = await journal.take_up(transcript)

    async def write(durable: bool) -> None:
        for number in range(COUNT):
            transcript.operate("spend", run="r", usage={"input_tokens": number}, cost=0.0, why=TEXT)
            await lease.commit(durable)

    for _ in range(3):
        await measured("journal, an entry", commits, partial(write, False))
        await measured("journal, with fsync", commits, partial(write, True))
    await lease.release("end_turn", None)
    journal.close()


def main() -> None:
    with postgres_server.running() as server:

        def commits() -> int:
            made: Any = server.execute("SELECT xact_commit FROM pg_stat_database WHERE datname = 'postgres'")
            return int(made)

        asyncio.run(entries(server.url(), commits))
        DBOS.migrate(server.url())
        asyncio.run(steps(server.url(), commits))


if __name__ == "__main__":
    main()
