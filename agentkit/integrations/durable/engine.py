"""`Engine`: what queues and workers ask of DBOS. Only this module and `worker` know it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer, EnqueueOptions, WorkflowStatus
from dbos import error as dbos_error
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from agentkit.errors import ConfigurationError, JournalError
from agentkit.transcript import FORMAT

__all__ = [
    "ALL",
    "APPLICATION",
    "LOG_VERSION",
    "UNDERWAY",
    "WORKFLOW",
    "Engine",
    "Job",
    "Threads",
    "engine_url",
    "job_id",
    "named",
]

APPLICATION = "agentkit"
WORKFLOW = "agentkit.run"
# Who can read the log of a run can go on with it, so this is all that workers must have in common.
LOG_VERSION = f"log {FORMAT}"
_POLLS_EVERY = 0.5
# Those of the URL come first. With them a server that is gone without a word is noticed.
_CONNECTION = {
    "application_name": APPLICATION,
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
UNDERWAY = ("DELAYED", "ENQUEUED", "PENDING")
ALL = 10_000
"""As many as are looked at, at a time."""


@dataclass(frozen=True, slots=True)
class Job:
    """A run that is on a queue, or with one of its workers.

    Attributes:
        job_id: Names it: the run's id and `epoch`.
        run_id: The run.
        epoch: How many times the run had been taken up when it was queued.
        queue: The queue.
        status: As DBOS has it: DELAYED, ENQUEUED, PENDING (a worker has it), SUCCESS, ERROR or CANCELLED.
        worker: Who had it last.
        version: Which logs its worker must be able to read.
        since: When a worker took it, in seconds since 1970; 0 before.
    """

    job_id: str
    run_id: str
    epoch: int
    queue: str
    status: str
    worker: str | None
    version: str | None
    since: float


class Engine:
    """The queues beside a journal; they may be used from any thread.

    Args:
        place: Where the journal is: the URL of a PostgreSQL database, or the path of a SQLite file.

    Raises:
        ConfigurationError: It has no place that others can reach.
        JournalError: The database can't be reached.
    """

    def __init__(self, place: str) -> None:
        self.url = engine_url(place)
        with _told():
            DBOS.migrate(self.url)
            self._client = DBOSClient(
                system_database_url=self.url,
                serializer=DBOSPortableJSONSerializer(),
                application_name=APPLICATION,
                retry_connection_errors=False,
            )

    def serve(self, queue: str, concurrency: int, rate: tuple[int, float] | None) -> None:
        """Makes a queue known, or changes it.

        Args:
            queue: Its name.
            concurrency: Jobs that a worker has at a time.
            rate: So many may begin in so many seconds, over all workers.
        """
        with _told():
            self._client.register_queue(
                queue,
                worker_concurrency=concurrency,
                limiter={"limit": rate[0], "period": rate[1]} if rate else None,
                polling_interval_sec=_POLLS_EVERY,
            )

    def enqueue(self, queue: str, run_id: str, epoch: int, *, delay: float = 0.0, failures: int = 0) -> None:
        """Puts a run on a queue; one that is there as of this epoch is put there once.

        Args:
            queue: Its name.
            run_id: The run, which the journal has.
            epoch: How many times it has been taken up.
            delay: Seconds until a worker may take it.
            failures: How many times in a row the endpoint has failed it.
        """
        options: EnqueueOptions = {
            "workflow_name": WORKFLOW,
            "queue_name": queue,
            "workflow_id": job_id(run_id, epoch),
            "app_version": LOG_VERSION,
        }
        if delay > 0:
            options["delay_seconds"] = delay
        with _told():
            self._client.enqueue(options, run_id, epoch, failures)

    def requeue(self, job: Job) -> None:
        """Puts a job on its queue again, whose worker is gone: what that one says of it is not heard any more."""
        with _told():
            self._client.resume_workflow(job.job_id, queue_name=job.queue)

    def cancel(self, jobs: Sequence[Job]) -> None:
        """Takes jobs off their queue, and lets their workers know."""
        with _told():
            self._client.cancel_workflows([job.job_id for job in jobs])

    def jobs(self, *, limit: int = 1000, **which: Any) -> list[Job]:
        """Jobs, the oldest first.

        Args:
            limit: So many at most.
            **which: As of DBOS's `list_workflows`: `status`, `queue_name`, `workflow_id_prefix`, `dequeued_before`.
        """
        with _told():
            found = self._client.list_workflows(
                name=WORKFLOW, limit=limit, load_input=False, load_output=False, **which
            )
        return [_job(status) for status in found]

    def jobs_of(self, run_ids: Collection[str], status: Sequence[str] | None = None) -> list[Job]:
        """The jobs of these runs, on whatever queue, the oldest first.

        Args:
            run_ids: The runs.
            status: Only those that DBOS has as one of these.
        """
        # "order-" begins the jobs of "order", and those of "order-7" too.
        names = [f"{run_id}-" for run_id in run_ids]
        found = self.jobs(workflow_id_prefix=names, status=status and list(status), limit=ALL)
        return [job for job in found if job.run_id in run_ids]

    def close(self) -> None:
        """Ends its connections."""
        self._client.destroy()


class Threads(ThreadPoolExecutor):
    """Those of an event loop that the engine is on: each for one piece of work, and none holds up an exit.

    The engine's own waits, as for a database that is gone, have no end.
    """

    def submit(self, work: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        """See `Executor`."""
        future: Future[Any] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work(*args, **named))
                except BaseException as error:
                    future.set_exception(error)

        threading.Thread(target=run, name="agentkit-engine", daemon=True).start()
        return future


def job_id(run_id: str, epoch: int) -> str:
    """Names the job of a run that had been taken up so many times when it was queued."""
    return f"{run_id}-{epoch}"


def named(queue: str) -> str:
    """The name of a queue.

    Raises:
        ConfigurationError: It can't be one.
    """
    if not queue or queue.startswith("_dbos_"):
        raise ConfigurationError(f"a queue can't be named {queue!r}")
    return queue


def engine_url(place: str) -> str:
    """Where DBOS keeps its tables: in the same PostgreSQL, or in a file beside a SQLite one.

    Raises:
        ConfigurationError: The journal has no place, or its URL can't be read here.
    """
    if not place:
        raise ConfigurationError(
            "a queue needs a journal that is a database: postgresql://…, or a file to develop with"
        )
    if "://" not in place:
        return f"sqlite:///{place}.queue"
    try:
        url = make_url(place)
    except (ValueError, SQLAlchemyError):  # what it says may hold the password
        raise ConfigurationError(
            "a queue can't read the URL of its journal: write postgresql://user:password@host:5432/database"
        ) from None
    return url.set(query={**_CONNECTION, **url.query}).render_as_string(hide_password=False)


def _job(status: WorkflowStatus) -> Job:
    run_id, _, epoch = status.workflow_id.rpartition("-")
    return Job(
        job_id=status.workflow_id,
        run_id=run_id,
        epoch=int(epoch) if epoch.isdigit() else 0,
        queue=status.queue_name or "",
        status=status.status,
        worker=status.executor_id,
        version=status.app_version,
        since=(status.dequeued_at or 0) / 1000,
    )


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, dbos_error.DBOSException) as error:
        failure = JournalError(f"the queue's database: {str(error).splitlines()[0]}")
        failure.retryable = isinstance(error, SQLAlchemyError)
        raise failure from error
