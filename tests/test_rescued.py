"""The files in which what has happened is kept while a journal can't be written."""

from __future__ import annotations

import errno
import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_store import RUN, chain, line

from agentkit import rescued
from agentkit.errors import JournalError
from agentkit.sqlite_store import SqliteStore

pytestmark = pytest.mark.slow

ROW = replace(RUN, length=1)


def test_what_is_written_is_read_byte_by_byte(tmp_path: Path) -> None:
    lines = [*chain(0), (b'"\xff\xc3\xa4\n\x00"', b"\x00" * 16)]
    path = rescued.write(tmp_path / "runs.db", ROW, lines)
    assert rescued.read(path) == (ROW, lines)
    assert rescued.write(tmp_path / "runs.db", ROW, lines) == path
    assert os.listdir(tmp_path) == [path.name]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.unlink()
    assert rescued.read(path) is None


def test_each_run_has_its_own_and_any_name_will_do(tmp_path: Path) -> None:
    beside, paths = tmp_path / "runs.db", {}
    for run_id in ("run_1", "../../etc/x", "a" * 5000, "\udcff*?"):
        paths[run_id] = rescued.write(beside, replace(ROW, run_id=run_id), chain(1))
    rescued.write(tmp_path / "other.db", ROW, chain(1))
    for run_id, path in paths.items():
        assert rescued.rescued(beside, run_id) == [path]
        assert path.parent == tmp_path
    assert rescued.rescued(beside, "run_2") == []


@pytest.mark.parametrize("what", ["mkstemp", "fsync", "replace"])
def test_C18_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: Any, **named: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.mkstemp" if what == "mkstemp" else f"os.{what}", full)
    with pytest.raises(JournalError, match=r"nor can a file be written beside the journal .*runs\.db: .*No space left"):
        rescued.write(tmp_path / "runs.db", ROW, chain(1))
    assert os.listdir(tmp_path) == []


BROKEN = [b"", b"{", b"[]", b"null", b'{"row": {}, "lines": []}', b'{"lines": [["a", "x"]]}', b"\xff", b'{"lines": 1}']


@pytest.mark.parametrize("text", BROKEN)
def test_C18_a_file_that_is_broken_is_named_and_stays(tmp_path: Path, text: bytes) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    store.claim(RUN, chain(0))
    path = Path(store.rescue(ROW, chain(0, 1)[1:]))
    whole = path.read_bytes()
    path.write_bytes(text)
    with pytest.raises(JournalError, match=f"{path.name} can't be read, and holds results.*mend it, or move it away"):
        store.recover("run_1")
    assert path.read_bytes() == text
    path.write_bytes(whole)
    store.recover("run_1")
    assert (store.lines("run_1", 0, 9), path.exists()) == (chain(0, 1), False)
    store.close()


def test_C18_an_entry_that_was_changed_is_not_taken_into_the_run(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    store.claim(RUN, chain(0))
    path = Path(store.rescue(ROW, chain(0, 1, 2)[1:]))
    kept = json.loads(path.read_text())
    kept["lines"][1][0] = line(9)[0].decode()
    path.write_text(json.dumps(kept))
    store.recover("run_1")
    assert (store.lines("run_1", 0, 9), store.orphans("run_1")) == (chain(0, 1), [line(9)[0]])
    store.close()


def test_C18_a_process_that_dies_before_the_file_is_gone_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    store.claim(RUN, chain(0))
    path = Path(store.rescue(ROW, chain(0, 1)[1:]))
    store.rescue(ROW, [line(7)])

    def killed(path: Path, **named: Any) -> None:
        raise KeyboardInterrupt

    for _ in range(3):
        monkeypatch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            store.recover("run_1")
        monkeypatch.undo()
        assert path.exists()
    for _ in range(2):
        store.recover("run_1")
    assert (store.lines("run_1", 0, 9), store.orphans("run_1")) == (chain(0, 1), [line(7)[0]])
    assert [name for name in os.listdir(tmp_path) if "rescued" in name] == []
    store.close()


def test_C18_nobody_is_waited_for(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    store.claim(RUN, chain(0))
    with store._lock, store._reading_lock:
        store.rescue(ROW, chain(0, 1)[1:])
    store.close()
    store.rescue(ROW, chain(0, 1, 2)[1:])  # not even for a database
    again = SqliteStore(tmp_path / "runs.db")
    again.recover("run_1")
    assert again.lines("run_1", 0, 9) == chain(0, 1, 2)
    again.close()
