"""The emulator as an HTTP API: shapes, errors, authentication, streams, many at once, and a clean end."""

from __future__ import annotations

import errno
import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import httpx
import pytest
from talking import CALCULATOR, FETCH, HEADERS, SEARCH, Talk, text, warned

import agentkit.emulator as package
from agentkit.emulator import Corpus, Emulator, serve
from agentkit.errors import ConfigurationError
from agentkit.stream import Decoder, Fold

BODY = {"model": "claude-sonnet-4-6", "max_tokens": 1000, "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
def url(emulator: Emulator) -> str:
    return f"{emulator.url}/v1/messages"


def error_of(reply: httpx.Response) -> tuple[int, str, str]:
    body = reply.json()
    assert body["type"] == "error"
    assert body["request_id"] == reply.headers["request-id"]
    return reply.status_code, body["error"]["type"], body["error"]["message"]


def folded(stream: bytes) -> dict[str, Any]:
    fold = Fold()
    for data in Decoder().feed(stream):
        fold.add(data)
    return fold.message


def test_a_message(http: httpx.Client, url: str) -> None:
    reply = http.post(url, json=BODY, params={"beta": "true"})
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["request-id"].startswith("req_01")
    message = reply.json()
    assert (message["type"], message["role"], message["model"]) == ("message", "assistant", BODY["model"])
    assert message["id"].startswith("msg_01")
    assert (message["stop_reason"], message["stop_sequence"], message["stop_details"]) == ("end_turn", None, None)


def test_the_stream_of_a_message_is_the_same_message(http: httpx.Client, emulator: Emulator, url: str) -> None:
    talk = Talk(http, emulator.url, SEARCH, FETCH)
    talk.messages.append({"role": "user", "content": "How do I brew coffee?"})
    whole = talk.post().json()
    streamed = talk.post(stream=True)
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert streamed.headers["request-id"].startswith("req_01")
    kinds = [json.loads(line[5:])["type"] for line in streamed.text.splitlines() if line.startswith("data:")]
    assert kinds[:3] == ["message_start", "content_block_start", "ping"]
    assert kinds[-2:] == ["message_delta", "message_stop"]
    usage = whole.pop("usage")
    message = folded(streamed.content)
    # The request is longer by `"stream":true`.
    assert abs(message.pop("usage")["input_tokens"] - usage["input_tokens"]) < 10
    assert message == whole


def test_a_reply_comes_at_once(http: httpx.Client, url: str) -> None:
    """Small pieces wait 40 ms for each other where the socket does not send them at once."""

    def seconds() -> float:
        start = time.monotonic()
        http.post(url, json=BODY)
        return time.monotonic() - start

    assert any(seconds() < 0.03 for _ in range(200))


def test_a_stream_takes_its_time(corpus: Corpus, http: httpx.Client) -> None:
    with Emulator(corpus=corpus, pace=0.2) as slow:
        start = time.monotonic()
        reply = http.post(f"{slow.url}/v1/messages", json={**BODY, "stream": True})
        assert 0.1 < time.monotonic() - start < 30
    assert folded(reply.content)["stop_reason"] == "end_turn"


@pytest.mark.parametrize("headers", [{"x-api-key": "k"}, {"authorization": "Bearer k"}, {"authorization": "bearer k"}])
def test_a_key_in_either_header(headers: dict[str, str], url: str) -> None:
    reply = httpx.post(url, json=BODY, headers=headers | {"anthropic-version": "2026-10-21"})
    assert reply.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": ""},
        {"x-api-key": "invalid-1"},
        {"authorization": "Bearer invalid"},
        {"authorization": "Basic k"},
    ],
)
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens", "/v1/models", "/v1/models/claude-x"])
def test_a_missing_or_wrong_key(headers: dict[str, str], path: str, emulator: Emulator) -> None:
    method = "GET" if "models" in path else "POST"
    reply = httpx.request(method, emulator.url + path, headers=headers | {"anthropic-version": "2023-06-01"})
    assert error_of(reply) == (401, "authentication_error", "invalid x-api-key")


def test_the_version_is_required(url: str) -> None:
    missing = httpx.post(url, json=BODY, headers={"x-api-key": "k"})
    assert error_of(missing) == (400, "invalid_request_error", "anthropic-version: header is required")
    odd = httpx.post(url, json=BODY, headers={"x-api-key": "k", "anthropic-version": "2022-02-22"})
    assert error_of(odd)[0] == 400


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": NaN}', b"\xff", b'{"a": "\\ud800"}', b"null"])
def test_a_body_that_is_no_json_object(content: bytes, http: httpx.Client, url: str) -> None:
    status, kind, message = error_of(http.post(url, content=content))
    assert (status, kind) == (400, "invalid_request_error")
    assert message.startswith("The request body is not valid JSON")


def test_a_body_that_is_too_large(http: httpx.Client, url: str) -> None:
    reply = http.post(url, content=b" " * 32_000_001)
    assert error_of(reply)[:2] == (413, "request_too_large")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"messages": []}, "messages: at least one message is required"),
        ({"max_tokens": "many"}, "max_tokens: Input should be a valid integer"),
        ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
        (
            {
                "messages": [
                    *BODY["messages"],  # type: ignore[misc]
                    {
                        "role": "user",
                        "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}],
                    },
                ]
            },
            "unexpected `tool_use_id` found in `tool_result` blocks: toolu_1",
        ),
    ],
)
def test_what_breaks_a_rule_is_refused_in_the_apis_words(
    fields: dict[str, Any], message: str, http: httpx.Client, url: str
) -> None:
    status, kind, said = error_of(http.post(url, json={**BODY, **fields}))
    assert (status, kind) == (400, "invalid_request_error")
    assert message in said


def test_a_missing_field(http: httpx.Client, url: str) -> None:
    assert error_of(http.post(url, json={"messages": BODY["messages"], "max_tokens": 5}))[2] == "model: Field required"


def test_an_unknown_model(http: httpx.Client, emulator: Emulator, url: str) -> None:
    expected = (404, "not_found_error", "model: gpt-x")
    assert error_of(http.post(url, json={**BODY, "model": "gpt-x"})) == expected
    assert error_of(http.get(f"{emulator.url}/v1/models/gpt-x")) == expected


@pytest.mark.parametrize("path", ["/v1/v1/messages", "/v1/messages/", "/v1", "/nothing", "/v1/messages/more"])
def test_a_wrong_path(path: str, http: httpx.Client, emulator: Emulator) -> None:
    assert error_of(http.post(emulator.url + path, json=BODY))[:2] == (404, "not_found_error")


def test_a_wrong_method(http: httpx.Client, url: str) -> None:
    assert error_of(http.get(url))[:2] == (405, "invalid_request_error")


def test_counting_tokens(http: httpx.Client, url: str) -> None:
    body = {name: value for name, value in BODY.items() if name != "max_tokens"}
    few = http.post(f"{url}/count_tokens", json=body).json()
    more = http.post(f"{url}/count_tokens", json={**body, "system": "x" * 400}).json()
    assert set(few) == {"input_tokens"}
    assert 95 <= more["input_tokens"] - few["input_tokens"] <= 110
    assert error_of(http.post(f"{url}/count_tokens", json={"model": "claude-x"}))[0] == 400


def test_models(http: httpx.Client, emulator: Emulator) -> None:
    page = http.get(f"{emulator.url}/v1/models").json()
    assert page["has_more"] is False
    assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])
    for item in page["data"]:
        assert http.get(f"{emulator.url}/v1/models/{item['id']}").json() == item
        assert "no language model" in item["display_name"]
    first = http.get(f"{emulator.url}/v1/models", params={"limit": 2}).json()
    assert first["has_more"] is True
    rest = http.get(f"{emulator.url}/v1/models", params={"after_id": first["last_id"]}).json()
    assert first["data"] + rest["data"] == page["data"]
    before = http.get(f"{emulator.url}/v1/models", params={"before_id": rest["first_id"], "limit": "many"}).json()
    assert before["data"] == first["data"]
    nothing = http.get(f"{emulator.url}/v1/models", params={"before_id": page["first_id"]}).json()
    assert (nothing["data"], nothing["first_id"], nothing["last_id"]) == ([], None, None)


def test_the_root_says_what_it_is(emulator: Emulator) -> None:
    assert "not a language model" in httpx.get(emulator.url).text
    assert httpx.head(emulator.url).status_code == 200


@pytest.mark.anyio
async def test_many_at_once(emulator: Emulator) -> None:
    texts: list[str] = []

    async def ask(number: int) -> None:
        body = {**BODY, "tools": [CALCULATOR], "messages": [{"role": "user", "content": f"What is {number} + 1?"}]}
        reply = await client.post(f"{emulator.url}/v1/messages", json={**body, "stream": number % 2 == 0})
        message = folded(reply.content) if number % 2 == 0 else reply.json()
        texts.append(message["content"][0]["input"]["expression"])

    async with httpx.AsyncClient(headers=HEADERS) as client, anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(ask, number)
    assert sorted(texts) == sorted(f"{number} + 1" for number in range(50))


def test_requests_are_kept(corpus: Corpus, http: httpx.Client) -> None:
    with Emulator(corpus=corpus, pace=0) as emulator:
        http.post(f"{emulator.url}/v1/messages", json=BODY)
        http.post(f"{emulator.url}/v1/messages", json={**BODY, "surprise": 1})
        assert emulator.requests == [BODY, {**BODY, "surprise": 1}]


def is_free(port: int, corpus: Corpus) -> bool:
    """Whether a port refuses, and can be served on again."""
    with socket.socket() as client:
        if client.connect_ex(("127.0.0.1", port)) != errno.ECONNREFUSED:
            return False
    try:
        with Emulator(corpus=corpus, port=port, pace=0) as emulator:
            return emulator.url == f"http://127.0.0.1:{port}"
    except ConfigurationError:
        return False


def test_nothing_is_left_behind(corpus: Corpus) -> None:
    before = threading.enumerate()

    def ended() -> int:
        """The port of an emulator that has served."""
        with Emulator(corpus=corpus, pace=0) as emulator, httpx.Client(headers=HEADERS) as client:
            client.post(f"{emulator.url}/v1/messages", json=BODY)
        assert set(threading.enumerate()) <= set(before)
        return int(emulator.url.rsplit(":", 1)[1])

    # Another process may take a port as soon as it is free: hardly three times.
    assert any(is_free(ended(), corpus) for _ in range(3))
    assert len(corpus) > 0


def test_a_client_that_goes_away(corpus: Corpus, caplog: pytest.LogCaptureFixture) -> None:
    with Emulator(corpus=corpus, pace=1.0) as emulator:
        host = ("127.0.0.1", int(emulator.url.rsplit(":", 1)[1]))
        head = "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: k\r\nanthropic-version: 2023-06-01\r\n"
        with socket.create_connection(host) as half_a_body:
            half_a_body.sendall(f"{head}content-length: 100\r\n\r\n{{".encode())
        with httpx.Client(headers=HEADERS) as client:
            with client.stream("POST", f"{emulator.url}/v1/messages", json={**BODY, "stream": True}) as reply:
                next(reply.iter_raw())
            assert client.post(f"{emulator.url}/v1/messages", json=BODY).status_code == 200
    assert warned(caplog.records, emulator._thread.name) == []


def test_a_fault_of_its_own_is_a_500(corpus: Corpus, monkeypatch: pytest.MonkeyPatch, http: httpx.Client) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("agentkit.emulator.app.read", broken)
    with Emulator(corpus=corpus, pace=0) as emulator:
        assert error_of(http.post(f"{emulator.url}/v1/messages", json=BODY)) == (
            500,
            "api_error",
            "Internal server error",
        )


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.1", "example.org", ""])
def test_loopback_only(host: str) -> None:
    with pytest.raises(ConfigurationError, match="loopback address only"):
        Emulator(host=host)


def test_ipv6(corpus: Corpus, http: httpx.Client) -> None:
    try:
        with Emulator(corpus=corpus, host="::1", pace=0) as emulator:
            assert http.post(f"{emulator.url}/v1/messages", json=BODY).status_code == 200
    except ConfigurationError:
        pytest.skip("no IPv6 loopback here")


def test_arguments_that_can_not_work(corpus: Corpus, emulator: Emulator, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="pause_after must be at least 1"):
        Emulator(pause_after=0)
    port = int(emulator.url.rsplit(":", 1)[1])
    with pytest.raises(ConfigurationError, match=f"can't serve on 127.0.0.1 port {port}: .*; try --port 0"):
        Emulator(corpus=corpus, port=port).__enter__()
    with pytest.raises(ConfigurationError, match="port 70000"):
        Emulator(corpus=corpus, port=70_000).__enter__()
    with pytest.raises(ConfigurationError, match="there is no folder"):
        Emulator(corpus=tmp_path / "missing").__enter__()


def test_without_the_extra(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'agentkit-loop\[emulator\]'"):
        Emulator(corpus=corpus).__enter__()


def test_another_missing_module_is_no_missing_extra(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "agentkit.emulator.app", None)
    with pytest.raises(ModuleNotFoundError, match=r"agentkit\.emulator\.app"):
        Emulator(corpus=corpus).__enter__()


def test_a_server_that_does_not_start(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uvicorn.Server.run", lambda server, sockets: None)
    with pytest.raises(ConfigurationError, match="did not start"):
        Emulator(corpus=corpus).__enter__()


def test_importing_the_package_loads_no_extra() -> None:
    code = "import sys, agentkit.emulator; print([m for m in ('uvicorn', 'starlette', 'httpx') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_folder_by_its_name(folder: Path, http: httpx.Client) -> None:
    with Emulator(corpus=str(folder), pace=0) as emulator:
        assert "Brewing coffee" in text(Talk(http, emulator.url, SEARCH).ask("How do I brew coffee?"))


def test_serving_until_interrupted(corpus: Corpus, http: httpx.Client) -> None:
    seen: list[int] = []

    def ready(emulator: Emulator) -> None:
        seen.append(http.get(emulator.url).status_code)
        raise KeyboardInterrupt

    serve(corpus=corpus, port=0, ready=ready)
    assert seen == [200]


def test_serving_ends_with_its_server(corpus: Corpus) -> None:
    def ready(emulator: Emulator) -> None:
        emulator._server.should_exit = True

    serve(corpus=corpus, port=0, ready=ready)


def test_no_module_takes_the_name_of_what_the_package_has(emulator: Emulator) -> None:
    """A module that is imported later, by serving, would take the place of a function of its name."""
    assert [name for name in package.__all__ if isinstance(getattr(package, name), ModuleType)] == []
