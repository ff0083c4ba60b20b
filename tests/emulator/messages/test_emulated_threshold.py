"""Compaction beyond a threshold: the reply begins with a summary, and what is before it is read no more."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from agentkit.emulator import Corpus, Emulator, compaction, reply

BETA = {"anthropic-beta": "context-management-2025-06-27,compact-2026-01-12"}
LONG = [
    {"role": "user", "content": "My name is Ada. " + "word" * 60_000},
    {"role": "assistant", "content": "Hello, Ada."},
    {"role": "user", "content": "Who am I?"},
]


def edits(**fields: Any) -> dict[str, Any]:
    edit = {"type": "compact_20260112", "trigger": {"type": "input_tokens", "value": 50_000}, **fields}
    return {"context_management": {"edits": [edit]}}


def post(http: httpx.Client, emulator: Emulator, messages: list[Any], **fields: Any) -> dict[str, Any]:
    body = {"model": "claude-opus-4-6", "max_tokens": 1000, "messages": messages, **fields}
    answer = http.post(f"{emulator.url}/v1/messages", json=body, headers=BETA)
    assert answer.status_code == 200, answer.text
    message: dict[str, Any] = answer.json()
    return message


def kinds(message: dict[str, Any]) -> list[str]:
    return [block["type"] for block in message["content"]]


def test_a_summary_comes_first(http: httpx.Client, corpus: Corpus) -> None:
    with Emulator(corpus=corpus, pace=0) as emulator:
        message = post(http, emulator, LONG, **edits(instructions="Names."))
        assert kinds(message) == ["compaction", "text"]
        assert "(Names.)" in message["content"][0]["content"]
        assert "My name is Ada" in message["content"][0]["content"]
        spent = message["usage"]["iterations"]
        assert [part["type"] for part in spent] == ["compaction", "message"]
        assert spent[0]["input_tokens"] > 60_000 > message["usage"]["input_tokens"]
        after = [*LONG, {"role": "assistant", "content": message["content"]}, {"role": "user", "content": "And now?"}]
        later = post(http, emulator, after, **edits())
        assert kinds(later) == ["text"]
        assert later["usage"]["input_tokens"] < 1000


def test_it_may_pause_then(http: httpx.Client, corpus: Corpus) -> None:
    with Emulator(corpus=corpus, pace=0) as emulator:
        message = post(http, emulator, LONG, **edits(pause_after_compaction=True))
        assert (kinds(message), message["stop_reason"]) == (["compaction"], "compaction")
        resumed = post(http, emulator, [*LONG, {"role": "assistant", "content": message["content"]}], **edits())
        assert kinds(resumed) == ["text"]


@pytest.mark.parametrize("messages", [LONG[2:], LONG])
def test_not_before(messages: list[Any], http: httpx.Client, corpus: Corpus) -> None:
    with Emulator(corpus=corpus, pace=0) as emulator:
        far = {"trigger": {"type": "input_tokens", "value": 100_000}}
        assert kinds(post(http, emulator, messages, **edits(**far))) == ["text"]


def test_a_script_says_it_itself(http: httpx.Client) -> None:
    with Emulator(script=[reply(compaction("All."), "Go on."), reply("ok")], pace=0) as emulator:
        message = post(http, emulator, LONG, **edits())
        assert kinds(message) == ["compaction", "text"]
        after = [*LONG, {"role": "assistant", "content": message["content"]}, {"role": "user", "content": "And now?"}]
        assert post(http, emulator, after)["usage"]["input_tokens"] < 1000
