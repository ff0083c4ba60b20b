"""Short ways to write histories, for the tests of the rules."""

from __future__ import annotations

from typing import Any

from agentkit.rules import Problem

Message = dict[str, Any]
Block = dict[str, Any]


def text(words: str = "hello") -> Block:
    return {"type": "text", "text": words}


def call(key: str, **more: Any) -> Block:
    return {"type": "tool_use", "id": key, "name": "add", "input": {}} | more


def result(key: str, **more: Any) -> Block:
    return {"type": "tool_result", "tool_use_id": key, "content": "1"} | more


def search(key: str, name: str = "web_search") -> Block:
    return {"type": "server_tool_use", "id": key, "name": name, "input": {"query": "x"}}


def found(key: str, kind: str = "web_search_tool_result") -> Block:
    return {"type": kind, "tool_use_id": key, "content": []}


def mcp(key: str) -> Block:
    return {"type": "mcp_tool_use", "id": key, "name": "ask", "server_name": "wiki", "input": {}}


def by_code(key: str, tool_id: str) -> Block:
    return call(key, caller={"type": "code_execution_20260120", "tool_id": tool_id})


def user(*blocks: Block) -> Message:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Block) -> Message:
    return {"role": "assistant", "content": list(blocks)}


def system(*blocks: Block) -> Message:
    return {"role": "system", "content": list(blocks)}


ASK = user(text("What is 1+1?"))
IMAGE = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
SIGNED = {"type": "compaction", "content": "All that was said.", "signature": "abc"}


def rules(problems: list[Problem]) -> set[str]:
    return {problem.rule for problem in problems}
