"""What fits into a model's window, and what counts for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from agentkit.emulator import Emulator, reply

MODEL = "claude-haiku-4-5"
SEARCH = {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"}
HIDDEN = {"name": "hidden", "description": "word " * 1000, "input_schema": {"type": "object"}, "defer_loading": True}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(script=lambda body: reply("ok"), pace=0) as emulator:
        yield emulator


def post(http: httpx.Client, emulator: Emulator, content: Any, **fields: Any) -> httpx.Response:
    asked = {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": content}], **fields}
    return http.post(f"{emulator.url}/v1/messages", json=asked)


def message_of(answer: httpx.Response) -> str:
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    return str(answer.json()["error"]["message"])


def test_a_prompt_that_is_too_long(http: httpx.Client, emulator: Emulator) -> None:
    said = message_of(post(http, emulator, "word" * 200_000))
    assert said.startswith("prompt is too long: 2000")
    assert said.endswith(" tokens > 200000 maximum")
    assert post(http, emulator, "word" * 200_000, model="claude-sonnet-4-6").status_code == 200


def test_a_prompt_that_leaves_too_little(http: httpx.Client, emulator: Emulator) -> None:
    said = message_of(post(http, emulator, "word" * 150_000, max_tokens=64_000))
    assert said.startswith("input length and `max_tokens` exceed context limit: 1500")
    assert said.endswith(" + 64000 > 200000, decrease input length or `max_tokens` and try again")
    assert post(http, emulator, "word" * 150_000, max_tokens=40_000).status_code == 200


def test_an_image_is_no_text(http: httpx.Client, emulator: Emulator) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "AAAA" * 500_000}
    image = {"type": "image", "source": source}
    answer = post(http, emulator, [image, {"type": "text", "text": "What is it?"}])
    assert answer.status_code == 200
    assert 1568 < answer.json()["usage"]["input_tokens"] < 1700


def test_a_tool_counts_once_it_is_found(http: httpx.Client, emulator: Emulator) -> None:
    few = post(http, emulator, "Hi", tools=[SEARCH, HIDDEN]).json()["usage"]["input_tokens"]
    assert few < 200
    found = {
        "type": "tool_search_tool_search_result",
        "tool_references": [{"type": "tool_reference", "tool_name": "hidden"}],
    }
    use = {"type": "server_tool_use", "id": "srvtoolu_1", "name": SEARCH["name"], "input": {"query": "hidden"}}
    result = {"type": "tool_search_tool_result", "tool_use_id": "srvtoolu_1", "content": found}
    text = {"type": "text", "text": "There it is."}
    history = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [use, result, text]},
        {"role": "user", "content": "Go"},
    ]
    many = post(http, emulator, "Hi", tools=[SEARCH, HIDDEN], messages=history).json()["usage"]["input_tokens"]
    assert many - few > 1200


def test_a_tool_that_is_hidden_is_no_part_of_the_cached_prefix(http: httpx.Client, emulator: Emulator) -> None:
    marked = [{"type": "text", "text": "word " * 5000, "cache_control": {"type": "ephemeral"}}]
    written = post(http, emulator, "Hi", system=marked, tools=[SEARCH, HIDDEN]).json()["usage"]
    again = post(http, emulator, "Hi", system=marked, tools=[SEARCH, {**HIDDEN, "description": "Other."}]).json()[
        "usage"
    ]
    assert written["cache_creation_input_tokens"] > 5000
    assert again["cache_read_input_tokens"] == written["cache_creation_input_tokens"]
