"""The Messages API of a simulation, behind a real HTTP client: it refuses what the API refuses, and streams."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from random import Random
from typing import TYPE_CHECKING, Any

import httpx
from simulated_model import Failure
from simulated_secrets import ELSEWHERE, KEYS, look_at_request

from agentkit.encode import events, sse
from agentkit.messages import encode
from agentkit.rules import check_request

if TYPE_CHECKING:
    from simulated_process import Process

__all__ = ["SimulatedTransport"]

_LINE_ENDS = (b"\n", b"\n", b"\r\n", b"\r")
_STATUS = {"overloaded": (529, "overloaded_error"), "limited": (429, "rate_limit_error")}


class SimulatedTransport(httpx.AsyncBaseTransport):
    """The network of one process."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answers one request, or breaks."""
        process, world = self._process, self._process.world
        await process.point("request")
        content = await request.aread()
        look_at_request(process, request, content)
        if str(request.url).startswith(ELSEWHERE):
            return httpx.Response(200, json={"type": "message", "content": []})
        body = json.loads(content)
        betas = [name for name in request.headers.get("anthropic-beta", "").split(",") if name]
        problems = check_request(body, version=request.headers["anthropic-version"], betas=betas)
        world.check(not problems, "I2", lambda: f"the API would refuse a request: {problems[0].message}")
        if problems:
            return _refusal(400, "invalid_request_error", problems[0].message)
        number, message = world.script.reply_to(body["messages"], body["max_tokens"])
        world.note(f"{process.name} asks for turn {number}")
        process.count_request(number)
        asked = world.asked[number] = world.asked.get(number, 0) + 1
        failures = world.script.failures.get(number, [])
        failure = failures[asked - 1] if asked <= len(failures) else None
        return _response(process, number, message, failure, stream=bool(body.get("stream")), asked=asked)


def _response(
    process: Process, number: int, message: dict[str, Any], failure: Failure | None, *, stream: bool, asked: int
) -> httpx.Response:
    match failure:
        case "refused connection":
            raise httpx.ConnectError("connection refused")
        case "overloaded" | "limited":
            return _refusal(*_STATUS[failure], "later")
        case "redirect":
            return httpx.Response(307, headers={"location": f"{ELSEWHERE}/v1/messages"})
        case "echo":  # some gateways show what they were sent
            return _refusal(529, "overloaded_error", f"no room for the key {KEYS[process.address]}")
    random = Random(f"{process.world.seed} {number} {asked}")
    data, last = _body(random, message, stream=stream)
    if failure:
        data = data[: random.randrange(len(data) - last)]
    if failure == "error event" and stream:
        error = {"type": "error", "error": {"type": "overloaded_error", "message": "later"}}
        data = b"".join(data.rpartition(b"\n\n")[:2]) + sse(error)
    breaks = failure == "reset" or bool(failure and not stream)
    whole = None if failure else (number, message)
    headers = {"content-type": "text/event-stream" if stream else "application/json", "request-id": f"req_{number}"}
    return httpx.Response(200, headers=headers, stream=_Body(process, list(_cut(random, data)), breaks, whole))


def _refusal(status: int, kind: str, text: str) -> httpx.Response:
    return httpx.Response(status, headers={"retry-after": "2"}, json={"error": {"type": kind, "message": text}})


def _body(random: Random, message: dict[str, Any], *, stream: bool) -> tuple[bytes, int]:
    """The bytes of a reply, and how many at its end it can't do without."""
    if not stream:
        return encode(message), 1
    frames = [sse(event) for event in events(message)]
    end = random.choice(_LINE_ENDS)
    return b"".join(frames).replace(b"\n", end), len(frames[-1].replace(b"\n", end))


def _cut(random: Random, data: bytes) -> Iterator[bytes]:
    """Some pieces: cut anywhere, inside of a character, or of the end of a line."""
    places = [at for at, byte in enumerate(data) if byte >= 128 or byte in b"\r\n"]
    cuts = [
        random.choice(places) + 1 if places and random.random() < 0.5 else random.randrange(len(data) + 1)
        for _ in range(random.choice((0, 1, 3)) if data else 0)
    ]
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), len(data)], strict=True):
        if start < stop:
            yield data[start:stop]


class _Body(httpx.AsyncByteStream):
    """A body that comes in pieces; `whole` is noted once all has come, None never does."""

    def __init__(
        self, process: Process, pieces: list[bytes], breaks: bool, whole: tuple[int, dict[str, Any]] | None
    ) -> None:
        self._process, self._pieces, self._breaks, self._whole = process, pieces, breaks, whole

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._process.open_replies += 1
        for at, piece in enumerate(self._pieces, 1):
            await self._process.point("chunk")
            if self._whole and at == len(self._pieces):
                number, message = self._whole
                self._process.receive(encode(message))
                self._process.world.sent.setdefault(number, []).append(encode(message))
            yield piece
        if self._breaks:
            raise httpx.ReadError("the connection broke")

    async def aclose(self) -> None:
        """Its connection is free, or closed."""
        self._process.open_replies = 0  # it has one at a time
