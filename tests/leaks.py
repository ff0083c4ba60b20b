"""What a test looks at to see that a run left nothing behind, on asyncio and on trio."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import trio
from scripted import ScriptedServer


def tasks() -> int:
    """Tasks of the running event loop, its own included."""
    if trio.lowlevel.in_trio_run():
        return trio.lowlevel.current_statistics().tasks_living
    return len(asyncio.all_tasks())


def portals() -> list[threading.Thread]:
    """Threads of `run_sync`."""
    return [thread for thread in threading.enumerate() if thread.name == "agentkit"]


@asynccontextmanager
async def nothing_leaks(*servers: ScriptedServer) -> AsyncGenerator[None]:
    """Fails if there are more tasks after the block than before, or open connections to these servers."""
    before = tasks()
    yield
    gc.collect()  # a coroutine or generator that was left behind warns, which is an error
    with anyio.fail_after(5):
        while tasks() > before:
            await anyio.sleep(0.002)
        for server in servers:
            while server.open_connections:
                await anyio.sleep(0.002)
    assert portals() == []
