"""What mutants of `agentkit.transcript` showed untested."""

from __future__ import annotations

import pytest
from logs import asked, begun, end, take
from scripted import text, tool_use

from agentkit.messages import as_messages
from agentkit.transcript import Transcript

A = tool_use("add", id="toolu_a", x=1)


def test_a_new_transcript_has_used_nothing() -> None:
    transcript = Transcript()
    assert (transcript.elapsed, transcript.turns, transcript.pauses, transcript.tool_calls) == (0.0, 0, 0, 0)
    assert (transcript.answer_from, transcript.run_from, transcript.run_id) == (0, 0, "")
    assert (transcript.at_model_turn, transcript.runs_at_end_turn, transcript.drops_blocks) == (False, False, False)
    assert (transcript.entries, transcript.calls, transcript.waiting, transcript.operations) == ([], {}, [], set())
    assert (transcript.thread, transcript.thread_id, transcript.container) == (None, None, None)
    assert (transcript.asked, transcript.stored, transcript.last, transcript.stop_reason) == (None, None, None, None)
    assert transcript.call_id("toolu_1") == "1:toolu_1"


@pytest.mark.parametrize("given", [True, False])
def test_whether_calls_run_at_end_turn_is_said_anew_by_each_run_but_not_by_a_resume(given: bool) -> None:
    transcript = Transcript()
    transcript.begin("run_1", as_messages("Hi"), runs_at_end_turn=given)
    transcript.begin("run_1", None)
    assert transcript.runs_at_end_turn == given
    transcript.begin("run_2", as_messages("Hi"))
    assert not transcript.runs_at_end_turn
    transcript.begin("run_3", as_messages("Hi"), runs_at_end_turn=True)
    assert transcript.runs_at_end_turn


def test_a_run_counts_from_its_start_and_a_resume_goes_on() -> None:
    transcript = end(take(asked(), A))
    transcript.answer()
    before = (transcript.turns, transcript.tool_calls, transcript.elapsed)
    assert before == (1, 1, 2.0)
    transcript.begin("run_1", None)
    assert (transcript.turns, transcript.tool_calls, transcript.elapsed, transcript.run_from) == (*before, 0)
    at = len(transcript.entries)
    transcript.begin("run_2", as_messages("And now?"))
    assert (transcript.turns, transcript.tool_calls, transcript.elapsed, transcript.run_from) == (0, 0, 0.0, at)
    transcript.answer()
    take(transcript, text("x"))
    assert (transcript.turns, transcript.elapsed, transcript.call_id("b")) == (1, 1.0, "3:b")


def test_active_seconds_never_go_down() -> None:
    transcript = take(asked(), A)
    (call,) = transcript.unended()
    transcript.start(call)
    assert transcript.elapsed == 1.0
    transcript.end(call, "done", {"type": "tool_result", "tool_use_id": "toolu_a", "content": "3"}, 0.5)
    assert transcript.elapsed == 1.0


def test_taint_comes_with_a_run_and_with_the_end_of_a_call() -> None:
    transcript = Transcript()
    transcript.begin("run_1", as_messages("Hi"), taint=["private"])
    assert transcript.taint.all == {"private"}
    transcript.answer()
    take(transcript, A)
    (call,) = transcript.unended()
    transcript.start(call)
    result = {"type": "tool_result", "tool_use_id": "toolu_a", "content": "3"}
    transcript.end(call, "done", result, 2.0, taint=["untrusted"])
    assert (transcript.taint.words, transcript.taint.all) == ({"private"}, {"private", "untrusted"})
    branch = transcript.branch()
    branch.answer()
    take(branch, text("x"))
    assert branch.taint.words == {"private", "untrusted"}
    assert transcript.taint.words == {"private"}, "a branch has its own"


def test_operations_are_those_of_the_run() -> None:
    transcript = begun("Hi")
    transcript.operate("drop_block")
    assert (transcript.operations, transcript.drops_blocks) == ({"drop_block"}, True)
    transcript.begin("run_1", None)
    assert transcript.operations == {"drop_block"}, "the same model goes on"
    transcript.begin("run_1", None, asks=("another", "https://a.test"))
    assert transcript.operations == set()
    transcript.operate("strip_thinking")
    assert not transcript.drops_blocks
    transcript.begin("run_2", as_messages("Hi"), asks=("another", "https://a.test"))
    assert transcript.operations == set()


def test_ends_with_a_digest_count_as_repeats() -> None:
    transcript = asked()
    for _ in range(2):
        take(transcript, A)
        (call,) = transcript.unended()
        transcript.start(call)
        result = {"type": "tool_result", "tool_use_id": "toolu_a", "content": "3"}
        transcript.end(call, "done", result, 2.0, digest="same")
        transcript.answer()
        assert not transcript.repeats.are_noticed("same")
    branch = transcript.branch()
    take(branch, A)
    assert branch.repeats.are_noticed("same")
    assert not transcript.repeats.are_noticed("same"), "a branch has its own"
