"""Endpoints that fail, limits of a queue, and other versions: what a run waits for."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import anyio
import pytest
from scripted import Request, ScriptedServer, error

from agentkit import tool
from agentkit.errors import JournalError

pytest.importorskip("dbos", reason="DBOS is not installed", exc_type=ImportError)

from durable_runs import Serving, agent_at, answer, looks_often, serving, until

from agentkit.integrations.durable import Queue, worker
from agentkit.integrations.durable.engine import Engine

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

may_end = threading.Event()


@pytest.fixture
def anyio_backend() -> str:
    """Workers have no other."""
    return "asyncio"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    looks_often(monkeypatch)
    may_end.clear()
    return str(tmp_path / "runs.db")


@tool
def wait() -> str:
    """Waits until it may end."""
    may_end.wait(20)
    return "waited"


@pytest.mark.parametrize("failures", [2, 4])
async def test_an_endpoint_that_fails_for_a_while(
    place: str, queue: Queue, failures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run is tried again later, until it has been tried often enough; who waits for its end sees only that."""
    monkeypatch.setattr(worker, "_FIRST_PAUSE", 0.3)
    monkeypatch.setattr(worker, "MOST_FAILURES", 3)
    left = [failures]

    def script(request: Request) -> object:
        left[0] -= 1
        return error(500, "api_error", "down") if left[0] >= 0 else answer(request)

    unreachable = [JournalError("the database is away")]
    put = Engine.enqueue

    def enqueue(self: Engine, *args: Any, failures: int = 0, **options: Any) -> None:
        if failures and unreachable:
            raise unreachable.pop()
        put(self, *args, failures=failures, **options)

    monkeypatch.setattr(Engine, "enqueue", enqueue)
    with ScriptedServer(script) as server:
        async with agent_at(server.url, place, attempts=1) as agent, serving(agent) as made:
            run_id = await queue.submit("Heard?")
            row = await queue.ended(run_id)
    tries = made.of("will_try")
    assert [run for run, _ in tries] == [run_id] * 2
    assert str(tries[0][1]).startswith("in 0 seconds: down (HTTP 500")
    assert row.state == ("end_turn" if failures == 2 else "error")
    assert made.of("waits") == [(run_id, "the database is away")]
    assert made.worker.ended == {row.state: 1}


async def test_what_fails_between_replies_is_no_failure_in_a_row(
    place: str, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_FIRST_PAUSE", 0.1)
    monkeypatch.setattr(worker, "MOST_FAILURES", 2)
    fails = iter([True, False, True, False])
    with ScriptedServer(lambda it: error(500, "api_error", "down") if next(fails) else answer(it)) as server:
        async with agent_at(server.url, place, wait, attempts=1) as agent, serving(agent) as made:
            may_end.set()
            row = await queue.ended(await queue.submit("Wait."))
    assert (row.state, len(made.of("will_try"))) == ("end_turn", 2)


async def test_an_endpoint_that_refuses_for_good(place: str, queue: Queue) -> None:
    with ScriptedServer(lambda _: error(401, "authentication_error", "no such key")) as server:
        async with agent_at(server.url, place) as agent, serving(agent) as made:
            run_id = await queue.submit("Heard?")
            row = await queue.ended(run_id)
    assert row.state == "error"
    assert "no such key" in str(row.detail)
    assert made.of("will_try") == []
    assert len(server.requests) == 1


async def test_no_more_runs_at_a_time_than_were_asked_for(place: str, queue: Queue, url: str) -> None:
    async with agent_at(url, place, wait) as agent, serving(agent, concurrency=2) as made:
        ids = [await queue.submit("Wait.") for _ in range(5)]
        most = 0
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_let_two_end, made)
            for run_id in ids:
                while queue.journal.run(run_id).state in ("queued", "running"):
                    most = max(most, made.worker.running)
                    await anyio.sleep(0.02)
    assert most == 2


async def _let_two_end(made: Serving) -> None:
    await until(lambda: made.worker.running >= 2)
    await anyio.sleep(0.5)  # in which a third one could begin
    may_end.set()


async def test_a_rate_of_runs(place: str, queue: Queue, url: str) -> None:
    async with agent_at(url, place) as agent, serving(agent, rate=(2, 1.5)) as made:
        ids = [await queue.submit("Heard?") for _ in range(5)]
        for run_id in ids:
            await queue.ended(run_id)
        jobs = sorted(job.since for job in queue.engine.jobs_of(ids))
    assert len(made.of("began")) == 5
    for earlier, later in zip(jobs, jobs[2:], strict=False):
        assert later - earlier > 1.3


async def test_runs_of_another_version_wait_and_the_worker_says_so(
    place: str, queue: Queue, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("agentkit.integrations.durable.engine.LOG_VERSION", "log 99")
        newer = await queue.submit("Newer?")
    async with agent_at(url, place) as agent, serving(agent) as made:
        ours = await queue.submit("Ours?")
        assert (await queue.ended(ours)).state == "end_turn"
        assert made.of("serving") == [(None, "1 runs wait for a worker that reads log 99; this one reads log 1")]
    assert [job.status for job in queue.engine.jobs_of({newer})] == ["ENQUEUED"]
    assert queue.journal.run(newer).state == "queued"
    assert [job.version for job in queue.jobs()] == ["log 99"]
