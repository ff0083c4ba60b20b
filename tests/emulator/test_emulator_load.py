"""Many streams at once, and how soon it serves."""

from __future__ import annotations

import json
import subprocess
import sys

import anyio
import httpx
import pytest
from talking import HEADERS

from agentkit.emulator import Emulator, reply, tool_use
from agentkit.stream import Decoder, Fold

STREAMS = 500
BODY = {"model": "claude-sonnet-4-6", "max_tokens": 1000, "stream": True}


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_500_streams_at_once() -> None:
    """All of them are open before the first one ends, and each is whole."""
    opened, whole = 0, 0
    everyone = anyio.Event()

    async def ask(http: httpx.AsyncClient, url: str, number: int) -> None:
        nonlocal opened, whole
        body = {**BODY, "messages": [{"role": "user", "content": f"Question {number}"}]}
        fold, decoder = Fold(), Decoder()
        async with http.stream("POST", url, json=body) as answer:
            assert answer.status_code == 200, await answer.aread()
            opened += 1
            if opened == STREAMS:
                everyone.set()
            await everyone.wait()
            async for piece in answer.aiter_raw():
                for data in decoder.feed(piece):
                    fold.add(data)
        assert fold.message["content"][0]["text"] == f"You asked: Question {number}"
        assert fold.message["stop_reason"] == "tool_use"
        whole += 1

    def answer(body: dict[str, object]) -> object:
        messages = body["messages"]
        assert isinstance(messages, list)
        return reply(f"You asked: {messages[0]['content']}", tool_use("add", a=1))

    limits = httpx.Limits(max_connections=STREAMS)
    with Emulator(script=answer, pace=0.2) as emulator:  # type: ignore[arg-type]
        async with httpx.AsyncClient(headers=HEADERS, limits=limits, timeout=60) as http:
            with anyio.fail_after(120):
                async with anyio.create_task_group() as asking:
                    for number in range(STREAMS):
                        asking.start_soon(ask, http, f"{emulator.url}/v1/messages", number)
        assert len(emulator.requests) == STREAMS
    assert whole == STREAMS


STARTED = """
import time
from agentkit.emulator import Emulator
start = time.perf_counter(), time.process_time()
with Emulator() as emulator:
    print([time.perf_counter() - start[0], time.process_time() - start[1]])
"""


@pytest.mark.slow
def test_it_serves_within_a_second_once_the_index_is_there() -> None:
    times = []
    for _ in range(3):  # the first one may have to make the index
        made = subprocess.run([sys.executable, "-c", STARTED], capture_output=True, text=True, check=True, timeout=120)
        times.append(json.loads(made.stdout)[1])
    assert min(times) < 1.0, times
