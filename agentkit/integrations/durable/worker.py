"""`Worker`: a process that goes on with the runs of a queue."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any, Literal

import anyio
from anyio import to_thread
from dbos import DBOS, DBOSPortableJSONSerializer, _dbos

from agentkit.agent import Agent
from agentkit.errors import APIError, ConfigurationError, JournalError, LeaseLost, RunBusy, TranscriptError
from agentkit.integrations.durable.clock import Clock
from agentkit.integrations.durable.engine import ALL, APPLICATION, LOG_VERSION, WORKFLOW, Engine, Threads, job_id, named
from agentkit.integrations.durable.reaper import Reaper
from agentkit.integrations.durable.submission import resumed
from agentkit.integrations.durable.takes import deaths_of, failures_of
from agentkit.journal import GOES_ON
from agentkit.lease import new_holder, release_holder
from agentkit.redaction import logger_of, redacted
from agentkit.run import Run
from agentkit.store import RunRow

__all__ = ["Told", "Worker"]

MOST_DEATHS = 5
"""So many workers in a row may die with a run, none coming further than to one reply, before it is given up."""
MOST_FAILURES = 8
"""So many times in a row the endpoint may fail a run before it is left to people: over two hours."""
_FIRST_PAUSE = 60.0  # seconds, twice as long each time
_WATCHES_EVERY = 2.0
_LAST_GRACE = 10.0

_logger = logger_of("agentkit.worker")
_serves = False


@dataclass(frozen=True, slots=True)
class Told:
    """What a worker tells of itself.

    Attributes:
        what: `serving`, `began` a run, `ended` it, `will_try` it again, `taken_over` from a dead worker, `skipped` a
            time of a schedule, `waits` for a database, `draining`, `stopped`.
        run_id: The run.
        detail: The state in which it ended, or more about it.
    """

    what: Literal["serving", "began", "ended", "will_try", "taken_over", "skipped", "waits", "draining", "stopped"]
    run_id: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class _Job:
    """What the engine hands to a worker: see `Engine.enqueue`."""

    run_id: str
    epoch: int
    failures: int

    @property
    def job_id(self) -> str:
        return job_id(self.run_id, self.epoch)


class Worker:
    """Serves a queue in this process: `await Worker(agent, "research").run()`. It needs asyncio.

    Args:
        agent: Whose runs these are; it must have a journal that is a database.
        queue: Its name.
        concurrency: So many runs at a time; all workers of the queue have that of the one that started last.
        rate: So many runs may begin in so many seconds, over all workers; the worker that started last decides.
        grace: Seconds that calls and replies have to end when the worker is stopped.
        deps: For the tools of every run: `ctx.deps`.
        tell: Is called with all that happens, on the event loop.

    Attributes:
        name: Of this worker, as `Job.worker` has it.
        ended: How many runs have come to rest here, by state.
        taken_over: How many runs of dead workers it has put on the queue again.

    Raises:
        ConfigurationError: The agent has no such journal, or a number makes no sense.
    """

    def __init__(
        self,
        agent: Agent,
        queue: str,
        *,
        concurrency: int = 8,
        rate: tuple[int, float] | None = None,
        grace: float = 25.0,
        deps: Any = None,
        tell: Callable[[Told], None] = lambda told: None,
    ) -> None:
        if agent.journal is None:
            raise ConfigurationError("a worker's agent needs a journal: Agent(journal='postgresql://…')")
        if concurrency < 1:
            raise ConfigurationError("a worker needs a concurrency of at least 1")
        if rate and not (rate[0] >= 1 and rate[1] > 0):
            raise ConfigurationError("a rate is runs and seconds, such as (60, 60.0)")
        self.name = new_holder()
        self.ended: Counter[str] = Counter()
        self.taken_over = 0
        self._agent, self._journal, self._queue = agent, agent.journal, named(queue)
        self._concurrency, self._rate, self._grace = concurrency, rate, grace
        self._deps, self._teller = deps, tell
        self._going: dict[Run, _Job] = {}
        self._bodies: dict[anyio.CancelScope, str] = {}
        self._suspect = anyio.Lock()
        self._stopping = anyio.Event()

    @property
    def running(self) -> int:
        """How many runs it goes on with now."""
        return len(self._going)

    def stop(self) -> None:
        """Takes no more runs, lets go what it has, and then ends `run`: to be called on its event loop."""
        self._stopping.set()

    async def run(self) -> None:
        """Serves the queue until `stop`. Who cancels it has the runs let go at once, without a grace.

        Raises:
            ConfigurationError: The event loop is not asyncio's, or this process has a worker or a DBOS application.
            JournalError: The database can't be reached at the start.
        """
        global _serves
        _check_loop()
        if _serves or _dbos._dbos_global_instance is not None:
            raise ConfigurationError("this process has a worker or a DBOS application: start another one for a worker")
        _serves = True
        try:
            self._engine = await to_thread.run_sync(Engine, self._journal.place)
            try:
                await self._serve()
            finally:
                with anyio.CancelScope(shield=True):
                    await to_thread.run_sync(self._engine.close)
                self._tell(Told("stopped"))
        finally:
            release_holder(self.name)
            _serves = False

    async def _serve(self) -> None:
        grace = 0.0
        try:
            await self._launch()
            self._tell(Told("serving", detail=await to_thread.run_sync(self._others)))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch)
                tasks.start_soon(
                    Reaper(
                        self._engine,
                        self._journal,
                        self._queue,
                        lambda job_id: job_id in list(self._bodies.values()),
                        self._took_over,
                    ).run
                )
                tasks.start_soon(Clock(self._engine, self._journal, self._queue, self._skipped).run)
                await self._stopping.wait()
                grace = self._grace
                tasks.cancel_scope.cancel()
        finally:
            self._stopping.set()
            await self._drain(grace)

    async def _launch(self) -> None:
        await to_thread.run_sync(self._engine.serve, self._queue, self._concurrency, self._rate)
        asyncio.get_running_loop().set_default_executor(Threads())
        DBOS(
            config={
                "name": APPLICATION,
                "system_database_url": self._engine.url,
                "application_version": LOG_VERSION,
                # Its own, so that the engine recovers nothing by itself: the lease of a run says who may.
                "executor_id": self.name,
                "serializer": DBOSPortableJSONSerializer(),
                "log_level": "CRITICAL",
            }
        )
        DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)(self._workflow())
        DBOS.listen_queues([self._queue])
        DBOS.launch()  # here, so that workflows run on this event loop

    def _workflow(self) -> Callable[..., Any]:
        async def go_on(run_id: str, epoch: int, failures: int) -> dict[str, Any]:
            job = _Job(run_id, epoch, failures)
            with anyio.CancelScope() as body:
                self._bodies[body] = job.job_id
                try:
                    return {"state": await self._go_on(job)}
                finally:
                    del self._bodies[body]
            raise asyncio.CancelledError  # of which the engine writes nothing, so that the job is left to others

        return go_on

    def _others(self) -> str | None:
        """That runs wait here for workers of another version, if some do."""
        jobs = self._engine.jobs(queue_name=self._queue, status=["ENQUEUED", "DELAYED"], limit=ALL)
        others = {job.version for job in jobs} - {LOG_VERSION}
        waiting = sum(job.version in others for job in jobs)
        versions = ", ".join(sorted(str(version) for version in others))
        return (
            f"{waiting} runs wait for a worker that reads {versions}; this one reads {LOG_VERSION}" if others else None
        )

    async def _go_on(self, job: _Job) -> str:
        """Goes on with a run until it rests, whoever has it; its state then."""
        cut_off: list[str] = []  # by the journal: these are no deaths, and no ends
        why: str | None = None  # it can't go on
        while True:
            try:
                if why is not None:
                    return await self._fail(job, why)
                row = await to_thread.run_sync(self._journal.run, job.run_id)
                was_cut_off = row.state == "error" and row.detail in cut_off
                if row.state not in GOES_ON and not was_cut_off:
                    return row.state
                if self._journal.is_live(row):
                    if self._stopping.is_set():
                        return row.state  # if its holder dies, a reaper sees it
                elif self._stopping.is_set():
                    return await self._given_back(job)
                elif (deaths := await self._deaths(job, row.epoch - len(cut_off))) >= MOST_DEATHS:
                    why = f"given up: {MOST_DEATHS} workers have died with it"
                    continue
                elif deaths > 1:
                    async with self._suspect:  # one at a time: what kills workers must not take others with it
                        return await self._take(job, row)
                else:
                    return await self._take(job, row)
            except (RunBusy, LeaseLost):
                why = None  # another has it: what becomes of it is seen
            except JournalError as error:
                cut_off.append(redacted(str(error)))
                self._tell(Told("waits", job.run_id, cut_off[-1]))
            except (ConfigurationError, TranscriptError) as error:
                why = redacted(str(error))
                continue
            except Exception as error:
                _logger.exception("run %s", job.run_id)  # here, since the engine would keep what it says
                why = redacted(f"{type(error).__name__}: {error}")
                continue
            await anyio.sleep(1)

    async def _deaths(self, job: _Job, epoch: int) -> int:
        return await to_thread.run_sync(deaths_of, self._journal, job.run_id, epoch - job.epoch)

    async def _take(self, job: _Job, row: RunRow) -> str:
        try:
            # In a thread, since it reads the log.
            run = await to_thread.run_sync(partial(self._agent.stream, None, after=job.run_id, deps=self._deps))
        except JournalError as error:
            if error.retryable or isinstance(error, RunBusy):
                raise
            return self._ended(job, "error", str(error))  # a damaged log: it is as it was
        if self._stopping.is_set():
            return await self._given_back(job)
        if await to_thread.run_sync(self._journal.run, job.run_id) != row:  # from here on, its claim sees to it
            raise RunBusy(f"run {job.run_id} has gone on meanwhile")
        self._going[run] = job
        try:
            self._tell(Told("began", job.run_id))
            result = await run.drain()
        except APIError as error:
            return await self._try_again(job, error)
        except asyncio.CancelledError:  # the event loop ends, and nothing else of the worker does
            with anyio.CancelScope(shield=True), suppress(JournalError):
                await self._given_back(job)
            raise
        finally:
            del self._going[run]
        if result.finish.reason == "paused":
            return await self._given_back(job)
        return self._ended(job, result.finish.reason, result.finish.detail)

    async def _try_again(self, job: _Job, error: APIError) -> str:
        """The endpoint has failed a run for longer than a client tries: any worker may try later."""
        why = redacted(str(error))
        if not error.retryable:
            return self._ended(job, "error", why)
        while True:
            try:
                failures = await to_thread.run_sync(failures_of, self._journal, job.run_id, job.failures)
                if failures >= MOST_FAILURES:
                    return self._ended(job, "error", why)
                pause = max(error.retry_after or 0.0, _FIRST_PAUSE * 2 ** (failures - 1))
                pause *= random.uniform(1, 1.2)  # noqa: S311  not all runs at once
                state = await self._given_back(job, failures=failures, delay=pause)
                break
            except (RunBusy, LeaseLost):
                raise
            except JournalError as failure:
                self._tell(Told("waits", job.run_id, redacted(str(failure))))
                await anyio.sleep(1)
        if state == "queued":
            self._tell(Told("will_try", job.run_id, f"in {pause:.0f} seconds: {why}"))
        return state

    async def _given_back(self, job: _Job, *, failures: int | None = None, delay: float = 0.0) -> str:
        """Puts a run on the queue again, unless it was cancelled meanwhile; its state then."""
        failures = job.failures if failures is None else failures

        def give_back() -> str:
            if self._engine.jobs(workflow_ids=[job.job_id], status="CANCELLED"):
                with suppress(ConfigurationError):  # it has ended
                    self._journal.cancel(job.run_id)
                return "cancelled"
            epoch = self._journal.enqueue(resumed(self._journal, job.run_id), self._queue)
            self._engine.enqueue(self._queue, job.run_id, epoch, delay=delay, failures=failures)
            return "queued"

        return await to_thread.run_sync(give_back)

    async def _fail(self, job: _Job, why: str) -> str:
        with suppress(ConfigurationError):  # it has ended, and says why
            await to_thread.run_sync(self._journal.fail, job.run_id, why)
        return self._ended(job, "error", why)

    def _ended(self, job: _Job, state: str, detail: str | None) -> str:
        self.ended[state] += 1
        self._tell(Told("ended", job.run_id, f"{state}: {detail}" if detail else state))
        return state

    def _skipped(self, run_id: str | None, why: str) -> None:
        self._tell(Told("skipped", run_id, redacted(why)))

    def _took_over(self, run_id: str, worker: str | None) -> None:
        self.taken_over += 1
        self._tell(Told("taken_over", run_id, f"from {worker}"))

    def _tell(self, told: Told) -> None:
        try:
            self._teller(told)
        except Exception:  # no reason to lose a run
            _logger.exception("what worker %s tells could not be taken", self.name)

    async def _watch(self) -> None:
        """Cancels what was cancelled elsewhere."""
        while True:
            await anyio.sleep(_WATCHES_EVERY)
            if names := [job.job_id for job in self._going.values()]:
                look = partial(self._engine.jobs, workflow_ids=names, status="CANCELLED")
                with suppress(JournalError):  # the next look may tell
                    cancelled = {job.job_id for job in await to_thread.run_sync(look, abandon_on_cancel=True)}
                    for run, job in list(self._going.items()):
                        if job.job_id in cancelled:
                            run.cancel()

    async def _drain(self, grace: float) -> None:
        """Lets go what it has: replies and calls end in time, and the runs are for others."""
        self._tell(Told("draining", detail=f"{len(self._going)} runs"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_destroy, grace + _LAST_GRACE)  # first it takes no more, then it waits for what ends
            try:
                await self._let_go(grace)
            finally:
                with anyio.CancelScope(shield=True):
                    await self._let_go(_LAST_GRACE, at_once=True)
        for body in list(self._bodies):
            body.cancel()

    async def _let_go(self, seconds: float, *, at_once: bool = False) -> None:
        for run in list(self._going):
            run.pause("its worker was stopped", at_once=at_once)
        with anyio.move_on_after(seconds):
            while self._going:  # noqa: ASYNC110  several ends, and none may be missed
                await anyio.sleep(0.05)


def _check_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigurationError("a worker needs asyncio, since DBOS has no trio: anyio.run(worker.run)") from None


async def _destroy(seconds: float) -> None:
    with anyio.CancelScope(shield=True):
        # Not in a thread of asyncio's own: DBOS has put its executor there, and ends it.
        await to_thread.run_sync(
            partial(DBOS.destroy, destroy_registry=True, workflow_completion_timeout_sec=ceil(seconds))
        )
