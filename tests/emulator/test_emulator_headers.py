"""What is around the body of a reply: headers, coding, and where the pieces of a stream end."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest
from talking import HEADERS, stop

from agentkit.emulator import Emulator, error, reply, thinking
from agentkit.emulator.clock import Clock, rfc3339
from agentkit.emulator.limits import RateLimits

BODY = {"model": "claude-sonnet-4-6", "max_tokens": 1000, "messages": [{"role": "user", "content": "Hello"}]}
KINDS = ("requests", "tokens", "input-tokens", "output-tokens")


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(script=lambda body: reply("Grüße aus Köln – ☀️ " * 200), pace=0) as emulator:
        yield emulator


@pytest.mark.parametrize("stream", [True, False])
def test_rate_limits(stream: bool, http: httpx.Client, emulator: Emulator) -> None:
    answer = http.post(f"{emulator.url}/v1/messages", json={**BODY, "stream": stream})
    for kind in KINDS:
        limit, left, reset = (
            answer.headers[f"anthropic-ratelimit-{kind}-{name}"] for name in ("limit", "remaining", "reset")
        )
        assert 0 < int(left) <= int(limit)
        assert datetime.fromisoformat(reset).tzinfo is not None
        assert kind == "requests" or int(left) % 1000 == 0
    assert answer.headers["anthropic-ratelimit-requests-remaining"] == "999"
    assert answer.headers["anthropic-organization-id"]


def test_a_bucket_fills_again() -> None:
    stop(clock := Clock())
    limits, used = (
        RateLimits(clock),
        {"input_tokens": 500_000, "cache_creation_input_tokens": 500_000, "output_tokens": 0},
    )

    def left(model: str, usage: dict[str, Any]) -> int:
        return int(limits.headers(model, usage)["anthropic-ratelimit-input-tokens-remaining"])

    assert left("claude-opus-4-8", used) == 1_000_000
    assert left("claude-opus-4-6", {"output_tokens": None}) == 1_000_000, "one bucket for all of Opus 4"
    assert left("claude-opus-5", {}) == 2_000_000
    clock.advance(15)
    assert left("claude-opus-4-8", {}) == 1_500_000
    assert left("claude-opus-4-8", {"input_tokens": 9_000_000}) == 0
    clock.advance(60)
    shown = limits.headers("claude-opus-4-8", {})
    assert shown["anthropic-ratelimit-input-tokens-remaining"] == "2000000"
    assert shown["anthropic-ratelimit-tokens-limit"] == "2400000"
    assert shown["anthropic-ratelimit-input-tokens-reset"] == rfc3339(clock.now())


@pytest.mark.parametrize(
    ("status", "kind", "retried"),
    [(400, "invalid_request_error", "false"), (429, "rate_limit_error", "true"), (529, "overloaded_error", "true")],
)
def test_an_error_says_whether_to_retry(status: int, kind: str, retried: str, http: httpx.Client) -> None:
    with Emulator(
        script=[error(status, kind, "No."), error(status, kind, "No.", x_should_retry="maybe")], pace=0
    ) as emulator:
        first, second = (http.post(f"{emulator.url}/v1/messages", json=BODY) for _ in range(2))
    assert first.headers["x-should-retry"] == retried
    assert second.headers["x-should-retry"] == "maybe", "the script's own stays"
    assert first.headers["request-id"] == first.json()["request_id"]


def test_the_root_answers_a_head(http: httpx.Client, emulator: Emulator) -> None:
    answer = http.head(emulator.url)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["request-id"]


def test_the_query_of_betas_is_taken_and_means_nothing(http: httpx.Client, emulator: Emulator) -> None:
    for path in ("messages", "messages/count_tokens"):
        assert http.post(f"{emulator.url}/v1/{path}?beta=true", json=BODY).status_code == 200
    assert http.get(f"{emulator.url}/v1/models?beta=true").status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize(("coding", "packed"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_compressed_body(coding: str, packed: Any, http: httpx.Client, emulator: Emulator) -> None:
    headers = {"content-encoding": coding}
    url = f"{emulator.url}/v1/messages"
    assert http.post(url, content=packed(json.dumps(BODY).encode()), headers=headers).status_code == 200
    broken = http.post(url, content=b"no", headers=headers).json()
    assert broken["error"]["details"]["error_code"] == "request_body_encoding_invalid"
    bomb = http.post(url, content=packed(b" " * 33_000_000), headers=headers)
    assert bomb.status_code == 413
    assert bomb.json()["error"]["details"]["error_code"] == "request_body_too_large_after_decoding"


def test_another_coding(http: httpx.Client, emulator: Emulator) -> None:
    refused = http.post(f"{emulator.url}/v1/messages", content=b"x", headers={"content-encoding": "zstd"})
    assert refused.status_code == 400
    assert refused.json()["error"]["details"]["error_code"] == "request_body_encoding_unsupported"


def test_pieces_end_anywhere(emulator: Emulator) -> None:
    """Within an event, within a character, and after several events."""
    pieces = []
    with (
        httpx.Client(headers=HEADERS) as http,
        http.stream("POST", f"{emulator.url}/v1/messages", json={**BODY, "stream": True}) as answer,
    ):
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert "content-length" not in answer.headers
        pieces = list(answer.iter_raw())
    sizes = {len(piece) for piece in pieces[:-1]}
    assert len(pieces) > 5, sizes
    assert any(not piece.endswith(b"\n\n") for piece in pieces)
    assert any(piece.count(b"\n\n") > 1 for piece in pieces)
    assert any(_splits_a_character(piece) for piece in pieces)


def _splits_a_character(piece: bytes) -> bool:
    try:
        piece.decode()
    except UnicodeDecodeError:
        return True
    return False


def test_usage_as_recorded(http: httpx.Client) -> None:
    """The start has all but what is known at the end; the end repeats the counts alone."""
    with Emulator(script=[reply(thinking("Let me think. "), "Hi.")] * 2, pace=0) as emulator:
        url = f"{emulator.url}/v1/messages"
        whole = http.post(url, json={**BODY, "inference_geo": "us"}).json()["usage"]
        streamed = http.post(url, json={**BODY, "stream": True}).text
    events = [json.loads(line[5:]) for line in streamed.splitlines() if line.startswith("data:")]
    assert whole["output_tokens_details"]["thinking_tokens"] > 0
    assert whole["inference_geo"] == "us"
    start, end = events[0]["message"]["usage"], events[-2]["usage"]
    assert set(start) == set(whole) - {"output_tokens_details"}
    counts = {"input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"}
    assert set(end) == counts | {"output_tokens_details"}


def test_a_script_may_send_several_message_deltas(http: httpx.Client) -> None:
    def doubled(events: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for event in events:
            if event["type"] == "message_delta":
                yield {**event, "delta": {"stop_reason": None, "stop_sequence": None}}
            yield event

    with Emulator(script=[reply("Hi.", events=doubled)], pace=0) as emulator:
        streamed = http.post(f"{emulator.url}/v1/messages", json={**BODY, "stream": True}).text
    assert streamed.count("event: message_delta") == 2
