"""What the tests of the command share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from typer.testing import Result

Cli: TypeAlias = Callable[..., Result]
"""Runs the command in this process."""

MY_TOOLS = '''
import time
from types import SimpleNamespace

import anyio

from agentkit import tool


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
async def stubborn(seconds: float) -> str:
    """Sleeps, and can't be cancelled."""
    with anyio.CancelScope(shield=True):
        await anyio.sleep(seconds)
    return "slept"


def bare(city):
    """Has no annotations."""


inside = SimpleNamespace(lookup=lookup)
'''
