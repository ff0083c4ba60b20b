"""`agentkit runs`: runs that are kept by `agentkit run`, and what can be done about them."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import Cli, started
from scripted import ScriptedServer, error, reply, server_tool_use, text, tool_use
from test_cli_process import on_terminal, read_until
from typer.testing import Result

from agentkit import Journal
from agentkit.cli.agents import named_agent
from agentkit.lease import new_holder

TOOLS = ["--no-default-tools", "--tool", "my_tools:lookup", "--tool", "my_tools:remove", "--tool", "my_tools:slow"]
ASKS = [
    reply(text("Let me see."), tool_use("lookup", id="toolu_l", city="Ulm")),
    reply(text("Now it goes."), tool_use("remove", id="toolu_r", path="a\u202e;b")),
]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Looks up, asks to remove, and is done; by the number of model turns in the request."""

    def said(request: Any) -> object:
        turns = sum(message["role"] == "assistant" for message in request.json["messages"])
        return ASKS[turns] if turns < len(ASKS) else reply(text("All \x1b[2Jdone."))

    with ScriptedServer(said) as server:
        yield server


@pytest.fixture
def held(cli: Cli, tools: Path, server: ScriptedServer) -> str:
    """The id of a run that waits for an approval."""
    done = cli("run", "Remove it.", "--base-url", server.url, *TOOLS)
    assert done.exit_code == 3
    return str(listed(cli)[0]["run_id"])


def listed(cli: Cli, *arguments: object) -> list[dict[str, Any]]:
    return [json.loads(line) for line in cli("runs", "--json", *arguments).stdout.splitlines()]


def refused(done: Result, said: str) -> None:
    assert (done.exit_code, done.stdout) == (2, "")
    assert re.search(said, done.stderr), done.stderr
    assert done.stderr.count("\n") == 1


def test_the_newest_run_comes_first(cli: Cli, held: str, server: ScriptedServer) -> None:
    cli("run", "Two\x1b[2J\nlines", "--base-url", server.url, "--no-default-tools", "--max-turns", 1)
    shown = cli("runs").stdout
    assert [line.split()[1:3] for line in shown.splitlines()] == [
        ["state", "written"],
        ["max", "turns"],
        ["needs", "approval"],
    ]
    assert "Two[2J lines" in shown
    assert "\x1b" not in shown
    assert held[:8] in shown
    assert held[:9] not in shown
    assert cli("runs", "list").stdout == shown
    assert [run["run_id"] for run in listed(cli, "--state", "needs_approval")] == [held]
    assert len(listed(cli, "--limit", 1)) == 1
    (about,) = listed(cli, "--state", "needs_approval")
    known = {"turns": 2, "calls": 1, "pending_calls": 1, "title": "Remove it.", "model": "claude-sonnet-4-6"}
    assert known.items() <= about.items()
    assert "there is no such run" in cli("runs", "--state", "error").stderr


def test_what_happened_is_shown(cli: Cli, held: str) -> None:
    shown = cli("runs", "show", held[:6]).stdout
    assert "\x1b" not in shown
    lines = [" ".join(line.split()) for line in shown.splitlines() if line.strip()]
    assert lines[0] == f"{held} needs approval"
    assert lines[2:4] == ["asked", "Remove it."]
    for at, begins in (
        (4, "turn 1 "),
        (5, "Let me see."),
        (6, "lookup Ulm done "),
        (7, "Ulm: [31m21 degrees[0m, U+202Esunny"),
        (8, "turn 2 "),
        (9, "Now it goes."),
        (10, "remove aU+202E;b held"),
        (11, "Waits for your decision"),
        (12, "remove (2:toolu_r)"),
        (14, '"path": "aU+202E;b"'),
    ):
        assert lines[at].startswith(begins), shown
    assert f"agentkit runs resume {held[:8]} --allow 2:toolu_r" in lines
    assert lines[-1] == "held: needs approval"
    known = json.loads(cli("runs", "show", held, "--json").stdout)
    assert [step["step"] for step in known["steps"]] == ["asked", "turn", "call", "turn", "held"]
    assert known["pending"] == [{"call": "2:toolu_r", "name": "remove", "input": {"path": "a\u202e;b"}}]
    one = cli("runs", "show", held, "--turn", 1).stdout
    assert '"city": "Ulm"' in one
    assert "turn 2" not in one
    refused(cli("runs", "show", held, "--turn", 3), "has no turn 3: it has turns 1 to 2")


def test_the_request_of_a_turn_is_what_was_sent(cli: Cli, held: str, server: ScriptedServer) -> None:
    for turn in (1, 2):
        done = cli("runs", "show", held, "--turn", turn, "--curl", "--base-url", server.url)
        assert done.exit_code == 0
        words = shlex.split(done.stdout)
        sent = json.loads(words[words.index("--data") + 1])
        assert sent == server.requests[turn - 1].json
        assert done.stderr == ""
    refused(cli("runs", "show", held, "--turn", 1, "--curl"), "this turn was asked of 127.0.0.1: give --base-url")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "outcome", "decided"),
    [
        (["--allow", "2:toolu_r"], "done", "remove may run"),
        (["--deny", "toolu_r=keep it"], "denied", "remove may not run: keep it"),
        (["--deny", "2:toolu_r"], "denied", "remove may not run"),
        (["--edit", '2:toolu_r={"path": "other"}'], "done", 'remove may run, with {"path": "other"} in place of that'),
    ],
)
def test_a_decision_lets_it_go_on(
    cli: Cli, held: str, server: ScriptedServer, options: list[str], outcome: str, decided: str
) -> None:
    done = cli("runs", "resume", held[:5], "--base-url", server.url, *TOOLS, *options)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "All [2Jdone." in done.stdout
    known = json.loads(cli("runs", "show", held, "--json").stdout)
    assert known["state"] == "end_turn"
    assert [step["outcome"] for step in known["steps"] if step["step"] == "call"] == ["done", outcome]
    shown = cli("runs", "show", held).stdout
    assert f"  {decided}\n" in shown
    assert re.search(r"(?m)^  remove +aU\+202E;b +held$", shown)  # as it was asked, whatever became of it
    refused(cli("runs", "resume", held, "--base-url", server.url, *TOOLS), "has its answer; to go on: agentkit run")
    more = cli("run", "--after", held[:5], "And now?", "--base-url", server.url, *TOOLS)
    assert more.exit_code == 0
    newest = listed(cli)[0]
    assert (newest["parent"], newest["title"], newest["turns"]) == (held, "And now?", 1)
    assert "turn 4 " in cli("runs", "show", newest["run_id"]).stdout


@pytest.mark.slow
def test_on_a_terminal_it_asks_and_the_table_fits(cli: Cli, held: str, server: ScriptedServer) -> None:
    with on_terminal("runs", columns=60) as (process, terminal):
        shown = read_until(terminal, b"")
        assert process.wait() == 0
    assert "\x1b[" in shown
    _, row = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert row.startswith(f"{held[:8]}  needs approval  ")
    assert len(row.rstrip()) <= 60
    with on_terminal("runs", "show", held) as (process, terminal):
        shown = read_until(terminal, b"")
    assert '"path": "aU+202E;b"' in shown
    assert "\u202e" not in shown
    with on_terminal("runs", "resume", held, "--base-url", server.url, *TOOLS) as (process, terminal):
        asked = read_until(terminal, b"reason for no: ")
        assert "remove waits for your approval, to run with" in asked
        assert '"path": "aU+202E;b"' in asked
        os.write(terminal, b"better not\n")
        read_until(terminal, b"")
        assert process.wait() == 0
    assert "  remove may not run: better not\n" in cli("runs", "show", held).stdout


def test_a_decision_that_can_not_be(cli: Cli, held: str, server: ScriptedServer) -> None:
    for options, said in (
        (["--allow", "3:x"], "no call '3:x' waits for a decision \\(waiting: 2:toolu_r\\)"),
        (["--edit", "toolu_r"], "--edit toolu_r: write it as CALL=JSON"),
        (["--edit", "toolu_r=[1]"], "the input of a call is a JSON object"),
        (["--allow", "toolu_r", "--deny", "2:toolu_r"], "two decisions on 2:toolu_r"),
    ):
        refused(cli("runs", "resume", held, "--base-url", server.url, *TOOLS, *options), said)
    without = cli("runs", "resume", held, "--base-url", server.url, "--no-default-tools", "--allow", "toolu_r")
    refused(without, "remove waits for approval: name its tool with --tool")
    refused(cli("runs", "resume", held, *TOOLS), "this run has asked 127.0.0.1: name where to go on with --base-url")
    undecided = cli("runs", "resume", held, "--base-url", server.url, *TOOLS)
    assert undecided.exit_code == 3
    assert f"how to decide: agentkit runs show {held[:8]}" in undecided.stderr
    assert len(server.requests) == 2


def test_an_agent_of_ones_own(cli: Cli, tools: Path, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    source = f"""
        from agentkit import Agent, Client
        from my_tools import lookup, remove
        client = Client(base_url={server.url!r})
        agent = Agent("claude-sonnet-4-6", tools=[lookup, remove], client=client, journal="own.db")
        bare = agent.__class__("claude-sonnet-4-6")
        other = 1
    """
    (tools / "desk.py").write_text("\n".join(line.strip() for line in source.splitlines()))
    monkeypatch.delitem(sys.modules, "desk", raising=False)
    monkeypatch.delenv("AGENTKIT_HOME")
    agent = named_agent("desk.py:agent")
    run_id = agent.run_sync("Remove it.").run_id
    agent.close()
    refused(cli("runs", "resume", run_id, "--agent", "desk.py:agent", "--journal", "own.db"), "leave out --journal")
    refused(cli("runs", "resume", run_id, "--agent", "desk.py:agent", "--model", "x"), "leave out --model")
    refused(cli("runs", "resume", run_id, "--agent", "desk.py:bare"), "the agent keeps no runs")
    refused(cli("runs", "resume", run_id, "--agent", "desk:other"), r"no Agent 'other' \(there are: agent, bare\)")
    refused(cli("runs", "resume", run_id, "--agent", "nowhere.py:agent"), "there is no file .*nowhere.py")
    refused(cli("runs", "resume", run_id, "--agent", "nowhere:agent"), "importing nowhere failed: ModuleNotFoundError")
    refused(cli("runs", "resume", run_id, "--agent", "agent"), "write it as module:name or file.py:name")
    done = cli("runs", "resume", run_id[:4], "--agent", "desk:agent", "--allow", "2:toolu_r")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "All [2Jdone." in done.stdout


def test_a_run_that_waits_is_cancelled(cli: Cli, held: str) -> None:
    done = cli("runs", "cancel", held[:8])
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", f"cancelled {held[:8]}\n")
    assert listed(cli, "--state", "needs_approval") == []
    assert [run["run_id"] for run in listed(cli, "--state", "cancelled")] == [held]
    refused(cli("runs", "cancel", held), r"has ended \(cancelled\): there is nothing to cancel")


def test_a_process_that_is_gone_leaves_a_run_to_resume(cli: Cli, tools: Path) -> None:
    script = [reply(tool_use("slow", id="toolu_s", seconds=60)), reply(text("So be it."))]
    journal = str(tools / "own.db")
    with ScriptedServer(script) as server:
        arguments = ["--base-url", server.url, *TOOLS, "--journal", journal]
        with started("run", "Sleep.", *arguments, "--json", cwd=tools) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if json.loads(line)["type"] == "tool_call":
                    break
            (live,) = listed(cli, "--journal", journal)
            assert (live["state"], live["holder"].split(":")[1]) == ("running", str(process.pid))
            for verb in ("cancel", "resume"):
                busy = cli("runs", verb, live["run_id"], "--journal", journal)
                assert busy.exit_code == 1
                assert f"goes on in process {process.pid} on " in busy.stderr
            process.send_signal(signal.SIGKILL)
            process.wait()
        (dead,) = listed(cli, "--journal", journal)
        assert (dead["state"], dead["holder"]) == ("interrupted", None)
        shown = cli("runs", "show", dead["run_id"], "--journal", journal).stdout
        assert re.search(r"slow +60 +started", shown)
        assert f"interrupted: agentkit runs resume {dead['run_id'][:8]} --journal {journal}" in shown
        done = cli("runs", "resume", dead["run_id"], *arguments)
        assert done.exit_code == 0
        assert "unknown" in done.stdout
        server.assert_done()
    assert os.environ["AGENTKIT_HOME"]
    assert not (Path(os.environ["AGENTKIT_HOME"]) / "runs.db").exists()


def test_cancel_tells_what_may_have_happened(cli: Cli, held: str) -> None:
    journal = Journal(Path(os.environ["AGENTKIT_HOME"]) / "runs.db", clock=lambda: time.time() - 60)
    transcript = journal.load(held)
    transcript.begin(held, None)
    transcript.start(transcript.calls["2:toolu_r"])
    journal._take_up(transcript, new_holder())
    journal.close()
    assert [run["run_id"] for run in listed(cli, "--state", "interrupted")] == [held]
    done = cli("runs", "cancel", held)
    assert "it is not known whether this took effect: remove (2:toolu_r)" in done.stderr


def test_exported_runs_go_on_elsewhere(cli: Cli, held: str, server: ScriptedServer, tmp_path: Path) -> None:
    out = tmp_path / "talk.json"
    assert cli("runs", "export", held, "-o", out).stdout == ""
    assert out.read_text() == cli("runs", "export", held).stdout.strip()
    other = tmp_path / "other.db"
    more = cli("run", "--after", out, "And now?", "--base-url", server.url, *TOOLS, "--journal", other)
    assert more.exit_code == 0
    (run,) = listed(cli, "--journal", other)
    assert run["parent"] is None


def test_a_fork_takes_a_turn_anew(cli: Cli, held: str, server: ScriptedServer) -> None:
    done = cli("runs", "fork", held[:8], "--turn", 2)
    made = done.stdout.strip()
    assert done.stderr == f"to go on with it: agentkit runs resume {made[:8]}\n"
    (forked,) = listed(cli, "--state", "forked")
    assert (forked["run_id"], forked["parent"], forked["turns"]) == (made, held, 1)
    assert f"(after {held[:8]})" in cli("runs").stdout
    assert cli("runs", "show", made).stdout.endswith(
        f"forked (before turn 2 of run {held}): agentkit runs resume {made[:8]}\n"
    )
    resumed = cli("runs", "resume", made, "--base-url", server.url, *TOOLS)
    assert resumed.exit_code == 3
    assert len(server.requests) == 3
    refused(cli("runs", "fork", held, "--turn", 9), "has no turn 9")


def test_where_two_runs_part(cli: Cli, held: str, server: ScriptedServer) -> None:
    made = cli("runs", "fork", held, "--turn", 2).stdout.strip()
    part = cli("runs", "diff", held, made).stdout
    assert part.startswith("The same in both: 1 question and 1 turn.\n")
    assert part.endswith(f"── {made[:8]}\nnothing more\n")
    assert f"── {held[:8]}\n\nturn 2 " in part
    cli("runs", "resume", made, "--base-url", server.url, *TOOLS)
    assert cli("runs", "diff", held, made).stdout == "The runs are equal: 1 question and 2 turns.\n"
    cli("run", "Remove it.", "--base-url", server.url, *TOOLS)
    again = listed(cli)[0]["run_id"]
    assert json.loads(cli("runs", "diff", held, again, "--json").stdout)["equal"]
    cli("runs", "resume", again, "--base-url", server.url, *TOOLS, "--allow", "toolu_r")
    difference = json.loads(cli("runs", "diff", held, again, "--json").stdout)
    assert (difference["equal"], difference["common_questions"], difference["common_turns"]) == (False, 1, 1)
    cli("run", "Something else.", "--base-url", server.url, *TOOLS)
    assert cli("runs", "diff", held, listed(cli)[0]["run_id"]).stdout.startswith("Nothing is the same in both.\n")


def test_a_damaged_run_is_told_and_repaired(cli: Cli, held: str, tools: Path) -> None:
    path = Path(os.environ["AGENTKIT_HOME"]) / "runs.db"
    with sqlite3.connect(path) as db:
        rows = db.execute("SELECT seq, entry FROM entries").fetchall()
        ((seq, entry),) = [row for row in rows if b'"started"' in row[1]]
        db.execute("UPDATE entries SET entry = ? WHERE seq = ?", (entry[:-1], seq - 1))
        db.execute("UPDATE entries SET digest = x'00' WHERE seq = ?", (seq,))
    db.close()
    assert re.search(rf"{held[:8]} +damaged ", cli("runs").stdout)
    (about,) = listed(cli)
    assert "is damaged" in about["damaged"]
    shown = cli("runs", "show", held)
    assert (shown.exit_code, shown.stdout) == (1, "")
    assert f"agentkit runs repair {held[:8]}" in shown.stderr
    done = cli("runs", "repair", held[:8])
    assert done.exit_code == 0
    keep = f"{held[:8]}.cut.jsonl"
    assert f"entries were cut; they are in {keep}\n" in done.stderr
    assert "in what was cut, these calls had begun: 1:toolu_l: check before they are repeated" in done.stderr
    assert len((tools / keep).read_bytes().splitlines()) == len(rows) - seq + 1
    assert cli("runs", "show", held).exit_code == 0
    refused(cli("runs", "repair", held), "no entry of run .* is damaged")


def test_results_that_came_too_late_are_shown(cli: Cli, held: str) -> None:
    journal = Journal(Path(os.environ["AGENTKIT_HOME"]) / "runs.db")
    late = {
        "entry": "call",
        "call": "2:toolu_r",
        "state": "ended",
        "outcome": "done",
        "result": {"content": "re\x07moved"},
    }
    journal._store.orphan(journal.run(held), [(json.dumps(late).encode(), b"")])
    journal.close()
    shown = cli("runs", "show", held).stdout
    assert "Came too late, and is in no turn\n  2:toolu_r  done  removed\n" not in shown
    assert "Came too late, and is in no turn\n  2:toolu_r done removed\n" in shown


@pytest.mark.slow
def test_searches_are_shown_with_what_they_found(cli: Cli, corpus: Path) -> None:
    cli("run", "When does the harbour of Lindholm close?", "--corpus", corpus, "--pause-after", 1)
    run_id = listed(cli)[0]["run_id"]
    shown = cli("runs", "show", run_id).stdout
    assert re.search(r"(?m)^  search +harbour lindholm.* \d results?$", shown), shown
    assert ", stopped by pause_turn\n" in shown
    assert shown.endswith("ended: end_turn\n")


def test_a_use_that_has_no_result(cli: Cli, tools: Path) -> None:
    broken = reply(server_tool_use("web_search", id="srvtoolu_1", query="x"), stop="pause_turn")
    with ScriptedServer([broken, error(401, "authentication_error", "bad key")]) as server:
        failed = cli("run", "Hi?", "--base-url", server.url)
    (run,) = listed(cli)
    assert failed.exit_code == 1
    assert f"what was done is kept; to go on: agentkit runs resume {run['run_id'][:8]}\n" in failed.stderr
    assert run["state"] == "error"
    shown = cli("runs", "show", run["run_id"]).stdout
    assert re.search(r"(?m)^  search +x +not ended$", shown)
    assert "ended: error (bad key (HTTP 401, authentication_error, req_1)); to go on: agentkit runs resume" in shown


def test_how_a_run_without_an_answer_goes_on(cli: Cli, server: ScriptedServer, tools: Path) -> None:
    options = ["--base-url", server.url, *TOOLS, "--max-turns", 1]
    limited = cli("run", "Remove it.", *options, "--journal", "own.db")
    run_id = listed(cli, "--journal", "own.db")[0]["run_id"][:8]
    assert limited.stderr.endswith(
        f"; give more with --max-turns; to go on: agentkit runs resume {run_id} --journal own.db"
        f" (or --after {run_id} and a question)\n"
    )
    saved = cli("run", "Remove it.", *options, "--save", "saved.json")
    assert "agentkit runs" not in saved.stderr


def test_which_journal_and_which_run(cli: Cli, held: str, tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(cli("runs", "show", "zz"), "there is no run 'zz' in the journal: `agentkit runs` lists them")
    journal = Journal(Path(os.environ["AGENTKIT_HOME"]) / "runs.db")
    for _ in range(8):
        journal.fork(held, 2)
    journal.close()
    refused(cli("runs", "show", ""), "there is no run ''")
    candidates = [run["run_id"][:1] for run in listed(cli)]
    twice = next((first for first in candidates if candidates.count(first) > 1), None)
    if twice:
        refused(cli("runs", "show", twice), rf"\d runs begin with '{twice}': {twice}\w{{7}} \(Remove it\.\), {twice}")
    refused(cli("runs", "--journal", "x.db", "show", held), "write options behind the command: agentkit runs show …")
    refused(
        cli("runs", "--journal", "nowhere.db"), "there is no journal nowhere.db: `agentkit run --journal nowhere.db"
    )
    (tools / "text.db").write_text("not a database, but long enough to be read as one")
    wrong = cli("runs", "--journal", "text.db")
    assert wrong.exit_code in (1, 2)
    assert wrong.stderr.count("\n") == 1
    monkeypatch.delenv("AGENTKIT_HOME")
    refused(cli("runs"), "no journal is named: give --journal FILE|URL, or set AGENTKIT_HOME")


@pytest.mark.parametrize("command", ["list", "show", "resume", "cancel", "export", "fork", "diff", "repair"])
def test_help_has_an_example(cli: Cli, command: str) -> None:
    done = cli("runs", command, "--help")
    assert done.exit_code == 0
    assert re.search(rf"Examples?:\n    agentkit runs {command} ", done.stdout)


def test_a_session_goes_on_by_its_name(cli: Cli, tools: Path) -> None:
    with ScriptedServer(lambda request: reply(text(f"{len(request.json['messages'])} messages"))) as server:
        arguments = ["--base-url", server.url, "--no-default-tools", "--session", "ada"]
        assert "1 messages" in cli("run", "Hello.", *arguments).stdout
        assert "3 messages" in cli("run", "And now?", *arguments).stdout
        refused(cli("run", "And now?", *arguments, "--after", "x"), "leave --after and --curl out")


def test_a_session_without_a_journal(cli: Cli, tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGENTKIT_HOME")
    refused(cli("run", "Hello.", "--base-url", "http://localhost:1", "--session", "ada"), "a session needs a journal")
