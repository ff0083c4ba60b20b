"""The store on SQLite: one file, for the processes of one machine."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any
from weakref import finalize

from agentkit import rescued
from agentkit.errors import ConfigurationError, JournalError, LeaseLost, RunBusy
from agentkit.store import Lines, RunRow, check_free, check_last, missing_of

__all__ = ["SqliteStore"]

_FORMAT = 2
_APPLICATION = 0x61676B31  # "agk1"
_LOCKED_SECONDS = 5.0
_LOCKED_TRIES = 3
_SCHEMA = """
CREATE TABLE runs (
  run_id TEXT PRIMARY KEY, parent TEXT, parent_length INTEGER NOT NULL, model TEXT NOT NULL, title TEXT NOT NULL,
  state TEXT NOT NULL, detail TEXT, created REAL NOT NULL, updated REAL NOT NULL, length INTEGER NOT NULL,
  epoch INTEGER NOT NULL, holder TEXT, expires REAL NOT NULL, session TEXT
) STRICT;
CREATE INDEX runs_updated ON runs (updated);
CREATE INDEX runs_session ON runs (session);
CREATE TABLE entries (
  run_id TEXT NOT NULL, seq INTEGER NOT NULL, entry BLOB NOT NULL, digest BLOB NOT NULL, written REAL NOT NULL,
  PRIMARY KEY (run_id, seq)
) STRICT;
CREATE TABLE orphans (
  run_id TEXT NOT NULL, epoch INTEGER NOT NULL, entry BLOB NOT NULL, written REAL NOT NULL
) STRICT;
"""
# What makes of a file of each older format one of the next.
_MIGRATIONS = {1: ("ALTER TABLE runs ADD COLUMN session TEXT", "CREATE INDEX runs_session ON runs (session)")}


class SqliteStore:
    """A store in one file, for the processes of one machine.

    Args:
        path: Of the file, made where there is none.

    Raises:
        ConfigurationError: There is no such folder, or the file is no journal, or one of a newer agentkit.
        JournalError: It can't be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._lock, self._reading_lock = threading.Lock(), threading.Lock()
        self._pid = os.getpid()
        if not self.path.parent.is_dir():
            raise ConfigurationError(f"the journal {self.path} can't be made: there is no folder {self.path.parent}")
        if str(self.path) == ":memory:":
            raise ConfigurationError("a journal in memory outlives nothing: name a file, or leave journal= out")
        with self._told():
            self.path.touch(mode=0o600)
            self._db, self._reader = (self._connected() for _ in range(2))
        self._closing = finalize(self, _close, self._db, self._reader)
        try:
            with self._told():
                self._file = _identity(self.path)
                self._prepare()
        except BaseException:
            self._closing()
            raise

    def _connected(self) -> sqlite3.Connection:
        # Statements come from worker threads, one at a time.
        return sqlite3.connect(self.path, timeout=_LOCKED_SECONDS, isolation_level=None, check_same_thread=False)

    def claim(self, row: RunRow, lines: Lines, *, dead: str | None = None) -> int:
        """See `Store`."""
        with self._transaction(durable=False) as db:
            known = self._row(db, row.run_id)
            if row.session is not None:
                check_last(self._last(db, row.session), row, dead)
            if known is None:
                db.execute(_INSERT, astuple(row))
            else:
                check_free(known, row, dead)
            epoch = row.epoch if known is None else known.epoch + 1
            db.execute("UPDATE runs SET epoch = ?, model = ? WHERE run_id = ?", (epoch, row.model, row.run_id))
            self._write(db, row, epoch, lines)
            return epoch

    def append(self, row: RunRow, lines: Lines, *, durable: bool) -> None:
        """See `Store`."""
        with self._transaction(durable=durable) as db:
            self._write(db, row, row.epoch, lines)

    def transact(self, row: RunRow, work: Callable[[Any], Lines]) -> Lines:
        """See `Store`."""
        with self._transaction(durable=True) as db:
            self._write(db, row, row.epoch, ())  # the lease is ours until the end of the transaction
            give_up = time.monotonic() + _LOCKED_SECONDS  # others wait to write
            db.set_progress_handler(lambda: time.monotonic() > give_up, 10_000)
            try:
                lines = work(db)
            finally:
                db.set_progress_handler(None, 0)
            if not db.in_transaction:
                raise JournalError(
                    "a transactional tool must not end the transaction itself: leave commit and rollback out"
                )
            self._write(db, row, row.epoch, lines)
            return lines

    def cut(self, row: RunRow, lines: Lines, *, dead: str | None = None) -> None:
        """See `Store`."""
        with self._transaction(durable=True) as db:
            known = self._row(db, row.run_id)
            if known is None or known.epoch != row.epoch:
                raise RunBusy(f"run {row.run_id} has gone on since it was read: look at it again")
            check_free(known, replace(row, length=known.length), dead)
            db.execute("DELETE FROM entries WHERE run_id = ? AND seq >= ?", (row.run_id, row.length))
            changed = (row.epoch + 1, row.length, row.run_id)
            db.execute("UPDATE runs SET epoch = ?, length = ? WHERE run_id = ?", changed)
            self._write(db, row, row.epoch + 1, lines)

    def orphan(self, row: RunRow, lines: Lines) -> None:
        """See `Store`."""
        with self._transaction(durable=True) as db:
            values = [(row.run_id, row.epoch, entry, row.updated) for entry, _ in lines]
            db.executemany("INSERT INTO orphans VALUES (?, ?, ?, ?)", values)

    def orphans(self, run_id: str) -> list[bytes]:
        """See `Store`."""
        with self._reading() as db:
            found = db.execute("SELECT entry FROM orphans WHERE run_id = ? ORDER BY rowid", (run_id,))
            return [entry for (entry,) in found]

    def rescue(self, row: RunRow, lines: Lines) -> str:
        """See `Store`. They go to a file beside this one."""
        return str(rescued.write(self.path, row, lines))

    def recover(self, run_id: str) -> None:
        """See `Store`."""
        with self._told():
            paths = rescued.rescued(self.path, run_id)
        for path in paths:
            if kept := rescued.read(path):
                with self._transaction(durable=True) as db:
                    if (known := self._row(db, run_id)) is None:
                        continue  # perhaps the journal is another one now
                    self._take_in(db, known, *kept)
            with self._told():
                path.unlink(missing_ok=True)

    def _take_in(self, db: sqlite3.Connection, known: RunRow, row: RunRow, lines: Lines) -> None:
        query = "SELECT digest FROM entries WHERE run_id = ? AND seq >= ? ORDER BY seq"
        stored = [digest for (digest,) in db.execute(query, (row.run_id, row.length - 1))]
        missing, others = missing_of(known, row, lines, stored)
        self._write(db, known, known.epoch, missing)
        for entry, _ in others:
            values = (row.run_id, row.epoch, entry, row.updated)
            db.execute(_INSERT_ORPHAN, (*values, *values[:3]))

    def run(self, run_id: str) -> RunRow | None:
        """See `Store`."""
        with self._reading() as db:
            return self._row(db, run_id)

    def runs(self, limit: int, state: str | None = None) -> list[RunRow]:
        """See `Store`."""
        with self._reading() as db:
            of_state = " WHERE state = coalesce(?, state) ORDER BY updated DESC, rowid DESC LIMIT ?"
            found = db.execute(_SELECT + of_state, (state, limit))
            return [RunRow(*values) for values in found]

    def interrupted(self, limit: int, now: float, host: str, queue: str | None = None) -> list[RunRow]:
        """See `Store`."""
        free = "holder IS NULL OR expires <= :now OR substr(holder, 1, length(:host)) = :host"
        which = f"state = 'running' AND ({free}) AND (:queue IS NULL OR detail = :queue)"
        query = f"{_SELECT} WHERE {which} ORDER BY updated DESC, rowid DESC LIMIT :limit"
        with self._reading() as db:
            found = db.execute(query, {"now": now, "host": host, "queue": queue, "limit": limit})
            return [RunRow(*values) for values in found]

    def last(self, session: str) -> RunRow | None:
        """See `Store`."""
        with self._reading() as db:
            return self._last(db, session)

    def lines(self, run_id: str, start: int, stop: int) -> list[tuple[bytes, bytes]]:
        """See `Store`."""
        with self._reading() as db:
            query = "SELECT entry, digest FROM entries WHERE run_id = ? AND seq >= ? AND seq < ? ORDER BY seq"
            return db.execute(query, (run_id, start, stop)).fetchall()

    def close(self) -> None:
        """See `Store`."""
        with self._lock, self._reading_lock:
            self._closing()

    def _write(self, db: sqlite3.Connection, row: RunRow, epoch: int, lines: Lines) -> None:
        now_long = row.length + len(lines)
        found = db.execute(
            "UPDATE runs SET state = ?, detail = ?, updated = ?, length = ?, holder = ?, expires = ?"
            " WHERE run_id = ? AND epoch = ? AND length = ?",
            (row.state, row.detail, row.updated, now_long, row.holder, row.expires, row.run_id, epoch, row.length),
        )
        if not found.rowcount:
            raise LeaseLost(f"another process has taken over run {row.run_id}: nothing more of it is written here")
        numbered = enumerate(lines, row.length)
        values = [(row.run_id, at, entry, digest, row.updated) for at, (entry, digest) in numbered]
        db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", values)

    def _row(self, db: sqlite3.Connection, run_id: str) -> RunRow | None:
        values = db.execute(_SELECT + " WHERE run_id = ?", (run_id,)).fetchone()
        return RunRow(*values) if values else None

    def _last(self, db: sqlite3.Connection, session: str) -> RunRow | None:
        values = db.execute(_SELECT + " WHERE session = ? ORDER BY rowid DESC LIMIT 1", (session,)).fetchone()
        return RunRow(*values) if values else None

    def _prepare(self) -> None:
        """Checks what the file is, and makes its tables where it is new."""
        with self._transaction(durable=True) as db:
            (application,) = db.execute("PRAGMA application_id").fetchone()
            (version,) = db.execute("PRAGMA user_version").fetchone()
            (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if tables and application != _APPLICATION:
                raise ConfigurationError(f"{self.path} is another program's database, no journal of agentkit")
            if version > _FORMAT:
                text = f"the journal {self.path} has format {version}, and this agentkit writes {_FORMAT}"
                raise ConfigurationError(f"{text}: update agentkit, or use another file")
            if not tables:
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {_APPLICATION}")
            else:
                for older in range(version, _FORMAT):
                    for statement in _MIGRATIONS[older]:
                        db.execute(statement)
            db.execute(f"PRAGMA user_version = {_FORMAT}")
        _patiently(self._db, "PRAGMA journal_mode = WAL")

    @contextmanager
    def _transaction(self, *, durable: bool) -> Iterator[sqlite3.Connection]:
        with self._alone(), self._told():
            self._check_file()
            # Without FULL a commit outlives the process, but not the machine; the next FULL one covers it.
            self._db.execute("PRAGMA synchronous = FULL" if durable else "PRAGMA synchronous = NORMAL")
            _patiently(self._db, "BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _alone(self) -> Iterator[None]:
        # With a limit: or where the file is locked, each who waits would wait for all before it too.
        if not self._lock.acquire(timeout=_LOCKED_SECONDS * _LOCKED_TRIES):
            failure = JournalError(f"the journal {self.path} can't be used: others of this process wait for it too")
            failure.retryable = True
            raise failure
        try:
            yield
        finally:
            self._lock.release()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        # A connection of its own: who reads does not wait for those who wait to write.
        with self._reading_lock, self._told():
            self._check_file()
            yield self._reader

    def _check_file(self) -> None:
        if self._pid != os.getpid():
            raise JournalError("this process was forked from the one that opened the journal: make another Journal")
        if self._file != _identity(self.path):
            raise JournalError(f"the journal {self.path} was moved or replaced while it was in use")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            failure = JournalError(f"the journal {self.path} can't be used: {error}")
            failure.retryable = isinstance(error, sqlite3.OperationalError | OSError)
            raise failure from error


def _close(*connections: sqlite3.Connection) -> None:
    for connection in connections:
        connection.close()


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


_SELECT = "SELECT * FROM runs"
_INSERT_ORPHAN = (
    "INSERT INTO orphans SELECT ?, ?, ?, ?"
    " WHERE NOT EXISTS (SELECT 1 FROM orphans WHERE run_id = ? AND epoch = ? AND entry = ?)"
)
_INSERT = "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def _patiently(db: sqlite3.Connection, statement: str) -> None:
    """Waits for others that write, longer than SQLite itself does where it finds no room to wait at all."""
    for tries_left in reversed(range(_LOCKED_TRIES)):
        try:
            db.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if not tries_left or "locked" not in str(error):
                raise
            time.sleep(0.05)
