"""Context management: what the API takes out of its own copy of a conversation before the model reads it.

Source: messages-api.md section 18.1; the text in place of what was cleared is not recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from agentkit.emulator.messages.message import tokens
from agentkit.emulator.messages.signatures import is_thinking
from agentkit.messages import Block, copy_json, encode

__all__ = ["after_compaction", "edited"]

Applied: TypeAlias = "dict[str, Any] | None"

_CLEARED = "[Old tool result content cleared]"
_TRIGGER: dict[str, Any] = {"type": "input_tokens", "value": 100_000}
_KEPT_USES = 3
_KEPT_TURNS = 1


def edited(body: dict[str, Any], size: int) -> tuple[dict[str, Any], list[dict[str, Any]] | None]:
    """The request after its edits, and the `applied_edits`; None where it asks for no context management.

    Args:
        body: A request that no rule refuses, with its whole history.
        size: Of the request in bytes.
    """
    asked = body.get("context_management")
    if not isinstance(asked, dict):
        return body, None
    messages = copy_json(body["messages"])
    done = []
    left = tokens(size)
    for edit in asked.get("edits") or ():
        apply = _EDITS.get(edit["type"])
        applied = apply(edit, messages, left) if apply else None
        if applied:
            done.append(applied)
            left -= applied["cleared_input_tokens"]
    return {**body, "messages": messages}, done


def after_compaction(body: dict[str, Any]) -> dict[str, Any]:
    """The request from its last summary on: what is before that, the API does not read. Source: section 18.2."""
    messages = body["messages"]
    for at in range(len(messages) - 1, -1, -1):
        blocks = _blocks(messages[at])
        for place in range(len(blocks) - 1, -1, -1):
            if blocks[place]["type"] == "compaction" and blocks[place].get("content") is not None:
                rest = {**messages[at], "content": blocks[place:]}
                return {**body, "messages": [rest, *messages[at + 1 :]]}
    return body


def _clear_thinking(edit: dict[str, Any], messages: list[dict[str, Any]], _size: int) -> Applied:
    keep = edit.get("keep") or {"value": _KEPT_TURNS}
    turns = [message for message in messages if any(map(is_thinking, _blocks(message)))]
    cleared = [] if keep == "all" else turns[: max(0, len(turns) - keep["value"])]
    taken = 0
    for message in cleared:
        taken += sum(len(encode(block)) for block in message["content"] if is_thinking(block))
        message["content"] = [block for block in message["content"] if not is_thinking(block)]
    counts = {"cleared_thinking_turns": len(cleared), "cleared_input_tokens": tokens(taken)}
    return {"type": edit["type"], **counts} if cleared else None


def _clear_tool_uses(edit: dict[str, Any], messages: list[dict[str, Any]], size: int) -> Applied:
    """Results of client tools become a short text, the oldest first; of calls the inputs, where that is asked for."""
    uses = {block["id"]: block for block in _all(messages) if block["type"] == "tool_use"}
    trigger, keep = edit.get("trigger") or _TRIGGER, (edit.get("keep") or {"value": _KEPT_USES})["value"]
    if (size if trigger["type"] == "input_tokens" else len(uses)) <= trigger["value"]:
        return None
    excluded, inputs = edit.get("exclude_tools") or (), edit.get("clear_tool_inputs") or False
    old = list(uses)[: max(0, len(uses) - keep)]
    results = [
        block
        for block in _all(messages)
        if block["type"] == "tool_result"
        and block["tool_use_id"] in old
        and uses[block["tool_use_id"]]["name"] not in excluded
    ]
    clears = [use for result in results if (use := uses[result["tool_use_id"]]) and _clears_input(use, inputs)]
    taken = tokens(sum(len(encode(block.get("content", ""))) for block in results))
    taken += tokens(sum(len(encode(use["input"])) for use in clears))
    least = (edit.get("clear_at_least") or {"value": 0})["value"]
    if not results or taken < least:
        return None
    for result in results:
        result["content"] = _CLEARED
    for use in clears:
        use["input"] = {}
    return {"type": edit["type"], "cleared_tool_uses": len(results), "cleared_input_tokens": taken}


def _clears_input(use: Block, inputs: bool | list[str]) -> bool:
    return inputs if isinstance(inputs, bool) else use["name"] in inputs


_EDITS: dict[str, Callable[[dict[str, Any], list[dict[str, Any]], int], Applied]] = {
    "clear_thinking_20251015": _clear_thinking,
    "clear_tool_uses_20250919": _clear_tool_uses,
}


def _blocks(message: dict[str, Any]) -> list[Block]:
    return message["content"] if isinstance(message["content"], list) else []


def _all(messages: list[dict[str, Any]]) -> list[Block]:
    return [block for message in messages for block in _blocks(message)]
