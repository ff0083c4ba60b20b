"""The message of a reply: ids, usage, and what else is around its content."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json

from agentkit.emulator.resources.models import resolved_model
from agentkit.messages import Block, encode

__all__ = ["CHARACTERS_A_TOKEN", "Reply", "message_of", "prompt_size", "tokens", "written"]

CHARACTERS_A_TOKEN = 4
_FILE_TOKENS = 1568  # of an image at most, by the older measure. Source: messages-api.md section 19
_TEXTS = {"text": "text", "thinking": "thinking", "compaction": "content"}


@dataclass(slots=True)
class Reply:
    """One turn, of the reader or of a script.

    Attributes:
        content: Its content blocks, complete.
        stop_reason: Why it ends.
        stop_sequence: The one that was met.
        usage: Counts that are not to be estimated.
        fields: More fields of the message.
    """

    content: list[Block] = field(default_factory=list)
    stop_reason: str = "end_turn"
    stop_sequence: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)


def message_of(body: dict[str, Any], size: int, reply: Reply, cached: dict[str, Any]) -> dict[str, Any]:
    """The message. In its usage results of server tools are input, and citations cost nothing.

    Args:
        body: The request.
        size: Of the request in bytes.
        reply: What is said.
        cached: The counts of its `usage` about the prompt cache.
    """
    return {
        "id": _message_id(body, reply),
        "type": "message",
        "role": "assistant",
        "model": resolved_model(body["model"]),
        "content": reply.content,
        "stop_reason": reply.stop_reason,
        "stop_sequence": reply.stop_sequence,
        "stop_details": None,
        "usage": _usage(body, size, reply, cached) | reply.usage,
        **reply.fields,
    }


def _message_id(body: dict[str, Any], reply: Reply) -> str:
    """The same for the same request; but in a thread, which has its state under it, each is new."""
    if body.get("thread"):
        return f"msg_01{uuid.uuid4().hex[:22]}"
    return "msg_01" + hashlib.sha256(to_json(body["messages"]) + encode(reply.content)).hexdigest()[:22]


def _usage(body: dict[str, Any], size: int, reply: Reply, cached: dict[str, Any]) -> dict[str, Any]:
    read_in = sum(len(encode(block)) for block in reply.content if block["type"].endswith("_tool_result"))
    kept = cached["cache_read_input_tokens"] + cached["cache_creation_input_tokens"]
    usage: dict[str, Any] = {
        "input_tokens": max(0, tokens(size + read_in) - kept),
        **cached,
        "output_tokens": tokens(sum(map(written, reply.content))),
        "output_tokens_details": {"thinking_tokens": tokens(sum(map(_thought, reply.content)))},
        "service_tier": "standard",
        "inference_geo": body.get("inference_geo") or "global",
    }
    if body.get("speed"):
        usage["speed"] = body["speed"]
    done = {f"{name}_requests": _succeeded(reply, name) for name in ("web_search", "web_fetch")}
    if any(done.values()):
        usage["server_tool_use"] = done
    return usage


def prompt_size(body: dict[str, Any], raw: bytes) -> int:
    """Bytes that a request is for the model: tools that no search has found are nothing, and a file is no text.

    Args:
        body: The request, with its whole history.
        raw: The same as bytes.
    """
    size = len(raw)
    for message in body["messages"] if b'"base64"' in raw else ():
        for block in message["content"] if isinstance(message["content"], list) else ():
            parts = block.get("content")
            for part in (block, *(parts if isinstance(parts, list) else ())):
                source = part.get("source") if isinstance(part, dict) else None
                if isinstance(source, dict) and source.get("type") == "base64":
                    size += CHARACTERS_A_TOKEN * _FILE_TOKENS - len(source.get("data") or "")
    hidden = [tool for tool in body.get("tools") or () if tool.get("defer_loading")]
    if not hidden:
        return max(0, size)
    said = to_json(body["messages"])
    unfound = [tool for tool in hidden if f'"tool_name":{encode(tool.get("name")).decode()}'.encode() not in said]
    return max(0, size - sum(len(encode(tool)) for tool in unfound))


def tokens(size: int) -> int:
    """Roughly, of so many bytes or characters."""
    return -(-size // CHARACTERS_A_TOKEN)


def written(block: Block) -> int:
    """How many characters of a block are output: texts and inputs, no results and citations."""
    if block["type"] in _TEXTS:
        return len(block.get(_TEXTS[block["type"]]) or "")
    return len(encode(block["input"])) if "input" in block else 0


def _thought(block: Block) -> int:
    return written(block) if block["type"] == "thinking" else 0


def _succeeded(reply: Reply, name: str) -> int:
    results = [block["content"] for block in reply.content if block["type"] == f"{name}_tool_result"]
    return sum(isinstance(content, list) or "error_code" not in content for content in results)
