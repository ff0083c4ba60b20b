"""Where the logs of runs are kept: what a store must do, and the one on SQLite.

A store knows nothing of what an entry means. It holds each run's entries as bytes in a row, gives the right to write
to one holder at a time (a *lease*, counted by *epochs*), and writes nothing of a holder whose epoch is over.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Protocol
from weakref import finalize

from agentkit.errors import ConfigurationError, JournalError, LeaseLost, RunBusy

__all__ = ["Lines", "RunRow", "SqliteStore", "Store", "check_last", "digest_of"]

Lines = Sequence[tuple[bytes, bytes]]
"""Entries in JSON, each with its digest."""

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


@dataclass(frozen=True, slots=True)
class RunRow:
    """What a store knows of a run.

    Attributes:
        run_id: Names it.
        parent: The run that it continues, whose first entries are its own too.
        parent_length: How many those are.
        model: The model that it asked last.
        title: What it was asked, shortened.
        state: `running`, or why it ended.
        detail: More about the end.
        created: When it began, in seconds since 1970.
        updated: When it was written last.
        length: Its entries, those of the parent included.
        epoch: How many times it was taken up.
        holder: Who goes on with it; None when it rests.
        expires: Until when the holder has it, unless it is written before.
        session: The conversation that it is a part of, where that has a name.
    """

    run_id: str
    parent: str | None
    parent_length: int
    model: str
    title: str
    state: str
    detail: str | None
    created: float
    updated: float
    length: int
    epoch: int
    holder: str | None
    expires: float
    session: str | None = None


class Store(Protocol):
    """What a journal asks of a store. Calls come from threads, several at a time; each is one transaction."""

    def claim(self, row: RunRow, lines: Lines, *, dead: str | None = None) -> int:
        """Takes a run up for `row.holder`, which makes it if it is new, and appends its first lines.

        Args:
            row: The run as its holder knows it: of a run that is there, `length` must be its length.
            lines: What comes after `length`.
            dead: A holder that is known to be gone before its time is up.

        Returns:
            The epoch.

        Raises:
            RunBusy: Another holder has it, or it is longer or shorter than that; or the last run of its session is
                neither this one nor its parent, or has another holder.
        """

    def append(self, row: RunRow, lines: Lines, *, durable: bool) -> None:
        """Appends lines after `row.length`; sets `updated`, `expires`, `state`, `detail` and `holder` from `row`.

        Args:
            row: The run, with the epoch that `claim` gave.
            lines: May be empty.
            durable: Whether they must outlive a loss of power, and not only of the process.

        Raises:
            LeaseLost: The epoch is over.
        """

    def cut(self, row: RunRow, lines: Lines, *, dead: str | None = None) -> None:
        """Cuts a run that rests to `row.length` entries, appends lines there, and takes its state from `row`.

        Args:
            row: The run as it was read, but for what changes. It must keep an entry of its own.
            lines: What comes after `length`.
            dead: As for `claim`.

        Raises:
            RunBusy: Another holder has it, or has gone on with it since it was read.
        """

    def orphan(self, row: RunRow, lines: Lines) -> None:
        """Keeps lines of a holder that has lost the run, beside it."""

    def orphans(self, run_id: str) -> list[bytes]:
        """Entries that `orphan` kept."""

    def run(self, run_id: str) -> RunRow | None:
        """One run."""

    def runs(self, limit: int, state: str | None = None) -> list[RunRow]:
        """The newest runs, or those of one state, the last one written first."""

    def last(self, session: str) -> RunRow | None:
        """The last run that began in a session."""

    def lines(self, run_id: str, start: int, stop: int) -> list[tuple[bytes, bytes]]:
        """Its own entries from `start` to before `stop`, without those of its parent."""

    def close(self) -> None:
        """Ends the connection."""


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
                _check_free(known, row, dead)
            epoch = row.epoch if known is None else known.epoch + 1
            db.execute("UPDATE runs SET epoch = ?, model = ? WHERE run_id = ?", (epoch, row.model, row.run_id))
            self._write(db, row, epoch, lines)
            return epoch

    def append(self, row: RunRow, lines: Lines, *, durable: bool) -> None:
        """See `Store`."""
        with self._transaction(durable=durable) as db:
            self._write(db, row, row.epoch, lines)

    def cut(self, row: RunRow, lines: Lines, *, dead: str | None = None) -> None:
        """See `Store`."""
        with self._transaction(durable=True) as db:
            known = self._row(db, row.run_id)
            if known is None or known.epoch != row.epoch:
                raise RunBusy(f"run {row.run_id} has gone on since it was read: look at it again")
            _check_free(known, replace(row, length=known.length), dead)
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
        with self._lock, self._told():
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
_INSERT = "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def digest_of(before: bytes, entry: bytes) -> bytes:
    """The digest of an entry and of all before it."""
    return blake2b(before + entry, digest_size=16).digest()


def _check_free(known: RunRow, row: RunRow, dead: str | None) -> None:
    if known.holder not in (None, dead) and known.expires > row.updated:
        raise RunBusy(f"run {row.run_id} goes on in another place ({known.holder}): wait for its end")
    if known.length != row.length:
        raise RunBusy(f"run {row.run_id} has gone on since it was read: read it again, by its run_id")


def check_last(last: RunRow | None, row: RunRow, dead: str | None) -> None:
    """Makes sure that a run may be the one that its session goes on with.

    Args:
        last: The last run of the session.
        row: The run.
        dead: A holder that is known to be gone.

    Raises:
        RunBusy: It may not.
    """
    if last is None or last.run_id == row.run_id:
        return
    if last.holder not in (None, dead) and last.expires > row.updated:
        raise RunBusy(f"session {row.session!r} goes on in another place (run {last.run_id}): wait for its end")
    if last.run_id != row.parent:
        raise RunBusy(f"session {row.session!r} has gone on with run {last.run_id}: continue that one")


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
