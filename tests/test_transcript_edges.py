"""What mutants of `agentkit.transcript` showed untested."""

from __future__ import annotations

import json
from typing import Any

import pytest
from logs import asked, begun, end, result, take, wire
from scripted import reply, server_tool_use, text, tool_use

from agentkit.errors import ConfigurationError, TranscriptError
from agentkit.messages import Usage, as_messages
from agentkit.transcript import Decision, Transcript

A, B = tool_use("add", id="toolu_a", x=1), tool_use("add", id="toolu_b", x=2)


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


def test_entries_of_stored_logs_stay_what_they_are() -> None:
    message = reply(A, B)
    transcript = Transcript()
    transcript.begin("run_1", as_messages("Hi"), asks=("claude", "https://a.test"), note="n")
    transcript.answer()
    transcript.take_turn(message, "req_1", 1.5, 0.25, thread="t", nothing=None)
    first = transcript.unended()[0]
    transcript.hold(first, tool="d1")
    transcript.decide("1:toolu_a", Decision("edit", input={"x": 2}, until=9.0))
    transcript.start(first, tool="d1")
    transcript.end(first, "done", result("toolu_a"), 2.0, digest="d")
    transcript.operate("drop_block", why="w")
    transcript.answer()
    question = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    asked_of = {"asks": ("claude", "https://a.test"), "runs_at_end_turn": False, "note": "n"}
    turn = {"entry": "turn", "role": "assistant", "message": message, "request_id": "req_1"}
    edit = {"action": "edit", "reason": "", "input": {"x": 2}, "until": 9.0}
    ended = {"entry": "call", "state": "ended"}
    cut_off = {
        "type": "tool_result",
        "tool_use_id": "toolu_b",
        "content": "This call was cut off, and has not run.",
        "is_error": True,
    }
    assert transcript.entries == [
        {"entry": "run", "run_id": "run_1", "resume": False, "messages": question, **asked_of},
        {"entry": "turn", "role": "user"},
        {**turn, "elapsed": 1.5, "cost": 0.25, "thread": "t"},
        {"entry": "call", "call": "1:toolu_a", "state": "held", "tool": "d1"},
        {"entry": "decision", "call": "1:toolu_a", **edit},
        {"entry": "call", "call": "1:toolu_a", "state": "started", "tool": "d1"},
        {**ended, "call": "1:toolu_a", "outcome": "done", "result": result("toolu_a"), "elapsed": 2.0, "digest": "d"},
        {"entry": "operation", "operation": "drop_block", "why": "w"},
        {**ended, "call": "1:toolu_b", "outcome": "not_run", "result": cut_off, "elapsed": 0.0},
        {"entry": "turn", "role": "user"},
    ]
    dump = transcript.dump()
    assert dump == {"agentkit": 1, "entries": json.loads(json.dumps(transcript.entries))}
    assert Transcript.load(dump).dump() == dump


@pytest.mark.parametrize(
    ("dump", "said"),
    [
        (None, "this is not what result.dump() gave: it needs `agentkit` and `entries`"),
        ([], "this is not what result.dump() gave: it needs `agentkit` and `entries`"),
        ({"agentkit": 1}, "this is not what result.dump() gave: it needs `agentkit` and `entries`"),
        ({"agentkit": 1, "entries": {}}, "this is not what result.dump() gave: it needs `agentkit` and `entries`"),
        ({"agentkit": 2, "entries": []}, "this dump has format 2, and this agentkit reads 1"),
        ({"entries": []}, "this dump has format None, and this agentkit reads 1"),
    ],
)
def test_what_is_no_dump_is_refused(dump: Any, said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Transcript.load(dump)
    assert str(raised.value) == said


RUN = {"entry": "run", "run_id": "r", "resume": False, "messages": as_messages("Hi")}
TURN = {"entry": "turn", "role": "assistant", "message": reply(A), "request_id": None, "elapsed": 0.0, "cost": None}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"entry": "dance"}, "KeyError"),
        ({}, "KeyError"),
        (None, "TypeError"),
        ({"entry": "call", "call": "1:gone", "state": "started"}, "KeyError"),
        ({"entry": "call", "call": "1:toolu_a", "state": "open"}, "ValueError: a call is held, started, or ended with"),
        ({"entry": "call", "call": "1:toolu_a", "state": "ended", "outcome": "done"}, "ValueError: a call is held"),
        (
            {"entry": "call", "call": "1:toolu_a", "state": "ended", "outcome": "done", "result": {}},
            "ValueError: a call is held",
        ),
        ({"entry": "decision", "call": "1:toolu_a", "action": "perhaps"}, "ValueError: a decision is allow, deny or"),
        ({"entry": "decision", "call": "1:gone", "action": "allow"}, "KeyError"),
        ({"entry": "operation", "operation": "dance"}, "ValueError: the operation is one that this agentkit does not"),
        ({**RUN, "messages": [{"role": "tool", "content": [{"type": "text", "text": "x"}]}]}, "ValueError: no role"),
        ({**RUN, "messages": []}, "ValueError"),
        ({"entry": "turn", "message": 3}, "AttributeError"),
    ],
)
def test_the_entry_of_a_dump_that_is_broken_is_named(entry: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"entry 3 of the dump is broken: {said}"):
        Transcript.load({"agentkit": 1, "entries": [RUN, {"entry": "turn", "role": "user"}, TURN, entry]})


def test_a_log_without_what_newer_agentkits_write_is_read() -> None:
    ended = {"entry": "call", "call": "1:toolu_a", "state": "ended", "outcome": "done", "result": result("toolu_a")}
    decision = {"entry": "decision", "call": "1:toolu_a", "action": "deny", "reason": None}
    held = {"entry": "call", "call": "1:toolu_a", "state": "held"}
    bare = {"entry": "turn", "message": reply(A)}
    transcript = Transcript.load({"agentkit": 1, "entries": [RUN, {"entry": "turn"}, bare, held, decision]})
    assert transcript.calls["1:toolu_a"].decision == Decision("deny")
    assert (transcript.asked, transcript.elapsed, transcript.calls["1:toolu_a"].tool) == (None, 0.0, None)
    transcript.append(ended)
    assert (transcript.taint.all, transcript.unended()) == (set(), [])
    transcript.append({"entry": "turn"})
    assert wire(transcript)[-1]["content"] == [result("toolu_a")]


def test_messages_show_what_is_open_as_what_it_is() -> None:
    transcript = take(asked(), A, B)
    transcript.start(transcript.unended()[1])
    said = [block["content"] for block in transcript.messages()[-1]["content"]]  # type: ignore[index, union-attr]
    assert said == ["This call has not run.", "This call had begun: its outcome is unknown."]
    assert len(transcript.unended()) == 2, "the log is as it was"


def test_input_follows_what_the_api_has_not_finished() -> None:
    search = server_tool_use("web_search", query="q")
    transcript = take(asked(), search, stop="pause_turn")
    transcript.begin("run_2", as_messages("And?"))
    shown: Any = transcript.messages()
    assert [message["role"] for message in shown] == ["user", "assistant", "user"]
    assert shown[-1]["content"] == [{"type": "text", "text": "And?"}]
    assert transcript.server_open == {"srvtoolu_1"}, "the log is as it was"
    transcript.answer()
    assert (transcript.server_open, transcript.entries[-2]) == (
        set(),
        {"entry": "operation", "operation": "abandon_turn", "why": "new input came"},
    )


def test_results_are_not_held_up_by_input_while_the_api_owes_results() -> None:
    search = server_tool_use("web_search", query="q")
    transcript = take(asked(), search, A)
    transcript.begin("run_2", as_messages("And?"))
    end(transcript).answer()
    assert wire(transcript)[-1] == {"role": "user", "content": [result("toolu_a")]}
    assert transcript.waiting == [{"type": "text", "text": "And?"}]


def test_a_decision_is_on_a_call_that_waits() -> None:
    transcript = take(asked(), A, B)
    with pytest.raises(ConfigurationError, match=r"no call '1:toolu_a' waits for a decision \(waiting: none\)"):
        transcript.decide("1:toolu_a", Decision("allow"))
    for call in transcript.unended():
        transcript.hold(call)
    with pytest.raises(ConfigurationError, match=r"no call 'x' waits for a decision \(waiting: 1:toolu_a, 1:toolu_b\)"):
        transcript.decide("x", Decision("allow"))
    with pytest.raises(ConfigurationError, match=r"the decision on '1:toolu_a' must be allow\(\), deny\(…\) or edit"):
        transcript.decide("1:toolu_a", "allow")  # type: ignore[arg-type]
    transcript.decide("1:toolu_a", Decision("allow"))
    assert [call.call_id for call in transcript.held()] == ["1:toolu_b"]
    with pytest.raises(ConfigurationError, match=r"no call '1:toolu_a' waits for a decision \(waiting: 1:toolu_b\)"):
        transcript.decide("1:toolu_a", Decision("deny"))
    transcript.hold(transcript.calls["1:toolu_a"])
    assert transcript.calls["1:toolu_a"].decision is None, "asked again"


def test_what_the_api_would_refuse_is_refused() -> None:
    two = [result("toolu_x"), result("toolu_y")]
    with pytest.raises(TranscriptError, match="toolu_x"):
        Transcript().begin("run_1", as_messages([{"role": "user", "content": two}]))
    calls = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [A]}]
    with pytest.raises(TranscriptError, match="the messages end with a tool_use: give its tool_result, or continue"):
        Transcript().begin("run_1", as_messages(calls))
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "So"}]
    transcript = Transcript()
    transcript.begin("run_1", as_messages(said))
    assert [message["role"] for message in wire(transcript)] == ["user", "assistant"]


def test_a_thread_has_all_up_to_the_last_reply() -> None:
    transcript = asked()
    transcript.take_turn(reply(text("x"), id="msg_1"), "req_1", 1.0, thread="t")
    assert (transcript.thread, transcript.thread_id) == ("t", "msg_1")
    transcript.begin("run_2", as_messages("And?"))
    transcript.answer()
    assert transcript.thread_id == "msg_1"
    for change in ("strip_thinking", "abandon_turn"):
        twin = transcript.branch()
        twin.operate(change)
        assert twin.thread_id is None, "what it has is not what is sent"
    transcript.take_turn(reply(id="msg_2"), "req_2", 1.0, thread="t")
    assert transcript.thread_id is None, "an empty reply is not part of it"
    transcript.take_turn(reply(text("x"), id="msg_3"), "req_3", 1.0)
    assert (transcript.thread, transcript.thread_id) == (None, None)
    transcript.take_turn(reply(text("x"), id="msg_4"), "req_4", 1.0, thread="t")
    transcript.begin(
        "run_3", as_messages([{"role": "assistant", "content": "given"}, {"role": "user", "content": "?"}])
    )
    assert transcript.thread_id is None, "the caller put a turn there"


def test_the_container_is_the_last_that_has_an_id() -> None:
    transcript = asked()
    for container, expected in [
        (None, None),
        ({"id": "c_1"}, "c_1"),
        (None, "c_1"),
        ({}, "c_1"),
        ({"id": "c_2"}, "c_2"),
    ]:
        take(transcript, text("x"), stop="pause_turn", container=container)
        assert transcript.container == expected
    transcript.operate("drop_container")
    assert transcript.container is None


def test_what_agents_below_have_used_and_seen_counts() -> None:
    transcript = take(asked(), A)
    transcript.operate("spend", run="below", usage=Usage(5, 7).as_dict(), cost=0.5, taint=["private"])
    assert transcript.taint.all == {"private"}
    before = transcript.spending.usage.total_tokens
    transcript.operate("spend", run="below", usage=Usage(6, 7).as_dict(), cost=0.75)
    assert transcript.spending.usage.total_tokens == before + 1
    branch = transcript.branch()
    branch.operate("spend", run="other", usage=Usage(100, 0).as_dict(), cost=0.0)
    assert transcript.spending.usage.total_tokens == before + 1, "a branch has its own"
    assert transcript.operations == {"spend"}


def test_an_answer_may_have_several_turns() -> None:
    transcript = asked("Hi")
    at = len(transcript.entries)
    for stop in ("pause_turn", "pause_turn", "end_turn"):
        take(transcript, text("x"), stop=stop)
        assert transcript.answer_from == at
    assert (transcript.pauses, transcript.turns) == (0, 3)
    transcript.begin("run_2", as_messages("And?"))
    transcript.answer()
    at = len(transcript.entries)
    take(transcript, text("y"), stop="pause_turn")
    assert (transcript.answer_from, transcript.pauses, transcript.turns) == (at, 1, 1)
    assert (transcript.stop_reason, transcript.at_model_turn) == ("pause_turn", True)


def test_misses_of_the_cache_are_part_of_what_was_used() -> None:
    transcript = asked()
    transcript.take_turn(reply(text("x")), "req_1", 1.0, sent={"cache_misses": ["tools_changed"]})
    assert tuple(transcript.spending.usage.cache_miss_reasons) == ("tools_changed",)


def test_after_a_compaction_the_prompt_is_as_long_as_its_summary() -> None:
    transcript = take(asked(), text("x" * 3000), usage={"input_tokens": 1000, "output_tokens": 1000})
    assert transcript.history.tokens() == 2000
    summary = {"type": "compaction", "content": "They said x."}
    message = {"content": [text("So:"), summary], "usage": {"input_tokens": 2000, "output_tokens": 9}}
    transcript.operate("compact", message=message, cost=0.5)
    assert wire(transcript) == [{"role": "assistant", "content": [summary]}]
    assert transcript.history.tokens() < 50
    assert not transcript.history.is_counted
    assert transcript.spending.usage.total_tokens == 4009


def test_what_is_told_of_code_that_is_given_up_comes_before_input_that_waits() -> None:
    code = server_tool_use("code_execution", code="add(1)")
    call = {**A, "caller": {"type": "code_execution_20260120", "tool_id": "srvtoolu_1"}}
    transcript = take(asked(), code, call)
    transcript.begin("run_2", as_messages([{"role": "user", "content": [text("And?"), text("Well?")]}]))
    end(transcript).answer()
    transcript.operate("abandon_turn", why="new input came")
    told, *asked_then = transcript.waiting
    assert told["text"].startswith("Code that was running was given up. It had called:\nadd(")
    assert asked_then == [text("And?"), text("Well?")]
