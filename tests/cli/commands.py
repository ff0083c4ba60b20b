"""What the tests of the command share."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from typer.testing import Result

PYTHON = [sys.executable, "-m", "agentkit"]

Cli: TypeAlias = Callable[..., Result]
"""Runs the command in this process."""


@contextmanager
def started(*arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """The command as a process of its own, which does not outlive the test."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    with subprocess.Popen([*PYTHON, *arguments], text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


MY_TOOLS = '''
import time
from types import SimpleNamespace

import anyio

from agentkit import RunContext, tool


@tool
def lookup(city: str) -> str:
    """Looks up a city."""
    print("looking up", city)
    return f"{city}: \\x1b[31m21 degrees\\x1b[0m, \\u202esunny"


@tool(needs_approval=True)
def remove(path: str) -> str:
    """Removes a file."""
    return "removed"


@tool
def broken(city: str) -> str:
    """Fails."""
    raise RuntimeError("no such city")


@tool
def slow(seconds: float) -> str:
    """Sleeps in a thread."""
    time.sleep(seconds)
    return "slept"


@tool
def begun(ctx: RunContext, seconds: float) -> str:
    """Says that it has begun, and sleeps in a thread."""
    ctx.progress("begun")
    time.sleep(seconds)
    return "slept"


@tool
async def stubborn(seconds: float) -> str:
    """Sleeps, and can't be cancelled."""
    with anyio.CancelScope(shield=True):
        await anyio.sleep(seconds)
    return "slept"


def bare(city):
    """Has no annotations."""


inside = SimpleNamespace(lookup=lookup)
'''
