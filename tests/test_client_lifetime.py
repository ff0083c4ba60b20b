"""Connections: used again, given back when the consumer leaves or is cancelled, and bound to their event loop."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
import pytest
from anyio import to_thread
from clock import BACKENDS, LONG, jump, stopped
from scripted import Drop, ScriptedServer, Sse, error, reply, text, thinking, tool_use
from sending import HTTP, KEY, QUICK, REQUEST, UNSTREAMED, asked, client_for, http_client, send

from agentkit.client import Client
from agentkit.encode import events
from agentkit.errors import APITimeoutError, BadRequestError, RateLimitError
from agentkit.events import Event, Retry, TextDelta, TurnEnd
from agentkit.request import Request
from agentkit.settings import RetryPolicy, Timeouts

http_kinds = pytest.mark.parametrize("kind", HTTP)
callers_kinds = pytest.mark.parametrize("kind", HTTP[1:])
requests = pytest.mark.parametrize("request_", [REQUEST, UNSTREAMED], ids=["streamed", "whole"])
ENDLESS = (("own", "stall"), ("own", "pings"))
HELLO = reply(thinking("hm"), text("Hello, world: this is an answer."), tool_use("add", a=1))


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    gc.collect(1)  # what is not closed warns while it is still this test's


async def until(server: ScriptedServer, condition: Any) -> None:
    await to_thread.run_sync(server.wait_until, condition)


async def leave_after(client: Client, count: int, request: Request = REQUEST) -> list[Event]:
    """The first `count` events of a turn."""
    seen: list[Event] = []
    async with aclosing(client.send(asked(), request)) as turn:
        async for event in turn:
            seen.append(event)
            if len(seen) == count:
                break
    return seen


# One connection serves again


@pytest.mark.anyio
@http_kinds
@requests
@pytest.mark.parametrize("chunk", [None, 5])
async def test_connection_serves_again(kind: str, request_: Request, chunk: int | None) -> None:
    wire = Sse(HELLO, chunk=chunk) if request_.stream else HELLO
    with ScriptedServer([wire, wire, error(529, "overloaded_error"), wire]) as server:
        async with client_for(kind, server.url) as client:
            for _ in range(3):
                await send(client, request_)
        server.assert_done()
    assert {request.connection for request in server.requests} == {0}


@pytest.mark.anyio
@http_kinds
@BACKENDS
async def test_connection_serves_again_where_the_end_of_the_body_comes_late(kind: str) -> None:
    late = threading.Event()
    threading.Timer(0.03, late.set).start()
    with ScriptedServer([Sse([*events(HELLO), late]), HELLO]) as server:
        async with client_for(kind, server.url) as client:
            with stopped():
                for _ in range(2):
                    await send(client)
    assert [request.connection for request in server.requests] == [0, 0]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("kind", "end"), [(kind, end) for kind in HTTP for end in ("clean", "eof", "close", "reset")] + [*ENDLESS]
)
async def test_turn_is_complete_whatever_follows_message_stop(kind: str, end: Any) -> None:
    started = time.monotonic()
    with ScriptedServer([Sse(HELLO, end=end), HELLO]) as server:
        async with client_for(kind, server.url) as client:
            for _ in range(2):
                assert isinstance((await send(client))[-1], TurnEnd)
        server.assert_done()
    assert time.monotonic() - started < 20


# The consumer leaves


@pytest.mark.anyio
@callers_kinds
async def test_leaving_at_any_event_gives_the_connection_back(kind: str) -> None:
    """With room for one connection only, one that leaked would be missed by the next turn."""
    http = http_client(kind, limits=__import__(kind).Limits(max_connections=1))
    with ScriptedServer(lambda _: Sse(HELLO, pause=0.0005)) as server:
        async with client_for(kind, server.url, http=http, timeouts=Timeouts(connect=30)) as client:
            everything = await send(client)
            for count in range(1, len(everything)):
                assert await leave_after(client, count) == everything[:count]
            assert len(await leave_after(client, len(everything))) == len(everything)
            assert len(await send(client)) == len(everything)
        await until(server, lambda: server.open_connections == 0)
    assert len(server.requests) == len(everything) + 2


@pytest.mark.anyio
async def test_leaving_closes_what_the_server_still_sends() -> None:
    with ScriptedServer(lambda _: Sse([*_first_events()], end="pings")) as server:
        async with client_for("own", server.url) as client:
            [first] = await leave_after(client, 1)
            await until(server, lambda: server.open_connections == 0)
    assert isinstance(first, TextDelta)


@pytest.mark.anyio
async def test_leaving_between_two_attempts() -> None:
    with ScriptedServer([error(529, "overloaded_error")]) as server:
        async with client_for("own", server.url, retry=RetryPolicy(base=60)) as client:
            [retry] = await leave_after(client, 1)
        server.assert_done()
    assert isinstance(retry, Retry)


def _first_events() -> Iterator[dict[str, Any]]:
    yield {"type": "message_start", "message": reply()}
    yield {"type": "content_block_start", "index": 0, "content_block": text("")}
    yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}}


# The consumer is cancelled


@pytest.mark.anyio
@http_kinds
@requests
@pytest.mark.parametrize("where", ["before the reply", "within the reply", "before a retry"])
async def test_cancelled(kind: str, request_: Request, where: str) -> None:
    first: Any = {
        "before the reply": Drop("stall"),
        "within the reply": Sse([*_first_events()], end="stall"),
        "before a retry": error(429, "rate_limit_error", retry_after="30"),
    }[where]
    with ScriptedServer([first, HELLO]) as server:
        async with client_for(kind, server.url) as client:
            seen: list[Event] = []
            async with anyio.create_task_group() as group:
                group.start_soon(partial(send, client, request_, into=seen))
                await until(server, lambda: bool(server.requests))
                while where == "before a retry" and not seen:  # noqa: ASYNC110
                    await anyio.sleep(0.005)
                await anyio.sleep(0.02)
                group.cancel_scope.cancel()
            assert not any(isinstance(event, TurnEnd) for event in seen)
            if where != "before a retry":
                await until(server, lambda: server.open_connections == 0)
            assert isinstance((await send(client, request_))[-1], TurnEnd)


@pytest.mark.anyio
@callers_kinds
async def test_cancelled_turns_leave_room(kind: str) -> None:
    http = http_client(kind, limits=__import__(kind).Limits(max_connections=2))
    with ScriptedServer(lambda r: Sse(HELLO, pause=0.003) if r.number < 10 else HELLO) as server:
        async with client_for(kind, server.url, http=http, timeouts=Timeouts(connect=30)) as client:
            for count in range(10):
                with anyio.move_on_after(0.002 * count):
                    await send(client)
            async with anyio.create_task_group() as group:
                for _ in range(4):
                    group.start_soon(partial(send, client))


# Event loops and threads


async def _once(client: Client) -> None:
    assert isinstance((await send(client))[-1], TurnEnd)
    await client.aclose()


def test_one_client_on_three_event_loops_in_a_row() -> None:
    with ScriptedServer([HELLO] * 3) as server:
        client = Client(base_url=server.url, api_key=KEY)
        for _ in range(3):
            asyncio.run(_once(client))
        server.assert_done()
    assert [request.connection for request in server.requests] == [0, 1, 2]


def test_one_client_on_both_kinds_of_event_loops() -> None:
    with ScriptedServer([HELLO] * 2) as server:
        client = Client(base_url=server.url, api_key=KEY)
        anyio.run(_once, client, backend="asyncio")
        anyio.run(_once, client, backend="trio")
        server.assert_done()


def test_one_client_in_two_threads() -> None:
    failures: list[BaseException] = []
    together = threading.Barrier(2, timeout=30)

    async def turns(client: Client) -> None:
        for _ in range(5):
            together.wait()
            assert isinstance((await send(client))[-1], TurnEnd)
        await client.aclose()

    def run(client: Client) -> None:
        try:
            asyncio.run(turns(client))
        except BaseException as failure:
            failures.append(failure)

    with ScriptedServer(lambda _: HELLO) as server:
        client = Client(base_url=server.url, api_key=KEY)
        threads = [threading.Thread(target=run, args=(client,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert not failures
    assert len(server.requests) == 10
    assert {request.connection for request in server.requests} == {0, 1}


@pytest.mark.anyio
@http_kinds
async def test_fifty_turns_at_a_time(kind: str) -> None:
    ended: list[Any] = []
    both_ways = [REQUEST, UNSTREAMED]

    async def turn(client: Client, number: int) -> None:
        ended.append((await send(client, both_ways[number % 2], asked(f"number {number}")))[-1].message["content"])

    def echo(request: Any) -> Any:
        return reply(text(request.json["messages"][0]["content"][0]["text"]))

    with ScriptedServer(echo) as server:
        async with client_for(kind, server.url) as client, anyio.create_task_group() as group:
            for number in range(50):
                group.start_soon(turn, client, number)
    assert sorted(content[0]["text"] for content in ended) == sorted(f"number {number}" for number in range(50))


# Closing


@pytest.mark.anyio
async def test_closing_twice_and_using_it_again() -> None:
    with ScriptedServer([HELLO] * 2) as server:
        client = Client(base_url=server.url, api_key=KEY)
        await client.aclose()
        await send(client)
        await client.aclose()
        await client.aclose()
        await until(server, lambda: server.open_connections == 0)
        async with client:
            await send(client)
        await until(server, lambda: server.open_connections == 0)
        server.assert_done()


@pytest.mark.anyio
@callers_kinds
async def test_callers_http_client_stays_open_and_its_settings_apply(kind: str) -> None:
    """Its headers, hooks and authentication are used, also for the second request of one authentication."""
    module = __import__(kind)
    seen: list[str] = []

    async def hook(request: Any) -> None:
        seen.append(request.url.path)

    class TwoSteps(module.Auth):  # type: ignore[misc, name-defined]
        def auth_flow(self, request: Any) -> Any:
            response = yield request
            if response.status_code == 401:
                request.headers["x-proof"] = "42"
                yield request

    large = asked("x" * (2 << 20))
    http = http_client(kind, headers={"x-mine": "1"}, event_hooks={"request": [hook]}, auth=TwoSteps())
    with ScriptedServer([error(401, "authentication_error"), HELLO]) as server:
        async with client_for(kind, server.url, http=http, retry=QUICK) as client:
            await send(client, REQUEST, large)
        server.assert_done()
    first, second = server.requests
    assert first.body == second.body
    assert (second.headers["x-mine"], second.headers["x-proof"], seen[0]) == ("1", "42", "/v1/messages")


@pytest.mark.anyio
@callers_kinds
@requests
async def test_hook_of_a_caller_may_read_the_reply(kind: str, request_: Request) -> None:
    async def hook(response: Any) -> None:
        await response.aread()

    http = http_client(kind, event_hooks={"response": [hook]})
    with ScriptedServer([HELLO, error(400, "invalid_request_error", "seen")]) as server:
        async with client_for(kind, server.url, http=http) as client:
            assert isinstance((await send(client, request_))[-1], TurnEnd)
            with pytest.raises(BadRequestError, match="seen"):
                await send(client, request_)


# Large bodies


@pytest.mark.anyio
@http_kinds
@requests
async def test_large_body_is_sent_whole_again_and_again(kind: str, request_: Request) -> None:
    transcript = asked("é€𝄞\u2028 " * 100_000)
    body = b"".join(request_.body_parts(transcript.history.body.parts(), None))
    assert len(body) > 1 << 20
    with ScriptedServer([error(529, "overloaded_error"), Sse(HELLO, cut=700, end="reset"), HELLO]) as server:
        async with client_for(kind, server.url) as client:
            await send(client, request_, transcript)
        server.assert_done()
    for request in server.requests:
        assert request.headers["content-length"] == str(len(body))
        assert "transfer-encoding" not in request.headers
        assert request.body == body


async def hurry() -> None:
    """Whatever all wait for, its time is over."""
    while True:
        await anyio.wait_all_tasks_blocked()
        jump()
        await anyio.sleep(0.005)


@pytest.mark.anyio
@callers_kinds
@BACKENDS
async def test_full_pool_is_a_failure_that_may_pass(kind: str) -> None:
    """T14: the request was not sent, so it may be sent again; but not for ever."""
    http = http_client(kind, limits=__import__(kind).Limits(max_connections=1))
    with ScriptedServer([Sse([*_first_events()], end="stall")]) as server:
        options = {"timeouts": Timeouts(connect=LONG), "retry": replace(QUICK, max_attempts=2)}
        async with client_for(kind, server.url, http=http, **options) as client:
            turn = client.send(asked(), REQUEST)
            await anext(turn)
            async with anyio.create_task_group() as group:
                group.start_soon(hurry)
                with pytest.raises(APITimeoutError, match="PoolTimeout") as caught:
                    await send(client)
                group.cancel_scope.cancel()
            await turn.aclose()
    assert caught.value.attempts == 2
    assert len(server.requests) == 1


@pytest.mark.anyio
async def test_retries_of_the_whole_process_are_a_tenth_of_its_requests() -> None:
    def script(request: Any) -> Any:
        return error(429, "rate_limit_error") if request.number < 12 else HELLO

    with ScriptedServer(script) as server:
        async with client_for("own", server.url, retry=RetryPolicy(max_attempts=100, base=0.001, cap=0.002)) as client:
            with pytest.raises(RateLimitError) as caught:
                await send(client)
    assert caught.value.attempts == len(server.requests) == 11


@pytest.mark.anyio
@callers_kinds
async def test_hook_of_a_caller_may_change_the_address(kind: str) -> None:
    """Each request starts from the client's own address, not from what a hook made of the last one."""

    async def hook(request: Any) -> None:
        request.url = request.url.copy_add_param("trace", "1")

    http = http_client(kind, event_hooks={"request": [hook]})
    with ScriptedServer([HELLO] * 3) as server:
        async with client_for(kind, server.url, http=http) as client:
            for _ in range(3):
                await send(client)
    assert {request.path for request in server.requests} == {"/v1/messages?trace=1"}
