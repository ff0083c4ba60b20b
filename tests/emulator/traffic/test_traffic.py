"""The log of what came and what was answered."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest
from talking import HEADERS, Talk

from agentkit.emulator import Emulator, fault, reply, thinking, tool_use
from agentkit.emulator.traffic.traffic import Exchange, Traffic, told

KEY = "sk-ant-Zm9v+/~Y29mZmVl_1"


def logged(emulator: Emulator) -> list[dict[str, Any]]:
    """What the log tells once all exchanges have ended."""
    traffic = emulator._service.traffic
    deadline = time.monotonic() + 30
    while any(one.seconds is None for one in traffic.exchanges) and time.monotonic() < deadline:
        time.sleep(0.002)
    return [told(one) for one in traffic.exchanges]


def asking(http: httpx.Client, emulator: Emulator) -> Talk:
    talk = Talk(http, emulator.url)
    talk.messages.append({"role": "user", "content": "Hello?"})
    return talk


@pytest.mark.parametrize("stream", [False, True])
def test_a_reply_is_logged_as_a_message(stream: bool, http: httpx.Client) -> None:
    with Emulator(script=[reply(thinking("Hm."), "Hi.", tool_use("lookup", city="Rome"))], pace=0) as emulator:
        answer = asking(http, emulator).post(stream=stream)
        (one,) = logged(emulator)
    assert (one["number"], one["turn"], one["method"], one["path"]) == (1, 1, "POST", "/v1/messages")
    assert (one["status"], one["problem"]) == (200, None)
    assert one["request"]["messages"] == [{"role": "user", "content": "Hello?"}]
    assert [block["type"] for block in one["reply"]["content"]] == ["thinking", "text", "tool_use"]
    assert one["reply"]["stop_reason"] == "tool_use"
    assert stream or one["reply"] == answer.json()
    assert 0 <= one["seconds"] < 5
    assert abs(one["at"] - time.time()) < 60


def test_errors_and_other_requests_are_logged(http: httpx.Client) -> None:
    with Emulator(script=lambda body: reply("Hi."), pace=0) as emulator:
        http.get(f"{emulator.url}/v1/models?limit=1")
        asking(http, emulator).post(surprise=1)
        http.post(f"{emulator.url}/v1/messages", content=b"{")
        http.get(f"{emulator.url}/nowhere")
        asking(http, emulator).post()
        http.post(f"{emulator.url}/v1/messages/count_tokens", json={"model": "claude-sonnet-4-6", "messages": []})
        found = logged(emulator)
    assert [(one["number"], one["turn"], one["status"]) for one in found] == [
        (1, None, 200),
        (2, 1, 400),
        (3, 2, 400),
        (4, None, 404),
        (5, 3, 200),
        (6, None, 400),
    ]
    assert found[0]["path"] == "/v1/models?limit=1"
    assert found[1]["reply"]["error"]["message"] == "surprise: Extra inputs are not permitted"
    assert found[2]["request"] == "{"
    assert (found[3]["request"], found[3]["reply"]["error"]["type"]) == (None, "not_found_error")
    assert [body.get("surprise") for body in emulator.requests] == [1, None]


def test_a_stream_that_breaks_is_logged_as_far_as_it_came(http: httpx.Client) -> None:
    with Emulator(script=[reply("Hello, world: this is it.")], faults=[fault("reset", event=4)], pace=0) as emulator:
        with pytest.raises(httpx.HTTPError):
            asking(http, emulator).post(stream=True)
        (one,) = logged(emulator)
    assert one["reply"]["content"][0]["text"].startswith("Hello")
    assert one["problem"].startswith("the stream ended after ")


def test_a_reply_that_breaks_without_a_stream(http: httpx.Client) -> None:
    with Emulator(script=[reply("Hi.")], faults="T5-body-close", pace=0) as emulator:
        with pytest.raises(httpx.HTTPError):
            asking(http, emulator).post()
        (one,) = logged(emulator)
    assert (one["status"], one["problem"]) == (200, "the connection ended before the reply did")
    assert one["reply"].startswith("{")


def test_a_connection_that_breaks_before_a_reply(http: httpx.Client) -> None:
    with Emulator(script=[], faults="dropped", pace=0) as emulator:
        with pytest.raises(httpx.HTTPError):
            asking(http, emulator).post()
        (one,) = logged(emulator)
    assert (one["status"], one["reply"]) == (None, None)
    assert one["problem"] == "the connection ended before a reply came"
    assert len(emulator.requests) == 1


def test_keys_are_not_told(http: httpx.Client) -> None:
    server = {"type": "url", "url": "https://mcp.test", "name": "docs", "authorization_token": "very secret token"}
    headers = {**HEADERS, "x-api-key": KEY, "authorization": f"Bearer {KEY}", "anthropic-beta": "mcp-client-2025-11-20"}
    with Emulator(script=[reply(f"Your key is {KEY}.")], pace=0) as emulator:
        talk = asking(http, emulator)
        body = talk.body(mcp_servers=[server], tools=[{"type": "mcp_toolset", "mcp_server_name": "docs"}])
        answer = http.post(f"{emulator.url}/v1/messages", json=body, headers=headers)
        found = logged(emulator)
        seen = emulator.requests, emulator.headers
    assert answer.status_code == 200, answer.text
    assert KEY not in str(found)
    assert "very secret token" not in str(found)
    assert found[0]["headers"]["x-api-key"] == found[0]["headers"]["authorization"] == "…"
    assert found[0]["request"]["mcp_servers"][0]["authorization_token"] == "…"
    assert seen[0] == [body]  # a test may look at what was sent
    assert KEY not in str(seen[1])


def test_the_oldest_exchanges_go_first() -> None:
    traffic = drive(Traffic(answering), [b"{}"] * 1003)
    assert [one.number for one in traffic.exchanges] == list(range(4, 1004))
    assert len(list(traffic.requests())) == 1000


def test_what_is_kept_is_limited_in_bytes() -> None:
    traffic = drive(Traffic(answering), [b"1" * 30_000_000] * 3)
    assert [one.number for one in traffic.exchanges] == [2, 3]
    traffic = drive(traffic, [b"1" * 90_000_000, b"1"])
    assert [one.number for one in traffic.exchanges] == [5]
    assert traffic._bytes == traffic.exchanges[0].size


def test_an_exchange_that_lasts_has_no_problem_yet() -> None:
    exchange = Exchange(1, 1, "POST", "/v1/messages", {})
    exchange.status, exchange.streamed = 200, True
    exchange.sent.append(b'data: {"type":"message_start","message":{"content":[]}}\n\n')
    assert (exchange.reply, exchange.problem) == ({"content": []}, None)
    exchange.seconds = 0.1
    assert exchange.problem == "the stream ended after 1 events, before message_stop"


def test_a_body_is_not_read_before_it_is_whole() -> None:
    exchange = Exchange(1, 1, "POST", "/v1/messages", {})
    exchange.received.append(b"[1")
    assert exchange.body is None
    exchange.received.append(b"]")
    exchange.whole = True
    assert exchange.body == [1]


async def answering(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


def drive(traffic: Traffic, bodies: list[bytes]) -> Traffic:
    """Sends bodies without a server."""
    scope = {"type": "http", "method": "POST", "path": "/v1/messages", "headers": []}

    async def send(message: Any) -> None: ...

    async def all_of_them() -> None:
        for body in bodies:

            async def receive(body: bytes = body) -> Any:
                return {"type": "http.request", "body": body}

            await traffic(dict(scope), receive, send)

    asyncio.run(all_of_them())
    return traffic
