"""What every store must do; a second one is added to `STORES`. And what is SQLite's alone."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentkit.errors import ConfigurationError, JournalError, LeaseLost, RunBusy
from agentkit.sqlite_store import SqliteStore
from agentkit.store import Lines, RunRow, Store, digest_of

STORES: dict[str, Callable[[Path], Store]] = {"sqlite": lambda folder: SqliteStore(folder / "runs.db")}

RUN = RunRow(
    run_id="run_1",
    parent=None,
    parent_length=0,
    model="claude-sonnet-4-6",
    title="Do it.",
    state="running",
    detail=None,
    created=100.0,
    updated=100.0,
    length=0,
    epoch=1,
    holder="here:1",
    expires=120.0,
)


def line(number: int) -> tuple[bytes, bytes]:
    return b'{"n":%d}' % number, b"digest %d" % number


def chain(*numbers: int) -> Lines:
    """Lines with the digests that they would have, from the beginning of a run."""
    lines, digest = [], b""
    for number in numbers:
        digest = digest_of(digest, line(number)[0])
        lines.append((line(number)[0], digest))
    return lines


@pytest.fixture(params=STORES)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Opens the same store, as another process would."""
    opened: list[Store] = []

    def another() -> Store:
        opened.append(STORES[request.param](tmp_path))
        return opened[-1]

    yield another
    for store in opened:
        store.close()


@pytest.fixture
def store(make: Callable[[], Store]) -> Store:
    return make()


def test_a_new_run_is_there_with_its_lines(store: Store, make: Callable[[], Store]) -> None:
    assert store.run("run_1") is None
    assert store.claim(RUN, [line(0), line(1)]) == 1
    for one in (store, make()):
        assert one.run("run_1") == replace(RUN, length=2)
        assert one.lines("run_1", 0, 9) == [line(0), line(1)]
        assert one.lines("run_1", 1, 2) == [line(1)]
        assert one.lines("run_1", 2, 9) == []


def test_lines_are_appended_and_the_row_follows(store: Store) -> None:
    store.claim(RUN, [line(0)])
    row = replace(RUN, length=1, updated=105.0, expires=125.0)
    store.append(row, [line(1), line(2)], durable=True)
    store.append(replace(row, length=3, updated=106.0), [], durable=False)
    ended = replace(row, length=3, updated=107.0, state="end_turn", detail="why", holder=None)
    store.append(ended, [line(3)], durable=True)
    assert store.run("run_1") == replace(ended, length=4)
    assert [entry for entry, _ in store.lines("run_1", 0, 9)] == [line(n)[0] for n in range(4)]


def test_a_run_that_another_holds_is_busy_until_its_time_is_up(store: Store, make: Callable[[], Store]) -> None:
    store.claim(RUN, [line(0)])
    other, late = make(), replace(RUN, length=1, holder="there:2", updated=119.9, expires=139.9)
    with pytest.raises(RunBusy, match="goes on in another place \\(here:1\\)"):
        other.claim(late, [line(1)])
    with pytest.raises(RunBusy):
        other.claim(late, [line(1)], dead="here:2")
    assert other.claim(replace(late, updated=120.0), [line(1)]) == 2
    held = other.run("run_1")
    assert held is not None
    assert (held.holder, held.epoch, held.length) == ("there:2", 2, 2)


def test_a_holder_that_is_known_to_be_dead_is_not_waited_for(store: Store, make: Callable[[], Store]) -> None:
    store.claim(RUN, [line(0)])
    late = replace(RUN, length=1, holder="there:2", updated=101.0)
    assert make().claim(late, [line(1)], dead="here:1") == 2


def test_who_has_lost_a_run_writes_nothing_more(store: Store, make: Callable[[], Store]) -> None:
    store.claim(RUN, [line(0)])
    epoch = make().claim(replace(RUN, length=1, holder="there:2", updated=121.0), [line(1)])
    assert epoch == 2
    for lines in ([line(7)], []):
        for length in (1, 2):
            with pytest.raises(LeaseLost, match="taken over run run_1"):
                store.append(replace(RUN, length=length), lines, durable=True)
    assert store.lines("run_1", 0, 9) == [line(0), line(1)]
    store.orphan(RUN, [line(7)])
    assert make().orphans("run_1") == [line(7)[0]]
    assert store.orphans("run_2") == []


def test_a_run_that_rests_can_be_taken_up_at_once_but_only_as_it_is(store: Store) -> None:
    store.claim(RUN, [line(0)])
    store.append(replace(RUN, length=1, holder=None, state="needs_approval"), [], durable=True)
    for length in (0, 2):
        with pytest.raises(RunBusy, match="has gone on since it was read"):
            store.claim(replace(RUN, length=length), [line(5)])
    assert store.claim(replace(RUN, length=1, model="claude-opus-4-8"), [line(1)]) == 2
    row = store.run("run_1")
    assert row is not None
    assert (row.state, row.model, row.created) == ("running", "claude-opus-4-8", 100.0)


def test_a_run_that_rests_is_cut(store: Store, make: Callable[[], Store]) -> None:
    store.claim(RUN, [line(0), line(1), line(2)])
    known = replace(RUN, length=3, updated=110.0)
    with pytest.raises(RunBusy, match="goes on in another place"):
        make().cut(replace(known, length=1, holder=None), [line(7)])
    make().cut(replace(known, length=2, state="repaired", holder=None), [line(6)], dead="here:1")
    row = store.run("run_1")
    assert row is not None
    assert (row.length, row.epoch, row.state, row.holder) == (3, 2, "repaired", None)
    assert store.lines("run_1", 0, 9) == [line(0), line(1), line(6)]
    with pytest.raises(LeaseLost):
        store.append(known, [line(8)], durable=True)
    for gone_on in (known, replace(known, run_id="run_9")):
        with pytest.raises(RunBusy, match="has gone on since it was read"):
            store.cut(replace(gone_on, length=1), [line(7)])
    assert store.lines("run_1", 0, 9) == [line(0), line(1), line(6)]


def test_the_newest_runs_come_first(store: Store) -> None:
    for number in range(5):
        store.claim(replace(RUN, run_id=f"run_{number}", updated=100.0 + number % 3), [line(0)])
    assert [row.run_id for row in store.runs(4)] == ["run_2", "run_4", "run_1", "run_3"]


def test_one_of_many_at_once_gets_the_run(make: Callable[[], Store]) -> None:
    make().claim(replace(RUN, holder=None), [line(0)])
    won: list[int] = []
    busy: list[RunBusy] = []
    gate = threading.Barrier(6)

    def claim(number: int) -> None:
        store = make()
        gate.wait()
        try:
            won.append(store.claim(replace(RUN, length=1, holder=f"at:{number}"), [line(number)]))
        except RunBusy as error:
            busy.append(error)

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (won, len(busy)) == ([2], 5)


def test_C18_what_was_rescued_is_taken_in(store: Store, make: Callable[[], Store]) -> None:
    lines = chain(0, 1, 2, 3)
    store.claim(RUN, lines[:2])
    store.recover("run_1")
    row = replace(RUN, length=2, updated=105.0)
    assert store.rescue(row, lines[2:3])
    assert store.rescue(row, lines[2:])  # longer
    assert store.lines("run_1", 0, 9) == lines[:2]
    other = make()
    for _ in range(2):
        other.recover("run_1")
        assert other.lines("run_1", 0, 9) == lines
        assert (other.run("run_1"), other.orphans("run_1")) == (replace(RUN, length=4), [])
    store.append(replace(RUN, length=4), [line(4)], durable=True)  # its holder goes on


def test_C18_what_is_there_is_not_taken_in_again(store: Store) -> None:
    lines = chain(0, 1, 2, 3)
    store.claim(RUN, lines[:1])
    row = replace(RUN, length=1)
    store.rescue(row, lines[1:3])
    store.append(row, lines[1:], durable=True)
    store.recover("run_1")
    assert (store.lines("run_1", 0, 9), store.orphans("run_1")) == (lines, [])
    store.rescue(row, lines[1:])
    store.append(replace(row, length=4, holder=None), [], durable=True)
    store.claim(replace(RUN, length=4, holder="there:2"), [(line(9)[0], digest_of(lines[3][1], line(9)[0]))])
    store.recover("run_1")  # it was taken up with all that was rescued
    assert (len(store.lines("run_1", 0, 9)), store.orphans("run_1")) == (5, [])


def test_C18_what_was_rescued_of_a_run_that_others_have_taken_up_is_kept_beside_it(store: Store) -> None:
    lines = chain(0, 1, 2)
    store.claim(RUN, lines[:1])
    store.rescue(replace(RUN, length=1), lines[1:])
    store.claim(replace(RUN, length=1, holder="there:2"), [line(7)], dead="here:1")
    store.recover("run_1")
    assert store.lines("run_1", 0, 9) == [lines[0], line(7)]
    assert store.orphans("run_1") == [entry for entry, _ in lines[1:]]
    store.rescue(replace(RUN, length=1), lines[1:])
    store.recover("run_1")
    assert len(store.orphans("run_1")) == 2  # once is enough


def test_C18_nothing_is_taken_into_a_run_that_another_goes_on_with(store: Store) -> None:
    lines = chain(0, 1)
    store.claim(RUN, lines[:1])
    store.rescue(replace(RUN, length=1), lines[1:])
    store.claim(replace(RUN, length=1, holder="there:2"), [], dead="here:1")
    store.recover("run_1")
    assert (store.lines("run_1", 0, 9), store.orphans("run_1")) == (lines[:1], [lines[1][0]])
    store.append(replace(RUN, length=1, epoch=2), [line(7)], durable=True)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_C18_what_does_not_go_on_from_the_end_is_kept_beside_the_run(store: Store, length: int) -> None:
    store.claim(RUN, chain(0, 1))
    store.rescue(replace(RUN, length=length), [line(5), line(6)])
    store.recover("run_1")
    assert store.lines("run_1", 0, 9) == chain(0, 1)
    assert store.orphans("run_1") == [line(5)[0], line(6)[0]]


def test_C18_what_was_rescued_of_a_run_that_is_not_there_is_left(store: Store) -> None:
    lines = chain(0, 1)
    store.rescue(replace(RUN, length=1), lines[1:])
    store.recover("run_1")
    assert (store.run("run_1"), store.orphans("run_1")) == (None, [])
    store.claim(RUN, lines[:1])
    store.recover("run_1")
    assert store.lines("run_1", 0, 9) == lines


# SQLite's alone


def test_C16_a_session_goes_on_from_its_last_run_alone(store: Store) -> None:
    first = replace(RUN, session="ada")
    assert store.last("ada") is None
    store.claim(first, [line(1)])
    assert store.last("ada") == store.run("run_1")
    second = replace(first, run_id="run_2", parent="run_1", parent_length=1, length=1, holder="here:2", updated=101.0)
    with pytest.raises(RunBusy, match=r"session 'ada' goes on in another place \(run run_1\): wait for its end"):
        store.claim(second, [line(2)])
    store.append(replace(first, length=1, state="end_turn", holder=None), [], durable=True)
    store.claim(second, [line(2)])
    store.append(replace(second, length=2, state="end_turn", holder=None), [], durable=True)
    assert store.last("ada") == store.run("run_2")
    for late in (
        replace(second, run_id="run_3"),
        replace(second, run_id="run_4", parent=None, parent_length=0, length=0),
    ):
        with pytest.raises(RunBusy, match="session 'ada' has gone on with run run_2: continue that one"):
            store.claim(late, [line(3)])
    with pytest.raises(RunBusy, match="has gone on with run run_2"):
        store.claim(replace(first, length=1), [line(3)])
    assert store.run("run_3") is None
    store.claim(replace(second, run_id="run_5", parent="run_2", parent_length=2, length=2, holder="here:5"), [line(3)])
    assert store.last("eve") is None


def test_a_session_whose_holder_is_dead_can_be_taken_over(store: Store) -> None:
    store.claim(replace(RUN, session="ada"), [line(1)])
    second = replace(RUN, run_id="run_2", parent="run_1", parent_length=1, length=1, holder="here:2", session="ada")
    store.claim(second, [line(2)], dead="here:1")
    assert store.last("ada") == store.run("run_2")


def sqlite(folder: Path) -> SqliteStore:
    return SqliteStore(folder / "runs.db")


def test_only_the_user_may_read_the_file(tmp_path: Path) -> None:
    sqlite(tmp_path).close()
    assert stat.S_IMODE((tmp_path / "runs.db").stat().st_mode) == 0o600


def test_a_file_that_is_no_journal(tmp_path: Path) -> None:
    (tmp_path / "runs.db").write_text("Dear diary, " * 1000)
    with pytest.raises(JournalError, match=r"runs\.db can't be used: file is not a database"):
        sqlite(tmp_path)
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE mine (a)")
    other.close()
    with pytest.raises(ConfigurationError, match="another program's database"):
        SqliteStore(tmp_path / "other.db")
    with pytest.raises(ConfigurationError, match="there is no folder"):
        SqliteStore(tmp_path / "nowhere" / "runs.db")
    with pytest.raises(JournalError, match="can't be used"):
        SqliteStore(tmp_path)


def test_a_newer_journal_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    store = sqlite(tmp_path)
    store.claim(RUN, [line(0)])
    store.close()
    with sqlite3.connect(tmp_path / "runs.db") as db:
        db.execute("PRAGMA user_version = 7")
    db.close()
    before = (tmp_path / "runs.db").read_bytes()
    with pytest.raises(ConfigurationError, match="has format 7, and this agentkit writes 2: update agentkit"):
        sqlite(tmp_path)
    assert (tmp_path / "runs.db").read_bytes() == before


def test_a_locked_file_is_waited_for_and_then_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentkit.sqlite_store._LOCKED_SECONDS", 30)
    patient = sqlite(tmp_path)
    monkeypatch.setattr("agentkit.sqlite_store._LOCKED_SECONDS", 0.05)
    store = sqlite(tmp_path)
    other = sqlite3.connect(tmp_path / "runs.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalError, match="database is locked"):
        store.claim(RUN, [line(0)])
    timer = threading.Timer(0.1, other.close)
    timer.start()
    assert patient.claim(RUN, [line(0)]) == 1
    timer.join()
    store.close()
    patient.close()


def test_C18_who_waits_for_a_locked_file_does_not_wait_for_all_others_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentkit.sqlite_store._LOCKED_SECONDS", 0.1)
    store = sqlite(tmp_path)
    store.claim(RUN, [line(0)])
    other = sqlite3.connect(tmp_path / "runs.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    failed: list[bool] = []

    def append() -> None:
        try:
            store.append(replace(RUN, length=1), [line(1)], durable=True)
        except JournalError as error:
            failed.append(error.retryable)

    threads = [threading.Thread(target=append) for _ in range(40)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began < 8  # one after the other takes 0.3 seconds each
    assert failed == [True] * 40
    other.close()
    store.append(replace(RUN, length=1), [line(1)], durable=True)
    store.close()


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    store = sqlite(tmp_path)
    store.claim(RUN, [line(0)])
    db: Any = store._db
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(JournalError, match="disk is full"):
        store.append(replace(RUN, length=1), [(b"x" * 100_000, b"d")], durable=True)
    assert store.lines("run_1", 0, 9) == [line(0)]
    db.execute("PRAGMA max_page_count = 1000000")
    store.append(replace(RUN, length=1), [(b"x" * 100_000, b"d")], durable=True)
    assert len(store.lines("run_1", 0, 9)) == 2
    store.close()


def test_a_forked_process_opens_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = sqlite(tmp_path)
    monkeypatch.setattr(store, "_pid", os.getpid() + 1)
    with pytest.raises(JournalError, match="forked"):
        store.runs(1)
    store.close()


def test_what_is_closed_says_so(tmp_path: Path) -> None:
    store = sqlite(tmp_path)
    store.close()
    store.close()
    with pytest.raises(JournalError, match="closed database"):
        store.runs(1)


@pytest.mark.parametrize("durable", [True, False])
def test_what_is_durable_is_synced_once(tmp_path: Path, durable: bool) -> None:
    store = sqlite(tmp_path)
    store.claim(RUN, [line(0)])
    store.append(replace(RUN, length=1), [line(1)], durable=durable)
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2 if durable else 1,)
    assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.close()


def test_C20_an_older_file_is_brought_up_to_date(tmp_path: Path) -> None:
    sqlite(tmp_path).close()
    with sqlite3.connect(tmp_path / "runs.db") as db:  # as the first format was
        db.execute("DROP INDEX runs_session")
        db.execute("ALTER TABLE runs DROP COLUMN session")
        db.execute("PRAGMA user_version = 1")
        old = "INSERT INTO runs VALUES ('old', NULL, 0, 'm', 't', 'end_turn', NULL, 1, 1, 0, 1, NULL, 1)"
        db.execute(old)
    db.close()
    store = sqlite(tmp_path)
    row = store.run("old")
    assert row is not None
    assert (row.session, row.state) == (None, "end_turn")
    store.claim(replace(RUN, session="ada"), [line(1)])
    assert store.last("ada") == store.run("run_1")
    store.close()
    sqlite(tmp_path).close()
