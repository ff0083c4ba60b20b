"""langchain: `langchain_loop.py QUESTION [stream | whole]…` runs an agent with a tool and a search, once a mode.

It prints what came out of each, as a JSON list.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage

called: list[str] = []
SEARCH = {"type": "web_search_20250305", "name": "web_search"}


def weather(city: str) -> str:
    """Look up the weather."""
    called.append(city)
    return f"sunny in {city}"


def main(question: str, *, stream: bool) -> dict[str, Any]:
    called.clear()
    model = ChatAnthropic(model="claude-sonnet-4-6", max_retries=0, streaming=stream)
    agent = create_agent(model, tools=[weather, SEARCH])
    asked: Any = {"messages": [{"role": "user", "content": question}]}
    pieces = 0
    if stream:
        messages: list[Any] = []
        for mode, part in agent.stream(asked, stream_mode=["messages", "values"]):
            if mode == "values":
                messages = part["messages"]
            else:
                pieces += 1
    else:
        messages = agent.invoke(asked)["messages"]
    replies = [message for message in messages if isinstance(message, AIMessage)]
    blocks = [block for reply in replies if isinstance(reply.content, list) for block in reply.content]
    return {
        "text": replies[-1].text,
        "pieces": pieces,
        "called": called.copy(),
        "stops": [reply.response_metadata.get("stop_reason") for reply in replies],
        "cited": [citation["url"] for block in blocks for citation in block.get("citations") or ()],
        "output_tokens": [reply.usage_metadata["output_tokens"] for reply in replies if reply.usage_metadata],
    }


question, *modes = sys.argv[1:]
print(json.dumps([main(question, stream=mode == "stream") for mode in modes]))
