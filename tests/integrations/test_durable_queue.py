"""`Queue`: what is submitted, decided and cancelled, with no worker there."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from agentkit import Journal, allow
from agentkit.errors import ConfigurationError, JournalError, RunBusy
from agentkit.lease import Lease

pytest.importorskip("dbos", reason="DBOS is not installed", exc_type=ImportError)

from durable_runs import emptied, open_queue, rows_of_the_engine

from agentkit.integrations.durable import Queue
from agentkit.integrations.durable.engine import LOG_VERSION, Engine, engine_url

if TYPE_CHECKING:
    from postgres_server import PostgresServer


@pytest.fixture(scope="module")
def shared(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Queue]:
    """A queue in a file, which each test has for itself by the names of its runs."""
    with open_queue(str(tmp_path_factory.mktemp("queue") / "runs.db"), "unserved") as queue:
        yield queue


def jobs(queue: Queue, *run_ids: str) -> dict[str, str]:
    return {job.job_id: job.status for job in queue.engine.jobs_of(run_ids)}


@pytest.mark.anyio
async def test_what_is_submitted_is_stored_and_on_the_queue(shared: Queue) -> None:
    run_id = await shared.submit("Who maintains CPython?")
    row = shared.journal.run(run_id)
    assert (row.state, row.detail, row.epoch, row.holder) == ("queued", "unserved", 1, None)
    assert row.title == "Who maintains CPython?"
    (job,) = [job for job in shared.jobs() if job.run_id == run_id]
    assert job == replace(job, job_id=f"{run_id}-1", epoch=1, queue="unserved", status="ENQUEUED", version=LOG_VERSION)
    assert (job.worker, job.since) == (None, 0)


@pytest.mark.anyio
async def test_what_nobody_serves_stays_on_the_queue(shared: Queue) -> None:
    run_id = await shared.submit("Anybody?")
    with anyio.move_on_after(0.6) as waited:
        await shared.ended(run_id)
    assert waited.cancelled_caught
    assert jobs(shared, run_id) == {f"{run_id}-1": "ENQUEUED"}


@pytest.mark.anyio
async def test_one_name_is_one_run_however_often_it_is_submitted(shared: Queue) -> None:
    for _ in range(2):
        assert await shared.submit("Once?", run_id="once") == "once"
    with pytest.raises(ConfigurationError, match="another question"):
        await shared.submit("Twice?", run_id="once")
    assert jobs(shared, "once") == {"once-1": "ENQUEUED"}
    assert shared.journal.run("once").epoch == 1


@pytest.mark.anyio
async def test_who_submits_the_same_at_the_same_time_has_one_run(shared: Queue) -> None:
    """One of them finds the run there when it wants to store it."""
    async with anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(lambda: shared.submit("Same?", run_id="same"))
    assert jobs(shared, "same") == {"same-1": "ENQUEUED"}
    assert shared.journal.run("same").state == "queued"


@pytest.mark.anyio
async def test_what_its_submitter_died_over_is_submitted_by_the_next_one(
    shared: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One died when the run was claimed, and not yet left for the queue; another one when it was on no queue yet."""

    def dies(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    for owner, name, question in ((Lease, "leave", "Claimed?"), (Engine, "enqueue", "Stored?")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, dies)
            with pytest.raises(KeyboardInterrupt):
                await anyio.to_thread.run_sync(shared._submit, question, question, None, 0.0)
    shared.journal._clock = lambda: time.time() + 60  # type: ignore[method-assign]
    try:
        for name in ("Claimed?", "Stored?"):
            await shared.submit(name, run_id=name)
    finally:
        shared.journal._clock = time.time  # type: ignore[method-assign]
    assert jobs(shared, "Claimed?", "Stored?") == {"Stored?-1": "ENQUEUED", "Claimed?-2": "ENQUEUED"}


@pytest.mark.anyio
async def test_a_session_goes_on_when_its_run_has_ended(shared: Queue) -> None:
    first = await shared.submit("One?", session="ada")
    with pytest.raises(RunBusy, match=f"'ada' has a run that has not ended \\({first}\\): wait for it, or cancel it"):
        await shared.submit("Two?", session="ada")
    await shared.cancel(first)
    second = await shared.submit("Two?", session="ada")
    assert shared.journal.run(second).parent == first
    assert shared.journal.load(first).entries == shared.journal.load(second).entries[:-1]


@pytest.mark.anyio
async def test_two_questions_in_one_session_at_a_time_are_not_both_taken(shared: Queue) -> None:
    taken: list[str] = []

    async def submit(question: str) -> None:
        try:
            taken.append(await shared.submit(question, session="grace"))
        except RunBusy:
            taken.append("")

    async with anyio.create_task_group() as tasks:
        for question in ("One?", "Two?", "Three?"):
            tasks.start_soon(submit, question)
    assert len([run_id for run_id in taken if run_id]) == 1


@pytest.mark.anyio
async def test_a_delayed_run_waits(shared: Queue) -> None:
    run_id = await shared.submit("Later?", delay=3600)
    assert jobs(shared, run_id) == {f"{run_id}-1": "DELAYED"}
    assert shared.journal.run(run_id).state == "queued"


@pytest.mark.anyio
async def test_cancelling_what_is_queued_ends_it_at_once(shared: Queue) -> None:
    run_id = await shared.submit("Never mind.")
    await shared.cancel(run_id)
    assert (await shared.ended(run_id)).state == "cancelled"
    assert jobs(shared, run_id) == {f"{run_id}-1": "CANCELLED"}
    with pytest.raises(ConfigurationError, match=r"has ended \(cancelled\)"):
        await shared.cancel(run_id)
    with pytest.raises(ConfigurationError, match="there is no run 'nobody'"):
        await shared.cancel("nobody")


@pytest.mark.anyio
async def test_what_is_cancelled_in_the_journal_alone_has_ended(shared: Queue) -> None:
    """As `agentkit runs cancel` does it. The job ends when a worker looks at it."""
    run_id = await shared.submit("Never mind.", delay=3600)
    shared.journal.cancel(run_id)
    with anyio.fail_after(5):
        assert (await shared.ended(run_id)).state == "cancelled"
    assert jobs(shared, run_id) == {f"{run_id}-1": "DELAYED"}


@pytest.mark.anyio
async def test_what_its_worker_gives_back_at_that_moment_has_not_ended(
    shared: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = await shared.submit("Anybody?")
    shared.journal.cancel(run_id)

    def gives_back(*given: Any) -> list[Any]:
        monkeypatch.undo()
        transcript = shared.journal.load(run_id)
        transcript.begin(run_id, None, asks=transcript.asked)
        shared.journal.enqueue(transcript, "unserved")
        return []

    monkeypatch.setattr(shared.engine, "jobs_of", gives_back)
    with anyio.move_on_after(0.6) as waited:
        await shared.ended(run_id)
    assert waited.cancelled_caught
    assert shared.journal.run(run_id).state == "queued"


@pytest.mark.anyio
async def test_a_run_whose_name_begins_as_anothers_is_another_one(shared: Queue) -> None:
    for run_id in ("order", "order-7", "order%", "order_"):
        await shared.submit(run_id, run_id=run_id)
    await shared.cancel("order")
    await shared.cancel("order_")
    assert jobs(shared, "order", "order-7", "order%", "order_") == {
        "order-1": "CANCELLED",
        "order-7-1": "ENQUEUED",
        "order%-1": "ENQUEUED",
        "order_-1": "CANCELLED",
    }


@pytest.mark.anyio
async def test_what_is_queued_or_unknown_can_not_go_on(shared: Queue) -> None:
    run_id = await shared.submit("On the queue.")
    with pytest.raises(RunBusy, match="has not come to rest: it is on a queue"):
        await shared.go_on(run_id)
    with pytest.raises(ConfigurationError, match="there is no run 'nobody'"):
        await shared.go_on("nobody")


@pytest.mark.anyio
async def test_a_decision_on_no_held_call_changes_nothing(shared: Queue) -> None:
    run_id = await shared.submit("Over.")
    await shared.cancel(run_id)
    before = shared.journal.run(run_id)
    with pytest.raises(ConfigurationError, match="no call 'toolu_x' waits for a decision"):
        await shared.go_on(run_id, {"toolu_x": allow()})
    assert shared.journal.run(run_id) == before


def test_a_name_or_a_place_that_can_not_be(tmp_path: Path) -> None:
    for name in ("", "_dbos_internal_queue"):
        with pytest.raises(ConfigurationError, match="a queue can't be named"):
            Queue(name, tmp_path / "runs.db")
    with pytest.raises(ConfigurationError, match="a queue needs a journal that is a database"):
        engine_url("")


def test_where_the_engine_keeps_its_tables() -> None:
    assert engine_url("runs.db") == "sqlite:///runs.db.queue"
    url = engine_url("postgresql://u:p%40ss@db:5432/agents?connect_timeout=2&sslmode=require")
    assert url.startswith("postgresql://u:p%40ss@db:5432/agents?")
    query = set(url.partition("?")[2].split("&"))
    assert {"application_name=agentkit", "connect_timeout=2", "sslmode=require", "tcp_user_timeout=10000"} < query
    for place in ("postgresql://u:pass-word@one:5432,two:5432/agents", "postgresql://u:pass-word@one:port/agents"):
        with pytest.raises(ConfigurationError, match="a queue can't read the URL of its journal: write") as caught:
            engine_url(place)
        assert "pass-word" not in str(caught.value)
        assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_closing_a_queue_leaves_a_journal_open_that_was_given(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "runs.db")
    queue = Queue("research", journal)
    queue.close()
    assert journal.runs() == []
    journal.close()


def test_a_database_that_is_not_there_is_told_without_its_password() -> None:
    url = "postgresql://agents:pass-word@127.0.0.1:1/agents"
    with pytest.raises((JournalError, ConfigurationError)) as caught:
        Queue("research", url)
    assert "127.0.0.1" in str(caught.value)
    assert "pass-word" not in str(caught.value)


def test_without_dbos_the_error_names_what_to_install() -> None:
    code = """
import sys
sys.modules["dbos"] = None
try:
    import agentkit.integrations.durable
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "queues and workers need DBOS: pip install 'agentkit-loop[dbos]'\n"


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
async def test_a_queue_in_postgresql(
    postgres: PostgresServer, database: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = emptied(postgres, database).replace("postgresql:", f"{scheme}:").replace("pass-word", "p%40ss%2Fw%25rd")
    with open_queue(place) as queue, open_queue(place) as elsewhere:
        run_id = await queue.submit("Secret question?", session="ada", run_id="order_7")
        assert [job.run_id for job in elsewhere.jobs()] == [run_id]
        async with anyio.create_task_group() as tasks:
            for one in (queue, elsewhere, queue, elsewhere):
                tasks.start_soon(lambda one=one: one.submit("Same?", run_id="same"))  # type: ignore[misc]
        assert jobs(queue, "same") == {"same-1": "ENQUEUED"}
        await elsewhere.cancel("same")
        assert (await queue.ended("same")).state == "cancelled"
        found = rows_of_the_engine(postgres)
        assert "order_7" in found
        for secret in ("Secret question", "pass-word", "p@ss/w%rd", "p%40ss"):
            assert secret not in found
