"""Answers from a recording, and from nothing else unless told."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from agentkit.emulator.recordings.asked import Asked, asked_by
from agentkit.emulator.recordings.cut_off import CutOff
from agentkit.emulator.recordings.difference import Difference, first_difference
from agentkit.emulator.recordings.recorder import Recorder, error_response, make_recorder
from agentkit.emulator.recordings.recording import Recorded, Recording
from agentkit.emulator.recordings.redaction import Redaction
from agentkit.emulator.scripts.script import ScriptError

__all__ = ["Replay", "frames", "make_replay"]

_FRAME = re.compile(rb".*?(?:\n\n|\r\n\r\n|\r\r|\Z)", re.DOTALL)


class Replay:
    """The application.

    A request gets the response that was recorded for it, byte for byte. One that was recorded several times gets its
    responses in their order, each once. A request that has none left is answered with 500, which says where it differs.

    Args:
        recording: What was said.
        recorder: Gets the requests that have no response in the recording; by default nobody does.

    Attributes:
        failures: The requests that had no response.
    """

    def __init__(self, recording: Recording, recorder: Recorder | None = None) -> None:
        self.failures: list[str] = []
        self._name = recording.name
        self._recorder = recorder
        self._known = list(recording.exchanges)
        self._left: dict[bytes, list[Recorded]] = defaultdict(list)
        for exchange in self._known:
            self._left[exchange.key].append(exchange)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            asked = await asked_by(request)
        except ClientDisconnect:
            return
        left = self._left.get(_as_recorded(asked).key)
        if left:
            await _response(left.pop(0))(scope, receive, send)
        elif self._recorder is not None:
            await self._recorder.forward(asked, scope, receive, send)
        else:
            self.failures.append(self._difference(_as_recorded(asked)))
            answer = error_response(500, self.failures[-1], {"x-should-retry": "false"})
            await answer(scope, receive, send)

    def check(self) -> None:
        """Raises `ScriptError` where a request had no response. One that was recorded and not asked for is no fault."""
        if self.failures:
            raise ScriptError("\n".join(self.failures))
        if self._recorder is not None:
            self._recorder.check()

    def _difference(self, asked: Recorded) -> str:
        same = [exchange for exchange in self._known if exchange.key == asked.key]
        if same:
            times = "once" if len(same) == 1 else f"{len(same)} times"
            return f"{_title(asked)} was recorded {times} in {self._name}, and it is sent once more ({_lines(same)})"
        text = f"{_title(asked)} is not in the recording {self._name}"
        alike = [one for one in self._known if (one.method, one.path) == (asked.method, asked.path)]
        if not alike:
            known = sorted({_title(exchange) for exchange in self._known})
            return f"{text}, which has {', '.join(known) or 'no exchange'}"
        found = [(_difference(exchange, asked), exchange) for exchange in alike]
        most = max(difference.shared for difference, _ in found)
        nearest = [pair for pair in found if pair[0].shared == most]
        unused = [pair for pair in nearest if pair[1] in self._left[pair[1].key]]
        difference, exchange = (unused or nearest)[0]
        return f"{text}; the nearest there ({_lines([exchange])}) differs first at {difference.text}"


def make_replay(path: str | os.PathLike[str], upstream: str | None = None) -> Replay:
    """An application that answers from a recording.

    Args:
        path: The file. With an `upstream` it is made if it is not there.
        upstream: The base URL of an endpoint that gets what is not in the recording; its responses are added to it.

    Raises:
        ConfigurationError: There is no such recording, or it can't be read, or `upstream` is no such URL.
    """
    if upstream is None:
        return Replay(Recording(path))
    recorder = make_recorder(path, upstream)
    return Replay(recorder.recording, recorder)


def frames(stream: bytes) -> list[bytes]:
    """An event stream cut after each event."""
    return [frame for frame in _FRAME.findall(stream) if frame]


def _as_recorded(asked: Asked) -> Recorded:
    return asked.recorded(Redaction(asked.headers), status=200)


def _response(exchange: Recorded) -> ASGIApp:
    headers = dict(exchange.response_headers)
    streamed = "event-stream" in headers.get("content-type", "")
    if not streamed and not exchange.cut_off:
        return Response(exchange.response, exchange.status, headers)

    async def pieces() -> Any:
        for piece in frames(exchange.response) if streamed else [exchange.response]:
            yield piece
        if exchange.cut_off:
            raise CutOff

    return StreamingResponse(pieces(), exchange.status, headers)


def _difference(exchange: Recorded, asked: Recorded) -> Difference:
    found = first_difference(_value(exchange.request), _value(asked.request))
    return found or Difference("", 0, "bytes that are no JSON")


def _value(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")


def _title(exchange: Recorded) -> str:
    return f"{exchange.method} {exchange.path}"


def _lines(exchanges: list[Recorded]) -> str:
    numbers = [str(exchange.line) for exchange in exchanges]
    return f"line{'s' * (len(numbers) > 1)} {', '.join(numbers)}"
