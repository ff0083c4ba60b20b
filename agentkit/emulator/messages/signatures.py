"""Signatures of thinking blocks: they come back as they were, and with the newest models in their conversation only.

A signature holds digests of what the block may depend on, so nothing is stored: any emulator can check it.

Source: messages-api.md section 14; recordings/api-errors.md part B. The end of the refusal is recorded for `system`
alone; that for `tools` is made after it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from agentkit.emulator.messages.opaque import token, unsealed
from agentkit.emulator.refusal import Refused
from agentkit.messages import Block, copy_json, sent_content
from agentkit.support import model_of

__all__ = ["CONTROLS", "checked_thinking", "is_thinking", "shows_thinking", "signed"]

CONTROLS = "thinking-binding-controls-2026-08-01"
_BOUND = (
    "claude-opus-5-5",
    "claude-sonnet-5-5",
    "claude-fable-5-1",
    "claude-mythos-5-1",
    "claude-fable-5-2",
    "claude-mythos-5-2",
)
_FIELDS = {"thinking": ("thinking", "signature"), "redacted_thinking": ("", "data")}
_SIZE = 16  # bytes of a digest
_TEXT = (
    "The block is bound to a different conversation. Remove the block, or set `thinking.block_binding."
    f'prefix_mismatch_behavior` to "drop_block". That setting requires the `{CONTROLS}` value in the `anthropic-beta` '
    "header."
)
_UNLIKE = {
    "system": " The `system` prompt differs from the one this block was created with.",
    "tools": " The `tools` differ from those this block was created with.",
}


def is_thinking(block: Block) -> bool:
    """Whether a block is thinking, shown or redacted."""
    return block.get("type") in _FIELDS


def shows_thinking(body: dict[str, Any]) -> bool:
    """Whether the reply shows a summary of the thinking; older models do unless told otherwise."""
    display = (body.get("thinking") or {}).get("display")
    model = model_of(body["model"])
    return display != "omitted" if model is None or "enabled" in model.thinking else display == "summarized"


def signed(block: Block, body: dict[str, Any], before: list[Block]) -> Block:
    """A thinking block of a reply with its signature, or the data that a redacted one is.

    Args:
        block: `thinking` or `redacted_thinking`; what has a signature keeps it.
        body: The request, with its whole history.
        before: The blocks of the reply before it.
    """
    text, field = _FIELDS[block["type"]]
    if block.get(field):
        return block
    history = _History()
    for message in [*body["messages"], {"role": "assistant", "content": before}]:
        for part in _blocks(message["content"]):
            history.add(message["role"], part)
    bound = b"\1" if body["model"] in _BOUND else b"\0"
    said = _digest(block.get(text, ""))
    return {**block, field: token(b"".join([bound, said, *_surroundings(body), history.digest(), history.last]))}


def checked_thinking(body: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The request as the model reads it, and what was done to its thinking.

    Args:
        body: The request, with its whole history.

    Returns:
        The body without the blocks that were dropped, and the `input_transformations`.

    Raises:
        Refused: A block was changed, or is bound to a different conversation.
    """
    binding = (body.get("thinking") or {}).get("block_binding") or {}
    drops = binding.get("prefix_mismatch_behavior") == "drop_block"
    done: list[dict[str, Any]] = []
    dropped: set[tuple[int, int]] = set()
    for at, place, wrong, reason in _mismatches(body):
        if reason == "prefix_binding_mismatch" and not drops:
            raise Refused(400, f"messages.{at}.content.{place}: Invalid {wrong}", rule="thinking_binding")
        dropped.add((at, place))
        done.append({"type": "thinking_dropped", "path": f"messages.{at}.content.{place}", "reason": reason})
    return _without(body, dropped), done


def _mismatches(body: dict[str, Any]) -> Iterator[tuple[int, int, str, str]]:
    """Blocks that the model does not read: (message, block, what the refusal says, reason)."""
    messages = body["messages"]
    if not any(is_thinking(block) for message in messages for block in _blocks(message["content"])):
        return
    history, surroundings = _History(), _surroundings(body)
    latest = max((at for at, message in enumerate(messages) if message["role"] == "assistant"), default=-1)
    after = _last_compaction(messages)
    for at, message in enumerate(messages):
        for place, block in enumerate(_blocks(message["content"])):
            if is_thinking(block) and (at, place) > after:
                facts = _facts(block, at, place, latest=at == latest)
                if facts[0] and body["model"] not in _BOUND:
                    yield at, place, "", "model_binding_mismatch"
                elif facts[0] and (wrong := _unlike(facts, surroundings, history)) is not None:
                    field = _FIELDS[block["type"]][1]
                    yield at, place, f"`{field}` in `{block['type']}` block. {_TEXT}{wrong}", "prefix_binding_mismatch"
            history.add(message["role"], block)


def _facts(block: Block, at: int, place: int, *, latest: bool) -> bytes:
    """What a block's signature says.

    Raises:
        Refused: It is not the emulator's, or its text is another.
    """
    text, field = _FIELDS[block["type"]]
    facts = unsealed(block.get(field))
    if facts is None or len(facts) < 1 + 4 * _SIZE:
        raise Refused(400, f"messages.{at}.content.{place}: Invalid `{field}` in `{block['type']}` block")
    if facts[1 : 1 + _SIZE] != _digest(block.get(text, "")):
        said = f"Invalid `{field}` in `{block['type']}` block"
        if latest:
            said = (
                "`thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified. These "
                "blocks must remain as they were in the original response."
            )
        raise Refused(400, f"messages.{at}.content.{place}: {said}")
    return facts


def _unlike(facts: bytes, surroundings: list[bytes], history: _History) -> str | None:
    """What of the conversation is not as it was; None if nothing. Thinking may be removed from front or end only."""
    _, system, tools, before, last = (facts[at : at + _SIZE] for at in range(1, 1 + 5 * _SIZE, _SIZE))
    if system != surroundings[0]:
        return _UNLIKE["system"]
    if tools != surroundings[1]:
        return _UNLIKE["tools"]
    same = before == history.digest() and (not history.last or last == history.last)
    return None if same else ""


class _History:
    """What comes before a block: everything but thinking and cache marks, from the last compaction on.

    Attributes:
        last: A digest of the thinking block before, empty where there is none.
    """

    def __init__(self) -> None:
        self._before = hashlib.sha256()
        self._role = ""
        self._turn: list[Block] = []
        self._last_before = b""  # this turn
        self.last = b""

    def add(self, role: str, block: Block) -> None:
        if role != self._role:
            self._before = self._with_turn()
            self._role, self._turn, self._last_before = role, [], self.last
        if _is_compaction(block):
            self._before, self._turn, self._last_before, self.last = hashlib.sha256(), [], b"", b""
        if block.get("type") == "fallback":  # thinking before it is not sent back
            self.last = self._last_before
        if is_thinking(block):
            self.last = _digest(block.get(_FIELDS[block["type"]][1]))
        self._turn.append(block)

    def digest(self) -> bytes:
        """Of all that is sent so far; the model's own blocks as `sent_content` sends them."""
        return bytes(self._with_turn().digest()[:_SIZE])

    def _with_turn(self) -> Any:
        whole = self._before.copy()
        content = self._turn if self._role != "assistant" else sent_content({"content": self._turn})
        for block in content:
            if not is_thinking(block):
                whole.update(_digest([self._role, block]))
        return whole


def _last_compaction(messages: list[dict[str, Any]]) -> tuple[int, int]:
    found = (-1, -1)
    for at, message in enumerate(messages):
        for place, block in enumerate(_blocks(message["content"])):
            if _is_compaction(block):
                found = (at, place)
    return found


def _is_compaction(block: Block) -> bool:
    return block.get("type") == "compaction" and block.get("content") is not None


def _surroundings(body: dict[str, Any]) -> list[bytes]:
    return [_digest(_blocks(body.get("system") or [])), _digest(body.get("tools") or [])]


def _blocks(content: str | list[Block]) -> list[Block]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _digest(value: Any) -> bytes:
    written = json.dumps(_unmarked(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(written.encode()).digest()[:_SIZE]


def _unmarked(value: Any) -> Any:
    """Without cache marks, which may move."""
    if isinstance(value, dict):
        return {key: _unmarked(item) for key, item in value.items() if key != "cache_control"}
    return [_unmarked(item) for item in value] if isinstance(value, list) else value


def _without(body: dict[str, Any], dropped: set[tuple[int, int]]) -> dict[str, Any]:
    if not dropped:
        return body
    messages = copy_json(body["messages"])
    for at, place in sorted(dropped, reverse=True):
        del messages[at]["content"][place]
    return {**body, "messages": messages}
