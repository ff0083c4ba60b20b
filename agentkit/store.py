"""What a store of runs must do: `agentkit.sqlite_store` has the one on SQLite.

A store knows nothing of what an entry means. It holds each run's entries as bytes in a row, gives the right to write
to one holder at a time (a *lease*, counted by *epochs*), and writes nothing of a holder whose epoch is over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol

from agentkit.errors import RunBusy

__all__ = ["Lines", "RunRow", "Store", "check_free", "check_last", "digest_of", "missing_of"]

Lines = Sequence[tuple[bytes, bytes]]
"""Entries in JSON, each with its digest."""


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
        detail: More about the end; until then the queue that it came from, if it came from one.
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

    def transact(self, row: RunRow, work: Callable[[Any], Lines]) -> Lines:
        """As a durable `append` of the lines that `work` gives, in whose transaction `work` itself runs.

        Args:
            row: As for `append`.
            work: Is given the connection to the database. What it raises undoes all that it did.

        Returns:
            The lines.

        Raises:
            LeaseLost: The epoch is over; `work` was not called.
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

    def rescue(self, row: RunRow, lines: Lines) -> str:
        """Keeps lines of what has happened elsewhere, while they can't be appended. Waits for nobody.

        Args:
            row: The run as its holder knows it; `length` is where the lines belong.
            lines: At least one.

        Returns:
            Where they are, for who reads of it.

        Raises:
            JournalError: They can't be kept there either.
        """

    def recover(self, run_id: str) -> None:
        """Takes in what `rescue` has kept of a run: see `missing_of`. What is taken in is not kept any longer.

        Raises:
            JournalError: It can't be read or written. It is still where it was.
        """

    def run(self, run_id: str) -> RunRow | None:
        """One run."""

    def runs(self, limit: int, state: str | None = None) -> list[RunRow]:
        """The newest runs, or those of one state, the last one written first."""

    def interrupted(self, limit: int, now: float, host: str, queue: str | None = None) -> list[RunRow]:
        """The newest runs in the state `running` that nobody has at `now`, or whose holder begins with `host`.

        Args:
            limit: So many at most.
            now: Seconds since 1970.
            host: The machine of the caller, who can see which of its processes are gone.
            queue: Those that came from it only.
        """

    def last(self, session: str) -> RunRow | None:
        """The last run that began in a session."""

    def lines(self, run_id: str, start: int, stop: int) -> list[tuple[bytes, bytes]]:
        """Its own entries from `start` to before `stop`, without those of its parent."""

    def close(self) -> None:
        """Ends the connection."""


def digest_of(before: bytes, entry: bytes) -> bytes:
    """The digest of an entry and of all before it."""
    return blake2b(before + entry, digest_size=16).digest()


def missing_of(known: RunRow, row: RunRow, lines: Lines, stored: Sequence[bytes]) -> tuple[Lines, Lines]:
    """Which lines that were rescued belong into a run, and which beside it. Those that are there are neither.

    Args:
        known: The run as it is stored.
        row: As it was when they were rescued.
        lines: What was rescued.
        stored: The digests of its entries from `row.length - 1` on.

    Returns:
        The lines to append, if the run has not been taken up since and they go on where it ends; and the others.
    """
    there = 0
    while there < min(len(lines), len(stored) - 1) and lines[there][1] == stored[there + 1]:
        there += 1
    missing: list[tuple[bytes, bytes]] = []
    if (row.epoch, row.length + there) == (known.epoch, known.length):
        before = stored[there]
        for entry, digest in lines[there:]:
            if digest_of(before, entry) != digest:
                break
            missing.append((entry, digest))
            before = digest
    return missing, lines[there + len(missing) :]


def check_free(known: RunRow, row: RunRow, dead: str | None) -> None:
    """Makes sure that a run may be taken up.

    Args:
        known: As it is stored.
        row: As who wants it knows it.
        dead: A holder that is known to be gone.

    Raises:
        RunBusy: It may not.
    """
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
