"""Requests that were accepted: one that goes on from such a one is looked at from there on only.

Each turn of an agent sends the whole history again, and looking at it from the first message each time would make a
long run cost the square of its length. What is left out is what no rule looks at twice: plain turns, in a request
whose other fields and headers are the same. Where the rest breaks a rule, the whole is looked at, for the text.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

__all__ = ["Accepted"]

_KEPT = 256
_MOST_MESSAGES = 100_000
_WHOLE = ("thread", "compaction")  # with these the rules are others
_PASSED: dict[str, Any] = {"role": "user", "content": "What was looked at before."}
_PLAIN_TOOL = {"name", "description", "input_schema"}
# The blocks that only their own turn and the next depend on, and their keys then.
_PLAIN = {
    "text": {"type", "text"},
    "tool_use": {"type", "id", "name", "input"},
    "tool_result": {"type", "tool_use_id", "content", "is_error"},
}


class Accepted:
    """The newest requests that no rule refused."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, bytes], tuple[dict[str, Any], Mapping[str, Any]]] = OrderedDict()

    def rest(self, body: dict[str, Any], headers: Mapping[str, Any]) -> dict[str, Any] | None:
        """The request with only those messages that were not looked at; None if it goes on from nothing.

        Args:
            body: The request.
            headers: Those of its headers that the rules look at.
        """
        messages = body.get("messages")
        if not isinstance(messages, list) or len(messages) > _MOST_MESSAGES:
            return None
        start = _last_turn(messages)
        known, known_headers = self._kept.get(_key(messages[:start]), (None, None)) if start else (None, None)
        if known is None or known_headers != headers or not _goes_on(known, body, start):
            return None
        tools = {"tools": [_short(tool) for tool in body["tools"]]} if "tools" in body else {}
        return {**body, **tools, "messages": [_PASSED, *messages[start:]]}

    def keep(self, body: dict[str, Any], headers: Mapping[str, Any], rest: dict[str, Any] | None) -> bool:
        """Takes a request that was accepted, and what of it was looked at.

        Returns:
            Whether all its turns are plain: text, and calls of client tools with their results.
        """
        looked_at = body["messages"] if rest is None else rest["messages"]
        plain = all(map(_is_plain, looked_at))
        if rest is not None:  # what it goes on from takes room, and few requests go on from one twice
            self._kept.pop(_key(body["messages"][: 1 - len(looked_at)]), None)
        if plain and looked_at[-1]["role"] == "user":
            self._kept[_key(body["messages"])] = body, headers
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return plain


def _short(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool that was looked at: its name is all that messages can refer to."""
    return {"name": tool["name"], "input_schema": {"type": "object"}} if tool.keys() <= _PLAIN_TOOL else tool


def _key(messages: list[Any]) -> tuple[int, bytes]:
    return len(messages), to_json(messages[-1])


def _last_turn(messages: list[Any]) -> int:
    """Where the last assistant message is; 0 if there is none."""
    places = range(len(messages) - 1, 0, -1)
    return next((at for at in places if isinstance(messages[at], dict) and messages[at].get("role") == "assistant"), 0)


def _goes_on(known: dict[str, Any], body: dict[str, Any], start: int) -> bool:
    fields = (body.keys() | known.keys()) - {"messages", "stream"}
    if any(name in fields for name in _WHOLE) or "stream" in body.keys() ^ known.keys():
        return False
    same = all(name in body and name in known and body[name] == known[name] for name in fields)
    return same and body.get("stream") == known.get("stream") and body["messages"][:start] == known["messages"]


def _is_plain(message: dict[str, Any]) -> bool:
    content = message["content"]
    if not message.keys() <= {"role", "content"} or message["role"] not in ("user", "assistant"):
        return False
    return isinstance(content, str) or all(map(_is_plain_block, content))


def _is_plain_block(block: dict[str, Any]) -> bool:
    if not block.keys() <= _PLAIN.get(block["type"], set()):
        return False
    content = block.get("content")
    return not isinstance(content, list) or all(part["type"] == "text" and _is_plain_block(part) for part in content)
