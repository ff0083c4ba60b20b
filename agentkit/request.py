"""One request body, in an order that keeps its beginning: model, tools, system, messages, then all that may vary.

Cache marks are spliced in when the body is put together. The bytes of the messages hold none of ours, so they stay the
same from request to request wherever the marks go.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

from agentkit.messages import Block, encode

__all__ = ["Marks", "MessageBytes", "Place", "Request", "can_carry", "marks_in"]

_SLAB_BYTES = 1 << 20  # httpx is slow on many small pieces, and joining all of them is quadratic over a run
_LOOK_BACK = 20  # blocks, the marked one included, in which the API looks for what it has. Source: section 17
_MARK = {"type": "ephemeral"}
_LONG_MARK = {**_MARK, "ttl": "1h"}
_SPLICE = b',"cache_control":' + encode(_MARK)

# Besides text that is not blank and results of server tools. Source: messages-api.md sections 5 and 17.
_CARRIERS = {
    "container_upload",
    "document",
    "image",
    "mcp_tool_use",
    "search_result",
    "server_tool_use",
    "tool_result",
    "tool_use",
}


def can_carry(block: Mapping[str, Any]) -> bool:
    """Whether a cache mark may be on this content block. Of unknown types that is not known, so they carry none."""
    kind = str(block.get("type"))
    if kind == "text":
        return bool(str(block.get("text") or "").strip())
    return kind in _CARRIERS or kind.endswith("_tool_result")


def marks_in(blocks: Any) -> Iterator[dict[str, Any]]:
    """The cache marks in content blocks or tools, those inside the results of tools too."""
    for block in blocks if isinstance(blocks, list | tuple) else ():
        if isinstance(block, dict):
            if block.get("type") == "tool_result":
                yield from marks_in(block.get("content"))
            if isinstance(block.get("cache_control"), dict):
                yield block["cache_control"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a mark can be spliced into the messages.

    Attributes:
        offset: In their bytes.
        blocks: Content blocks up to there, the one to be marked included.
        is_taken: Whether the user has marked that block.
    """

    offset: int
    blocks: int
    is_taken: bool


class _Spread(NamedTuple):
    """What is marked in one request: by the API, by us at these offsets of the messages, by us before them."""

    automatic: bool
    offsets: list[int]
    stable: int


@dataclass(frozen=True, slots=True)
class Marks:
    """How a request is marked for the prompt cache: `agentkit.cache.plan` makes it.

    Attributes:
        room: Marks that fit beside those of the user's in tools, system and params.
        newest: What marks the newest turn: `automatic` is a field of the body that the API moves along, `explicit` is a
            mark of ours, `user` is that field set by the user.
        stable: What else may be marked, in order of importance: places in tools and system, counted over both.
        long: Whether that is kept for an hour.
    """

    room: int
    newest: Literal["automatic", "explicit", "user"]
    stable: tuple[int, ...] = ()
    long: bool = False

    def spread(self, messages: MessageBytes) -> _Spread:
        """What is marked with these messages. No mark of ours comes before an hour's of the user's: the API's rule."""
        room = self.room - messages.marks
        newest, before, end = messages.newest, messages.before, messages.blocks
        offsets: list[int] = []
        automatic = False
        if room > 0 and newest and not newest.is_taken and self.newest != "user":
            automatic = self.newest == "automatic"
            if not automatic and newest.blocks >= messages.long_until:
                offsets.append(newest.offset)
            room -= automatic or len(offsets)
        if room > 0 and before and end - before.blocks >= _LOOK_BACK and before.offset not in offsets:
            found = not before.is_taken and before.blocks >= messages.long_until
            offsets[:0] = [before.offset] if found else []
            room -= found
        stable = 0 if messages.long_until and not self.long else min(max(room, 0), len(self.stable))
        return _Spread(automatic, offsets, stable)


_HIDDEN = {"url": "https://to-come.invalid", "authorization_token": "to-come"}


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
        cache: Which cache marks are added to those of the user's; None adds none.
    """

    model: str
    max_tokens: int
    system: str | Sequence[Block] | None = None
    tools: tuple[dict[str, Any], ...] = ()
    stream: bool = True
    params: Mapping[str, Any] = field(default_factory=dict, repr=False)  # an MCP server's token is in it
    betas: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    cache: Marks | None = None

    def kept(self) -> dict[str, Any]:
        """What a log keeps of it, as JSON: neither headers, nor addresses and tokens of MCP servers."""
        params = dict(self.params)
        if isinstance(servers := params.get("mcp_servers"), list):
            params["mcp_servers"] = [{**server, **_HIDDEN} for server in servers if isinstance(server, dict)]
        fields = {
            "max_tokens": self.max_tokens,
            "system": self.system,
            "tools": list(self.tools),
            "stream": self.stream,
        }
        return {**fields, "params": params, "betas": list(self.betas)}

    @classmethod
    def recalled(cls, model: str, kept: Mapping[str, Any]) -> Request:
        """The request that a log kept, as `kept` gave it."""
        return cls(model, **{**kept, "tools": tuple(kept["tools"]), "betas": tuple(kept["betas"])})

    @cached_property
    def _heads(self) -> dict[int, bytes]:
        return {}

    def _head(self, marked: int) -> bytes:
        """The body up to the messages, with so many of the stable marks; each of the few forms is encoded once."""
        if marked not in self._heads:
            tools, system, cache = list(self.tools), self.system, self.cache or Marks(0, "user")
            if isinstance(system, str) and any(at >= len(tools) for at in cache.stable):
                system = [{"type": "text", "text": system}]  # in every request, so that all begin alike
            blocks = [*tools, *system] if isinstance(system, list | tuple) else tools
            for at in cache.stable[:marked]:
                blocks[at] = {**blocks[at], "cache_control": _LONG_MARK if cache.long else _MARK}
            head: dict[str, Any] = {"model": self.model}
            if tools:
                head["tools"] = blocks[: len(tools)]
            if system:
                head["system"] = blocks[len(tools) :] if isinstance(system, list | tuple) else system
            self._heads[marked] = encode(head)[:-1] + b',"messages":'
        return self._heads[marked]

    def body_parts(self, messages: MessageBytes | list[bytes], container: str | None) -> list[bytes]:
        """The body, in a few large parts.

        Args:
            messages: The messages; or the JSON array of them in parts, which gets no marks.
            container: Id of the container of this conversation, unless `params` name one.
        """
        listed = messages if isinstance(messages, MessageBytes) else MessageBytes()
        spread = self.cache.spread(listed) if self.cache else _Spread(False, [], 0)
        rest: dict[str, Any] = {"max_tokens": self.max_tokens}
        if container:
            rest["container"] = container
        if self.stream:
            rest["stream"] = True
        if spread.automatic:
            rest["cache_control"] = _MARK
        rest.update(self.params)
        if container and isinstance(rest["container"], dict):  # skills of the user's, in the container that there is
            rest["container"] = {"id": container, **rest["container"]}
        parts = messages if isinstance(messages, list) else messages.parts(spread.offsets)
        return [self._head(spread.stable), *parts, b"," + encode(rest)[1:]]


class MessageBytes:
    """The JSON array of messages as bytes that only grow; neighbours of one role share a message.

    Attributes:
        size: Bytes so far, without the brackets that close it.
        role: Of the last message.
        blocks: Content blocks so far.
        marks: Cache marks of the user's so far.
        long_until: The last block, counted from 1, that the user wants cached for an hour; 0: none.
        newest: Where the next request is marked.
        before: Where the request was marked that the last model turn answers.
    """

    def __init__(self) -> None:
        self.size = 0
        self.role: str | None = None
        self.blocks = 0
        self.marks = 0
        self.long_until = 0
        self.newest: Place | None = None
        self.before: Place | None = None
        self._after_model = 0
        self._slabs: list[bytes] = []
        self._tail: list[bytes] = []
        self._sealed = 0  # bytes in slabs

    def add(self, role: str, content: list[Block]) -> None:
        """Adds content blocks."""
        count = _carried(role, content)
        head = encode(content[:count])[1:-1] if count else b""
        rest = encode(content[count:])[1:-1] if count < len(content) else b""
        if role == "assistant":
            self.before = self.newest
        opening = self._open(role)
        self._count_marks(content)
        if count:
            self._append(opening + head[:-1])
            self.newest = Place(self.size, self.blocks + count, "cache_control" in content[count - 1])
            self._append(b"}," + rest if rest else b"}")
        else:
            self._append(opening + rest)
        self.blocks += len(content)
        if self.size - self._sealed >= _SLAB_BYTES:
            self._seal()

    def parts(self, marked: Iterable[int] = ()) -> list[bytes]:
        """The array, in a few large parts.

        Args:
            marked: Offsets of places that are marked, in rising order.
        """
        slabs, tail = self._slabs.copy(), self._tail.copy()
        for offset in marked:
            self._splice(slabs, tail, offset)
        return [*slabs, b"".join([*tail, b"]}]" if self.role else b"[]"])]

    def parts_since_model(self) -> list[bytes] | None:
        """The array of the messages after the last model turn alone; None if there are none."""
        if self.role == "assistant":
            return None
        if not self._after_model:
            return self.parts()
        pieces, at = [b"]}]"], self.size
        for piece in reversed([*self._slabs, *self._tail]):
            if at == self._after_model:
                break
            pieces.append(piece)
            at -= len(piece)
        return [b"".join([b"[", *reversed(pieces)])]

    def branch(self) -> MessageBytes:
        """Messages of their own that begin as these are; slabs are shared."""
        twin = copy.copy(self)
        twin._slabs, twin._tail = self._slabs.copy(), self._tail.copy()
        return twin

    def _open(self, role: str) -> bytes:
        if role == self.role:
            return b","
        if self.role == "assistant":
            self._append(b"]},")
            self._after_model = self.size
            opening = b""
        else:
            opening = b"]}," if self.role else b"["
        self.role = role
        return opening + b'{"role":' + encode(role) + b',"content":['

    def _count_marks(self, content: list[Block]) -> None:
        for at, block in enumerate(content, self.blocks + 1):
            if "cache_control" in block or block.get("type") == "tool_result":
                for mark in marks_in((block,)):
                    self.marks += 1
                    self.long_until = at if mark.get("ttl") == "1h" else self.long_until

    def _append(self, piece: bytes) -> None:
        self._tail.append(piece)
        self.size += len(piece)

    def _seal(self) -> None:
        """Joins what is old. No slab reaches over a place that is in use, so that a mark never cuts one."""
        while self._sealed < self.size:
            places = [place.offset for place in (self.before, self.newest) if place]
            cut = min((at for at in (*places, self._after_model) if at > self._sealed), default=self.size)
            if cut - self._sealed < _SLAB_BYTES and self.size - self._sealed < 2 * _SLAB_BYTES:
                return
            count, at = 0, self._sealed
            while at < cut:
                at += len(self._tail[count])
                count += 1
            self._slabs.append(b"".join(self._tail[:count]))
            del self._tail[:count]
            self._sealed = cut

    def _splice(self, slabs: list[bytes], tail: list[bytes], offset: int) -> None:
        at = self.size
        for pieces in (tail, slabs):
            for index in range(len(pieces), 0, -1):
                if at == offset:
                    pieces.insert(index, _SPLICE)
                    return
                at -= len(pieces[index - 1])


def _carried(role: str, content: list[Block]) -> int:
    """How many blocks there are up to the one that can carry a mark. Of a model turn that can only be the last."""
    count = len(content)
    while count and not can_carry(content[count - 1]):
        count = 0 if role == "assistant" else count - 1
    return count
