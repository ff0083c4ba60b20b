"""Anthropic's bash tool: a shell that goes on from call to call, in the sandbox."""

from __future__ import annotations

import os
import signal
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio

from agentkit import RunContext, Tool, ToolError, tool
from agentkit_tools.processes import Kept, Process, read_some, write_all
from agentkit_tools.sandbox import Sandbox, work_folder
from agentkit_tools.shell import effects_of

__all__ = ["bash"]

_MOST_SESSIONS = 8
_IDLE = 900.0
_PULSE = 0.1
_GRACE = 2.0

# Commands come on one pipe, each up to a NUL, and their exit codes go to another: nothing that a program prints is
# taken for either. Programs have neither pipe; bash puts its own copies where they are closed on exec.
_LOOP = """
exec 251<&0 252>&{status} {status}>&- 0</dev/null 2>&1
printf '0\\n' >&252
while IFS= read -r -d '' -u 251 __command; do
    eval "$__command" 251<&- 252>&-
    printf '%d\\n' "$?" >&252
done
"""


def bash(
    root: str | os.PathLike[str],
    *,
    sandbox: Sandbox | None = None,
    needs_approval: bool | Callable[..., bool | Awaitable[bool]] = True,
    untrusted: bool = False,
) -> Tool:
    """Anthropic's `bash_20250124`: bash in the sandbox, whose folder, variables and jobs stay from call to call.

    Each run has a session of its own. It ends with the process at the latest, when it was idle for 15 minutes, or when
    eight others were used since. A command that takes too long is ended, and the session goes on if it can.

    Args:
        root: The work folder, the only place of the host's that commands can change.
        sandbox: Its limits, and what else can be read; `timeout` is for each command.
        needs_approval: Whether a human decides each call, or a function of its arguments that says so.
        untrusted: Whether others can write in the folder, so that what commands print is `untrusted`.

    Raises:
        ConfigurationError: There is no sandbox here, or `root` is no folder for it; the text says what to do.

    Source: messages-api.md section 9; the replies are those of anthropic 2.14, lib/tools/agent_toolset.py.
    """
    chosen = sandbox or Sandbox()
    folder = work_folder(root)
    chosen.check()
    sessions = _Sessions(chosen, folder)

    @tool(
        definition={"type": "bash_20250124", "name": "bash"},
        effect=effects_of(untrusted=untrusted),
        needs_approval=needs_approval,
        timeout=chosen.timeout + 15,
    )
    async def bash(ctx: RunContext[Any], command: str | None = None, restart: bool | None = None) -> str:
        """Run a command in a bash session that stays.

        Args:
            command: The command.
            restart: True to begin a new session instead.
        """
        if restart:
            sessions.restart(ctx.run_id)
            return "bash session restarted"
        if not command:
            raise ToolError("bash: command is required")
        if "\0" in command:
            raise ToolError("bash: a command can't have the character NUL")
        return await sessions.run(ctx.run_id, command, ctx.progress)

    return bash


class _Sessions:
    """The session of each run."""

    def __init__(self, sandbox: Sandbox, root: Path) -> None:
        self._sandbox = sandbox
        self._root = root
        self._of_run: dict[str, _Session] = {}
        weakref.finalize(self, _close_all, self._of_run)

    async def run(self, run: str, command: str, progress: Callable[[str], None]) -> str:
        session = self._of_run.get(run) or self._start(run)
        async with session.lock:
            return await session.run(command, progress)

    def restart(self, run: str) -> None:
        if (old := self._of_run.pop(run, None)) is not None:
            old.close()
        self._start(run)

    def _start(self, run: str) -> _Session:
        idle = sorted((session.used, name) for name, session in self._of_run.items() if not session.lock.locked())
        for _, name in idle[: max(len(self._of_run) + 1 - _MOST_SESSIONS, 0)]:
            self._of_run.pop(name).close()
        try:
            session = self._of_run[run] = _Session(self._sandbox, self._root)
        except OSError as error:
            raise ToolError(f"bash: the session can't be started: {error.strerror}") from None
        return session


def _close_all(sessions: dict[str, _Session]) -> None:
    while sessions:
        sessions.popitem()[1].close()


class _Session:
    """One bash, and what it started."""

    def __init__(self, sandbox: Sandbox, root: Path) -> None:
        self.lock = anyio.Lock()
        self.used = time.monotonic()
        self._sandbox = sandbox
        self._status, passed = os.pipe()
        os.set_blocking(self._status, False)
        try:
            argv = ["bash", "--noprofile", "--norc", "-c", _LOOP.replace("{status}", str(passed))]
            self._process = Process(sandbox, root, argv, passed=[passed])
        except BaseException:
            os.close(self._status)
            raise
        finally:
            os.close(passed)
        self._is_ready = False
        threading.Thread(target=_guard, args=(weakref.ref(self),), name="bash session", daemon=True).start()

    def guard(self) -> bool:
        """Ends it when it is beyond its limits or has been idle for too long; whether it goes on."""
        is_idle = not self.lock.locked() and time.monotonic() - self.used > _IDLE
        if excess := "it was not used for a while" if is_idle else self._process.excess():
            self._process.kill(excess)
        return not self._process.is_over

    def close(self) -> None:
        self._process.close()
        if self._status >= 0:
            os.close(self._status)
            self._status = -1

    async def run(self, command: str, progress: Callable[[str], None]) -> str:
        """The reply to a command.

        Raises:
            ToolError: It failed, took too long, or the session is over.
        """
        if self._process.is_over:
            raise ToolError(f"bash: bash session terminated; restart required{self._why()}")
        output = Kept(self._sandbox.output)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(_read_on, self._process.stdout, output, progress)
                code, ending = await self._finish(command)
                group.cancel_scope.cancel()
        except BaseException:
            # What is still to come would be taken for the next command's.
            self._process.kill("a call was cancelled")
            raise
        self.used = time.monotonic()
        for file in (self._process.stdout, self._process.stderr):
            _read_rest(file, output)
        said = output.text().strip("\n")
        if code == 0 and not ending:
            return said
        raise ToolError("\n".join(filter(None, (*ending[:1], said, *ending[1:]))) or f"exit code {code}")

    async def _finish(self, command: str) -> tuple[int | None, list[str]]:
        """The exit code of a command, and what to say of its end if it was none of its own."""
        if not self._is_ready:
            await self._exit_code()
            self._is_ready = True
        before = set(self._process.pids())
        timeout = float(self._sandbox.timeout)
        code: int | None = None
        with anyio.move_on_after(timeout) as scope:
            await write_all(self._process.stdin, command.encode("utf-8", "replace") + b"\0")
            code = await self._exit_code()
        if scope.cancelled_caught:
            late = f"bash: bash command timed out after {timeout}s"
            if await self._stop_command(before):
                return None, [late, "[The command was ended; the session goes on.]"]
            self._process.kill("a command could not be ended")
            await self._process.exit_code()
            return None, [late, "[The session was ended with it; restart required.]"]
        if code is None:
            code = await self._process.exit_code()
            return None, [f"bash: bash session terminated with exit code {code}; restart required{self._why()}"]
        return code, []

    async def _exit_code(self) -> int | None:
        """That of the command, once it has ended; None if the session has."""
        line = b""
        while not line.endswith(b"\n"):
            if not (data := await read_some(self._status)):
                return None
            line += data
        return int(line)

    async def _stop_command(self, before: set[int]) -> bool:
        """Ends what the command started, again and again; whether bash then came back."""
        came_back = False
        with anyio.move_on_after(_GRACE):
            while (started := set(self._process.pids()) - before) or not came_back:
                for pid in started:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                with anyio.move_on_after(_PULSE):
                    if came_back:
                        await anyio.sleep(_PULSE / 10)
                    elif await self._exit_code() is None:
                        return False
                    else:
                        came_back = True
        return came_back

    def _why(self) -> str:
        return f" ({self._process.stopped})" if self._process.stopped else ""


def _guard(session: weakref.ref[_Session]) -> None:
    """Watches a session from a thread of its own: between calls no task of the run is there to do it."""
    while (it := session()) is not None and it.guard():
        del it
        time.sleep(_PULSE)


async def _read_on(file: int, output: Kept, progress: Callable[[str], None]) -> None:
    while data := await read_some(file):
        output.add(data)
        progress(data.decode("utf-8", "replace"))


def _read_rest(file: int, output: Kept) -> None:
    """What is in a pipe already: all that the command printed."""
    with suppress(BlockingIOError):
        while data := os.read(file, 65536):
            output.add(data)
