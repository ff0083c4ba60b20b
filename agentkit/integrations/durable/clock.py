"""`Clock`: submits what is scheduled when its time comes. Each worker has one, and a time is one run by its id."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress

import anyio
from anyio import to_thread

from agentkit.errors import ConfigurationError, JournalError, RunBusy, TranscriptError
from agentkit.integrations.durable.engine import Engine
from agentkit.integrations.durable.schedules import Schedule, leave_as, scheduled
from agentkit.integrations.durable.submission import resumed, submit
from agentkit.journal import GOES_ON, Journal, question_of
from agentkit.loop import begin
from agentkit.store import RunRow
from agentkit.transcript import Transcript

__all__ = ["Clock"]

_LOOKS_EVERY = 5.0


class Clock:
    """Looks for schedules whose time has come. Several may look at once, and one may die over it.

    Args:
        engine: The queues.
        journal: The runs, and the schedules.
        queue: Whose schedules.
        skipped: Is told the run that a time does not get, and why.
    """

    def __init__(
        self, engine: Engine, journal: Journal, queue: str, skipped: Callable[[str | None, str], None]
    ) -> None:
        self._engine, self._journal, self._queue, self._skipped = engine, journal, queue, skipped
        self._seen: dict[str, str] = {}
        self._failures: set[tuple[str | None, str]] = set()

    async def run(self) -> None:
        """Looks every few seconds, until it is cancelled."""
        while True:
            with suppress(JournalError):  # the next look may be answered
                await self.look()
            await anyio.sleep(_LOOKS_EVERY * random.uniform(0.8, 1.2))  # noqa: S311  not all workers at once

    async def look(self) -> None:
        """Looks once. Of the times of a schedule the newest counts: those that were missed before it are left out.

        Raises:
            JournalError: The database can't be reached.
        """
        for schedule in await to_thread.run_sync(scheduled, self._journal, self._queue, abandon_on_cancel=True):
            run_id = None
            try:
                run_id = schedule.due
                if run_id and run_id != self._seen.get(schedule.name):
                    await self._see_to(schedule, run_id)
                    self._seen[schedule.name] = run_id
            except RunBusy:
                pass  # another one sees to it: the next look tells whether it has
            except (ConfigurationError, TranscriptError, JournalError) as error:
                if isinstance(error, JournalError) and error.retryable:
                    raise
                self._fail(run_id, f"schedule {schedule.name!r}: {error}")

    async def _see_to(self, schedule: Schedule, run_id: str) -> None:
        if busy := await to_thread.run_sync(self._submit, schedule, run_id, abandon_on_cancel=True):
            transcript = await to_thread.run_sync(self._skipping, schedule, run_id)
            await leave_as(self._journal, transcript, "skipped", busy)
            self._skipped(run_id, busy)

    def _fail(self, run_id: str | None, why: str) -> None:
        if (run_id, why) not in self._failures:  # each look comes to the same, until somebody puts it right
            self._failures.add((run_id, why))
            self._skipped(run_id, why)

    def _submit(self, schedule: Schedule, run_id: str) -> str | None:
        """Submits a run if nobody has; gives the reason why not, where its session is busy."""
        row = self._journal.run(run_id) if self._journal.has(run_id) else None
        if row and row.state != "queued":  # else who stored it may not have lived to tell the engine
            if _is_left(row):
                return None
            if row.session is None and schedule.session:
                return "its session was busy"  # who skipped it died over it
        if row is None and (busy := self._busy(schedule.session)):
            return busy
        question = question_of(self._journal.load(run_id if row else schedule.run_id))
        try:
            submit(self._engine, self._journal, self._queue, run_id, question, schedule.session)
        except RunBusy as error:
            if not self._journal.has(run_id):
                return str(error)
        except ConfigurationError:  # another one may have it with the question of a moment ago
            if not self._journal.has(run_id):
                raise
        if not _is_left(self._journal.run(run_id)):
            raise RunBusy(f"run {run_id} is being submitted")
        return None

    def _busy(self, session: str | None) -> str | None:
        last = self._journal.last(session) if session else None
        if last is None or last.state not in (*GOES_ON, "needs_approval"):
            return None
        rest = "waits for an approval" if last.state == "needs_approval" else "has not ended"
        return f"session {session!r} has a run that {rest} ({last.run_id})"

    def _skipping(self, schedule: Schedule, run_id: str) -> Transcript:
        """The log of a run that is skipped: it has the question, and is in no session."""
        if self._journal.has(run_id):
            return resumed(self._journal, run_id)
        transcript = Transcript()
        begin(transcript, run_id, question_of(self._journal.load(schedule.run_id)))
        return transcript


def _is_left(row: RunRow) -> bool:
    """Whether who stored a run has come to the end of that."""
    return row.state != "running" or row.detail is not None
