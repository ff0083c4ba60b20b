"""What a run ends with: an immutable view of its log, in which a half answer can't pass for an answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from scripted import reply, server_tool_use, text, tool_use

from agentkit.errors import RunUnfinished
from agentkit.messages import Usage
from agentkit.result import Pending, RunResult
from agentkit.rules import check_history
from agentkit.step import Finish
from agentkit.transcript import Transcript

ANSWERS = ["end_turn", "stop_sequence"]
OTHERS = [
    "max_tokens",
    "model_context_window_exceeded",
    "refusal",
    "needs_approval",
    "max_turns",
    "max_tool_calls",
    "max_pauses",
    "max_total_tokens",
    "max_seconds",
    "cancelled",
    "unknown_stop",
    "error",
]
CITED = {"type": "web_search_result_location", "url": "https://a.test", "title": "A", "cited_text": "six"}


def transcript_of(*turns: dict[str, Any], prompt: str = "Hello") -> Transcript:
    transcript = Transcript()
    transcript.begin("run_1", [{"role": "user", "content": [text(prompt)]}])
    transcript.answer()
    for at, turn in enumerate(turns):
        transcript.take_turn(turn, f"req_{at}", at + 1.5)
    return transcript


def result_of(*turns: dict[str, Any], reason: str = "end_turn", detail: str | None = None) -> RunResult:
    return RunResult(transcript_of(*turns), Finish(reason, detail))


@pytest.mark.parametrize("reason", ANSWERS)
def test_an_answer_is_text_and_output(reason: str) -> None:
    result = result_of(reply(text("Hi.")), reason=reason)
    assert (result.text, result.output, result.partial_text) == ("Hi.", "Hi.", "Hi.")
    assert repr(result) == f"RunResult({reason!r}, turns=1, run_id='run_1')"


@pytest.mark.parametrize("name", ["text", "output"])
@pytest.mark.parametrize("reason", OTHERS)
def test_anything_else_is_no_answer(reason: str, name: str) -> None:
    result = result_of(reply(text("Half an ans"), stop="max_tokens"), reason=reason)
    with pytest.raises(RunUnfinished) as caught:
        getattr(result, name)
    assert str(caught.value) == f"the run ended with {reason}, so it has no answer; .partial_text has what there is"
    assert caught.value.result is result
    assert result.partial_text == "Half an ans"


def test_the_detail_is_in_the_message() -> None:
    with pytest.raises(RunUnfinished, match=r"ended with max_turns \(50 model turns\), so"):
        _ = result_of(reason="max_turns", detail="50 model turns").text


def test_a_chain_of_pauses_is_one_reply() -> None:
    found = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
    result = result_of(
        reply(text("I search."), server_tool_use("web_search"), stop="pause_turn", usage={"output_tokens": 2}),
        reply(found, text("It is ", citations=None), text("six", citations=[CITED]), text("."), stop="pause_turn"),
        reply(text(" Really.", citations=[{"type": "char_location", "document_title": "B", "cited_text": "b"}])),
    )
    assert result.partial_text == "I search.\n\nIt is six. Really."
    assert [(c.title, c.url, c.cited_text) for c in result.citations] == [
        ("A", "https://a.test", "six"),
        ("B", None, "b"),
    ]
    assert result.turns == 3
    assert result.usage.output_tokens == 12


def test_turns_before_the_last_answer_are_not_in_its_text() -> None:
    transcript = transcript_of(reply(text("I add."), tool_use("add")))
    (call,) = transcript.unended()
    transcript.end(call, "done", {"type": "tool_result", "tool_use_id": "toolu_1", "content": "3"}, 2.0)
    transcript.answer()
    transcript.take_turn(reply(text("Three.")), None, 4.0)
    result = RunResult(transcript, Finish("end_turn"))
    assert result.text == "Three."
    assert (result.turns, result.seconds) == (2, 4.0)
    assert result.usage == Usage(input_tokens=20, output_tokens=10)


def test_a_run_that_got_no_reply_has_no_text_of_the_run_before() -> None:
    transcript = transcript_of(reply(text("Old.", citations=[CITED])))
    transcript.begin("run_2", [{"role": "user", "content": [text("More")]}])
    result = RunResult(transcript, Finish("error"))
    assert (result.partial_text, result.citations, result.turns, result.usage) == ("", [], 0, Usage())
    assert result.run_id == "run_2"


def test_a_refused_turn_has_no_text() -> None:
    assert result_of(reply(text("I was go"), stop="refusal"), reason="refusal").partial_text == ""


def test_messages_show_open_calls_closed() -> None:
    result = result_of(reply(text("Now."), tool_use("add", a=1)), reason="cancelled")
    assert [message["role"] for message in result.messages] == ["user", "assistant", "user"]
    (shown,) = result.messages[-1]["content"]
    assert shown == {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": "This call has not run.",
        "is_error": True,
    }
    assert check_history(result.messages) == []
    assert not any(entry.get("state") for entry in result.dump()["entries"])


def test_pending_calls_are_those_that_wait() -> None:
    transcript = transcript_of(reply(tool_use("pay", id="toolu_a", amount=1), tool_use("pay", id="toolu_b", amount=2)))
    transcript.hold(transcript.unended()[0])
    result = RunResult(transcript, Finish("needs_approval"))
    assert result.pending == [Pending("1:toolu_a", "pay", {"amount": 1})]
    result.pending[0].input["amount"] = 100  # on the way to edit()
    assert result.pending[0].input == {"amount": 1}


def test_it_does_not_change_when_a_run_goes_on_from_it() -> None:
    result = result_of(reply(text("Hi.")))
    before = json.dumps([result.dump(), result.messages, result.turns])
    onward = result.transcript()
    onward.begin("run_2", [{"role": "user", "content": [text("More")]}])
    onward.answer()
    onward.take_turn(reply(text("Ho.")), None, 9.0)
    assert json.dumps([result.dump(), result.messages, result.turns]) == before
    assert (result.run_id, result.text) == ("run_1", "Hi.")


def test_a_dump_is_json_and_its_owner_may_change_it() -> None:
    result = result_of(reply(text("Hi.")))
    dump = result.dump()
    assert json.loads(json.dumps(dump)) == dump
    dump["entries"][-1]["message"]["content"].clear()
    assert result.dump() != dump
    assert result.text == "Hi."
