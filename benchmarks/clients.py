"""What is counted: clients that read one streamed answer, or let a tool be called again and again.

`python benchmarks/clients.py httpx|agentkit|sdk http://127.0.0.1:PORT events=20 turns=5` does these jobs in order.
"""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import time
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

__all__ = ["BEGIN", "CLIENTS", "END"]

# Two functions of libc that nothing else calls: where they are entered, callgrind begins to count, and writes it down.
BEGIN, END = "getloadavg", "getgroups"
MODEL = "claude-sonnet-5"
SYSTEM = "You are a careful assistant. Use the tools you are given."
PROMPT = "Look up every record, one after the other, then say that you are done: {work} {count}."
RESULT = ("All records are in good order. " * 7)[:200]
MAX_TOKENS = 1024

Ask: TypeAlias = Callable[[str, int], Awaitable[int]]
"""Does the work (`events` or `turns`) so many times, and returns how many times it was done."""


looked_up: list[str] = []  # that a tool was called, and not only asked for


async def lookup(key: str, limit: int) -> str:
    """Look up a record.

    Args:
        key: The key of the record.
        limit: How many rows to answer.
    """
    looked_up.append(key)
    return RESULT


@asynccontextmanager
async def bare_httpx(server: str) -> AsyncGenerator[Ask]:
    """The least that one would write by hand: httpx, and the JSON parser that agentkit uses."""
    import httpx
    from pydantic_core import from_json, to_json

    headers = {"x-api-key": "k", "anthropic-version": "2023-06-01", "content-type": "application/json"}
    properties = {"key": {"type": "string"}, "limit": {"type": "integer"}}
    schema = {"type": "object", "properties": properties, "required": ["key", "limit"]}
    tool = {"name": "lookup", "description": lookup.__doc__, "input_schema": schema}

    async def read_events(body: bytes) -> int:
        text: list[str] = []
        async with http.stream("POST", f"{server}/v1/messages", content=body, headers=headers) as reply:
            async for line in reply.aiter_lines():
                if line.startswith("data: "):
                    event = from_json(line[6:])
                    if event["type"] == "content_block_delta":
                        text.append(event["delta"]["text"])
        return len("".join(text)) // len("word ")

    async def call(block: dict[str, Any]) -> dict[str, Any]:
        return {"type": "tool_result", "tool_use_id": block["id"], "content": await lookup(**block["input"])}

    async def ask(work: str, count: int) -> int:
        messages: list[Any] = [{"role": "user", "content": PROMPT.format(work=work, count=count)}]
        request = {"model": MODEL, "max_tokens": MAX_TOKENS, "system": SYSTEM, "tools": [tool], "messages": messages}
        if work == "events":
            return await read_events(to_json({**request, "stream": True}))
        while True:
            reply = await http.post(f"{server}/v1/messages", content=to_json(request), headers=headers)
            message = from_json(reply.content)
            messages.append({"role": "assistant", "content": message["content"]})
            if message["stop_reason"] != "tool_use":
                return len(messages) // 2 - 1
            calls = [call(block) for block in message["content"] if block["type"] == "tool_use"]
            messages.append({"role": "user", "content": await asyncio.gather(*calls)})

    async with httpx.AsyncClient(timeout=600) as http:
        yield ask


@asynccontextmanager
async def agentkit_agent(server: str) -> AsyncGenerator[Ask]:
    """`agent.stream` and `agent.run`, over the transport that is there by default."""
    from agentkit import Agent, Client, Limits, tool

    tools, limits = [tool(effect="read")(lookup)], Limits(max_turns=10_000)

    async def ask(work: str, count: int) -> int:
        agent = Agent(MODEL, system=SYSTEM, max_tokens=MAX_TOKENS, tools=tools, client=client, limits=limits)
        prompt = PROMPT.format(work=work, count=count)
        if work == "turns":
            return (await agent.run(prompt)).turns - 1
        async with agent.stream(prompt) as run:
            return sum([event.type == "text_delta" async for event in run])

    async with Client(api_key="k", base_url=server) as client:
        yield ask


@asynccontextmanager
async def sdk_runner(server: str) -> AsyncGenerator[Ask]:
    """The tool runner of the Anthropic SDK."""
    from anthropic import AsyncAnthropic, beta_async_tool

    tools = [beta_async_tool(lookup)]

    async def ask(work: str, count: int) -> int:
        messages = [{"role": "user", "content": PROMPT.format(work=work, count=count)}]
        runner = client.beta.messages.tool_runner(
            model=MODEL, max_tokens=MAX_TOKENS, system=SYSTEM, tools=tools, messages=messages, stream=work == "events"
        )
        if work == "turns":
            return len([message async for message in runner]) - 1
        return sum([event.type == "content_block_delta" async for stream in runner async for event in stream])

    async with AsyncAnthropic(api_key="k", base_url=server) as client:
        yield ask


CLIENTS = {"httpx": bare_httpx, "agentkit": agentkit_agent, "sdk": sdk_runner}


async def measure(name: str, server: str, jobs: list[tuple[str, int]]) -> None:
    """Does each job, between `BEGIN` and `END`. What is done once is done before, such as imports."""
    async with CLIENTS[name](server) as ask:
        for work, _ in jobs:
            await ask(work, 2)
        begin_counting()
        for work, count in jobs:
            gc.collect()
            await ask(work, 1)  # with valgrind, so much time has passed that httpx has given the connection up
            looked_up.clear()
            os.getloadavg()
            done = await ask(work, count)
            os.getgroups()
            if done != count or (work == "turns" and len(looked_up) != count):
                sys.exit(f"{name}: {done} {work} and {len(looked_up)} calls of the tool, not {count}")


def begin_counting() -> None:
    """Tells the valgrind that runs this process, if one does; until then it runs much faster."""
    if os.environ.get("COUNTED"):
        command = ["vgdb", f"--pid={os.getpid()}", "instrumentation", "on"]
        asked = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while asked.poll() is None:  # valgrind listens only while this process does something
            time.sleep(0.01)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of others: the SDK warns of each model that is not its newest
    wanted = [job.split("=") for job in sys.argv[3:]]
    asyncio.run(measure(sys.argv[1], sys.argv[2], [(work, int(count)) for work, count in wanted]))
