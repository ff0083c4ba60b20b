"""What the death of a worker, a submitter or a canceller leaves is found, and gone on with once."""

from __future__ import annotations

import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from agentkit import tool
from agentkit.journal import GOES_ON
from agentkit.lease import new_holder
from agentkit.loop import begin
from agentkit.rules import check_history
from agentkit.transcript import Transcript

pytest.importorskip("dbos", reason="DBOS is not installed", exc_type=ImportError)

from durable_runs import agent_at, emptied, looks_often, open_queue, serving, until, worker_process

from agentkit.integrations.durable import Queue, reaper, worker
from agentkit.integrations.durable.reaper import Reaper

if TYPE_CHECKING:
    from postgres_server import PostgresServer

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

DEAD = "another-machine:1:dead"
paid: list[str] = []


@pytest.fixture
def anyio_backend() -> str:
    """Workers have no other."""
    return "asyncio"


@pytest.fixture
def place(postgres: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    looks_often(monkeypatch)
    monkeypatch.setattr(reaper, "_LOOKS_EVERY", 0.3)
    paid.clear()
    return emptied(postgres, database)


@tool
def pay() -> str:
    """Pays."""
    paid.append("paid")
    return "paid"


def jobs(queue: Queue, run_id: str) -> list[tuple[str, str]]:
    return [(job.job_id.removeprefix(run_id), job.status) for job in queue.engine.jobs_of({run_id})]


def taken(postgres: PostgresServer, run_id: str, *, seconds_ago: float = 60.0) -> None:
    """The job is with a worker that is gone, on another machine."""
    postgres.execute(
        "UPDATE dbos.workflow_status SET status = 'PENDING', executor_id = %s, started_at_epoch_ms = %s"
        " WHERE workflow_uuid LIKE %s",
        DEAD,
        int((time.time() - seconds_ago) * 1000),
        f"{run_id}-%",
    )


def begun(queue: Queue, run_id: str, *, lease: float) -> None:
    """The run is with a holder that is gone, and free after some seconds."""
    transcript = queue.journal.load(run_id)
    begin(transcript, run_id, None, asks=transcript.asked)
    taken_up = queue.journal._take_up(transcript, new_holder())
    row = replace(taken_up._row, holder=DEAD, expires=time.time() + lease)
    queue.journal._store.append(replace(row, length=len(transcript.entries)), [], durable=True)


def watching(queue: Queue, took: list[str]) -> Reaper:
    return Reaper(queue.engine, queue.journal, "research", lambda _: False, lambda run_id, _: took.append(run_id))


async def test_a_run_of_a_dead_worker_goes_on_when_its_lease_is_over(
    place: str, queue: Queue, url: str, postgres: PostgresServer
) -> None:
    run_id = await queue.submit("Pay.")
    taken(postgres, run_id, seconds_ago=1)
    begun(queue, run_id, lease=60)
    async with agent_at(url, place, pay) as agent, serving(agent) as made:
        await anyio.sleep(1)
        assert (queue.journal.run(run_id).state, made.of("began")) == ("running", [])
        postgres.execute("UPDATE agentkit.runs SET expires = 0 WHERE run_id = %s", run_id)
        assert (await queue.ended(run_id)).state == "end_turn"
        assert made.of("taken_over") == [(run_id, f"from {DEAD}")]
        assert made.worker.taken_over == 1
    assert paid == ["paid"]
    assert jobs(queue, run_id) == [("-1", "SUCCESS")]
    assert check_history(queue.journal.load(run_id).messages()) == []


@pytest.mark.parametrize("state", ["queued", "end_turn"])
async def test_a_worker_that_died_before_it_began_or_before_it_said_so(
    place: str, queue: Queue, url: str, postgres: PostgresServer, state: str
) -> None:
    run_id = await queue.submit("Pay.")
    if state == "end_turn":
        async with agent_at(url, place, pay) as agent, serving(agent):
            await queue.ended(run_id)
    taken(postgres, run_id)
    async with agent_at(url, place, pay) as agent, serving(agent) as made:
        assert (await queue.ended(run_id)).state == "end_turn"
        await until(lambda: jobs(queue, run_id) == [("-1", "SUCCESS")])
        assert made.worker.taken_over == 1
    assert queue.journal.run(run_id).epoch == 2
    assert paid == ["paid"]


async def test_a_job_that_a_worker_has_just_taken_is_not_taken_from_it(queue: Queue, postgres: PostgresServer) -> None:
    run_id = await queue.submit("Pay.")
    taken(postgres, run_id, seconds_ago=5)
    assert watching(queue, []).look() == []
    taken(postgres, run_id, seconds_ago=25)
    assert [job.run_id for job in watching(queue, []).look()] == [run_id]
    assert jobs(queue, run_id) == [("-1", "ENQUEUED")]


async def test_a_worker_that_has_other_runs_may_take_long_to_begin_one(queue: Queue, postgres: PostgresServer) -> None:
    """It waits for its turn, perhaps. Other processes of that machine say nothing of it."""
    waits, goes_on = await queue.submit("Pay."), await queue.submit("Pay.")
    taken(postgres, waits, seconds_ago=60)
    taken(postgres, goes_on, seconds_ago=60)
    begun(queue, goes_on, lease=60)
    postgres.execute("UPDATE agentkit.runs SET holder = 'another-machine:1:other' WHERE run_id = %s", goes_on)
    assert watching(queue, []).look() == []
    taken(postgres, waits, seconds_ago=700)
    assert [job.run_id for job in watching(queue, []).look()] == [waits]
    taken(postgres, waits, seconds_ago=60)
    postgres.execute("UPDATE agentkit.runs SET holder = 'another-machine:2:other' WHERE run_id = %s", goes_on)
    assert [job.run_id for job in watching(queue, []).look()] == [waits]


async def test_two_reapers_at_once_take_a_run_over_once(
    place: str, queue: Queue, url: str, postgres: PostgresServer
) -> None:
    ids = [await queue.submit("Pay.") for _ in range(10)]
    for run_id in ids:
        taken(postgres, run_id)
        begun(queue, run_id, lease=-1)
    with open_queue(place) as elsewhere:
        reapers = [watching(each, []) for each in (queue, elsewhere, queue, elsewhere)]
        async with anyio.create_task_group() as tasks:
            for each in reapers:
                tasks.start_soon(anyio.to_thread.run_sync, each.look)
    async with agent_at(url, place, pay) as agent, serving(agent):
        for run_id in ids:
            assert (await queue.ended(run_id)).state == "end_turn"
    assert len(paid) == 10
    for run_id in ids:
        assert queue.journal.run(run_id).epoch == 3
        assert jobs(queue, run_id) == [("-1", "SUCCESS")]


async def test_what_a_dead_submitter_had_stored_is_put_on_the_queue(
    place: str, queue: Queue, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "_AT_QUEUED", 1)
    transcript = Transcript()
    begin(transcript, "left", "Pay.")
    queue.journal.enqueue(transcript, "research")
    other = Transcript()
    begin(other, "others", "Pay.")
    queue.journal.enqueue(other, "development")
    watching(queue, []).look()
    assert jobs(queue, "left") == []  # its submitter may be just about it
    monkeypatch.setattr(reaper, "LEASE_SECONDS", 0.5)
    async with agent_at(url, place, pay) as agent, serving(agent):
        assert (await queue.ended("left")).state == "end_turn"
    assert paid == ["paid"]
    assert jobs(queue, "others") == []


@pytest.mark.parametrize("has_begun", [False, True])
async def test_what_was_cancelled_is_cancelled_though_who_was_to_do_it_died(
    queue: Queue, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, has_begun: bool
) -> None:
    """The canceller before it could say it of the run, or the worker before it could look."""
    monkeypatch.setattr(reaper, "LEASE_SECONDS", -1)
    run_id = await queue.submit("Pay.")
    if has_begun:
        taken(postgres, run_id)
        begun(queue, run_id, lease=-1)
    queue.engine.cancel(queue.engine.jobs_of({run_id}))
    watching(queue, []).look()
    with anyio.fail_after(5):
        assert (await queue.ended(run_id)).state == "cancelled"
    assert jobs(queue, run_id) == [("-1", "CANCELLED")]


async def test_a_run_without_a_job_gets_one(place: str, queue: Queue, url: str, postgres: PostgresServer) -> None:
    """Its worker left it to another holder, as it must, and that one died."""
    run_id = await queue.submit("Pay.")
    begun(queue, run_id, lease=-1)
    postgres.execute("UPDATE dbos.workflow_status SET status = 'SUCCESS' WHERE workflow_uuid LIKE %s", f"{run_id}-%")
    async with agent_at(url, place, pay) as agent, serving(agent):
        assert (await queue.ended(run_id)).state == "end_turn"
    assert jobs(queue, run_id) == [("-1", "SUCCESS"), ("-2", "SUCCESS")]


async def test_one_damaged_run_does_not_keep_others_from_being_found(queue: Queue, postgres: PostgresServer) -> None:
    first, second = [await queue.submit("Pay.") for _ in range(2)]
    for run_id in (first, second):
        taken(postgres, run_id)
        begun(queue, run_id, lease=-1)
    queue.engine.cancel(queue.engine.jobs_of({second}))
    postgres.execute("UPDATE agentkit.entries SET entry = '{}' WHERE run_id = %s", second)
    assert [job.run_id for job in watching(queue, []).look()] == [first]


async def test_a_job_whose_run_is_gone_stops_no_reaper(queue: Queue, postgres: PostgresServer) -> None:
    queue.engine.enqueue("research", "nobody", 1)
    taken(postgres, "nobody")
    assert [job.run_id for job in watching(queue, []).look()] == ["nobody"]


async def test_a_job_that_its_own_worker_has_is_not_taken_over(queue: Queue, postgres: PostgresServer) -> None:
    """An outage of the database has cut it off there, and it goes on as soon as it can."""
    run_id = await queue.submit("Pay.")
    taken(postgres, run_id)
    begun(queue, run_id, lease=-1)
    sees_to = [f"{run_id}-1"].__contains__
    assert Reaper(queue.engine, queue.journal, "research", sees_to, lambda *_: None).look() == []
    assert [job.run_id for job in watching(queue, []).look()] == [run_id]


async def test_live_runs_of_this_machine_do_not_hide_dead_ones(
    queue: Queue, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read first, being written all the time."""
    monkeypatch.setattr(reaper, "_MOST", 2)
    dead = await queue.submit("Pay.")
    taken(postgres, dead)
    begun(queue, dead, lease=-1)
    for _ in range(3):
        transcript = queue.journal.load(await queue.submit("Pay."))
        await queue.journal.take_up(transcript)
    assert [job.run_id for job in watching(queue, [])._look_at_runs()] == [dead]


async def test_a_run_that_kills_its_workers_is_given_up(
    place: str, queue: Queue, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "MOST_DEATHS", 2)
    marks = tmp_path / "marks"
    run_id = await queue.submit("Die.")
    with worker_process(place, url, marks) as first:
        await anyio.to_thread.run_sync(first.wait)
    assert first.returncode == -signal.SIGKILL
    with worker_process(place, url, marks) as second:
        await anyio.to_thread.run_sync(second.wait)
    assert second.returncode == -signal.SIGKILL
    async with agent_at(url, place) as agent, serving(agent) as made:
        row = await queue.ended(run_id)
    assert (row.state, row.detail) == ("error", "given up: 2 workers have died with it")
    assert made.worker.ended == {"error": 1}
    assert marks.read_text().count("died") == 2
    assert check_history(queue.journal.load(run_id).messages()) == []


async def test_a_run_that_kills_its_workers_takes_no_other_with_it(
    place: str, queue: Queue, url: str, tmp_path: Path
) -> None:
    """The other one never has the time to end beside it, so from the third time on each goes on alone."""
    ids = [await queue.submit(question) for question in ("Die.", "Slow.", "Slow.")]
    for _ in range(6):
        with worker_process(place, url, tmp_path / "marks", MOST_DEATHS="3") as process:
            await until(lambda p=process: p.poll() is not None or not _going_on(queue, ids))  # type: ignore[misc]
        if not _going_on(queue, ids):
            break
    assert [queue.journal.run(run_id).state for run_id in ids] == ["error", "end_turn", "end_turn"]


def _going_on(queue: Queue, ids: list[str]) -> list[str]:
    return [run_id for run_id in ids if queue.journal.run(run_id).state in GOES_ON]


async def test_a_worker_waits_for_who_has_the_run_and_lets_it_be(place: str, queue: Queue, url: str) -> None:
    """Somebody resumes it by hand, on another machine; a stop does not wait for that."""
    run_id = await queue.submit("Pay.")
    begun(queue, run_id, lease=60)
    async with agent_at(url, place, pay) as agent:
        since = anyio.current_time()
        async with serving(agent):
            await until(lambda: jobs(queue, run_id) == [("-1", "PENDING")])
            await anyio.sleep(0.5)
        assert anyio.current_time() - since < 20  # the engine would wait for it for 35
    assert queue.journal.run(run_id).holder == DEAD
    assert paid == []
