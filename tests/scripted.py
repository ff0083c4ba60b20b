"""A real HTTP/1.1 server on loopback that plays a script, so that no test needs a mock.

    with ScriptedServer([reply(tool_use("add", a=1, b=2)), reply(text("3"))]) as server:
        ...                                     # run the client under test against server.url
        server.assert_done()
    assert server.requests[1].json["messages"][-1]["role"] == "user"

A script is a list with one item a request, or one function for all. An item is a message (sent as the request asks:
an event stream or JSON), `Sse`, `Json`, `Raw` or `Drop`, or a function of the request that returns one of these.
A request that the script does not foresee gets a 500 and makes leaving the `with` block fail. Threads and plain
sockets, so the client may run on asyncio, on trio or without either.
"""

from __future__ import annotations

import http.client
import itertools
import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, BinaryIO, Literal, TypeAlias

from agentkit.encode import events, sse

Message: TypeAlias = dict[str, Any]
Piece: TypeAlias = "bytes | threading.Event"
End: TypeAlias = Literal["clean", "eof", "close", "reset", "stall", "pings"]
"""How a reply ends after its last byte.

clean: its framing says that it is complete, also where it was cut. eof: it has no framing, the end of the connection
ends it. close: the connection closes before the framing says so. reset: the same with RST. stall: nothing more
comes. pings: only `ping` events come, for ever.
"""


def text(value: str, **fields: Any) -> dict[str, Any]:
    """A text block."""
    return {"type": "text", "text": value, **fields}


def thinking(value: str, signature: str = "EqQBCg==") -> dict[str, Any]:
    """A thinking block."""
    return {"type": "thinking", "thinking": value, "signature": signature}


def tool_use(name: str, /, *, id: str = "toolu_1", **input: Any) -> dict[str, Any]:  # noqa: A002
    """A call of a client tool; keyword arguments are its input."""
    return {"type": "tool_use", "id": id, "name": name, "input": input}


def server_tool_use(name: str, /, *, id: str = "srvtoolu_1", **input: Any) -> dict[str, Any]:  # noqa: A002
    """A call of a server tool; keyword arguments are its input."""
    return {"type": "server_tool_use", "id": id, "name": name, "input": input}


def reply(
    *content: dict[str, Any], stop: str | None = None, usage: Mapping[str, Any] | None = None, **fields: Any
) -> Message:
    """An assistant message; it stops for `tool_use` if it has such a block, else for `end_turn`, or as told."""
    calls = any(block["type"] == "tool_use" for block in content)
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-6",
        "content": list(content),
        "stop_reason": stop or ("tool_use" if calls else "end_turn"),
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5} | dict(usage or {}),
        **fields,
    }


@dataclass(frozen=True, kw_only=True)
class _Delivery:
    """The ways in which a reply can arrive badly.

    Attributes:
        delay: Before the first byte of the reply: seconds, or a `threading.Event` to wait for.
        pause: Seconds after each chunk of the body.
        chunk: Bytes in each chunk; None leaves an event, or the body, whole.
        cut: Only so many bytes of the body are sent.
        end: How it ends.
    """

    delay: float | threading.Event = 0.0
    pause: float = 0.0
    chunk: int | None = None
    cut: int | None = None
    end: End = "clean"


@dataclass(frozen=True)
class Sse(_Delivery):
    """An event stream: of a message, or of a list of events.

    Bytes in the list go out as they are. A `threading.Event` in it is waited for before what follows it is sent.
    """

    content: Message | Sequence[object]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Json(_Delivery):
    """Any value as JSON."""

    content: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Raw(_Delivery):
    """Any status, headers and body: a gateway's page, a redirect, a recorded response. Only the framing is added."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | str = b""


@dataclass(frozen=True)
class Drop:
    """No reply at all: the connection is closed, reset, or stays silent."""

    end: Literal["close", "reset", "stall"] = "close"


def error(status: int, type: str, message: str = "refused", **headers: str) -> Json:  # noqa: A002
    """An error reply of the API. `retry_after="2"` becomes the header `retry-after: 2`."""
    body = {"type": "error", "error": {"type": type, "message": message}}
    return Json(body, status, {name.replace("_", "-"): value for name, value in headers.items()})


@dataclass(frozen=True)
class Request:
    """A request as it came: header names in lower case; `number` and `connection` count from 0."""

    number: int
    connection: int
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @cached_property
    def json(self) -> Any:
        """The body, parsed; None where there is none."""
        return json.loads(self.body) if self.body else None


Reply: TypeAlias = "Sse | Json | Raw | Drop"
Script: TypeAlias = "Sequence[object] | Callable[[Request], object]"


class ScriptedServer:
    """Plays a script to whoever connects; see the top of this file.

    Attributes:
        url: Where it listens, without a path.
        requests: Every request, in the order of arrival.
        failures: What the script did not foresee.
    """

    def __init__(self, script: Script) -> None:
        self.requests: list[Request] = []
        self.failures: list[str] = []
        self._script = script
        self._changed = threading.Condition()
        self._sockets: dict[int, socket.socket] = {}
        self._threads: list[threading.Thread] = []
        self._closing = False

    def __enter__(self) -> ScriptedServer:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._start(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()
        if kind is None:
            self._assert_foreseen()

    def close(self) -> None:
        """Ends every connection and thread."""
        self._closing = True
        with self._listener, socket.create_connection(self._listener.getsockname()):
            self._threads[0].join(30)
        with self._changed:
            for connection in self._sockets.values():
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive(), "a function of the script has not returned"

    def assert_done(self) -> None:
        """Fails if a request was not foreseen, or a reply of the list was not used."""
        self._assert_foreseen()
        if not callable(self._script):
            unused = len(self._script) - len(self.requests)
            assert unused <= 0, f"{unused} of {len(self._script)} replies were not used"

    def _assert_foreseen(self) -> None:
        assert not self.failures, "; ".join(self.failures)

    @property
    def open_connections(self) -> int:
        """Connections that neither side has closed."""
        with self._changed:
            return len(self._sockets)

    def wait_until(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        """Waits for something about the requests or the connections; from a coroutine, call it in a thread."""
        with self._changed:
            assert self._changed.wait_for(condition, seconds), f"not so within {seconds} s"

    def _start(self, run: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=run, args=args, daemon=True, name=f"scripted-{len(self._threads)}")
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._closing:
                connection.close()
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number = len(self._threads) - 1
            with self._changed:
                self._sockets[number] = connection
            self._start(self._serve, number, connection)

    def _serve(self, number: int, connection: socket.socket) -> None:
        try:
            with suppress(OSError), connection, connection.makefile("rb") as reader:
                while parts := _read_request(reader):
                    with self._changed:
                        request = Request(len(self.requests), number, *parts)
                        self.requests.append(request)
                        self._changed.notify_all()
                    if not _Exchange(connection, request).play(self._answer(request)):
                        break
        except Exception as failure:
            self.failures.append(f"connection {number} broke: {failure!r}")
        with self._changed:
            del self._sockets[number]
            self._changed.notify_all()

    def _answer(self, request: Request) -> Reply:
        """What the script says to this request."""
        item: Any = self._script
        if not callable(item):
            item = item[request.number] if request.number < len(item) else None
        try:
            item = item(request) if callable(item) else item
        except BaseException as failure:  # a failed assertion of pytest is no Exception
            return self._unforeseen(f"the script failed on request {request.number}: {failure!r}")
        if isinstance(item, dict):
            return Sse(item) if (request.json or {}).get("stream") else Json(item)
        if isinstance(item, Sse | Json | Raw | Drop):
            return item
        return self._unforeseen(f"request {request.number} is not in the script: {request.method} {request.path}")

    def _unforeseen(self, why: str) -> Json:
        self.failures.append(why)
        return error(500, "api_error", why, x_should_retry="false")


def _read_request(reader: BinaryIO) -> tuple[str, str, dict[str, str], bytes] | None:
    """The next request of a connection: method, path, headers, body; None at its end."""
    line = reader.readline(65_537).decode("latin-1").split()
    if len(line) != 3:
        return None
    headers: dict[str, str] = {}
    for name, value in http.client.parse_headers(reader).items():
        known = headers.get(name.lower())
        headers[name.lower()] = value if known is None else f"{known}, {value}"
    length = int(headers.get("content-length", 0))
    body = reader.read(length)
    return None if len(body) < length else (line[0], line[1], headers, body)


class _Exchange:
    """One request and the reply to it, on a connection."""

    def __init__(self, connection: socket.socket, request: Request) -> None:
        self._connection = connection
        self._request = request

    def play(self, reply: Reply) -> bool:
        """Sends the reply; True if the connection can carry another request."""
        if isinstance(reply, Drop):
            return self._finish(reply.end)
        self._wait(reply.delay)
        status, headers, body = self._parts(reply)
        chunks = list(_chunked(body, reply.chunk, reply.cut))
        framed = False
        if reply.end == "eof":
            headers.setdefault("connection", "close")
        elif not {"content-length", "transfer-encoding"} & set(headers):
            framed = isinstance(reply, Sse) or reply.chunk is not None
            size = sum(len(part) for part in (chunks if reply.end == "clean" else body) if isinstance(part, bytes))
            headers |= {"transfer-encoding": "chunked"} if framed else {"content-length": str(size)}
        reason = http.client.responses.get(status, "Unknown")
        lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
        self._connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        if self._request.method != "HEAD":
            self._send(chunks, framed, reply)
        return self._finish(reply.end) and self._request.headers.get("connection", "").lower() != "close"

    def _parts(self, reply: Sse | Json | Raw) -> tuple[int, dict[str, str], list[Piece]]:
        """Status, headers and the pieces of the body."""
        ours = {"request-id": f"req_{self._request.number}"}
        match reply:
            case Raw(status=status, headers=headers, body=body):
                return status, dict(headers), [body.encode() if isinstance(body, str) else body]
            case Json(content=content, status=status, headers=headers):
                body = json.dumps(content, ensure_ascii=False).encode()
                return status, {"content-type": "application/json", **ours, **headers}, [body]
        script: Iterable[Any] = events(reply.content) if isinstance(reply.content, dict) else reply.content
        pieces = [sse(item) if isinstance(item, dict) else item for item in script]
        return 200, {"content-type": "text/event-stream; charset=utf-8", **ours, **reply.headers}, pieces

    def _send(self, chunks: list[Piece], framed: bool, reply: _Delivery) -> None:
        waiting = bytearray()
        for chunk in chunks:
            if isinstance(chunk, bytes):
                waiting += _frame(chunk) if framed else chunk
            if reply.pause or not isinstance(chunk, bytes):
                self._connection.sendall(waiting)
                waiting.clear()
                self._wait(reply.pause if isinstance(chunk, bytes) else chunk)
        if framed and reply.end == "clean":
            waiting += b"0\r\n\r\n"
        self._connection.sendall(waiting)
        while reply.end == "pings":
            self._connection.sendall(_frame(sse({"type": "ping"})))
            self._wait(0.005)

    def _finish(self, end: End) -> bool:
        if end == "stall":
            self._wait(threading.Event())
        if end == "reset":
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return end == "clean"

    def _wait(self, pause: float | threading.Event) -> None:
        """Waits, but not for longer than the client stays."""
        started = time.monotonic()
        while not _over(pause, started):
            self._connection.settimeout(0.005 if isinstance(pause, threading.Event) else min(pause, 0.005))
            with suppress(TimeoutError):
                self._connection.recv(1, socket.MSG_PEEK)
                raise ConnectionAbortedError("the client has left")
        self._connection.settimeout(None)


def _over(pause: float | threading.Event, started: float) -> bool:
    return pause.is_set() if isinstance(pause, threading.Event) else time.monotonic() >= started + pause


def _frame(chunk: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(chunk), chunk)


def _chunked(body: list[Piece], size: int | None, cut: int | None) -> Iterator[Piece]:
    """The pieces of a body in chunks of `size`, up to `cut` bytes in all."""
    left = sys.maxsize if cut is None else cut
    for waits, run in itertools.groupby(body, lambda piece: isinstance(piece, threading.Event)):
        pieces: list[Any] = list(run)
        if size and not waits:
            joined = b"".join(pieces)
            pieces = [joined[start : start + size] for start in range(0, len(joined), size)]
        for piece in pieces:
            if waits and left:
                yield piece
            elif part := piece[:left]:
                left -= len(part)
                yield part


@contextmanager
def refused() -> Iterator[str]:
    """The URL of a port that refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
