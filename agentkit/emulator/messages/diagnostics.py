"""Why the prompt cache did not hold: what a request that asks for it is told of the one before.

Source: messages-api.md sections 3, 6 and 17. How the API counts what was missed is not known; here it is all of the
earlier prompt from the first part that differs.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from agentkit.emulator.messages.message import tokens
from agentkit.messages import encode

__all__ = ["Diagnostics"]

_KEPT = 1000
_PARTS = ("tools", "system")  # in the order of the prompt, before the messages


class Diagnostics:
    """The newest requests that asked for them and were answered, by the id of the reply."""

    def __init__(self) -> None:
        self._bodies: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def of(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """The `diagnostics` of the reply to a request; None where the request does not ask for them."""
        asked = body.get("diagnostics")
        if not isinstance(asked, dict):
            return None
        name = asked.get("previous_message_id")
        return {"cache_miss_reason": None if name is None else self._reason(body, name)}

    def keep(self, body: dict[str, Any], message_id: str) -> None:
        """Takes a request that was answered."""
        self._bodies[message_id] = body
        if len(self._bodies) > _KEPT:
            self._bodies.popitem(last=False)

    def _reason(self, body: dict[str, Any], name: str) -> dict[str, Any] | None:
        before = self._bodies.get(name)
        if before is None:
            return {"type": "previous_message_not_found"}
        parts = [before.get(part) or [] for part in _PARTS]
        if before["model"] != body["model"]:
            return _missed("model_changed", [*parts, before["messages"]])
        for at, part in enumerate(_PARTS):
            if _unmarked(parts[at]) != _unmarked(body.get(part) or []):
                return _missed(f"{part}_changed", [*parts[at:], before["messages"]])
        old, new = _unmarked(before["messages"]), _unmarked(body["messages"])
        same = 0
        while same < min(len(old), len(new)) and old[same] == new[same]:
            same += 1
        return _missed("messages_changed", [old[same:]]) if same < len(old) else None


def _missed(kind: str, parts: list[Any]) -> dict[str, Any]:
    return {"type": kind, "cache_missed_input_tokens": tokens(sum(len(encode(part)) for part in parts))}


def _unmarked(value: Any) -> Any:
    """Without cache marks, which may move; a text is the same as one block of it."""
    if isinstance(value, dict):
        kept = {key: _unmarked(item) for key, item in value.items() if key != "cache_control"}
        if isinstance(kept.get("content"), str) and "role" in kept:
            kept["content"] = [{"type": "text", "text": kept["content"]}]
        return kept
    return [_unmarked(item) for item in value] if isinstance(value, list) else value
