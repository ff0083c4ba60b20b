"""One HTTP exchange, below the client: bodies, caps, and whose fault a failure is."""

from __future__ import annotations

import gzip
import time
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import pytest
from clock import BACKENDS, LONG, jump
from scripted import Json, Raw, ScriptedServer, Sse, error, reply, text
from sending import HTTP, KEY, http_client, shown

from agentkit.errors import (
    APITimeoutError,
    BadRequestError,
    ConfigurationError,
    InternalServerError,
    ProtocolError,
    RateLimitError,
)
from agentkit.settings import Timeouts
from agentkit.transport import Reply, exchange, new_http_client

http_kinds = pytest.mark.parametrize("kind", HTTP)
callers_kinds = pytest.mark.parametrize("kind", HTTP[1:])


@asynccontextmanager
async def opened(kind: str, **options: Any) -> AsyncGenerator[Any]:
    http = new_http_client(Timeouts()) if kind == "own" else http_client(kind, **options)
    async with http:
        yield http


def post(http: Any, url: str, *parts: bytes, seconds: float = 30.0) -> AbstractAsyncContextManager[Reply]:
    return exchange(http, "POST", url + "/v1/messages", {"x-one": "1"}, list(parts), (seconds,) * 4)


@pytest.mark.anyio
@http_kinds
async def test_reply(kind: str) -> None:
    with ScriptedServer([Json({"a": 1}, headers={"content-type": "Application/JSON ; charset=utf-8"})]) as server:
        async with opened(kind) as http, post(http, server.url, b"[1,", b"2]") as reply_:
            assert (reply_.status, reply_.content_type, reply_.request_id) == (200, "application/json", "req_0")
            assert reply_.headers["Request-ID"] == "req_0"
            assert str(reply_.url) == server.url + "/v1/messages"
            assert await reply_.body(30) == b'{"a": 1}'
    assert server.requests[0].json == [1, 2]


@pytest.mark.anyio
@http_kinds
@pytest.mark.parametrize("size", [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 20])
async def test_body_of_any_size_has_a_length(kind: str, size: int) -> None:
    parts = [b"a" * (size // 2), b"b" * (size - size // 2), b""]
    with ScriptedServer(lambda _: Json({})) as server:
        async with opened(kind) as http, post(http, server.url, *parts) as reply_:
            await reply_.body(30)
    assert server.requests[0].headers["content-length"] == str(size)
    assert server.requests[0].body == b"".join(parts)


# Caps


@pytest.mark.anyio
@http_kinds
@pytest.mark.parametrize("encoded", [False, True])
async def test_reply_that_is_too_long(kind: str, encoded: bool) -> None:
    """T16: what counts is the size after decoding."""
    body = bytes(1 << 20)
    headers = {"content-encoding": "gzip"} if encoded else {}
    sent = Raw(200, headers, gzip.compress(body) if encoded else body)
    with ScriptedServer(lambda _: sent) as server:
        async with opened(kind) as http:
            async with post(http, server.url) as reply_:
                assert await reply_.body(30, limit=len(body)) == body
            async with post(http, server.url) as reply_:
                with pytest.raises(ProtocolError, match="longer than 1048575 bytes") as caught:
                    await reply_.body(30, limit=len(body) - 1)
    assert not caught.value.retryable


@pytest.mark.anyio
@http_kinds
async def test_whole_reply_has_a_deadline(kind: str) -> None:
    with ScriptedServer([Sse(reply(text("x" * 2000)), chunk=1, pause=0.02)]) as server:
        async with opened(kind) as http, post(http, server.url) as reply_:
            started = time.monotonic()
            with pytest.raises(APITimeoutError, match=r"within 0\.05 seconds"):
                await reply_.body(0.05)
            assert time.monotonic() - started < 20


def first_chunk(reply_: Reply) -> anyio.Event:
    """Is set when something of the body has come."""
    came = anyio.Event()
    chunks = reply_.chunks

    async def watched() -> AsyncGenerator[bytes]:
        async for chunk in chunks():
            yield chunk
            came.set()

    reply_.chunks = watched  # type: ignore[method-assign]
    return came


async def time_passes(since: anyio.Event) -> None:
    await since.wait()
    jump()


@pytest.mark.anyio
@http_kinds
@BACKENDS
async def test_beginning_takes_what_it_can_get(kind: str) -> None:
    digits = Raw(200, {}, b"0123456789")
    ends = [digits, replace(digits, cut=4, end="reset", pause=0.05), replace(digits, cut=4, end="stall")]
    with ScriptedServer([*ends, Sse(reply(), end="pings")]) as server:
        async with opened(kind) as http:
            for limit, found in ((6, b"012345"), (99, b"0123"), (99, b"0123"), (9, b"event: me")):
                async with post(http, server.url) as reply_, anyio.create_task_group() as group:
                    if len(server.requests) == 3:
                        group.start_soon(time_passes, first_chunk(reply_))
                    with anyio.fail_after(2 * LONG):
                        assert await reply_.beginning(LONG, limit) == found


# Failures


@pytest.mark.anyio
@http_kinds
async def test_error_reply_keeps_what_its_headers_say(kind: str) -> None:
    headers = {"retry_after_ms": "1500", "retry_after": "9", "x_should_retry": "false"}
    with ScriptedServer([error(429, "rate_limit_error", "slow down", **headers)]) as server:
        async with opened(kind) as http:
            with pytest.raises(RateLimitError, match="slow down") as caught:
                async with post(http, server.url):
                    pytest.fail("there is no reply")
    failure = caught.value
    assert (failure.retry_after, failure.retryable, failure.request_id) == (1.5, False, "req_0")
    assert (failure.status, failure.type) == (429, "rate_limit_error")


@pytest.mark.anyio
@http_kinds
async def test_long_error_page_is_cut(kind: str) -> None:
    page = Raw(500, {"content-type": "text/html"}, "<p>" + "z" * (2 << 20))
    with ScriptedServer([page]) as server:
        async with opened(kind) as http:
            with pytest.raises(InternalServerError, match=r"^z{512} "):
                async with post(http, server.url):
                    pytest.fail("there is no reply")


@pytest.mark.anyio
@callers_kinds
@pytest.mark.parametrize("header", [{"x-secret": KEY + "\n"}, {"bad name": KEY}])
async def test_header_of_a_callers_client_is_not_shown(kind: str, header: dict[str, str]) -> None:
    with ScriptedServer([]) as server:
        async with opened(kind, headers=header) as http:
            with pytest.raises(ConfigurationError, match="a header has a name or value that HTTP does not") as caught:
                async with post(http, server.url):
                    pytest.fail("there is no reply")
    assert KEY not in shown(caught.value)


@pytest.mark.anyio
@callers_kinds
async def test_failure_of_a_callers_hook_is_theirs(kind: str) -> None:
    class Mine(Exception):
        pass

    async def hook(_: Any) -> None:
        raise Mine("no more")

    async with opened(kind, event_hooks={"request": [hook]}) as http:
        with pytest.raises(Mine, match="no more") as caught:
            async with post(http, "http://127.0.0.1:9"):
                pytest.fail("there is no reply")
    assert caught.value.__cause__ is None


@pytest.mark.anyio
@callers_kinds
async def test_error_inside_the_block_comes_out_as_it_is(kind: str) -> None:
    with ScriptedServer([reply(), error(400, "invalid_request_error")]) as server:
        async with opened(kind) as http:
            with pytest.raises(KeyError):
                async with post(http, server.url):
                    raise KeyError("mine")
            with pytest.raises(BadRequestError):  # and the connection is free again
                async with post(http, server.url):
                    pytest.fail("there is no reply")


@pytest.mark.anyio
async def test_own_clients_share_what_is_dear() -> None:
    async with opened("own") as one, opened("own") as other:
        assert one is not other
        assert one._transport._pool._ssl_context is other._transport._pool._ssl_context


@pytest.mark.anyio
@http_kinds
async def test_reply_that_nobody_reads_is_closed(kind: str) -> None:
    with ScriptedServer([Sse(reply(text("x")), end="pings"), reply()]) as server:
        async with opened(kind) as http:
            async with post(http, server.url):
                pass
            await anyio.to_thread.run_sync(server.wait_until, lambda: server.open_connections == 0)
            async with post(http, server.url) as reply_:
                assert b"end_turn" in await reply_.body(30)
