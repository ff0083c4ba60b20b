"""Events of the stream → what a run reports of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentkit.events import (
    ContentBlockStop,
    Event,
    InputDelta,
    ServerToolCall,
    ServerToolResult,
    TextDelta,
    ThinkingDelta,
    UnknownEvent,
)
from agentkit.messages import Block, copy_json, encode
from agentkit.stream import Fold

__all__ = ["DELTAS", "event_of"]

# What is reported of a delta, and the key that holds it; nothing of those that are whole only at the end of the block.
DELTAS: dict[str, tuple[Callable[[Any, int], Event], str] | None] = {
    "text_delta": (TextDelta, "text"),
    "thinking_delta": (ThinkingDelta, "thinking"),
    "input_json_delta": (InputDelta, "partial_json"),
    "signature_delta": None,
    "citations_delta": None,
    "compaction_delta": None,
}


def event_of(raw: dict[str, Any], fold: Fold) -> Event | None:
    """What a run reports of one event of the stream."""
    kind = raw["type"]
    if kind == "content_block_delta":
        delta = raw["delta"]
        if delta["type"] not in DELTAS:
            return UnknownEvent(copy_json(raw))
        shown = DELTAS[delta["type"]]
        return shown and shown[0](delta[shown[1]], raw["index"])
    if kind == "content_block_stop":
        return _block_event(raw["index"], fold.blocks[raw["index"]], fold)
    if kind in ("message_start", "content_block_start", "message_delta"):
        return None
    return UnknownEvent(raw)


def _block_event(index: int, block: Block, fold: Fold) -> Event:
    block = copy_json(block)  # the consumer may change it
    kind = str(block.get("type"))
    if kind in ("server_tool_use", "mcp_tool_use"):
        return ServerToolCall(str(block.get("id")), str(block.get("name")), block.get("input"))
    if kind.endswith("_tool_result"):
        content = block.get("content")
        error = content.get("error_code") if isinstance(content, dict) else None
        name = next((b.get("name") for b in fold.blocks if b.get("id") == block.get("tool_use_id")), None)
        name = str(name or kind.removesuffix("_tool_result"))
        return ServerToolResult(str(block.get("tool_use_id")), name, len(encode(content)), error, block)
    return ContentBlockStop(index, block)
