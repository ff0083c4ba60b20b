"""The scripted server does what the other tests rely on."""

from __future__ import annotations

import json
import threading
import time
from itertools import pairwise
from types import ModuleType
from typing import Any

import anyio
import httpx
import httpx2
import pytest
from scripted import (
    Drop,
    Json,
    Raw,
    Request,
    ScriptedServer,
    Sse,
    error,
    refused,
    reply,
    server_tool_use,
    text,
    thinking,
    tool_use,
)

from agentkit.encode import events, sse

SHORT = httpx.Timeout(30, read=0.05)
HELLO = reply(text("héllo\u2028 world"), tool_use("add", a=1, b=2))
WIRE = b"".join(map(sse, events(HELLO)))


def post(url: str, **body: Any) -> httpx.Response:
    return httpx.post(url + "/v1/messages", json=body, timeout=30)


def collect(response: httpx.Response, into: list[bytes]) -> None:
    for chunk in response.iter_raw():
        into.append(chunk)


def test_message_is_sent_as_the_request_asks() -> None:
    with ScriptedServer([HELLO, HELLO]) as server:
        whole, streamed = post(server.url), post(server.url, stream=True)
        server.assert_done()
    assert whole.json() == HELLO
    assert whole.headers["request-id"] == "req_0"
    assert streamed.content == WIRE
    assert streamed.headers["content-type"].startswith("text/event-stream")


def test_stop_reason_follows_the_blocks() -> None:
    assert reply(thinking("hm"), text("yes"))["stop_reason"] == "end_turn"
    assert reply(server_tool_use("web_search", query="x"))["stop_reason"] == "end_turn"
    assert reply(text("a"), tool_use("add", id="toolu_9", a=1))["stop_reason"] == "tool_use"
    assert reply(tool_use("add"), stop="max_tokens", usage={"output_tokens": 9})["usage"]["input_tokens"] == 10


def test_requests_are_recorded_in_order_as_they_came() -> None:
    with ScriptedServer([HELLO, HELLO]) as server, httpx.Client() as client:
        client.post(server.url + "/a?b=1", content=b'{ "x":1}', headers=[("X-Y", "1"), ("x-y", "2")])
        client.get(server.url + "/c")
    first, second = server.requests
    assert (first.method, first.path, first.body, first.json) == ("POST", "/a?b=1", b'{ "x":1}', {"x": 1})
    assert first.headers["x-y"] == "1, 2"
    assert (second.number, second.method, second.path, second.json) == (1, "GET", "/c", None)
    assert first.connection == second.connection


def test_item_or_whole_script_may_be_a_function() -> None:
    def echo(request: Request) -> Json:
        return Json(request.json["n"])

    with ScriptedServer(echo) as server:
        assert [post(server.url, n=n).json() for n in range(3)] == [0, 1, 2]
        server.assert_done()
    with ScriptedServer([HELLO, echo]) as server:
        post(server.url)
        assert post(server.url, n=7).json() == 7


def test_unforeseen_request_fails_the_test() -> None:
    server = ScriptedServer([HELLO])
    with pytest.raises(AssertionError, match="request 1 is not in the script: POST /v1/messages"), server:
        assert [post(server.url).status_code for _ in range(2)] == [200, 500]
    with pytest.raises(AssertionError, match="request 1 is not in the script"):
        server.assert_done()


def test_failing_function_fails_the_test() -> None:
    server = ScriptedServer(lambda request: pytest.fail("no"))
    with pytest.raises(AssertionError, match="the script failed on request 0"), server:
        post(server.url)


def test_unusable_item_fails_the_test() -> None:
    server = ScriptedServer([Json(object())])
    with pytest.raises(AssertionError, match="connection 0 broke"), server, pytest.raises(httpx.RemoteProtocolError):
        post(server.url)


def test_unused_reply_is_reported() -> None:
    with ScriptedServer([HELLO, HELLO]) as server:
        post(server.url)
        with pytest.raises(AssertionError, match="1 of 2 replies were not used"):
            server.assert_done()


def test_failure_of_the_test_itself_is_not_hidden() -> None:
    server = ScriptedServer([])
    with pytest.raises(KeyError), server:
        raise KeyError(post(server.url).status_code)


def test_any_status_headers_and_body() -> None:
    script = [
        Raw(502, {"content-type": "text/html"}, "<h1>Bad Gateway</h1>"),
        Raw(307, {"location": "http://127.0.0.1:9/"}),
        error(429, "rate_limit_error", "slow down", retry_after="2"),
    ]
    with ScriptedServer(script) as server:
        page, moved, limited = (post(server.url) for _ in range(3))
    assert (page.status_code, page.text) == (502, "<h1>Bad Gateway</h1>")
    assert dict(moved.headers) == {"location": "http://127.0.0.1:9/", "content-length": "0"}
    assert limited.headers["retry-after"] == "2"
    assert limited.json() == {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_chunks_have_the_size_that_is_asked(size: int) -> None:
    with ScriptedServer([Sse(HELLO, chunk=size)]) as server, httpx.stream("POST", server.url) as response:
        chunks = list(response.iter_raw())
    assert b"".join(chunks) == WIRE
    assert {len(chunk) for chunk in chunks[:-1]} <= {size}
    assert len(chunks[-1]) <= size


def test_chunk_of_events_by_default() -> None:
    with ScriptedServer([Sse(HELLO)]) as server, httpx.stream("POST", server.url) as response:
        assert list(response.iter_raw()) == [sse(event) for event in events(HELLO)]


@pytest.mark.parametrize("end", ["clean", "eof"])
@pytest.mark.parametrize("kind", [Sse, Json])
def test_cut_reply_can_look_whole(kind: type[Sse | Json], end: Any) -> None:
    with ScriptedServer([kind(HELLO, cut=100, end=end), kind(HELLO)]) as server, httpx.Client() as client:
        cut = client.post(server.url).content
        whole = client.post(server.url).content
    assert cut == whole[:100]
    assert len(whole) > 100
    assert (server.requests[0].connection == server.requests[1].connection) is (end == "clean")


@pytest.mark.parametrize(("end", "raised"), [("close", httpx.RemoteProtocolError), ("reset", httpx.ReadError)])
@pytest.mark.parametrize("kind", [Sse, Json])
def test_cut_reply_can_be_seen_to_be_cut(kind: type[Sse | Json], end: Any, raised: type[Exception]) -> None:
    got: list[bytes] = []
    server = ScriptedServer([kind(HELLO, cut=100, end=end)])
    with server, httpx.stream("POST", server.url) as response, pytest.raises(raised):
        collect(response, got)
    assert len(b"".join(got)) == 100


@pytest.mark.parametrize(("end", "raised"), [("close", httpx.RemoteProtocolError), ("reset", httpx.ReadError)])
def test_connection_can_be_dropped_without_a_reply(end: Any, raised: type[Exception]) -> None:
    with ScriptedServer([Drop(end)]) as server, pytest.raises(raised):
        post(server.url)


@pytest.mark.parametrize("script", [Drop("stall"), Sse(HELLO, cut=50, end="stall"), Json(HELLO, cut=50, end="stall")])
def test_stalled_reply_ends_with_the_client(script: Any) -> None:
    with ScriptedServer([script]) as server:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(server.url, timeout=SHORT)
        server.wait_until(lambda: server.open_connections == 0)


def test_stalled_reply_ends_with_the_server() -> None:
    with httpx.Client() as client:
        with ScriptedServer([Sse(HELLO, end="stall")]) as server:
            response = client.send(client.build_request("POST", server.url), stream=True)
        with pytest.raises(httpx.RemoteProtocolError):
            response.read()


def test_pings_for_ever() -> None:
    with ScriptedServer([Sse(HELLO, cut=0, end="pings")]) as server:
        with httpx.stream("POST", server.url) as response:
            stream = response.iter_raw()
            assert [next(stream) for _ in range(5)] == [sse({"type": "ping"})] * 5
        server.wait_until(lambda: server.open_connections == 0)


def test_reply_waits_for_an_event() -> None:
    now, later = threading.Event(), threading.Event()
    script = [sse({"type": "ping"}), later, {"type": "message_stop"}]
    with ScriptedServer([Sse(script, delay=now)]) as server, pytest.raises(httpx.ReadTimeout):
        httpx.post(server.url, timeout=SHORT)
    with ScriptedServer([Sse(script, delay=now)]) as server:
        now.set()
        with httpx.stream("POST", server.url) as response:
            stream = response.iter_raw()
            assert next(stream) == sse({"type": "ping"})
            later.set()
            assert list(stream) == [sse({"type": "message_stop"})]


def test_delays_are_kept() -> None:
    started = time.monotonic()
    with ScriptedServer([Json(HELLO, delay=0.05, chunk=200, pause=0.02)]) as server:
        assert post(server.url).json() == HELLO
    assert time.monotonic() - started >= 0.05 + 0.02 * (len(json.dumps(HELLO)) // 200)


def test_refused_port() -> None:
    with refused() as url, pytest.raises(httpx.ConnectError):
        post(url)


def test_wait_until_says_what_it_waited_for() -> None:
    with ScriptedServer([]) as server, pytest.raises(AssertionError, match=r"not so within 0\.01 s"):
        server.wait_until(lambda: bool(server.requests), seconds=0.01)


def test_head_and_connection_close() -> None:
    with ScriptedServer([HELLO, HELLO]) as server, httpx.Client() as client:
        assert client.head(server.url).content == b""
        client.post(server.url, headers={"connection": "close"})
        server.wait_until(lambda: server.open_connections == 0)


@pytest.mark.anyio
@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
async def test_many_at_once_on_either_event_loop(library: Any) -> None:
    answers = []

    async def ask(client: Any, n: int) -> None:
        answers.append((n, (await client.post(server.url, json={"n": n, "stream": n % 2 == 0})).text))

    with ScriptedServer(lambda request: reply(text(str(request.json["n"])))) as server:
        async with library.AsyncClient(timeout=30) as client, anyio.create_task_group() as tasks:
            for n in range(30):
                tasks.start_soon(ask, client, n)
    assert len(server.requests) == 30
    assert all(f'"text":"{n}"' in answer.replace(": ", ":") for n, answer in answers)


@pytest.mark.anyio
async def test_cancelled_request_leaves_nothing_open() -> None:
    with ScriptedServer([Sse(HELLO, cut=50, end="stall")]) as server:
        async with httpx.AsyncClient() as client:
            with anyio.move_on_after(5) as scope:
                async with client.stream("POST", server.url) as response:
                    async for _ in response.aiter_raw():
                        scope.cancel()
        await anyio.to_thread.run_sync(server.wait_until, lambda: server.open_connections == 0)


@pytest.mark.recordings
def test_recorded_responses_are_served_as_they_were(recordings: ModuleType) -> None:
    refused_ones = [exchange for exchange in recordings.exchanges() if exchange["status"] == 429]
    script = [*recordings.streams()[:20], *recordings.messages()[:20], *refused_ones]
    with ScriptedServer([recordings.replay(exchange) for exchange in script]) as server, httpx.Client() as client:
        for exchange in script:
            response = client.post(server.url + exchange["path"])
            assert response.status_code == exchange["status"]
            assert exchange["response_headers"].items() <= dict(response.headers).items()
            assert exchange["response_sse"] in (None, response.text)
            assert exchange["response_body"] in (None, exchange["response_sse"] or response.json())
        server.assert_done()


@pytest.mark.recordings
def test_conversations_go_from_parent_to_child(recordings: ModuleType) -> None:
    paths = recordings.conversations()
    assert {exchange["id"] for path in paths for exchange in path} == {e["id"] for e in recordings.exchanges()}
    assert all(child.get("parent") == parent["id"] for path in paths for parent, child in pairwise(path))
    assert sum(len(path) > 1 for path in paths) > 250
