"""One request body, in an order that keeps its beginning: model, tools, system, messages, then all that may vary."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from agentkit.messages import Block, encode

__all__ = ["MessageBytes", "Request"]

_SLAB_BYTES = 1 << 20  # httpx is slow on many small pieces, and joining all of them is quadratic over a run


@dataclass(frozen=True)
class Request:
    """What is sent with every turn of a run. Wrappers change it with `dataclasses.replace`.

    Attributes:
        model: Id of the model.
        max_tokens: Output tokens of one reply, thinking included.
        system: Text or text blocks.
        tools: Definitions of client and server tools, in wire shape, in a fixed order.
        stream: Whether the reply is streamed.
        params: Every other field of the body, in wire shape.
        betas: Names for the `anthropic-beta` header.
        headers: More headers.
    """

    model: str
    max_tokens: int
    system: str | Sequence[Block] | None = None
    tools: tuple[dict[str, Any], ...] = ()
    stream: bool = True
    params: Mapping[str, Any] = field(default_factory=dict, repr=False)  # an MCP server's token is in it
    betas: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @cached_property
    def _head(self) -> bytes:
        head: dict[str, Any] = {"model": self.model}
        if self.tools:
            head["tools"] = self.tools
        if self.system:
            head["system"] = self.system
        return encode(head)[:-1] + b',"messages":'

    def body_parts(self, messages: list[bytes], container: str | None) -> list[bytes]:
        """The body, in a few large parts.

        Args:
            messages: The JSON array of messages, in parts.
            container: Id of the container of this conversation, unless `params` name one.
        """
        rest: dict[str, Any] = {"max_tokens": self.max_tokens}
        if container:
            rest["container"] = container
        if self.stream:
            rest["stream"] = True
        rest.update(self.params)
        return [self._head, *messages, b"," + encode(rest)[1:]]


class MessageBytes:
    """The JSON array of messages as bytes that only grow; neighbours of one role share a message."""

    def __init__(self) -> None:
        self._slabs: list[bytes] = []
        self._tail: list[bytes] = []
        self._tail_size = 0
        self.size = 0
        self.role: str | None = None

    def add(self, role: str, content: bytes) -> None:
        """Adds encoded blocks, without the brackets around them."""
        if role == self.role:
            piece = b"," + content
        else:
            piece = (b"]}," if self.role else b"[") + b'{"role":' + encode(role) + b',"content":[' + content
        self.role = role
        self.size += len(piece)
        self._tail.append(piece)
        self._tail_size += len(piece)
        if self._tail_size >= _SLAB_BYTES:
            self._slabs.append(b"".join(self._tail))
            self._tail = []
            self._tail_size = 0

    def parts(self) -> list[bytes]:
        return [*self._slabs, b"".join([*self._tail, b"]}]" if self.role else b"[]"])]

    def branch(self) -> MessageBytes:
        twin = copy.copy(self)
        twin._slabs, twin._tail = self._slabs.copy(), self._tail.copy()
        return twin
