"""A program in the sandbox, from its start to the end of the last process it left."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import anyio

from agentkit_tools.sandbox import Sandbox, Start

__all__ = ["Finished", "Kept", "Process", "run_confined"]

_TICK = 0.05
_PATIENCE = 10.0
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


class Kept:
    """The beginning and the end of what was printed: at most `size` bytes."""

    def __init__(self, size: int) -> None:
        self._half = max(size // 2, 1)
        self._head = bytearray()
        self._tail = bytearray()
        self._left_out = 0

    def add(self, data: bytes) -> None:
        """Takes what was printed next."""
        room = self._half - len(self._head)
        self._head += data[:room]
        self._tail += data[room:] if room > 0 else data
        if (over := len(self._tail) - self._half) > 0:
            del self._tail[:over]
            self._left_out += over

    def text(self) -> str:
        """It as text, without colours, and with a line where something was left out."""
        if self._left_out:
            gap = f"\n[{self._left_out} bytes left out]\n"
            return _plain(self._head) + gap + _plain(self._tail)
        return _plain(self._head + self._tail)


def _plain(data: bytes | bytearray) -> str:
    return _ANSI.sub("", data.decode("utf-8", "replace")).replace("\r\n", "\n")


@dataclass(frozen=True, kw_only=True)
class Finished:
    """How a program ended.

    Attributes:
        exit_code: Its own, or 128 and the number of the signal that ended it.
        stdout: What it printed.
        stderr: What it printed there.
        stopped: Why it was ended from outside, or None.
    """

    exit_code: int
    stdout: str
    stderr: str
    stopped: str | None


class Process:
    """A program in the sandbox. Started on the thread of the event loop: it ends with that thread at the latest.

    Attributes:
        stdin: Where it reads from, as a file descriptor; the others are of what it writes.
        stopped: Why it was ended from outside, or None.
    """

    def __init__(
        self, sandbox: Sandbox, root: Path, argv: Sequence[str], *, folder: str = ".", passed: Sequence[int] = ()
    ) -> None:
        self.sandbox = sandbox
        self.root = root
        self.stopped: str | None = None
        start = Start.of(sandbox, root, argv, folder=folder, passed=passed)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - what is run is confined
                start.command,
                env=start.environment,
                pass_fds=start.files,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except BaseException:
            start.close(passed)
            raise
        start.close((*passed, start.told))
        self._told = start.told
        os.set_blocking(self._told, False)
        self._handle = os.pidfd_open(self._process.pid)
        self._pipes = [
            cast("IO[bytes]", it) for it in (self._process.stdin, self._process.stdout, self._process.stderr)
        ]
        self.stdin, self.stdout, self.stderr = (pipe.fileno() for pipe in self._pipes)
        for file in (self.stdin, self.stdout, self.stderr):
            os.set_blocking(file, False)
        self._first_told = b""
        self._free_at_start = _free(root)

    @property
    def is_over(self) -> bool:
        """Whether bubblewrap has ended, and with it all that it started."""
        return self._process.poll() is not None

    async def exit_code(self) -> int:
        """Waits for the end of all its processes: its own exit code, or 128 and the number of the signal."""
        await anyio.wait_readable(self._handle)
        with self._first() as first:
            if first is not None:
                signal.pidfd_send_signal(first, signal.SIGKILL)
                await anyio.wait_readable(first)
        code = self._process.wait()
        return code if code >= 0 else 128 - code

    @contextmanager
    def _first(self) -> Iterator[int | None]:
        """A handle on the first process in the sandbox: when it is over, all are. None if it is, or never was there."""
        with suppress(BlockingIOError):
            self._first_told += os.read(self._told, 65536)
        try:
            pid = json.loads(self._first_told)["child-pid"]
            handle = os.pidfd_open(pid)
        except (ValueError, OSError):
            yield None
            return
        try:
            yield handle if _is_first(pid) else None
        finally:
            os.close(handle)

    def kill(self, why: str | None = None) -> None:
        """Ends all its processes at once: from any thread, and when it is over too."""
        if self.is_over:
            return
        self.stopped = self.stopped or why
        # The first of the sandbox's processes takes all others with it. bubblewrap would end it, unless it is killed
        # in the instant before it says so.
        for pid in [*_children(self._process.pid), self._process.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Ends all its processes, waits, and closes the pipes."""
        if self._handle < 0:
            return
        self.kill()
        self._process.wait()
        with self._first() as first:
            if first is not None:
                signal.pidfd_send_signal(first, signal.SIGKILL)
                select.select([first], [], [], _PATIENCE)
        for pipe in self._pipes:
            pipe.close()
        for file in (self._handle, self._told):
            os.close(file)
        self._handle = -1

    async def feed(self, data: bytes) -> None:
        """Writes to its standard input, and closes it."""
        await write_all(self.stdin, data)
        self._pipes[0].close()

    async def watch(self, timeout: float) -> None:
        """Ends it when it goes beyond its limits; the kernel keeps those of a single process."""
        deadline = anyio.current_time() + timeout
        while not self.is_over:
            await anyio.sleep(min(_TICK, max(deadline - anyio.current_time(), 0)))
            late = f"it took more than {timeout:g} seconds" if anyio.current_time() >= deadline else None
            if excess := late or self.excess():
                self.kill(excess)

    def excess(self) -> str | None:
        """Which limit of the whole sandbox it is beyond."""
        limits = self.sandbox
        pids = []
        for pid in self.pids():
            pids.append(pid)
            if len(pids) > limits.processes + 2:  # two are bubblewrap's
                return f"it had more than {limits.processes} processes"
        if sum(map(_private, pids)) > limits.memory and sum(map(_proportional, pids)) > limits.memory:
            return f"it used more than {limits.memory // 2**20} MiB of memory"
        if _memory_is_short():
            return "the machine had hardly any memory left"
        if self._free_at_start - _free(self.root) > limits.disk:
            return f"the free space on the disk fell by more than {limits.disk // 2**20} MiB"
        return None

    def pids(self) -> Iterator[int]:
        """Its processes, as the host numbers them, those of bubblewrap first."""
        found = [self._process.pid]
        for pid in found:  # grows
            yield pid
            found.extend(_children(pid))


async def run_confined(
    sandbox: Sandbox,
    root: Path,
    argv: Sequence[str],
    *,
    folder: str = ".",
    stdin: str = "",
    timeout: float | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Finished:
    """Runs a program in the sandbox to its end. When cancelled, it ends the program and waits for that.

    Args:
        sandbox: Its limits.
        root: The work folder, as `work_folder` gave it.
        argv: The program and its arguments.
        folder: Where it starts, relative to `root`.
        stdin: What it reads.
        timeout: Seconds that it may take; the sandbox's limit is above it.
        progress: Gets what is printed, as it comes.

    Raises:
        OSError: The work folder is gone.
    """
    process = Process(sandbox, root, argv, folder=folder)
    stdout, stderr = Kept(sandbox.output), Kept(sandbox.output)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(process.feed, stdin.encode("utf-8", "replace"))
            group.start_soon(process.watch, min(timeout or sandbox.timeout, sandbox.timeout))
            async with anyio.create_task_group() as readers:
                readers.start_soon(_read_all, process.stdout, stdout, progress)
                readers.start_soon(_read_all, process.stderr, stderr, progress)
            exit_code = await process.exit_code()
            group.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            process.kill()
            await process.exit_code()
        process.close()
    return Finished(exit_code=exit_code, stdout=stdout.text(), stderr=stderr.text(), stopped=process.stopped)


async def _read_all(file: int, kept: Kept, progress: Callable[[str], None]) -> None:
    shown = 0
    while data := await read_some(file):
        kept.add(data)
        if shown < 8192:  # who watches needs no more
            shown += len(data)
            progress(_plain(data))


async def read_some(file: int) -> bytes:
    """The next bytes from a pipe, and none at its end."""
    while True:
        await anyio.wait_readable(file)
        with suppress(BlockingIOError):
            return os.read(file, 65536)


async def write_all(file: int, data: bytes) -> None:
    """Writes to a pipe; what nobody reads any more is dropped."""
    with suppress(BrokenPipeError):
        while data:
            await anyio.wait_writable(file)
            with suppress(BlockingIOError):
                data = data[os.write(file, data[: select.PIPE_BUF]) :]


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    return []


def _is_first(pid: int) -> bool:
    """Whether it is the first of its namespace, and no other that was given its number since."""
    with suppress(OSError):
        return any(
            re.match(r"NSpid:\s+\d+\s+1$", line) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
    return False


def _private(pid: int) -> int:
    """At least what a process alone uses, in bytes."""
    return _kilobytes(f"/proc/{pid}/status", (b"RssAnon:", b"RssShmem:"))


def _proportional(pid: int) -> int:
    """What a process uses, its part of what is shared; slower to count."""
    return _kilobytes(f"/proc/{pid}/smaps_rollup", (b"Pss_Anon:", b"Pss_Shmem:")) or _private(pid)


def _memory_is_short() -> bool:
    total = _kilobytes("/proc/meminfo", (b"MemTotal:",))
    return _kilobytes("/proc/meminfo", (b"MemAvailable:",)) < total // 25


def _kilobytes(path: str, names: tuple[bytes, ...]) -> int:
    with suppress(OSError, ValueError), open(path, "rb") as lines:
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(names))
    return 0


def _free(root: Path) -> int:
    with suppress(OSError):
        disk = os.statvfs(root)
        return disk.f_bavail * disk.f_frsize
    return 0
