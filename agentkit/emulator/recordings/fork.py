"""The request at a turn of a recorded conversation, with another model, system prompt or text."""

from __future__ import annotations

import json
import os
from typing import Any

from agentkit.emulator.recordings.recording import Recorded, Recording
from agentkit.errors import ConfigurationError
from agentkit.messages import Block

__all__ = ["forked_request"]

_THINKING = ("thinking", "redacted_thinking")


def forked_request(
    path: str | os.PathLike[str],
    turn: int,
    *,
    conversation: int = 1,
    model: str | None = None,
    system: str | list[Block] | None = None,
    prompt: str | None = None,
) -> dict[str, Any]:
    """The body of the request at a turn, changed: to be sent as it is, or its `messages` to be given to an agent.

    Thinking is left out of the messages when the model or the system prompt changes, since it belongs to both.

    Args:
        path: The recording.
        turn: From 1. A request that was sent again after a failure is the same turn.
        conversation: From 1, in the order of their first requests. A request whose messages begin with those of an
            earlier one continues its conversation.
        model: In place of the recorded one.
        system: In place of the recorded one.
        prompt: In place of the text of the last message, whose tool results stay.

    Raises:
        ConfigurationError: There is no such recording, conversation or turn.

    Source: messages-api.md section 14.
    """
    talks = _conversations(Recording(path).exchanges)
    if not 1 <= conversation <= len(talks):
        raise ConfigurationError(f"there is no conversation {conversation} in {path}: it has {len(talks)}")
    turns = talks[conversation - 1]
    if not 1 <= turn <= len(turns):
        raise ConfigurationError(f"there is no turn {turn} in conversation {conversation}: it has {len(turns)}")
    body = turns[turn - 1]
    if (model or body["model"]) != body["model"] or (system is not None and system != body.get("system")):
        body["messages"] = [_without_thinking(message) for message in body["messages"]]
    if prompt is not None:
        body["messages"][-1] = _saying(prompt, body["messages"][-1])
    changed = {"model": model, "system": system}
    return body | {name: value for name, value in changed.items() if value is not None}


def _conversations(exchanges: list[Recorded]) -> list[list[dict[str, Any]]]:
    """The bodies of the requests for a message, by conversation."""
    talks: list[list[dict[str, Any]]] = []
    asked = {exchange.key: exchange for exchange in exchanges if exchange.path == "/v1/messages"}
    for exchange in asked.values():
        body = _body(exchange)
        if body is None:
            continue
        longer = [turns for turns in talks if _continues(turns[-1]["messages"], body["messages"])]
        if longer:
            max(longer, key=lambda turns: len(turns[-1]["messages"])).append(body)
        else:
            talks.append([body])
    return talks


def _body(exchange: Recorded) -> dict[str, Any] | None:
    try:
        body = json.loads(exchange.request)
    except ValueError:
        return None
    usable = isinstance(body, dict) and isinstance(body.get("model"), str) and isinstance(body.get("messages"), list)
    return body if usable and body["messages"] and all(isinstance(item, dict) for item in body["messages"]) else None


def _continues(earlier: list[Any], later: list[Any]) -> bool:
    """Cache marks move from turn to turn, so they don't count; a paused turn grows in place."""
    if len(later) < len(earlier):
        return False
    *before, last = _unmarked(earlier)
    *same, grown = _unmarked(later[: len(earlier)])
    if last.get("role") == "assistant" and isinstance(last.get("content"), list):
        grown = {**grown, "content": grown["content"][: len(last["content"])]}
    return bool(before == same and last == grown)


def _unmarked(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _unmarked(item) for name, item in value.items() if name != "cache_control"}
    return [_unmarked(item) for item in value] if isinstance(value, list) else value


def _without_thinking(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": [block for block in content if block.get("type") not in _THINKING]}


def _saying(prompt: str, message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    kept = [block for block in content if block.get("type") != "text"] if isinstance(content, list) else []
    return {**message, "content": [*kept, {"type": "text", "text": prompt}]}
