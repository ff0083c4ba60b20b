"""Servers that record and replay, and clients of them."""

from __future__ import annotations

import contextlib
import functools
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import uvicorn

from agentkit import Agent, Client, tool
from agentkit.emulator import reply, tool_use
from agentkit.emulator.recordings.recorder import Recorder, make_recorder
from agentkit.emulator.recordings.replay import Replay, make_replay
from agentkit.emulator.serving import QuickServer
from agentkit.settings import RetryPolicy

KEY = "sk-ant-Zm9v+/~Y29mZmVl_1"
THREAD = "recordings"
HEADERS = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
BODY = {"model": "claude-sonnet-4-6", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}


@contextlib.contextmanager
def serving(app: Recorder | Replay) -> Iterator[str]:
    """The URL of an application that is served from a thread of its own."""
    config = uvicorn.Config(app, loop="asyncio", http="h11", ws="none", lifespan="off", log_config=None)
    server = QuickServer(config)
    # With the protocol named, asyncio sends small pieces at once.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=([listener],), name=THREAD)
        thread.start()
        while not server.started:
            time.sleep(0.001)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.stop()
            thread.join()


@contextlib.contextmanager
def recording(path: Path, upstream: str) -> Iterator[str]:
    app = make_recorder(path, upstream)
    with serving(app) as url:
        yield url
    app.check()


@contextlib.contextmanager
def replaying(path: Path, upstream: str | None = None) -> Iterator[str]:
    app = make_replay(path, upstream)
    with serving(app) as url:
        yield url
    app.check()


@tool
def weather(city: str) -> str:
    """Look up the weather."""
    return f"sunny in {city}"


SCRIPT = [
    reply("Let me look.", tool_use("weather", city="Rome")),
    reply("It is sunny."),
]


def asked(url: str, prompt: str = "Where is the sun?") -> list[dict[str, Any]]:
    """The events of an agent that talks to `url`, without what differs each time."""
    agent = Agent("claude-sonnet-4-6", tools=[weather])

    async def run() -> list[dict[str, Any]]:
        client = Client(base_url=url, api_key=KEY, retry=RetryPolicy(base=0.0))
        async with client, agent.stream(prompt, client=client) as events:
            return [event.as_dict() | dict.fromkeys(("seconds", "run_id")) async for event in events]

    return anyio.run(run)


send = functools.partial(httpx.request, verify=False)  # certificates take longer to load than the request


def post(url: str, **fields: Any) -> httpx.Response:
    return send("POST", f"{url}/v1/messages", json={**BODY, **fields}, headers=HEADERS)
