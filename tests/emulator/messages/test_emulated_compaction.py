"""Compaction on demand: a signed summary, and every reason to refuse one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from talking import SEARCH

from agentkit.emulator import Corpus, Emulator, compaction, reply
from agentkit.emulator.server import ScriptError

BETA = {"anthropic-beta": "compact-2026-09-04"}
HISTORY = [
    {"role": "user", "content": "My name is Ada."},
    {"role": "assistant", "content": [{"type": "text", "text": "Hello, Ada."}]},
]
ASK = {"compaction": {"type": "summarize"}}


@pytest.fixture(scope="module")
def emulator(corpus: Corpus) -> Iterator[Emulator]:
    with Emulator(corpus=corpus, pace=0) as emulator:
        yield emulator


def post(http: httpx.Client, emulator: Emulator, messages: Any, **fields: Any) -> httpx.Response:
    body = {"model": "claude-opus-4-6", "max_tokens": 100, "messages": messages}
    return http.post(f"{emulator.url}/v1/messages", json=body | fields, headers=BETA)


def summary_of(http: httpx.Client, emulator: Emulator, messages: Any = HISTORY, **fields: Any) -> dict[str, Any]:
    answer = post(http, emulator, messages, **ASK | fields)
    assert answer.status_code == 200, answer.text
    message: dict[str, Any] = answer.json()
    return message


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"].get("details", {}).get("error_code", "")


def test_the_summary_takes_the_place_of_the_history(http: httpx.Client, emulator: Emulator) -> None:
    message = summary_of(http, emulator)
    (block,) = message["content"]
    assert message["stop_reason"] == "compaction"
    assert set(block) == {"type", "content", "signature", "encrypted_content", "tool_changes"}
    assert block["content"] == "Summary of 2 messages:\nuser: My name is Ada.\nassistant: Hello, Ada."
    ask = {"role": "user", "content": "And now?"}
    assert post(http, emulator, [{"role": "assistant", "content": [block]}, ask]).status_code == 200
    again = summary_of(http, emulator, [{"role": "assistant", "content": [block]}, ask])
    assert "user: And now?" in again["content"][0]["content"]


def test_the_history_may_end_with_the_user(http: httpx.Client, emulator: Emulator) -> None:
    told = {"compaction": {"type": "summarize", "instructions": "names only"}}
    block = summary_of(http, emulator, HISTORY[:1], **told)["content"][0]
    assert block["content"].startswith("Summary of 1 messages (names only):")


def test_all_of_its_usage_is_in_iterations(http: httpx.Client, emulator: Emulator) -> None:
    usage = summary_of(http, emulator)["usage"]
    (iteration,) = usage["iterations"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (0, 0)
    assert iteration["type"] == "compaction"
    assert iteration["input_tokens"] > 20
    assert iteration["output_tokens"] > 10


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([*HISTORY, {"role": "user", "content": "x"}, {"role": "assistant", "content": []}], ""),
        (
            [
                *HISTORY[:1],
                {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "a", "input": {}}]},
            ],
            "compaction_incomplete_turn",
        ),
        (
            [
                *HISTORY[:1],
                {
                    "role": "assistant",
                    "content": [{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}],
                },
            ],
            "compaction_incomplete_turn",
        ),
    ],
)
def test_the_last_turn_is_finished(messages: Any, code: str, http: httpx.Client, emulator: Emulator) -> None:
    answer = post(http, emulator, messages, tools=[SEARCH], **ASK)
    assert (answer.status_code == 200) if not code else (code_of(answer) == (400, code))


def test_a_call_in_the_middle_without_result_is_refused_as_ever(http: httpx.Client, emulator: Emulator) -> None:
    call = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "a", "input": {}}]}
    answer = post(http, emulator, [*HISTORY[:1], call, {"role": "user", "content": "x"}], **ASK)
    assert "`tool_use` ids were found without" in answer.json()["error"]["message"]


def test_nothing_to_summarize(http: httpx.Client, emulator: Emulator) -> None:
    block = summary_of(http, emulator)["content"][0]
    answer = post(http, emulator, [{"role": "assistant", "content": [block]}], **ASK)
    assert code_of(answer) == (400, "compaction_nothing_to_summarize")


@pytest.mark.parametrize(
    "fields",
    [
        {"stop_sequences": ["x"]},
        {"tool_choice": {"type": "any"}, "tools": [{"name": "a", "input_schema": {"type": "object"}}]},
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "string"}}}},
        {"compaction": {"type": "forget"}},
    ],
)
def test_what_does_not_go_with_it(fields: dict[str, Any], http: httpx.Client, emulator: Emulator) -> None:
    assert post(http, emulator, HISTORY, **ASK | fields).status_code == 400


def test_a_summary_comes_back_as_it_was_and_first(http: httpx.Client, emulator: Emulator) -> None:
    block = summary_of(http, emulator)["content"][0]
    ask = {"role": "user", "content": "And now?"}

    def code(*messages: Any) -> tuple[int, str]:
        return code_of(post(http, emulator, [*messages, ask]))

    changed = {**block, "content": "Another."}
    assert code({"role": "assistant", "content": [changed]}) == (400, "compaction_content_mismatch")
    forged = {**block, "signature": "EqRm9yZ2Vk"}
    assert code({"role": "assistant", "content": [forged]}) == (400, "compaction_signature_invalid")
    assert code(*HISTORY[:1], {"role": "assistant", "content": [block]}) == (400, "compaction_block_misplaced")


def test_a_script_says_the_summary(http: httpx.Client) -> None:
    with Emulator(script=[reply(compaction("All of it."))], pace=0) as emulator:
        message = summary_of(http, emulator)
    assert message["content"][0]["content"] == "All of it."
    assert message["content"][0]["signature"]
    assert message["usage"]["iterations"][0]["type"] == "compaction"
    with pytest.raises(ScriptError, match="asks for a compaction block"), Emulator(script=[reply("a")]) as emulator:
        assert post(http, emulator, HISTORY, **ASK).status_code == 500


def test_a_threshold_compaction_is_not_signed(http: httpx.Client) -> None:
    with Emulator(script=[reply(compaction("So far."), "Hello.")], pace=0) as emulator:
        message = post(http, emulator, HISTORY[:1]).json()
    assert message["content"][0] == {"type": "compaction", "content": "So far."}
    assert message["stop_reason"] == "end_turn"
