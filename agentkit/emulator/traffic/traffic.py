"""What came and what was answered: the newest HTTP exchanges of an ASGI application."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentkit.emulator.recordings.redaction import Redaction, is_secret
from agentkit.errors import APIError, ProtocolError
from agentkit.messages import encode
from agentkit.stream import Decoder, Fold, parse_json

__all__ = ["Exchange", "Traffic", "told"]

_KEPT = 1000
_KEPT_BYTES = 64_000_000
_MESSAGES = "/v1/messages"


@dataclass(eq=False)
class Exchange:
    """One request and its reply; what they hold is read when it is asked for.

    Attributes:
        number: Counts the exchanges from 1.
        turn: Counts the requests for a message from 1; None for another request.
        method: Of HTTP.
        path: With the query.
        sent_headers: Of the request, names in lower case.
        at: When it began, in seconds since the epoch.
        status: Of the reply; None before it comes, and where none came.
        seconds: How long it took; None while it lasts.
        received: The pieces of the request's body.
        whole: Whether all of them have come.
        sent: The pieces of the reply's body.
        streamed: Whether the reply is a stream of events.
        complete: Whether all of the reply was sent.
    """

    number: int
    turn: int | None
    method: str
    path: str
    sent_headers: dict[str, str] = field(repr=False)
    at: float = field(default_factory=time.time)
    status: int | None = None
    seconds: float | None = None
    received: list[bytes] = field(default_factory=list, repr=False)
    whole: bool = False
    sent: list[bytes] = field(default_factory=list, repr=False)
    streamed: bool = False
    complete: bool = False

    @cached_property
    def headers(self) -> dict[str, str]:
        """Those of the request without its keys."""
        return {name: "…" if is_secret(name) else value for name, value in self.sent_headers.items()}

    @property
    def size(self) -> int:
        """Bytes of both bodies."""
        return sum(map(len, self.received)) + sum(map(len, self.sent))

    @property
    def body(self) -> Any:
        """The JSON of the request, or its text; None before it has come whole, and where there is none."""
        return self._body if self.whole else None

    @property
    def reply(self) -> Any:
        """The JSON or text of the reply as far as it has come, a stream put together; None where there is none."""
        return self._read_reply()[0]

    @property
    def problem(self) -> str | None:
        """What is wrong with how the reply ended."""
        return self._read_reply()[1] if self.seconds is not None else None

    @cached_property
    def _body(self) -> Any:
        return _json_or_text(b"".join(self.received))

    def _read_reply(self) -> tuple[Any, str | None]:
        return self._reply if self.seconds is not None else self._reply_so_far()

    @cached_property
    def _reply(self) -> tuple[Any, str | None]:
        return self._reply_so_far()

    def _reply_so_far(self) -> tuple[Any, str | None]:
        data = b"".join(self.sent)
        reply, problem = _folded(data) if self.streamed else (_json_or_text(data), None)
        if self.status is None:
            problem = "the connection ended before a reply came"
        elif not self.complete:
            problem = problem or "the connection ended before the reply did"
        return reply, problem


class Traffic:
    """Answers as `app` does, and keeps what was said: the newest 1,000 exchanges, at most 64 MB of them.

    Attributes:
        exchanges: The oldest first; more come while it serves.
        revision: Grows whenever an exchange begins or ends.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.exchanges: deque[Exchange] = deque()
        self.revision = 0
        self._count = 0
        self._turns = 0
        self._bytes = 0  # of those that have ended and are kept

    def requests(self) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
        """The bodies and headers of the requests for a message that have come whole and hold a JSON object."""
        for exchange in list(self.exchanges):
            if exchange.turn and exchange.whole and isinstance(exchange.body, dict):
                yield exchange.body, exchange.headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = self._begun(scope)
        start = time.perf_counter()

        async def received() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                exchange.received.append(message.get("body", b""))
                exchange.whole = not message.get("more_body", False)
            return message

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                kind = _decoded(message.get("headers", ())).get("content-type", "")
                exchange.streamed = kind.startswith("text/event-stream")
            elif message["type"] == "http.response.body":
                exchange.sent.append(message.get("body", b""))
                exchange.complete = not message.get("more_body", False)
            await send(message)

        try:
            await self._app(scope, received, sent)
        finally:
            exchange.seconds = time.perf_counter() - start
            self._ended(exchange)

    def _begun(self, scope: Scope) -> Exchange:
        path, query = scope["path"], scope.get("query_string", b"").decode("latin-1")
        turn = None
        if scope["method"] == "POST" and path == _MESSAGES:
            self._turns += 1
            turn = self._turns
        self._count += 1
        whole_path = f"{path}?{query}" if query else path
        exchange = Exchange(self._count, turn, scope["method"], whole_path, _decoded(scope["headers"]))
        self.exchanges.append(exchange)
        if len(self.exchanges) > _KEPT:
            self._drop_oldest()
        self.revision += 1
        return exchange

    def _ended(self, exchange: Exchange) -> None:
        self.revision += 1
        exchange.received, exchange.sent = [b"".join(exchange.received)], [b"".join(exchange.sent)]  # pieces cost more
        if exchange.number < self.exchanges[0].number:
            return
        self._bytes += exchange.size
        while self._bytes > _KEPT_BYTES and len(self.exchanges) > 1:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        oldest = self.exchanges.popleft()
        if oldest.seconds is not None:
            self._bytes -= oldest.size


def told(exchange: Exchange) -> dict[str, Any]:
    """An exchange as JSON, without the keys that came with it."""
    reply, problem = exchange.reply, exchange.problem
    value = {
        "number": exchange.number,
        "turn": exchange.turn,
        "at": exchange.at,
        "seconds": exchange.seconds,
        "method": exchange.method,
        "path": exchange.path,
        "status": exchange.status,
        "headers": exchange.headers,
        "request": exchange.body,
        "reply": reply,
        "problem": problem,
    }
    found: dict[str, Any] = parse_json(Redaction(exchange.sent_headers)(encode(value)))
    servers = found["request"].get("mcp_servers") if isinstance(found["request"], dict) else None
    for server in servers if isinstance(servers, list) else ():
        if isinstance(server, dict) and "authorization_token" in server:
            server["authorization_token"] = "…"  # noqa: S105
    return found


def _decoded(headers: Any) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


def _json_or_text(data: bytes) -> Any:
    if not data:
        return None
    try:
        return parse_json(data)
    except ValueError:
        return data.decode("utf-8", "replace")


def _folded(data: bytes) -> tuple[dict[str, Any], str | None]:
    """What a stream says, or what there is of it and why that is not all."""
    fold = Fold()
    try:
        for event in Decoder().feed(data):
            fold.add(event)
        return fold.message, None
    except APIError as error:
        if fold.blocks and not fold.done:
            with contextlib.suppress(ProtocolError):  # that block had ended
                fold.add(b'{"type":"content_block_stop","index":%d}' % (len(fold.blocks) - 1))
        return {"content": fold.blocks}, str(error)
