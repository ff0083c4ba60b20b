"""The bytes of a reply: a stream of events, paced or at once, and the headers that each reply has."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import anyio
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentkit import encode as encoding

__all__ = ["WithHeaders", "event_stream"]

_TYPE = "text/event-stream"
_MAX_WAIT = 0.02  # seconds between two events
# Bytes of a piece where nothing waits. It fits no frame, so pieces end anywhere: within an event, within a character.
_PIECE = 1021
_ORGANIZATION = "00000000-0000-4000-8000-000000000000"


def event_stream(events: Sequence[dict[str, Any]], pace: float, headers: Mapping[str, str] | None = None) -> Response:
    """A stream of events.

    Args:
        events: What is sent.
        pace: Seconds that it takes at most by waiting between them. With 0 it comes in pieces that end anywhere;
            otherwise each event comes by itself.
        headers: Of the reply.
    """
    if pace:
        return StreamingResponse(_paced(events, pace), headers=headers, media_type=_TYPE)
    return _AtOnce(b"".join(map(encoding.sse, events)), headers=headers)


async def _paced(events: Sequence[dict[str, Any]], pace: float) -> AsyncIterator[bytes]:
    wait = min(_MAX_WAIT, pace / max(1, len(events)))
    for event in events:
        await anyio.sleep(wait)
        yield encoding.sse(event)


class _AtOnce(Response):
    """Each piece that is sent costs more than all else about it, so there are few."""

    media_type = _TYPE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [pair for pair in self.raw_headers if pair[0] != b"content-length"]  # the API can't know it yet
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        for at in range(0, max(1, len(self.body)), _PIECE):
            piece, more = self.body[at : at + _PIECE], at + _PIECE < len(self.body)
            await send({"type": "http.response.body", "body": piece, "more_body": more})


class WithHeaders:
    """Gives every request an id, and every reply the headers of the API where the dialect has them.

    Source: messages-api.md section 2.4.
    """

    def __init__(self, app: ASGIApp, shown: bool) -> None:
        self._app = app
        self._shown = shown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        number = f"req_01{uuid.uuid4().hex[:22]}"
        scope.setdefault("state", {})["request_id"] = number
        more = ((b"request-id", number.encode()), (b"anthropic-organization-id", _ORGANIZATION.encode()))

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *more]
            await send(message)

        await self._app(scope, receive, with_headers if self._shown else send)
