"""`Journal`: runs that outlive their process. The log of each is stored before what it says can be seen.

A run writes here under a *lease*: one process at a time. It is renewed while the run goes on, given back at its end,
and free for others once its time is up, so what a dead process left can be taken up. Who has lost it writes nothing.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import anyio
from anyio import to_thread

from agentkit.errors import ConfigurationError, JournalError, LeaseLost
from agentkit.messages import encode, text_of
from agentkit.store import Lines, RunRow, SqliteStore, Store
from agentkit.transcript import FORMAT, Transcript

__all__ = ["Journal", "Lease"]

LEASE_SECONDS = 20.0
RENEWED_EVERY = 5.0
_PATIENCE = 60.0  # seconds in which a result is tried to be written
_TITLE = 80


class Journal:
    """Where runs are kept: `Agent(journal=Journal("runs.db"))`, or just `Agent(journal="runs.db")`.

    Args:
        store: The path of a file, made where there is none, or a `Store`.
        clock: Seconds since 1970, the same for all who share the store.

    Raises:
        ConfigurationError: The file can't be a journal; the text says why.
        JournalError: It can't be opened.
    """

    def __init__(self, store: str | os.PathLike[str] | Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store = SqliteStore(store) if isinstance(store, str | os.PathLike) else store
        self._clock = clock
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}"
        _holders.add(self._holder)

    def runs(self, limit: int = 50) -> list[RunRow]:
        """The newest runs, the last one written first."""
        return self._store.runs(limit)

    def interrupted(self, limit: int = 50) -> list[RunRow]:
        """The newest runs that a process left without an end: `agent.resume` goes on with them."""
        now = self._clock()
        runs = [row for row in self._store.runs(limit) if row.state == "running"]
        return [row for row in runs if row.expires <= now or self._is_dead(row.holder)]

    def run(self, run_id: str) -> RunRow:
        """One run.

        Raises:
            ConfigurationError: There is none with this id.
        """
        row = self._store.run(run_id)
        if row is None:
            raise ConfigurationError(f"there is no run {run_id!r} in the journal")
        return row

    def load(self, run_id: str) -> Transcript:
        """The log of a run, as far as it is written.

        Raises:
            ConfigurationError: There is no such run.
            JournalError: An entry is damaged.
        """
        entries, digest = [], b""
        for at, (data, stored) in enumerate(self._lines(self.run(run_id))):
            digest = digest_of(digest, data)
            if digest != stored:
                raise JournalError(f"entry {at} of run {run_id} is damaged: what comes before it can be repaired")
            entries.append(json.loads(data))
        transcript = Transcript.load({"agentkit": FORMAT, "entries": entries})
        transcript.stored = (run_id, len(entries), digest)
        return transcript

    def orphans(self, run_id: str) -> list[dict[str, Any]]:
        """Entries that a process wrote after it had lost the run: results of effects that no turn carries."""
        return [json.loads(entry) for entry in self._store.orphans(run_id)]

    async def take_up(self, transcript: Transcript) -> Lease:
        """The right to write a run, taken and stored with what the log has so far.

        Raises:
            RunBusy: Another process has it, or has gone on with it.
        """
        return await to_thread.run_sync(self._take_up, transcript)

    def close(self) -> None:
        """Ends the connection to the store."""
        self._store.close()

    def _take_up(self, transcript: Transcript) -> Lease:
        now = self._clock()
        before, length, digest = self._known(transcript.stored)
        row = RunRow(
            run_id=transcript.run_id,
            parent=before if before != transcript.run_id else None,
            parent_length=length,
            model=transcript.asked[0] if transcript.asked else "",
            title=_title(transcript),
            state="running",
            detail=None,
            created=now,
            updated=now,
            length=length,
            epoch=1,
            holder=self._holder,
            expires=now + LEASE_SECONDS,
        )
        lines = list(_chained(transcript.entries[length:], digest))
        held = self._store.run(row.run_id)
        dead = held.holder if held and self._is_dead(held.holder) else None
        epoch = self._store.claim(row, lines, dead=dead)
        row = replace(row, epoch=epoch, length=len(transcript.entries))
        return Lease(self._store, self._clock, transcript, row, lines[-1][1])

    def _is_dead(self, holder: str | None) -> bool:
        """Whether the holder was a process of this machine that is gone, so that nobody need wait for its lease."""
        host, pid, _ = (holder or "::").rsplit(":", 2)
        if host != socket.gethostname() or holder == self._holder:
            return False
        return (int(pid) == os.getpid() and holder not in _holders) or not _is_running(int(pid))

    def _known(self, stored: tuple[str, int, bytes] | None) -> tuple[str | None, int, bytes]:
        """Where the beginning of a log is stored, if it is stored here."""
        if stored is not None and (row := self._store.run(stored[0])) is not None:
            _, length, digest = stored
            while length <= row.parent_length and row.parent:
                row = self.run(row.parent)
            if [known for _, known in self._store.lines(row.run_id, length - 1, length)] == [digest]:
                return stored
        return None, 0, b""

    def _lines(self, row: RunRow, stop: int | None = None) -> Iterator[tuple[bytes, bytes]]:
        stop = row.length if stop is None else min(stop, row.length)
        if row.parent:
            yield from self._lines(self.run(row.parent), min(stop, row.parent_length))
        yield from self._store.lines(row.run_id, row.parent_length, stop)


_holders: set[str] = set()  # of this process


def _is_running(pid: int) -> bool:
    if os.name != "posix":
        return True  # there, asking could end it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


class Lease:
    """The right to write one run; made by `Journal.take_up`."""

    def __init__(
        self, store: Store, clock: Callable[[], float], transcript: Transcript, row: RunRow, digest: bytes
    ) -> None:
        self._store = store
        self._clock = clock
        self._transcript = transcript
        self._row = row
        self._digest = digest
        self._synced = False
        self._turn = anyio.Lock(fast_acquire=True)
        self._note(())

    async def commit(self, durable: bool) -> None:
        """Stores what the log has since. Those who come while others write find it written.

        Args:
            durable: Whether it must outlive a loss of power, and not only of this process.

        Raises:
            LeaseLost: Another process has taken over; results that had no other place are kept beside the run.
            JournalError: It can't be written.
        """
        async with self._turn:
            if self._row.length == len(self._transcript.entries) and (self._synced or not durable):
                return
            await to_thread.run_sync(self._append, self._row, durable)

    async def commit_result(self) -> None:
        """As `commit`, for what has happened and can't be undone: it is tried for a minute."""
        give_up = anyio.current_time() + _PATIENCE
        pause = 0.05
        while True:
            try:
                return await self.commit(True)
            except LeaseLost:
                raise
            except JournalError:
                if anyio.current_time() + pause > give_up:
                    raise
            await anyio.sleep(pause)
            pause = min(2 * pause, 2.0)

    async def renew(self) -> None:
        """Keeps the run for a while longer."""
        async with self._turn:
            await to_thread.run_sync(self._append, self._row, False)

    async def release(self, state: str, detail: str | None) -> None:
        """Stores the rest, and how it ended, and gives the run free.

        Raises:
            LeaseLost: As `commit`.
            JournalError: As `commit`.
        """
        async with self._turn:
            row = replace(self._row, state=state, detail=detail, holder=None)
            await to_thread.run_sync(self._append, row, True)

    def _append(self, row: RunRow, durable: bool) -> None:
        now = self._clock()
        row = replace(row, updated=now, expires=now + LEASE_SECONDS)
        lines = list(_chained(self._transcript.entries[row.length :], self._digest))
        try:
            self._store.append(row, lines, durable=durable)
        except LeaseLost:
            if lines:
                self._store.orphan(row, lines)
                self._note(lines)  # they have their place, and it is not the run
            raise
        self._note(lines)
        self._synced = durable

    def _note(self, lines: Lines) -> None:
        if lines:
            self._digest = lines[-1][1]
        self._row = replace(self._row, length=self._row.length + len(lines))
        self._transcript.stored = (self._row.run_id, self._row.length, self._digest)


def digest_of(before: bytes, entry: bytes) -> bytes:
    """The digest of an entry and of all before it."""
    return blake2b(before + entry, digest_size=16).digest()


def _chained(entries: Iterable[dict[str, Any]], digest: bytes) -> Iterator[tuple[bytes, bytes]]:
    for entry in entries:
        data = encode(entry)
        digest = digest_of(digest, data)
        yield data, digest


def _title(transcript: Transcript) -> str:
    """What was asked, on one short line."""
    messages = transcript.entries[transcript.run_from]["messages"] if transcript.entries else []
    text = " ".join(text_of(messages[-1]["content"]).split()) if messages else ""
    return text if len(text) <= _TITLE else f"{text[: _TITLE - 1]}…"
