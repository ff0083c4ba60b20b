"""Signatures of thinking: what may change in a conversation, and what the newest models refuse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from agentkit.emulator import Emulator, compaction, fallback, redacted_thinking, reply, text, thinking, tool_use

BOUND = "claude-opus-5-5"
TOOL = {"name": "lookup", "input_schema": {"type": "object", "properties": {}}}
CONTROLS = {"anthropic-beta": "thinking-binding-controls-2026-08-01"}
DROP = {"thinking": {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "drop_block"}}}
OTHER = (
    "messages.1.content.0: Invalid `signature` in `thinking` block. The block is bound to a different conversation. "
    'Remove the block, or set `thinking.block_binding.prefix_mismatch_behavior` to "drop_block". That setting requires '
    "the `thinking-binding-controls-2026-08-01` value in the `anthropic-beta` header."
)


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(script=lambda body: reply(thinking("Hm."), f"Answer {len(body['messages'])}"), pace=0) as emulator:
        yield emulator


class Chat:
    """A conversation whose every answer begins with thinking."""

    def __init__(self, http: httpx.Client, emulator: Emulator, model: str = BOUND) -> None:
        self.http, self.url = http, f"{emulator.url}/v1/messages"
        self.body: dict[str, Any] = {"model": model, "max_tokens": 100, "messages": []}
        self.headers: dict[str, str] = {}

    def ask(self, question: str, **fields: Any) -> dict[str, Any]:
        self.body["messages"].append({"role": "user", "content": [{"type": "text", "text": question}]})
        answer = self.http.post(self.url, json=self.body | fields, headers=self.headers)
        assert answer.status_code == 200, answer.text
        message: dict[str, Any] = answer.json()
        self.body["messages"].append({"role": "assistant", "content": message["content"]})
        return message

    def refused(self, **fields: Any) -> str:
        messages = [*self.body["messages"], {"role": "user", "content": "And?"}]
        answer = self.http.post(self.url, json=self.body | {"messages": messages} | fields, headers=self.headers)
        assert answer.status_code in (200, 400)
        return "" if answer.status_code == 200 else str(answer.json()["error"]["message"])

    def assistant(self, at: int) -> list[dict[str, Any]]:
        content: list[dict[str, Any]] = self.body["messages"][2 * at + 1]["content"]
        return content


@pytest.fixture
def chat(http: httpx.Client, emulator: Emulator) -> Chat:
    """Three questions and answers, tools and a system prompt."""
    chat = Chat(http, emulator)
    chat.body |= {"system": "Be brief.", "tools": [TOOL]}
    for question in "abc":
        chat.ask(question)
    return chat


def test_as_it_was_is_accepted(chat: Chat) -> None:
    assert chat.refused() == ""


def test_what_is_not_bound(chat: Chat) -> None:
    fields = {"max_tokens": 7, "output_config": {"effort": "low"}, "tool_choice": {"type": "none"}}
    assert chat.refused(metadata={"user_id": "u"}, thinking={"type": "adaptive"}, **fields) == ""
    mark = {"cache_control": {"type": "ephemeral"}}
    system = [{"type": "text", "text": "Be brief.", **mark}]
    chat.body["messages"][0]["content"][0] |= mark
    assert chat.refused(system=system, tools=[TOOL | mark]) == ""


def test_another_system_prompt(chat: Chat) -> None:
    end = " The `system` prompt differs from the one this block was created with."
    assert chat.refused(system="Be long.") == OTHER + end


def test_other_tools(chat: Chat) -> None:
    assert chat.refused(tools=[TOOL, {**TOOL, "name": "more"}]).startswith(OTHER + " The `tools` differ")


@pytest.mark.parametrize("at", [0, 1])
def test_other_messages_before(at: int, chat: Chat) -> None:
    if at == 0:
        chat.body["messages"][0]["content"] = "another"
        assert chat.refused() == OTHER
    else:
        chat.assistant(0)[1]["text"] = "another"
        assert chat.refused() == OTHER.replace("messages.1.", "messages.3.")


@pytest.mark.parametrize(("gone", "fine"), [([0], 1), ([0, 1], 1), ([0, 1, 2], 1), ([2], 1), ([1, 2], 1), ([1], 0)])
def test_thinking_may_go_from_the_front_or_the_end(gone: list[int], fine: int, chat: Chat) -> None:
    for at in gone:
        del chat.assistant(at)[0]
    assert chat.refused() == ("" if fine else OTHER.replace("messages.1.", "messages.5."))


def test_thinking_that_was_removed_stays_removed(chat: Chat) -> None:
    kept = chat.assistant(2).pop(0)
    chat.ask("d")
    assert chat.refused() == ""
    chat.assistant(2).insert(0, kept)
    assert "bound to a different conversation" in chat.refused()


def test_changed_thinking(chat: Chat) -> None:
    chat.assistant(0)[0]["signature"] = "EqQBCg=="
    assert chat.refused() == "messages.1.content.0: Invalid `signature` in `thinking` block"
    del chat.assistant(0)[0]
    chat.assistant(2)[0]["thinking"] = "Another."
    assert chat.refused() == (
        "messages.5.content.0: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be "
        "modified. These blocks must remain as they were in the original response."
    )
    chat.body["messages"][-1]["content"].pop(0)
    chat.assistant(1)[0]["thinking"] = "Another."
    assert chat.refused() == "messages.3.content.0: Invalid `signature` in `thinking` block"


def test_blocks_can_be_dropped_instead(chat: Chat) -> None:
    chat.headers = CONTROLS
    chat.body["messages"][0]["content"] = "another"
    message = chat.ask("d", **DROP)
    assert message["input_transformations"] == [
        {"type": "thinking_dropped", "path": f"messages.{at}.content.0", "reason": "prefix_binding_mismatch"}
        for at in (1, 3, 5)
    ]


def test_dropping_needs_its_header(chat: Chat) -> None:
    assert chat.refused(**DROP) == "thinking.adaptive.block_binding: Extra inputs are not permitted"


def test_older_models_bind_nothing(http: httpx.Client, emulator: Emulator) -> None:
    chat = Chat(http, emulator, "claude-opus-4-8")
    chat.ask("a", thinking={"type": "adaptive"})
    chat.body["messages"][0]["content"] = "another"
    assert chat.refused(system="Be long.") == ""


def test_an_older_model_does_not_read_newer_thinking(chat: Chat) -> None:
    chat.body["model"] = "claude-opus-4-8"
    chat.headers = CONTROLS
    chat.body["messages"][0]["content"] = "another"
    done = chat.ask("d")["input_transformations"]
    assert {one["reason"] for one in done} == {"model_binding_mismatch"}


def test_thinking_is_shown_as_asked(http: httpx.Client, emulator: Emulator) -> None:
    shown = {"thinking": {"type": "adaptive", "display": "summarized"}}
    hidden = {"thinking": {"type": "adaptive", "display": "omitted"}}
    old = Chat(http, emulator, "claude-sonnet-4-6")
    new = Chat(http, emulator)
    thoughts = [old.ask("a"), old.ask("b", **hidden), new.ask("a"), new.ask("b", **shown)]
    assert [message["content"][0]["thinking"] for message in thoughts] == ["Hm.", "", "", "Hm."]
    assert old.refused() == new.refused() == ""


def test_several_blocks_tools_and_a_fallback(http: httpx.Client) -> None:
    script = [
        reply(thinking(), redacted_thinking(), tool_use("lookup", id="t1"), thinking(), tool_use("lookup", id="t2")),
        reply(thinking(), text("No"), fallback("a", BOUND), thinking(), text(" "), text("Yes"), thinking()),
        reply("done"),
        reply(compaction("All."), thinking(), "on"),
        reply("end"),
    ]
    with Emulator(script=script, pace=0) as emulator:
        chat = Chat(http, emulator)
        chat.body["tools"] = [TOOL]
        uses = [block["id"] for block in chat.ask("a")["content"] if block["type"] == "tool_use"]
        results = [{"type": "tool_result", "tool_use_id": use, "content": "x"} for use in uses]
        chat.body["messages"].append({"role": "user", "content": results})
        content = http.post(chat.url, json=chat.body).json()["content"]
        # Before the fallback thinking is dropped, and blank text is: both are no part of what is bound.
        kept = [block for block in content[1:] if block.get("text") != " "]
        chat.body["messages"].append({"role": "assistant", "content": kept})
        chat.ask("b")
        chat.ask("c")
        chat.body["messages"] = chat.body["messages"][-1:]  # what is before a compaction may go
        assert chat.refused() == ""


def test_redacted_thinking_comes_back_too(http: httpx.Client) -> None:
    with Emulator(script=[reply(redacted_thinking(), "a")], pace=0) as emulator:
        chat = Chat(http, emulator)
        chat.ask("a")
        chat.assistant(0)[0]["data"] = "another"
        assert chat.refused() == "messages.1.content.0: Invalid `data` in `redacted_thinking` block"
        with pytest.raises(AssertionError):
            chat.ask("b")
