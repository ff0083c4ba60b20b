"""`agentkit policy` and `--policy`: what a policy file says, and that it is asked."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from commands import Cli
from scripted import ScriptedServer, reply, text, tool_use
from test_cli_process import on_terminal, read_until

POLICY = '[[deny]]\npath = "**/.env*"\n\n[[allow]]\ntool = "discard"\npath = "tmp/**"\n'
TOOLS = ["--no-default-tools", "--tool", "my_tools:lookup", "--tool", "box:discard"]
BOX = '''
def discard(path: str) -> str:
    """Throw a file away."""
    return f"discarded {path}"
'''


@pytest.fixture
def policy(tools: Path) -> str:
    path = tools / "policy.toml"
    path.write_text(POLICY)
    (tools / "box.py").write_text(BOX)
    return str(path)


def test_a_dry_run(cli: Cli, policy: str) -> None:
    done = cli("policy", policy, *TOOLS[1:], "--call", 'discard {"path": "tmp/../.env"}', "--call", "lookup")
    assert done.exit_code == 0, done.stderr
    assert re.search(r"discard .*deny.*deny 1 of policy.toml", done.stdout)
    default = cli("policy", policy)
    assert "web_search" in default.stdout


def test_an_agents_tools(cli: Cli, tools: Path, policy: str) -> None:
    (tools / "desk.py").write_text(
        "from agentkit import Agent\nimport box\nagent = Agent('claude-sonnet-4-6', tools=[box.discard])\n"
    )
    assert "discard" in cli("policy", policy, "--agent", str(tools / "desk.py:agent")).stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--call", "discard {"], "the input is no JSON"),
        (["--call", "fly {}"], "there is no tool 'fly'"),
        (["--tool", "nothing:here"], "there is no module 'nothing'"),
    ],
)
def test_what_can_not_be_judged(cli: Cli, policy: str, arguments: list[str], said: str) -> None:
    done = cli("policy", policy, *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_typo_is_told(cli: Cli, tools: Path) -> None:
    (tools / "policy.toml").write_text('[[allow]]\ntol = "discard"\n')
    done = cli("policy", str(tools / "policy.toml"))
    assert done.exit_code == 2
    assert "tool" in done.stderr


SCRIPT = [
    reply(tool_use("discard", id="toolu_1", path="tmp/a"), tool_use("discard", id="toolu_2", path="b")),
    reply(text("Well.")),
]


def test_a_run_is_held_to_it(cli: Cli, policy: str) -> None:
    with ScriptedServer(SCRIPT) as server:
        done = cli("run", "Remove it.", "--base-url", server.url, *TOOLS, "--policy", policy, "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    judged = {event["call_id"]: event["action"] for event in events if event["type"] == "tool_judged"}
    assert judged == {"1:toolu_1": "allow", "1:toolu_2": "ask"}
    outcomes = {event["call_id"]: event["outcome"] for event in events if event["type"] == "tool_result"}
    assert outcomes["1:toolu_2"] == "denied"
    assert done.exit_code == 0


@pytest.mark.slow
def test_on_a_terminal_somebody_is_asked(tools: Path, policy: str) -> None:
    with ScriptedServer(SCRIPT) as server:
        arguments = ["--base-url", server.url, *TOOLS, "--policy", policy]
        with on_terminal("run", "Remove it.", *arguments) as (process, terminal):
            assert '"path": "b"' in read_until(terminal, b"a reason for no: ")
            os.write(terminal, b"no, keep it\n")
            assert "Well." in read_until(terminal, b"")
            assert process.wait(60) == 0
    assert "keep it" in str(server.requests[-1].json["messages"][-1])
