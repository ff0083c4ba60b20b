"""Workers that are stopped, cancelled or refused, and endpoints that fail: the runs are for others, or for later."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentkit import tool
from agentkit.errors import ConfigurationError
from agentkit.rules import check_history

pytest.importorskip("dbos", reason="DBOS is not installed", exc_type=ImportError)

from durable_runs import agent_at, looks_often, serving, until, worker_process

from agentkit.integrations.durable import Queue, Worker, worker

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

waited: list[float] = []
began, may_end = threading.Event(), threading.Event()


@pytest.fixture
def anyio_backend() -> str:
    """Workers have no other."""
    return "asyncio"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    looks_often(monkeypatch)
    waited.clear()
    began.clear()
    may_end.clear()
    return str(tmp_path / "runs.db")


@tool
def wait() -> str:
    """Waits until it may end."""
    waited.append(time.monotonic())
    began.set()
    may_end.wait(20)
    return "waited"


@tool
async def sleep() -> str:
    """Sleeps for long."""
    waited.append(time.monotonic())
    began.set()
    await anyio.sleep(60)
    return "slept"


def said(queue: Queue, run_id: str) -> str:
    messages = queue.journal.load(run_id).messages()
    assert check_history(messages) == []
    return str(messages)


def jobs(queue: Queue, run_id: str) -> list[tuple[str, str]]:
    return [(job.job_id.removeprefix(run_id), job.status) for job in queue.engine.jobs_of({run_id})]


async def test_a_call_that_runs_ends_and_another_worker_goes_on(place: str, queue: Queue, url: str) -> None:
    async with agent_at(url, place, wait) as agent:
        async with serving(agent) as first:
            run_id = await queue.submit("Wait.")
            await until(began.is_set)
            first.worker.stop()
            await until(lambda: first.of("draining"))
            assert first.of("draining") == [(None, "1 runs")]
            await anyio.sleep(0.3)
            assert first.worker.running == 1
            may_end.set()
        assert (queue.journal.run(run_id).state, jobs(queue, run_id)) == (
            "queued",
            [("-1", "SUCCESS"), ("-3", "ENQUEUED")],
        )
        assert first.worker.ended == {}
        assert first.told[-1].what == "stopped"
        async with serving(agent):
            assert (await queue.ended(run_id)).state == "end_turn"
    assert len(waited) == 1
    assert "waited" in said(queue, run_id)


async def test_a_call_that_outlasts_the_grace_is_cut_off_and_said_so(
    place: str, queue: Queue, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_LAST_GRACE", 60.0)  # which nothing needs
    async with agent_at(url, place, sleep) as agent:
        async with serving(agent, grace=0.3) as first:
            run_id = await queue.submit("Sleep.")
            await until(began.is_set)
            since = anyio.current_time()
            first.worker.stop()
        assert anyio.current_time() - since < 20
        assert queue.journal.run(run_id).state == "queued"
        async with serving(agent):
            assert (await queue.ended(run_id)).state == "end_turn"
    assert len(waited) == 1
    assert "The outcome is unknown: it may or may not have taken effect." in said(queue, run_id)


async def test_what_waits_on_the_queue_at_a_stop_is_not_passed_around(place: str, queue: Queue, url: str) -> None:
    async with agent_at(url, place, wait) as agent:
        async with serving(agent, concurrency=2) as made:
            ids = [await queue.submit("Wait.") for _ in range(20)]
            await until(lambda: len(waited) == 2)
            made.worker.stop()
            await anyio.sleep(1)
            may_end.set()
        assert {queue.journal.run(run_id).state for run_id in ids} == {"queued"}
        began_runs = {run_id for run_id, _ in made.of("began")}
        assert len(began_runs) == 2
        for run_id in ids:
            untouched = run_id not in began_runs
            assert queue.journal.run(run_id).epoch <= (2 if untouched else 3)
            assert [status for _, status in jobs(queue, run_id)].count("ENQUEUED") == 1
        async with serving(agent):
            for run_id in ids:
                assert (await queue.ended(run_id)).state == "end_turn"
    assert len(waited) == 20


async def test_a_run_that_is_cancelled_while_its_worker_stops_is_not_given_to_others(
    place: str, queue: Queue, url: str
) -> None:
    async with agent_at(url, place, wait) as agent, serving(agent) as made:
        run_id = await queue.submit("Wait.")
        await until(began.is_set)
        made.worker.stop()
        await until(lambda: made.of("draining"))
        await queue.cancel(run_id)
        may_end.set()
    assert (await queue.ended(run_id)).state == "cancelled"
    assert jobs(queue, run_id) == [("-1", "CANCELLED")]


async def test_a_run_that_is_read_while_its_worker_stops_does_not_begin(
    place: str, queue: Queue, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with agent_at(url, place, wait) as agent:
        stream = agent.stream

        def reads_long(*args: Any, **options: Any) -> Any:
            began.set()
            may_end.wait(20)
            return stream(*args, **options)

        monkeypatch.setattr(agent, "stream", reads_long)
        async with serving(agent, grace=60) as made:
            run_id = await queue.submit("Wait.")
            await until(began.is_set)
            made.worker.stop()
            await anyio.sleep(0.3)
            may_end.set()
        assert made.of("began") == []
    assert (queue.journal.run(run_id).state, waited) == ("queued", [])


async def test_who_is_cancelled_lets_its_runs_go(place: str, queue: Queue, url: str) -> None:
    async with agent_at(url, place, sleep) as agent:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Worker(agent, "research").run)
            run_id = await queue.submit("Sleep.")
            await until(began.is_set)
            tasks.cancel_scope.cancel()
        assert (queue.journal.run(run_id).state, jobs(queue, run_id)[-1]) == ("queued", ("-3", "ENQUEUED"))
        async with serving(agent):
            assert (await queue.ended(run_id)).state == "end_turn"


async def test_who_is_cancelled_while_it_starts_leaves_nothing(place: str, queue: Queue, url: str) -> None:
    before = asyncio.all_tasks()
    async with agent_at(url, place) as agent:
        for seconds in (0, 0.05, 0.2, 0.4, 0.6):
            with anyio.move_on_after(seconds) as cut:
                await Worker(agent, "research").run()
            assert cut.cancelled_caught
        run_id = await queue.submit("Heard?")
        async with serving(agent):
            assert (await queue.ended(run_id)).state == "end_turn"
    await until(lambda: asyncio.all_tasks() == before)


async def test_who_is_cancelled_while_it_drains_waits_no_longer(
    place: str, queue: Queue, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_LAST_GRACE", 60.0)  # which nothing needs
    async with agent_at(url, place, sleep) as agent:
        async with anyio.create_task_group() as tasks:
            made = Worker(agent, "research", grace=60)
            tasks.start_soon(made.run)
            run_id = await queue.submit("Sleep.")
            await until(began.is_set)
            made.stop()
            await anyio.sleep(0.3)
            since = anyio.current_time()
            tasks.cancel_scope.cancel()
        assert anyio.current_time() - since < 20
        assert queue.journal.run(run_id).state == "queued"


def test_an_event_loop_that_ends_leaves_the_runs_to_others(place: str, queue: Queue, url: str) -> None:
    """As a second Ctrl-C does it: all tasks are cancelled, and none is asked."""

    async def main() -> str:
        async with agent_at(url, place, sleep) as agent:
            made = Worker(agent, "research")
            serves = asyncio.create_task(made.run())
            run_id = await queue.submit("Sleep.")
            await until(began.is_set)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:  # type: ignore[arg-type]
                task.cancel()
            await asyncio.wait([serves])
            await until(lambda: not made.running)
            return run_id

    run_id = asyncio.run(main())
    assert queue.journal.run(run_id).state == "queued"
    assert jobs(queue, run_id)[-1] == ("-3", "ENQUEUED")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_a_process_that_is_stopped(place: str, queue: Queue, url: str, tmp_path: Path, number: int) -> None:
    """With Ctrl-C its runs are queued again at once; else the next worker takes them over."""
    marks, done = tmp_path / "marks", tmp_path / "done"
    with worker_process(place, url, marks, PAYS_UNTIL=str(done)) as process:
        run_id = await queue.submit("Pay.")
        await until(marks.exists)
        process.send_signal(number)
        if number == signal.SIGINT:
            await until(lambda: queue.journal.run(run_id).state == "queued")
            done.touch()
        with anyio.fail_after(20):
            await anyio.to_thread.run_sync(process.wait)
        assert process.stderr
        errors = process.stderr.read()
    assert queue.journal.run(run_id).state == ("queued" if number == signal.SIGINT else "running"), errors

    @tool
    def pay() -> str:
        """Pays."""
        raise AssertionError("it is not repeated")

    async with agent_at(url, place, pay) as agent, serving(agent) as made:
        with anyio.fail_after(20):
            assert (await queue.ended(run_id)).state == "end_turn"
    assert made.worker.taken_over == (number == signal.SIGKILL)
    assert marks.read_text().count("paid") == 1
    assert "outcome is unknown" in said(queue, run_id)


async def test_a_worker_leaves_the_event_loop_as_it_was(place: str, queue: Queue, url: str) -> None:
    before = asyncio.all_tasks()
    async with agent_at(url, place) as agent:
        async with serving(agent):
            await queue.ended(await queue.submit("Heard?"))
        await until(lambda: asyncio.all_tasks() == before)
        assert await asyncio.to_thread(lambda: "a thread") == "a thread"


async def test_of_two_workers_at_once_one_is_refused(place: str, queue: Queue, url: str) -> None:
    refused: list[str] = []

    async def run(made: Worker) -> None:
        try:
            await made.run()
        except ConfigurationError as error:
            refused.append(str(error))

    async with agent_at(url, place) as agent:
        both = [Worker(agent, "research") for _ in range(2)]
        async with anyio.create_task_group() as tasks:
            for made in both:
                tasks.start_soon(run, made)
            assert (await queue.ended(await queue.submit("Heard?"))).state == "end_turn"
            for made in both:
                made.stop()
    assert refused == ["this process has a worker or a DBOS application: start another one for a worker"]


async def test_a_dbos_application_of_the_users_is_left_alone(
    place: str, queue: Queue, url: str, tmp_path: Path
) -> None:
    from dbos import DBOS

    DBOS(config={"name": "theirs", "system_database_url": f"sqlite:///{tmp_path}/theirs.db", "log_level": "CRITICAL"})
    try:
        async with agent_at(url, place) as agent:
            with pytest.raises(ConfigurationError, match="this process has a worker or a DBOS application"):
                await Worker(agent, "research").run()
        DBOS.launch()
        assert await DBOS.list_workflows_async() == []
    finally:
        await anyio.to_thread.run_sync(lambda: DBOS.destroy(destroy_registry=True))
