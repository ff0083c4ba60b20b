"""`agentkit runs watch`: a run as another process sees it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import Cli, started
from scripted import ScriptedServer, reply, server_tool_use, text, tool_use
from test_cli_process import on_terminal, read_until

from agentkit import Journal

TOOLS = ["--tool", "my_tools:lookup", "--tool", "my_tools:remove", "--tool", "my_tools:slow"]
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
SCRIPT = [
    reply(
        text("Let me search."), server_tool_use("web_search", query="tea"), FOUND, text("Nothing."), stop="pause_turn"
    ),
    reply(tool_use("lookup", id="toolu_l", city="Ulm")),
    reply(text("All \x1b[2Jdone.")),
]
SLOW = reply(text("I sleep."), tool_use("slow", id="toolu_s", seconds=60))


def kept(cli: Cli, script: list[Any], *arguments: object) -> tuple[list[dict[str, Any]], str]:
    """The events that `run --json` printed, and the id of its run."""
    with ScriptedServer(script) as server:
        done = cli("run", "Where is \x1b[2J tea?", "--base-url", server.url, *TOOLS, "--json", *arguments)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return events, str(events[-1]["run_id"])


def lines_of(text_: str) -> list[str]:
    return [" ".join(line.split()) for line in text_.splitlines() if line.strip()]


@contextmanager
def sleeping(tools: Path, journal: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A run that is in the middle of a call, in a process of its own."""
    with ScriptedServer([SLOW, reply(text("Slept."))]) as server:
        arguments = ["run", "Sleep.", "--base-url", server.url, *TOOLS, "--journal", journal, "--json"]
        with started(*arguments, cwd=tools) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if json.loads(line)["type"] == "tool_call":
                    break
            opened = Journal(journal)
            run_id = opened.runs()[0].run_id
            opened.close()
            yield process, run_id


def test_a_run_that_has_ended_is_told_as_it_was(cli: Cli, tools: Path) -> None:
    _, run_id = kept(cli, SCRIPT)
    done = cli("runs", "watch", run_id[:6])
    assert (done.exit_code, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    lines = lines_of(done.stdout)
    assert lines[0] == f"run {run_id[:8]}: Where is [2J tea?"
    assert [re.sub(r" (<0\.1|\d+\.\d) s$", " … s", line) for line in lines[1:7]] == [
        "Let me search.",
        "search tea 0 results",  # how long that took is not in the log
        "Nothing.",
        "paused by the API after 1 server call, resumed",
        "lookup Ulm 34 B … s",
        "All [2Jdone.",
    ]
    assert re.fullmatch(r"3 turns, 30 tokens in, 15 out, 1 search, 1 call, \S+ s", lines[7])


def test_a_program_reads_what_run_prints(cli: Cli, tools: Path) -> None:
    printed, run_id = kept(cli, SCRIPT)
    done = cli("runs", "watch", run_id, "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    numbers = [event.pop("number") for event in told]
    assert numbers == [*range(1, len(told)), len(told) - 1]
    in_the_log = ("turn_start", "turn_end", "content_block_stop", "server_tool_call", "server_tool_result", "tool_call")
    for kind in in_the_log:
        assert [event for event in told if event["type"] == kind] == [one for one in printed if one["type"] == kind]
    assert [event["text"] for event in told if event["type"] == "text_delta"][-1] == "All \x1b[2Jdone."
    assert {**told[-1], "seconds": 0} == {**printed[-1], "seconds": 0}
    rest = cli("runs", "watch", run_id, "--json", "--after", numbers[-3]).stdout
    assert rest.splitlines() == done.stdout.splitlines()[-2:]


def test_a_run_that_waits_for_an_approval(cli: Cli, tools: Path) -> None:
    _, run_id = kept(cli, [reply(tool_use("remove", id="toolu_r", path="a"))])
    done = cli("runs", "watch", run_id)
    assert done.exit_code == 3
    assert re.search(r"remove +a +held", done.stdout)
    assert done.stderr == (
        "no answer: needs_approval (remove (1:toolu_r)); to see what waits, and how to decide: "
        f"agentkit runs show {run_id[:8]}\n"
    )
    assert "to watch it" not in cli("runs", "show", run_id).stdout


@pytest.mark.slow
def test_a_run_of_another_process_is_watched_to_its_end(cli: Cli, tools: Path) -> None:
    journal = str(tools / "own.db")
    with sleeping(tools, journal) as (process, run_id):
        shown = cli("runs", "show", run_id, "--journal", journal).stdout
        assert lines_of(shown)[-1] == f"to watch it: agentkit runs watch {run_id[:8]} --journal {journal}"
        with started("runs", "watch", run_id, "--journal", journal, "--json", cwd=tools) as watching:
            assert watching.stdout is not None
            told = []
            for line in watching.stdout:
                told.append(json.loads(line))
                if told[-1]["type"] == "tool_call":
                    process.send_signal(signal.SIGINT)  # ends the run
            assert watching.wait(60) == 3
            assert watching.stderr is not None
            assert f"no answer: cancelled; to go on: agentkit runs resume {run_id[:8]}" in watching.stderr.read()
    assert [event["type"] for event in told[-2:]] == ["tool_result", "run_end"]
    assert (told[-2]["outcome"], told[-1]["finish"]) == ("cancelled", "cancelled")


@pytest.mark.slow
def test_leaving_does_not_end_the_run_and_its_death_is_told(cli: Cli, tools: Path) -> None:
    journal = str(tools / "own.db")
    with sleeping(tools, journal) as (process, run_id):
        with on_terminal("runs", "watch", run_id, "--journal", journal, columns=200) as (watching, terminal):
            assert "I sleep." in read_until(terminal, b"slow")
            watching.send_signal(signal.SIGINT)
            said = read_until(terminal, b"")
            assert watching.wait(60) == 130
            again = f"agentkit runs watch {run_id[:8]} --journal {journal}"
            assert f"only the watching has ended, not the run; to watch it again: {again}" in said
        assert process.poll() is None
        timer = threading.Timer(1.0, lambda: (process.kill(), process.wait()))
        timer.start()
        done = cli("runs", "watch", run_id, "--journal", journal)
        timer.join()
    assert done.exit_code == 3
    assert re.search(r"slow +60 +cut off", done.stdout)
    assert f"no answer: interrupted; to go on: agentkit runs resume {run_id[:8]} --journal {journal}" in done.stderr


@pytest.mark.slow
def test_a_queued_run(cli: Cli, tools: Path) -> None:
    journal = str(tools / "own.db")
    _, run_id = kept(cli, SCRIPT, "--journal", journal)
    opened = Journal(journal)
    row = opened.run(run_id)
    opened._store.claim(replace(row, state="queued", detail="research", holder=None), [])
    opened.close()
    assert "to watch it: agentkit runs watch" in cli("runs", "show", run_id, "--journal", journal).stdout
    with started("runs", "watch", run_id, "--journal", journal) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline() == f"run {run_id[:8]}: Where is [2J tea? (on the queue research)\n"
        with pytest.raises(subprocess.TimeoutExpired):
            watching.wait(1)


def test_what_can_not_be_watched(cli: Cli, tools: Path) -> None:
    _, run_id = kept(cli, SCRIPT)
    done = cli("runs", "watch", "zz")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "there is no run 'zz' in the journal" in done.stderr
    assert cli("runs", "watch", run_id, "--after", -1).exit_code == 2
