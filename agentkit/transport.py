"""One HTTP exchange over an httpx-like client: ours, or a caller's (httpx or httpx2)."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import anyio

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

if TYPE_CHECKING:
    import ssl

__all__ = ["Files", "Reply", "exchange", "new_http_client"]

Files: TypeAlias = "Mapping[str, tuple[str, Any, str]]"
"""The parts of a form: for each its file name, its bytes or an open binary file, and its media type."""

_MAX_ERROR_BYTES = 1 << 20
_ssl_context: ssl.SSLContext | None = None


def new_http_client(timeouts: Timeouts) -> Any:
    """An `httpx.AsyncClient` for the running event loop."""
    from importlib.util import find_spec

    import httpx

    global _ssl_context
    if find_spec("sniffio") is None:
        # httpcore looks for it at every lock and time-out; a failed import searches the whole path: 0.3 ms a request.
        sys.modules.setdefault("sniffio", None)  # type: ignore[arg-type]
    if _ssl_context is None:  # making one costs tens of milliseconds, so a process has one
        _ssl_context = httpx.create_ssl_context()
    limits = httpx.Limits(max_connections=1000, max_keepalive_connections=1000)
    return httpx.AsyncClient(verify=_ssl_context, limits=limits, timeout=timeouts.reply)


class Reply:
    """A reply whose body is still to be read; `exchange` makes agentkit's of the errors that come up."""

    def __init__(self, response: Any) -> None:
        self._response = response
        self._chunks: Any = None
        self.url: Any = response.request.url
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.request_id: str | None = response.headers.get("request-id")
        self.content_type: str = response.headers.get("content-type", "").partition(";")[0].strip().lower()

    def chunks(self) -> AsyncGenerator[bytes]:
        """The body as it arrives."""
        # A hook of the caller's may have read it. Raw bytes cost less than decoded ones that were not encoded.
        decoded = self._response.is_stream_consumed or "content-encoding" in self.headers
        chunks: AsyncGenerator[bytes] = self._response.aiter_bytes() if decoded else aiter(self._response.stream)
        self._chunks = chunks
        return chunks

    async def close(self) -> None:
        """Gives the connection back, or closes it if the body was not read to its end."""
        if self._chunks is not None and self._chunks.ag_frame is not None:  # it has not come to its end
            # The generators inside the HTTP client end only when they are read on; trio warns of those that do not.
            with anyio.CancelScope(shield=True) as scope, suppress(Exception):
                scope.cancel()
                async for _ in self._chunks:
                    pass
        await self._response.aclose()

    async def body(self, seconds: float, limit: int = MAX_REPLY_BYTES) -> bytes:
        """The whole body.

        Raises:
            APITimeoutError: It does not come within `seconds`.
            ProtocolError: It is longer than `limit` bytes.
        """
        found, size = [], 0
        with anyio.move_on_after(seconds):
            async for chunk in self.chunks():
                found.append(chunk)
                size += len(chunk)
                if size > limit:
                    raise ProtocolError(f"the reply is longer than {limit} bytes", retryable=False)
            return b"".join(found)
        raise APITimeoutError(f"the whole reply did not come within {seconds:g} seconds")

    async def beginning(self, seconds: float, limit: int) -> bytes:
        """What comes of the body within `seconds`, up to `limit` bytes or until something breaks."""
        found = bytearray()
        with anyio.move_on_after(seconds), suppress(Exception):
            async for chunk in self.chunks():
                found += chunk
                if len(found) > limit:
                    break
        return bytes(found[:limit])


@asynccontextmanager
async def exchange(
    http: Any,
    method: str,
    url: Any,
    headers: Mapping[str, str],
    parts: list[bytes],
    timeout: tuple[float, float, float, float],
    *,
    files: Files | None = None,
    any_status: bool = False,
) -> AsyncGenerator[Reply]:
    """Sends one request and gives its reply, which has status 200.

    Args:
        http: An `httpx.AsyncClient`, or one with its interface.
        method: Of HTTP, in capitals.
        url: Where to: text, or the parsed `url` of an earlier reply.
        headers: Of the request.
        parts: The body.
        timeout: Seconds to connect, to read, to write, and to get a connection.
        files: In place of a body, the parts of a form; open files are read as they are sent.
        any_status: Whether a reply of any status is given, not only one of status 200.

    Raises:
        APIError: There is no reply, or it has another status. Redirects are never followed: they would carry
            the key and the prompt to another place.
    """
    if http.is_closed:
        raise ConfigurationError("the http_client given to Client is closed: it must stay open as long as it is used")
    try:
        content = None if files else _content(parts)
        length = {"content-length": str(sum(map(len, parts)))} if isinstance(content, _Parts) else {}
        body = {"files": files} if files else {"content": content}
        request = http.build_request(method, url, headers={**headers, **length}, timeout=timeout, **body)
        response = await http.send(request, stream=True, follow_redirects=False)
    except Exception as error:
        _raise_translated(error, reading=False)
    reply = Reply(response)
    try:
        if reply.status != 200 and not any_status:
            await _raise_refusal(reply, timeout[0])
        yield reply
    except APIError as error:
        error.request_id = error.request_id or reply.request_id
        raise
    except Exception as error:
        _raise_translated(error, reading=True, request_id=reply.request_id)
    finally:
        await reply.close()


class _Parts:
    """A body of a few large parts, which a retry can read again."""

    def __init__(self, parts: list[bytes]) -> None:
        self._parts = parts

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        for part in self._parts:
            yield part


def _content(parts: list[bytes]) -> bytes | _Parts:
    return b"".join(parts) if sum(map(len, parts)) < 1 << 20 else _Parts(parts)


async def _raise_refusal(reply: Reply, seconds: float) -> NoReturn:
    if 300 <= reply.status < 400:
        raise ProtocolError(
            f"the endpoint redirects to {_origin(reply.headers.get('location'))}; redirects are not followed: "
            "check base_url (it must not end in /v1)",
            status=reply.status,
            retryable=False,
        )
    if reply.status < 400:
        raise ProtocolError(f"the endpoint answered HTTP {reply.status} without a message", status=reply.status)
    body: Any = (await reply.beginning(seconds, _MAX_ERROR_BYTES)).decode("utf-8", "replace")
    try:
        body = parse_json(body)
    except ValueError:
        body = f"{body} (the endpoint answered with {reply.content_type or 'no content-type'}: check base_url)"
    should_retry = {"true": True, "false": False}.get(reply.headers.get("x-should-retry", ""))
    retry_after = parse_retry_after(reply.headers, time.time())
    raise status_error(
        reply.status, body, request_id=reply.request_id, should_retry=should_retry, retry_after=retry_after
    )


def _origin(location: str | None) -> str:
    """Where a redirect points to, without path and query, which can hold anything."""
    scheme, mark, rest = (location or "").partition("://")
    return f"{scheme}://{rest.split('/')[0].rpartition('@')[2][:100]}" if mark else "another path"


def _raise_translated(error: Exception, *, reading: bool, request_id: str | None = None) -> NoReturn:
    """Raises an error of the HTTP client as one of ours."""
    ours = _translated(error, reading=reading)
    if ours is error:
        raise error
    if isinstance(ours, APIError):
        ours.request_id = request_id
    # What the HTTP client says of a header that it refuses holds the header, which may be a key.
    raise ours from None if isinstance(ours, ConfigurationError) else error


def _translated(error: Exception, *, reading: bool) -> Exception:
    """One of ours, by the names of the classes: httpx and httpx2 share them. What is not theirs stays as it is."""
    names = {cls.__name__ for cls in type(error).__mro__ if cls.__module__.partition(".")[0] in ("httpx", "httpx2")}
    about = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if "TimeoutException" in names:
        return APITimeoutError(f"the endpoint was too slow ({about})")
    if "LocalProtocolError" in names:
        return ConfigurationError("the request can't be sent: a header has a name or value that HTTP does not allow")
    if names & {"InvalidURL", "UnsupportedProtocol"} or (not (names or reading) and isinstance(error, ValueError)):
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
    import ssl

    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
