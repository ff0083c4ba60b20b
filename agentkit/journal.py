"""`Journal`: runs that outlive their process. The log of each is stored before what it says can be seen."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any

from anyio import to_thread

from agentkit.errors import ConfigurationError, JournalError
from agentkit.events import Event
from agentkit.follow import Followed, News, intact
from agentkit.lease import LEASE_SECONDS, Lease, chained, is_dead, new_holder, release_holder, this_machine
from agentkit.messages import Message, text_of
from agentkit.sqlite_store import SqliteStore
from agentkit.store import Lines, RunRow, Store
from agentkit.transcript import FORMAT, Transcript

__all__ = ["GOES_ON", "Journal", "before_turn", "question_of"]

_TITLE = 80
GOES_ON = ("queued", "running", "paused")
"""States of a run that has not come to rest."""
_LEFT = "The process stopped while this call ran: its outcome is unknown. Check before repeating it."
_CANCELLED = "The run was cancelled before this call, so it has not run."
_DAMAGED = "The record of this call was damaged: whether it took effect is unknown. Check before repeating it."


class Journal:
    """Where runs are kept: `Agent(journal=Journal("runs.db"))`, or just `Agent(journal="runs.db")`.

    Args:
        store: The path of a file, made where there is none, the URL of a PostgreSQL database (extra `postgres`), or a
            `Store`.
        clock: Seconds since 1970, the same for all who share the store.

    Raises:
        ConfigurationError: The file can't be a journal; the text says why.
        JournalError: It can't be opened.
    """

    def __init__(self, store: str | os.PathLike[str] | Store, *, clock: Callable[[], float] = time.time) -> None:
        if not isinstance(store, str | os.PathLike) and not hasattr(store, "claim"):
            raise ConfigurationError(f"a journal is the path of a file or a store, not a {type(store).__name__}")
        self._store = _store_at(store) if isinstance(store, str | os.PathLike) else store
        self._clock = clock

    def runs(self, limit: int = 50, state: str | None = None) -> list[RunRow]:
        """The newest runs, or those of one state, the last one written first."""
        return self._store.runs(limit, state)

    def interrupted(self, limit: int = 50, queue: str | None = None) -> list[RunRow]:
        """The newest runs that a process left without an end: `agent.resume` goes on with them."""
        look = partial(self._store.interrupted, limit, self._clock(), f"{this_machine()}:", queue)
        left = [row for row in look() if not self.is_live(row)]
        # Read again, since one that ended before the look at its holder seems to be without one.
        again = {row.run_id: row for row in look()} if left else {}
        return [row for row in left if again.get(row.run_id) == row]

    def is_live(self, row: RunRow) -> bool:
        """Whether somebody goes on with the run now: a process that is there, or one that was a moment ago."""
        return row.holder is not None and row.expires > self._clock() and not is_dead(row.holder)

    def has(self, run_id: str) -> bool:
        """Whether there is such a run."""
        return self._store.run(run_id) is not None

    @property
    def place(self) -> str:
        """Where it is: the path of a file, or the URL of a database with its password; empty if it is elsewhere."""
        return str(getattr(self._store, "url", None) or getattr(self._store, "path", ""))

    def run(self, run_id: str) -> RunRow:
        """One run.

        Raises:
            ConfigurationError: There is none with this id.
        """
        row = self._store.run(run_id)
        if row is None:
            raise ConfigurationError(f"there is no run {run_id!r} in the journal")
        return row

    def last(self, session: str) -> RunRow | None:
        """The last run of a session; None where it has none yet."""
        return self._store.last(session)

    def load(self, run_id: str) -> Transcript:
        """The log of a run, as far as it is written. What its process could only rescue is taken in before.

        Raises:
            ConfigurationError: There is no such run.
            JournalError: An entry is damaged, or what was rescued can't be read.
        """
        row = self._recovered(run_id)
        transcript = self._read(row)
        if (at := len(transcript.entries)) < row.length:
            raise _damage(run_id, at)
        return transcript

    def follow(self, run_id: str, after: int = 0) -> AsyncIterator[tuple[int, Event]]:
        """The events of a run, in whatever process it goes on: `async for number, event in journal.follow(run_id)`.

        They are read off its log, those that are there and those that come: texts come whole, and pieces, retries and
        progress are not told. The seconds of a call are those since its model turn.

        The last is a `RunEnd`, when the run rests. Its `finish` is the state of the run: why it ended, or
        `needs_approval`, or `interrupted` where its process is gone. A run of a queue is waited for, until a worker
        takes it, and another one if that dies.

        Args:
            run_id: The run.
            after: The number of the last event that is known: those up to it are left out, so who was cut off misses
                nothing. `RunEnd` has that of the event before it, for a run that rests may be resumed.

        Raises:
            ConfigurationError: There is no such run.
            JournalError: An entry is damaged, or the journal can't be read.
        """
        return Followed(partial(self._news, run_id), after)

    def _news(self, run_id: str, length: int, digest: bytes) -> News:
        """What a run has after so many entries, the last of which has this digest."""
        if self._rest(row := self.run(run_id)):
            row = self._recovered(run_id)
        found: list[tuple[dict[str, Any], bytes]] = []
        if row.length > length:
            lines = self._store.lines(run_id, length, row.length) if length else self._lines(row)
            if not (found := list(intact(lines, digest))):
                raise _damage(run_id, length)
        rest = self._rest(row) if length + len(found) >= row.length else None
        return News([entry for entry, _ in found], found[-1][1] if found else digest, rest)

    def _rest(self, row: RunRow) -> tuple[str, str | None] | None:
        """State and detail of a run with which nobody goes on."""
        if row.state == "queued" or self.is_live(row):
            return None
        if row.state == "running":
            return None if row.detail else ("interrupted", None)  # it is its queue: another worker takes the run
        return row.state, row.detail

    def orphans(self, run_id: str) -> list[dict[str, Any]]:
        """Entries that a process had left to write when it had lost the run: mostly results of effects."""
        if self.has(run_id):
            self._recovered(run_id)
        return [json.loads(entry) for entry in self._store.orphans(run_id)]

    def fork(self, run_id: str, turn: int) -> str:
        """Makes a run that shares the log up to just before a model turn, and gives its id: `agent.resume` takes it.

        Args:
            run_id: The run.
            turn: Which model turn the new run takes anew, counted over the conversation as in the ids of calls.

        Raises:
            ConfigurationError: There is no such run, or it has no such turn.
            JournalError: An entry is damaged.
        """
        transcript = self._read(self.run(run_id), stop=before_turn(self.load(run_id), turn))
        transcript.begin(os.urandom(16).hex(), None, asks=transcript.asked)
        self._take_up(transcript, new_holder()).leave("forked", f"before turn {turn} of run {run_id}")
        return transcript.run_id

    def cancel(self, run_id: str) -> None:
        """Ends a run that rests: its open calls are closed as what they are, and its state is `cancelled`.

        Raises:
            ConfigurationError: There is no such run, or it has come to its end.
            RunBusy: It goes on in another place.
            JournalError: An entry is damaged.
        """
        self._give_up(run_id, "cancelled", None)

    def fail(self, run_id: str, why: str) -> None:
        """As `cancel`, for a run that can't go on: its state is `error`, with this detail."""
        self._give_up(run_id, "error", why)

    def _give_up(self, run_id: str, state: str, detail: str | None) -> None:
        transcript, row = self.load(run_id), self.run(run_id)
        if not transcript.unended() and row.state not in (*GOES_ON, "forked"):
            raise ConfigurationError(f"run {run_id} has ended ({row.state}): there is nothing to cancel")
        transcript.begin(run_id, None, asks=transcript.asked)
        for call in transcript.unended():
            begun = call.state == "started"
            transcript.end(call, "unknown" if begun else "not_run", call.closing(_LEFT if begun else _CANCELLED))
        self._take_up(transcript, new_holder()).leave(state, detail)

    def repair(self, run_id: str, keep: str | os.PathLike[str]) -> int:
        """Cuts a run before its first damaged entry. What was open there ends as unknown: it may have gone on.

        Args:
            run_id: The run.
            keep: A new file, which gets the entries that are cut, one a line, as they are.

        Returns:
            How many entries were cut.

        Raises:
            ConfigurationError: There is no such run, nothing in it is damaged, or the file is there already.
            RunBusy: It goes on in another place.
            JournalError: Its question is damaged, or what it shares with a run before it.
        """
        row = self.run(run_id)
        transcript = self._read(row)
        at = len(transcript.entries)
        if at == row.length:
            raise ConfigurationError(f"no entry of run {run_id} is damaged")
        if at <= row.parent_length:
            where = f"in run {row.parent}, that it goes on from" if at < row.parent_length else "its first entry"
            raise JournalError(f"run {run_id} can't be repaired: the damage is {where}")
        _, _, digest = transcript.stored or ("", 0, b"")
        transcript.begin(run_id, None, asks=transcript.asked)
        for call in transcript.unended():
            transcript.end(call, "unknown", call.closing(_DAMAGED))
        _write_new(keep, self._store.lines(run_id, at, row.length))
        now, dead = self._clock(), row.holder if is_dead(row.holder) else None
        rest = replace(row, length=at, state="repaired", detail=f"cut before entry {at}", updated=now, holder=None)
        self._store.cut(rest, list(chained(transcript.entries[at:], digest)), dead=dead)
        return row.length - at

    def enqueue(self, transcript: Transcript, queue: str, session: str | None = None) -> int:
        """Stores a run that a worker of a queue is to go on with, and leaves it: its state is `queued`.

        Returns:
            How many times it has been taken up: its epoch.

        Raises:
            RunBusy: As for `take_up`.
        """
        self._take_up(transcript, new_holder(), session).leave("queued", queue)
        return self.run(transcript.run_id).epoch

    async def take_up(self, transcript: Transcript, session: str | None = None) -> Lease:
        """The right to write a run, taken and stored with what the log has so far.

        Args:
            transcript: The log.
            session: The conversation that a new run is a part of.

        Raises:
            RunBusy: Another process has it, or has gone on with it or its session.
        """
        holder = new_holder()
        try:
            return await to_thread.run_sync(self._take_up, transcript, holder, session)
        except BaseException:
            release_holder(holder)
            raise

    def close(self) -> None:
        """Ends the connection to the store."""
        self._store.close()

    def _recovered(self, run_id: str) -> RunRow:
        if not self.is_live(row := self.run(run_id)):  # who goes on with it clears up itself
            self._store.recover(run_id)
            row = self.run(run_id)
        return row

    def _take_up(self, transcript: Transcript, holder: str, session: str | None = None) -> Lease:
        now, held = self._clock(), self._store.run(transcript.run_id)
        session = held.session if held else session
        last = self._store.last(session) if session else None
        before, length, digest = self._known(transcript.stored or self._dumped(transcript))
        if held and before == held.run_id:
            length, digest = self._further(held, transcript, length, digest)
        row = RunRow(
            run_id=transcript.run_id,
            parent=before if before != transcript.run_id else None,
            parent_length=length,
            model=transcript.asked[0] if transcript.asked else "",
            title=_title(transcript),
            state="running",
            detail=held.detail if held and held.state in ("queued", "running") else None,
            created=now,
            updated=now,
            length=length,
            epoch=1,
            holder=holder,
            expires=now + LEASE_SECONDS,
            session=session,
        )
        lines = list(chained(transcript.entries[length:], digest))
        dead = next((known.holder for known in (held, last) if known and is_dead(known.holder)), None)
        epoch = self._store.claim(row, lines, dead=dead)
        row = replace(row, epoch=epoch, length=len(transcript.entries))
        return Lease(self._store, self._clock, transcript, row, lines[-1][1] if lines else digest)

    def _known(self, stored: tuple[str, int, bytes] | None) -> tuple[str | None, int, bytes]:
        """Where the beginning of a log is stored, if it is stored here."""
        if stored is not None and (row := self._store.run(stored[0])) is not None:
            _, length, digest = stored
            while length <= row.parent_length and row.parent:
                row = self.run(row.parent)
            if [known for _, known in self._store.lines(row.run_id, length - 1, length)] == [digest]:
                return stored
        return None, 0, b""

    def _further(self, row: RunRow, transcript: Transcript, length: int, digest: bytes) -> tuple[int, bytes]:
        """How far a run has the log since it was last stored from here: rescued results may have been recovered."""
        stored = self._store.lines(row.run_id, length, row.length)
        for (_, ours), (_, theirs) in zip(chained(transcript.entries[length:], digest), stored, strict=False):
            if ours != theirs:
                break
            length, digest = length + 1, ours
        return length, digest

    def _read(self, row: RunRow, stop: int | None = None) -> Transcript:
        """The log of a run up to `stop`, or to the first entry that is damaged."""
        found = list(intact(self._lines(row, stop), b""))
        transcript = Transcript.load({"agentkit": FORMAT, "entries": [entry for entry, _ in found]})
        transcript.stored = (row.run_id, len(found), found[-1][1] if found else b"")
        return transcript

    def _dumped(self, transcript: Transcript) -> tuple[str, int, bytes] | None:
        """Where the beginning of a log would be stored that came as a dump of a run that is here."""
        if (row := self._store.run(transcript.run_id)) is None or row.length >= len(transcript.entries):
            return None
        *_, (_, digest) = chained(transcript.entries[: row.length], b"")
        return row.run_id, row.length, digest

    def _lines(self, row: RunRow, stop: int | None = None) -> Iterator[tuple[bytes, bytes]]:
        stop = row.length if stop is None else min(stop, row.length)
        parts = [(row.run_id, row.parent_length, stop)]
        while row.parent:
            stop = min(stop, row.parent_length)
            row = self.run(row.parent)
            parts.append((row.run_id, row.parent_length, stop))
        for part in reversed(parts):
            yield from self._store.lines(*part)


def _store_at(place: str | os.PathLike[str]) -> Store:
    if not isinstance(place, str) or not place.startswith(("postgresql://", "postgres://")):
        return SqliteStore(place)
    try:
        postgres = import_module("agentkit.integrations.postgres")  # by its name: it is above this module
    except ImportError as error:
        raise ConfigurationError(str(error)) from None
    store: Store = postgres.PostgresStore(place)
    return store


def _damage(run_id: str, at: int) -> JournalError:
    text = f"entry {at} of run {run_id} is damaged"
    return JournalError(f"{text}: `agentkit runs repair {run_id[:8]}` keeps what comes before it")


def _write_new(path: str | os.PathLike[str], lines: Lines) -> None:
    try:
        with open(path, "xb") as file:
            file.writelines(entry + b"\n" for entry, _ in lines)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}: name a new file for what is cut") from None


def before_turn(transcript: Transcript, turn: int) -> int:
    """The entries of a log that come before a model turn.

    Args:
        transcript: The log.
        turn: Counted over the conversation, as in the ids of calls.

    Raises:
        ConfigurationError: It has no such turn.
    """
    entries = enumerate(transcript.entries)
    turns = [at for at, entry in entries if entry["entry"] == "turn" and "message" in entry]
    if not 1 <= turn <= len(turns):
        there = f"turns 1 to {len(turns)}" if turns else "no model turn yet"
        raise ConfigurationError(f"run {transcript.run_id} has no turn {turn}: it has {there}")
    return turns[turn - 1]


def question_of(transcript: Transcript) -> list[Message]:
    """What a run began with."""
    messages: list[Message] = transcript.entries[transcript.run_from]["messages"] if transcript.entries else []
    return messages


def _title(transcript: Transcript) -> str:
    """What was asked, on one short line."""
    messages = question_of(transcript)
    text = " ".join(text_of(messages[-1]["content"]).split()) if messages else ""  # type: ignore[arg-type]
    text = text.encode("utf-8", "replace").decode()  # no database takes a lone surrogate
    return text if len(text) <= _TITLE else f"{text[: _TITLE - 1]}…"
