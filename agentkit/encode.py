"""Turn → events → bytes: how the API streams a whole message. The inverse of `stream`. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic_core import to_json

from agentkit.messages import Block, encode

__all__ = ["events", "sse"]

# Counts that are known only at the end, so `message_start` has them not yet.
_LATE_USAGE = ("server_tool_use", "iterations", "output_tokens_details", "fallback_credit")
# What `message_delta` repeats, as recorded; the rest of the usage is in `message_start` alone.
_FINAL_USAGE = (
    "input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens", *_LATE_USAGE,
)  # fmt: skip
_IN_MESSAGE_DELTA = ("stop_details", "container")
_BESIDE_THE_DELTA = ("context_management", "input_transformations")


def events(message: dict[str, Any], *, text_piece: int = 16, json_piece: int = 12) -> Iterator[dict[str, Any]]:
    """The wire events of a whole message; folding them gives the message again.

    Args:
        message: A response message with `content`, `stop_reason` and `usage`.
        text_piece: Most characters of one `text_delta` or `thinking_delta`, at least 1.
        json_piece: Most characters of one `input_json_delta`, at least 1.

    Source: messages-api.md section 8; as recorded: the ping after the first block has begun, citations before the
    text of their block, the counts of the end.
    """
    usage = message.get("usage") or {}
    yield {"type": "message_start", "message": _opening(message, usage)}
    if not message["content"]:
        yield {"type": "ping"}
    for index, block in enumerate(message["content"]):
        start, deltas = _block(block, text_piece, json_piece)
        yield {"type": "content_block_start", "index": index, "content_block": start}
        if index == 0:
            yield {"type": "ping"}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    ended = {name: message.get(name) for name in ("stop_reason", "stop_sequence")}
    ended |= {name: message[name] for name in _IN_MESSAGE_DELTA if name in message}
    beside = {name: message[name] for name in _BESIDE_THE_DELTA if name in message}
    known = {name: usage[name] for name in _FINAL_USAGE if usage.get(name) is not None}
    yield {"type": "message_delta", "delta": ended, "usage": known, **beside}
    yield {"type": "message_stop"}


def sse(event: dict[str, Any]) -> bytes:
    """One event as a frame of a stream. Source: messages-api.md section 8."""
    try:
        data = to_json(event)
    except ValueError:  # a lone surrogate, or what JSON has not
        data = encode(event)
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), data)


def _opening(message: dict[str, Any], usage: dict[str, Any]) -> dict[str, Any]:
    known = {name: value for name, value in usage.items() if name not in _LATE_USAGE or value is None}
    if usage.get("output_tokens"):
        known["output_tokens"] = 1
    unknown: dict[str, Any] = {"content": [], "stop_reason": None, "stop_sequence": None}
    unknown |= {name: None for name in _IN_MESSAGE_DELTA if name in message}
    first = {name: value for name, value in message.items() if name not in _BESIDE_THE_DELTA}
    return {**first, **unknown, "usage": known}


def _block(block: Block, text_piece: int, json_piece: int) -> tuple[Block, Iterator[dict[str, Any]]]:
    """How a block starts, and what its deltas add to it. A block of an unknown type comes whole."""
    match block:
        case {"type": "text", "text": str(text)}:
            citations = block.get("citations")
            start = {**block, "text": ""} | ({"citations": []} if citations else {})
            return start, _text_deltas(text, citations or [], text_piece)
        case {"type": "tool_use" | "server_tool_use" | "mcp_tool_use", "input": given}:
            return {**block, "input": {}}, _input_deltas(given, json_piece)
        case {"type": "thinking", "thinking": str(thinking)}:
            signature = block.get("signature")
            start = {**block, "thinking": ""} | ({"signature": ""} if signature else {})
            return start, _thinking_deltas(thinking, signature, text_piece)
        case {"type": "compaction"}:
            summary: Block = {name: block[name] for name in ("content", "encrypted_content") if name in block}
            return block | dict.fromkeys(summary), iter([{"type": "compaction_delta", **summary}])
    return dict(block), iter(())


def _text_deltas(text: str, citations: list[Any], piece: int) -> Iterator[dict[str, Any]]:
    for citation in citations:
        yield {"type": "citations_delta", "citation": citation}
    for part in _pieces(text, piece):
        yield {"type": "text_delta", "text": part}


def _input_deltas(given: Any, piece: int) -> Iterator[dict[str, Any]]:
    yield {"type": "input_json_delta", "partial_json": ""}
    # `stream` keeps input that is no JSON as text: that text is what was streamed.
    written = given if isinstance(given, str) else encode(given).decode() if given != {} else ""
    for part in _pieces(written, piece):
        yield {"type": "input_json_delta", "partial_json": part}


def _thinking_deltas(thinking: str, signature: str | None, piece: int) -> Iterator[dict[str, Any]]:
    for part in _pieces(thinking, piece):
        yield {"type": "thinking_delta", "thinking": part}
    if signature:
        yield {"type": "signature_delta", "signature": signature}


def _pieces(text: str, size: int) -> Iterator[str]:
    return (text[at : at + size] for at in range(0, len(text), size))
