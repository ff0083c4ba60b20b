"""A proxy that forwards to a real endpoint, and writes what is said to a recording."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from agentkit.emulator.recordings.asked import Asked, asked_by, until_gone
from agentkit.emulator.recordings.cut_off import CutOff
from agentkit.emulator.recordings.recording import Recording
from agentkit.emulator.recordings.redaction import Redaction
from agentkit.emulator.scripts.script import ScriptError
from agentkit.errors import ConfigurationError
from agentkit.messages import encode
from agentkit.settings import Timeouts
from agentkit.transport import new_http_client

__all__ = ["Recorder", "error_response", "make_recorder"]

# Those of one connection alone, and those that the server of this side sets. Source: RFC 9110 section 7.6.1.
_OF_ONE_HOP = {
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
_NOT_SENT = _OF_ONE_HOP | {"host", "content-length", "accept-encoding", "expect"}
_NOT_PASSED = _OF_ONE_HOP | {"content-encoding", "date", "server"}
_KEPT = ("content-type", "request-id", "retry-after", "retry-after-ms", "x-should-retry")
_KEPT_FAMILIES = ("anthropic-ratelimit-", "anthropic-priority-", "anthropic-fast-")


class Recorder:
    """The application.

    It passes on what comes as it comes, to the upstream and back, and writes an exchange when it is complete: errors
    too, and a response that breaks off as one that breaks off. If the client leaves first, nothing is written.

    Args:
        recording: Where exchanges go.
        upstream: The base URL of the endpoint, without `/v1`.

    Attributes:
        recording: Where exchanges go.
        failures: What could not be recorded.
    """

    def __init__(self, recording: Recording, upstream: str) -> None:
        self.recording = recording
        self.failures: list[str] = []
        self._upstream = upstream
        self._origin = _origin(upstream)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            asked = await asked_by(request)
        except ClientDisconnect:
            return
        await self.forward(asked, scope, receive, send)

    async def forward(self, asked: Asked, scope: Scope, receive: Receive, send: Send) -> None:
        """Forwards a request whose body is read already.

        Raises:
            CutOff: The upstream broke off its response.
        """
        cut_off = False
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                await until_gone(receive)
                group.cancel_scope.cancel()

            group.start_soon(watch)
            cut_off = await self._exchange(asked, scope, receive, send)
            group.cancel_scope.cancel()
        if cut_off:
            raise CutOff

    def check(self) -> None:
        """Raises `ScriptError` where something could not be recorded."""
        if self.failures:
            raise ScriptError("\n".join(self.failures))

    async def _exchange(self, asked: Asked, scope: Scope, receive: Receive, send: Send) -> bool:
        """Whether the response broke off."""
        import httpx

        # A client for each request: no cookie and no connection is left over when the server ends.
        async with new_http_client(Timeouts()) as http:
            try:
                request = http.build_request(
                    asked.method,
                    self._upstream + asked.target,
                    headers=[*_without(_NOT_SENT, asked.headers.raw), (b"accept-encoding", b"identity")],
                    content=asked.body or None,
                )
                response = await http.send(request, stream=True, follow_redirects=False)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                answer = error_response(502, f"can't reach the upstream {self._origin}: {_about(error)}")
                await answer(scope, receive, send)
                return False
            try:
                return await self._pass_on(asked, response, send)
            finally:
                await response.aclose()

    async def _pass_on(self, asked: Asked, response: Any, send: Send) -> bool:
        import httpx

        # What was encoded is passed on decoded.
        dropped = _NOT_PASSED | ({"content-length"} if "content-encoding" in response.headers else set())
        headers = _without(dropped, response.headers.raw)
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        body, cut_off = bytearray(), False
        try:
            async for chunk in response.aiter_bytes():
                body += chunk
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except httpx.HTTPError:
            cut_off = True
        except anyio.get_cancelled_exc_class():
            if _has_ended(body):  # some clients leave at `message_stop`, before the connection says that it is all
                self._keep(asked, response, bytes(body), cut_off)
            raise
        self._keep(asked, response, bytes(body), cut_off)
        if not cut_off:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        return cut_off

    def _keep(self, asked: Asked, response: Any, body: bytes, cut_off: bool) -> None:
        redaction = Redaction(asked.headers)
        redacted = redaction(body)
        exchange = asked.recorded(
            redaction,
            upstream=self._origin,
            status=response.status_code,
            response_headers=_kept(response.headers, redaction),
            response=redacted,
            cut_off=cut_off,
        )
        name = f"{asked.method} {exchange.path}"
        if redaction.finds(exchange.written()) or redaction.finds(redacted):
            self.failures.append(f"{name} was not recorded: the key that was sent is in it, and can't be taken out")
            return
        try:
            self.recording.append(exchange)
        except OSError as error:
            self.failures.append(f"{name} was not recorded: can't write {self.recording.name}: {error.strerror}")


def make_recorder(path: str | os.PathLike[str], upstream: str) -> Recorder:
    """A proxy that forwards to `upstream` and records.

    Args:
        path: The file; if it is a recording already, what comes is added to it.
        upstream: The base URL of the endpoint. Keys come from the client, with each request.

    Raises:
        ConfigurationError: The file can't be written or is something else, or `upstream` is no such URL.
    """
    base_url = _base_url(upstream)
    return Recorder(Recording.to_append(path), base_url)


def error_response(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error in the API's shape. Source: messages-api.md section 16."""
    body = {"type": "error", "error": {"type": "api_error", "message": text}}
    return Response(encode(body), status, headers, media_type="application/json")


def _base_url(upstream: str) -> str:
    try:
        parts = urlsplit(upstream)
        _ = parts.port
    except ValueError:
        raise ConfigurationError("upstream is no URL: give one such as https://api.anthropic.com") from None
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigurationError("upstream must not hold a user name or a query: the client sends its key in a header")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"upstream must be a URL such as https://api.anthropic.com, not {upstream[:100]!r}")
    return upstream.rstrip("/").removesuffix("/v1")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _without(dropped: set[str], headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Headers without those, and without what `connection` names."""
    lower = [(name.lower(), value) for name, value in headers]
    named = b",".join(value for name, value in lower if name == b"connection").split(b",")
    gone = {name.encode() for name in dropped} | {name.strip().lower() for name in named}
    return [(name, value) for name, value in lower if name not in gone]


def _has_ended(stream: bytearray) -> bool:
    return b"event: message_stop" in stream[-200:] and stream.endswith(b"\n\n")


def _kept(headers: Mapping[str, str], redaction: Redaction) -> dict[str, str]:
    found = {name.lower(): value for name, value in headers.items()}
    return {
        name: redaction(value.encode()).decode()
        for name, value in found.items()
        if name in _KEPT or name.startswith(_KEPT_FAMILIES)
    }


def _about(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
