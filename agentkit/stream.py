"""Bytes → events → turn. Pure, linear in the bytes, and the same for any split of them.

`Decoder` reads server-sent events as the WHATWG says; `Fold` puts the events of one reply together. A turn
exists only once `message_stop` has come: `Fold.message` raises before that.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from agentkit.errors import APIError, ProtocolError, StreamTruncated, status_error

__all__ = ["MAX_EVENT_BYTES", "MAX_REPLY_BYTES", "Decoder", "Fold", "parse_json", "parse_message"]

MAX_EVENT_BYTES = 32 * 1024 * 1024
"""A fetched page or PDF comes whole in one event; more than this is no reply of the API."""
MAX_REPLY_BYTES = 256 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"
_D = ord("d")
_HUGE = re.compile(r"\d[eE]\+?\d{3}|\d{309}")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


@cache
def _from_json() -> Callable[..., Any]:
    # Loaded with the first reply: it is a third of what importing agentkit's names would cost.
    from pydantic_core import from_json

    return from_json


def parse_json(data: bytes | str) -> Any:
    """Strict JSON: no NaN, integers exact, nesting bounded.

    Raises:
        ValueError: It is not JSON.
    """
    raw = data.encode() if isinstance(data, str) else data
    try:
        return _from_json()(raw, allow_inf_nan=False)
    except ValueError:
        # A lone surrogate escape is valid JSON that the faster parser refuses; it judges the rest.
        if not _SURROGATE.search(raw):
            raise
        _from_json()(_SURROGATE.sub(rb"\\u0020", raw), allow_inf_nan=False)
        return json.loads(raw)


class Decoder:
    """Server-sent events from bytes.

    Args:
        max_event_bytes: A longer event is an error.
        max_bytes: A longer stream is an error.
    """

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES, max_bytes: int = MAX_REPLY_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._max_bytes = max_bytes
        self._seen_bytes = 0
        self._data: list[bytes] = []  # lines of the event that has not ended yet
        self._pieces: list[bytes] = []  # of the line that has not ended yet
        self._size = 0  # bytes of that event so far
        self._after_cr = False
        self._start: bytes | None = b""  # until a byte order mark is ruled out

    def feed(self, chunk: bytes) -> list[bytes]:
        """The `data` of each event that `chunk` completes, in order. Names are left out: the data has the `type`.

        Raises:
            ProtocolError: The event or the stream is too long.
        """
        self._seen_bytes += len(chunk)
        if self._seen_bytes > self._max_bytes:
            raise ProtocolError(f"the reply is longer than {self._max_bytes} bytes", retryable=False)
        if self._start is not None:
            chunk = self._without_bom(self._start + chunk)
        if self._after_cr or 13 in chunk:
            chunk = self._with_line_feeds(chunk)
        lines = chunk.split(b"\n")
        if self._size + len(chunk) > self._max_event_bytes:
            self._refuse_long(lines)
        rest = lines.pop()
        if lines and self._pieces:
            lines[0] = self._joined(lines[0])
        ended: list[bytes] = []
        data = self._data
        for line in lines:
            if not line:
                if data:
                    ended.append(data[0] if len(data) == 1 else b"\n".join(data))
                    data.clear()
            elif line[0] == _D:  # looked at first: two of three lines are not data
                if line.startswith(b"data: "):
                    data.append(line[6:])
                elif line.startswith(b"data:") or line == b"data":
                    data.append(line[5:])
        if rest:
            self._pieces.append(rest)
        # Where no event ended inside the chunk, one may have ended with its first byte.
        has_end = b"" in lines
        self._size = len(chunk) - (chunk.rfind(b"\n\n") + 2) if has_end else self._size + len(chunk)
        return ended if all(ended) else [event for event in ended if event]

    def _joined(self, last: bytes) -> bytes:
        line = b"".join([*self._pieces, last])
        self._pieces.clear()
        return line

    def _refuse_long(self, lines: list[bytes]) -> None:
        size, is_open = self._size, bool(self._pieces)
        for line in lines:
            if line and size + len(line) > self._max_event_bytes:
                raise ProtocolError(f"an event is longer than {self._max_event_bytes} bytes", retryable=False)
            size = size + len(line) + 1 if line or is_open else 0
            is_open = False

    def _without_bom(self, start: bytes) -> bytes:
        if len(start) < 3 and _BOM.startswith(start):
            self._start = start
            return b""
        self._start = None
        return start.removeprefix(_BOM)

    def _with_line_feeds(self, chunk: bytes) -> bytes:
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return chunk


# The key that holds what a delta adds to its block, by the type of the delta. Source: messages-api.md section 8.
_APPENDED = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "input_json_delta": "partial_json",
    "citations_delta": "citation",
}
# Only these may leave a block open (recorded: the SDK's incomplete_partial_json_response.txt).
_CUT = ("max_tokens", "model_context_window_exceeded")


class Fold:
    """The events of one reply, put together.

    `add` takes the data of one event and returns it parsed, None where there is nothing to it. After
    `content_block_stop`, `blocks[index]` is complete; after `message_stop`, `message` is.
    """

    def __init__(self) -> None:
        self.blocks: list[dict[str, Any]] = []
        self.done = False
        self._message: dict[str, Any] | None = None
        self._open: dict[int, dict[str, list[Any]]] = {}  # what was added to each key of a block, by block
        self._count = 0

    def add(self, data: bytes) -> dict[str, Any] | None:
        """Takes one event.

        Raises:
            ProtocolError: The events make no message.
            APIStatusError: It was an `error` event.
        """
        self._count += 1
        if data == b"[DONE]":  # some gateways close with OpenAI's mark
            return None
        try:
            event = parse_json(data)
            kind = event["type"]
            fold = _FOLDS.get(kind)
            if fold:
                fold(self, event)
        except APIError:
            raise
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ProtocolError(f"event {self._count} of the stream is broken: {_short(error)}") from None
        return event  # type: ignore[no-any-return]

    @property
    def message(self) -> dict[str, Any]:
        """The whole message as it came.

        Raises:
            StreamTruncated: `message_stop` has not come.
        """
        if not self.done or self._message is None:
            raise StreamTruncated(f"the stream ended after {self._count} events, before message_stop")
        return _with_distinct_calls(self._message)

    def _on_message_start(self, event: dict[str, Any]) -> None:
        if self._message is not None:
            raise ProtocolError(f"event {self._count} of the stream starts a second message")
        message = event["message"]
        # Empty, but for a call from code that goes on: that reply has its tool_use here already, and no block events.
        self.blocks.extend({**block} for block in message.get("content") or ())
        self._message = {**message, "content": self.blocks}

    def _on_block_start(self, event: dict[str, Any]) -> None:
        if self._message is None or event["index"] != len(self.blocks):
            raise ProtocolError(f"event {self._count} of the stream starts block {event['index']} out of order")
        self.blocks.append({**event["content_block"]})
        self._open[event["index"]] = {}

    def _on_delta(self, event: dict[str, Any]) -> None:
        pieces = self._open.get(event["index"])
        if pieces is None:
            raise ProtocolError(f"event {self._count} of the stream belongs to no open block")
        delta = event["delta"]
        if key := _APPENDED.get(delta["type"]):
            pieces.setdefault(key, []).append(delta[key])
        else:
            _merge(self.blocks[event["index"]], pieces, delta)

    def _on_block_stop(self, event: dict[str, Any]) -> None:
        if event["index"] not in self._open:
            raise ProtocolError(f"event {self._count} of the stream ends a block that is not open")
        self._close(event["index"])

    def _close(self, index: int) -> None:
        block = self.blocks[index]
        for key, pieces in self._open.pop(index).items():
            if key == "citation":
                block["citations"] = [*(block.get("citations") or ()), *pieces]
            elif key != "partial_json":
                block[key] = (block.get(key) or "") + "".join(pieces)
            elif text := "".join(pieces):
                block["input"] = _input_of(text)
        if block["type"].endswith("tool_use"):
            block.setdefault("input", {})

    def _on_message_delta(self, event: dict[str, Any]) -> None:
        if self._message is None:
            raise ProtocolError(f"event {self._count} of the stream comes before message_start")
        usage = self._message.get("usage") or {}
        known = {name: value for name, value in (event.get("usage") or {}).items() if value is not None}
        self._message["usage"] = {**usage, **known}
        self._message.update(event["delta"])
        self._message.update({name: event[name] for name in event.keys() - {"type", "delta", "usage"}})

    def _on_message_stop(self, event: dict[str, Any]) -> None:
        if self._message is None or (self._open and self._message.get("stop_reason") not in _CUT):
            raise ProtocolError(f"event {self._count} of the stream ends the message too early")
        for index in [*self._open]:
            self._close(index)
        self.done = True

    def _on_error(self, event: dict[str, Any]) -> None:
        raise status_error(200, event)


_FOLDS = {
    "message_start": Fold._on_message_start,
    "content_block_start": Fold._on_block_start,
    "content_block_delta": Fold._on_delta,
    "content_block_stop": Fold._on_block_stop,
    "message_delta": Fold._on_message_delta,
    "message_stop": Fold._on_message_stop,
    "error": Fold._on_error,
}


def _merge(block: dict[str, Any], pieces: dict[str, list[Any]], delta: dict[str, Any]) -> None:
    """What a delta without a rule of its own adds (`signature_delta`, `compaction_delta`, future ones)."""
    for key, value in delta.items():
        if key == "type":
            continue
        if isinstance(value, str) and isinstance(block.get(key) or "", str):
            pieces.setdefault(key, []).append(value)
        else:
            block[key] = value


def _input_of(text: str) -> Any:
    """The input of a call; what is no JSON stays text, so that nothing can take it for a finished input."""
    try:
        if _HUGE.search(text):
            json.loads(text, parse_float=_finite)
        return parse_json(text)
    except (ValueError, RecursionError):
        return text


def _finite(number: str) -> float:
    """A number out of the range of floats would be read as infinity, which can't be sent back."""
    if math.isinf(value := float(number)):
        raise ValueError(f"{number} is out of range")
    return value


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]


def parse_message(body: bytes) -> dict[str, Any]:
    """The message of a reply that was not streamed.

    Raises:
        ProtocolError: It is no message.
        APIStatusError: It is an error, which some gateways send with status 200.
    """
    try:
        message = parse_json(body)
    except ValueError as error:
        raise ProtocolError(f"the reply is no JSON: {_short(error)}") from None
    content = message.get("content") if isinstance(message, dict) else None
    if content is None and isinstance(message, dict) and message.get("error"):
        raise status_error(200, message)
    if not isinstance(content, list) or not all(
        isinstance(b, dict) and isinstance(b.get("type"), str) for b in content
    ):
        raise ProtocolError("the reply is JSON, but no message")
    return _with_distinct_calls(message)


_CALL_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


def _with_distinct_calls(message: dict[str, Any]) -> dict[str, Any]:
    """Each call needs an id of its own, or its result could not be told from another's."""
    ids = [block.get("id") for block in message["content"] if block.get("type") == "tool_use"]
    for id_ in ids:
        if not isinstance(id_, str) or not _CALL_ID.fullmatch(id_):
            raise ProtocolError(f"the reply has a tool_use with the id {id_!r}")
    if len(set(ids)) != len(ids):
        raise ProtocolError("the reply has two tool_use blocks with one id")
    return message
