"""`Queue`: puts runs on a queue, and says what became of them. It needs no agent."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

import anyio
from anyio import to_thread

from agentkit.call import Decision
from agentkit.errors import ConfigurationError, RunBusy
from agentkit.integrations.durable.engine import UNDERWAY, Engine, Job, named
from agentkit.integrations.durable.schedules import SCHEDULED, Schedule, schedule, scheduled, unschedule
from agentkit.integrations.durable.submission import resumed, submit
from agentkit.journal import GOES_ON, Journal
from agentkit.messages import Prompt
from agentkit.store import RunRow

__all__ = ["Queue"]

_LOOKS_EVERY = 0.5
_CHECKS_AT = 20


class Queue:
    """Runs for workers: `run_id = await Queue("research", "postgresql://…").submit("Who maintains CPython?")`.

    Args:
        name: Of the queue: workers serve it by its name.
        journal: Where the runs are kept: a `Journal`, or its place. A PostgreSQL database that all machines reach, or,
            to develop with, a SQLite file.

    Raises:
        ConfigurationError: The journal has no place that workers could reach.
        JournalError: The database can't be reached.
    """

    def __init__(self, name: str, journal: Journal | str | os.PathLike[str]) -> None:
        self.name = named(name)
        self.journal = journal if isinstance(journal, Journal) else Journal(journal)
        self._own = self.journal is not journal
        try:
            self.engine = Engine(self.journal.place)
        except BaseException:
            if self._own:
                self.journal.close()
            raise

    async def submit(
        self, prompt: Prompt, *, session: str | None = None, run_id: str | None = None, delay: float = 0.0
    ) -> str:
        """Stores a run, and lets a worker begin it.

        Args:
            prompt: Text, content blocks, or messages in wire shape.
            session: The conversation in the journal that it goes on with.
            run_id: Names the run: what is submitted twice by one name runs once.
            delay: Seconds until a worker may begin it.

        Returns:
            The run's id.

        Raises:
            ConfigurationError: The prompt has no known shape, or the name is another run's.
            RunBusy: The session has a run that has not ended.
            JournalError: The database can't be reached.
        """
        run_id = run_id or os.urandom(16).hex()
        await to_thread.run_sync(self._submit, run_id, prompt, session, delay)
        return run_id

    async def go_on(self, run_id: str, decisions: Mapping[str, Decision] | None = None) -> None:
        """Lets a worker go on with a run that rests: one that waits for approvals, or was stopped or cut off.

        Args:
            run_id: The run.
            decisions: On its held calls, by call id: `allow()`, `deny("why")` or `edit({...})`.

        Raises:
            ConfigurationError: There is no such run, or a decision is on no held call.
            RunBusy: It has not come to rest.
        """
        await to_thread.run_sync(self._go_on, run_id, decisions or {})

    async def cancel(self, run_id: str) -> None:
        """Ends a run: one that is queued at once, one that a worker has within some seconds.

        Raises:
            ConfigurationError: There is no such run, or it has ended.
        """
        await to_thread.run_sync(self._cancel, run_id)

    async def ended(self, run_id: str) -> RunRow:
        """Waits until a run rests, and says how: its `state` is the reason of its end.

        Raises:
            ConfigurationError: There is no such run.
            JournalError: The database can't be reached, or the run's log is damaged, so that no worker can go on.
        """
        looks = 0
        while True:
            row = await to_thread.run_sync(self.journal.run, run_id)
            if row.state not in GOES_ON and await to_thread.run_sync(self._rests, row):
                return row
            looks += 1
            if looks % _CHECKS_AT == 0:
                await to_thread.run_sync(self._check, row)
            await anyio.sleep(_LOOKS_EVERY)

    async def schedule(
        self, name: str, cron: str, prompt: Prompt, *, timezone: str = "UTC", session: str | None = None
    ) -> Schedule:
        """Lets a question come again: at each of its times the workers of this queue begin one run.

        What is scheduled again by the same name replaces it; where nothing has changed, nothing happens.

        Args:
            name: Names it, in the whole journal. Its runs are named `{name}-2026-12-01T0800Z`, by the time in UTC.
            cron: The times, as in cron: minute, hour, day, month and weekday, such as `0 9 * * 1-5`.
            prompt: Text, content blocks, or messages in wire shape.
            timezone: Where the times are read, such as `Europe/Berlin`.
            session: The conversation that its runs go on with. A time is skipped when that has a run which has not
                ended, or waits for an approval.

        Raises:
            ConfigurationError: Something of it can't be so, or another queue has a schedule of this name.
            JournalError: The database can't be reached.
        """
        return await schedule(self.journal, self.name, name, cron, prompt, timezone, session)

    async def unschedule(self, name: str) -> None:
        """Ends a schedule; runs that have begun go on.

        Raises:
            ConfigurationError: This queue has none of this name.
            JournalError: The database can't be reached.
        """
        await unschedule(self.journal, name, self.name)

    def schedules(self) -> list[Schedule]:
        """What comes again on this queue, by name."""
        return scheduled(self.journal, self.name)

    def jobs(self, *, limit: int = 1000) -> list[Job]:
        """What is on the queue or with a worker, the oldest first."""
        return self.engine.jobs(queue_name=self.name, status=list(UNDERWAY), limit=limit)

    def close(self) -> None:
        """Ends its connections to the database; a journal that was given to it stays open."""
        self.engine.close()
        if self._own:
            self.journal.close()

    def _submit(self, run_id: str, prompt: Prompt, session: str | None, delay: float) -> None:
        submit(self.engine, self.journal, self.name, run_id, prompt, session, delay=delay)

    def _go_on(self, run_id: str, decisions: Mapping[str, Decision]) -> None:
        if (state := self.journal.run(run_id).state) == SCHEDULED:
            raise ConfigurationError(f"run {run_id} has the question of a schedule, and does not go on")
        # What rests may still be a job for a moment: its worker has to say so yet.
        if state in GOES_ON and self._underway(run_id):
            raise RunBusy(f"run {run_id} has not come to rest: it is on a queue")
        transcript = resumed(self.journal, run_id)
        for call_id, decision in decisions.items():
            transcript.decide(call_id, decision)
        self.engine.enqueue(self.name, run_id, self.journal.enqueue(transcript, self.name))

    def _cancel(self, run_id: str) -> None:
        self.journal.run(run_id)
        self.engine.cancel(self._underway(run_id))
        with suppress(RunBusy):  # then its worker ends it
            self.journal.cancel(run_id)

    def _rests(self, row: RunRow) -> bool:
        """Whether a run has ended as it says: its worker may put one that failed or was cut off on the queue again."""
        if row.state not in ("error", "cancelled"):
            return True
        # The row is read again, since that may have happened before the look at its job.
        return not self.engine.jobs_of({row.run_id}, ["PENDING"]) and self.journal.run(row.run_id) == row

    def _check(self, row: RunRow) -> None:
        if not self.journal.is_live(row) and not self._underway(row.run_id):
            self.journal.load(row.run_id)  # if it can be read, a reaper puts it on the queue

    def _underway(self, run_id: str) -> list[Job]:
        return self.engine.jobs_of({run_id}, UNDERWAY)
