"""One call of a client tool: where it is, what was decided on it, how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from agentkit.messages import Block

__all__ = ["Call", "Decision", "Outcome"]

Outcome = Literal["done", "failed", "denied", "timed_out", "cancelled", "unknown", "not_run"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What a human (or a program of theirs) decided on a held call: see `allow`, `deny` and `edit`."""

    action: Literal["allow", "deny", "edit"]
    reason: str = ""
    input: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One `tool_use` of the last model turn.

    Attributes:
        call_id: Names it within the transcript: `turn:tool_use_id`.
        block: The `tool_use` block as it came.
        state: open, held, started or ended.
        decision: On a held call, once there is one.
        result: The `tool_result` block, once it has ended.
        outcome: How it ended.
    """

    call_id: str
    block: Block
    state: Literal["open", "held", "started", "ended"] = "open"
    decision: Decision | None = None
    result: Block | None = None
    outcome: Outcome | None = None

    def closing(self, text: str) -> Block:
        """The `tool_result` of a call that has not run to its end: an error with this text."""
        result = {"type": "tool_result", "tool_use_id": self.block["id"], "content": text, "is_error": True}
        toolset = {"toolset_name": self.block["toolset_name"]} if "toolset_name" in self.block else {}
        return {**result, **toolset}
