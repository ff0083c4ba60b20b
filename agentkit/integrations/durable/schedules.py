"""Schedules: questions that come again at certain times. The journal has them, as runs that rest and never begin."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import filterfalse
from zoneinfo import ZoneInfo

from anyio import to_thread
from croniter import CroniterBadDateError, CroniterError, croniter  # type: ignore[import-untyped]

from agentkit.errors import ConfigurationError, RunBusy
from agentkit.integrations.durable.engine import ALL, named
from agentkit.journal import Journal, question_of
from agentkit.loop import begin
from agentkit.messages import Prompt, encode
from agentkit.store import RunRow
from agentkit.transcript import Transcript

__all__ = ["SCHEDULED", "Schedule", "leave_as", "schedule", "scheduled", "unschedule"]

SCHEDULED = "scheduled"
"""The state of a run that has the question of a schedule."""
_FIELDS = 5
_KEPT = ("name", "queue", "cron", "timezone", "session", "since")  # as the detail of that run
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Also of cron, and not here: seconds, and croniter's R, which is another time for each who reads it.
_FIELD = re.compile(r"(?:[\d*/,#?-]|L|[A-Z]{3})+", re.IGNORECASE)
_WRITE = 'write minute, hour, day, month and weekday, such as "0 9 * * 1-5"'
# A time that was missed comes no later than that: by then its run may be there no more, since who keeps a journal small
# deletes what is old.
_LATE_SECONDS = 7 * 24 * 3600.0
_now = time.time


@dataclass(frozen=True, slots=True)
class Schedule:
    """A question that comes again: see `Queue.schedule`.

    Attributes:
        name: Names it, in the whole journal.
        queue: Whose workers run it.
        cron: When it comes: minute, hour, day, month and weekday.
        timezone: Where that time is read.
        title: What is asked, shortened.
        session: The conversation that its runs go on with.
        since: Times after this one count, in seconds since 1970.
        run_id: The run in the journal that has the question, and rests.
    """

    name: str
    queue: str
    cron: str
    timezone: str
    title: str
    session: str | None
    since: float
    run_id: str

    @property
    def next_time(self) -> datetime:
        """When it comes next, in its timezone.

        Raises:
            ConfigurationError: This machine does not know the timezone.
        """
        found: datetime = next(filterfalse(self._is_again, self._times().all_next(datetime)))
        return found

    @property
    def due(self) -> str | None:
        """Names the run at the newest of its times of the last week, the same on all machines; None if none has come.

        Raises:
            ConfigurationError: This machine does not know the timezone.
        """
        found = next(filterfalse(self._is_again, self._times().all_prev(datetime)))
        if found.timestamp() <= max(self.since, _now() - _LATE_SECONDS):
            return None
        return f"{self.name}-{found.astimezone(UTC):%Y-%m-%dT%H%MZ}"

    def _is_again(self, when: datetime) -> bool:
        """Whether a time has come before the clocks were put back; what comes in every hour comes in both."""
        there = when.astimezone(UTC).astimezone(when.tzinfo)  # croniter's own `fold` says which way it has counted
        return there.fold == 1 and "*" not in self.cron.split()[1]

    def _times(self) -> croniter:
        return croniter(self.cron, datetime.fromtimestamp(_now(), _zone(self.timezone)))


def scheduled(journal: Journal, queue: str | None = None) -> list[Schedule]:
    """The schedules in a journal by name, or those of one queue.

    Raises:
        JournalError: The database can't be reached.
    """
    newest = {one.name: one for one in map(_read, _rows(journal))}
    return [newest[name] for name in sorted(newest) if queue in (None, newest[name].queue)]


async def schedule(
    journal: Journal, queue: str, name: str, cron: str, prompt: Prompt, timezone: str, session: str | None
) -> Schedule:
    """Stores a schedule, or replaces that of the same name: see `Queue.schedule`.

    Raises:
        ConfigurationError: A name, the cron, the timezone or the prompt can't be one, or another queue has the name.
        JournalError: The database can't be reached.
    """
    _check(name, cron, timezone)
    transcript = Transcript()
    begin(transcript, os.urandom(16).hex(), prompt)
    before = next((one for one in await to_thread.run_sync(scheduled, journal) if one.name == name), None)
    if before and before.queue != queue:
        taken = f"the schedule {name!r} is one of the queue {before.queue!r}"
        raise ConfigurationError(f"{taken}: take another name, or remove that one")
    # Times go on to count from where they did: one that has come, while no worker was there, is not forgotten.
    goes_on = before is not None and (before.cron, before.timezone) == (cron, timezone)
    if before and goes_on and before.session == session:
        known = await to_thread.run_sync(journal.load, before.run_id)
        if encode(question_of(known)) == encode(question_of(transcript)):
            return before
    made = Schedule(
        name=name,
        queue=named(queue),
        cron=cron,
        timezone=timezone,
        title="",
        session=session,
        since=before.since if before and goes_on else _now(),
        run_id=transcript.run_id,
    )
    await leave_as(journal, transcript, SCHEDULED, json.dumps({field: getattr(made, field) for field in _KEPT}))
    await _end(journal, (await _rows_of(journal, name))[:-1])
    return replace(made, title=(await to_thread.run_sync(journal.run, made.run_id)).title)


async def unschedule(journal: Journal, name: str, queue: str | None = None) -> None:
    """Ends a schedule.

    Args:
        journal: Where it is.
        name: Its name.
        queue: Only if it is one of this queue.

    Raises:
        ConfigurationError: There is none.
        JournalError: The database can't be reached.
    """
    there = [one.name for one in await to_thread.run_sync(scheduled, journal, queue)]
    if name not in there:
        where = f"on the queue {queue!r}" if queue else "in the journal"
        raise ConfigurationError(f"there is no schedule {name!r} {where} (there are: {', '.join(there) or 'none'})")
    await _end(journal, await _rows_of(journal, name))


async def leave_as(journal: Journal, transcript: Transcript, state: str, detail: str) -> None:
    """Stores a run that rests in this state.

    Raises:
        RunBusy: Another one has it.
        JournalError: The database can't be reached.
    """
    lease = await journal.take_up(transcript)
    await lease.release(state, detail)


async def _rows_of(journal: Journal, name: str) -> list[RunRow]:
    return [row for row in await to_thread.run_sync(_rows, journal) if _read(row).name == name]


async def _end(journal: Journal, rows: Sequence[RunRow]) -> None:
    for row in rows:
        with suppress(RunBusy):  # another one ends it
            await leave_as(
                journal, await to_thread.run_sync(journal.load, row.run_id), "cancelled", "no longer scheduled"
            )


def _rows(journal: Journal) -> list[RunRow]:
    """Those of all schedules; of one name the last counts, and those before it have been replaced."""
    return sorted(journal.runs(ALL, SCHEDULED), key=lambda row: (row.created, row.run_id))


def _read(row: RunRow) -> Schedule:
    about = json.loads(row.detail or "{}")
    return Schedule(title=row.title, run_id=row.run_id, **{field: about[field] for field in _KEPT})


def _check(name: str, cron: str, timezone: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"a schedule can't be named {name!r}: take letters, digits and . _ -")
    zone = _zone(timezone)
    try:
        if len(fields := cron.split()) == _FIELDS and all(map(_FIELD.fullmatch, fields)):
            croniter(cron, datetime.now(zone)).get_next(datetime)
            return
    except CroniterBadDateError:
        raise ConfigurationError(f"the time {cron!r} never comes: {_WRITE}") from None
    except CroniterError:
        pass
    raise ConfigurationError(f"{cron!r} is no time of cron: {_WRITE}")


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # the last of a name that is a folder
        known = "write it as Europe/Berlin, or UTC; where none is known, pip install tzdata"
        raise ConfigurationError(f"there is no timezone {name!r} here: {known}") from None
