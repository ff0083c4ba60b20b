"""What a conversation has seen: text that others can write, and data that is private. Source: faults.md section 5."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["TAINTS", "Taint", "taint_of"]

TAINTS = frozenset({"untrusted", "private"})

_OUTSIDE = ("web_search_tool_result", "web_fetch_tool_result", "mcp_tool_result")


@dataclass
class Taint:
    """The words `untrusted` and `private`, as far as they hold.

    Attributes:
        words: For the calls of the last model turn: what the model had read when it wrote them. Results of calls beside
            them in the turn are no part of it.
        gained: What the next model turn will have read besides.
    """

    words: frozenset[str] = frozenset()
    gained: frozenset[str] = frozenset()

    def gain(self, words: Iterable[str]) -> None:
        """A result has come, or a run within a call has seen more."""
        self.gained |= frozenset(words)

    def begin_turn(self, content: Iterable[Mapping[str, Any]]) -> None:
        """A model turn: it has read what has come, and what the API fetched in the turn itself."""
        fetched = {"untrusted"} if any(block.get("type") in _OUTSIDE for block in content) else frozenset[str]()
        self.words, self.gained = self.words | self.gained | fetched, frozenset()

    @property
    def all(self) -> frozenset[str]:
        """Everything that has come so far."""
        return self.words | self.gained


def taint_of(effect: frozenset[str]) -> frozenset[str]:
    """What results of a tool with this effect bring in; one that says nothing may bring what others have written."""
    return effect & TAINTS if effect else frozenset({"untrusted"})
