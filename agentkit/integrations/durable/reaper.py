"""`Reaper`: puts the runs of dead workers on their queue again. The engine alone would leave them where they are."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import anyio
from anyio import to_thread

from agentkit.errors import ConfigurationError, JournalError
from agentkit.integrations.durable.engine import ALL, UNDERWAY, Engine, Job, job_id
from agentkit.journal import Journal
from agentkit.lease import LEASE_SECONDS, is_dead

__all__ = ["Reaper"]

_LOOKS_EVERY = 5.0
_MOST = 200
_AT_WORK_SECONDS = 600.0  # until a worker that has other runs is given up with one that it does not begin
# Every so many looks at what a death leaves more rarely.
_AT_JOBS = 2
_AT_QUEUED = 12


class Reaper:
    """Looks for runs that nobody goes on with. Several may look at once: a run is one worker's, by its lease.

    Args:
        engine: The queues.
        journal: The runs.
        queue: Whose runs.
        sees_to: Whether its own worker has a job, by id: what an outage cut off there is no other's.
        took_over: Is told the run and its dead worker.
    """

    def __init__(
        self,
        engine: Engine,
        journal: Journal,
        queue: str,
        sees_to: Callable[[str], bool],
        took_over: Callable[[str, str | None], None],
    ) -> None:
        self._engine, self._journal, self._queue = engine, journal, queue
        self._sees_to, self._took_over = sees_to, took_over
        self._looks = 0

    async def run(self) -> None:
        """Looks every few seconds, until it is cancelled."""
        while True:
            with suppress(JournalError):  # the next look may be answered
                for job in await to_thread.run_sync(self.look, abandon_on_cancel=True):
                    self._took_over(job.run_id, job.worker)
            await anyio.sleep(_LOOKS_EVERY * random.uniform(0.8, 1.2))  # noqa: S311  not all workers at once

    def look(self) -> list[Job]:
        """Looks once, and gives the jobs that are on the queue again.

        Raises:
            JournalError: The database can't be reached.
        """
        self._looks, looks = self._looks + 1, self._looks
        requeued = self._look_at_runs()
        if looks % _AT_JOBS == 0:
            requeued += self._look_at_jobs()
        if looks % _AT_QUEUED == 0:
            self._look_at_queued()
        return requeued

    def _look_at_runs(self) -> list[Job]:
        """Those that a worker has begun, and left without an end."""
        # All of them, for those that are live on this machine are read too.
        left = self._journal.interrupted(ALL, self._queue)[:_MOST]
        jobs: dict[str, list[Job]] = {row.run_id: [] for row in left}
        for job in self._engine.jobs_of(jobs) if left else ():
            jobs[job.run_id].append(job)
        for row in left:
            of_run = jobs[row.run_id]
            if any(job.status in UNDERWAY for job in of_run):
                continue  # it is on the queue already, or follows below
            if of_run and of_run[-1].status == "CANCELLED":
                self._end(row.run_id)  # which its worker did not live to do
            else:
                self._engine.enqueue(self._queue, row.run_id, row.epoch)
        pending = [(row, job) for row in left for job in jobs[row.run_id] if job.status == "PENDING"]
        # Else it was put on the queue before, and waits with another worker.
        return self._requeue(
            job for row, job in pending if is_dead(job.worker) or _process(job.worker) == _process(row.holder)
        )

    def _look_at_jobs(self) -> list[Job]:
        """Those whose worker died before it began the run, or before it could say that it has ended."""
        pending = self._engine.jobs(queue_name=self._queue, status="PENDING", limit=ALL)
        running = [row for row in self._journal.runs(ALL, "running") if self._journal.is_live(row)]
        live, at_work = {row.run_id for row in running}, {_process(row.holder) for row in running}
        waiting = [job for job in pending if job.run_id not in live]
        return self._requeue(job for job in waiting if self._is_left(job, _process(job.worker) in at_work))

    def _is_left(self, job: Job, at_work: bool) -> bool:
        patience = _AT_WORK_SECONDS if at_work else LEASE_SECONDS
        if not is_dead(job.worker) and time.time() - job.since < patience:
            return False
        try:
            return not self._journal.is_live(self._journal.run(job.run_id))
        except ConfigurationError:
            return True  # there is no such run, as a worker will find

    def _look_at_queued(self) -> None:
        """Those that never came onto the queue, or never ended: who saw to it died over it."""
        queued = [row for row in self._journal.runs(ALL, "queued") if row.detail == self._queue]
        old = {job_id(row.run_id, row.epoch): row for row in queued if time.time() - row.updated > LEASE_SECONDS}
        known = {job.job_id: job for job in self._engine.jobs(workflow_ids=list(old), limit=ALL)} if old else {}
        for name, row in old.items():
            if name not in known:
                self._engine.enqueue(self._queue, row.run_id, row.epoch)
            elif known[name].status == "CANCELLED":
                self._end(row.run_id)

    def _end(self, run_id: str) -> None:
        with suppress(ConfigurationError, JournalError):  # others see to it, or the next look
            self._journal.cancel(run_id)

    def _requeue(self, jobs: Iterable[Job]) -> list[Job]:
        requeued = [job for job in jobs if not self._sees_to(job.job_id)]
        for job in requeued:
            self._engine.requeue(job)
        return requeued


def _process(name: str | None) -> str:
    """The process that the name of a worker or of a run's holder begins with."""
    return (name or "").rpartition(":")[0]
