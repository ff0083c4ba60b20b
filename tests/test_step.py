"""What happens next."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from logs import asked, begun, end, logs, result, take
from scripted import server_tool_use, text, tool_use

from agentkit.messages import as_messages
from agentkit.settings import Limits
from agentkit.step import AFTER, Answer, CallModel, CallTools, Finish, next_step
from agentkit.transcript import Decision, Transcript

A, B = tool_use("add", id="toolu_a", x=1), tool_use("add", id="toolu_b", x=2)
SEARCH = server_tool_use("web_search", query="q")

# Every stop reason that is documented, from messages-api.md section 7, and what may follow it. A new one must be
# put into the table of `step` on purpose.
DOCUMENTED = {
    "end_turn": "finish",
    "tool_use": "run calls",
    "max_tokens": "finish",
    "stop_sequence": "finish",
    "pause_turn": "resend",
    "refusal": "finish",
    "model_context_window_exceeded": "finish",
    "compaction": "resend",
}


def step(transcript: Transcript, *, elapsed: float = 0.0, **limits: Any) -> Any:
    return next_step(transcript, Limits(**limits), elapsed)


def test_the_table_is_total() -> None:
    assert AFTER == DOCUMENTED


@pytest.mark.parametrize("reason", [*DOCUMENTED, "", "a_new_reason", None, [1], {}])
def test_only_tool_use_runs_tools(reason: Any) -> None:
    reaction = DOCUMENTED.get(reason if isinstance(reason, str) else "")
    transcript = asked()
    transcript.take_turn({"content": [A], "stop_reason": reason, "usage": {}}, None, 0.0)
    found = step(transcript)
    if reaction == "run calls":
        assert found == CallTools((transcript.calls["1:toolu_a"],))
    elif reaction == "resend":
        assert found == CallModel()
    elif reaction == "finish":
        assert found == Finish(reason)
    else:
        shown = reason if isinstance(reason, str) else None
        assert found == Finish("unknown_stop", f"stop_reason {shown!r} with nothing to run")


@pytest.mark.parametrize("reason", DOCUMENTED)
def test_a_turn_without_a_call(reason: str) -> None:
    transcript = take(asked(), text("x"), stop=reason)
    match DOCUMENTED[reason]:
        case "finish":
            assert step(transcript) == Finish(reason)
        case "resend":
            assert step(transcript) == CallModel()
        case _:
            assert step(transcript) == Finish("unknown_stop", "stop_reason 'tool_use' with nothing to run")


@pytest.mark.parametrize(
    ("details", "detail"),
    [
        ({"explanation": "It says why.", "category": "cyber"}, "It says why."),
        ({"explanation": None, "category": "cyber"}, "cyber"),
        ({}, None),
        ("text", None),
        (None, None),
    ],
)
def test_a_refusal_says_why(details: Any, detail: str | None) -> None:
    assert step(take(asked(), stop="refusal", stop_details=details)) == Finish("refusal", detail)


def test_a_transcript_that_waits_for_the_model() -> None:
    assert step(Transcript()) == CallModel()
    assert step(begun("Hi")) == Answer()
    assert step(asked()) == CallModel()


def test_calls_in_every_state() -> None:
    transcript = take(asked(), A, B)
    first, second = transcript.unended()
    assert step(transcript) == CallTools((first, second))
    transcript.hold(first)
    assert step(transcript) == CallTools((second,))
    transcript.start(second)
    assert step(transcript) == CallTools((transcript.calls["1:toolu_b"],))
    transcript.end(second, "done", result("toolu_b"))
    assert step(transcript) == Finish("needs_approval", "add (1:toolu_a)")
    transcript.decide("1:toolu_a", Decision("deny"))
    assert step(transcript) == CallTools((transcript.calls["1:toolu_a"],))
    transcript.end(first, "denied", result("toolu_a"))
    assert step(transcript) == Answer()
    transcript.answer()
    assert step(transcript) == CallModel()


def test_input_waits_for_nothing_but_open_calls() -> None:
    transcript = take(asked(), A)
    transcript.begin("run_2", as_messages("And?"))
    assert step(transcript) == CallTools(tuple(transcript.unended()))
    end(transcript)
    assert step(transcript) == Answer()
    done = take(asked(), text("x"))
    done.begin("run_2", as_messages("And?"))
    assert step(done) == Answer()
    paused = take(asked(), text("x"), stop="pause_turn")
    paused.begin("run_2", as_messages("And?"))
    assert step(paused) == Answer()


def test_input_waits_while_the_api_owes_results() -> None:
    transcript = take(asked(), SEARCH, stop="pause_turn")
    transcript.begin("run_2", as_messages("And?"))
    assert step(transcript) == CallModel()
    for pauses in range(1, 4):
        take(transcript, text("x"), stop="pause_turn")
        assert step(transcript) == CallModel()
        assert step(transcript, max_pauses=pauses - 1) == Finish("max_pauses", f"{pauses} pauses in a row")
    assert step(take(transcript.branch(), text("x"))) == Answer(), "the turn is over, so the results won't come"
    found = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
    assert step(take(transcript, found, stop="pause_turn")) == Answer()


# Limits.


def test_turns() -> None:
    transcript = end(take(asked(), A))
    transcript.answer()
    assert step(transcript, max_turns=2) == CallModel()
    assert step(transcript, max_turns=1) == Finish("max_turns", "1 model turns")
    assert step(asked(), max_turns=0) == Finish("max_turns", "0 model turns")
    assert step(begun("Hi"), max_turns=0) == Answer(), "what the user said is written down first"


def test_seconds() -> None:
    assert step(asked(), elapsed=9.99, max_seconds=10.0) == CallModel()
    assert step(asked(), elapsed=10.0, max_seconds=10.0) == Finish("max_seconds", "10 seconds")
    transcript = take(asked(), A)
    assert isinstance(step(transcript, elapsed=9.99, max_seconds=10.0), CallTools)
    assert step(transcript, elapsed=10.0, max_seconds=10.0) == Finish("max_seconds", "10 seconds")
    assert step(take(asked(), text("x")), elapsed=99.0, max_seconds=10.0) == Finish("end_turn")
    assert step(end(transcript), elapsed=99.0, max_seconds=10.0) == Answer()


def test_calls_are_all_run_or_none() -> None:
    transcript = take(asked(), A, B)
    assert isinstance(step(transcript, max_tool_calls=2), CallTools)
    assert step(transcript, max_tool_calls=1) == Finish("max_tool_calls", "0 calls, and 2 more are asked for")
    end(transcript).answer()
    take(transcript, A)
    assert isinstance(step(transcript, max_tool_calls=3), CallTools)
    assert step(transcript, max_tool_calls=2) == Finish("max_tool_calls", "2 calls, and 1 more are asked for")


def test_a_call_that_a_dead_run_started_is_not_counted_twice() -> None:
    transcript = take(asked(), A)
    transcript.start(transcript.unended()[0])
    transcript.begin("run_1", None)
    assert step(transcript, max_tool_calls=1) == CallTools(tuple(transcript.unended()))


def test_held_calls_do_not_count_until_they_are_decided() -> None:
    transcript = take(asked(), A, B)
    transcript.hold(transcript.unended()[0])
    assert step(transcript, max_tool_calls=1) == CallTools((transcript.calls["1:toolu_b"],))
    transcript.decide("1:toolu_a", Decision("allow"))
    assert isinstance(step(transcript, max_tool_calls=1), Finish)


def test_pauses_in_a_row() -> None:
    transcript = asked()
    for _ in range(3):
        take(transcript, SEARCH, stop="pause_turn")
    assert step(transcript, max_pauses=3) == CallModel()
    assert step(transcript, max_pauses=2) == Finish("max_pauses", "3 pauses in a row")
    assert step(transcript, max_turns=3) == Finish("max_turns", "3 model turns")
    take(transcript, {"type": "compaction", "content": "so far"}, stop="compaction")
    assert step(transcript, max_pauses=0) == CallModel()


def test_tokens() -> None:
    transcript = asked()
    estimate = transcript.history.tokens()
    assert step(transcript, max_total_tokens=estimate + 1) == CallModel(1)
    assert step(transcript, max_total_tokens=estimate) == Finish(
        "max_total_tokens", "0 tokens used, and the next request needs more than is left"
    )
    take(transcript, text("x"), stop="pause_turn", usage={"input_tokens": 70, "output_tokens": 30})
    assert transcript.history.tokens() == 100
    assert step(transcript, max_total_tokens=1000) == CallModel(800)
    assert step(transcript, max_total_tokens=201) == CallModel(1)
    assert isinstance(step(transcript, max_total_tokens=200), Finish)


# Any log.


@given(transcript=logs)
def test_every_log_has_a_next_step(transcript: Transcript) -> None:
    found = step(transcript)
    unended = transcript.unended()
    if isinstance(found, CallTools):
        assert transcript.stop_reason == "tool_use"
        assert transcript.at_model_turn
        assert found.calls == tuple(call for call in unended if call.state != "held" or call.decision)
    if transcript.calls:
        assert isinstance(found, Answer) == (not unended)
    elif transcript.waiting and not transcript.server_open:
        assert isinstance(found, Answer)
    if isinstance(found, Finish):
        assert found.reason in {*AFTER, "needs_approval", "unknown_stop", "loop"}
        assert found.reason != "loop" or transcript.repeats.are_too_many
        assert not transcript.waiting or unended
    assert step(transcript.branch()) == found, "it is a function of the log"


@given(transcript=logs)
def test_limits_only_ever_end_a_run(transcript: Transcript) -> None:
    free = step(transcript)
    none_left = Limits(max_turns=0, max_tool_calls=0, max_pauses=0, max_seconds=0.0, max_total_tokens=0)
    ended = next_step(transcript, none_left, 0.0)
    if isinstance(free, Answer) or (isinstance(free, Finish) and free.reason != "loop"):  # turns count before circles
        assert ended == free
    else:
        assert isinstance(ended, Finish)
    for name in ("max_turns", "max_tool_calls", "max_pauses", "max_seconds"):
        limited = next_step(transcript, replace(Limits(), **{name: 0}), 0.0)
        assert limited == free or (isinstance(limited, Finish) and limited.reason == name)
