"""A store in memory that knows what a loss of power takes from it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from agentkit.errors import JournalError, LeaseLost, RunBusy
from agentkit.store import Lines, RunRow, check_last, missing_of

__all__ = ["Disk", "SimulatedStore", "parsed"]


@dataclass
class Disk:
    """What outlives the processes.

    Attributes:
        rows: The runs, in the order in which they were made.
        entries: Their own entries, from `parent_length` on.
        orphans: What `orphan` kept.
        rescued: What `rescue` kept, which no loss of power takes.
        undo: How each commit since the last durable one is taken back.
        synced: The length of each run that outlives a loss of power.
        lock: Held during a transaction.
    """

    rows: dict[str, RunRow] = field(default_factory=dict)
    entries: dict[str, list[tuple[bytes, bytes]]] = field(default_factory=dict)
    orphans: dict[str, list[bytes]] = field(default_factory=dict)
    rescued: dict[str, list[tuple[RunRow, Lines]]] = field(default_factory=dict)
    undo: list[Callable[[], None]] = field(default_factory=list)
    synced: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def keep(self, run_id: str) -> None:
        """Before a commit to a run: notes how it is taken back."""
        row, entries, orphans = (self.rows.get(run_id), self.entries.get(run_id), self.orphans.get(run_id))
        before = (row, list(entries or ()), list(orphans or ()))

        def take_back() -> None:
            if before[0] is None:
                self.rows.pop(run_id, None)
            else:
                self.rows[run_id] = before[0]
            self.entries[run_id], self.orphans[run_id] = before[1], before[2]

        self.undo.append(take_back)

    def sync(self) -> None:
        """What is committed so far outlives a loss of power."""
        self.undo.clear()
        self.synced = {run_id: row.length for run_id, row in self.rows.items()}

    def lose(self, commits: int) -> None:
        """A loss of power: the last commits are gone, as far as they were not synced."""
        for _ in range(min(commits, len(self.undo))):
            self.undo.pop()()
        self.sync()


class SimulatedStore:
    """A store on a `Disk`: the same promises as `SqliteStore`, without a file.

    Attributes:
        on_taken_in: Called when something that was rescued is in the run, and still where it was kept.
    """

    def __init__(self, disk: Disk, on_taken_in: Callable[[], None] = lambda: None) -> None:
        self.disk = disk
        self.on_taken_in = on_taken_in
        self._is_closed = False

    def claim(self, row: RunRow, lines: Lines, *, dead: str | None = None) -> int:
        """See `Store`."""
        with self._open().lock:
            known = self.disk.rows.get(row.run_id)
            if row.session is not None:
                check_last(self.last(row.session), row, dead)
            if known is not None:
                self._check_free(known, row, dead)
            self.disk.keep(row.run_id)
            first = known or row
            epoch = row.epoch if known is None else known.epoch + 1
            made = replace(first, epoch=epoch, model=row.model, length=row.length)
            self.disk.rows[row.run_id] = made
            self._write(replace(row, epoch=epoch), lines)
            return epoch

    def append(self, row: RunRow, lines: Lines, *, durable: bool) -> None:
        """See `Store`."""
        with self._open().lock:
            self._check_epoch(row)
            self.disk.keep(row.run_id)
            self._write(row, lines)
            if durable:
                self.disk.sync()

    def transact(self, row: RunRow, work: Callable[[Any], Lines]) -> Lines:
        """See `Store`. There is no database to hand on."""
        with self._open().lock:
            self._check_epoch(row)
            lines = work(None)
            self.disk.keep(row.run_id)
            self._write(row, lines)
            self.disk.sync()
            return lines

    def cut(self, row: RunRow, lines: Lines, *, dead: str | None = None) -> None:
        """See `Store`."""
        with self._open().lock:
            known = self.disk.rows.get(row.run_id)
            if known is None or known.epoch != row.epoch:
                raise RunBusy(f"run {row.run_id} has gone on since it was read: look at it again")
            self._check_free(known, replace(row, length=known.length), dead)
            del self.disk.entries[row.run_id][row.length - known.parent_length :]
            self.disk.rows[row.run_id] = replace(known, epoch=row.epoch + 1, length=row.length)
            self._write(replace(row, epoch=row.epoch + 1), lines)
            self.disk.sync()

    def orphan(self, row: RunRow, lines: Lines) -> None:
        """See `Store`."""
        with self._open().lock:
            self.disk.orphans.setdefault(row.run_id, []).extend(entry for entry, _ in lines)
            self.disk.sync()

    def orphans(self, run_id: str) -> list[bytes]:
        """See `Store`."""
        return list(self._open().orphans.get(run_id, ()))

    def rescue(self, row: RunRow, lines: Lines) -> str:
        """See `Store`."""
        kept = self._open().rescued.setdefault(row.run_id, [])
        if (row, lines) not in kept:
            kept.append((row, lines))
        return "another place"

    def recover(self, run_id: str) -> None:
        """See `Store`."""
        with self._open().lock:
            known = self.disk.rows.get(run_id)
            while known and (kept := self.disk.rescued.get(run_id)):
                row, lines = kept[0]
                at = max(row.length - 1 - known.parent_length, 0)
                stored = [digest for _, digest in self.disk.entries[run_id][at:]]
                missing, others = missing_of(known, row, lines, stored)
                self.disk.keep(run_id)
                self._write(known, missing)
                there = self.disk.orphans.setdefault(run_id, [])
                there.extend(entry for entry, _ in others if entry not in there)
                self.disk.sync()
                self.on_taken_in()
                del kept[0]
                known = self.disk.rows[run_id]

    def run(self, run_id: str) -> RunRow | None:
        """See `Store`."""
        return self._open().rows.get(run_id)

    def runs(self, limit: int, state: str | None = None) -> list[RunRow]:
        """See `Store`."""
        rows = [row for row in self._open().rows.values() if state in (None, row.state)]
        rows.reverse()  # of those written at the same time the newer one comes first
        return sorted(rows, key=lambda row: row.updated, reverse=True)[:limit]

    def interrupted(self, limit: int, now: float, host: str, queue: str | None = None) -> list[RunRow]:
        """See `Store`."""
        rows = [row for row in self.runs(1_000_000, "running") if queue in (None, row.detail)]
        return [row for row in rows if not row.holder or row.expires <= now or row.holder.startswith(host)][:limit]

    def last(self, session: str) -> RunRow | None:
        """See `Store`."""
        rows = [row for row in self._open().rows.values() if row.session == session]
        return rows[-1] if rows else None

    def lines(self, run_id: str, start: int, stop: int) -> list[tuple[bytes, bytes]]:
        """See `Store`."""
        row = self._open().rows.get(run_id)
        first = row.parent_length if row else 0
        return self.disk.entries.get(run_id, [])[max(start - first, 0) : max(stop - first, 0)]

    def close(self) -> None:
        """See `Store`."""
        self._is_closed = True

    def _open(self) -> Disk:
        if self._is_closed:
            raise JournalError("the journal can't be used: it is closed")
        return self.disk

    def _check_free(self, known: RunRow, row: RunRow, dead: str | None) -> None:
        if known.holder not in (None, dead) and known.expires > row.updated:
            raise RunBusy(f"run {row.run_id} goes on in another place ({known.holder}): wait for its end")
        if known.length != row.length:
            raise RunBusy(f"run {row.run_id} has gone on since it was read: read it again, by its run_id")

    def _check_epoch(self, row: RunRow) -> None:
        known = self.disk.rows.get(row.run_id)
        if known is None or (known.epoch, known.length) != (row.epoch, row.length):
            raise LeaseLost(f"another process has taken over run {row.run_id}: nothing more of it is written here")

    def _write(self, row: RunRow, lines: Lines) -> None:
        known = self.disk.rows[row.run_id]
        self.disk.entries.setdefault(row.run_id, []).extend(lines)
        self.disk.rows[row.run_id] = replace(
            known,
            state=row.state,
            detail=row.detail,
            updated=row.updated,
            length=row.length + len(lines),
            holder=row.holder,
            expires=row.expires,
        )


@lru_cache(4096)
def parsed(entry: bytes) -> dict[str, Any]:
    """An entry as it is stored. Nobody changes it: the next one gets it too."""
    read: dict[str, Any] = json.loads(entry)
    return read
