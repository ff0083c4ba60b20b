"""Commands in a sandbox: a program with its arguments, or a line for the shell."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from agentkit import RunContext, Tool, ToolError, tool
from agentkit_tools.processes import Finished, run_confined
from agentkit_tools.sandbox import Sandbox, work_folder

__all__ = ["effects_of", "run_to_text", "shell"]

Argv = Annotated[list[str], Field(min_length=1, max_length=1000)]
Seconds = Annotated[float, Field(gt=0, le=86400)]


def shell(
    root: str | os.PathLike[str],
    *,
    sandbox: Sandbox | None = None,
    needs_approval: bool | Callable[..., bool | Awaitable[bool]] = True,
    untrusted: bool = False,
) -> list[Tool]:
    """Two tools that run commands in the work folder, in a sandbox: `run` and `run_shell`.

    `run` takes a program and its arguments, so nothing in them is read as another command. `run_shell` takes a line
    for bash; a human decides each one.

    Args:
        root: The work folder, the only place of the host's that commands can change.
        sandbox: Its limits, and what else can be read.
        needs_approval: Whether a human decides each call of `run_shell`, or a function of its arguments that says so.
        untrusted: Whether others can write in the folder, so that what commands print is `untrusted`.

    Raises:
        ConfigurationError: There is no sandbox here, or `root` is no folder for it; the text says what to do.
    """
    sandbox = sandbox or Sandbox()
    folder = work_folder(root)
    sandbox.check()
    options: dict[str, Any] = {"effect": effects_of(untrusted=untrusted), "timeout": sandbox.timeout + 15}

    @tool(**options)
    async def run(
        ctx: RunContext[Any], argv: Argv, cwd: str = ".", stdin: str = "", timeout: Seconds | None = None
    ) -> str:
        """Run a program and wait for its end. There is no shell: *, |, > and && are plain arguments.

        It has no network, and can write only to the work folder and /tmp. What it leaves running is ended. Of long
        output you get the beginning and the end: for the rest, let it write to a file.

        Args:
            argv: The program and its arguments, such as ["python3", "-m", "unittest", "-v"].
            cwd: The folder to start in, from the work folder.
            stdin: What it reads from standard input.
            timeout: Seconds that it may take.
        """
        return await run_to_text(ctx, sandbox, folder, argv, cwd=cwd, stdin=stdin, timeout=timeout)

    @tool(needs_approval=needs_approval, **options)
    async def run_shell(ctx: RunContext[Any], command: str, cwd: str = ".", timeout: Seconds | None = None) -> str:
        """Run a line in bash, with pipes, * and &&, and wait for its end. Use `run` where that is enough.

        It has no network, and can write only to the work folder and /tmp. What it leaves running is ended.

        Args:
            command: The line, such as grep -rn TODO src | sort | head
            cwd: The folder to start in, from the work folder.
            timeout: Seconds that it may take.
        """
        argv = ["bash", "--noprofile", "--norc", "-c", command]
        return await run_to_text(ctx, sandbox, folder, argv, cwd=cwd, timeout=timeout)

    return [run, run_shell]


def effects_of(*, untrusted: bool) -> set[str]:
    """What a program in the sandbox may do: what it prints may be anything in the work folder."""
    return {"read", "private", "write", "exec", *(["untrusted"] if untrusted else [])}


async def run_to_text(
    ctx: RunContext[Any],
    sandbox: Sandbox,
    root: Path,
    argv: Sequence[str],
    *,
    cwd: str = ".",
    stdin: str = "",
    timeout: float | None = None,
) -> str:
    """Runs a program as `run_confined` does, and says for the model how it ended.

    Raises:
        ToolError: It was ended from outside, or could not be started.
    """
    try:
        finished = await run_confined(
            sandbox, root, argv, folder=cwd, stdin=stdin, timeout=timeout, progress=ctx.progress
        )
    except ValueError:
        raise ToolError("An argument has a character that none can have, such as NUL.") from None
    except OSError as error:
        raise ToolError(f"It can't be started: {error.strerror}.") from None
    if finished.stopped is not None:
        raise ToolError(f"It was ended, because {finished.stopped}.\n{_said(finished)}".rstrip())
    return f"exit code {finished.exit_code}\n{_said(finished)}".rstrip("\n")


def _said(finished: Finished) -> str:
    printed = {"stdout": finished.stdout, "stderr": finished.stderr}
    return "\n".join(f"{name}:\n{text.rstrip()}\n" for name, text in printed.items() if text)
