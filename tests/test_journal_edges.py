"""What mutants of `agentkit.journal` showed untested."""

from __future__ import annotations

import json
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from journaled import Clock, WatchedStore
from logs import asked, begun, end, result, take
from scripted import text, tool_use

from agentkit import lease
from agentkit.errors import ConfigurationError, JournalError, RunBusy
from agentkit.journal import Journal, before_turn, question_of
from agentkit.lease import LEASE_SECONDS, new_holder
from agentkit.messages import as_messages
from agentkit.transcript import Transcript

pytestmark = pytest.mark.anyio

A, B = tool_use("add", id="toolu_a", x=1), tool_use("add", id="toolu_b", x=2)
LEFT = "The process stopped while this call ran: its outcome is unknown. Check before repeating it."
CANCELLED = "The run was cancelled before this call, so it has not run."


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> WatchedStore:
    return WatchedStore(tmp_path)


@pytest.fixture
def journal(store: WatchedStore, clock: Clock) -> Any:
    journal = store.journal(clock)
    yield journal
    journal.close()


def log(run_id: str = "run_1", *, turns: int = 2) -> Transcript:
    transcript = Transcript()
    transcript.begin(run_id, as_messages("Hi"), asks=("claude", "https://a.test"))
    for _ in range(turns):
        transcript.answer()
        take(transcript, A)
        end(transcript)
    return transcript


def entries(transcript: Transcript) -> Any:
    return json.loads(json.dumps(transcript.entries))


async def test_a_row_says_what_the_run_is(journal: Journal, clock: Clock) -> None:
    transcript = log()
    held = await journal.take_up(transcript, "talk")
    row = journal.run("run_1")
    assert (row.run_id, row.parent, row.parent_length, row.model, row.title) == ("run_1", None, 0, "claude", "Hi")
    assert (row.state, row.detail, row.session, row.length) == ("running", None, "talk", len(transcript.entries))
    assert (row.created, row.updated, row.expires) == (clock.now, clock.now, clock.now + LEASE_SECONDS)
    assert journal.has("run_1")
    assert not journal.has("run_2")
    assert (journal.last("talk"), journal.last("another")) == (row, None)
    await held.release("end_turn", None)
    assert journal.run("run_1").session == "talk"
    again = journal.load("run_1")
    await (await journal.take_up(again)).release("end_turn", None)
    assert journal.run("run_1").session == "talk", "a run stays where it is"


async def test_a_run_is_live_while_its_holder_is_there_and_its_time_is_not_over(journal: Journal, clock: Clock) -> None:
    held = await journal.take_up(log())
    row = journal.run("run_1")
    assert journal.is_live(row)
    assert not journal.is_live(replace(row, holder=None))
    dead = str(row.holder).rsplit(":", 1)[0] + ":dead"  # of this process, and given back
    assert not journal.is_live(replace(row, holder=dead))
    for seconds, is_live in [(LEASE_SECONDS - 0.5, True), (0.5, False), (1, False)]:
        clock.now += seconds
        assert journal.is_live(row) == is_live
        assert [one.run_id for one in journal.interrupted()] == ([] if is_live else ["run_1"])
    await held.release("end_turn", None)
    assert journal.interrupted() == []
    assert [one.run_id for one in journal.runs()] == ["run_1"]


async def test_a_run_that_ends_while_it_is_looked_at_was_not_interrupted(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row is read as that of a running one, and then its holder is gone."""
    held = await journal.take_up(log())
    row = journal.run("run_1")
    await held.release("end_turn", None)
    looks = iter([[row]])
    read = journal._store.interrupted
    monkeypatch.setattr(journal._store, "interrupted", lambda *which: next(looks, None) or read(*which))
    assert journal.interrupted() == []


async def test_who_can_not_take_a_run_up_is_no_holder(journal: Journal) -> None:
    first = await journal.take_up(log())
    before = set(lease._holders)
    with pytest.raises(RunBusy):
        await journal.take_up(log())
    assert lease._holders == before
    await first.release("end_turn", None)


async def test_a_run_that_is_not_there(journal: Journal) -> None:
    for ask in (journal.run, journal.load, journal.cancel):
        with pytest.raises(ConfigurationError, match="there is no run 'x' in the journal"):
            ask("x")
    assert journal.orphans("x") == []


async def test_who_asks_for_what_came_late_gets_what_could_only_be_rescued(
    store: WatchedStore, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: Any) -> None:
        raise JournalError("database is locked")

    lease = await journal.take_up(log())
    with monkeypatch.context() as patch:
        patch.setattr(store._store, "orphan", fails)
        lease.keep_late("1:toolu_a", "done", {"content": "paid after all"})
    await lease.release("end_turn", None)
    assert [late["result"] for late in journal.orphans("run_1")] == [{"content": "paid after all"}]


async def test_a_run_goes_on_entry_by_entry_and_is_read_as_it_was_written(journal: Journal) -> None:
    transcript = log(turns=1)
    held = await journal.take_up(transcript)
    for _ in range(3):
        transcript.answer()
        take(transcript, B)
        end(transcript)
        await held.commit(False)
    await held.release("end_turn", None)
    loaded = journal.load("run_1")
    assert entries(loaded) == entries(transcript)
    assert loaded.stored == transcript.stored
    loaded.begin("run_2", as_messages("More"), asks=("other", "https://a.test"))
    second = await journal.take_up(loaded)
    await second.release("end_turn", None)
    row = journal.run("run_2")
    assert (row.parent, row.parent_length, row.model) == ("run_1", len(transcript.entries), "other")
    assert entries(journal.load("run_2")) == entries(loaded)
    third = journal.load("run_2")
    third.begin("run_3", as_messages("Even more"))
    await (await journal.take_up(third)).release("end_turn", None)
    row = journal.run("run_3")
    assert (row.parent, row.parent_length, row.model) == ("run_2", len(loaded.entries), "")
    assert entries(journal.load("run_3")) == entries(third)


async def test_a_fork_of_a_run_that_goes_on_from_another(journal: Journal) -> None:
    first = log()
    await (await journal.take_up(first)).release("end_turn", None)
    second = journal.load("run_1")
    second.begin("run_2", as_messages("More"))
    second.answer()
    take(second, text("x"))
    await (await journal.take_up(second)).release("end_turn", None)
    for turn in (1, 2, 3):
        made = journal.fork("run_2", turn)
        forked = journal.load(made)
        at = before_turn(second, turn)
        assert entries(forked)[:at] == entries(second)[:at]
        assert len(forked.entries) == at + 1
        assert journal.run(made).detail == f"before turn {turn} of run run_2"
    for turn, there in [(0, "turns 1 to 3"), (4, "turns 1 to 3"), (-1, "turns 1 to 3")]:
        with pytest.raises(ConfigurationError, match=f"run run_2 has no turn {turn}: it has {there}"):
            journal.fork("run_2", turn)
    with pytest.raises(ConfigurationError, match="run run_1 has no turn 1: it has no model turn yet"):
        before_turn(begun("Hi"), 1)


async def test_what_cancel_closes(journal: Journal) -> None:
    transcript = take(asked(), A, B)
    transcript.start(transcript.unended()[0])
    held = await journal.take_up(transcript)
    with pytest.raises(RunBusy):
        journal.cancel("run_1")
    await held.release("needs_approval", None)
    journal.cancel("run_1")
    row, cancelled = journal.run("run_1"), journal.load("run_1")
    assert (row.state, row.detail, row.holder) == ("cancelled", None, None)
    taken_up, *ends = cancelled.entries[len(transcript.entries) :]
    assert (taken_up["entry"], taken_up["resume"]) == ("run", True)
    assert [(entry["outcome"], entry["result"]["content"]) for entry in ends] == [
        ("unknown", LEFT),
        ("not_run", CANCELLED),
    ]
    with pytest.raises(ConfigurationError, match=r"run run_1 has ended \(cancelled\): there is nothing to cancel"):
        journal.cancel("run_1")


@pytest.mark.parametrize("state", ["running", "forked", "queued", "paused", "end_turn"])
async def test_a_run_without_an_open_call_is_cancelled_only_if_it_waits(journal: Journal, state: str) -> None:
    await (await journal.take_up(begun("Hi"))).release(state, None)
    if state == "end_turn":
        with pytest.raises(ConfigurationError, match=r"run run_1 has ended \(end_turn\)"):
            journal.cancel("run_1")
    else:
        journal.cancel("run_1")
    assert journal.run("run_1").state == ("end_turn" if state == "end_turn" else "cancelled")


async def test_a_run_that_can_not_go_on_is_an_error_with_its_reason(journal: Journal) -> None:
    await (await journal.take_up(take(asked(), A))).release("needs_approval", None)
    journal.fail("run_1", "its agent is gone")
    row = journal.run("run_1")
    assert (row.state, row.detail, row.holder) == ("error", "its agent is gone", None)
    assert journal.load("run_1").unended() == []


def damage(folder: Path, run_id: str, at: int) -> None:
    db = sqlite3.connect(folder / "runs.db")
    changed = db.execute("UPDATE entries SET entry = ? WHERE run_id = ? AND seq = ?", (b"{}", run_id, at))
    assert changed.rowcount == 1
    db.commit()
    db.close()


async def test_the_message_about_damage_has_a_short_id_that_will_do(
    journal: Journal, tmp_path: Path, clock: Clock
) -> None:
    run_id = "0123456789abcdef"
    transcript = log(run_id)
    await (await journal.take_up(transcript)).release("end_turn", None)
    damage(tmp_path, run_id, 3)
    with pytest.raises(JournalError) as raised:
        journal.load(run_id)
    said = f"entry 3 of run {run_id} is damaged: `agentkit runs repair 01234567` keeps what comes before it"
    assert str(raised.value) == said
    clock.now += 9
    assert journal.repair(run_id, tmp_path / "cut") == len(transcript.entries) - 3
    row = journal.run(run_id)
    assert (row.state, row.detail, row.holder, row.updated) == ("repaired", "cut before entry 3", None, clock.now)
    assert len((tmp_path / "cut").read_bytes().splitlines()) == len(transcript.entries) - 3
    repaired = journal.load(run_id)
    assert entries(repaired)[:3] == entries(transcript)[:3]
    assert repaired.unended() == []
    with pytest.raises(ConfigurationError, match=f"no entry of run {run_id} is damaged"):
        journal.repair(run_id, tmp_path / "cut2")


async def test_a_damaged_run_that_is_held_is_repaired_only_if_its_holder_is_gone(
    journal: Journal, tmp_path: Path
) -> None:
    await journal.take_up(log())
    damage(tmp_path, "run_1", 3)
    with pytest.raises(RunBusy):
        journal.repair("run_1", tmp_path / "cut")
    lease.release_holder(journal.run("run_1").holder)
    journal.repair("run_1", tmp_path / "cut2")
    assert journal.run("run_1").state == "repaired"


async def rescued(journal: Journal, store: WatchedStore, transcript: Transcript) -> None:
    """Leaves a run whose last result could only be kept in another place."""
    held = await journal.take_up(transcript)
    transcript.start(transcript.unended()[0])
    await held.commit(True)
    call = transcript.unended()[0]
    transcript.end(call, "done", result("toolu_a"))
    transcript.end(transcript.unended()[0], "done", result("toolu_b"))
    store.fails = lambda durable, lines: True
    with pytest.raises(JournalError):
        await held.release("error", None)
    store.fails = lambda durable, lines: False


async def test_a_run_is_read_with_what_was_rescued_of_it(journal: Journal, store: WatchedStore) -> None:
    transcript = take(asked(), A, B)
    await rescued(journal, store, transcript)
    loaded = journal.load("run_1")
    assert entries(loaded) == entries(transcript)
    assert loaded.stored is not None
    assert loaded.stored[1] == len(transcript.entries)


async def test_who_has_the_log_goes_on_also_when_others_have_stored_it(journal: Journal, store: WatchedStore) -> None:
    transcript = take(asked(), A, B)
    await rescued(journal, store, transcript)
    journal.load("run_1")
    transcript.begin("run_1", None)
    again = await journal.take_up(transcript)
    transcript.answer()
    await again.release("end_turn", None)
    assert entries(journal.load("run_1")) == entries(transcript)


@pytest.mark.parametrize("after", [0, 1, 2])
async def test_who_has_another_log_does_not_go_on(journal: Journal, store: WatchedStore, after: int) -> None:
    transcript = take(asked(), A, B)
    await rescued(journal, store, transcript)
    other = Transcript.load({"agentkit": 1, "entries": transcript.entries[: len(transcript.entries) - 2 + after]})
    other.stored = transcript.stored
    other.begin("run_1", None)
    journal.load("run_1")
    if after == 2:
        await (await journal.take_up(other)).release("end_turn", None)
    else:
        with pytest.raises(RunBusy, match="has gone on since it was read"):
            await journal.take_up(other)


async def test_damage_in_the_first_entry_or_in_what_is_shared_can_not_be_repaired(
    journal: Journal, tmp_path: Path
) -> None:
    transcript = log()
    await (await journal.take_up(transcript)).release("end_turn", None)
    transcript.begin("run_2", as_messages("More"))
    await (await journal.take_up(transcript)).release("end_turn", None)
    at = journal.run("run_2").parent_length
    damage(tmp_path, "run_2", at)
    with pytest.raises(JournalError, match="run run_2 can't be repaired: the damage is its first entry"):
        journal.repair("run_2", tmp_path / "cut")
    damage(tmp_path, "run_1", at - 1)
    with pytest.raises(
        JournalError, match="run run_2 can't be repaired: the damage is in run run_1, that it goes on from"
    ):
        journal.repair("run_2", tmp_path / "cut")
    assert not (tmp_path / "cut").exists()


async def test_a_title_is_of_the_last_message(journal: Journal) -> None:
    given = [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}, {"role": "user", "content": "3"}]
    transcript = begun(*given)
    await journal.take_up(transcript)
    assert journal.run("run_1").title == "3"
    assert question_of(transcript) == transcript.entries[0]["messages"]
    assert question_of(Transcript()) == []


@pytest.mark.parametrize("length", [79, 80, 81, 200])
async def test_a_title_has_80_characters_at_most(journal: Journal, length: int) -> None:
    await journal.take_up(begun("x" * length))
    assert journal.run("run_1").title == ("x" * length if length <= 80 else "x" * 79 + "…")


async def test_a_title_is_one_line_without_what_no_database_takes(journal: Journal) -> None:
    await journal.take_up(begun("What \ud800\n is   it?"))
    assert journal.run("run_1").title == "What ? is it?"


async def test_a_dump_that_is_as_long_as_its_run_or_shorter_is_another_run(journal: Journal) -> None:
    transcript = log()
    dump = transcript.dump()
    held = await journal.take_up(transcript)
    await held.release("end_turn", None)
    with pytest.raises(RunBusy):
        await journal.take_up(Transcript.load(dump))
    more = Transcript.load(dump)
    more.answer()
    again = await journal.take_up(more)
    await again.release("end_turn", None)
    assert entries(journal.load("run_1")) == entries(more)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_database_that_needs_another_package_says_so(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setitem(sys.modules, "agentkit.integrations.postgres", None)
    with pytest.raises(ConfigurationError, match=r"agentkit\.integrations\.postgres"):
        Journal(f"{scheme}://nowhere/db")
    opened: list[str] = []

    def open_store(place: str) -> Any:
        opened.append(place)
        return SimpleNamespace(run=lambda run_id: run_id == "run_1" or None)

    monkeypatch.setitem(sys.modules, "agentkit.integrations.postgres", SimpleNamespace(PostgresStore=open_store))
    there = Journal(f"{scheme}://nowhere/db")
    assert (there.has("run_1"), there.has("run_2"), opened) == (True, False, [f"{scheme}://nowhere/db"])


async def test_a_run_that_rests_is_followed_from_its_first_event_in_one_look(journal: Journal) -> None:
    await (await journal.take_up(log(turns=1))).release("end_turn", None)
    numbers = [number async for number, _ in journal.follow("run_1")]
    assert numbers == [*range(1, len(numbers)), len(numbers) - 1]
    assert journal._news("run_1", 0, b"").rest == ("end_turn", None)


def test_where_a_journal_is(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "runs.db")
    assert journal.place == str(tmp_path / "runs.db")
    journal.close()
    database = SimpleNamespace(claim=None, url="postgresql://nowhere/db", path="not this")
    assert Journal(database).place == "postgresql://nowhere/db"  # type: ignore[arg-type]
    assert Journal(SimpleNamespace(claim=None)).place == ""  # type: ignore[arg-type]


def test_a_journal_that_is_closed_is_closed(journal: Journal) -> None:
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        journal.runs()


async def test_a_holder_that_is_gone_is_not_waited_for(journal: Journal) -> None:
    transcript = log()
    await journal.take_up(transcript, "talk")
    lease.release_holder(journal.run("run_1").holder)
    again = journal.load("run_1")
    held = await journal.take_up(again)
    assert journal.run("run_1").epoch == 2
    lease.release_holder(journal.run("run_1").holder)
    new = journal.load("run_1")
    new.begin("run_2", as_messages("Hi"))
    await (await journal.take_up(new, "talk")).release("end_turn", None)
    assert journal.run("run_2").session == "talk"
    assert held.now() == 1_000_000.0
    assert new_holder() != new_holder()
