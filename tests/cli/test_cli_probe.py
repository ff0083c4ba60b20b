"""`agentkit doctor --probe`: what an unknown endpoint supports, told apart from what could not be found out."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import Cli
from scripted import Drop, Json, Raw, Request, ScriptedServer, error, reply, text, thinking, tool_use
from typer.testing import Result

from agentkit.cli import probe
from agentkit.emulator import Emulator

KEY = "sk-ant-api03-0123456789abcdef"
Endpoint = Callable[[Request], object]


def feature(request: Request) -> str:
    """What a request asks about."""
    body = request.json
    if body is None or request.path.endswith("count_tokens"):
        return "models" if body is None else "count_tokens"
    if not body["messages"]:
        return "error shape"
    if request.headers["anthropic-version"] != "2023-06-01":
        return f"version {request.headers['anthropic-version']}"
    config = body.get("output_config", {})
    found = [
        "streaming" if body.get("stream") else "",
        "forced tool_choice" if "tool_choice" in body else "",
        f"thinking {body['thinking']['type']}" if "thinking" in body else "",
        f"effort {config['effort']}" if "effort" in config else "",
        "structured output" if "format" in config else "",
        "cache_control, top" if "cache_control" in body else "",
        "cache_control, block" if isinstance(body.get("system"), list) else "",
        "role system" if body["messages"][-1]["role"] == "system" else "",
        "neighbours of one role" if [message["role"] for message in body["messages"]] == ["user", "user"] else "",
        str(body["tools"][0].get("type", "tool use")) if "tools" in body else "",
    ]
    return next(filter(None, found), "messages")


def capable(request: Request) -> object:
    """An endpoint that can all."""
    match feature(request):
        case "models":
            return Json({"data": [{"type": "model", "id": "claude-sonnet-4-6", "capabilities": {"batch": {}}}]})
        case "count_tokens":
            return Json({"input_tokens": 9})
        case "error shape":
            return error(400, "invalid_request_error", "messages: at least one message is required")
        case "tool use" | "forced tool_choice":
            return reply(tool_use("ping", to="Bob"))
        case "thinking adaptive" | "thinking enabled" | "thinking between_tools":
            return reply(thinking("Hm."), text("ok"))
        case "structured output":
            return reply(text('{"answer": 5}'))
        case "effort none" | "thinking none" | "web_search_19990101" | "version 1999-01-01":
            return error(400, "invalid_request_error", "there is no such thing")
        case "cache_control, block":
            return reply(text("ok"), usage={"cache_creation_input_tokens": 5100})
        case "cache_control, top":
            return reply(text("ok"), usage={"cache_read_input_tokens": 5200})
        case _:
            return reply(text("ok"))


def lenient(request: Request) -> object:
    """A small server on this machine: it takes what it does not know and leaves it alone."""
    refusal = Json({"error": {"code": 500, "message": "no such thing", "type": "server_error"}}, 400)
    match feature(request):
        case "models":
            return Json({"object": "list", "data": [{"id": "m", "object": "model"}]})
        case "count_tokens" | "role system" | "error shape":
            return refusal
        case "tool use":
            return reply(tool_use("ping", to="Bob"), stop="end_turn")
        case "thinking disabled":
            return reply(thinking("Hm."), text("ok"))
        case "streaming":
            return Json(reply(text("ok")))
        case _:
            return reply(text("Sure: 5"), usage={"input_tokens": 6000})


def but(name: str, answer: object, endpoint: Endpoint = capable) -> Endpoint:
    """An endpoint that answers one question in another way."""
    return lambda request: answer if feature(request) == name else endpoint(request)


@pytest.fixture
def ask(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Probes a scripted endpoint with a key."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)

    def run(endpoint: Endpoint, *arguments: str) -> Result:
        with ScriptedServer(endpoint) as server:
            return cli("doctor", "--probe", "--base-url", server.url, *arguments)

    return run


def found(result: Result) -> dict[str, tuple[bool | None, str]]:
    said = json.loads(result.stdout)
    return {finding["feature"]: (finding["supported"], finding["note"]) for finding in said["findings"]}


@pytest.mark.slow
def test_an_endpoint_that_can_all(ask: Any) -> None:
    result = ask(capable, "--json")
    findings, said = found(result), json.loads(result.stdout)
    assert result.exit_code == 0
    assert [name for name, (supported, _) in findings.items() if not supported] == []
    assert len(findings) == 26
    assert findings["models"][1] == "1 in the API's shape, with capabilities"
    assert findings["count_tokens"][1] == "9 tokens"
    assert findings["cache_control, block"][1] == "5100 tokens written"
    assert findings["cache_control, top"][1] == "5200 tokens read"
    assert findings["request-id header"][1] == "req_0"
    assert said["client"] == f'Client(base_url="{said["url"]}", provider="anthropic")'
    assert said["set"] == ["thinking may be adaptive, enabled, between_tools, disabled."]
    assert result.stderr.startswith("29 requests to http://127.0.0.1:")
    assert " for claude-sonnet-4-6: at most about " in result.stderr


def test_a_small_server(ask: Any) -> None:
    result = ask(lenient, "--json", "--model", "m")
    findings, said = found(result), json.loads(result.stdout)
    assert findings["streaming"] == (False, "it answers in one piece")
    assert findings["tool use"] == (True, "its calls come with stop_reason end_turn")
    assert findings["forced tool_choice"] == (False, "accepted, but ignored: the model did not call a tool")
    assert findings["thinking disabled"] == (False, "accepted, but ignored: it thinks")
    for name in ("thinking adaptive", "effort max", "version 2026-10-21"):
        assert findings[name] == (None, "accepted, but so is one that does not exist")
    assert findings["cache_control, top"] == (False, "accepted, but ignored: usage shows nothing cached")
    assert findings["structured output"][1] == "accepted, but ignored: the answer does not fit the schema"
    assert findings["count_tokens"] == (False, "no such thing")
    assert findings["models"] == (True, "1 in OpenAI's shape, without capabilities")
    assert findings["error shape"][0] is False
    assert '"server_error"' in findings["error shape"][1]
    assert said["client"].endswith('provider="local")')
    assert said["model"] == "m"
    assert len(said["set"]) == 4
    assert not any("stop_reason" in line for line in said["set"])  # `local` runs such calls


@pytest.mark.slow
def test_what_is_accepted_unseen_is_not_known(ask: Any) -> None:
    """But what the reply shows is."""
    result = ask(but("web_search_19990101", reply(text("ok"))), "--json")
    assert json.loads(result.stdout)["client"].endswith('provider="generic")')
    findings = found(result)
    assert findings["web_search_20250305"] == (None, "accepted, but so is one that does not exist")
    assert findings["effort low"] == (True, "")
    findings = found(ask(but("thinking none", reply(text("ok"))), "--json"))
    assert (findings["thinking adaptive"][0], findings["thinking disabled"][0]) == (True, None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "supported", "note"),
    [
        (error(400, "invalid_request_error", "effort: not here"), False, "effort: not here"),
        (error(404, "not_found_error", "nothing here"), False, "nothing here"),
        (error(403, "permission_error", "blocked field"), False, "blocked field"),
        (Json({"error": {"code": "invalid_request", "message": "bad (request id: 2026x)"}}, 500), False, "bad"),
        (Raw(405, {"content-type": "text/html"}, "<h1>Not allowed</h1>"), False, "Not allowed"),
        (error(401, "authentication_error", "who?"), None, "HTTP 401: who?"),
        (error(402, "billing_error", "pay"), None, "HTTP 402: pay"),
        (error(429, "rate_limit_error", "slow down"), None, "HTTP 429: slow down"),
        (error(529, "overloaded_error", "Overloaded"), None, "HTTP 529: Overloaded"),
        (error(400, "invalid_request_error", "Your credit balance is too low"), None, "HTTP 400: Your credit balance"),
        (Raw(301, {"location": "https://elsewhere.example"}), None, "HTTP 301"),
        (Raw(200, {}, "<p>"), None, "the reply has another shape than the API's"),
        (Json({"content": None}), False, ""),
        (Drop(), None, "can't reach the endpoint"),
        (error(400, "invalid_request_error", f"bad \x1b[31m {KEY}" + "x" * 400), False, "bad [31m [redacted]x"),
    ],
)
def test_a_refusal_is_a_fact_and_a_failure_is_not(ask: Any, answer: object, supported: bool | None, note: str) -> None:
    result = ask(but("effort max", answer), "--json")
    findings = found(result)
    assert (findings["effort max"][0], findings["effort max"][1][: len(note)]) == (supported, note)
    assert findings["effort low"] == (True, "")
    assert KEY not in result.stdout
    assert len(findings["effort max"][1]) <= 241


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "answer", "expected"),
    [
        ("tool use", reply(text("No.")), (None, "accepted, but the model did not call the tool")),
        ("streaming", Raw(200, {"content-type": "text/event-stream"}, ": hi\n\n"), (False, "the stream ends without")),
        ("structured output", reply(text("{"), stop="max_tokens"), (None, "accepted; the answer was cut")),
        ("cache_control, top", reply(text("ok")), (None, "accepted; usage does not show whether it caches")),
        ("error shape", reply(text("ok")), (False, "an empty list of messages is accepted")),
        ("error shape", Raw(502, {}, "<p>"), (False, "HTTP 502, <p>")),
        ("models", Json([]), (None, "the reply has another shape than the API's")),
    ],
)
def test_what_replies_say(ask: Any, name: str, answer: object, expected: tuple[bool | None, str]) -> None:
    supported, note = found(ask(but(name, answer), "--json"))[name]
    assert (supported, note[: len(expected[1])]) == expected


def test_a_key_that_is_read_as_bearer_only(ask: Any) -> None:
    """It is found out, although the client would send `x-api-key`; the other questions are asked that way."""

    def gateway(request: Request) -> object:
        if "authorization" in request.headers and "x-api-key" not in request.headers:
            return capable(request)
        return error(401, "authentication_error", "no token")

    result = ask(gateway, "--json")
    findings, said = found(result), json.loads(result.stdout)
    assert [name for name, (supported, _) in findings.items() if not supported] == ["key in x-api-key"]
    assert findings["key in x-api-key"] == (False, "no token")
    assert said["client"].endswith(", auth_token=…)")
    assert said["set"][0].startswith("Give the key as auth_token=")


def test_a_key_that_is_wrong_anywhere(ask: Any) -> None:
    result = ask(lambda _: error(401, "authentication_error", "invalid x-api-key"), "--json")
    assert found(result) == {"messages": (None, "HTTP 401: invalid x-api-key")}
    assert result.exit_code == 1


def test_the_token_is_tried_in_both_headers(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", KEY)
    refused = error(401, "authentication_error", "no token")

    def gateway(request: Request) -> object:
        return refused if "authorization" not in request.headers else capable(request)

    with ScriptedServer(gateway) as server:
        result = cli("doctor", "--probe", "--json", "--base-url", server.url)
        said = json.loads(result.stdout)
    assert found(result)["key in x-api-key"] == (False, "no token")
    assert found(result)["key as Bearer"] == (True, "")
    assert said["client"].endswith(", auth_token=…)")
    assert said["set"][0].startswith("Give the key as auth_token=")
    keys = [(request.headers.get("x-api-key"), request.headers.get("authorization")) for request in server.requests]
    assert set(keys) == {(None, f"Bearer {KEY}"), (KEY, None)}


@pytest.mark.slow
def test_without_a_key_nothing_is_said_of_headers(cli: Cli) -> None:
    with ScriptedServer(capable) as server:
        result = cli("doctor", "--probe", "--json", "--base-url", server.url)
    assert "key as Bearer" not in found(result)


def test_nothing_else_is_asked_where_nothing_answers(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    with ScriptedServer([error(404, "not_found_error", "model: nope")]) as server:
        result = cli("doctor", "--probe", "--base-url", server.url, "--model", "nope")
        server.assert_done()
    assert result.exit_code == 1
    assert result.stdout.split() == ["messages", "no", "model:", "nope"]
    assert "--model" in result.stderr.splitlines()[-1]


def test_nothing_is_configured(cli: Cli) -> None:
    result = cli("doctor", "--probe")
    assert result.exit_code == 2
    assert "no API key" in result.stderr


@pytest.mark.slow
def test_few_at_once_and_each_with_a_time_of_its_own(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_SECONDS", 3)
    at_once, most, lock = 0, 0, threading.Lock()

    def endpoint(request: Request) -> object:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        threading.Event().wait(0.02)
        with lock:
            at_once -= 1
        return Drop("stall") if feature(request) == "effort low" else capable(request)

    findings = found(ask(endpoint, "--json"))
    assert findings["effort low"] == (None, "no answer within 3 seconds")
    assert findings["effort max"] == (True, "")
    assert 1 < most <= 4


def test_the_screen(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    long = error(400, "invalid_request_error", "messages: Unexpected role and a long explanation " * 4)
    result = ask(but("role system", long, lenient))
    lines = result.stdout.splitlines()
    assert max(map(len, lines[: lines.index("")])) <= 80
    assert "key in x-api-key        yes" in result.stdout
    assert lines[0].split() == ["messages", "yes", "answered", "by", "claude-sonnet-4-6"]
    assert any(line.startswith("Client(") for line in lines)
    assert "  Leave tool_choice out: it can't force a call." in lines


@pytest.mark.slow
def test_the_emulator(cli: Cli, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    with Emulator(corpus=corpus, pace=0) as emulator:
        result = cli("doctor", "--probe", "--json", "--base-url", emulator.url)
    findings = found(result)
    assert result.exit_code == 0
    assert [name for name, (supported, _) in findings.items() if supported is False] == [
        "forced tool_choice",
        "thinking between_tools",
        "effort xhigh",
        "role system",
    ]
    assert findings["effort xhigh"][1].startswith("This model does not support effort level 'xhigh'.")
