"""The client: whose key goes where, what a request carries, what a turn gives."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from scripted import Json, Raw, ScriptedServer, Sse, error, reply, server_tool_use, text, thinking, tool_use
from sending import HTTP, KEY, REQUEST, UNSTREAMED, asked, client_for, send

from agentkit.encode import events, sse
from agentkit.errors import APIError, ProtocolError, TranscriptError
from agentkit.events import (
    ContentBlockStop,
    InputDelta,
    ServerToolCall,
    ServerToolResult,
    TextDelta,
    ThinkingDelta,
    TurnEnd,
    UnknownEvent,
)
from agentkit.messages import Usage
from agentkit.request import Request

http_kinds = pytest.mark.parametrize("kind", HTTP)
requests = pytest.mark.parametrize("request_", [REQUEST, UNSTREAMED], ids=["streamed", "whole"])
HELLO = reply(thinking("hm"), text("Hello, world: this is an answer."))


# What a request carries


async def sent_by(kind: str, request: Request, **options: Any) -> tuple[dict[str, str], Mapping[str, Any]]:
    """Headers and body of the request as they came."""
    with ScriptedServer([HELLO]) as server:
        async with client_for(kind, server.url, **options) as client:
            await send(client, request)
    [request_] = server.requests
    assert (request_.method, request_.path) == ("POST", "/v1/messages")
    return request_.headers, request_.json


@pytest.mark.anyio
@http_kinds
async def test_headers(kind: str) -> None:
    headers, _ = await sent_by(
        kind,
        replace(REQUEST, betas=("one-1", "two-2"), headers={"X-Run": "7", "User-Agent": "mine"}),
        headers={"Anthropic-Beta": "zero-0", "x-team": "a b"},
    )
    assert (headers["x-api-key"], headers["authorization"]) == (KEY, f"Bearer {KEY}"), "an endpoint nobody knows"
    assert headers["anthropic-version"] == "2023-06-01"
    assert headers["anthropic-beta"] == "zero-0,one-1,two-2"
    assert headers["content-type"] == "application/json"
    assert (headers["x-run"], headers["x-team"], headers["user-agent"]) == ("7", "a b", "mine")


@pytest.mark.anyio
@http_kinds
async def test_token_goes_as_bearer(kind: str) -> None:
    headers, _ = await sent_by(kind, REQUEST, api_key=None, auth_token=KEY)
    assert headers["authorization"] == f"Bearer {KEY}"
    assert not {"x-api-key", "anthropic-beta"} & headers.keys()


@pytest.mark.anyio
async def test_headers_of_a_request_beat_those_of_the_client() -> None:
    request = replace(REQUEST, headers={"Anthropic-Version": "2026-10-21", "anthropic-beta": "mine"})
    headers, _ = await sent_by("own", request, headers={"anthropic-version": "2024-01-01", "anthropic-beta": "no"})
    assert (headers["anthropic-version"], headers["anthropic-beta"]) == ("2026-10-21", "mine")


@pytest.mark.anyio
@http_kinds
@requests
async def test_body(kind: str, request_: Request) -> None:
    tools = ({"name": "add", "input_schema": {"type": "object"}},)
    request = replace(request_, system="Be brief.", tools=tools, params={"temperature": 0.5, "container": "c_1"})
    headers, body = await sent_by(kind, request)
    assert body == {
        "model": "claude-sonnet-4-6",
        "tools": list(tools),
        "system": "Be brief.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "What is 1 + 2?"}]}],
        "max_tokens": 1000,
        "temperature": 0.5,
        "container": "c_1",
        **({"stream": True} if request.stream else {}),
    }
    assert headers["content-length"] == str(len(json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()))


@pytest.mark.anyio
async def test_broken_history_is_not_sent() -> None:
    transcript = asked()
    transcript.take_turn(reply(tool_use("add", a=1)), None, 0.0)
    with ScriptedServer([]) as server:
        async with client_for("own", server.url) as client:
            with pytest.raises(TranscriptError, match="the API would refuse this history"):
                await send(client, transcript=transcript)
    assert not server.requests


# What a turn gives

SEARCH = server_tool_use("web_search", query="x")
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"type": "web_search_result"}]}
FAILED = {
    "type": "web_fetch_tool_result",
    "tool_use_id": "srvtoolu_9",
    "content": {"type": "web_fetch_tool_result_error", "error_code": "unavailable"},
}
RICH = reply(
    thinking("Let me think."),
    SEARCH,
    FOUND,
    FAILED,
    text("The answer.", citations=[{"type": "char_location", "cited_text": "a"}]),
    tool_use("add", a=1, b=2),
    {"type": "new_block", "x": [1]},
    usage={"cache_read_input_tokens": 7, "server_tool_use": {"web_search_requests": 1}},
)


@pytest.mark.anyio
@http_kinds
async def test_streamed_turn(kind: str) -> None:
    new_delta = {"type": "content_block_delta", "index": 6, "delta": {"type": "new_delta", "y": 2}}
    wire = [*events(RICH)]
    wire[-3:-3] = [{"type": "new_event", "z": 3}, new_delta]
    with ScriptedServer([Sse(wire, chunk=7)]) as server:
        async with client_for(kind, server.url) as client:
            seen = await send(client)
    message = {**RICH, "content": [*RICH["content"][:-1], {"type": "new_block", "x": [1], "y": 2}]}
    usage = Usage(10, 5, 7, web_search_requests=1)
    assert seen[-1] == TurnEnd("tool_use", usage, "req_0", message)
    assert "".join(e.text for e in seen if isinstance(e, TextDelta)) == "The answer."
    assert "".join(e.thinking for e in seen if isinstance(e, ThinkingDelta)) == "Let me think."
    given = "".join(e.partial_json for e in seen if isinstance(e, InputDelta) and e.index == 5)
    assert json.loads(given) == {"a": 1, "b": 2}
    assert [e.raw for e in seen if isinstance(e, UnknownEvent)] == [{"type": "new_event", "z": 3}, new_delta]
    assert [(e.index, e.block["type"]) for e in seen if isinstance(e, ContentBlockStop)] == [
        (0, "thinking"),
        (4, "text"),
        (5, "tool_use"),
        (6, "new_block"),
    ]
    assert [e for e in seen if isinstance(e, ServerToolCall)] == [
        ServerToolCall("srvtoolu_1", "web_search", {"query": "x"})
    ]
    assert [e for e in seen if isinstance(e, ServerToolResult)] == [
        ServerToolResult("srvtoolu_1", "web_search", 30, None, FOUND),
        ServerToolResult("srvtoolu_9", "web_fetch", 65, "unavailable", FAILED),
    ]


@pytest.mark.anyio
@http_kinds
async def test_turn_that_is_not_streamed(kind: str) -> None:
    with ScriptedServer([RICH]) as server:
        async with client_for(kind, server.url) as client:
            seen = await send(client, UNSTREAMED)
    assert seen == [TurnEnd("tool_use", Usage(10, 5, 7, web_search_requests=1), "req_0", RICH)]


@pytest.mark.anyio
@http_kinds
async def test_endpoint_that_ignores_stream(kind: str) -> None:
    with ScriptedServer([Json(RICH, headers={"content-type": "application/json; charset=utf-8"})]) as server:
        async with client_for(kind, server.url) as client:
            [end] = await send(client)
    assert isinstance(end, TurnEnd)
    assert end.message == RICH


@pytest.mark.anyio
@http_kinds
@requests
async def test_gzip(kind: str, request_: Request) -> None:
    media_type = "text/event-stream" if request_.stream else "application/json"
    body = b"".join(map(sse, events(RICH))) if request_.stream else json.dumps(RICH).encode()
    packed = gzip.compress(body)
    headers = {"content-type": media_type, "content-encoding": "gzip", "request-id": "req_z"}
    with ScriptedServer([Raw(200, headers, packed, chunk=50)]) as server:
        async with client_for(kind, server.url) as client:
            *_, end = await send(client, request_)
    assert isinstance(end, TurnEnd)
    assert (end.message, end.request_id) == (RICH, "req_z")


@pytest.mark.anyio
@http_kinds
@requests
@pytest.mark.parametrize("status", [200, 502])
async def test_web_page_instead_of_json(kind: str, request_: Request, status: int) -> None:
    page = Raw(status, {"content-type": "text/html; charset=utf-8"}, "<html><body>\n<h1>Welcome\x1b[31m</h1></html>")
    with ScriptedServer(lambda _: page) as server:
        async with client_for(kind, server.url) as client:
            with pytest.raises(APIError, match="check base_url") as caught:
                await send(client, request_)
    assert isinstance(caught.value, ProtocolError) == (status == 200)
    assert caught.value.attempts == len(server.requests) == (2 if status == 200 else 4)
    assert not set("\n<\x1b") & set(str(caught.value))


# The other paths


@pytest.mark.anyio
@http_kinds
async def test_a_request_that_is_no_turn(kind: str) -> None:
    models = {"data": [{"id": "claude-sonnet-4-6"}]}
    with ScriptedServer(
        [Json(models), error(404, "not_found_error"), Raw(200, {}, b"<p>"), error(503, "api_error")]
    ) as server:
        async with client_for(kind, server.url + "/v1") as client:
            assert await client.endpoint.ask("GET", "/v1/models") == models
            with pytest.raises(APIError, match="refused"):
                await client.endpoint.ask("GET", "/v1/nothing")
            with pytest.raises(ProtocolError, match="/v1/page answered with something that is no JSON"):
                await client.endpoint.ask("GET", "/v1/page", repeat=False)
            with pytest.raises(APIError) as caught:
                await client.endpoint.ask("GET", "/v1/models", repeat=False)
        server.assert_done()
    assert caught.value.status == 503
    assert [(r.method, r.path, r.body) for r in server.requests[:2]] == [
        ("GET", "/v1/models", b""),
        ("GET", "/v1/nothing", b""),
    ]
    assert server.requests[0].headers["x-api-key"] == KEY
