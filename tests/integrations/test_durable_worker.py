"""`Worker`: runs of a queue come to rest on it, whatever they are."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
from scripted import Request, ScriptedServer, Sse

from agentkit import Agent, Client, Limits, RunContext, allow, deny, tool
from agentkit.errors import ConfigurationError, JournalError, RunBusy
from agentkit.events import RunEnd
from agentkit.rules import check_history

pytest.importorskip("dbos", reason="DBOS is not installed", exc_type=ImportError)

from durable_runs import Serving, agent_at, answer, emptied, looks_often, open_queue, serving, until

from agentkit.integrations.durable import Queue, Worker

pytestmark = pytest.mark.anyio

paid: list[int] = []
hold, held, may_say = threading.Event(), threading.Event(), threading.Event()


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Workers have no other."""
    return "asyncio"


@tool(needs_approval=True)
def pay(ctx: RunContext[str]) -> str:
    """Pays."""
    paid.append(1)
    return f"{ctx.deps} paid"


@tool
def wait() -> str:
    """Waits until it may end."""
    held.set()
    hold.wait(20)
    return "waited"


@tool
async def sleep() -> str:
    """Sleeps for long."""
    held.set()
    await anyio.sleep(60)
    return "slept"


def script(request: Request) -> object:
    """As `answer`, when it may be said."""
    return Sse(answer(request), delay=may_say)  # type: ignore[arg-type]


@dataclass
class Place:
    """A queue that a worker serves."""

    path: str
    queue: Queue
    serving: Serving
    agent: Agent

    def told(self, run_id: str) -> list[tuple[str, str | None]]:
        return [(told.what, told.detail) for told in self.serving.told if told.run_id == run_id]


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
async def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Place]:
    path = str(tmp_path_factory.mktemp("worker") / "runs.db")
    if request.param == "postgresql":
        postgres = request.getfixturevalue("postgres")
        postgres.execute("DROP SCHEMA IF EXISTS agentkit CASCADE")
        path = emptied(postgres, postgres.url())
    with pytest.MonkeyPatch.context() as patch, ScriptedServer(script) as server, open_queue(path) as queue:
        looks_often(patch)
        async with agent_at(server.url, path, pay, wait, sleep) as agent, serving(agent, deps="ada") as made:
            yield Place(path, queue, made, agent)
    await until(lambda: len(asyncio.all_tasks()) <= 2)  # nothing of the engine is left


def messages_of(served: Place, run_id: str) -> list[Any]:
    return served.queue.journal.load(run_id).messages()


@pytest.fixture(autouse=True)
def _afresh() -> None:
    paid.clear()
    hold.clear()
    held.clear()
    may_say.set()


async def test_runs_come_to_their_end(served: Place) -> None:
    ids = [await served.queue.submit(f"Question {number}?") for number in range(3)]
    for run_id in ids:
        assert (await served.queue.ended(run_id)).state == "end_turn"
        await until(lambda run_id=run_id: served.told(run_id)[-1:] == [("ended", "end_turn")])  # type: ignore[misc]
        assert served.told(run_id)[0] == ("began", None)
        assert served.queue.journal.run(run_id).epoch == 2
        assert check_history(messages_of(served, run_id)) == []
    await until(lambda: not served.queue.jobs())
    assert served.serving.worker.running == 0


async def test_a_run_can_be_followed_from_elsewhere(served: Place) -> None:
    run_id = await served.queue.submit("Follow me.")
    with anyio.fail_after(20):
        events = [event async for _, event in served.queue.journal.follow(run_id)]
    assert isinstance(events[-1], RunEnd)
    assert (events[-1].finish, events[-1].text) == ("end_turn", "Heard.")


async def test_an_approval_is_waited_for_by_nobody_and_decided_elsewhere(served: Place) -> None:
    run_id = await served.queue.submit("Pay.")
    assert (await served.queue.ended(run_id)).state == "needs_approval"
    with open_queue(served.path) as elsewhere:
        (call,) = elsewhere.journal.load(run_id).held()
        with pytest.raises(ConfigurationError, match="no call 'toolu_other' waits"):
            await elsewhere.go_on(run_id, {"toolu_other": allow()})
        assert elsewhere.journal.run(run_id).state == "needs_approval"
        await elsewhere.go_on(run_id, {call.call_id: allow()})
        assert (await elsewhere.ended(run_id)).state == "end_turn"
    assert paid == [1]
    assert "ada paid" in str(messages_of(served, run_id))
    assert check_history(messages_of(served, run_id)) == []


@pytest.mark.slow
async def test_going_on_without_a_decision_waits_again(served: Place) -> None:
    run_id = await served.queue.submit("Pay.")
    await served.queue.ended(run_id)
    await served.queue.go_on(run_id)
    assert (await served.queue.ended(run_id)).state == "needs_approval"
    assert paid == []


async def test_of_two_deciders_at_once_one_decides(served: Place) -> None:
    run_id = await served.queue.submit("Pay.")
    await served.queue.ended(run_id)
    (call,) = served.queue.journal.load(run_id).held()
    decided: list[str] = []

    async def decide(queue: Queue, decision: Any) -> None:
        try:
            await queue.go_on(run_id, {call.call_id: decision})
            decided.append(decision.action)
        except RunBusy:
            pass
        except ConfigurationError as refused:
            assert "waits for a decision" in str(refused)  # noqa: PT017  it may be refused so, or in the other way

    with open_queue(served.path) as elsewhere:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(decide, served.queue, allow())
            tasks.start_soon(decide, elsewhere, deny("no"))
    assert len(decided) == 1
    assert (await served.queue.ended(run_id)).state == "end_turn"
    assert paid == [1] * (decided == ["allow"])


async def test_a_question_waits_for_the_end_of_the_one_before_in_its_session(served: Place) -> None:
    first = await served.queue.submit("Wait.", session="ada")
    await until(held.is_set)
    with pytest.raises(RunBusy, match="has a run that has not ended"):
        await served.queue.submit("And?", session="ada")
    hold.set()
    await served.queue.ended(first)
    second = await served.queue.submit("And now?", session="ada")
    assert (await served.queue.ended(second)).state == "end_turn"
    texts = str(messages_of(served, second))
    assert texts.index("Wait.") < texts.index("waited") < texts.index("And now?") < texts.index("Heard.")


async def test_cancelling_reaches_a_run_that_goes_on(served: Place) -> None:
    run_id = await served.queue.submit("Sleep.")
    await until(held.is_set)
    with pytest.raises(RunBusy, match="has not come to rest"):
        await served.queue.go_on(run_id)
    await served.queue.cancel(run_id)
    with anyio.fail_after(15):
        assert (await served.queue.ended(run_id)).state == "cancelled"
    assert check_history(messages_of(served, run_id)) == []
    assert served.queue.engine.jobs_of({run_id})[0].status == "CANCELLED"


async def test_what_was_cancelled_in_the_journal_alone_does_not_begin(
    served: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    _before_its_job(served, monkeypatch, served.queue.journal.cancel)
    run_id = await served.queue.submit("Pay.")
    await until(lambda: served.queue.engine.jobs_of({run_id})[0].status == "SUCCESS")
    assert (served.queue.journal.run(run_id).state, served.told(run_id)) == ("cancelled", [])


def _before_its_job(served: Place, patch: pytest.MonkeyPatch, work: Callable[[str], None]) -> None:
    """Has something done to a run that is stored, when no worker knows of it yet."""
    put = served.queue.engine.enqueue

    def enqueue(queue: str, run_id: str, *args: Any, **options: Any) -> None:
        work(run_id)
        put(queue, run_id, *args, **options)

    patch.setattr(served.queue.engine, "enqueue", enqueue)


@pytest.mark.slow
async def test_what_was_cancelled_can_go_on_and_is_not_cancelled_again(served: Place) -> None:
    """The job that was cancelled was this worker's too."""
    may_say.clear()
    run_id = await served.queue.submit("Heard?")
    await until(lambda: served.told(run_id))
    await served.queue.cancel(run_id)
    assert (await served.queue.ended(run_id)).state == "cancelled"
    await served.queue.go_on(run_id)
    await until(lambda: served.told(run_id).count(("began", None)) == 2)
    await anyio.sleep(1)  # in which the worker looks for what was cancelled
    may_say.set()
    assert (await served.queue.ended(run_id)).state == "end_turn"
    assert "Heard." in str(messages_of(served, run_id))
    assert served.queue.engine.jobs_of({run_id})[0].status == "CANCELLED"


@pytest.mark.slow
async def test_a_run_goes_on_beside_one_that_takes_long(served: Place) -> None:
    slow = await served.queue.submit("Wait.")
    await until(held.is_set)
    quick = await served.queue.submit("Quick?")
    await served.queue.ended(quick)
    assert served.queue.journal.run(slow).state == "running"
    hold.set()
    assert (await served.queue.ended(slow)).state == "end_turn"


async def test_a_run_that_this_agent_can_not_go_on_with(served: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(max_cost_usd=1.0)
    monkeypatch.setattr(served.agent, "limits", limits)
    monkeypatch.setattr(served.agent._blueprint, "model", "claude-mystery-1")
    monkeypatch.setattr("agentkit.run.require_price", _no_price)
    run_id = await served.queue.submit("What does it cost?")
    row = await served.queue.ended(run_id)
    assert (row.state, row.detail) == ("error", "no price is known")
    assert served.told(run_id)[-1] == ("ended", "error: no price is known")


def _no_price(*_: Any) -> None:
    raise ConfigurationError("no price is known")


async def test_a_run_that_can_not_go_on_ends_though_the_journal_is_away_for_a_moment(
    served: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail, left = served.agent.journal.fail, [JournalError("the database is away")]  # type: ignore[union-attr]

    def fails(*args: Any) -> None:
        if left:
            raise left.pop()
        fail(*args)

    with monkeypatch.context() as patch:
        patch.setattr(served.agent.journal, "fail", fails)
        patch.setattr("agentkit.run.require_price", _no_price)
        patch.setattr(served.agent, "limits", Limits(max_cost_usd=1.0))
        run_id = await served.queue.submit("What does it cost?")
        assert (await served.queue.ended(run_id)).state == "error"
    assert ("waits", "the database is away") in served.told(run_id)
    await until(lambda: served.queue.engine.jobs_of({run_id})[0].status == "SUCCESS")


async def test_a_bug_ends_the_run_and_is_logged_here(
    served: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(served.agent, "stream", breaks)
        run_id = await served.queue.submit("Break.")
        row = await served.queue.ended(run_id)
    assert (row.state, row.detail) == ("error", "ZeroDivisionError: a bug")
    assert "a bug" in caplog.text
    await until(lambda: [job.status for job in served.queue.engine.jobs_of({run_id})] == ["SUCCESS"])  # knows no error


@pytest.mark.slow
async def test_a_run_with_a_damaged_log_is_left_as_it_is(served: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    _before_its_job(served, monkeypatch, lambda run_id: _damage(served.path, run_id))
    run_id = await served.queue.submit("Damaged.")
    await until(lambda: served.told(run_id))
    ((what, detail),) = served.told(run_id)
    assert what == "ended"
    assert (
        detail
        == f"error: entry 0 of run {run_id} is damaged: `agentkit runs repair {run_id[:8]}` keeps what comes before it"
    )
    row = served.queue.journal.run(run_id)
    assert (row.state, row.epoch) == ("queued", 1)
    with pytest.raises(JournalError, match="is damaged"):  # who waits for its end hears of it
        await served.queue.ended(run_id)


def _damage(path: str, run_id: str) -> None:
    if "://" in path:
        psycopg = pytest.importorskip("psycopg")
        with psycopg.connect(path) as db:
            db.execute("UPDATE agentkit.entries SET entry = '{}' WHERE run_id = %s", (run_id,))
    else:
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("UPDATE entries SET entry = x'7b7d' WHERE run_id = ?", (run_id,))


async def test_a_job_without_a_run_ends(served: Place) -> None:
    served.queue.engine.enqueue("research", "nobody", 1)
    await until(lambda: ("ended", "error: there is no run 'nobody' in the journal") in served.told("nobody"))
    await until(lambda: served.queue.engine.jobs_of({"nobody"})[0].status == "SUCCESS")


async def test_who_is_told_and_fails_does_not_stop_a_run(served: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(told: Any) -> None:
        raise BrokenPipeError

    with monkeypatch.context() as patch:
        patch.setattr(served.serving.worker, "_teller", breaks)
        run_id = await served.queue.submit("Anybody there?")
        assert (await served.queue.ended(run_id)).state == "end_turn"
        await until(lambda: not served.serving.worker.running)


async def test_a_second_worker_in_a_process_is_refused(served: Place) -> None:
    with pytest.raises(ConfigurationError, match="this process has a worker or a DBOS application"):
        await Worker(served.agent, "research").run()
    await until(lambda: not served.serving.worker.running)
    run_id = await served.queue.submit("Still there?")
    assert (await served.queue.ended(run_id)).state == "end_turn"


def test_what_can_not_be_served(tmp_path: Path) -> None:
    client = Client(base_url="http://127.0.0.1:1", api_key="k")
    bare = Agent("claude-sonnet-4-6", client=client)
    with pytest.raises(ConfigurationError, match="a worker's agent needs a journal"):
        Worker(bare, "research")
    agent = Agent("claude-sonnet-4-6", client=client, journal=tmp_path / "runs.db")
    with pytest.raises(ConfigurationError, match="a queue can't be named '_dbos_x'"):
        Worker(agent, "_dbos_x")
    with pytest.raises(ConfigurationError, match="a concurrency of at least 1"):
        Worker(agent, "research", concurrency=0)
    for rate in ((0, 1.0), (1, 0.0), (-1, 2.0)):
        with pytest.raises(ConfigurationError, match="a rate is runs and seconds"):
            Worker(agent, "research", rate=rate)
    with pytest.raises(ConfigurationError, match=r"a worker needs asyncio, since DBOS has no trio: anyio.run\("):
        trio.run(Worker(agent, "research").run)
    assert agent.journal
    agent.journal.close()
