"""Anthropic's bash: a session that stays, and that says truthfully when it did not."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import anyio
import pytest
from sandboxed import needs_sandbox
from tool_runs import Run

from agentkit import Agent, Tool, ToolError
from agentkit.emulator import reply, tool_use
from agentkit.testing import Scripted
from agentkit_tools.bash import bash
from agentkit_tools.sandbox import Sandbox

pytestmark = [needs_sandbox, pytest.mark.slow]


class Calls:
    """What a model does with the tool: the replies, errors as they are sent."""

    def __init__(self, tool: Tool) -> None:
        self.tool = tool
        self.run = Run()

    async def __call__(self, command: str | None = None, **more: object) -> str:
        given = {} if command is None else {"command": command}
        try:
            return str(await self.run(self.tool, **given, **more))
        except ToolError as error:
            return f"ERROR {error}"


@pytest.fixture
def calls(tmp_path: Path) -> Calls:
    return Calls(bash(tmp_path, sandbox=Sandbox(timeout=20)))


def brief(root: Path) -> Calls:
    return Calls(bash(root, sandbox=Sandbox(timeout=3)))


def test_what_it_is(tmp_path: Path) -> None:
    it = bash(tmp_path)
    assert it.definition == {"type": "bash_20250124", "name": "bash"}
    assert (it.name, it.needs_approval) == ("bash", True)
    assert it.effect == {"read", "private", "write", "exec"}
    assert bash(tmp_path, needs_approval=False, untrusted=True).effect == it.effect | {"untrusted"}
    for given in ({"command": "ls"}, {"restart": True}):
        assert it.validate(given).items() >= given.items()


@pytest.mark.anyio
async def test_the_session_stays(calls: Calls, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    assert await calls("cd sub; X=5; export Y=6; f() { echo $X; }") == ""
    assert await calls("pwd; f; printenv Y X") == f"ERROR {tmp_path}/sub\n5\n6"
    assert await calls("echo made > file; cat file") == "made"
    assert (tmp_path / "sub" / "file").read_text() == "made\n"
    assert await calls(restart=True) == "bash session restarted"
    assert await calls("pwd; echo [$X]") == f"{tmp_path}\n[]"
    assert await calls(command="ls", restart=True) == "bash session restarted"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("", "ERROR bash: command is required"),
        (None, "ERROR bash: command is required"),
        ("echo a\0b", "ERROR bash: a command can't have the character NUL"),
        ("true", ""),
        ("false", "ERROR exit code 1"),
        ("echo out; echo err >&2", "out\nerr"),
        ("echo out; (exit 3)", "ERROR out"),
        ("printf 'no newline'", "no newline"),
        ("printf '0\\n'; printf '7\\0'", "0\n7\ufffd"),  # as an exit code looks
        ("cat; read -r x; echo [$x]", "[]"),  # there is no input, and no command is taken for it
        ("cat <<'END'\na $HOME\nEND", "a $HOME"),
        ("for i in 1 2; do\n  echo $i\ndone  # comment", "1\n2"),
        ("echo a \\\n  b", "a b"),
        ("echo 'ünï ✓' | tr a-z A-Z", "üNï ✓"),
        ("printf '\\033[31mred\\033[0m'", "red"),
        ("echo hi > /proc/self/fd/252", None),
        ("sleep 30 & echo $(jobs -r | wc -l)", "1"),
    ],
)
async def test_replies(calls: Calls, command: str | None, said: str | None) -> None:
    replied = await calls(command)
    assert replied == said or said is None
    assert await calls("echo next") == "next"


@pytest.mark.anyio
@pytest.mark.parametrize("command", ["if", "echo 'unclosed", "echo $(", "}"])
async def test_mistakes_leave_it_as_it_is(calls: Calls, command: str) -> None:
    await calls("X=5")
    assert "syntax error" in (said := await calls(command)) or "unexpected EOF" in said
    assert await calls("echo $X") == "5"


@pytest.mark.anyio
async def test_much_output(calls: Calls) -> None:
    said = await calls("seq 200000")
    assert said.startswith("1\n2\n")
    assert said.endswith("\n199999\n200000")
    assert "bytes left out]" in said
    assert len(said) < 40_000
    assert await calls("echo next") == "next"
    assert "".join(calls.run.progress).startswith("1\n2\n")


@pytest.mark.anyio
async def test_what_a_job_prints_later_comes_with_the_next_command(calls: Calls) -> None:
    await calls("(until [ -e go ]; do sleep 0.02; done; echo late) &")
    assert await calls("touch go; wait; echo now") == "late\nnow"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "command",
    [
        "setsid sleep 60 <&- & sleep 60",
        *(pytest.param(it, marks=pytest.mark.slow) for it in ("sleep 60", "sleep 60 | cat", "cat < <(sleep 60)")),
    ],
)
async def test_too_late_and_the_session_goes_on(tmp_path: Path, command: str) -> None:
    calls = brief(tmp_path)
    await calls("X=5; sleep 61 &")
    said = await calls(f"echo begun; {command}")
    assert said.startswith("ERROR bash: bash command timed out after 3.0s\nbegun")
    assert said.endswith("[The command was ended; the session goes on.]")
    # What ran before it runs on; what it started does not.
    lines = (await calls("echo $X; pgrep -c sleep; jobs -r | wc -l")).splitlines()
    assert [line for line in lines if "Killed" not in line] == ["5", "1", "1"]  # bash may tell of the others now


@pytest.mark.slow
@pytest.mark.anyio
async def test_too_late_and_the_session_is_over(tmp_path: Path) -> None:
    calls = brief(tmp_path)
    said = await calls("echo begun; while :; do :; done")
    assert said.startswith("ERROR bash: bash command timed out after 3.0s\nbegun\n")
    assert said.endswith("[The session was ended with it; restart required.]")
    assert (await calls("echo")).startswith("ERROR bash: bash session terminated; restart required")
    assert await calls(restart=True) == "bash session restarted"
    assert await calls("echo back") == "back"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("command", "code"), [("exit 3", 3), ("exec true", 0), ("set -e; false", 1), ("kill -9 $$", 137)]
)
async def test_the_end_of_bash_is_told(calls: Calls, command: str, code: int) -> None:
    said = await calls(f"echo begun; {command}")
    assert said == f"ERROR bash: bash session terminated with exit code {code}; restart required\nbegun"
    assert await calls("echo") == "ERROR bash: bash session terminated; restart required"
    await calls(restart=True)
    assert await calls("echo back") == "back"


def running(pattern: str) -> bool:
    return subprocess.run(["pgrep", "-f", pattern], capture_output=True).returncode == 0


def sleeping(mark: str) -> bool:
    return running(f"^sleep {mark}$")


def tells_of_the_end(said: str, why: str) -> bool:
    """Also where bubblewrap was still about to go when the call came: then its exit code is told."""
    text = rf"ERROR bash: bash session terminated( with exit code 137)?; restart required \({why}\)"
    return re.fullmatch(text, said) is not None


@pytest.fixture
def mark() -> str:
    """How long a process of the test sleeps, by which it is found."""
    return f"{Random().randrange(10**6, 10**7)}.5"


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - of another process
            await anyio.sleep(0.02)


async def until_over(root: Path, mark: str) -> None:
    """Waits for the end of a session: of bubblewrap, which has the folder as an argument, and of what runs in it."""
    await until(lambda: not running(f"{root}|^sleep {mark}$"))


@pytest.mark.anyio
async def test_a_cancelled_call_ends_the_session(calls: Calls, tmp_path: Path, mark: str) -> None:
    await calls("true")
    with anyio.move_on_after(0.3):
        await calls(f"sleep {mark}")
    await until_over(tmp_path, mark)
    said = await calls("echo")
    assert tells_of_the_end(said, "a call was cancelled"), said


@pytest.mark.anyio
async def test_runs_have_their_own(tmp_path: Path) -> None:
    first, second = Calls(bash(tmp_path)), Calls(bash(tmp_path))
    second.tool = first.tool
    second.run.ctx = replace(second.run.ctx, run_id="run_2")
    await first("X=1")
    await second("X=2")
    assert [await first("echo $X"), await second("echo $X")] == ["1", "2"]


@pytest.mark.anyio
async def test_calls_at_once_take_turns(calls: Calls) -> None:
    said: list[str] = []

    async def call(number: int) -> None:
        said.append(await calls(f"sleep 0.05; echo {number}"))

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(call, number)
    assert sorted(said) == ["0", "1", "2", "3", "4"]


@pytest.mark.anyio
@pytest.mark.slow
async def test_nine_runs_are_one_too_many(tmp_path: Path, mark: str) -> None:
    calls = Calls(bash(tmp_path))
    for number in range(9):
        calls.run.ctx = replace(calls.run.ctx, run_id=f"run_{number}")
        await calls(f"sleep {mark} &" if number == 0 else "true")
        if number == 0:
            await until(lambda: sleeping(mark))
        assert sleeping(mark) == (number < 8)


@pytest.mark.anyio
async def test_idle_for_too_long(calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str) -> None:
    await calls(f"sleep {mark} &")
    await until(lambda: sleeping(mark))
    monkeypatch.setattr(sys.modules["agentkit_tools.bash"], "_IDLE", 0.0)
    await until_over(tmp_path, mark)
    said = await calls("echo")
    assert tells_of_the_end(said, "it was not used for a while"), said


@pytest.mark.anyio
@pytest.mark.slow
async def test_limits_hold_between_calls_too(tmp_path: Path, mark: str) -> None:
    calls = Calls(bash(tmp_path, sandbox=Sandbox(processes=20)))
    await calls(f"for i in $(seq 40); do sleep {mark} & done 2>/dev/null")
    if os.getuid() == 0:  # else the kernel says no to each that is too much
        await until_over(tmp_path, mark)
        assert (await calls("echo")).endswith("(it had more than 20 processes)")


@pytest.mark.slow
def test_it_ends_with_the_tool(tmp_path: Path, mark: str) -> None:
    calls = Calls(bash(tmp_path))
    anyio.run(calls, f"sleep {mark} &")
    anyio.run(until, lambda: sleeping(mark))
    del calls
    gc.collect()
    assert not sleeping(mark)


@pytest.mark.slow
def test_it_ends_with_the_process(tmp_path: Path, mark: str) -> None:
    code = """
import os, sys, anyio
from agentkit import RunContext
from agentkit_tools.bash import bash
it = bash(sys.argv[1])
ctx = RunContext(deps=None, run_id="r", call_id="c", tool_use_id="t", tool_name="bash")
print(anyio.run(it, ctx, f"sleep {sys.argv[2]} & echo begun"), flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), mark], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("begun\n", -9)
    deadline = time.monotonic() + 30
    while sleeping(mark):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_in_a_run(tmp_path: Path, scripted: Scripted) -> None:
    """One session for all calls of a run, another for the next run."""
    api = scripted(
        *[
            *(reply(tool_use("bash", command=command)) for command in ("X=5; cd /usr", "pwd; echo $X")),
            reply(tool_use("bash", restart=True)),
            reply(tool_use("bash", command="nonsense")),
            reply("Done."),
        ]
    )
    agent = Agent("claude-sonnet-4-6", tools=[bash(tmp_path, needs_approval=False)])
    result = agent.run_sync("Work.", client=api.client)
    agent.close()
    assert [call.text for call in result.tool_calls][1:3] == ["/usr\n5", "bash session restarted"]
    assert api.requests[0]["tools"] == [{"type": "bash_20250124", "name": "bash"}]
    answer = api.requests[4]["messages"][-1]["content"][0]
    assert answer["is_error"] is True
    assert "nonsense: command not found" in str(answer["content"])
