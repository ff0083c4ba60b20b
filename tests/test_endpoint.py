"""One request that is no turn: what is sent, what is retried, and what comes back as an error."""

from __future__ import annotations

import time
from typing import Any

import pytest
from scripted import Drop, Json, Raw, ScriptedServer, error, refused
from sending import HTTP, KEY, client_for

from agentkit.client import Client
from agentkit.endpoint import path_of
from agentkit.errors import (
    APIConnectionError,
    APITimeoutError,
    BadRequestError,
    ConfigurationError,
    NotFoundError,
    OverloadedError,
    ProtocolError,
)
from agentkit.retry import RetryBudget
from agentkit.settings import Timeouts

pytestmark = pytest.mark.anyio
http_kinds = pytest.mark.parametrize("kind", HTTP)
BODY = {
    "model": "claude-sonnet-4-6",
    "messages": [{"role": "user", "content": "Hello"}],
    "thinking": {"type": "adaptive"},
    "future": 1,
}


async def items(client: Client, path: str) -> list[str]:
    return [item["id"] async for item in client.endpoint.items(path, limit=2)]


async def whole(client: Client) -> bytes:
    async with client.endpoint.open("GET", "/v1/x") as reply:
        return b"".join([chunk async for chunk in reply.chunks()])


# What is sent


@http_kinds
async def test_methods_bodies_and_headers(kind: str) -> None:
    with ScriptedServer([Json({"n": n}) for n in range(4)]) as server:
        async with client_for(kind, server.url, headers={"anthropic-beta": "a"}) as client:
            ask = client.endpoint.ask
            assert await ask("GET", "/v1/skills?limit=1") == {"n": 0}
            assert await ask("POST", "/v1/x", {"a": "ü"}, headers={"X-More": "1"}, betas=["b", "c"]) == {"n": 1}
            assert await ask("PATCH", "/v1/x", [b"12", b"34"], headers={"X-API-Key": None}) == {"n": 2}
            assert await ask("DELETE", "/v1/x") == {"n": 3}
    shown = [(request.method, request.path, request.body) for request in server.requests]
    assert shown == [
        ("GET", "/v1/skills?limit=1", b""),
        ("POST", "/v1/x", '{"a":"ü"}'.encode()),
        ("PATCH", "/v1/x", b"1234"),
        ("DELETE", "/v1/x", b""),
    ]
    first, second, third, _ = (request.headers for request in server.requests)
    assert (first["x-api-key"], first["anthropic-version"], first["anthropic-beta"]) == (KEY, "2023-06-01", "a")
    assert (second["x-more"], second["anthropic-beta"]) == ("1", "a,b,c")
    assert "x-api-key" not in third


def test_ids_lead_nowhere_else() -> None:
    assert path_of("files", "a/../b?c#d ä", "content") == "/v1/files/a%2F..%2Fb%3Fc%23d%20%C3%A4/content"
    for wrong in ("", ".", "..", None):
        with pytest.raises(ConfigurationError, match="is no id"):
            path_of("files", wrong)  # type: ignore[arg-type]


# What is retried


@pytest.mark.parametrize("trouble", [error(529, "overloaded_error"), Drop(), error(500, "api_error")])
async def test_what_changes_nothing_is_sent_again(trouble: Any) -> None:
    with ScriptedServer([trouble, Json({}), trouble, Json({"input_tokens": 7})]) as server:
        async with client_for("own", server.url) as client:
            assert await client.endpoint.ask("GET", "/v1/files") == {}
            assert await client.count_tokens(BODY) == 7
        server.assert_done()


async def test_what_makes_something_is_sent_once() -> None:
    with ScriptedServer([error(529, "overloaded_error", request_id="req_9")] * 2) as server:
        async with client_for("own", server.url) as client:
            for method in ("POST", "DELETE"):
                with pytest.raises(OverloadedError) as caught:
                    await client.endpoint.ask(method, "/v1/files", {})
                assert (caught.value.attempts, caught.value.request_id) == (1, "req_9")
        server.assert_done()


async def test_retries_end() -> None:
    with ScriptedServer(lambda _: error(529, "overloaded_error")) as server:
        async with client_for("own", server.url) as client:
            with pytest.raises(OverloadedError) as caught:
                await client.models()
    assert caught.value.attempts == len(server.requests) == 4


async def test_retries_come_out_of_the_budget_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = RetryBudget()
    monkeypatch.setattr("agentkit.client._budget", budget)
    while budget.spend():
        pass
    with ScriptedServer(
        [error(529, "overloaded_error"), *[Json({})] * 11, error(529, "overloaded_error"), Json({})]
    ) as server:
        async with client_for("own", server.url) as client:
            with pytest.raises(OverloadedError) as caught:
                await client.endpoint.ask("GET", "/v1/x")
            assert caught.value.attempts == 1
            for _ in range(12):  # some ten answers earn one retry
                await client.endpoint.ask("GET", "/v1/x")
        server.assert_done()


# What goes wrong


@http_kinds
async def test_failures_are_ours(kind: str) -> None:
    replies = [
        error(404, "not_found_error", "Not found", request_id="req_1"),
        Raw(200, {"content-type": "text/html"}, "<p>Hi"),
        Raw(301, {"location": "https://elsewhere.example/x"}),
        Json({}, cut=1, end="close"),
        Json([], delay=60.0),
    ]
    expected = [NotFoundError, ProtocolError, ProtocolError, APIConnectionError, APITimeoutError]
    with ScriptedServer(replies) as server:
        async with client_for(kind, server.url) as client:
            for wanted in expected:
                began = time.monotonic()
                seconds = 0.2 if wanted is APITimeoutError else 30
                with pytest.raises(wanted) as caught:
                    await client.endpoint.ask("GET", "/v1/models", seconds=seconds, repeat=False)
                assert time.monotonic() - began < 20
                if wanted is NotFoundError:
                    assert caught.value.request_id == "req_1"  # type: ignore[attr-defined]


async def test_nobody_is_there() -> None:
    with refused() as url:
        async with client_for("own", url) as client:
            with pytest.raises(APIConnectionError, match="can't reach the endpoint"):
                await client.endpoint.ask("GET", "/v1/models")


async def test_an_error_reply_as_it_is() -> None:
    with ScriptedServer([error(400, "invalid_request_error", "no")]) as server:
        async with (
            client_for("own", server.url) as client,
            client.endpoint.open("POST", "/v1/messages", {}, any_status=True) as reply,
        ):
            assert (reply.status, b"invalid_request_error" in await reply.body(30.0)) == (400, True)


async def test_a_slow_stream_is_read_to_its_end_but_not_for_ever() -> None:
    with ScriptedServer(
        [Raw(200, {}, b"abcdef", chunk=2, pause=0.05), Raw(200, {}, b"abc", cut=1, end="stall")]
    ) as server:
        async with client_for("own", server.url, timeouts=Timeouts(stall=30)) as client:
            assert await whole(client) == b"abcdef"
        async with client_for("own", server.url, timeouts=Timeouts(stall=0.1)) as client:
            with pytest.raises(APITimeoutError):
                await whole(client)


# Lists


async def test_pages_by_last_id() -> None:
    first = {"data": [{"id": "a"}, {"id": "b"}], "has_more": True, "last_id": "b"}
    last = {"data": [{"id": "c"}], "has_more": False, "last_id": "c"}
    with ScriptedServer([Json(first), Json(last)]) as server:
        async with client_for("own", server.url) as client:
            assert await items(client, "/v1/models") == ["a", "b", "c"]
        server.assert_done()
    assert [request.path for request in server.requests] == ["/v1/models?limit=2", "/v1/models?limit=2&after_id=b"]


async def test_pages_by_next_page() -> None:
    first = {"data": [{"id": "a"}], "next_page": "page_/2"}
    with ScriptedServer([Json(first), Json({"data": [{"id": "b"}], "next_page": None})]) as server:
        async with client_for("own", server.url) as client:
            assert await items(client, "/v1/files") == ["a", "b"]
    assert server.requests[1].path == "/v1/files?limit=2&page=page_%2F2"


async def test_an_only_page_that_promises_more() -> None:
    page = {"data": [{"id": "a"}, {"id": ""}, {}, "?"], "has_more": True}
    with ScriptedServer([Json(page), Json(page)]) as server:
        async with client_for("own", server.url) as client:
            assert await items(client, "/v1/models") == ["a"]


@pytest.mark.parametrize("answer", [[], {}, {"data": None}, "list"])
async def test_no_list(answer: Any) -> None:
    with ScriptedServer([Json(answer)]) as server:
        async with client_for("own", server.url) as client:
            with pytest.raises(ProtocolError, match="/v1/models answered with no list"):
                await items(client, "/v1/models")


# Counting tokens


async def test_count_tokens_leaves_out_what_is_refused() -> None:
    extra = {"max_tokens": 5, "stream": True, "metadata": {"user_id": "u"}, "stop_sequences": ["x"], "container": "c"}
    with ScriptedServer([Json({"input_tokens": 2095, "context_management": {}})]) as server:
        async with client_for("own", server.url) as client:
            assert await client.count_tokens(BODY | extra, betas=["mcp-client-2025-11-20"]) == 2095
    request = server.requests[0]
    assert (request.method, request.path, request.json) == ("POST", "/v1/messages/count_tokens", BODY)
    assert request.headers["anthropic-beta"] == "mcp-client-2025-11-20"


async def test_count_tokens_that_there_is_not() -> None:
    replies = [error(404, "not_found_error"), Json({"tokens": 3}), Json(7), error(400, "invalid_request_error")]
    with ScriptedServer(replies) as server:
        async with client_for("own", server.url) as client:
            for wanted in (NotFoundError, ProtocolError, ProtocolError, BadRequestError):
                with pytest.raises(wanted):
                    await client.count_tokens(BODY)
