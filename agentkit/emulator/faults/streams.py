"""The rows S1 to S14 that are about events: some are wrong, and some only look so."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from agentkit.emulator.faults.delivery import Delivery
from agentkit.emulator.faults.row import Damaged, Place, Row
from agentkit.encode import sse

__all__ = ["ROWS"]

_GIANT = 33 << 20  # bytes; more than an event may have
_NEST = b"[" * 10_000 + b"]" * 10_000

Change = Callable[[Delivery, Place], Delivery | None]


def _insert(made: Callable[[], bytes]) -> Change:
    def make(reply: Delivery, place: Place) -> Delivery:
        at = place.index(reply.pieces)
        return replace(reply, pieces=(*reply.pieces[:at], made(), *reply.pieces[at:]))

    return make


def _event(event: dict[str, Any]) -> Change:
    return _insert(lambda: sse(event))


def _data(raw: bytes) -> Change:
    # Some clients skip events without a name.
    return _insert(lambda: b"event: content_block_delta\ndata: %b\n\n" % raw)


def _error(kind: str, message: Any = "broke down") -> Change:
    return _event({"type": "error", "error": {"type": kind, "message": message}})


def _delta(index: object, delta: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": delta or {"type": "text_delta", "text": "x"}}


def _each(change: Callable[[bytes], bytes]) -> Change:
    return lambda reply, place: replace(reply, pieces=tuple(map(change, reply.pieces)))


def _split(size: int) -> Change:
    def make(reply: Delivery, place: Place) -> Delivery:
        body = reply.body
        return replace(reply, pieces=tuple(body[at : at + size] for at in range(0, len(body), size)))

    return make


def _first(reply: Delivery, kind: str) -> int | None:
    found = (at for at, piece in enumerate(reply.pieces) if piece.startswith(b"event: %b\n" % kind.encode()))
    return next(found, None)


def _after(kind: str, event: dict[str, Any]) -> Change:
    """An event right after the first one of a type."""

    def make(reply: Delivery, place: Place) -> Delivery | None:
        at = _first(reply, kind)
        return None if at is None else _put(reply, at + 1, sse(event))

    return make


def _put(reply: Delivery, at: int, *pieces: bytes) -> Delivery:
    return replace(reply, pieces=(*reply.pieces[:at], *pieces, *reply.pieces[at:]))


def _twice(kind: str) -> Change:
    def make(reply: Delivery, place: Place) -> Delivery | None:
        at = _first(reply, kind)
        return None if at is None else _put(reply, at, reply.pieces[at])

    return make


def _left_open(reply: Delivery, place: Place) -> Delivery | None:
    kept = tuple(piece for piece in reply.pieces if not piece.startswith(b"event: content_block_stop\n"))
    return replace(reply, pieces=kept) if len(kept) < len(reply.pieces) else None


def _in_json(reply: Delivery, more: bytes) -> Delivery:
    """A body of JSON with one more member, or what stands in its place."""
    return replace(reply, pieces=(b"%b,%b}" % (reply.body.rstrip()[:-1], more),))


def _any(streamed: Change, member: bytes) -> Change:
    return lambda reply, place: streamed(reply, place) if reply.streamed else _in_json(reply, member)


def _spoiled(name: str, about: str, make: Change, alias: str = "", **fields: Any) -> Damaged:
    """One that happens at an event."""
    given = {"fits": "stream", "places": ("event",), "passing": True, **fields}
    return Damaged(name=name, alias=alias, about=about, make=make, **given)


def _fixed(name: str, about: str, make: Change, alias: str = "") -> Damaged:
    """One that happens where it must."""
    return _spoiled(name, about, make, alias, places=())


def _harmless(name: str, about: str, make: Change, alias: str = "", **fields: Any) -> Damaged:
    """One that a client must take."""
    return _spoiled(name, about, make, alias, **{"lost": False, "places": (), "passing": True, **fields})


def _without(kind: str) -> Change:
    def make(reply: Delivery, place: Place) -> Delivery | None:
        at = _first(reply, kind)
        return None if at is None else replace(reply, pieces=reply.pieces[:at] + reply.pieces[at + 1 :])

    return make


def _again(reply: Delivery, place: Place) -> Delivery:
    return _put(reply, len(reply.pieces) - 1, *reply.pieces[:-1])


def _ended(mark: bytes) -> Change:
    return lambda reply, place: replace(reply, pieces=(*reply.pieces, mark))


def _started(mark: bytes) -> Change:
    return lambda reply, place: replace(reply, pieces=(mark, *reply.pieces))


def _with_fields(piece: bytes) -> bytes:
    return b": hello\n\nid: 7\nretry: 5\nnonsense\n:x\n" + piece


def _without_name(piece: bytes) -> bytes:
    return piece[piece.index(b"\n") + 1 :]


def _usage_falls(reply: Delivery, place: Place) -> Delivery | None:
    at = _first(reply, "message_delta")
    if at is None:
        return None
    fallen = re.sub(rb'"output_tokens":\d+', b'"output_tokens":0', reply.pieces[at])
    return replace(reply, pieces=(*reply.pieces[:at], fallen, *reply.pieces[at + 1 :]))


_NEW_START = {"type": "content_block_start", "index": 99, "content_block": {"type": "text", "text": ""}}
_ERRORS: tuple[Row, ...] = (
    _spoiled("S1", "an error event: overloaded_error", _error("overloaded_error"), "error_event"),
    _spoiled("S1-rate", "an error event: rate_limit_error", _error("rate_limit_error")),
    _spoiled("S1-api", "an error event: api_error", _error("api_error")),
    _spoiled("S1-timeout", "an error event: timeout_error", _error("timeout_error")),
    _spoiled("S1-request", "an error event: invalid_request_error", _error("invalid_request_error"), passing=False),
    _spoiled("S1-key", "an error event: authentication_error", _error("authentication_error"), passing=False),
    _spoiled("S2", "an error event of an unknown type", _error("fault_error"), "unknown_error", passing=False),
    _spoiled(
        "S2-shape",
        "an error event of an unknown shape",
        _event({"type": "error", "error": "out of order"}),
        passing=False,
    ),
    _spoiled("S2-text", "an error event without JSON", _insert(lambda: b"event: error\ndata: upstream failed\n\n")),
    _harmless(
        "S3",
        "an event of an unknown type",
        _event({"type": "fault_event", "x": [1, None]}),
        "unknown_event",
        places=("event",),
    ),
    _harmless(
        "S5",
        "a delta of an unknown type",
        _after("content_block_start", _delta(0, {"type": "fault_delta"})),
        "unknown_delta",
    ),
)
_ORDER: tuple[Row, ...] = (
    _fixed("S7", "a second message_start", _twice("message_start"), "second_start"),
    _fixed("S7-late", "no message_start", _without("message_start")),
    _spoiled("S8", "a delta for a block that was never begun", _event(_delta(99)), "lost_index"),
    _fixed("S8-closed", "a delta for a block that has ended", _after("content_block_stop", _delta(0))),
    _spoiled("S8-gap", "a block whose index leaves some out", _event(_NEW_START)),
    _spoiled("S8-stop", "the end of a block that was never begun", _event({"type": "content_block_stop", "index": 99})),
    _fixed("S8-open", "blocks that never end", _left_open),
    _spoiled("S8-index", "an index that is no number", _event(_delta("0"))),
    _fixed("S9", "the start of a block comes twice", _twice("content_block_start"), "repeated"),
    _fixed("S9-all", "all events come twice", _again),
)
_BYTES: tuple[Row, ...] = (
    _spoiled(
        "S10", "bytes that are no UTF-8", _any(_data(b'{"type":"x","y":"\xff"}'), b'"y":"\xff"'), "bad_utf8", fits="any"
    ),
    _harmless("S11", "a byte order mark", _started(b"\xef\xbb\xbf"), "bom"),
    _harmless("S11-crlf", "lines end with CR LF", _each(lambda piece: piece.replace(b"\n", b"\r\n"))),
    _harmless("S11-cr", "lines end with CR", _each(lambda piece: piece.replace(b"\n", b"\r"))),
    _harmless("S11-fields", "comments and other fields of event streams", _each(_with_fields)),
    _harmless("S11-no-names", "events without `event:`", _each(_without_name)),
    _harmless("S11-no-space", "no space after the colon", _each(lambda piece: piece.replace(b": ", b":", 2))),
    _harmless("S11-done", "`data: [DONE]` at the end, as OpenAI does", _ended(b"data: [DONE]\n\n")),
    _harmless("S11-bytes", "each byte is a chunk", _split(1), "bytes", fits="any"),
    _harmless("S11-split", "chunks of 7 bytes", _split(7), fits="any"),
    _spoiled(
        "S12",
        "an event of 33 MB",
        _insert(lambda: b'data: {"type":"' + b"x" * _GIANT + b'"}\n\n'),
        "giant_event",
        passing=False,
    ),
    _spoiled("S13", "JSON that is cut", _any(_data(b'{"type":'), b'"y":'), "bad_json", fits="any"),
    _spoiled("S13-no-object", "an event that is a number", _data(b"7")),
    _spoiled("S13-no-type", "an event without type", _data(b"{}")),
    _spoiled("S14", "JSON with NaN", _any(_data(b'{"type":"x","y":NaN}'), b'"y":NaN'), "nan", fits="any"),
    _spoiled(
        "S14-deep",
        "JSON 10,000 levels deep",
        _any(_data(b'{"type":"x","y":' + _NEST + b"}"), b'"y":' + _NEST),
        fits="any",
    ),
    _harmless(
        "S14-numbers",
        "an unknown event with numbers of 40 digits",
        _event({"type": "fault_event", "x": 10**40 + 1}),
        places=("event",),
    ),
)
ROWS = (
    *_ERRORS,
    *_ORDER,
    *_BYTES,
    _harmless("S28-less", "usage that goes down", _usage_falls),
)
