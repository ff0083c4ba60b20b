"""One call of a client tool: where it is, what was decided on it, how it ended."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from agentkit.messages import Block, copy_json, encode

__all__ = ["Approve", "Call", "Decision", "Outcome", "Pending", "allow", "deny", "edit"]

Outcome = Literal["done", "failed", "denied", "timed_out", "cancelled", "unknown", "not_run"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What a human (or a program of theirs) decided on a held call: see `allow`, `deny` and `edit`."""

    action: Literal["allow", "deny", "edit"]
    reason: str = ""
    input: dict[str, Any] | None = None
    until: float | None = None


VALID_SECONDS = 3600.0
"""How long a call may begin after it was allowed: the process may have died meanwhile, and the world changed."""


def allow(*, until: float | None = None) -> Decision:
    """Lets a held call run, once.

    Args:
        until: When it must have begun, in seconds since 1970, or it is held again; an hour from now if not given.
    """
    return Decision("allow", until=_until(until))


def deny(reason: str = "") -> Decision:
    """Refuses a held call; the model is told so, with the reason."""
    return Decision("deny", reason)


def edit(input: dict[str, Any], *, until: float | None = None) -> Decision:  # noqa: A002
    """Lets a held call run, once, with another input; the model is told so.

    Args:
        input: What it runs with.
        until: As for `allow`.

    Raises:
        ConfigurationError: It has something that JSON has not.
    """
    return Decision("edit", input=json.loads(encode(input)), until=_until(until))


def _until(until: float | None) -> float:
    return time.time() + VALID_SECONDS if until is None else until


@dataclass(frozen=True, slots=True)
class Pending:
    """A call that waits for an approval: `agent.resume(result, decisions={call_id: allow()})`.

    Attributes:
        call_id: The key of its decision.
        name: Of the tool.
        input: What it would run with.
    """

    call_id: str
    name: str
    input: Any


Approve: TypeAlias = Callable[[Pending], Decision | Awaitable[Decision]]
"""Decides on a call while the run goes on: what it raises leaves the call held."""


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
        attempts: How many times it was started.
        tool: Digest of the tool that was started, or for which an approval was asked.
    """

    call_id: str
    block: Block
    state: Literal["open", "held", "started", "ended"] = "open"
    decision: Decision | None = None
    result: Block | None = None
    outcome: Outcome | None = None
    attempts: int = 0
    tool: str | None = None

    def closing(self, text: str) -> Block:
        """The `tool_result` of a call that has not run to its end: an error with this text."""
        result = {"type": "tool_result", "tool_use_id": self.block["id"], "content": text, "is_error": True}
        toolset = {"toolset_name": self.block["toolset_name"]} if "toolset_name" in self.block else {}
        return {**result, **toolset}

    def pending(self) -> Pending:
        """What a human decides on; a copy, so that a changed input on the way to `edit` does not change the log."""
        return Pending(self.call_id, str(self.block.get("name")), copy_json(self.block.get("input")))
