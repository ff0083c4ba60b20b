"""Compaction: a summary that takes the place of the history; on demand (then it is signed) or beyond a threshold.

Source: messages-api.md sections 16 (error codes), 18.2 and 18.3; the texts are not recorded.
"""

from __future__ import annotations

import hashlib
from typing import Any

from agentkit.emulator.messages.message import Reply, tokens, written
from agentkit.emulator.messages.opaque import token, unsealed
from agentkit.emulator.refusal import Refused
from agentkit.emulator.replies import ScriptedReply, compaction, reply
from agentkit.messages import Block, encode

__all__ = [
    "asks_for_summary",
    "check_compaction",
    "compacted",
    "due_compaction",
    "signed_summary",
    "summary",
    "summary_usage",
]

_EDIT = "compact_20260112"
_THRESHOLD = {"value": 150_000}
_MOST = 400  # characters of one text in the summary


def asks_for_summary(body: dict[str, Any]) -> bool:
    """Whether the reply is a compaction block and no answer."""
    return isinstance(body.get("compaction"), dict)


def check_compaction(body: dict[str, Any]) -> None:
    """Raises `Refused` for a request for a summary that can't be made, and for a summary that was changed."""
    for at, message in enumerate(body["messages"]):
        for place, block in enumerate(_blocks(message)):
            if block.get("type") == "compaction" and block.get("signature") is not None:
                _check_signature(block, f"messages.{at}.content.{place}")
    if asks_for_summary(body):
        _check_request(body)


def _check_signature(block: Block, path: str) -> None:
    facts = unsealed(block["signature"])
    if facts is None:
        text = f"{path}: Invalid `signature` in `compaction` block"
        raise Refused(400, text, code="compaction_signature_invalid")
    if facts != _facts(block):
        text = f"{path}: the content of the `compaction` block is not what was signed"
        raise Refused(400, text, code="compaction_content_mismatch")


def _check_request(body: dict[str, Any]) -> None:
    if not any(block.get("type") != "compaction" for message in body["messages"] for block in _blocks(message)):
        raise Refused(400, "There is nothing to summarize", code="compaction_nothing_to_summarize")
    if _is_unfinished(body["messages"]):
        text = "The last turn is not finished: a tool use has no result, or the turn was paused"
        raise Refused(400, text, code="compaction_incomplete_turn")


def _is_unfinished(messages: list[dict[str, Any]]) -> bool:
    """Whether a tool use has no result: of ours in the last message, of the API's anywhere."""
    answered = {block.get("tool_use_id") for message in messages for block in _blocks(message)}
    served = ("server_tool_use", "mcp_tool_use")
    uses = [block for message in messages for block in _blocks(message) if block.get("type") in served]
    uses += [block for block in _blocks(messages[-1]) if block.get("type") == "tool_use"]
    return any(use.get("id") not in answered for use in uses)


def summary(body: dict[str, Any]) -> ScriptedReply:
    """The reply to a request for a summary."""
    return reply(compaction(_told(body, body["compaction"].get("instructions"))))


def _told(body: dict[str, Any], told: str | None) -> str:
    """What was asked and said, cut short."""
    lines = []
    for message in body["messages"]:
        for block in _blocks(message):
            said = block.get("text") if block.get("type") == "text" else None
            said = block.get("content") if block.get("type") == "compaction" else said
            if said and message["role"] != "system":
                lines.append(f"{message['role']}: {' '.join(str(said).split())[:_MOST]}")
    head = f"Summary of {len(body['messages'])} messages" + (f" ({told})" if told else "")
    return "\n".join([f"{head}:", *lines])


def due_compaction(body: dict[str, Any], size: int) -> dict[str, Any] | None:
    """The edit whose threshold a request is beyond, if there is one.

    Args:
        body: The request.
        size: What the model reads of it, in bytes.
    """
    for edit in (body.get("context_management") or {}).get("edits") or ():
        if edit["type"] == _EDIT and tokens(size) > (edit.get("trigger") or _THRESHOLD)["value"]:
            return dict(edit)
    return None


def compacted(answer: Reply, body: dict[str, Any], size: int, edit: dict[str, Any] | None) -> Reply:
    """A reply that begins with a summary where one is due; where it pauses then, that is all of it."""
    if edit is None:
        return answer
    block: Block = {"type": "compaction", "content": _told(body, edit.get("instructions"))}
    spent = [_iteration("compaction", size, [block])]
    if edit.get("pause_after_compaction"):
        nothing = {"input_tokens": 0, "output_tokens": 0}
        return Reply([block], "compaction", usage={**nothing, "iterations": spent})
    spent.append(_iteration("message", written(block), answer.content))
    counts = {name: spent[1][name] for name in ("input_tokens", "output_tokens")}
    answer.usage = {**answer.usage, **counts, "iterations": spent}
    answer.content.insert(0, block)
    return answer


def signed_summary(block: Block) -> Block:
    """A compaction block as a request for a summary gets it."""
    whole = {**block, "encrypted_content": None, "tool_changes": None}
    return whole if block.get("signature") else {**whole, "signature": token(_facts(whole))}


def summary_usage(size: int, content: list[Block]) -> dict[str, Any]:
    """The usage of a reply that is a summary alone: all of it is in `iterations`. Source: messages-api.md section 6."""
    return {"input_tokens": 0, "output_tokens": 0, "iterations": [_iteration("compaction", size, content)]}


def _iteration(kind: str, size: int, content: list[Block]) -> dict[str, Any]:
    used = {"input_tokens": tokens(size), "output_tokens": tokens(sum(map(written, content)))}
    return {"type": kind, **used, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}


def _facts(block: Block) -> bytes:
    return hashlib.sha256(encode([block.get("content"), block.get("tool_changes")])).digest()


def _blocks(message: dict[str, Any]) -> list[Block]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
