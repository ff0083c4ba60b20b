"""The messages as they are sent: their bytes, what the API would refuse in them, and the two ways to rewrite them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from agentkit.messages import Block, encode
from agentkit.request import MessageBytes
from agentkit.rules import Check, Problem

__all__ = ["History"]

_Message: TypeAlias = dict[str, Any]
"""A message in wire shape whose content is a list of blocks."""

_THINKING = ("thinking", "redacted_thinking")
_SHOWN_CHARACTERS = 500


class History:
    """Messages that only grow, unless all of them are replaced.

    Attributes:
        body: The JSON array of the messages.
        problems: What the API would refuse, whatever follows.
        server_open: Ids of server tool uses that have no result yet.
    """

    def __init__(self) -> None:
        self.body = MessageBytes()
        self.problems: list[Problem] = []
        self.server_open: set[str] = set()
        self._check = Check()
        self._tokens = self._counted_bytes = 0

    def add(self, role: str, content: list[Block]) -> None:
        """Adds content; a neighbour of the same role shares its message."""
        if not content:
            return
        self.body.add(role, content)
        self.problems += self._check.add(role, content)
        for block in content:
            kind = str(block.get("type"))
            if kind in ("server_tool_use", "mcp_tool_use"):
                self.server_open.add(str(block.get("id")))
            elif kind.endswith("_tool_result"):
                self.server_open.discard(str(block.get("tool_use_id")))

    def count(self, tokens: int) -> None:
        """Takes what the API counted of these messages."""
        self._tokens, self._counted_bytes = tokens, self.body.size

    @property
    def is_counted(self) -> bool:
        """Whether the API has counted any of it, and with it what is sent before the messages."""
        return self._tokens > 0

    def tokens(self) -> int:
        """Roughly: what the API counted last, and a third of the bytes since."""
        return self._tokens + (self.body.size - self._counted_bytes) // 3

    def refused(self, *, container: bool) -> list[Problem]:
        """What the API would refuse if the messages were sent as they are."""
        return self.problems or self._check.end(container=container)

    def messages(self) -> list[_Message]:
        """The messages in wire shape."""
        return json.loads(b"".join(self.body.parts()))  # type: ignore[no-any-return]

    def has_thinking(self) -> bool:
        """Whether there is thinking among the messages."""
        blocks = (block for message in self.messages() for block in message["content"])
        return any(block["type"] in _THINKING for block in blocks)

    @classmethod
    def of(cls, messages: Iterable[_Message]) -> History:
        """A history of these messages."""
        history = cls()
        for message in messages:
            history.add(message["role"], message["content"])
        return history

    def branch(self) -> History:
        """A history of its own that begins as this one is; encoded bytes are shared."""
        twin = History()
        twin.body, twin._check = self.body.branch(), self._check.copy()
        twin.problems, twin.server_open = self.problems.copy(), self.server_open.copy()
        twin._tokens, twin._counted_bytes = self._tokens, self._counted_bytes
        return twin

    def without_thinking(self) -> History:
        """A history without thinking, which another model can't read. Source: messages-api.md section 14."""
        messages = self.messages()
        for message in messages:
            message["content"] = [block for block in message["content"] if block["type"] not in _THINKING]
        return History.of(messages)

    def without_open_uses(self) -> History:
        """A history without the server tool uses that will never have a result, and without what hangs on them.

        That is thinking that comes later in the same message, calls that their code made, and the results of those.

        Source: messages-api.md section 7.2.
        """
        messages = self.messages()
        gone = self.server_open | {str(call["id"]) for call in _calls_from_code(messages, self.server_open)}
        for message in messages:
            message["content"] = list(_without(message["content"], gone))
        return History.of(messages)

    def abandoned_calls(self) -> str | None:
        """What the model is to know of calls that go with `without_open_uses`: they had run, and that stays so."""
        messages = self.messages()
        blocks = [block for message in messages for block in message["content"] if block["type"] == "tool_result"]
        results = {str(block["tool_use_id"]): block for block in blocks}
        lines = [
            f"{call.get('name')}({encode(call.get('input')).decode()}): {_text(results[str(call['id'])])}"
            for call in _calls_from_code(messages, self.server_open)
            if str(call["id"]) in results
        ]
        return "\n".join(["Code that was running was given up. It had called:", *lines]) if lines else None


def _without(content: list[Block], gone: set[str]) -> Iterator[Block]:
    after_gone = False
    for block in content:
        is_gone = str(block.get("id") or block.get("tool_use_id")) in gone
        after_gone = after_gone or is_gone
        if not is_gone and not (after_gone and block["type"] in _THINKING):
            yield block


def _calls_from_code(messages: list[_Message], code_ids: set[str]) -> list[Block]:
    calls = [block for message in messages for block in message["content"] if block["type"] == "tool_use"]
    return [call for call in calls if str((call.get("caller") or {}).get("tool_id")) in code_ids]


def _text(result: Block) -> str:
    content = result.get("content")
    text = content if isinstance(content, str) else encode(content).decode()
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
