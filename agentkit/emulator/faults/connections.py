"""The rows T: connections that break, stall or drip."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from agentkit.emulator.faults.delivery import Delivery
from agentkit.emulator.faults.row import Answered, Damaged, Place, Row, Unmade, after_first_delta
from agentkit.emulator.faults.statuses import refusal
from agentkit.encode import sse

__all__ = ["ROWS"]

_BOMB = 34 << 20  # bytes; more than an event may have
_DRIP = 0.005  # seconds between two bytes
_LATE = 0.05  # seconds that a proxy keeps a stream
_COMMENT = b": alive\n\n"
_PING = sse({"type": "ping"})


def _cut(reply: Delivery, offset: int, **fields: Any) -> Delivery:
    """The first bytes of a reply, in the pieces that they came in."""
    kept, left = [], offset
    for piece in reply.pieces:
        kept.append(piece[:left])
        left = max(0, left - len(piece))
    return replace(reply, pieces=tuple(filter(None, kept)), **fields)


def _inside(more: int = 0, **fields: Any) -> Callable[[Delivery, Place], Delivery | None]:
    """Ends after the first piece of the content, or in the middle of a body of JSON."""

    def make(reply: Delivery, place: Place) -> Delivery | None:
        if place.event is not None and not reply.streamed:
            return None
        first = sum(map(len, reply.pieces[: after_first_delta(reply.pieces)])) + more
        return _cut(reply, place.offset(reply, first if reply.streamed else len(reply.body) // 2), **fields)

    return make


def _before(kind: bytes, missing: int = 0) -> Callable[[Delivery, Place], Delivery | None]:
    """Ends before the event of this type, or with it and without its `missing` last bytes."""

    def make(reply: Delivery, place: Place) -> Delivery | None:
        found = [at for at, piece in enumerate(reply.pieces) if piece.startswith(b"event: %b\n" % kind)]
        if not found:
            return None
        whole = reply.pieces[: found[-1] + (1 if missing else 0)]
        return _cut(reply, sum(map(len, whole)) - missing)

    return make


def _until_eof(reply: Delivery, place: Place) -> Delivery | None:
    cut = _inside()(reply, place)
    if cut is None:
        return None
    # Only without framing does the end of the connection end a reply, and a server of ASGI always frames.
    head = [b"HTTP/1.1 200 OK", *(b"%b: %b" % header for header in reply.headers if header[0] != b"content-length")]
    return Delivery(status=None, raw=b"\r\n".join([*head, b"connection: close", b"", cut.body]), end="close")


def _drip(reply: Delivery, place: Place) -> Delivery:
    return replace(reply, pieces=tuple(bytes([byte]) for byte in reply.body), pause=_DRIP)


def _dripping_refusal(asked: Any) -> Delivery:
    return _drip(refusal(429, "Slow down")(asked), Place())


@cache
def _bomb() -> bytes:
    return gzip.compress(b"data: " + bytes(_BOMB), 1)


def _gzipped(body: Callable[[], bytes]) -> Callable[[Delivery, Place], Delivery]:
    return lambda reply, place: replace(
        reply, headers=(*reply.headers, (b"content-encoding", b"gzip")), pieces=(body(),)
    )


def _silent(**fields: Any) -> Delivery:
    return Delivery(status=None, **fields)


def _both(name: str, about: str, make: Callable[[Delivery, Place], Delivery | None], alias: str = "") -> Damaged:
    return Damaged(name=name, alias=alias, about=about, make=make, places=("event", "byte"), passing=True)


def _whole(name: str, about: str, make: Callable[[Delivery, Place], Delivery | None]) -> Damaged:
    return Damaged(name=name, about=about, make=make, fits="whole", places=("byte",), passing=True)


def _stream(name: str, about: str, make: Callable[[Delivery, Place], Delivery | None], alias: str = "") -> Damaged:
    return Damaged(name=name, alias=alias, about=about, make=make, fits="stream", passing=True)


def _stalled(name: str, about: str, make: Callable[[Delivery, Place], Delivery | None], alias: str = "") -> Damaged:
    return Damaged(name=name, alias=alias, about=about, make=make, fits="stream", places=("event", "byte"))


ROWS: tuple[Row, ...] = (
    Unmade(
        name="T1", about="no connection", instead="a request that comes is connected; use a port where nobody listens"
    ),
    Unmade(name="T2", about="a name without address", instead="it is the client's; use http://nowhere.invalid"),
    Unmade(name="T3", about="TLS that fails", instead="the emulator speaks no TLS; use its port with https://"),
    Answered(
        name="T4",
        alias="no_reply",
        about="no byte comes until the client leaves",
        make=lambda asked: _silent(end="silence"),
    ),
    Answered(
        name="T5",
        alias="dropped",
        about="a reset (RST) before the reply",
        passing=True,
        make=lambda asked: _silent(end="reset"),
    ),
    Answered(
        name="T5-close",
        about="the connection closes before the reply",
        passing=True,
        make=lambda asked: _silent(end="close"),
    ),
    Answered(
        name="T5-headers",
        about="the connection closes inside the headers",
        passing=True,
        make=lambda asked: _silent(raw=b"HTTP/1.1 200 OK\r\ncontent-ty", end="close"),
    ),
    _whole("T5-body-reset", "a reset inside a reply that is not streamed", _inside(end="reset")),
    _whole("T5-body-close", "the connection closes inside such a reply", _inside(end="close")),
    _whole("T5-body-short", "such a reply is cut, and its length says that it is complete", _inside()),
    _both("T6", "a reset (RST) inside the reply", _inside(end="reset"), "reset"),
    _both("T6-close", "the connection closes inside the reply", _inside(end="close")),
    _both("T7", "the reply ends early, as if it were complete", _inside(), "cut"),
    _both("T7-eof", "the same, where only the end of the connection ends the reply", _until_eof),
    _both("T7-half-event", "the reply ends early, inside an event", _inside(30)),
    _stream("T7-nothing", "a stream without events", lambda reply, place: replace(reply, pieces=())),
    _stream("T8", "the stream ends before message_delta", _before(b"message_delta"), "cut_before_delta"),
    _stream("T9", "the stream ends before message_stop", _before(b"message_stop"), "cut_before_stop"),
    _stream("T9-half-stop", "the stream ends one byte too early", _before(b"message_stop", 1)),
    _stalled("T10", "a part of the reply, then only pings", _inside(end="silence", again=_PING), "pings_only"),
    _stalled("T10-comments", "a part of the reply, then only comments", _inside(end="silence", again=_COMMENT)),
    Damaged(
        name="T10-silence",
        alias="silence",
        about="a part of the reply, then nothing more",
        places=("event", "byte"),
        make=_inside(end="silence"),
    ),
    Damaged(name="T11", alias="slow", about="a byte each 5 ms", make=_drip),
    Answered(name="T11-error", about="429, a byte each 5 ms", make=_dripping_refusal),
    Damaged(
        name="T12",
        alias="buffered",
        about="all events at once, late",
        fits="stream",
        lost=False,
        make=lambda reply, place: replace(reply, pieces=(reply.body,), delay=_LATE),
    ),
    Unmade(
        name="T13", about="GOAWAY of HTTP/2", instead="the emulator speaks HTTP/1.1; use T5-close, which is its like"
    ),
    Unmade(name="T14", about="no connection is free", instead="it is the client's; give it few and hold them with T4*"),
    Unmade(name="T15", about="the clock jumps", instead="it is the client's machine's; replace its clock in your test"),
    Damaged(name="T16", alias="gzip_bomb", about="gzip that becomes 34 MB", make=_gzipped(_bomb)),
    Damaged(name="T16-broken", about="it says gzip, and is not", make=_gzipped(lambda: b"no gzip")),
)
