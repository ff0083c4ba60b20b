"""Gets one page over HTTP, from addresses that the guard lets through, within caps."""

from __future__ import annotations

import ssl
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Any, NoReturn
from urllib.parse import urljoin

import anyio
import httpcore

from agentkit import ToolError
from agentkit_tools.web_address import Address, Guard, parse_address

__all__ = ["MOST_BYTES", "Page", "get"]

MOST_BYTES = 10 * 1024 * 1024
"""Of a body, as it comes and as it is once it is unpacked."""
SECONDS = 30.0
_MOST_RATIO, _SMALL = 100, 256 * 1024  # what is unpacked may be 100 times as large; small bodies do no harm
_MOST_HOPS = 5
_TRIES = 4  # addresses of one name
_REDIRECTS = (301, 302, 303, 307, 308)
_HEADERS = [
    ("User-Agent", "agentkit-tools (agentkit-loop)"),
    ("Accept", "text/html, text/markdown, text/*;q=0.9, application/json;q=0.9, */*;q=0.5"),
    ("Accept-Encoding", "gzip, deflate"),
]


@dataclass(frozen=True, slots=True)
class Page:
    """What an address gave.

    Attributes:
        address: Where it was, redirects followed.
        content_type: As the server said, in lower case; empty if it did not.
        data: The body, unpacked.
    """

    address: Address
    content_type: str
    data: bytes


async def get(
    address: Address,
    guard: Guard,
    *,
    network: httpcore.AsyncNetworkBackend | None = None,
    tls: ssl.SSLContext | None = None,
    seconds: float = SECONDS,
) -> Page:
    """Fetches an address and follows at most 5 redirects, each checked anew. It sends no credentials and no cookies.

    Args:
        address: Where the page is.
        guard: What may be reached.
        network: Makes the connections, to addresses that were checked.
        tls: In place of the usual certificates.
        seconds: For all of it.

    Raises:
        ToolError: It is refused, does not come, or is too large; the text is for the model.

    Source: faults.md P3, P4, P6, P7.
    """
    backend = _Guarded(guard, network or httpcore.AnyIOBackend())
    with anyio.move_on_after(seconds):
        try:
            async with httpcore.AsyncConnectionPool(tls or _tls(), network_backend=backend) as pool:
                for _ in range(_MOST_HOPS + 1):
                    guard.check(address)
                    found = await _exchange(pool, address)
                    if isinstance(found, Page):
                        return found
                    address = found
                raise ToolError(f"The page redirects more than {_MOST_HOPS} times.")
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            _raise_translated(error, address)
    raise ToolError(f"{address.host} did not send the page within {seconds:g} seconds.")


class _Guarded(httpcore.AsyncNetworkBackend):
    """Looks a name up once, has every address checked, and connects to one of those: TLS and `Host` keep the name."""

    def __init__(self, guard: Guard, network: httpcore.AsyncNetworkBackend) -> None:
        self._guard = guard
        self._network = network

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        problem: Exception | None = None
        for address in (await self._guard.addresses(host, port))[:_TRIES]:
            try:
                return await self._network.connect_tcp(address, port, timeout=timeout)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                problem = error
        raise problem or httpcore.ConnectError()


@cache
def _tls() -> ssl.SSLContext:
    import httpx

    return httpx.create_ssl_context(trust_env=False)


async def _exchange(pool: httpcore.AsyncConnectionPool, address: Address) -> Page | Address:
    """The page, or where it redirects to."""
    url = httpcore.URL(scheme=address.scheme, host=address.host, port=address.port, target=address.target)
    headers = [("Host", address.netloc), *_HEADERS]
    timeout = {"connect": 10.0, "read": 20.0, "write": 10.0, "pool": 10.0}
    async with pool.stream("GET", url, headers=headers, extensions={"timeout": timeout}) as response:
        said = {name.decode("latin-1").lower(): value.decode("utf-8", "replace") for name, value in response.headers}
        if response.status in _REDIRECTS and "location" in said:
            return _next(address, said["location"])
        if not 200 <= response.status < 300:
            raise ToolError(f"{address.host} answered {response.status}{_phrase(response.status)}.")
        body = _Body(said.get("content-encoding", ""))
        await _read(response, body)
        return Page(address, said.get("content-type", "").lower(), body.whole())


def _next(address: Address, location: str) -> Address:
    if not location.isprintable() or "\\" in location:
        raise ToolError("The page redirects to an address with characters that no address has.")
    return parse_address(urljoin(str(address), location.strip()))


def _phrase(status: int) -> str:
    try:
        return f" ({HTTPStatus(status).phrase})"
    except ValueError:
        return ""


async def _read(response: httpcore.Response, body: _Body) -> None:
    problem: ToolError | None = None
    with anyio.CancelScope() as scope:
        async for chunk in response.aiter_stream():
            try:
                if problem is None:
                    body.add(chunk)
            except ToolError as error:
                problem = error
                scope.cancel()  # not left here: the generators inside httpcore end only when they are read on
    if problem is not None:
        raise problem


class _Body:
    """A body that is unpacked as it comes, and never grows beyond the caps."""

    def __init__(self, encoding: str) -> None:
        encoding = encoding.strip().lower()
        if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise ToolError("The server packs the page in a way that is not supported.")
        self._zlib = None if encoding in ("", "identity") else zlib.decompressobj(47)  # gzip or zlib, as it begins
        self._data = bytearray()
        self._wire = 0

    def add(self, chunk: bytes) -> None:
        """Takes what came next.

        Raises:
            ToolError: It is too much, or can't be unpacked.
        """
        self._wire += len(chunk)
        if self._zlib is None:
            self._data += chunk
        else:
            self._unpack(chunk)
        if self._wire > MOST_BYTES or len(self._data) > MOST_BYTES:
            raise ToolError(f"The page is larger than {MOST_BYTES // 1024 // 1024} MB.")
        if len(self._data) > max(_MOST_RATIO * self._wire, _SMALL):
            raise ToolError(f"The page unpacks to more than {_MOST_RATIO} times what was sent: it was not read.")

    def _unpack(self, chunk: bytes) -> None:
        assert self._zlib is not None
        most = min(MOST_BYTES, max(_MOST_RATIO * self._wire, _SMALL)) + 1
        try:
            if not self._wire - len(chunk) and chunk[:1] and chunk[0] & 15 != 8 and chunk[0] != 0x1F:
                self._zlib = zlib.decompressobj(-15)  # some servers send deflate without its frame
            self._data += self._zlib.decompress(chunk, max(most - len(self._data), 1))
        except zlib.error:
            raise ToolError("The page can't be unpacked: it is damaged.") from None

    def whole(self) -> bytes:
        """All of it.

        Raises:
            ToolError: Its end is missing.
        """
        if self._zlib is not None and self._wire and not self._zlib.eof:
            raise ToolError("The page can't be unpacked: its end is missing.")
        return bytes(self._data)


def _raise_translated(error: Exception, address: Address) -> NoReturn:
    if isinstance(error.__cause__ or error.__context__, ssl.SSLError) or "SSL" in str(error):
        raise ToolError(f"{address.host} has no valid certificate, or speaks no TLS.") from error
    if isinstance(error, httpcore.TimeoutException):
        raise ToolError(f"{address.host} did not answer in time.") from error
    if isinstance(error, httpcore.ConnectError):
        raise ToolError(f"{address.host} can't be reached.") from error
    raise ToolError(f"{address.host} broke the connection off, or speaks no HTTP.") from error
