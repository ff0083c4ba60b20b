"""A reply as it goes out, whole or damaged, and the connection that may break under it."""

from __future__ import annotations

import math
import re
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import anyio

__all__ = ["CONNECTION", "App", "Delivery", "Receive", "Scope", "Send", "collected", "deliver"]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

CONNECTION = "agentkit.connection"
"""The extension in the scope of a request that holds the transport of its connection."""

_EVENT = re.compile(rb"(?s).+?(?:\n\n|\Z)")
_FLUSH = 0.001  # seconds between two looks at what is not sent yet
_AGAIN = 0.02  # seconds between two repetitions


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A reply, and how it goes out.

    Attributes:
        status: Of HTTP; None sends no head and no body.
        headers: Names in lower case. A `content-length` is put right where the reply ends cleanly.
        pieces: Of the body; each is sent at once: an event of a stream.
        raw: Written to the connection before anything else, as it is.
        delay: Seconds before that.
        pause: Seconds between the pieces.
        end: `clean`: the framing says that the reply is complete. `close`: the connection closes before that. `reset`:
            the same with RST. `silence`: nothing more comes until the client leaves.
        again: With `silence`: this comes again and again.
    """

    status: int | None = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()
    pieces: tuple[bytes, ...] = ()
    raw: bytes = b""
    delay: float = 0.0
    pause: float = 0.0
    end: Literal["clean", "close", "reset", "silence"] = "clean"
    again: bytes = b""

    @property
    def body(self) -> bytes:
        """All pieces."""
        return b"".join(self.pieces)

    @property
    def streamed(self) -> bool:
        """Whether it is an event stream."""
        return dict(self.headers).get(b"content-type", b"").startswith(b"text/event-stream")

    def framed(self) -> list[tuple[bytes, bytes]]:
        """Its headers as they are sent."""
        if self.end != "clean":
            return [*self.headers]
        length = b"%d" % sum(map(len, self.pieces))
        return [(name, length if name == b"content-length" else value) for name, value in self.headers]


async def collected(app: App, scope: Scope, body: bytes, receive: Receive) -> Delivery:
    """What an application answers to a request whose body was read before; a stream event by event."""
    status, pieces = 500, []
    headers: tuple[tuple[bytes, bytes], ...] = ()

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status = message["status"]
            headers = tuple((name.lower(), value) for name, value in message.get("headers", ()))
        elif piece := message.get("body"):
            pieces.append(piece)

    await app(scope, resent(body, receive), send)
    reply = Delivery(status=status, headers=headers, pieces=tuple(pieces))
    return replace(reply, pieces=tuple(_EVENT.findall(reply.body))) if reply.streamed else reply


def resent(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body which was read before, and then what comes after it."""
    waiting = [body]

    async def again() -> MutableMapping[str, Any]:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return again


async def deliver(delivery: Delivery, scope: Scope, receive: Receive, send: Send) -> bool:
    """Sends a reply until it is out, or the client has left; True if it ended cleanly."""
    if delivery.delay and await _left(receive, delivery.delay):
        return False
    if delivery.raw:
        _connection(scope).write(delivery.raw)
    if delivery.status is not None:
        await send({"type": "http.response.start", "status": delivery.status, "headers": delivery.framed()})
        for at, piece in enumerate(delivery.pieces):
            if at and delivery.pause and await _left(receive, delivery.pause):
                return False
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if delivery.end == "clean":
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return True
    if delivery.end == "silence":
        while not await _left(receive, _AGAIN if delivery.again else math.inf):
            await send({"type": "http.response.body", "body": delivery.again, "more_body": True})
    else:
        await _break(_connection(scope), receive, reset=delivery.end == "reset")
    return False


async def _break(connection: Any, receive: Receive, *, reset: bool) -> None:
    """Ends a connection, after what was written before has left."""
    while connection.get_write_buffer_size() and not await _left(receive, _FLUSH):
        pass
    if reset:
        # Without time to linger, closing a socket sends RST in place of FIN.
        connection.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.abort()
    else:
        connection.close()
    await _left(receive, math.inf)  # the server takes a reply that is not complete for a mistake until it knows


async def _left(receive: Receive, seconds: float) -> bool:
    """Whether the client leaves within some time."""
    with anyio.move_on_after(seconds):
        while (await receive())["type"] != "http.disconnect":
            pass
        return True
    return False


def _connection(scope: Scope) -> Any:
    return scope["extensions"][CONNECTION]
