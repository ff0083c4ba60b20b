"""One HTTP exchange over an httpx-like client: ours, or a caller's (httpx or httpx2)."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from agentkit.errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    ConfigurationError,
    ProtocolError,
    StreamTruncated,
    status_error,
)
from agentkit.retry import parse_retry_after
from agentkit.settings import Timeouts
from agentkit.stream import MAX_REPLY_BYTES, parse_json

__all__ = ["Reply", "exchange", "new_http_client"]

_MAX_ERROR_BYTES = 1 << 20
_ssl_context: ssl.SSLContext | None = None


def new_http_client(timeouts: Timeouts) -> Any:
    """An `httpx.AsyncClient` for the running event loop."""
    import httpx

    global _ssl_context
    if _ssl_context is None:  # making one costs tens of milliseconds, so a process has one
        _ssl_context = httpx.create_ssl_context()
    limits = httpx.Limits(max_connections=1000, max_keepalive_connections=1000)
    return httpx.AsyncClient(verify=_ssl_context, limits=limits, timeout=timeouts.reply)


class Reply:
    """A reply whose body is still to be read. Errors of the HTTP client come out as agentkit's."""

    def __init__(self, response: Any) -> None:
        self._response = response
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.request_id: str | None = response.headers.get("request-id")
        self.content_type: str = response.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The body as it arrives."""
        encoded = "content-encoding" in self.headers
        chunks = self._response.aiter_bytes() if encoded else self._response.aiter_raw()
        try:
            async for chunk in chunks:
                yield chunk
        except Exception as error:
            raise _translated(error, reading=True) from error

    async def body(self, limit: int = MAX_REPLY_BYTES) -> bytes:
        """The whole body.

        Raises:
            ProtocolError: It is longer than `limit` bytes.
        """
        found, size = [], 0
        async for chunk in self.chunks():
            found.append(chunk)
            size += len(chunk)
            if size > limit:
                raise ProtocolError(f"the reply is longer than {limit} bytes", retryable=False)
        return b"".join(found)


@asynccontextmanager
async def exchange(
    http: Any, method: str, url: str, headers: Any, parts: list[bytes], timeout: tuple[float, float, float, float]
) -> AsyncGenerator[Reply]:
    """Sends one request and gives its reply, which has status 200.

    Args:
        http: An `httpx.AsyncClient`, or one with its interface.
        method: GET or POST.
        url: Where to.
        headers: Of the request.
        parts: The body.
        timeout: Seconds to connect, to read, to write, and to get a connection.

    Raises:
        APIError: There is no reply, or it has another status. Redirects are never followed: they would carry
            the key and the prompt to another place.
    """
    try:
        content = _content(parts)
        length = {"content-length": str(sum(map(len, parts)))} if isinstance(content, _Parts) else {}
        request = http.build_request(method, url, content=content, headers={**headers, **length}, timeout=timeout)
        response = await http.send(request, stream=True, follow_redirects=False)
    except Exception as error:
        raise _translated(error, reading=False) from error
    try:
        reply = Reply(response)
        if reply.status != 200:
            raise await _refusal(reply)
        yield reply
    finally:
        await response.aclose()


class _Parts:
    """A body of a few large parts, which a retry can read again."""

    def __init__(self, parts: list[bytes]) -> None:
        self._parts = parts

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        for part in self._parts:
            yield part


def _content(parts: list[bytes]) -> bytes | _Parts:
    return b"".join(parts) if sum(map(len, parts)) < 1 << 20 else _Parts(parts)


async def _refusal(reply: Reply) -> APIError:
    if 300 <= reply.status < 400:
        return ProtocolError(
            f"the endpoint redirects to {_origin(reply.headers.get('location'))}; redirects are not followed: "
            "check base_url (it must not end in /v1)",
            status=reply.status,
            retryable=False,
        )
    if reply.status < 400:
        return ProtocolError(f"the endpoint answered HTTP {reply.status} without a message", status=reply.status)
    body: Any = (await reply.body(_MAX_ERROR_BYTES)).decode("utf-8", "replace")
    try:
        body = parse_json(body)
    except ValueError:
        body = f"{body} (the endpoint answered with {reply.content_type or 'no content-type'}: check base_url)"
    should_retry = {"true": True, "false": False}.get(reply.headers.get("x-should-retry", ""))
    retry_after = parse_retry_after(reply.headers, time.time())
    return status_error(
        reply.status, body, request_id=reply.request_id, should_retry=should_retry, retry_after=retry_after
    )


def _origin(location: str | None) -> str:
    """Where a redirect points to, without path and query, which can hold anything."""
    scheme, mark, rest = (location or "").partition("://")
    return f"{scheme}://{rest.split('/')[0].rpartition('@')[2][:100]}" if mark else "another path"


def _translated(error: Exception, *, reading: bool) -> Exception:
    """An error of the HTTP client as one of ours, by the names of its classes: httpx and httpx2 share them."""
    if isinstance(error, APIError | ConfigurationError):
        return error
    names = {cls.__name__ for cls in type(error).__mro__ if cls.__module__.partition(".")[0] in ("httpx", "httpx2")}
    about = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if "TimeoutException" in names:
        return APITimeoutError(f"the endpoint was too slow ({about})")
    if names & {"InvalidURL", "UnsupportedProtocol", "LocalProtocolError"} or (
        not names and isinstance(error, ValueError)
    ):
        return ConfigurationError(f"the request can't be sent: {about}")
    if "DecodingError" in names:
        return ProtocolError(f"the reply can't be decoded: {about}")
    if "TransportError" in names and reading:
        return StreamTruncated(f"the connection broke inside the reply ({about})")
    if "TransportError" in names:
        certificate = _is_certificate_error(error)
        advice = "the certificate is not trusted" if certificate else "is the endpoint up, and base_url right?"
        return APIConnectionError(f"can't reach the endpoint: {advice} ({about})", retryable=not certificate)
    return error


def _is_certificate_error(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
