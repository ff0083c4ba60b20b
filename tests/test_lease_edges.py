"""What mutants of `agentkit.lease` and `agentkit.journal` showed untested."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from journaled import Clock, WatchedStore
from logs import begun

from agentkit.errors import ConfigurationError, JournalError
from agentkit.journal import Journal
from agentkit.lease import LEASE_SECONDS, is_dead, new_holder, release_holder
from agentkit.store import digest_of

pytestmark = pytest.mark.anyio


def kept(folder: Path) -> tuple[Journal, WatchedStore, Clock]:
    store, clock = WatchedStore(folder), Clock()
    return store.journal(clock), store, clock


async def test_nothing_is_written_twice(tmp_path: Path) -> None:
    journal, store, clock = kept(tmp_path)
    transcript = begun("Hi")
    lease = await journal.take_up(transcript)
    store.writes.clear()
    transcript.answer()
    await lease.commit(False)
    await lease.commit(False)
    assert store.writes == [(False, 1)]
    await lease.commit(True)
    await lease.commit(True)
    await lease.commit(False)
    assert store.writes == [(False, 1), (True, 0)], "what is synced already is not synced again"
    clock.now += 5
    await lease.renew()
    assert journal.run("run_1").expires == clock.now + LEASE_SECONDS
    await lease.release("end_turn", None)
    row = journal.run("run_1")
    assert (row.state, row.holder, row.length, row.updated) == ("end_turn", None, 2, clock.now)
    assert transcript.stored is not None
    assert transcript.stored[:2] == ("run_1", 2)
    journal.close()


async def test_confirm_renews_what_is_over_and_nothing_else(tmp_path: Path) -> None:
    journal, store, clock = kept(tmp_path)
    lease = await journal.take_up(begun("Hi"))
    store.writes.clear()
    clock.now += LEASE_SECONDS - 0.5
    await lease.confirm()
    assert store.writes == []
    clock.now += 0.5
    await lease.confirm()
    assert store.writes == [(False, 0)]
    assert journal.run("run_1").expires == clock.now + LEASE_SECONDS
    await lease.confirm()
    assert len(store.writes) == 1
    await lease.release("end_turn", "\ud800 of it")
    assert journal.run("run_1").detail == "? of it"
    journal.close()


def test_a_holder_is_dead_once_it_has_given_back() -> None:
    holder = new_holder()
    host, pid, part = holder.rsplit(":", 2)
    assert (int(pid), len(part)) == (os.getpid(), 8)
    assert host.startswith(socket.gethostname())
    assert not is_dead(holder)
    release_holder(holder)
    assert is_dead(holder)
    assert not is_dead(f"elsewhere:{pid}:{part}")
    assert not is_dead(None)
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    assert is_dead(f"{host}:{int(gone.stdout)}:{part}")
    assert not is_dead(f"{host}:{os.getppid()}:{part}")
    assert not is_dead(f"{host}:1:{part}")


async def test_the_lease_of_a_run_that_was_given_back_leaves_no_holder(tmp_path: Path) -> None:
    journal, _, _ = kept(tmp_path)
    lease = await journal.take_up(begun("Hi"))
    holder: Any = journal.run("run_1").holder
    assert not is_dead(holder)
    await lease.release("end_turn", None)
    assert is_dead(holder)
    journal.close()


@pytest.mark.parametrize("length", [79, 80, 81, 200])
async def test_a_title_has_80_characters_at_most(tmp_path: Path, length: int) -> None:
    journal, _, _ = kept(tmp_path)
    await journal.take_up(begun("x" * length))
    title = journal.run("run_1").title
    assert title == ("x" * length if length <= 80 else "x" * 79 + "…")
    journal.close()


async def test_a_title_is_one_line_without_what_no_database_takes(tmp_path: Path) -> None:
    journal, _, _ = kept(tmp_path)
    await journal.take_up(begun("What \ud800\n is   it?"))
    assert journal.run("run_1").title == "What ? is it?"
    journal.close()


async def test_a_fork_has_an_id_like_any_run(tmp_path: Path) -> None:
    journal, _, clock = kept(tmp_path)
    transcript = begun("Hi")
    transcript.answer()
    transcript.take_turn({"content": [], "stop_reason": "end_turn", "usage": {}}, "req_1", 1.0)
    lease = await journal.take_up(transcript)
    await lease.release("end_turn", None)
    clock.now += 7
    made = journal.fork("run_1", 1)
    row = journal.run(made)
    assert (len(made), int(made, 16) >= 0) == (32, True)
    assert (row.parent, row.parent_length, row.length, row.state) == ("run_1", 2, 3, "forked")
    assert (row.detail, row.holder, row.created) == ("before turn 1 of run run_1", None, clock.now)
    journal.close()


def test_digests_in_logs_stay_what_they_are() -> None:
    from agentkit.repeats import digest_of as digest_of_call

    assert digest_of_call("add", {"x": 1}, "3") == DIGEST_OF_CALL
    assert digest_of(b"", b"{}").hex() == DIGEST_OF_ENTRY


DIGEST_OF_CALL = "3444fa0412c9df0d"
DIGEST_OF_ENTRY = "2afb9b83f9314e5d029766197f539792"


def test_fifty_runs_are_listed() -> None:
    asked: list[tuple[Any, ...]] = []

    class Listed:
        def claim(self) -> None: ...

        def runs(self, *given: Any) -> list[Any]:
            asked.append(given)
            return []

    journal = Journal(Listed())  # type: ignore[arg-type]
    assert (journal.runs(), journal.interrupted()) == ([], [])
    assert asked == [(50,), (50, "running")]


async def test_a_result_is_synced_and_tried_again_as_long_as_that_may_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, store, _ = kept(tmp_path)
    transcript = begun("Hi")
    lease = await journal.take_up(transcript)
    transcript.answer()
    store.writes.clear()
    failures = iter([True, True, False])
    store.fails = lambda durable, lines: next(failures)
    await lease.commit_result()
    assert (store.writes, next(failures, "all used")) == ([(True, 1)], "all used")
    tried: list[bool] = []

    def never(durable: bool, lines: Any) -> bool:
        tried.append(durable)
        return True

    store.fails = never
    transcript.take_turn({"content": [], "stop_reason": "end_turn", "usage": {}}, "req_1", 1.0)
    monkeypatch.setattr("agentkit.lease._PATIENCE", 0.2)
    with pytest.raises(JournalError, match="the disk is full"):
        await lease.commit_result()
    assert tried == [True] * 3, "at once, after 0.05 s and after 0.1 s more"

    def broken(durable: bool, lines: Any) -> bool:
        tried.append(durable)
        raise JournalError("broken")

    tried.clear()
    store.fails = broken
    with pytest.raises(JournalError, match="broken"):
        await lease.commit_result()
    assert tried == [True], "that can't help"
    store.fails = lambda durable, lines: False
    await lease.release("end_turn", None)
    journal.close()


def test_a_journal_is_a_path_or_a_store() -> None:
    with pytest.raises(ConfigurationError, match="a journal is the path of a file or a store, not a int"):
        Journal(3)  # type: ignore[arg-type]
