"""`llm` with `llm-anthropic`: `llm_loop.py QUESTION` runs its chain with a tool and a search.

It prints what came out, as JSON.
"""

from __future__ import annotations

import json
import sys

import llm
from llm_anthropic import WebSearch

called: list[str] = []


def weather(city: str) -> str:
    """Look up the weather."""
    called.append(city)
    return f"sunny in {city}"


conversation = llm.get_model("claude-sonnet-4.5").conversation(tools=[weather, WebSearch()], chain_limit=10)
chain = conversation.chain(sys.argv[1])
pieces = list(chain)
replies = [response.response_json for response in conversation.responses]
cited = [
    citation["url"] for reply in replies for block in reply["content"] for citation in block.get("citations") or ()
]
print(
    json.dumps(
        {
            "text": "".join(pieces),
            "pieces": len(pieces),
            "called": called,
            "stops": [reply["stop_reason"] for reply in replies],
            "cited": cited,
        }
    )
)
