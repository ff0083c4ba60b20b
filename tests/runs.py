"""Runs against a scripted server, and a look at what they left behind, on asyncio and on trio."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import trio
from scripted import Request, ScriptedServer, error, reply, server_tool_use, text, thinking, tool_use

from agentkit import Agent, Client, Run, RunResult, tool
from agentkit.rules import check_history, check_request

SEARCH = {"type": "web_search_20250305", "name": "web_search"}
CITED = {"type": "web_search_result_location", "url": "https://a.test", "title": "A", "cited_text": "six"}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}


@tool
async def add(a: int, b: int) -> int:
    """Adds."""
    await anyio.sleep(0.001)
    return a + b


@tool(effect="read")
def look(at: int) -> str:
    """Looks, in a thread."""
    return f"saw {at}"


def honest(script: Callable[[list[dict[str, Any]]], object]) -> Callable[[Request], object]:
    """A server that refuses what the API refuses, and else says what `script` makes of the blocks so far."""

    def answer(request: Request) -> object:
        if problems := check_request(request.json):
            return error(400, "invalid_request_error", problems[0].message)
        return script([block for message in request.json["messages"] for block in message["content"]])

    return answer


@honest
def pause_tools_answer(blocks: list[dict[str, Any]]) -> object:
    """A pause, a turn with tools, an answer; by what the history has, so that a resumed run can go on anywhere."""
    if not any(block["type"] == "server_tool_use" for block in blocks):
        return reply(thinking("Hm."), text("Let me search."), server_tool_use("web_search"), stop="pause_turn")
    if not any(block["type"] == "tool_result" for block in blocks):
        uses = [tool_use("add", id="toolu_a", a=1, b=2), tool_use("look", id="toolu_b", at=1)]
        return reply(FOUND, text("Now both."), *uses)
    return reply(text("It is "), text("six", citations=[CITED]), text("."))


@asynccontextmanager
async def agent_for(script: Any, *tools: Any, **options: Any) -> AsyncGenerator[tuple[Agent, ScriptedServer]]:
    """An agent and the server that it talks to; nothing may be left of them."""
    with ScriptedServer(script) as server:
        async with nothing_leaks(server), Client(base_url=server.url) as client:
            yield Agent("claude-sonnet-4-6", tools=tools, client=client, **options), server


async def drain(run: Run) -> list[Any]:
    """All events that are left."""
    return [event async for event in run]


def valid(result: RunResult) -> None:
    """The log can be sent and stored."""
    assert check_history(result.messages) == []
    assert json.loads(json.dumps(result.dump()))["entries"]


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
    before, others = tasks(), portals()  # of tests that left theirs to the garbage collector
    yield
    gc.collect(1)  # a coroutine or generator that was left behind warns, which is an error
    await until(lambda: tasks() <= before and not any(server.open_connections for server in servers))
    assert set(portals()) <= set(others)


async def until(condition: Callable[[], bool]) -> None:
    """Waits for something that no event tells of."""
    with anyio.fail_after(30):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.002)
