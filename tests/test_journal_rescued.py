"""Results of effects while the journal can't be written: none is lost, whatever becomes of the process."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from journaled import Clock, WatchedStore
from runs import until
from scripted import ScriptedServer, reply, tool_use
from test_journal import HELD, PAYS, Desk, said, serving
from trio.testing import MockClock

from agentkit import Agent, Client, Journal
from agentkit.errors import JournalError, LeaseLost
from agentkit.lease import LEASE_SECONDS, Lease
from agentkit.store import Lines
from agentkit.transcript import Transcript

pytestmark = pytest.mark.slow


def has_result(durable: bool, lines: Lines) -> bool:
    return any(b'"ended"' in entry for entry, _ in lines)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("runs.db-rescued-*"))


def about(path: Path) -> str:
    return path.read_text()


def begun(*uses: dict[str, Any]) -> Transcript:
    """A run whose turn calls tools."""
    transcript = Transcript()
    transcript.begin("run_1", [{"role": "user", "content": [{"type": "text", "text": "Go"}]}])
    transcript.answer()
    transcript.take_turn(reply(*uses or [tool_use("pay", id="toolu_a")]), "req_1", 0.0)
    return transcript


def end(transcript: Transcript, call_id: str, text: str, outcome: Any = "done") -> None:
    call = transcript.calls[call_id]
    transcript.end(call, outcome, {"type": "tool_result", "tool_use_id": call.block["id"], "content": text})


async def paid(lease: Lease, transcript: Transcript) -> None:
    """The effect has happened."""
    transcript.start(transcript.calls["1:toolu_a"])
    await lease.commit(True)
    end(transcript, "1:toolu_a", "paid 1")


def outcome_of(journal: Journal, call_id: str = "1:toolu_a") -> str | None:
    return journal.load("run_1").calls[call_id].outcome


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> WatchedStore:
    return WatchedStore(tmp_path)


def another(store: WatchedStore, clock: Clock) -> Journal:
    return Journal(store.folder / "runs.db", clock=clock)


def test_C18_a_journal_that_is_locked_for_longer_than_anybody_waits(store: WatchedStore, clock: Clock) -> None:
    async def to_the_end() -> None:
        transcript = begun()
        lease = await store.journal(clock).take_up(transcript)
        await paid(lease, transcript)
        store.fails = lambda durable, lines: bool(lines) and not given_up
        with pytest.raises(
            JournalError, match=r"full; what has happened is kept in .*runs\.db-rescued-.*taken in when"
        ):
            await lease.commit_result()
        given_up.append(time.current_time())

    given_up: list[float] = []
    time = MockClock(autojump_threshold=0.05)
    anyio.run(to_the_end, backend="trio", backend_options={"clock": time})
    assert given_up[0] > 55  # and not long after 60, but where a thread takes its time this clock jumps on
    clock.now += LEASE_SECONDS + 1
    journal = another(store, clock)
    assert len(files(store.folder)) == 1
    assert (outcome_of(journal), files(store.folder), journal.orphans("run_1")) == ("done", [], [])
    journal.close()
    store.close()


@pytest.mark.anyio
async def test_C18_a_result_is_kept_at_the_first_failure_and_cleared_away(store: WatchedStore, clock: Clock) -> None:
    transcript, tried = begun(), []
    lease = await store.journal(clock).take_up(transcript)
    await paid(lease, transcript)

    def fails(durable: bool, lines: Lines) -> bool:
        tried.append(len(files(store.folder)))
        return bool(lines) and len(tried) < 4

    store.fails = fails
    await lease.commit_result()
    assert tried[:4] == [0, 1, 1, 1]
    assert files(store.folder) == []
    assert outcome_of(another(store, clock)) == "done"
    store.close()


@pytest.mark.anyio
async def test_C18_a_write_that_hangs_is_not_waited_for(
    store: WatchedStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentkit.lease._RESCUED_AFTER", 0.05)
    transcript = begun()
    lease = await store.journal(clock).take_up(transcript)
    await paid(lease, transcript)
    other = sqlite3.connect(store.folder / "runs.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lease.commit_result)
        await until(lambda: bool(files(store.folder)))
        assert "paid 1" in about(files(store.folder)[0])
        other.close()
    assert files(store.folder) == []
    store.close()


@pytest.mark.anyio
@pytest.mark.slow
async def test_C18_a_process_that_is_killed_while_it_waits(tmp_path: Path) -> None:
    with ScriptedServer(said(PAYS)) as server:
        child = subprocess.Popen([sys.executable, "-c", CHILD, server.url, str(tmp_path)])  # noqa: ASYNC220
        try:
            with anyio.fail_after(60):
                while not (tmp_path / "paid").exists():  # noqa: ASYNC110
                    await anyio.sleep(0.02)
                other = sqlite3.connect(tmp_path / "runs.db", isolation_level=None)
                other.execute("BEGIN IMMEDIATE")
                (tmp_path / "locked").touch()
                while not files(tmp_path):  # noqa: ASYNC110
                    await anyio.sleep(0.02)
        finally:
            child.kill()
            child.wait()
        other.close()
        journal, desk = Journal(tmp_path / "runs.db"), Desk()
        (row,) = journal.interrupted()
        assert journal.load(row.run_id).calls["1:toolu_a"].outcome == "done"
        async with Client(base_url=server.url) as client:
            agent = Agent("claude-sonnet-4-6", tools=desk.tools(), client=client, journal=journal)
            result = await agent.resume(row.run_id)
        assert (result.text, desk.paid, files(tmp_path)) == ("All done.", [], [])
        assert "paid once" in str(result.messages)
        journal.close()


CHILD = """
import sys, time, pathlib, asyncio
import agentkit.lease
from agentkit import Agent, Client, tool

agentkit.lease._RESCUED_AFTER = 0.05
url, folder = sys.argv[1], pathlib.Path(sys.argv[2])

@tool
def pay(amount: int) -> str:
    '''Pays.'''
    (folder / "paid").touch()
    while not (folder / "locked").exists():
        time.sleep(0.01)
    return "paid once"

async def main():
    async with Client(base_url=url, api_key="any") as client:
        await Agent("claude-sonnet-4-6", tools=[pay], client=client, journal=folder / "runs.db").run("Do it.")

asyncio.run(main())
"""


@pytest.mark.anyio
@pytest.mark.parametrize("read_before", [False, True])
async def test_C18_the_result_of_the_error_can_be_resumed(
    store: WatchedStore, clock: Clock, read_before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentkit.lease._PATIENCE", 0.2)
    desk, journal = Desk(), store.journal(clock)
    async with serving(PAYS) as client:
        agent = Agent("claude-sonnet-4-6", tools=desk.tools(), client=client, journal=journal)
        store.fails = has_result
        with pytest.raises(JournalError, match=r"kept in .*runs\.db-rescued-") as caught:
            await agent.run("Do it.")
        assert len(files(store.folder)) == 1
        store.fails = lambda durable, lines: False
        run_id = caught.value.result.run_id
        if read_before:
            other = another(store, clock)
            assert other.load(run_id).calls["1:toolu_a"].outcome == "done"
            other.close()
        result = await agent.resume(caught.value.result)
    assert (result.text, result.run_id, desk.paid) == ("All done.", run_id, [1])
    assert journal.load(run_id).entries == result.dump()["entries"]
    assert (journal.orphans(run_id), files(store.folder)) == ([], [])
    store.close()


@pytest.mark.anyio
async def test_C18_a_disk_that_is_full_for_files_too(
    store: WatchedStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentkit.lease._PATIENCE", 0.2)
    desk = Desk()
    store.fails, store.is_full = has_result, True
    async with serving(PAYS) as client:
        agent = Agent("claude-sonnet-4-6", tools=desk.tools(), client=client, journal=store.journal(clock))
        with pytest.raises(JournalError, match=r"disk is full; no space left on device\. .*in memory alone") as caught:
            await agent.run("Do it.")
    assert [call.outcome for call in caught.value.result.tool_calls] == ["done"]
    assert (desk.paid, files(store.folder)) == ([1], [])
    store.close()


@pytest.mark.anyio
async def test_C17_what_has_not_happened_is_not_rescued(store: WatchedStore, clock: Clock) -> None:
    desk = Desk()
    store.fails = lambda durable, lines: any(b'"started"' in entry for entry, _ in lines)
    async with serving(HELD) as client:
        agent = Agent("claude-sonnet-4-6", tools=desk.tools(), client=client, journal=store.journal(clock))
        with pytest.raises(JournalError, match=r"disk is full$") as caught:
            await agent.run("Do it.")
        assert (desk.paid, files(store.folder)) == ([], [])
        store.fails = lambda durable, lines: False
        result = await agent.resume(caught.value.result.run_id)
    assert (result.finish.reason, desk.paid) == ("needs_approval", [2])
    store.close()


@pytest.mark.anyio
async def test_C18_what_is_under_way_is_rescued_as_far_as_the_last_result(store: WatchedStore, clock: Clock) -> None:
    transcript = begun(tool_use("pay", id="toolu_a"), tool_use("pay", id="toolu_b"), tool_use("pay", id="toolu_c"))
    lease = await store.journal(clock).take_up(transcript)
    store.fails = lambda durable, lines: True
    for name, outcome in (("a", "done"), ("b", "not_run")):
        transcript.start(transcript.calls[f"1:toolu_{name}"])
        end(transcript, f"1:toolu_{name}", "as it was", outcome)
    transcript.start(transcript.calls["1:toolu_c"])
    with pytest.raises(JournalError):
        await lease.release("error", None)
    clock.now += LEASE_SECONDS + 1
    calls = another(store, clock).load("run_1").calls
    assert [(call.state, call.outcome) for call in calls.values()] == [
        ("ended", "done"),
        ("open", None),
        ("open", None),
    ]
    store.close()


@pytest.mark.anyio
async def test_C18_each_result_is_rescued_when_it_comes(store: WatchedStore, clock: Clock) -> None:
    transcript = begun(tool_use("pay", id="toolu_a"), tool_use("pay", id="toolu_b"))
    lease = await store.journal(clock).take_up(transcript)
    for call in list(transcript.calls.values()):
        transcript.start(call)
    await lease.commit(True)
    store.fails = lambda durable, lines: True
    async with anyio.create_task_group() as tasks:
        for number, name in enumerate("ab", 1):
            end(transcript, f"1:toolu_{name}", f"paid by {name}")
            tasks.start_soon(lease.commit_result)
            await until(lambda number=number: len(files(store.folder)) == number)  # type: ignore[misc]
            assert any(f"paid by {name}" in about(path) for path in files(store.folder))
        tasks.cancel_scope.cancel()
    clock.now += LEASE_SECONDS + 1
    journal = another(store, clock)
    assert [call.outcome for call in journal.load("run_1").calls.values()] == ["done", "done"]
    assert (journal.orphans("run_1"), files(store.folder)) == ([], [])
    journal.close()
    store.close()


@pytest.mark.anyio
@pytest.mark.parametrize("taken_up", [False, True])
async def test_C18_another_process_takes_our_lines_in_while_we_still_try(
    store: WatchedStore, clock: Clock, taken_up: bool
) -> None:
    transcript = begun()
    lease = await store.journal(clock).take_up(transcript)
    await paid(lease, transcript)
    other, tried = another(store, clock), []

    def fails(durable: bool, lines: Lines) -> bool:
        tried.append(lines)
        if len(tried) == 2:
            clock.now += LEASE_SECONDS + 1
            theirs = other.load("run_1")
            assert theirs.calls["1:toolu_a"].outcome == "done"
            if taken_up:
                theirs.begin("run_1", None)
                other._take_up(theirs, "elsewhere:1:aa")
        return len(tried) < 2

    store.fails = fails
    if taken_up:
        with pytest.raises(LeaseLost):
            await lease.commit_result()
    else:
        await lease.commit_result()
        await lease.release("end_turn", None)
        assert other.run("run_1").state == "end_turn"
        assert other.load("run_1").entries == transcript.entries
    assert (other.orphans("run_1"), files(store.folder)) == ([], [])
    other.close()
    store.close()


@pytest.mark.anyio
async def test_C21_a_commit_whose_answer_is_lost_is_looked_up(store: WatchedStore, clock: Clock) -> None:
    transcript = begun()
    journal = store.journal(clock)
    lease = await journal.take_up(transcript)
    await paid(lease, transcript)
    append, lost = store._store.append, []

    def append_and_fail(row: Any, lines: Lines, *, durable: bool) -> None:
        append(row, lines, durable=durable)
        if not lost:
            lost.append(lines)
            error = JournalError("connection reset")
            error.retryable = True
            raise error

    store._store.append = append_and_fail  # type: ignore[method-assign]
    await lease.commit_result()
    assert lost
    await lease.release("end_turn", None)
    assert journal.load("run_1").entries == transcript.entries
    assert (journal.orphans("run_1"), files(store.folder)) == ([], [])
    store.close()


@pytest.mark.anyio
async def test_C15_results_of_a_run_that_is_lost_are_kept_once(store: WatchedStore, clock: Clock) -> None:
    transcript = begun()
    lease = await store.journal(clock).take_up(transcript)
    await paid(lease, transcript)
    other, tried = another(store, clock), []

    def fails(durable: bool, lines: Lines) -> bool:
        tried.append(lines)
        if len(tried) == 2:
            (path,) = files(store.folder)
            path.rename(aside)
            clock.now += LEASE_SECONDS + 1
            theirs = other.load("run_1")
            theirs.begin("run_1", None)
            other._take_up(theirs, "elsewhere:1:aa")
            aside.rename(path)
        return len(tried) < 2

    aside = store.folder / "aside"
    store.fails = fails
    with pytest.raises(LeaseLost):
        await lease.commit_result()
    assert len(files(store.folder)) == 1
    assert other.load("run_1").calls["1:toolu_a"].outcome is None
    assert len(files(store.folder)) == 1, "it is the other's now, who may do the same"
    clock.now += LEASE_SECONDS + 1
    (orphan,) = other.orphans("run_1")
    assert (orphan["call"], orphan["outcome"], files(store.folder)) == ("1:toolu_a", "done", [])
    other.close()
    store.close()


@pytest.mark.anyio
async def test_C18_what_comes_late_is_rescued_too(
    store: WatchedStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    transcript = begun()
    journal = store.journal(clock)
    lease = await journal.take_up(transcript)
    orphan: Callable[..., None] = store._store.orphan

    def fails(*given: Any) -> None:
        raise JournalError("database is locked")

    store._store.orphan = fails  # type: ignore[method-assign]
    result = {"type": "tool_result", "tool_use_id": "toolu_a", "content": "paid after all"}
    lease.keep_late("1:toolu_a", "done", result)
    assert len(files(store.folder)) == 1
    store.is_full = True
    lease.keep_late("1:toolu_a", "done", result)
    assert "database is locked; no space left on device: what 1:toolu_a came to late is lost" in caplog.text
    store._store.orphan = orphan  # type: ignore[method-assign]
    await lease.release("end_turn", None)
    (kept,) = journal.orphans("run_1")
    assert (kept["result"], files(store.folder)) == (result, [])
    assert journal.load("run_1").entries == transcript.entries
    store.close()


@pytest.mark.anyio
async def test_C18_a_run_that_goes_on_is_left_to_its_process(store: WatchedStore, clock: Clock) -> None:
    transcript = begun()
    lease = await store.journal(clock).take_up(transcript)
    await paid(lease, transcript)
    store.rescue(replace(lease._row), [(b"{}", b"digest")])
    other = another(store, clock)
    assert outcome_of(other) is None
    assert (len(files(store.folder)), other.orphans("run_1")) == (1, [])
    other.close()
    store.close()


@pytest.mark.anyio
async def test_C18_a_file_that_can_not_be_read_stops_its_run_alone(store: WatchedStore, clock: Clock) -> None:
    async with serving() as client:
        agent = Agent("claude-sonnet-4-6", client=client, journal=store.journal(clock))
        first, second = await agent.run("Do it."), await agent.run("Do it.")
        path = Path(store.rescue(store.run(first.run_id), [(b"{}", b"digest")]))
        path.write_text("{")  # noqa: ASYNC240
        with pytest.raises(JournalError, match=path.name):
            await agent.run("More.", after=first.run_id)
        assert (await agent.run("More.", after=second.run_id)).text == "All done."
    store.close()
