"""The turns of a conversation, as the API counts them: consecutive messages of one role are one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Turn", "turns"]

# What a turn holds that the API paused, and so continues, or that waits for our results (a matter of the history).
_WAITS = {"server_tool_use", "mcp_tool_use", "compaction", "tool_use"}


@dataclass(slots=True)
class Turn:
    """A turn.

    Attributes:
        role: `user`, `assistant` or `system`.
        number: Counted as the API does: a turn of the user comes before an assistant turn that begins.
        blocks: Its content.
        places: Of each block: its message and its place in that, as the caller counts.
    """

    role: str
    number: int
    blocks: list[Mapping[str, Any]] = field(default_factory=list)
    places: list[str] = field(default_factory=list)

    @property
    def kinds(self) -> list[str]:
        """The types of its blocks."""
        return [block["type"] for block in self.blocks]

    @property
    def waits(self) -> bool:
        """Whether the API goes on with it, or calls in it wait for results."""
        return not _WAITS.isdisjoint(self.kinds) or any(kind.endswith("_tool_result") for kind in self.kinds)


def turns(messages: Iterable[Mapping[str, Any]]) -> list[Turn]:
    """The turns of well-shaped messages."""
    found: list[Turn] = []
    for index, message in enumerate(messages):
        role, content = message["role"], message["content"]
        if not found or found[-1].role != role:
            number = found[-1].number + 1 if found else int(role == "assistant")
            found.append(Turn(role, number))
        blocks = content if isinstance(content, list) else [{"type": "text", "text": content}] if content else []
        found[-1].blocks += blocks
        found[-1].places += [f"messages.{index}.content.{at}" for at in range(len(blocks))]
    return found
