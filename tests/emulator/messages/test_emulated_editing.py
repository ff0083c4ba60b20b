"""Context editing: what the model reads, what is counted, and what the reply says of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from agentkit.emulator import Emulator, reply, thinking, tool_use
from agentkit.emulator.messages.editing import edited

BETA = {"anthropic-beta": "context-management-2025-06-27"}
USES = {"type": "tool_uses", "value": 1}
CLEAR = {"type": "clear_tool_uses_20250919", "trigger": USES, "keep": USES}
TOOL = {"name": "read", "input_schema": {"type": "object"}}


def turn(key: str, content: Any = "long " * 100, name: str = "read") -> list[dict[str, Any]]:
    return [
        {"role": "assistant", "content": [{"type": "tool_use", "id": key, "name": name, "input": {"path": key}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": key, "content": content}]},
    ]


def body(*edits: dict[str, Any], messages: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    history = [{"role": "user", "content": "Go"}, *turn("a"), *turn("b"), *turn("c")]
    known = {"model": "claude-sonnet-4-6", "max_tokens": 9, "tools": [TOOL], "messages": messages or history}
    return known | {"context_management": {"edits": list(edits)}}


def results(read_as: dict[str, Any]) -> list[str]:
    blocks = [block for message in read_as["messages"] if message["role"] == "user" for block in message["content"]]
    return [str(block["content"])[:5] for block in blocks if isinstance(block, dict)]


def test_old_results_are_cleared_and_the_request_stays() -> None:
    given = body(CLEAR)
    read_as, done = edited(given, 4000)
    assert results(read_as) == ["[Old ", "[Old ", "long "]
    assert results(given) == ["long "] * 3
    assert done is not None
    assert done[0]["cleared_tool_uses"] == 2
    assert 240 < done[0]["cleared_input_tokens"] < 260


@pytest.mark.parametrize(
    ("edit", "cleared"),
    [
        ({**CLEAR, "keep": {"type": "tool_uses", "value": 0}}, 3),
        ({**CLEAR, "keep": {"type": "tool_uses", "value": 9}}, 0),
        ({**CLEAR, "trigger": {"type": "tool_uses", "value": 3}}, 0),
        ({**CLEAR, "trigger": {"type": "input_tokens", "value": 999}}, 2),
        ({**CLEAR, "trigger": {"type": "input_tokens", "value": 1000}}, 0),
        ({**CLEAR, "clear_at_least": {"type": "input_tokens", "value": 300}}, 0),
        ({**CLEAR, "exclude_tools": ["read"]}, 0),
        ({"type": CLEAR["type"]}, 0),
    ],
)
def test_how_much_is_cleared(edit: dict[str, Any], cleared: int) -> None:
    _, done = edited(body(edit), 4000)
    assert sum(applied["cleared_tool_uses"] for applied in done or ()) == cleared
    assert done is not None


@pytest.mark.parametrize(("asked", "left"), [(None, 3), (False, 3), (True, 1), (["read"], 1), (["other"], 3)])
def test_inputs_are_cleared_where_that_is_asked_for(asked: Any, left: int) -> None:
    read_as, _ = edited(body({**CLEAR, "clear_tool_inputs": asked}), 4000)
    uses = [block for message in read_as["messages"] if message["role"] == "assistant" for block in message["content"]]
    assert len([use for use in uses if use["input"]]) == left


def test_a_request_without_context_management_is_given_back() -> None:
    plain = {key: value for key, value in body().items() if key != "context_management"}
    assert edited(plain, 4000) == (plain, None)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(script=lambda asked: reply(thinking("Hm. " * 50), tool_use("read", path="x")), pace=0) as emulator:
        yield emulator


@pytest.mark.parametrize("stream", [True, False])
def test_the_reply_says_what_was_done(stream: bool, http: httpx.Client, emulator: Emulator) -> None:
    url = f"{emulator.url}/v1/messages"
    whole = http.post(url, json=body(), headers=BETA).json()
    assert whole["context_management"] == {"applied_edits": []}
    answer = http.post(url, json=body(CLEAR) | {"stream": stream}, headers=BETA)
    assert '"cleared_tool_uses":2' in answer.text
    if not stream:
        cut = answer.json()
        (applied,) = cut["context_management"]["applied_edits"]
        fewer = whole["usage"]["input_tokens"] - cut["usage"]["input_tokens"]
        assert 200 < fewer < applied["cleared_input_tokens"], "the edit itself is in the request"


def test_a_count_says_what_it_was_before(http: httpx.Client, emulator: Emulator) -> None:
    counted = http.post(f"{emulator.url}/v1/messages/count_tokens", json=body(CLEAR), headers=BETA).json()
    assert counted["context_management"]["original_input_tokens"] - counted["input_tokens"] > 200


def test_old_thinking_is_cleared(http: httpx.Client, emulator: Emulator) -> None:
    asked = {**body(), "thinking": {"type": "adaptive"}, "messages": [{"role": "user", "content": "Go"}]}
    for _ in range(3):
        message = http.post(f"{emulator.url}/v1/messages", json=asked, headers=BETA).json()
        use = message["content"][-1]["id"]
        result = {"type": "tool_result", "tool_use_id": use, "content": "x"}
        asked["messages"] += [
            {"role": "assistant", "content": message["content"]},
            {"role": "user", "content": [result]},
        ]
    asked["context_management"] = {
        "edits": [{"type": "clear_thinking_20251015", **{"keep": {"type": "thinking_turns", "value": 1}}}]
    }
    message = http.post(f"{emulator.url}/v1/messages", json=asked, headers=BETA).json()
    (applied,) = message["context_management"]["applied_edits"]
    assert (applied["type"], applied["cleared_thinking_turns"]) == ("clear_thinking_20251015", 2)
    asked["context_management"] = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
    message = http.post(f"{emulator.url}/v1/messages", json=asked, headers=BETA).json()
    assert message["context_management"] == {"applied_edits": []}
