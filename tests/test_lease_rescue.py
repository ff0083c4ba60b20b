"""Results whose write fails or hangs: kept in another place meanwhile, as far as they are results, and cleared away."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from journaled import Clock, WatchedStore
from logs import asked, result, take
from runs import until
from scripted import tool_use
from test_lease_edges import Gate

from agentkit.errors import JournalError, LeaseLost
from agentkit.journal import Journal
from agentkit.lease import LEASE_SECONDS, Lease
from agentkit.store import Lines, RunRow
from agentkit.transcript import Outcome, Transcript

pytestmark = pytest.mark.anyio


@dataclass
class Paying:
    """A run with three calls that have begun, and a store that is watched.

    Attributes:
        rescued: What was kept in another place: the row, and the entries.
        cleared: How often that was cleared away.
    """

    store: WatchedStore
    clock: Clock
    journal: Journal
    transcript: Transcript
    lease: Lease
    rescued: list[tuple[RunRow, list[dict[str, Any]]]] = field(default_factory=list)
    cleared: int = 0

    def __post_init__(self) -> None:
        rescue, recover = self.store.rescue, self.store.recover

        def watched_rescue(row: RunRow, lines: Lines) -> str:
            place = rescue(row, lines)
            self.rescued.append((row, [json.loads(entry) for entry, _ in lines]))
            return place

        def watched_recover(run_id: str) -> None:
            assert run_id == "run_1"
            recover(run_id)
            self.cleared += 1

        self.store.rescue, self.store.recover = watched_rescue, watched_recover  # type: ignore[method-assign]

    def end(self, name: str, outcome: Outcome = "done") -> dict[str, Any]:
        self.transcript.end(self.transcript.calls[f"1:toolu_{name}"], outcome, result(f"toolu_{name}", f"by {name}"))
        return self.transcript.entries[-1]

    def files(self) -> list[Path]:
        return sorted(self.store.folder.glob("runs.db-rescued-*"))

    def fail(self, *, retryable: bool = False) -> list[JournalError]:
        """From here on nothing is written; returns the errors that were raised."""
        raised: list[JournalError] = []

        def fails(durable: bool, lines: Lines) -> bool:
            raised.append(JournalError("the disk is full"))
            raised[-1].retryable = retryable
            raise raised[-1]

        self.store.fails = fails
        return raised

    def mend(self) -> None:
        self.store.fails = lambda durable, lines: False


@pytest.fixture
async def paying(tmp_path: Path) -> Any:
    store, clock = WatchedStore(tmp_path), Clock()
    journal = store.journal(clock)
    transcript = take(asked(), *(tool_use("pay", id=f"toolu_{name}") for name in "abc"))
    lease = await journal.take_up(transcript)
    for call in transcript.unended():
        transcript.start(call)
    await lease.commit(True)
    yield Paying(store, clock, journal, transcript, lease)
    journal.close()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[anyio.Event]:
    """The sleeps of what watches the results that wait: each ends when it is set."""
    looks: list[anyio.Event] = []
    sleep = anyio.sleep

    async def watched(seconds: float) -> None:
        if seconds == 7777.0:
            looks.append(anyio.Event())
            await looks[-1].wait()
        else:
            await sleep(seconds)

    monkeypatch.setattr("agentkit.lease._RESCUED_AFTER", 7777.0)
    monkeypatch.setattr(anyio, "sleep", watched)
    return looks


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between tries to write, which take no time; nothing else watches the results."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("agentkit.lease.Background", lambda work: None)
    monkeypatch.setattr(anyio, "sleep", sleep)
    monkeypatch.setattr(anyio, "current_time", lambda: 100.0 + sum(pauses))
    return pauses


async def test_a_result_whose_write_hangs_is_kept_elsewhere_and_cleared_away(
    paying: Paying, looks: list[anyio.Event]
) -> None:
    for number, name in enumerate("ab"):
        paying.store.fails = gate = Gate()
        ended = paying.end(name)
        async with anyio.create_task_group() as group:
            group.start_soon(paying.lease.commit_result)
            await until(lambda number=number: len(looks) == number + 1)  # type: ignore[misc]
            await anyio.to_thread.run_sync(gate.reached.wait)
            assert len(paying.rescued) == number, "it may still come through"
            looks[-1].set()
            await until(lambda number=number: len(paying.rescued) == number + 1)  # type: ignore[misc]
            assert paying.rescued[-1][1] == [ended]
            gate.open.set()
        assert (paying.files(), paying.cleared) == ([], number + 1)
        looks[-1].set()
        await until(lambda: paying.lease._watch is None)
        assert len(looks) == number + 2, "nobody watches where nothing waits"
        looks.pop()


async def test_one_watches_for_all_results_the_one_that_waits_longest(paying: Paying, looks: list[anyio.Event]) -> None:
    paying.store.fails = gate = Gate()
    async with anyio.create_task_group() as group:
        paying.end("a")
        group.start_soon(paying.lease.commit_result)
        await until(lambda: bool(looks))
        await anyio.to_thread.run_sync(gate.reached.wait)
        paying.end("b")
        with anyio.move_on_after(0.01):
            await paying.lease.commit_result()
        assert len(looks) == 1
        looks[0].set()
        await until(lambda: bool(paying.rescued))
        assert [entry["call"] for entry in paying.rescued[0][1]] == ["1:toolu_a", "1:toolu_b"]
        gate.open.set()


async def test_it_looks_after_the_result_that_waits_longest(paying: Paying, looks: list[anyio.Event]) -> None:
    paying.store.fails = gate = Gate()
    waiting: list[anyio.CancelScope] = []

    async def commit() -> None:
        with anyio.CancelScope() as scope:
            waiting.append(scope)
            await paying.lease.commit_result()

    paying.end("a")
    async with anyio.create_task_group() as group:
        group.start_soon(commit)
        group.start_soon(commit)
        await until(lambda: bool(looks))
        await anyio.to_thread.run_sync(gate.reached.wait)
        waiting[1].cancel()
        await anyio.wait_all_tasks_blocked()
        looks[0].set()
        await until(lambda: len(looks) == 2)
        assert len(paying.rescued) == 1
        gate.open.set()


async def test_what_is_kept_is_kept_once_and_more_of_it_anew(paying: Paying, pauses: list[float]) -> None:
    raised = paying.fail(retryable=True)
    ended = [paying.end("a"), paying.end("b")]
    paying.clock.now += 3
    with pytest.raises(JournalError) as caught:
        await paying.lease.commit_result()
    assert len(raised) == len(pauses) + 1 > 2
    ((row, entries),) = paying.rescued
    assert (entries, row.length, row.updated) == (ended, len(paying.transcript.entries) - 2, paying.clock.now)
    (file,) = paying.files()
    assert str(caught.value) == (
        f"the disk is full; what has happened is kept in {file}, and taken in when the run is read again"
    )
    assert caught.value.retryable
    ended.append(paying.end("c"))
    paying.fail()
    with pytest.raises(JournalError) as caught:
        await paying.lease.commit_result()
    assert not caught.value.retryable
    assert [entries for _, entries in paying.rescued] == [ended[:2], ended]
    assert paying.cleared == 0
    paying.mend()
    await paying.lease.commit_result()
    assert (paying.files(), paying.cleared) == ([], 1)


async def test_two_at_once_keep_it_in_one_place_and_both_can_name_it(paying: Paying) -> None:
    failed = paying.fail()
    gate, rescue, said = Gate(), paying.store.rescue, []

    def slow(row: RunRow, lines: Lines) -> str:
        gate(True, lines)
        return rescue(row, lines)

    async def commit() -> None:
        with pytest.raises(JournalError) as caught:
            await paying.lease.commit_result()
        said.append(str(caught.value))

    paying.store.rescue = slow  # type: ignore[method-assign]
    paying.end("a")
    async with anyio.create_task_group() as group:
        group.start_soon(commit)
        group.start_soon(commit)
        await until(lambda: len(failed) == 2)
        await anyio.sleep(0.02)
        gate.open.set()
    (file,) = paying.files()
    assert (len(paying.rescued), [str(file) in one for one in said]) == (1, [True, True])


async def test_what_no_place_takes_is_told_and_tried_again(paying: Paying) -> None:
    paying.fail()
    paying.store.is_full = True
    paying.end("a")
    for _ in range(2):
        with pytest.raises(JournalError) as caught:
            await paying.lease.commit_result()
        assert str(caught.value) == (
            "the disk is full; no space left on device. "
            "What has happened is in the log in memory alone: keep the error's result.dump()"
        )
    paying.store.is_full = False
    with pytest.raises(JournalError, match="what has happened is kept in "):
        await paying.lease.commit_result()
    assert len(paying.files()) == 1
    paying.mend()
    await paying.lease.release("end_turn", None)
    assert (paying.files(), paying.cleared) == ([], 1)


@pytest.mark.parametrize(
    ("outcomes", "kept"),
    [
        (["done", "not_run", "denied"], 1),
        (["not_run", "done", "denied"], 2),
        (["denied", "not_run", "failed"], 3),
        (["cancelled", "unknown"], 2),
        (["not_run", "denied"], 0),
    ],
)
async def test_what_can_be_done_again_is_not_kept(paying: Paying, outcomes: list[Outcome], kept: int) -> None:
    paying.fail()
    ended = [paying.end(name, outcome) for name, outcome in zip("abc", outcomes, strict=False)]
    with pytest.raises(JournalError) as caught:
        await paying.lease.release("error", None)
    if kept:
        ((_, entries),) = paying.rescued
        assert entries == ended[:kept]
        assert str(paying.files()[0]) in str(caught.value)
    else:
        assert (paying.rescued, str(caught.value)) == ([], "the disk is full")


async def test_who_gives_back_stops_what_watches(paying: Paying, looks: list[anyio.Event]) -> None:
    paying.end("a")
    await paying.lease.commit_result()
    await until(lambda: bool(looks))
    watch = paying.lease._watch
    assert watch is not None
    await paying.lease.release("end_turn", None)
    with anyio.fail_after(30):
        await watch.ended()
    assert paying.cleared == 0, "nothing was kept"


async def test_who_has_lost_the_run_keeps_its_lines_beside_it_once(paying: Paying) -> None:
    paying.clock.now += 60
    theirs = paying.journal.load("run_1")
    theirs.begin("run_1", None)
    await paying.journal.take_up(theirs)
    orphan = paying.store._store.orphan

    def fails_once(row: RunRow, lines: Lines) -> None:
        paying.store._store.orphan = orphan  # type: ignore[method-assign]
        raise JournalError("the disk is full")

    paying.store._store.orphan = fails_once  # type: ignore[method-assign]
    ended = paying.end("a")
    with pytest.raises(JournalError, match="the disk is full"):
        await paying.lease.commit(True)
    for leave in (paying.lease.commit_result, lambda: paying.lease.release("end_turn", None)):
        with pytest.raises(LeaseLost):
            await leave()
    assert (paying.journal.orphans("run_1"), paying.rescued) == ([ended], [])


async def test_lines_that_are_in_the_run_all_the_same_are_not_written_again(paying: Paying) -> None:
    append = paying.store._store.append

    def append_and_lose_the_answer(row: RunRow, lines: Lines, *, durable: bool) -> None:
        append(row, lines, durable=durable)
        paying.store._store.append = append  # type: ignore[method-assign]
        paying.end("b")
        error = JournalError("connection reset")
        error.retryable = True
        raise error

    paying.store._store.append = append_and_lose_the_answer  # type: ignore[method-assign]
    paying.end("a")
    await paying.lease.commit_result()
    paying.end("c")
    await paying.lease.release("end_turn", None)
    assert paying.journal.load("run_1").entries == json.loads(json.dumps(paying.transcript.entries))
    assert paying.journal.orphans("run_1") == []


async def test_a_try_at_the_very_end_of_the_time_is_made(
    paying: Paying, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentkit.lease._PATIENCE", 0.05)
    tried = paying.fail(retryable=True)
    paying.end("a")
    with pytest.raises(JournalError):
        await paying.lease.commit_result()
    assert (len(tried), pauses) == (2, [0.05])


async def test_what_a_transaction_writes_is_stored_with_it(paying: Paying) -> None:
    paying.end("c")
    await paying.lease.commit(False)
    paying.store.writes.clear()
    paying.clock.now += 5

    def work(db: Any) -> None:
        paying.end("a")
        paying.end("b")

    await paying.lease.transact(work)
    row = paying.journal.run("run_1")
    assert (row.updated, row.expires, row.length) == (
        paying.clock.now,
        paying.clock.now + LEASE_SECONDS,
        len(paying.transcript.entries),
    )
    paying.clock.now += LEASE_SECONDS - 1
    await paying.lease.confirm()
    await paying.lease.commit(True)
    assert paying.store.writes == [(True, 2)], "it is ours, and synced"
    await paying.lease.release("end_turn", None)
    assert paying.journal.load("run_1").entries == json.loads(json.dumps(paying.transcript.entries))


@pytest.mark.parametrize("leaves", [False, True])
async def test_who_comes_in_the_midst_of_a_transaction_waits(paying: Paying, leaves: bool) -> None:
    gate = Gate()

    def work(db: Any) -> None:
        if leaves:
            gate(True, ())
        paying.end("a")
        if not leaves:
            gate(True, ())

    paying.store.writes.clear()
    async with anyio.create_task_group() as group:
        group.start_soon(paying.lease.transact, work)
        await anyio.to_thread.run_sync(gate.reached.wait)
        if leaves:
            group.start_soon(anyio.to_thread.run_sync, paying.lease.leave, "end_turn", None)
        else:
            group.start_soon(paying.lease.commit, True)
        await anyio.sleep(0.02)
        gate.open.set()
    assert paying.store.writes == [(True, 1), (True, 0)][: 1 + leaves]
    assert paying.journal.orphans("run_1") == []
    assert paying.journal.load("run_1").entries == json.loads(json.dumps(paying.transcript.entries))
