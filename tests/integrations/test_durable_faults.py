"""The database goes away while runs go on: they end all the same when it is back, and nothing is lost or repeated."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from scripted import ScriptedServer, error

from agentkit import allow, tool
from agentkit.rules import check_history

pytest.importorskip("dbos", reason="DBOS is not installed", exc_type=ImportError)

from durable_runs import (
    agent_at,
    emptied,
    looks_often,
    rows_of_the_engine,
    serving,
    until,
    worker_process,
)

from agentkit.integrations.durable import Queue, reaper, worker
from agentkit.integrations.postgres import connections

if TYPE_CHECKING:
    from postgres_server import PostgresServer

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

paid: list[str] = []
may_end = threading.Event()


@pytest.fixture
def anyio_backend() -> str:
    """Workers have no other."""
    return "asyncio"


@pytest.fixture
def place(postgres: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    looks_often(monkeypatch)
    monkeypatch.setattr(reaper, "_LOOKS_EVERY", 0.5)
    paid.clear()
    may_end.clear()
    return emptied(postgres, database)


@tool
def pay() -> str:
    """Pays, when it may."""
    paid.append("began")
    may_end.wait(40)
    paid.append("paid")
    return "paid"


@contextmanager
def stopped(postgres: PostgresServer, mode: str = "immediate") -> Iterator[None]:
    """The server is gone meanwhile, as after a crash, which also loses what was not synced; or for a restart."""
    postgres.stop(mode)
    try:
        yield
    finally:
        postgres.start()


async def all_end(queue: Queue, ids: list[str]) -> None:
    for run_id in ids:
        with anyio.fail_after(60):
            row = await queue.ended(run_id)
        assert (row.state, row.detail) == ("end_turn", None)
        messages = queue.journal.load(run_id).messages()
        assert check_history(messages) == []
        assert "'paid'" in str(messages)
        assert queue.journal.orphans(run_id) == []


async def test_all_connections_end_while_calls_run(
    place: str, queue: Queue, url: str, postgres: PostgresServer
) -> None:
    async with agent_at(url, place, pay) as agent, serving(agent):
        ids = [await queue.submit("Pay.") for _ in range(4)]
        await until(lambda: len(paid) == 4)
        assert postgres.end_connections() > 2
        for _ in range(3):
            await anyio.sleep(0.3)
            postgres.end_connections()
        may_end.set()
        postgres.end_connections()
        await all_end(queue, ids)
        more = await queue.submit("Pay.")
        await all_end(queue, [more])
    assert paid.count("began") == 5


@pytest.mark.parametrize(("patience", "mode"), [(15.0, "immediate"), (0.5, "immediate"), (0.5, "fast")])
async def test_the_server_stops_and_starts_while_calls_run(
    place: str,
    queue: Queue,
    url: str,
    postgres: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
    patience: float,
    mode: str,
) -> None:
    """It is back before the journal gives up, or after that: then the runs are cut off, and taken up again here."""
    monkeypatch.setattr(connections, "_PATIENCE", patience)
    monkeypatch.setattr(worker, "MOST_DEATHS", 1)  # nobody dies
    async with agent_at(url, place, pay) as agent, serving(agent) as made:
        ids = [await queue.submit("Pay.") for _ in range(4)]
        await until(lambda: len(paid) == 4)
        slow = await queue.submit("Slow.")
        await until(lambda: queue.journal.run(slow).state == "running")
        with stopped(postgres, mode):
            may_end.set()
            await anyio.sleep(4)
        await all_end(queue, ids)
        row = await queue.ended(slow)
        assert (row.state, row.detail) == ("end_turn", None)
        assert row.epoch == 3 or mode == "immediate"
        assert {run_id for run_id, _ in made.of("waits")} == ({slow} if patience < 1 else set())
        await until(lambda: not made.worker.running)
    assert paid.count("began") == 4
    assert paid.count("paid") == 4


async def test_the_engine_is_told_no_more_than_ids_and_states(
    place: str, queue: Queue, url: str, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No question, answer, key, password or text of an error, however a run ends."""

    @tool(needs_approval=True)
    def ask() -> str:
        """Asks."""
        return "Answer-of-a-tool"

    def breaks(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("Text-of-a-bug")

    with ScriptedServer(lambda _: error(400, "invalid_request_error", "Text-of-the-endpoint")) as refusing:
        async with agent_at(refusing.url, place) as agent, serving(agent):
            ids = [await queue.submit("Secret-question?")]
            assert (await queue.ended(ids[0])).state == "error"
    async with agent_at(url, place, ask) as agent, serving(agent):
        ids.append(await queue.submit("Ask. Secret-question?", session="Secret-session"))
        await queue.ended(ids[1])
        (call,) = queue.journal.load(ids[1]).held()
        await queue.go_on(ids[1], {call.call_id: allow()})
        await queue.ended(ids[1])
        monkeypatch.setattr(agent, "stream", breaks)
        ids.append(await queue.submit("Break. Secret-question?"))
        await queue.ended(ids[2])
        await until(lambda: not queue.jobs())
    assert [queue.journal.run(run_id).state for run_id in ids] == ["error", "end_turn", "error"]
    found = rows_of_the_engine(postgres)
    assert all(run_id in found for run_id in ids)
    for secret in ("Secret", "Answer", "Text-of", "sk-ant-secret-key", "pass-word", "claude"):
        assert secret not in found


async def test_a_worker_that_stops_while_there_is_no_database(
    place: str, queue: Queue, url: str, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for no longer than its grace, and what it could not give back is taken over later."""
    monkeypatch.setattr(connections, "_PATIENCE", 0.5)
    monkeypatch.setattr("agentkit.integrations.durable.worker._LAST_GRACE", 2.0)
    async with agent_at(url, place, pay) as agent:
        with ExitStack() as meanwhile:
            async with serving(agent, grace=1) as made:
                ids = [await queue.submit("Pay.") for _ in range(2)]
                await until(lambda: len(paid) == 2)
                meanwhile.enter_context(stopped(postgres))
                may_end.set()
                since = anyio.current_time()
                made.worker.stop()
            lasted = anyio.current_time() - since
            await until(lambda: not made.worker._bodies, 10)
        assert lasted < 30
        async with serving(agent):
            await all_end(queue, ids)
    assert paid == ["began", "began", "paid", "paid"]


@pytest.mark.parametrize("phase", ["began", "ended"])
async def test_a_process_that_is_stopped_while_there_is_no_database(
    place: str, queue: Queue, url: str, postgres: PostgresServer, tmp_path: Path, phase: str
) -> None:
    """Threads of the engine wait for the database as long as it is gone, and that holds nothing up."""
    marks, go = tmp_path / "marks", tmp_path / "go"
    with worker_process(place, url, marks, WAIT_WHEN=phase, WAIT_FOR=str(go)) as process:
        await queue.submit("Pay.")
        await until(lambda: marks.exists() and phase in marks.read_text())
        with stopped(postgres):
            go.touch()
            await anyio.sleep(2)
            process.send_signal(signal.SIGINT)
            with anyio.fail_after(60):
                await anyio.to_thread.run_sync(process.wait, abandon_on_cancel=True)
