"""Workers begin what is scheduled: one run at each time, also where one is killed over it or the database is away."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from agentkit import tool
from agentkit.rules import check_history

pytest.importorskip("dbos", reason="DBOS is not installed", exc_type=ImportError)

from durable_runs import agent_at, emptied, looks_often, rows_of_the_engine, serving, until

from agentkit.integrations.durable import Queue, clock, reaper, schedules
from agentkit.integrations.postgres import connections

if TYPE_CHECKING:
    from postgres_server import PostgresServer

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

# The clock of a worker, which looks when it may, and whose process dies when it has come so far.
CLOCK = """
import os, signal, sys, time
import anyio
from agentkit.integrations.durable import Queue
from agentkit.integrations.durable.clock import Clock
from agentkit.integrations.durable.engine import Engine
from agentkit.lease import Lease

place, go, dies = sys.argv[1:]

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

if dies == "claimed":
    Lease.leave = die
if dies == "stored":
    Engine.enqueue = die
queue = Queue("research", place)
clock = Clock(queue.engine, queue.journal, queue.name, print)
print("there", flush=True)
while not os.path.exists(go):
    time.sleep(0.001)
for _ in range(5):
    anyio.run(clock.look)
if dies == "queued":
    die()
os._exit(0)
"""


@contextmanager
def clock_process(place: str, go: Path, dies: str = "no") -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", CLOCK, place, str(go), dies]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "there\n", process.stderr and process.stderr.read()
            yield process
        finally:
            process.kill()


@pytest.fixture
def anyio_backend() -> str:
    """Workers have no other."""
    return "asyncio"


@pytest.fixture(params=["postgresql", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    looks_often(monkeypatch)
    monkeypatch.setattr(clock, "_LOOKS_EVERY", 0.2)
    monkeypatch.setattr(reaper, "_LOOKS_EVERY", 0.3)
    if request.param == "sqlite":
        return str(tmp_path / "runs.db")
    return emptied(request.getfixturevalue("postgres"), request.getfixturevalue("database"))


async def came(queue: Queue, question: str, *, session: str | None = None) -> str:
    """Schedules a question for a time of today's that has just passed; the id of its run."""
    now = datetime.now(UTC)
    when = now - timedelta(minutes=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schedules, "_now", lambda: time.time() - 3600)
        await queue.schedule("daily", f"{when.minute} {when.hour} * * *", question, session=session)
    return f"daily-{when:%Y-%m-%dT%H%MZ}"


def runs(queue: Queue) -> dict[str, str]:
    return {row.run_id: row.state for row in queue.journal.runs(1000) if row.run_id.startswith("daily-")}


async def test_the_clocks_of_many_workers_begin_one_run(
    place: str, queue: Queue, url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run_id = await came(queue, "Secret-question?", session="Secret-session")
    go = tmp_path / "go"
    with ExitStack() as stack:
        processes = [stack.enter_context(clock_process(place, go)) for _ in range(3)]
        go.touch()
        done = [process.communicate(timeout=20) for process in processes]
    assert (done, [process.returncode for process in processes]) == ([("", "")] * 3, [0] * 3)
    assert runs(queue) == {run_id: "queued"}
    async with agent_at(url, place) as agent, serving(agent):
        row = await queue.ended(run_id)
    assert (row.state, row.detail, row.session, row.title) == ("end_turn", None, "Secret-session", "Secret-question?")
    assert len(queue.journal.load(run_id).messages()) == 2
    assert runs(queue) == {run_id: "end_turn"}
    assert [job.job_id for job in queue.engine.jobs()] == [f"{run_id}-1"]
    if place.startswith("postgresql"):
        found = rows_of_the_engine(request.getfixturevalue("postgres"))
        assert run_id in found
        assert "Secret" not in found


@pytest.mark.parametrize("dies", ["claimed", "stored", "queued"])
async def test_a_worker_is_killed_over_a_time(place: str, queue: Queue, url: str, tmp_path: Path, dies: str) -> None:
    run_id = await came(queue, "Well?", session="ada")
    with clock_process(place, tmp_path, dies) as process:
        assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == -signal.SIGKILL
    state = "running" if dies == "claimed" else "queued"
    assert (runs(queue), len(queue.jobs())) == ({run_id: state}, 1 if dies == "queued" else 0)
    async with agent_at(url, place) as agent, serving(agent):
        await until(lambda: queue.journal.run(run_id).state == "end_turn", 10)
    assert check_history(queue.journal.load(run_id).messages()) == []
    assert runs(queue) == {run_id: "end_turn"}


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
async def test_the_database_is_away_when_the_time_comes(
    place: str, queue: Queue, url: str, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_PATIENCE", 0.5)
    monkeypatch.setattr(schedules, "_now", lambda: time.time() - 3600)  # before it
    run_id = await came(queue, "Well?")
    async with agent_at(url, place) as agent, serving(agent):
        postgres.stop("immediate")
        try:
            monkeypatch.setattr(schedules, "_now", time.time)
            await anyio.sleep(1)
        finally:
            postgres.start()
        await until(lambda: queue.journal.has(run_id), 20)
        assert (await queue.ended(run_id)).state == "end_turn"
    assert runs(queue) == {run_id: "end_turn"}


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
async def test_a_worker_tells_what_it_skips(place: str, queue: Queue, url: str) -> None:
    may_end = threading.Event()

    @tool
    def wait() -> str:
        """Waits until it may end."""
        may_end.wait(40)
        return "waited"

    async with agent_at(url, place, wait) as agent, serving(agent) as made:
        slow = await queue.submit("Wait.", session="ada")
        await until(lambda: queue.journal.run(slow).state == "running")
        run_id = await came(queue, "Well?", session="ada")
        await until(lambda: made.of("skipped"))
        may_end.set()
        assert (await queue.ended(slow)).state == "end_turn"
    assert made.of("skipped") == [(run_id, f"session 'ada' has a run that has not ended ({slow})")]
    assert made.of("began") == [(slow, None)]
    assert runs(queue) == {run_id: "skipped"}
