"""`agentkit schedules`: what comes again is added, listed and removed."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from functools import partial
from pathlib import Path

import anyio
import pytest
from commands import Cli

pytest.importorskip("dbos", reason="needs dbos, which the extra `dbos` has")

from agentkit.integrations.durable import Queue
from agentkit.integrations.durable import schedules as module

ADD = ["schedules", "add", "daily", "0 9 * * 1-5", "What changed?", "--queue", "desk", "--timezone", "Europe/Berlin"]


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Saturday."""
    monkeypatch.setattr(module, "_now", lambda: datetime.fromisoformat("2026-11-28T14:00Z").timestamp())


def test_what_is_added_is_listed_and_removed(cli: Cli) -> None:
    added = cli(*ADD)
    assert (added.exit_code, added.stdout) == (0, "")
    assert added.stderr == "daily comes next at 2026-11-30 09:00 (Europe/Berlin), on the queue desk\n"
    assert cli("schedules", "add", "hourly", "0 * * * *", "News?", "--queue", "other", "--session", "n").exit_code == 0
    first, *rows = cli("schedules").stdout.splitlines()
    assert first.split() == ["schedule", "next", "times", "queue", "asks"]
    daily, hourly = (" ".join(row.split()) for row in rows)
    assert daily == "daily 2026-11-30 09:00 0 9 * * 1-5 Europe/Berlin desk What changed?"
    assert hourly == "hourly 2026-11-28 15:00 0 * * * * UTC other News? (session n)"
    lines = [json.loads(line) for line in cli("schedules", "--json").stdout.splitlines()]
    assert lines[0] == {
        "name": "daily",
        "queue": "desk",
        "cron": "0 9 * * 1-5",
        "timezone": "Europe/Berlin",
        "next": "2026-11-30T09:00:00+01:00",
        "session": None,
        "title": "What changed?",
    }
    assert (lines[1]["name"], lines[1]["session"]) == ("hourly", "n")
    removed = cli("schedules", "remove", "daily")
    assert (removed.exit_code, removed.stderr) == (0, "daily comes no more; runs that have begun go on\n")
    assert [json.loads(line)["name"] for line in cli("schedules", "--json").stdout.splitlines()] == ["hourly"]
    assert cli("schedules", "remove", "hourly").exit_code == 0
    nothing = cli("schedules")
    assert (nothing.exit_code, nothing.stdout, nothing.stderr) == (0, "", "nothing is scheduled\n")


def test_it_is_that_of_the_queue_in_the_same_journal(cli: Cli, tmp_path: Path) -> None:
    place = str(tmp_path / "runs.db")
    assert cli(*ADD, "--journal", place).exit_code == 0
    queue = Queue("desk", place)
    (found,) = queue.schedules()
    queue.close()
    assert (found.name, found.title) == ("daily", "What changed?")
    assert "daily" in cli("schedules", "--journal", place).stdout


def test_what_a_title_holds_does_nothing_to_the_terminal(cli: Cli) -> None:
    assert cli("schedules", "add", "a", "0 9 * * *", "[red]\x1b[2JHi\u202e", "--queue", "q\x1b[2J").exit_code == 0
    listed = cli("schedules").stdout
    assert "\x1b" not in listed
    assert "[red][2JHiU+202E" in listed


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["schedules"], "there is no journal"),
        (["schedules", "remove", "daily"], "there is no journal"),
        ([*ADD[:3], "0 9 * *", *ADD[4:]], "'0 9 * *' is no time of cron: write minute, hour"),
        ([*ADD[:-1], "Berlin"], "write it as Europe/Berlin"),
        ([*ADD[:4], " ", *ADD[5:]], "the prompt is empty"),
        ([*ADD[:6], "_dbos_x"], "a queue can't be named '_dbos_x'"),
        (["schedules", "--json", "remove", "daily"], "write options behind the command: agentkit schedules remove …"),
    ],
)
def test_mistakes_are_one_line(cli: Cli, arguments: list[str], told: str) -> None:
    done = cli(*arguments)
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert told in done.stderr


def test_the_question_rests_and_the_run_of_a_time_is_named_as_a_whole(cli: Cli, tmp_path: Path) -> None:
    assert cli(*ADD).exit_code == 0
    (row,) = map(json.loads, cli("runs", "list", "--json").stdout.splitlines())
    assert row["state"] == "scheduled"
    assert "`agentkit schedules` says when it comes" in cli("runs", "show", row["run_id"]).stdout
    resumed = cli("runs", "resume", row["run_id"], "--emulator")
    assert (resumed.exit_code, "is the question of a schedule: see `agentkit schedules`" in resumed.stderr) == (2, True)
    queue = Queue("desk", str(tmp_path / "home" / "runs.db"))
    for day in ("01", "02"):
        anyio.run(partial(queue.submit, "Hi", run_id=f"daily-2026-12-{day}T0800Z"))
    queue.close()
    listed = cli("runs").stdout
    assert "daily-2026-12-01T0800Z" in listed
    assert "daily-2026-12-02T0800Z" in listed
    ambiguous = cli("runs", "show", "daily").stderr
    assert "daily-2026-12-02T0800Z (Hi), daily-2026-12-01T0800Z (Hi)" in ambiguous


def test_no_place_and_no_such_name(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli(*ADD).exit_code == 0
    unknown = cli("schedules", "remove", "weekly")
    assert (unknown.exit_code, unknown.stderr) == (
        2,
        "error: there is no schedule 'weekly' in the journal (there are: daily)\n",
    )
    monkeypatch.delenv("AGENTKIT_HOME")
    for command in (ADD, ["schedules"], ["schedules", "remove", "daily"]):
        done = cli(*command)
        assert (done.exit_code, "give --journal FILE|URL, or set AGENTKIT_HOME" in done.stderr) == (2, True)


def test_the_extra_is_named(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("agentkit.integrations.durable")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "dbos", None)
    for command in (ADD, ["schedules"], ["schedules", "remove", "daily"]):
        done = cli(*command)
        assert (done.exit_code, "pip install 'agentkit-loop[dbos]'" in done.stderr) == (2, True)
