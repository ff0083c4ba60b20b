"""pydantic-ai: `pydantic_ai_loop.py QUESTION [stream | whole]…` runs an agent with a tool and a search, once a mode.

It prints what came out of each, as a JSON list.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from pydantic_ai import Agent, AgentRunResultEvent
from pydantic_ai.capabilities import WebSearch
from pydantic_ai.messages import ModelResponse, NativeToolReturnPart, PartDeltaEvent

called: list[str] = []
agent = Agent("anthropic:claude-sonnet-4-6", capabilities=[WebSearch()])


@agent.tool_plain
def weather(city: str) -> str:
    """Look up the weather."""
    called.append(city)
    return f"sunny in {city}"


async def streamed(question: str) -> tuple[Any, int]:
    """The result, and how many events led to it."""
    async with agent.run_stream_events(question) as events:
        seen = [event async for event in events]
    assert isinstance(seen[-1], AgentRunResultEvent)
    return seen[-1].result, sum(isinstance(event, PartDeltaEvent) for event in seen)


def main(question: str, *, stream: bool) -> dict[str, Any]:
    called.clear()
    result, pieces = asyncio.run(streamed(question)) if stream else (agent.run_sync(question), 0)
    replies = [message for message in result.all_messages() if isinstance(message, ModelResponse)]
    found = [part.content for reply in replies for part in reply.parts if isinstance(part, NativeToolReturnPart)]
    return {
        "text": result.output,
        "pieces": pieces,
        "called": called.copy(),
        "found": [page["url"] for pages in found for page in pages],
        "replies": len(replies),
        "requests": result.usage.requests,
        "output_tokens": result.usage.output_tokens,
    }


question, *modes = sys.argv[1:]
print(json.dumps([main(question, stream=mode == "stream") for mode in modes]))
