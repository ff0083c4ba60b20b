"""`agentkit worker`, and the options that leave a run to a queue."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from commands import PYTHON, Cli
from scripted import Request, ScriptedServer, reply, text, tool_use

pytest.importorskip("dbos", reason="needs dbos, which the extra `dbos` has")

from agentkit.integrations.durable import Queue

DESK = """
from agentkit import Agent, Client
from my_tools import lookup, remove

agent = Agent("claude-sonnet-4-6", tools=[lookup, remove], client=Client(base_url="{url}", api_key="key"))
kept = Agent("claude-sonnet-4-6", journal="mine.db")
"""


@pytest.fixture
def server(tools: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """What the agents of the module `desk` ask; the journal is `runs.db` in the current folder."""

    def script(request: Request) -> object:
        answered = any(isinstance(message["content"], list) for message in request.json["messages"][2:])
        return reply(text("Done.")) if answered else reply(tool_use("remove", path="a"))

    with ScriptedServer(script) as serving:
        monkeypatch.delitem(sys.modules, "desk", raising=False)
        (tools / "desk.py").write_text(DESK.format(url=serving.url))
        yield serving


def on_queue(cli: Cli, question: str, *more: str) -> str:
    done = cli("run", "--queue", "desk", "--journal", "runs.db", question, *more)
    assert done.exit_code == 0, done.output
    assert "on the queue desk; to watch it: agentkit runs watch" in done.stderr
    return str(done.stdout.strip())


def worked(until: str, *arguments: str) -> tuple[int, list[str]]:
    """The exit code of a worker that is stopped when it has said something, and its lines."""
    command = [*PYTHON, "worker", "desk:agent", "--queue", "desk", "--journal", "runs.db", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        lines = []
        for line in process.stdout:
            lines.append(line.strip())
            if until in line:
                process.send_signal(signal.SIGTERM)
                until = "\0"
        return process.wait(), lines


def state(cli: Cli, run_id: str) -> dict[str, Any]:
    rows = [json.loads(line) for line in cli("runs", "list", "--json", "--journal", "runs.db").stdout.splitlines()]
    return next(row for row in rows if row["run_id"] == run_id)


@pytest.mark.slow
def test_a_run_goes_over_a_queue_is_held_decided_and_ends(cli: Cli, server: ScriptedServer) -> None:
    run_id = on_queue(cli, "Remove it.")
    assert (state(cli, run_id)["state"], state(cli, run_id)["queue"]) == ("queued", "desk")
    assert "queued · desk" in cli("runs", "--journal", "runs.db").stdout
    assert "a worker of this queue begins it" in cli("runs", "show", run_id, "--journal", "runs.db").stdout
    code, lines = worked("needs_approval")
    assert code == 0
    assert any(f"began {run_id[:8]}" in line for line in lines)
    assert lines[-1].endswith("metrics: 0 running, 1 ended (1 needs approval), 0 taken over")
    assert state(cli, run_id)["pending_calls"] == 1
    call = ["runs", "resume", run_id, "--queue", "desk", "--journal", "runs.db", "--allow", "1:toolu_1"]
    assert cli(*call).exit_code == 0
    again = cli(*call)
    assert (again.exit_code, "waits for a decision" in again.stderr) == (2, True)
    code, lines = worked('"type": "ended"', "--json")
    told = [json.loads(line) for line in lines]
    assert [one["type"] for one in told if one.get("run_id") == run_id] == ["began", "ended"]
    assert (told[-1]["type"], told[-1]["ended"]) == ("metrics", {"end_turn": 1})
    assert state(cli, run_id)["state"] == "end_turn"


def test_a_session_on_a_queue_and_its_cancel(cli: Cli, server: ScriptedServer) -> None:
    run_id = on_queue(cli, "Remove it.", "--session", "ada")
    busy = cli("run", "--queue", "desk", "--journal", "runs.db", "--session", "ada", "And now?")
    assert (busy.exit_code, "has not ended" in busy.stderr) == (1, True)
    done = cli("runs", "cancel", run_id, "--queue", "desk", "--journal", "runs.db")
    assert (done.exit_code, state(cli, run_id)["state"]) == (0, "cancelled")
    queue = Queue("desk", "runs.db")
    assert queue.jobs() == []
    queue.close()
    again = cli("runs", "cancel", run_id, "--queue", "desk", "--journal", "runs.db")
    assert (again.exit_code, "there is nothing to cancel" in again.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["worker", "desk:agent", "--queue", "desk"], "no journal is named: give --journal FILE|URL"),
        (
            ["worker", "desk:nobody", "--queue", "desk"],
            "the agent desk:nobody: desk has no Agent 'nobody' (there are: agent, kept)",
        ),
        (["worker", "desk", "--queue", "desk"], "the agent desk: write it as module:name or file.py:name"),
        (["worker", "desk:agent", "--queue", "desk", "--rate", "5", "--journal", "runs.db"], "such as 60/60"),
        (["worker", "desk:agent", "--queue", "desk", "--rate", "0/9", "--journal", "runs.db"], "such as 60/60"),
        (["worker", "desk:agent", "--queue", "_dbos_x", "--journal", "runs.db"], "can't be named '_dbos_x'"),
        (["run", "--queue", "desk", "Remove it."], "no journal is named: give --journal FILE|URL"),
        (["run", "--queue", "desk", "--journal", "runs.db"], "ask a question"),
        (["run", "--queue", "desk", "--journal", "runs.db", "--emulator", "Hi"], "leave out --emulator"),
        (["run", "--queue", "desk", "--journal", "runs.db", "--tool", "my_tools:lookup", "Hi"], "leave out --tool"),
    ],
)
def test_mistakes_are_one_line(
    cli: Cli, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    monkeypatch.delenv("AGENTKIT_HOME")
    done = cli(*arguments)
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert told in done.stderr


def test_the_extra_is_named(cli: Cli, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("agentkit.integrations.durable")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "dbos", None)
    for command in (["worker", "desk:agent", "--queue", "desk"], ["run", "--queue", "desk", "--journal", "x.db", "Hi"]):
        done = cli(*command)
        assert (done.exit_code, "pip install 'agentkit-loop[dbos]'" in done.stderr) == (2, True)


@pytest.mark.slow
def test_a_second_signal_cuts_off(cli: Cli, server: ScriptedServer) -> None:
    on_queue(cli, "Remove it.")
    command = [*PYTHON, "worker", "desk:agent", "--queue", "desk", "--journal", "runs.db"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if "serving" in line or "draining" in line:
                process.send_signal(signal.SIGINT)
        assert process.wait() in (0, 130)


def test_where_the_queue_is_said_of_a_run_that_a_worker_has(cli: Cli, server: ScriptedServer) -> None:
    run_id = on_queue(cli, "Remove it.")

    async def taken_up() -> None:
        queue = Queue("desk", "runs.db")
        lease = await queue.journal.take_up(queue.journal.load(run_id))
        about = state(cli, run_id)
        assert (about["state"], about["queue"], 15 < about["lease"] <= 20) == ("running", "desk", True)
        listed = cli("runs", "--journal", "runs.db").stdout
        assert "running · desk" in listed
        assert "worker, lease" in listed
        await lease.release("cancelled", None)
        queue.close()

    anyio.run(taken_up)
