"""The Messages API of a simulation: it refuses what the API refuses, and streams what the script says."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from simulated_model import Failure

from agentkit.encode import events, sse
from agentkit.errors import APIConnectionError, StreamTruncated, status_error
from agentkit.messages import encode
from agentkit.rules import check_request

if TYPE_CHECKING:
    from simulated_process import Process

__all__ = ["exchange"]


@dataclass
class SimulatedReply:
    """A reply that comes in pieces.

    Attributes:
        pieces: Of the body.
        broken: Whether the connection breaks after them.
        whole: What is noted once all has come; None: it never does.
    """

    process: Process
    content_type: str
    pieces: list[bytes]
    broken: bool = False
    whole: tuple[int, dict[str, Any]] | None = None
    request_id: str = "req_1"
    url: str = ""

    def __post_init__(self) -> None:
        self._chunks = self._coming()

    def chunks(self) -> AsyncGenerator[bytes]:
        """The body as it comes."""
        return self._chunks

    async def close(self) -> None:
        """Gives up what has not come."""
        await self._chunks.aclose()

    async def _coming(self) -> AsyncGenerator[bytes]:
        for at, piece in enumerate(self.pieces):
            await self.process.point("chunk")
            if self.whole and at == len(self.pieces) - 1:
                number, message = self.whole
                self.process.world.sent.setdefault(number, []).append(encode(message))
            yield piece
        if self.broken:
            raise StreamTruncated("the connection broke inside the reply")

    async def body(self, seconds: float) -> bytes:
        """All of it."""
        return b"".join([piece async for piece in self.chunks()])


@asynccontextmanager
async def exchange(
    http: Process, method: str, url: Any, headers: Mapping[str, str], parts: list[bytes], timeout: Any
) -> AsyncGenerator[SimulatedReply]:
    """In place of `agentkit.transport.exchange`: what it calls the HTTP client is the process."""
    process, world = http, http.world
    await process.point("request")
    body = json.loads(b"".join(parts))
    betas = [name for name in headers.get("anthropic-beta", "").split(",") if name]
    problems = check_request(body, version=headers["anthropic-version"], betas=betas)
    world.check(not problems, "I2", lambda: f"the API would refuse a request: {problems[0].message}")
    if problems:
        raise status_error(400, {"error": {"type": "invalid_request_error", "message": problems[0].message}})
    number, message = world.script.reply_to(body["messages"])
    world.note(f"{process.name} asks for turn {number}")
    process.count_request(number)
    asked = world.asked[number] = world.asked.get(number, 0) + 1
    failures = world.script.failures.get(number, [])
    failure = failures[asked - 1] if asked <= len(failures) else None
    reply = _reply(process, number, message, failure, stream=bool(body.get("stream")), asked=asked)
    try:
        yield reply
    finally:
        await reply.close()


def _reply(
    process: Process, number: int, message: dict[str, Any], failure: Failure | None, *, stream: bool, asked: int
) -> SimulatedReply:
    if failure == "refused connection":
        raise APIConnectionError("can't reach the endpoint")
    if failure in ("overloaded", "limited"):
        status, kind = (529, "overloaded_error") if failure == "overloaded" else (429, "rate_limit_error")
        raise status_error(status, {"error": {"type": kind, "message": "later"}}, retry_after=2.0)
    random = Random(f"{process.world.seed} {number} {asked}")
    streamed = [sse(event) for event in events(message)]
    data = b"".join(streamed) if stream else encode(message)
    if failure:
        data = data[: random.randrange(len(data) - (len(streamed[-1]) if stream else 1))]
    if failure == "error event" and stream:
        whole = data.rpartition(b"\n\n")
        error = {"type": "error", "error": {"type": "overloaded_error", "message": "later"}}
        data = whole[0] + whole[1] + sse(error)
    cuts = sorted(random.randrange(len(data) + 1) for _ in range(random.choice((0, 1, 3))))
    pieces = [data[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    pieces = [piece for piece in pieces if piece]
    kind = "text/event-stream" if stream else "application/json"
    broken = failure == "reset" or bool(failure and not stream)
    return SimulatedReply(process, kind, pieces, broken, None if failure else (number, message))
