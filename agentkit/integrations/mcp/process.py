"""An MCP server as a process: messages over its pipes, within limits, and its whole group killed at the end."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from agentkit.errors import ConfigurationError
from agentkit.integrations.mcp.limits import MESSAGE_CAP, Broken, Streams
from agentkit.terminal import safe

__all__ = ["Log", "process_streams"]

_CHUNK = 64 * 1024
_LOG_CAP = 64 * 1024
_MOST_GARBAGE = 100  # lines. Source: faults.md, U7
_MOST_WAITING = 1000  # messages that the server has not read yet
_GRACE = 1.0  # seconds after its input is closed, and again after SIGTERM
_POLL = 0.01


class Log:
    """The last 64 KiB of what a server wrote to stderr."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._size = 0

    def add(self, chunk: bytes) -> None:
        """Keeps it, and lets go of what is too old."""
        self._chunks.append(chunk)
        self._size += len(chunk)
        while self._size - len(self._chunks[0]) >= _LOG_CAP:
            self._size -= len(self._chunks.popleft())

    def text(self) -> str:
        """What is kept, safe to print."""
        return safe(b"".join(self._chunks)[-_LOG_CAP:].decode(errors="replace"))

    def last_line(self) -> str:
        """The last line that has something in it."""
        lines = [line.strip() for line in self.text().splitlines() if line.strip()]
        return lines[-1][:300] if lines else ""


@asynccontextmanager
async def process_streams(
    command: Sequence[str], env: Mapping[str, str], cwd: str | os.PathLike[str] | None, log: Log
) -> AsyncGenerator[Streams]:
    """Starts a server in a session of its own. At the end its input is closed, and its group killed.

    Args:
        command: The program and its arguments; no shell is between.
        env: Variables beside the few that every program needs (PATH, HOME and such). No others are inherited.
        cwd: Where it runs.
        log: Gets its stderr.

    Yields:
        The streams of a transport of the package mcp. Receiving raises `Broken` where the server breaks a limit.

    Raises:
        ConfigurationError: It can't be started.
    """
    try:
        process = subprocess.Popen(  # noqa: ASYNC220, S603 (the operator's command, started in a moment)
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env={**get_default_environment(), **env},
            cwd=cwd,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"can't be started: {command[0]!r}: {why}") from None
    pipes = [pipe for pipe in (process.stdin, process.stdout, process.stderr) if pipe]
    incoming, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write, outgoing = anyio.create_memory_object_stream[SessionMessage](_MOST_WAITING)
    try:
        for pipe in pipes:
            os.set_blocking(pipe.fileno(), False)
        with incoming, read, write, outgoing:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_send, pipes[0].fileno(), outgoing)
                tasks.start_soon(_receive, pipes[1].fileno(), incoming)
                tasks.start_soon(_keep, pipes[2].fileno(), log)
                try:
                    yield read, write
                finally:
                    tasks.cancel_scope.cancel()
    finally:
        for pipe in pipes:  # all, so that no write holds it up
            pipe.close()
        with anyio.CancelScope(shield=True):
            await _stop(process)


async def _chunks(fd: int) -> AsyncGenerator[bytes]:
    while True:
        await anyio.wait_readable(fd)
        try:
            chunk = os.read(fd, _CHUNK)
        except BlockingIOError:
            continue
        if not chunk:
            return
        yield chunk


async def _lines(fd: int) -> AsyncGenerator[bytes]:
    kept = bytearray()
    async with aclosing(_chunks(fd)) as chunks:
        async for chunk in chunks:
            kept += chunk
            if len(kept) > MESSAGE_CAP + _CHUNK:
                raise Broken(f"sent a line of more than {MESSAGE_CAP:,} bytes")
            if b"\n" in chunk:
                *lines, rest = bytes(kept).split(b"\n")
                kept = bytearray(rest)
                for line in lines:
                    yield line


async def _receive(fd: int, incoming: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
    garbage = 0
    with incoming, suppress(anyio.BrokenResourceError):
        try:
            async with aclosing(_lines(fd)) as lines:
                async for line in lines:
                    if not line.strip():
                        continue
                    try:
                        message = jsonrpc_message_adapter.validate_json(line, by_name=False)
                    except ValueError:
                        garbage += 1
                        if garbage > _MOST_GARBAGE:
                            raise Broken(f"wrote {garbage} lines to stdout that are no messages") from None
                        continue
                    await incoming.send(SessionMessage(message))
        except Broken as error:
            await incoming.send(error)


async def _send(fd: int, outgoing: MemoryObjectReceiveStream[SessionMessage]) -> None:
    with outgoing, suppress(OSError):  # it reads no more: that its output ends says so
        async for message in outgoing:
            line = message.message.model_dump_json(by_alias=True, exclude_unset=True)
            left = memoryview(f"{line}\n".encode())
            while left:
                await anyio.wait_writable(fd)
                with suppress(BlockingIOError):
                    left = left[os.write(fd, left) :]


async def _keep(fd: int, log: Log) -> None:
    async with aclosing(_chunks(fd)) as chunks:
        async for chunk in chunks:
            log.add(chunk)


async def _stop(process: subprocess.Popen[bytes]) -> None:
    """Waits for it to end by itself, asks, then kills what is left of its group. Source: the specification of MCP."""
    if not await _has_ended(process):
        _signal(process, signal.SIGTERM)
        await _has_ended(process)
    _signal(process, signal.SIGKILL)  # also to children that outlive it
    await _has_ended(process)


async def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    deadline = anyio.current_time() + _GRACE
    while process.poll() is None:
        if anyio.current_time() >= deadline:
            return False
        await anyio.sleep(_POLL)
    return True


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
