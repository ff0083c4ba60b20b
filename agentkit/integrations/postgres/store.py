"""`PostgresStore`: the store in PostgreSQL, for the processes of many machines."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

from psycopg.pq import TransactionStatus

from agentkit import rescued
from agentkit.errors import JournalError, LeaseLost, RunBusy
from agentkit.integrations.postgres.connections import Connection, Connections
from agentkit.integrations.postgres.schema import prepare
from agentkit.store import Lines, RunRow, check_free, check_last, missing_of

__all__ = ["PostgresStore"]

_SELECT = """
SELECT run_id, parent, parent_length, model, title, state, detail, created, updated, length, epoch, holder, expires,
  session
FROM agentkit.runs
"""
_INSERT = """
INSERT INTO agentkit.runs (run_id, parent, parent_length, model, title, state, detail, created, updated, length, epoch,
  holder, expires, session)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
"""
# All of an append in one statement, so in one round trip: the check, the row, the lines, and how it is synced.
_WRITE = """
WITH held AS (
  UPDATE agentkit.runs SET state = %s, detail = %s, updated = %s, length = %s, holder = %s, expires = %s
  WHERE run_id = %s AND epoch = %s AND length = %s RETURNING run_id, updated
), written AS (
  INSERT INTO agentkit.entries
  SELECT held.run_id, %s + line.number - 1, line.entry, line.digest, held.updated
  FROM held, unnest(%b::bytea[], %b::bytea[]) WITH ORDINALITY AS line (entry, digest, number)
)
SELECT set_config('synchronous_commit', %s, true), (SELECT count(*) FROM held)
"""
_ORPHAN = """
INSERT INTO agentkit.orphans (run_id, epoch, entry, written) SELECT %(run)s, %(epoch)s, %(entry)s, %(written)s
WHERE NOT (%(once)s AND EXISTS (
  SELECT 1 FROM agentkit.orphans WHERE run_id = %(run)s AND epoch = %(epoch)s AND entry = %(entry)s
))
"""


class PostgresStore:
    """A store in a PostgreSQL database, in a schema `agentkit` that is made where there is none.

    All who share it need clocks that agree to some seconds: a lease is 20 seconds long.

    Args:
        url: `postgresql://user:password@host:5432/database`, or any other that libpq takes.

    Raises:
        ConfigurationError: The URL can't be read, or the server refuses it; or the journal there is a newer agentkit's.
        JournalError: The server can't be reached.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._connections = Connections(url)
        try:
            place = self._connections.place
            self._identity = self._connections.attempt(lambda db, _: prepare(db, place), first=True)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"PostgresStore({self._connections.place!r})"

    def claim(self, row: RunRow, lines: Lines, *, dead: str | None = None) -> int:
        """See `Store`."""
        row = _writable(row)

        def claimed(db: Connection, again: bool) -> int:
            with db.transaction():
                if again and (epoch := _claimed_by(db, row, lines)):
                    return epoch
                if row.session is not None:
                    # One at a time: where a session is new, or its last run ends, there is no row to lock.
                    db.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"agentkit {row.session}",))
                    check_last(_last(db, row.session), row, dead)
                if db.execute(_INSERT, astuple(row)).rowcount:
                    epoch = row.epoch
                else:
                    known = _row(db, row.run_id, locked=True)
                    assert known is not None  # runs are not deleted
                    check_free(known, row, dead)
                    epoch = known.epoch + 1
                    changed = (epoch, row.model, row.run_id)
                    db.execute("UPDATE agentkit.runs SET epoch = %s, model = %s WHERE run_id = %s", changed)
                _write(db, row, epoch, lines, durable=False)
                return epoch

        return self._connections.attempt(claimed)

    def append(self, row: RunRow, lines: Lines, *, durable: bool) -> None:
        """See `Store`."""
        row = _writable(row)

        def appended(db: Connection, again: bool) -> None:
            if again and lines and (known := _row(db, row.run_id)) and _has(db, known, row, row.epoch, lines):
                return  # the answer was lost. Source: faults.md, C21
            _write(db, row, row.epoch, lines, durable=durable)

        self._connections.attempt(appended)

    def transact(self, row: RunRow, work: Callable[[Any], Lines]) -> Lines:
        """See `Store`. `work` gets a `psycopg.Connection` of its own, so what it sets there ends with it."""
        row, lines = _writable(row), None
        try:
            with self._connections.apart() as db, db.transaction():
                _write(db, row, row.epoch, (), durable=True)  # the lease is ours until the end of the transaction
                done = work(db)
                _check_open(db)
                _write(db, row, row.epoch, done, durable=True)
                lines = done
        except JournalError as error:
            if lines is None or not self._has_landed(row, lines, error):
                raise
        return lines

    def _has_landed(self, row: RunRow, lines: Lines, error: JournalError) -> bool:
        """Whether a transaction came through whose answer was lost. Source: faults.md, C21."""

        def landed(db: Connection, _: bool) -> bool:
            with db.transaction():
                known = _row(db, row.run_id, locked=True)  # it had the row locked, so now it has ended
                return known is not None and _has(db, known, row, row.epoch, lines)

        try:
            return self._connections.attempt(landed)
        except JournalError:
            raise JournalError(
                f"{error}; whether the call's transaction came through is not known: go on by the run's id"
            ) from error

    def cut(self, row: RunRow, lines: Lines, *, dead: str | None = None) -> None:
        """See `Store`."""
        row = _writable(row)

        def cut(db: Connection, again: bool) -> None:
            with db.transaction():
                known = _row(db, row.run_id, locked=True)
                if again and known is not None and _has(db, known, row, row.epoch + 1, lines):
                    return  # the answer was lost
                if known is None or known.epoch != row.epoch:
                    raise RunBusy(f"run {row.run_id} has gone on since it was read: look at it again")
                check_free(known, replace(row, length=known.length), dead)
                db.execute("DELETE FROM agentkit.entries WHERE run_id = %s AND seq >= %s", (row.run_id, row.length))
                changed = (row.epoch + 1, row.length, row.run_id)
                db.execute("UPDATE agentkit.runs SET epoch = %s, length = %s WHERE run_id = %s", changed)
                _write(db, row, row.epoch + 1, lines, durable=True)

        self._connections.attempt(cut)

    def orphan(self, row: RunRow, lines: Lines) -> None:
        """See `Store`."""

        def kept(db: Connection, again: bool) -> None:
            with db.transaction():
                _keep_beside(db, row, lines, once=again)  # if the answer was lost, they may be there

        self._connections.attempt(kept)

    def orphans(self, run_id: str) -> list[bytes]:
        """See `Store`."""
        query = "SELECT entry FROM agentkit.orphans WHERE run_id = %s ORDER BY number"
        return [entry for (entry,) in self._read(query, run_id)]

    def rescue(self, row: RunRow, lines: Lines) -> str:
        """See `Store`. They go to a file of this machine, in the folder that `AGENTKIT_HOME` names."""
        beside = self._beside()
        try:
            beside.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise JournalError(f"nor can the folder {beside.parent} be made: {error}; set AGENTKIT_HOME") from error
        return str(rescued.write(beside, row, lines))

    def recover(self, run_id: str) -> None:
        """See `Store`. What another machine has rescued is taken in there."""
        beside = self._beside()
        try:
            paths = rescued.rescued(beside, run_id) if beside.parent.is_dir() else []
        except OSError as error:
            raise JournalError(f"the folder {beside.parent} can't be read: {error}") from error
        for path in paths:
            if (kept := rescued.read(path)) and not self._taken_in(run_id, *kept):
                continue  # perhaps the journal is another one now
            path.unlink(missing_ok=True)

    def _taken_in(self, run_id: str, row: RunRow, lines: Lines) -> bool:
        def taken_in(db: Connection, _: bool) -> bool:
            with db.transaction():
                if (known := _row(db, run_id, locked=True)) is None:
                    return False
                query = "SELECT digest FROM agentkit.entries WHERE run_id = %s AND seq >= %s ORDER BY seq"
                stored = [digest for (digest,) in db.execute(query, (run_id, row.length - 1), binary=True)]
                missing, others = missing_of(known, row, lines, stored)
                _write(db, known, known.epoch, missing, durable=True)
                _keep_beside(db, row, others, once=True)
                return True

        return self._connections.attempt(taken_in)

    def _beside(self) -> Path:
        home = os.environ.get("AGENTKIT_HOME") or os.environ.get("XDG_STATE_HOME") or "~/.local/state"
        folder = Path(os.path.expanduser(home))
        return (folder if os.environ.get("AGENTKIT_HOME") else folder / "agentkit") / f"postgres-{self._identity}"

    def run(self, run_id: str) -> RunRow | None:
        """See `Store`."""
        return self._connections.attempt(lambda db, _: _row(db, run_id))

    def runs(self, limit: int, state: str | None = None) -> list[RunRow]:
        """See `Store`."""
        of_state, values = ("", ()) if state is None else (" WHERE state = %s", (state,))
        query = f"{_SELECT}{of_state} ORDER BY updated DESC, number DESC LIMIT %s"
        return [RunRow(*found) for found in self._read(query, *values, limit)]

    def interrupted(self, limit: int, now: float, host: str, queue: str | None = None) -> list[RunRow]:
        """See `Store`."""
        which = "state = 'running' AND (holder IS NULL OR expires <= %s OR starts_with(holder, %s))"
        query = (
            f"{_SELECT} WHERE {which} AND (%s::text IS NULL OR detail = %s) ORDER BY updated DESC, number DESC LIMIT %s"
        )
        return [RunRow(*values) for values in self._read(query, now, host, queue, queue, limit)]

    def last(self, session: str) -> RunRow | None:
        """See `Store`."""
        return self._connections.attempt(lambda db, _: _last(db, session))

    def lines(self, run_id: str, start: int, stop: int) -> list[tuple[bytes, bytes]]:
        """See `Store`."""
        query = "SELECT entry, digest FROM agentkit.entries WHERE run_id = %s AND seq >= %s AND seq < %s ORDER BY seq"
        return [(entry, digest) for entry, digest in self._read(query, run_id, start, stop)]

    def close(self) -> None:
        """See `Store`."""
        self._connections.close()

    def _read(self, query: str, *values: Any) -> Sequence[tuple[Any, ...]]:
        return self._connections.attempt(lambda db, _: db.execute(query.encode(), values, binary=True).fetchall())


def _write(db: Connection, row: RunRow, epoch: int, lines: Lines, *, durable: bool) -> None:
    now_long = row.length + len(lines)
    changed = (row.state, row.detail, row.updated, now_long, row.holder, row.expires, row.run_id, epoch, row.length)
    entries, digests = [entry for entry, _ in lines], [digest for _, digest in lines]
    found = db.execute(_WRITE, (*changed, row.length, entries, digests, "on" if durable else "off")).fetchone()
    if not found or not found[1]:
        raise LeaseLost(f"another process has taken over run {row.run_id}: nothing more of it is written here")


def _check_open(db: Connection) -> None:
    if db.info.transaction_status is TransactionStatus.IDLE:
        raise JournalError("a transactional tool must not end the transaction itself: leave commit and rollback out")


def _keep_beside(db: Connection, row: RunRow, lines: Lines, *, once: bool) -> None:
    same = {"run": row.run_id, "epoch": row.epoch, "written": row.updated, "once": once}
    for entry, _ in lines:
        db.execute(_ORPHAN, {**same, "entry": entry})


def _has(db: Connection, known: RunRow, row: RunRow, epoch: int, lines: Lines) -> bool:
    """Whether a run ends with these lines, as that holder wrote them."""
    if (known.epoch, known.length) != (epoch, row.length + len(lines)):
        return False
    query = "SELECT entry, digest FROM agentkit.entries WHERE run_id = %s AND seq >= %s ORDER BY seq"
    return db.execute(query, (row.run_id, row.length), binary=True).fetchall() == list(lines)


def _claimed_by(db: Connection, row: RunRow, lines: Lines) -> int | None:
    """The epoch, if `row.holder` has claimed the run and the answer was lost: holders are new each time."""
    known = _row(db, row.run_id)
    if (
        known is None
        or row.holder is None
        or known.holder != row.holder
        or not _has(db, known, row, known.epoch, lines)
    ):
        return None
    return known.epoch


def _row(db: Connection, run_id: str, *, locked: bool = False) -> RunRow | None:
    query = f"{_SELECT} WHERE run_id = %s{' FOR UPDATE' if locked else ''}"
    values = db.execute(query.encode(), (run_id,)).fetchone()
    return RunRow(*values) if values else None


def _last(db: Connection, session: str) -> RunRow | None:
    query = f"{_SELECT} WHERE session = %s ORDER BY number DESC LIMIT 1"
    values = db.execute(query.encode(), (session,)).fetchone()
    return RunRow(*values) if values else None


def _writable(row: RunRow) -> RunRow:
    """Without the one character that no text of PostgreSQL may have, where it is only shown."""
    title, detail = (text and text.replace("\0", "\N{REPLACEMENT CHARACTER}") for text in (row.title, row.detail))
    return replace(row, title=title or "", detail=detail)
