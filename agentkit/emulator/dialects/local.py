"""A server on one's own machine, as llama.cpp is one: it answers nearly everything, and says less of its answers.

Source: verify.md, which names the deviations that a real one has; messages-api.md section 23.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agentkit import encode as encoding
from agentkit.emulator.reader.shapes import misshapen
from agentkit.emulator.refusal import Refused

__all__ = ["error", "events", "message", "models", "read"]

_DEFAULTS = {"model": "local", "max_tokens": 4096}
_READ = (
    "model", "messages", "max_tokens", "system", "stop_sequences", "stream", "thinking", "tools", "tool_choice",
)  # fmt: skip
_FIELDS = ("id", "type", "role", "content", "model", "stop_reason", "stop_sequence")
_USAGE = ("cache_read_input_tokens", "input_tokens", "output_tokens")
_OURS = "toolu_"
_ID = "chatcmpl-"


def read(body: dict[str, Any]) -> dict[str, Any]:
    """A request as it takes it: without server tools and without a `tool_choice` that forbids tools.

    Raises:
        Refused: It is of a shape that can't be read at all; a history that fits nowhere is read.
    """
    wrong = misshapen(body)
    if wrong:
        raise Refused(500, wrong, rule="shape")
    whole = {**_DEFAULTS, **{name: body[name] for name in _READ if body.get(name) is not None}}
    if isinstance(body.get("tools"), list):
        whole["tools"] = [tool for tool in body["tools"] if "input_schema" in tool]
    if isinstance(body.get("tool_choice"), dict) and body["tool_choice"].get("type") == "none":
        del whole["tool_choice"]
    return whole


def error(refused: Refused, request_id: str) -> tuple[int, dict[str, Any]]:
    """Its own shape: the status is in the body too, and what it can't read is its own fault."""
    found = refused.status == 404
    kind = "not_found_error" if found else refused.kind if refused.rule == "script" else "server_error"
    status = refused.status if found or refused.rule == "script" else 500
    return status, {"error": {"code": status, "message": refused.message, "type": kind}}


def message(whole: dict[str, Any]) -> dict[str, Any]:
    """A message with few fields, ids of another kind, and `end_turn` where a stop sequence was met."""
    kept = {name: value for name, value in whole.items() if name in _FIELDS}
    stopped = {"stop_reason": "end_turn", "stop_sequence": None} if whole["stop_reason"] == "stop_sequence" else {}
    usage = {name: whole["usage"].get(name) or 0 for name in _USAGE}
    content = [_renamed(block) for block in whole["content"]]
    return {**kept, **stopped, "id": _ID + whole["id"].removeprefix("msg_"), "content": content, "usage": usage}


def _renamed(block: dict[str, Any]) -> dict[str, Any]:
    given = block.get("id")
    ours = block.get("type") == "tool_use" and isinstance(given, str) and given.startswith(_OURS)
    return {**block, "id": _ID + given.removeprefix(_OURS)} if ours and isinstance(given, str) else block


def events(whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """No pings, no `input` where a tool use starts, and no usage but the output at the end."""
    for event in encoding.events(whole):
        if event["type"] == "content_block_start" and "input" in event["content_block"]:
            block = {name: value for name, value in event["content_block"].items() if name != "input"}
            yield {**event, "content_block": block}
        elif event["type"] == "message_delta":
            yield {**event, "usage": {"output_tokens": event["usage"].get("output_tokens", 0)}}
        elif event["type"] != "ping":
            yield event


def models(query: Mapping[str, str]) -> dict[str, Any]:
    """`/v1/models` in the shape of OpenAI's list; any name will do."""
    data = [{"id": _DEFAULTS["model"], "object": "model", "created": 1_767_225_600, "owned_by": "llamacpp"}]
    return {"object": "list", "data": data}
