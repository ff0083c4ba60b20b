"""A store that can be cut off, and that counts what it is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentkit.errors import JournalError
from agentkit.journal import Journal
from agentkit.sqlite_store import SqliteStore
from agentkit.store import Lines, RunRow

__all__ = ["Clock", "Killed", "WatchedStore"]


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Clock:
    """Seconds since 1970, as the test wants them."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class WatchedStore:
    """SQLite, with something in between.

    Attributes:
        folder: Where its file is.
        kill_at: The write at which the process dies, counted from 1; 0: none.
        stored: Whether that write still comes through.
        on_kill: Called as it dies.
        fails: Says for each write whether it fails, from its durability and lines.
        is_full: Whether nothing can be rescued either.
        writes: What was written: whether durable, and how many lines.
    """

    folder: Path
    kill_at: int = 0
    stored: bool = True
    on_kill: Callable[[], None] = lambda: None
    fails: Callable[[bool, Lines], bool] = lambda durable, lines: False
    is_full: bool = False
    writes: list[tuple[bool, int]] = field(default_factory=list)
    dead: bool = False

    def __post_init__(self) -> None:
        self._store = SqliteStore(self.folder / "runs.db")
        self._lock = threading.Lock()

    def journal(self, clock: Callable[[], float]) -> Journal:
        return Journal(self, clock=clock)

    def claim(self, row: RunRow, lines: Lines, *, dead: str | None = None) -> int:
        return self._written(False, lines, lambda: self._store.claim(row, lines, dead=dead))

    def append(self, row: RunRow, lines: Lines, *, durable: bool) -> None:
        self._written(durable, lines, lambda: self._store.append(row, lines, durable=durable))

    def transact(self, row: RunRow, work: Callable[[Any], Lines]) -> Lines:
        def watched(db: Any) -> Lines:
            lines = work(db)
            self._written(True, lines, lambda: None)
            return lines

        def killed(db: Any) -> Lines:  # before it is committed, or after
            return work(db)

        if len(self.writes) + 1 == self.kill_at and self.stored:
            lines = self._store.transact(row, killed)
            self._written(True, lines, lambda: None)
        return self._store.transact(row, watched)

    def rescue(self, row: RunRow, lines: Lines) -> str:
        if self.dead:
            raise Killed
        if self.is_full:
            raise JournalError("no space left on device")
        return self._store.rescue(row, lines)

    def recover(self, run_id: str) -> None:
        if self.dead:
            raise Killed
        self._store.recover(run_id)

    def _written(self, durable: bool, lines: Lines, write: Callable[[], Any]) -> Any:
        with self._lock:
            if self.dead:
                raise Killed
            if self.fails(durable, lines):
                error = JournalError("the disk is full")
                error.retryable = True
                raise error
            self.writes.append((durable, len(lines)))
            if len(self.writes) != self.kill_at:
                return write()
            if self.stored:
                write()
            self.dead = True
            self.on_kill()
            raise Killed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)
