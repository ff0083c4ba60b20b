"""What is scheduled comes once at each of its times, whoever looks and whoever dies over it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.errors import ConfigurationError, JournalError
from agentkit.journal import question_of
from agentkit.lease import Lease
from agentkit.messages import Prompt

pytest.importorskip("dbos", reason="DBOS is not installed", exc_type=ImportError)

from durable_runs import open_queue

from agentkit.integrations.durable import Queue, Schedule
from agentkit.integrations.durable import schedules as module
from agentkit.integrations.durable.clock import Clock
from agentkit.integrations.durable.engine import Engine

DAILY = "0 9 * * *"


class Hands:
    """Those of the clock that schedules look at: they go where the test puts them."""

    def __init__(self) -> None:
        self.at(2026, 11, 28, 8, 30)

    def at(self, *when: int) -> None:
        self.now = datetime(*when, tzinfo=UTC).timestamp()  # type: ignore[misc, arg-type]

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    made = Hands()
    monkeypatch.setattr(module, "_now", made)
    return made


@pytest.fixture(scope="module")
def place(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("schedules") / "runs.db")


@pytest.fixture
def queue(place: str, request: pytest.FixtureRequest) -> Iterator[Queue]:
    """A queue of this test's own; its schedules begin with its name, since a journal has a name once."""
    with open_queue(place, f"{request.node.originalname.removeprefix('test_')}"[:50]) as opened:
        yield opened


class Clocks:
    """Those of some workers of a queue, and what they have told."""

    def __init__(self, queue: Queue, number: int = 2) -> None:
        self.told: list[tuple[str | None, str]] = []
        self.queue = queue
        self.all = [self.another() for _ in range(number)]

    def another(self) -> Clock:
        return Clock(self.queue.engine, self.queue.journal, self.queue.name, lambda *told: self.told.append(told))

    async def look(self) -> None:
        for clock in self.all:
            await clock.look()


def runs(queue: Queue, name: str) -> dict[str, str]:
    """The state of the runs of a schedule, by their time."""
    found = [row for row in queue.journal.runs(1000) if row.run_id.startswith(f"{name}-2")]
    return {row.run_id.removeprefix(f"{name}-"): row.state for row in found}


def jobs(queue: Queue) -> list[str]:
    return [job.job_id for job in queue.jobs()]


@pytest.mark.anyio
async def test_what_is_scheduled_is_listed(queue: Queue, hands: Hands, place: str) -> None:
    assert queue.schedules() == []
    made = await queue.schedule("listed", "0 9 * * 1-5", "What changed?", timezone="Europe/Berlin", session="ada")
    assert queue.schedules() == [made]
    assert (made.name, made.cron, made.timezone, made.title) == (
        "listed",
        "0 9 * * 1-5",
        "Europe/Berlin",
        "What changed?",
    )
    assert (made.queue, made.session, made.since) == (queue.name, "ada", hands.now)
    assert made.next_time == datetime(2026, 11, 30, 9, 0, tzinfo=ZoneInfo("Europe/Berlin"))
    assert made.due is None
    row = queue.journal.run(made.run_id)
    assert (row.state, row.session, row.holder) == ("scheduled", None, None)
    assert jobs(queue) == []
    with open_queue(place, "of another name") as other:
        assert other.schedules() == []
        with pytest.raises(ConfigurationError, match=f"is one of the queue '{queue.name}': take another name"):
            await other.schedule("listed", DAILY, "Mine?")
        with pytest.raises(ConfigurationError, match=r"no schedule 'listed' on the queue '.*' \(there are: none\)"):
            await other.unschedule("listed")
    await queue.unschedule("listed")
    assert queue.schedules() == []


@pytest.mark.anyio
async def test_the_same_name_again_replaces_it(queue: Queue, hands: Hands) -> None:
    """What is the same stays as it is; times that have come already are not forgotten over another question."""
    first = await queue.schedule("replaced", DAILY, "One?")
    hands.at(2026, 11, 28, 10)
    assert await queue.schedule("replaced", DAILY, "One?") == first
    second = await queue.schedule("replaced", DAILY, [{"type": "text", "text": "Two?"}])
    assert (second.title, second.since, second.due) == ("Two?", first.since, "replaced-2026-11-28T0900Z")
    third = await queue.schedule("replaced", DAILY, "Two?", session="ada")
    assert (third.session, third.since) == ("ada", first.since)
    fourth = await queue.schedule("replaced", "30 9 * * *", "Two?", session="ada")
    assert (fourth.since, fourth.due) == (hands.now, None)
    fifth = await queue.schedule("replaced", "30 9 * * *", "Two?", session="ada", timezone="Asia/Tokyo")
    assert queue.schedules() == [fifth]
    states = [queue.journal.run(one.run_id).state for one in (first, second, third, fourth, fifth)]
    assert states == ["cancelled"] * 4 + ["scheduled"]


@pytest.mark.anyio
async def test_many_who_schedule_the_same_have_one(queue: Queue, hands: Hands) -> None:
    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(queue.schedule, "many", DAILY, f"Question {number % 2}?")
    assert len(queue.schedules()) == 1
    await queue.schedule("many", DAILY, "Another question?")
    rows = [row for row in queue.journal.runs(1000, "scheduled") if '"many"' in str(row.detail)]
    assert [row.title for row in rows] == ["Another question?"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "cron", "prompt", "timezone", "told"),
    [
        (
            "a",
            "0 9 * *",
            "Hi",
            "UTC",
            "'0 9 * *' is no time of cron: write minute, hour, day, month and weekday, such as",
        ),
        ("a", "0 0 9 * * *", "Hi", "UTC", "is no time of cron"),
        ("a", "61 9 * * *", "Hi", "UTC", "is no time of cron"),
        ("a", "R 9 * * *", "Hi", "UTC", "is no time of cron"),
        ("a", "r(1-9) 9 * * *", "Hi", "UTC", "is no time of cron"),
        ("a", "H 9 * * *", "Hi", "UTC", "is no time of cron"),
        ("a", "@daily", "Hi", "UTC", "is no time of cron"),
        ("a", "", "Hi", "UTC", "is no time of cron"),
        ("a", "at nine o clock", "Hi", "UTC", "is no time of cron"),
        ("a", "0 9 30 2 *", "Hi", "UTC", "the time '0 9 30 2 *' never comes"),
        ("a", DAILY, "Hi", "Berlin", "no timezone 'Berlin' here: write it as Europe/Berlin"),
        ("a", DAILY, "Hi", "Europe", "no timezone"),
        ("a", DAILY, "Hi", "../etc", "no timezone"),
        ("a", DAILY, "Hi", "", "no timezone"),
        ("", DAILY, "Hi", "UTC", "can't be named '': take letters, digits"),
        ("daily report", DAILY, "Hi", "UTC", "can't be named"),
        ("a" * 65, DAILY, "Hi", "UTC", "can't be named"),
        ("a", DAILY, "", "UTC", "the prompt is empty"),
    ],
)
async def test_what_can_not_be_is_one_line(
    queue: Queue, name: str, cron: str, prompt: Prompt, timezone: str, told: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        await queue.schedule(name, cron, prompt, timezone=timezone)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)
    assert queue.schedules() == []


def at(cron: str, timezone: str) -> Schedule:
    return Schedule("a", "research", cron, timezone, "Hi", None, 0.0, "1")


CRONS = [
    "* 2 * * *",
    "* * * * *",
    "*/7 * * * *",
    "30 2 * * *",
    "15 1-3 * * *",
    DAILY,
    "0 9 * * mon-fri",
    "0 0 31 * *",
    "59 23 * * 0",
]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]
CHANGES = [datetime(2026, *day, tzinfo=UTC) for day in ((3, 8), (3, 29), (4, 4), (10, 3), (10, 25), (11, 1))]


@given(
    cron=st.sampled_from(CRONS),
    zone=st.sampled_from(ZONES),
    change=st.sampled_from(CHANGES),
    minutes=st.integers(-2000, 2000),
)
@settings(max_examples=200, deadline=None)
def test_each_time_that_comes_next_is_due_when_it_has_come(
    cron: str, zone: str, change: datetime, minutes: int
) -> None:
    """Also where clocks are put forward or back."""
    hands = Hands()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_now", hands)
        patch.setattr(module, "_LATE_SECONDS", 1e8)
        hands.now = (change + timedelta(minutes=minutes)).timestamp() + 0.25
        schedule = at(cron, zone)
        before, coming = schedule.due, schedule.next_time
        assert coming.timestamp() > hands.now
        hands.now = coming.timestamp() - 0.5
        assert schedule.due == before
        hands.now = coming.timestamp() + 0.5
        assert schedule.due == f"a-{coming.astimezone(UTC):%Y-%m-%dT%H%MZ}" != before
        assert schedule.next_time.timestamp() > coming.timestamp()


@pytest.mark.parametrize(
    ("cron", "start", "hours"),
    [
        ("30 2 * * *", (2026, 3, 29), ["03:00+0200", "02:30+0200"]),  # 02:30 does not exist
        ("30 2 * * *", (2026, 10, 25), ["02:30+0200", "02:30+0100"]),  # the second one is of the day after
        ("15 1-3 * * *", (2026, 10, 24, 22), ["01:15+0200", "02:15+0200", "03:15+0100"]),
        ("0 * * * *", (2026, 10, 24, 23, 30), ["02:00+0200", "02:00+0100", "03:00+0100"]),
    ],
)
def test_a_time_that_clocks_leave_out_or_repeat(
    hands: Hands, cron: str, start: tuple[int, ...], hours: list[str]
) -> None:
    hands.at(*start)
    found = []
    for _ in hours:
        coming = at(cron, "Europe/Berlin").next_time
        hands.now = coming.timestamp() + 1
        found.append(f"{coming:%H:%M%z}")
        assert str(at(cron, "Europe/Berlin").due) == f"a-{coming.astimezone(UTC):%Y-%m-%dT%H%MZ}"
    assert found == hours


@pytest.mark.anyio
async def test_each_time_is_one_run_however_many_look(queue: Queue, hands: Hands) -> None:
    clocks = Clocks(queue, 3)
    await queue.schedule("once", DAILY, "What changed?")
    await clocks.look()
    assert runs(queue, "once") == {}
    hands.at(2026, 11, 28, 9, 0, 1)
    async with anyio.create_task_group() as tasks:
        for clock in clocks.all * 2:
            tasks.start_soon(clock.look)
    await clocks.look()
    assert runs(queue, "once") == {"2026-11-28T0900Z": "queued"}
    assert jobs(queue) == ["once-2026-11-28T0900Z-1"]
    (asked,) = question_of(queue.journal.load("once-2026-11-28T0900Z"))
    assert asked["content"] == [{"type": "text", "text": "What changed?"}]
    await queue.cancel("once-2026-11-28T0900Z")
    clocks.all.append(clocks.another())  # a worker that has just begun
    hands.at(2026, 11, 29, 8, 59, 59)
    await clocks.look()
    assert runs(queue, "once") == {"2026-11-28T0900Z": "cancelled"}
    hands.at(2026, 11, 29, 9, 0, 3)
    await clocks.look()
    assert runs(queue, "once") == {"2026-11-28T0900Z": "cancelled", "2026-11-29T0900Z": "queued"}
    await queue.unschedule("once")
    hands.at(2026, 11, 30, 9, 0, 3)
    await clocks.look()
    assert len(runs(queue, "once")) == 2
    assert clocks.told == []


@pytest.mark.anyio
async def test_of_the_times_that_were_missed_the_newest_is_made_up_for(queue: Queue, hands: Hands) -> None:
    await queue.schedule("missed", DAILY, "One?")
    hands.at(2026, 12, 3, 22)
    await queue.schedule("missed", DAILY, "Two?")  # as who deploys does it, before its workers begin
    await Clocks(queue).look()
    assert runs(queue, "missed") == {"2026-12-03T0900Z": "queued"}


@pytest.mark.anyio
async def test_what_was_missed_for_longer_than_a_week_is_left_out(queue: Queue, hands: Hands) -> None:
    """Its run may have come, and have been cleared since."""
    await queue.schedule("yearly", "0 9 1 12 *", "What a year?")
    hands.at(2026, 12, 8, 9, 1)
    await Clocks(queue).look()
    assert runs(queue, "yearly") == {}
    hands.at(2026, 12, 8, 8, 59)
    await Clocks(queue).look()
    assert runs(queue, "yearly") == {"2026-12-01T0900Z": "queued"}


@pytest.mark.anyio
async def test_a_time_is_skipped_while_its_session_goes_on(queue: Queue, hands: Hands) -> None:
    """Skipped for good, also by a worker that looks when the session has ended; who skips it tells it."""
    clocks = Clocks(queue)
    await queue.schedule("busy", DAILY, "And today?", session="news")
    before = await queue.submit("Yesterday?", session="news")
    hands.at(2026, 11, 28, 9, 0, 1)
    await clocks.look()
    assert runs(queue, "busy") == {"2026-11-28T0900Z": "skipped"}
    why = f"session 'news' has a run that has not ended ({before})"
    assert clocks.told == [("busy-2026-11-28T0900Z", why)]
    assert queue.journal.run("busy-2026-11-28T0900Z").detail == why
    assert (await queue.ended("busy-2026-11-28T0900Z")).state == "skipped"
    await queue.cancel(before)
    clocks.all.append(clocks.another())
    await clocks.look()
    assert runs(queue, "busy") == {"2026-11-28T0900Z": "skipped"}
    hands.at(2026, 11, 29, 9, 0, 1)
    await clocks.look()
    assert runs(queue, "busy") == {"2026-11-28T0900Z": "skipped", "2026-11-29T0900Z": "queued"}
    assert queue.journal.run("busy-2026-11-29T0900Z").parent == before
    assert len(clocks.told) == 1


@pytest.mark.anyio
async def test_a_held_call_is_not_denied_by_the_clock(queue: Queue, hands: Hands) -> None:
    await queue.schedule("held", DAILY, "And today?", session="held")
    run_id = await queue.submit("Yesterday?", session="held")
    lease = await queue.journal.take_up(queue.journal.load(run_id))
    await lease.release("needs_approval", None)
    hands.at(2026, 11, 28, 9, 0, 1)
    clocks = Clocks(queue)
    await clocks.look()
    assert clocks.told == [("held-2026-11-28T0900Z", f"session 'held' has a run that waits for an approval ({run_id})")]
    assert queue.journal.last("held") == queue.journal.run(run_id)


def dies(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


async def one_dies(queue: Queue, owner: type, name: str) -> None:
    """A worker looks, and dies when it comes to this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, dies)
        with pytest.raises(KeyboardInterrupt):
            await Clocks(queue, 1).look()


@pytest.mark.anyio
@pytest.mark.parametrize(("owner", "name"), [(Lease, "leave"), (Engine, "enqueue")])
async def test_a_time_that_its_worker_died_over_comes_all_the_same(
    queue: Queue, hands: Hands, monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    """It died when the run was claimed, and not yet left for the queue; or when that was on no queue yet."""
    title = f"died-{name}"
    await queue.schedule(title, DAILY, "And today?", session=title)
    hands.at(2026, 11, 28, 9, 0, 1)
    await one_dies(queue, owner, name)
    clocks = Clocks(queue, 1)
    await clocks.look()  # while it may still be there
    assert [job.epoch for job in queue.jobs() if title in job.run_id] == ([1] if name == "enqueue" else [])
    monkeypatch.setattr(queue.journal, "_clock", lambda: time.time() + 60)
    await clocks.look()
    assert runs(queue, title) == {"2026-11-28T0900Z": "queued"}
    await Clocks(queue).look()
    assert [job.epoch for job in queue.jobs() if title in job.run_id] == ([1] if name == "enqueue" else [2])
    assert clocks.told == []


@pytest.mark.anyio
async def test_a_time_whose_worker_died_keeps_its_question(
    queue: Queue, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another question is that of the times to come."""
    await queue.schedule("asked", DAILY, "One?")
    hands.at(2026, 11, 28, 9, 0, 1)
    await one_dies(queue, Lease, "leave")
    await queue.schedule("asked", DAILY, "Two?")
    monkeypatch.setattr(queue.journal, "_clock", lambda: time.time() + 60)
    await Clocks(queue).look()
    row = queue.journal.run("asked-2026-11-28T0900Z")
    assert (row.state, row.title) == ("queued", "One?")


@pytest.mark.anyio
async def test_two_clocks_know_of_another_question_each(
    queue: Queue, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One has looked just before the question was replaced: the first to store the run has it."""
    await queue.schedule("either", DAILY, "One?")
    hands.at(2026, 11, 28, 9, 0, 1)
    clocks = Clocks(queue, 1)
    with monkeypatch.context() as patch:
        has, looks = queue.journal.has, []

        def is_late(run_id: str) -> bool:
            looks.append(run_id)
            if len(looks) == 1:
                assert not has(run_id)
                queue._submit(run_id, "Two?", None, 0.0)
                return False
            return has(run_id)

        patch.setattr(queue.journal, "has", is_late)
        await clocks.look()
    await clocks.look()
    assert queue.journal.run("either-2026-11-28T0900Z").title == "Two?"
    assert clocks.told == []


@pytest.mark.anyio
async def test_what_has_come_is_not_looked_at_again(
    queue: Queue, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    await queue.schedule("known", DAILY, "One?")
    hands.at(2026, 11, 28, 9, 0, 1)
    clocks = Clocks(queue, 1)
    await clocks.look()
    monkeypatch.setattr(queue.journal, "has", dies)
    await clocks.look()
    assert runs(queue, "known") == {"2026-11-28T0900Z": "queued"}


@pytest.mark.anyio
async def test_who_dies_over_a_skip_leaves_it_to_the_next_one(
    queue: Queue, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    await queue.schedule("half", DAILY, "And today?", session="half")
    before = await queue.submit("Yesterday?", session="half")
    hands.at(2026, 11, 28, 9, 0, 1)
    await one_dies(queue, Lease, "release")
    await queue.cancel(before)
    monkeypatch.setattr(queue.journal, "_clock", lambda: time.time() + 60)
    clocks = Clocks(queue)
    await clocks.look()
    assert runs(queue, "half") == {"2026-11-28T0900Z": "skipped"}
    assert clocks.told == [("half-2026-11-28T0900Z", "its session was busy")]
    assert jobs(queue) == []


@pytest.mark.anyio
async def test_what_can_not_come_is_told_once_and_holds_up_no_other(
    queue: Queue, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    await queue.schedule("fails-damaged", DAILY, "And today?", session="damaged")
    await queue.schedule("fails-lost", DAILY, "And here?", timezone="Asia/Tokyo")
    await queue.schedule("fails-not", DAILY, "And there?")
    before = await queue.submit("Yesterday?", session="damaged")
    await queue.cancel(before)
    hands.at(2026, 11, 28, 9, 0, 1)

    def load(run_id: str) -> Any:
        if run_id == before:
            raise JournalError(f"entry 0 of run {run_id} is damaged")
        return loads(run_id)

    def zone(name: str) -> ZoneInfo:
        if name == "Asia/Tokyo":
            raise KeyError(name)
        return ZoneInfo(name)

    loads: Callable[[str], Any] = queue.journal.load
    monkeypatch.setattr(queue.journal, "load", load)
    monkeypatch.setattr(module, "ZoneInfo", zone)
    clocks = Clocks(queue, 1)
    await clocks.look()
    await clocks.look()
    damaged, lost = clocks.told
    assert damaged == (
        "fails-damaged-2026-11-28T0900Z",
        f"schedule 'fails-damaged': entry 0 of run {before} is damaged",
    )
    assert lost[0] is None
    assert "schedule 'fails-lost': there is no timezone 'Asia/Tokyo' here" in lost[1]
    assert runs(queue, "fails-not") == {"2026-11-28T0900Z": "queued"}
    monkeypatch.undo()  # somebody puts it right
    monkeypatch.setattr(module, "_now", hands)
    await clocks.look()
    assert runs(queue, "fails-damaged") == {"2026-11-28T0900Z": "queued"}


@pytest.mark.anyio
async def test_the_question_of_a_schedule_does_not_go_on(queue: Queue) -> None:
    made = await queue.schedule("rests", DAILY, "And today?")
    with pytest.raises(ConfigurationError, match="has the question of a schedule, and does not go on"):
        await queue.go_on(made.run_id)
    with pytest.raises(ConfigurationError, match="nothing to cancel"):
        await queue.cancel(made.run_id)
    assert queue.schedules() == [made]


@pytest.mark.anyio
async def test_a_newer_agentkit_may_say_more_of_a_schedule(queue: Queue, hands: Hands) -> None:
    made = await queue.schedule("newer", DAILY, "And today?")
    lease = await queue.journal.take_up(queue.journal.load(made.run_id))
    about = json.loads(str(queue.journal.run(made.run_id).detail or "null")) or {}
    assert about == {}  # a run that is taken up says nothing of it
    fields = {field: getattr(made, field) for field in ("name", "queue", "cron", "timezone", "session", "since")}
    await lease.release("scheduled", json.dumps({**fields, "colour": "blue"}))
    assert queue.schedules() == [made]
