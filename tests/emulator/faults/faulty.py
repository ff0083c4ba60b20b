"""What the tests of faults ask, and what a script says to it."""

from __future__ import annotations

from typing import Any

from agentkit.emulator import reply, thinking, tool_use
from agentkit.request import Request

__all__ = ["ANSWER", "ASKED", "WHOLE", "call"]

ANSWER = "Hello, world: this is an answer."
_FIELDS: Any = {
    "tools": ({"name": "add", "input_schema": {"type": "object"}},),
    "params": {"thinking": {"type": "adaptive", "display": "summarized"}},
}
ASKED = Request("claude-sonnet-4-6", 4000, **_FIELDS)
WHOLE = Request("claude-sonnet-4-6", 4000, stream=False, **_FIELDS)


def call(body: dict[str, Any]) -> Any:
    """A script: thinking, text and a call."""
    return reply(thinking("hm"), ANSWER, tool_use("add", a=1, b=2))
