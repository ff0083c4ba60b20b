"""What a script says: content blocks, replies of them, and errors.

A block is a dict as it is on the wire, so any other will do too. What only the API can know (ids, signatures, encrypted
fields, usage) may be left out: the emulator makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentkit.messages import Block

__all__ = [
    "ScriptedError",
    "ScriptedReply",
    "compaction",
    "error",
    "fallback",
    "from_code",
    "redacted_thinking",
    "reply",
    "server_result",
    "server_tool_use",
    "text",
    "thinking",
    "tool_use",
]

Events = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ScriptedReply:
    """What `reply` makes."""

    blocks: tuple[Block, ...]
    stop: str | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    events: Callable[[Events], Iterable[dict[str, Any]]] | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScriptedError:
    """What `error` makes."""

    status: int
    type: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


def reply(
    *blocks: Block | str,
    stop: str | None = None,
    usage: Mapping[str, Any] | None = None,
    events: Callable[[Events], Iterable[dict[str, Any]]] | None = None,
    **fields: Any,
) -> ScriptedReply:
    """One reply.

    Args:
        *blocks: Its content blocks; a string is a `text` block.
        stop: Its `stop_reason`. By default `tool_use` if it calls a client tool, else `pause_turn` if it leaves a
            server tool without result, else `end_turn`; `compaction` if that was asked for.
        usage: Counts of its `usage`; the others are estimated.
        events: Changes what is streamed: gets the list of wire events, and gives those that are sent. What it leaves
            out is missing: without `message_stop` the stream is cut off. The step then fits streamed requests only.
        **fields: More fields of the message, such as `stop_details`, `container` or `context_management`.

    Source: messages-api.md sections 5.2, 6 and 7.
    """
    content = tuple(text(block) if isinstance(block, str) else block for block in blocks)
    return ScriptedReply(content, stop, dict(usage or {}), events, fields)


def error(status: int, type: str, message: str, **headers: str) -> ScriptedError:  # noqa: A002
    """An error reply. Source: messages-api.md section 16.

    Args:
        status: The HTTP status, 400 to 599.
        type: The wire's `error.type`, such as `overloaded_error`.
        message: Its text.
        **headers: Of the reply; `retry_after="2"` is the header `retry-after`.
    """
    return ScriptedError(status, type, message, {name.replace("_", "-"): value for name, value in headers.items()})


def text(value: str, **fields: Any) -> Block:
    """A `text` block. `citations` of search results get their `encrypted_index`."""
    return {"type": "text", "text": value, **fields}


def thinking(value: str = "", **fields: Any) -> Block:
    """A `thinking` block. It is signed, and shown as far as model and request show thinking."""
    return {"type": "thinking", "thinking": value, **fields}


def redacted_thinking(**fields: Any) -> Block:
    """A `redacted_thinking` block; its `data` is made."""
    return {"type": "redacted_thinking", **fields}


def tool_use(name: str, /, *, id: str | None = None, **input: Any) -> Block:  # noqa: A002
    """A call of a client tool.

    Args:
        name: Of the tool.
        id: By default a new one.
        **input: The arguments. Put a string at `["input"]` of the block to stream JSON that is broken.
    """
    return {"type": "tool_use", **({"id": id} if id else {}), "name": name, "input": input}


def from_code(use: Block) -> Block:
    """A call of a client tool made by code: by the last `server_tool_use` before it. Source: messages-api.md 11."""
    return {**use, "caller": {"type": "code_execution_20260120"}}


def server_tool_use(name: str, /, *, id: str | None = None, **input: Any) -> Block:  # noqa: A002
    """A call of a server tool. Its result comes in this reply, or in the next."""
    return {"type": "server_tool_use", **({"id": id} if id else {}), "name": name, "input": input}


def server_result(content: Any, *, id: str | None = None, **fields: Any) -> Block:  # noqa: A002
    """The result of a server tool.

    Args:
        content: In wire shape. What follows from the tool may be left out: the `type`s, `encrypted_content`,
            `page_age`; for a tool search, a list of names will do.
        id: Of the call; by default the oldest that has no result, in this reply or before.
        **fields: More fields, such as `caller`.
    """
    return {"type": "", "content": content, **({"tool_use_id": id} if id else {}), **fields}


def compaction(content: str | None, **fields: Any) -> Block:
    """A `compaction` block, signed if the request asks for a summary; None is one that failed."""
    return {"type": "compaction", "content": content, **fields}


def fallback(declined: str, answers: str, **fields: Any) -> Block:
    """A `fallback` block: one model declined, and another goes on."""
    return {"type": "fallback", "from": {"model": declined}, "to": {"model": answers}, **fields}
