"""The HTTP client for an MCP server: replies are held to a size, and come as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import httpx2

from agentkit.integrations.mcp.limits import MESSAGE_CAP

__all__ = ["capped_client"]

_STREAM_CAP = 4 * MESSAGE_CAP
_CONNECT = 10.0  # seconds. Source: faults.md, U1
_SILENCE = 300.0  # seconds without an event: a call has a limit of its own


class _TooLarge(httpx2.StreamError):
    """A reply is larger than a message may be: the one exchange fails, and the connection goes on."""


class _Capped(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, cap: int) -> None:
        self._stream = stream
        self._chunks = aiter(stream)
        self._cap = self._left = cap

    # Not a generator: the package mcp leaves its streams without closing what reads them, which trio warns of.
    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        chunk = await anext(self._chunks)
        self._left -= len(chunk)
        if self._left < 0:
            raise _TooLarge(f"a reply of more than {self._cap:,} bytes")
        return chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _cap(response: httpx2.Response) -> None:
    # A few bytes that are compressed can be gigabytes.
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise _TooLarge("a reply that is compressed, though it was asked not to be")
    is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    response.stream = _Capped(response.stream, _STREAM_CAP if is_stream else MESSAGE_CAP)


def capped_client(headers: Mapping[str, str], seconds: float) -> httpx2.AsyncClient:
    """A client whose replies end where they become too large.

    Args:
        headers: Sent with each request.
        seconds: That a call may take.
    """
    return httpx2.AsyncClient(
        headers={"accept-encoding": "identity", **headers},
        timeout=httpx2.Timeout(_CONNECT, read=max(seconds, _SILENCE), write=30.0),
        follow_redirects=False,
        event_hooks={"response": [_cap]},
    )
