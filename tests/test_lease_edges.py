"""What mutants of `agentkit.lease` and `agentkit.journal` showed untested."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.to_thread
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
    assert transcript.stored is not None
    assert transcript.stored[:2] == ("run_1", 1)
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
    assert store.writes[-1] == (True, 0), "how it ended outlives a loss of power"
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
    assert not is_dead(f"else:where:{pid}:{part}")
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

        interrupted = runs

    journal = Journal(Listed())  # type: ignore[arg-type]
    assert (journal.runs(), journal.interrupted()) == ([], [])
    assert [limit for limit, *_ in asked] == [50, 50]


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

    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    store.fails = never
    transcript.take_turn({"content": [], "stop_reason": "end_turn", "usage": {}}, "req_1", 1.0)
    monkeypatch.setattr("agentkit.lease._PATIENCE", 0.2)
    monkeypatch.setattr("agentkit.lease.Background", lambda work: None)
    monkeypatch.setattr(anyio, "sleep", sleep)
    monkeypatch.setattr(anyio, "current_time", lambda: 100.0 + sum(pauses))
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


def test_times_are_what_the_docs_say() -> None:
    from agentkit import lease

    assert (lease.LEASE_SECONDS, lease.RENEWED_EVERY, lease._PATIENCE, lease._RESCUED_AFTER) == (20, 5, 60, 2)


async def test_what_was_taken_up_is_synced_when_it_has_to_be(tmp_path: Path) -> None:
    journal, store, _ = kept(tmp_path)
    lease = await journal.take_up(begun("Hi"))
    store.writes.clear()
    await lease.commit(False)
    assert store.writes == []
    await lease.commit(True)
    assert store.writes == [(True, 0)]
    journal.close()


async def test_who_comes_while_others_write_finds_it_written(tmp_path: Path) -> None:
    journal, store, _ = kept(tmp_path)
    transcript = begun("Hi")
    lease = await journal.take_up(transcript)
    store.writes.clear()
    transcript.answer()
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(lease.commit, True)
    assert store.writes == [(True, 1)]
    journal.close()


class Gate:
    """Lets a write come through when it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()

    def __call__(self, durable: bool, lines: Any) -> bool:
        self.reached.set()
        assert self.open.wait(30)
        return False


async def test_a_lease_that_is_given_back_meanwhile_is_not_renewed(tmp_path: Path) -> None:
    journal, store, _ = kept(tmp_path)
    lease = await journal.take_up(begun("Hi"))
    store.fails = gate = Gate()
    async with anyio.create_task_group() as group:
        group.start_soon(lease.release, "end_turn", "all done")
        await anyio.to_thread.run_sync(gate.reached.wait)
        group.start_soon(lease.renew)
        await anyio.wait_all_tasks_blocked()
        gate.open.set()
    row = journal.run("run_1")
    assert (row.state, row.detail, row.holder) == ("end_turn", "all done", None)
    journal.close()


async def test_what_a_thread_still_writes_is_not_written_twice(tmp_path: Path) -> None:
    journal, store, _ = kept(tmp_path)
    transcript = begun("Hi")
    lease = await journal.take_up(transcript)
    transcript.answer()
    gate, append = Gate(), store._store.append

    def slow(row: Any, lines: Any, *, durable: bool) -> None:
        gate(durable, lines)
        append(row, lines, durable=durable)

    store._store.append = slow  # type: ignore[method-assign]
    async with anyio.create_task_group() as group:
        group.start_soon(lease.commit, False)
        await anyio.to_thread.run_sync(gate.reached.wait)
        group.start_soon(anyio.to_thread.run_sync, lease.leave, "end_turn", None)
        await anyio.sleep(0.02)
        gate.open.set()
    assert journal.orphans("run_1") == []
    assert journal.load("run_1").entries == json.loads(json.dumps(transcript.entries))
    assert journal.run("run_1").state == "end_turn"
    journal.close()


async def test_a_result_is_tried_more_and_more_rarely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, store, _ = kept(tmp_path)
    transcript = begun("Hi")
    lease = await journal.take_up(transcript)
    transcript.answer()
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        if seconds == 7777.0:  # what rescues waits
            await anyio.sleep_forever()
        pauses.append(seconds)

    monkeypatch.setattr("agentkit.lease._RESCUED_AFTER", 7777.0)
    monkeypatch.setattr(anyio, "sleep", sleep)
    monkeypatch.setattr(anyio, "current_time", lambda: 100.0 + sum(pauses))
    store.fails = lambda durable, lines: True
    with pytest.raises(JournalError, match="the disk is full"):
        await lease.commit_result()
    assert pauses[:8] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert set(pauses[8:]) == {2.0}
    assert 58 < sum(pauses) <= 60
    journal.close()


async def test_what_is_cleared_away_is_cleared_once_and_a_failure_of_that_is_no_failure(tmp_path: Path) -> None:
    journal, store, _ = kept(tmp_path)
    transcript = begun("Hi")
    lease = await journal.take_up(transcript)
    recovered: list[str] = []
    is_broken = True

    def recover(run_id: str) -> None:
        recovered.append(run_id)
        if is_broken:
            raise JournalError("it is locked")

    store.recover = recover  # type: ignore[method-assign]

    async def end_one_call(number: int, fails: bool) -> None:
        transcript.begin(f"run_{number}", None)
        transcript.entries[-1]["outcome"] = "done"  # as a result
        failures = iter([fails, False])
        store.fails = lambda durable, lines: next(failures, False)
        await lease.commit_result()

    await end_one_call(1, False)
    assert recovered == [], "nothing was rescued"
    await end_one_call(2, True)
    assert recovered == ["run_1"]
    is_broken = False
    await end_one_call(3, False)
    assert recovered == ["run_1"] * 2, "it is tried again"
    await end_one_call(4, False)
    assert recovered == ["run_1"] * 2
    journal.close()


async def test_what_comes_late_is_an_end_of_its_call(tmp_path: Path) -> None:
    journal, _, clock = kept(tmp_path)
    lease = await journal.take_up(begun("Hi"))
    clock.now += 3
    result = {"type": "tool_result", "tool_use_id": "toolu_a", "content": "3"}
    await anyio.to_thread.run_sync(lease.keep_late, "1:toolu_a", "done", result)
    about = {"entry": "call", "call": "1:toolu_a", "state": "ended", "outcome": "done", "result": result}
    assert journal.orphans("run_1") == [about]
    await lease.release("end_turn", None)
    assert journal.run("run_1").length == 1
    journal.close()


@pytest.mark.parametrize("is_locked", [True, False])
def test_which_machine_it_is(monkeypatch: pytest.MonkeyPatch, is_locked: bool) -> None:
    def stat(path: Any, *more: Any, **options: Any) -> Any:
        if path == "/proc/self/ns/pid":
            if is_locked:
                raise PermissionError("not for you")
            return SimpleNamespace(st_ino=4711)
        return real(path, *more, **options)

    real = os.stat
    monkeypatch.setattr(os, "stat", stat)
    host = new_holder().rsplit(":", 2)[0]
    assert host == (socket.gethostname() if is_locked else f"{socket.gethostname()}/4711")


def test_who_may_not_be_asked_about_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def kill(pid: int, signal: int) -> None:
        asked.append((pid, signal))
        raise PermissionError

    holder = new_holder().rsplit(":", 2)[0] + ":4711:ab"
    monkeypatch.setattr(os, "kill", kill)
    assert not is_dead(holder)
    monkeypatch.setattr(os, "name", "nt")
    assert not is_dead(holder)
    assert asked == [(4711, 0)], "elsewhere, asking could end it"
