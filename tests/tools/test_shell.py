"""Commands in the sandbox, as a model gives them and as it hears of them."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest
from sandboxed import needs_sandbox
from tool_runs import Run

from agentkit import Agent, ToolError, deny
from agentkit.emulator import reply, tool_use
from agentkit.testing import Scripted
from agentkit.tools import InvalidInput
from agentkit_tools.sandbox import Sandbox
from agentkit_tools.shell import shell

pytestmark = needs_sandbox


def test_what_they_are(tmp_path: Path) -> None:
    run, run_shell = shell(tmp_path)
    assert (run.name, run_shell.name) == ("run", "run_shell")
    assert run.effect == run_shell.effect == {"read", "private", "write", "exec"}
    assert (run.needs_approval, run_shell.needs_approval) == (False, True)
    assert set(run.input_schema["properties"]) == {"argv", "cwd", "stdin", "timeout"}
    assert set(run_shell.input_schema["properties"]) == {"command", "cwd", "timeout"}
    assert all(it["description"] for tool in (run, run_shell) for it in tool.input_schema["properties"].values())
    assert str(tmp_path) not in json.dumps([run.definition, run_shell.definition])
    assert shell(tmp_path, untrusted=True)[0].effect == run.effect | {"untrusted"}
    assert shell(tmp_path, needs_approval=False)[1].needs_approval is False
    for wrong in ({"argv": []}, {"argv": "ls"}, {"argv": ["ls"], "timeout": 0}, {"argv": ["ls", 1]}):
        with pytest.raises(InvalidInput):
            run.validate(wrong)


@pytest.mark.anyio
async def test_run(tmp_path: Path) -> None:
    run, _ = shell(tmp_path)
    call = Run()
    assert await call(run, argv=["echo", "*", "$HOME", "a;b"]) == "exit code 0\nstdout:\n* $HOME a;b"
    assert await call(run, argv=["true"]) == "exit code 0"
    assert await call(run, argv=["cat"], stdin="é") == "exit code 0\nstdout:\né"
    failed = await call(run, argv=["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert failed == "exit code 7\nstdout:\nout\n\nstderr:\nerr"
    assert "".join(call.progress).count("out") == 1


@pytest.mark.anyio
async def test_run_shell(tmp_path: Path) -> None:
    _, run_shell = shell(tmp_path)
    line = 'touch a b && echo *; [[ x == x ]] && printf "%s\\n" {1..3} | wc -l; mkdir -p sub'
    assert await Run()(run_shell, command=line) == "exit code 0\nstdout:\na b\n3"
    assert (await Run()(run_shell, command="pwd", cwd="sub")).endswith("/sub")
    assert (await Run()(run_shell, command="if")).startswith("exit code 2\nstderr:\nbash: -c: line")


@pytest.mark.anyio
async def test_what_goes_wrong_is_told(tmp_path: Path) -> None:
    run, _ = shell(tmp_path, sandbox=Sandbox(timeout=5))
    for arguments, told in [
        ({"argv": ["sh", "-c", "echo begun; sleep 9"], "timeout": 2}, r"more than 2 seconds.\nstdout:\nbegun$"),
        ({"argv": ["a\0"]}, "NUL"),
        ({"argv": ["x" * 3_000_000]}, "Argument list too long"),
        ({"argv": ["ls"], "cwd": "\0"}, "NUL"),
    ]:
        with pytest.raises(ToolError, match=told):
            await Run()(run, **arguments)
    assert "nothing-like-it" in await Run()(run, argv=["nothing-like-it"])


@pytest.mark.anyio
async def test_progress_comes_while_it_runs(tmp_path: Path) -> None:
    run, _ = shell(tmp_path)
    call = Run()
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: call(run, argv=["sh", "-c", "echo begun; sleep 30"]))
        with anyio.fail_after(10):
            while call.progress != ["begun\n"]:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        group.cancel_scope.cancel()


def test_in_a_run(tmp_path: Path, scripted: Scripted) -> None:
    """An approver that says no to a line: the run goes on, and the line has not run."""
    api = scripted(
        reply(tool_use("run", argv=["tee", "made"], stdin="x"), tool_use("run_shell", command="touch not-made")),
        reply("Done."),
    )
    agent = Agent("claude-sonnet-4-6", tools=shell(tmp_path))
    result = agent.run_sync("Work.", client=api.client, approve=lambda pending: deny("not now"))
    agent.close()
    assert [call.outcome for call in result.tool_calls] == ["done", "denied"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made"]
