"""`Lease`: the right of one process to write a run, and who holds it.

It is renewed while the run goes on, given back at its end, and free for others once its time is up, so what a dead
process left can be taken up. Who has lost it writes nothing.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import takewhile
from typing import Any

import anyio
from anyio import to_thread

from agentkit.background import Background
from agentkit.errors import JournalError, LeaseLost
from agentkit.messages import Block, encode
from agentkit.redaction import logger_of
from agentkit.store import Lines, RunRow, Store, digest_of
from agentkit.transcript import Transcript

__all__ = [
    "LEASE_SECONDS",
    "RENEWED_EVERY",
    "Lease",
    "chained",
    "is_dead",
    "new_holder",
    "release_holder",
    "this_machine",
]

LEASE_SECONDS = 20.0
RENEWED_EVERY = 5.0
_PATIENCE = 60.0  # seconds in which a result is tried to be written
_RESCUED_AFTER = 2.0  # to twice these seconds, if it has not been written by then


_logger = logger_of("agentkit.journal")


class Lease:
    """The right to write one run; made by `Journal.take_up`.

    Args:
        store: Where the run is.
        clock: Seconds since 1970.
        transcript: The log of the run.
        row: The run as it was claimed.
        digest: Of its last entry.
    """

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
        self._writing = threading.Lock()  # asyncio can cancel the wait for a thread, and not the thread
        self._waiting: list[object] = []
        self._watch: Background | None = None
        self._rescuing = threading.Lock()
        self._rescued = b""  # the digest of the last line that was; what is written meanwhile is not waited for
        self._place = ""
        self._threads = anyio.CapacityLimiter(2)  # of its own: tools can keep all others busy
        self._note(())

    def now(self) -> float:
        """Seconds since 1970, as the store has them."""
        return self._clock()

    async def commit(self, durable: bool) -> None:
        """Stores what the log has since. Those who come while others write find it written.

        Args:
            durable: Whether it must outlive a loss of power, and not only of this process.

        Raises:
            LeaseLost: Another process has taken over; what had no other place is kept beside the run.
            JournalError: It can't be written.
        """
        async with self._turn:
            if self._row.length == len(self._transcript.entries) and (self._synced or not durable):
                return
            await to_thread.run_sync(self._append, durable, limiter=self._threads)

    async def commit_result(self) -> None:
        """As `commit`, for what has happened and can't be undone: it is tried for a minute, if that may help.

        Where it does not come through soon, it is rescued to another place meanwhile, and the error says so.
        """
        self._waiting.append(result := object())
        self._watch = self._watch or Background(self._rescue_what_waits)
        try:
            await self._commit_patiently()
        finally:
            self._waiting.remove(result)
        if self._rescued:
            await to_thread.run_sync(self._clear, limiter=self._threads)

    async def _commit_patiently(self) -> None:
        give_up = anyio.current_time() + _PATIENCE
        pause = 0.05
        while True:
            try:
                return await self.commit(True)
            except LeaseLost:
                raise
            except JournalError as error:
                told = await to_thread.run_sync(self._rescue, limiter=self._threads)
                if not error.retryable or anyio.current_time() + pause > give_up:
                    raise _with(error, told) from error
            await anyio.sleep(pause)
            pause = min(2 * pause, 2.0)

    async def _rescue_what_waits(self) -> None:
        # One for all results, which mostly sleeps: one for each would cost a tenth of what its write costs.
        while self._waiting:
            oldest = self._waiting[0]
            await anyio.sleep(_RESCUED_AFTER)
            if oldest in self._waiting:
                await to_thread.run_sync(self._rescue, limiter=self._threads)
        self._watch = None

    def _rescue(self) -> str:
        """Keeps the results that are not stored yet in another place, and tells which. Source: faults.md, C18."""
        with self._rescuing:
            _, length, digest = self._transcript.stored or ("", 0, b"")
            lines = list(chained(_to_the_last_result(self._transcript.entries[length:]), digest))
            if not lines:
                return ""
            if lines[-1][1] != self._rescued:
                before, self._rescued = self._rescued, lines[-1][1]
                try:
                    self._place = self._store.rescue(replace(self._row, length=length, updated=self._clock()), lines)
                except JournalError as error:
                    self._rescued = before
                    return f"{error}. What has happened is in the log in memory alone: keep the error's result.dump()"
            return f"what has happened is kept in {self._place}, and taken in when the run is read again"

    def _clear(self) -> None:
        with self._rescuing, suppress(JournalError):  # then it is taken in when the run is read again
            self._store.recover(self._row.run_id)
            self._rescued = b""

    async def transact(self, work: Callable[[Any], None]) -> None:
        """Stores what the log has since, with all that `work` does to the database: both or neither.

        Args:
            work: Is given the connection, in a thread, and adds the result of its call to the log. When it is under way
                it is not cancelled.

        Raises:
            LeaseLost: As `commit`; `work` was not called.
            JournalError: Nothing is stored, and all is undone.
        """
        async with self._turn:
            await to_thread.run_sync(self._transact, work, limiter=self._threads)  # once begun, it is not cancelled

    def _transact(self, work: Callable[[Any], None]) -> None:
        with self._writing:
            now = self._clock()
            row = replace(self._row, updated=now, expires=now + LEASE_SECONDS)

            def lines(db: Any) -> Lines:
                work(db)
                return list(chained(self._transcript.entries[row.length :], self._digest))

            written = self._store.transact(row, lines)
            self._row = replace(self._row, expires=row.expires)
            self._note(written)
            self._synced = True

    async def confirm(self) -> None:
        """Makes sure that the run is still ours where its time was up meanwhile: a process can be stopped for long.

        Raises:
            LeaseLost: As `commit`.
            JournalError: As `commit`.
        """
        while self._clock() >= self._row.expires:
            await self.renew()

    async def renew(self) -> None:
        """Keeps the run for a while longer.

        Raises:
            LeaseLost: As `commit`.
            JournalError: As `commit`.
        """
        async with self._turn:
            if self._row.holder is not None:  # else it has been given back meanwhile
                await to_thread.run_sync(self._append, False, limiter=self._threads)

    async def release(self, state: str, detail: str | None) -> None:
        """Stores the rest, and how it ended, and gives the run free.

        Raises:
            LeaseLost: As `commit`.
            JournalError: As `commit`.
        """
        if self._watch:
            await self._watch.stop()
        async with self._turn:
            try:
                await to_thread.run_sync(self.leave, state, detail, limiter=self._threads)
            except LeaseLost:
                raise
            except JournalError as error:
                if told := await to_thread.run_sync(self._rescue, limiter=self._threads):
                    raise _with(error, told) from error
                raise
            if self._rescued:
                await to_thread.run_sync(self._clear, limiter=self._threads)

    def keep_late(self, call_id: str, outcome: str, result: Block) -> None:
        """Keeps what a call came to after it was given up, beside the run, or logs that it can't.

        It needs no event loop, and the run may have ended.
        """
        entry = {"entry": "call", "call": call_id, "state": "ended", "outcome": outcome, "result": result}
        row, lines = replace(self._row, updated=self._clock()), list(chained([entry], b""))
        try:
            self._store.orphan(row, lines)
        except JournalError as error:
            try:
                self._store.rescue(row, lines)
            except JournalError as another:
                _logger.error("%s; %s: what %s came to late is lost", error, another, call_id)  # noqa: TRY400

    def leave(self, state: str, detail: str | None) -> None:
        """As `release`, for a caller that has no event loop."""
        holder = self._row.holder
        try:
            self._append(True, state=state, detail=detail and _writable(detail), holder=None)
        finally:
            release_holder(holder)

    def _append(self, durable: bool, **end: str | None) -> None:
        with self._writing:
            now = self._clock()
            while True:
                row = replace(self._row, updated=now, expires=now + LEASE_SECONDS, **end)  # type: ignore[arg-type]
                lines = list(chained(self._transcript.entries[row.length :], self._digest))
                try:
                    self._store.append(row, lines, durable=durable)
                    break
                except LeaseLost:
                    if there := self._stored_of(row, lines):
                        self._note(there)
                        continue
                    if lines:
                        self._store.orphan(row, lines)
                        self._note(lines)  # they have their place, and it is not the run
                    raise
            self._row = replace(self._row, expires=row.expires, holder=row.holder)
            self._note(lines)
            self._synced = durable

    def _stored_of(self, row: RunRow, lines: Lines) -> Lines:
        """Which of our lines are in the run all the same.

        Another process has recovered them, or the answer to a commit was lost. Source: faults.md, C18 and C21.
        """
        stored = self._store.lines(row.run_id, row.length, row.length + len(lines)) if lines else ()
        same = takewhile(lambda both: both[0] == both[1], zip(lines, stored, strict=False))
        return [line for line, _ in same]

    def _note(self, lines: Lines) -> None:
        if lines:
            self._digest = lines[-1][1]
        self._row = replace(self._row, length=self._row.length + len(lines))
        self._transcript.stored = (self._row.run_id, self._row.length, self._digest)


def chained(entries: Iterable[dict[str, Any]], digest: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Entries as a store takes them, after those that `digest` is of."""
    for entry in entries:
        data = encode(entry)
        digest = digest_of(digest, data)
        yield data, digest


def _to_the_last_result(entries: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """Without what stands after the last end of a call that was entered: it can be done again."""
    left = len(entries)
    while left and entries[left - 1].get("outcome") in (None, "denied", "not_run"):
        left -= 1
    return entries[:left]


def _with(error: JournalError, more: str) -> JournalError:
    """The same error, which says more."""
    failure = JournalError(f"{error}; {more}")
    failure.retryable = error.retryable
    return failure


def _writable(text: str) -> str:
    """Without lone surrogates, which no database takes."""
    return text.encode("utf-8", "replace").decode()


_holders: set[str] = set()  # of this process


def new_holder() -> str:
    """A name for who holds a run: this process, and a part of its own."""
    holder = f"{this_machine()}:{os.getpid()}:{os.urandom(4).hex()}"
    _holders.add(holder)
    return holder


def release_holder(holder: str | None) -> None:
    """Forgets a holder that goes on with nothing any more."""
    _holders.discard(holder or "")


def is_dead(holder: str | None) -> bool:
    """Whether a holder was a process of this machine that is gone, so that nobody need wait for its lease."""
    host, pid, _ = (holder or "::").rsplit(":", 2)
    if host != this_machine():
        return False
    return holder not in _holders if int(pid) == os.getpid() else not _is_running(int(pid))


def this_machine() -> str:
    """The machine, and on Linux the world of its process ids: containers can share a name."""
    try:
        return f"{socket.gethostname()}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return socket.gethostname()


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
