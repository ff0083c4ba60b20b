"""The log, its folds, and the bytes that are sent."""

from __future__ import annotations

from typing import Any

import pytest
from logs import asked, begun, end, result, take, wire
from scripted import server_tool_use, text, thinking, tool_use

from agentkit.errors import ConfigurationError, TranscriptError
from agentkit.messages import Usage, as_messages, encode, model_turns
from agentkit.settings import Limits
from agentkit.step import Answer, CallModel, next_step
from agentkit.transcript import Decision, Transcript

A, B = tool_use("add", id="toolu_a", x=1), tool_use("add", id="toolu_b", x=2)
SEARCH = server_tool_use("web_search", query="q")
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}


def user(*content: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": [*content]}


def assistant(*content: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": [*content]}


# What is sent.


def test_a_fresh_transcript_is_empty() -> None:
    transcript = Transcript()
    assert wire(transcript) == transcript.messages() == transcript.entries == []
    assert (transcript.stop_reason, transcript.calls, transcript.held()) == (None, {}, [])
    assert transcript.history.refused(container=True)[0].rule == "messages_empty"


def test_a_run_with_tools() -> None:
    transcript = begun("Hi")
    assert transcript.waiting == [text("Hi")]
    assert wire(transcript) == []
    transcript.answer()
    assert transcript.waiting == []
    end(take(transcript, text("I add."), A, B), "1", "2").answer()
    take(transcript, text("Done."))
    assert wire(transcript) == [
        user(text("Hi")),
        assistant(text("I add."), A, B),
        user(result("toolu_a", "1"), result("toolu_b", "2")),
        assistant(text("Done.")),
    ]
    assert transcript.history.problems == []
    kinds = [(entry["entry"], entry.get("state")) for entry in transcript.entries]
    calls = [("call", "started"), ("call", "ended")] * 2
    assert kinds == [("run", None), *[("turn", None)] * 2, *calls, *[("turn", None)] * 2]


def test_results_go_in_the_order_of_the_calls_and_input_after_them() -> None:
    transcript = take(asked(), A, B)
    for call in reversed(transcript.unended()):
        transcript.end(call, "failed", result(call.block["id"]))
    transcript.begin("run_2", as_messages("And?"))
    assert isinstance(next_step(transcript, Limits(), 0.0), Answer)
    transcript.answer()
    assert wire(transcript)[-1] == user(result("toolu_a"), result("toolu_b"), text("And?"))
    assert transcript.calls == {}


def test_a_mixed_turn_carries_results_only_and_input_waits_one_model_turn() -> None:
    transcript = end(take(asked(), SEARCH, A))
    transcript.begin("run_2", as_messages("And?"))
    assert isinstance(next_step(transcript, Limits(), 0.0), Answer)
    transcript.answer()
    assert wire(transcript)[-1] == user(result("toolu_a"))
    assert transcript.waiting == [text("And?")]
    assert transcript.server_open == {"srvtoolu_1"}
    assert isinstance(next_step(transcript, Limits(), 0.0), CallModel)
    take(transcript, FOUND, text("Found."))
    assert transcript.server_open == set()
    assert isinstance(next_step(transcript, Limits(), 0.0), Answer)
    transcript.answer()
    assert wire(transcript)[-3:] == [user(result("toolu_a")), assistant(FOUND, text("Found.")), user(text("And?"))]
    assert transcript.history.refused(container=True) == []


def test_server_uses_that_nobody_answers_do_not_hold_input_back_for_ever() -> None:
    transcript = take(asked(), SEARCH, stop="max_tokens")
    transcript.begin("run_2", as_messages("And?"))
    assert isinstance(next_step(transcript, Limits(), 0.0), CallModel)
    take(transcript, text("I don't search."))
    assert isinstance(next_step(transcript, Limits(), 0.0), Answer)
    transcript.answer()
    assert transcript.entries[-2] == {"entry": "operation", "operation": "abandon_turn", "why": "new input came"}
    assert wire(transcript) == [user(text("Hi")), assistant(text("I don't search.")), user(text("And?"))]
    assert transcript.history.refused(container=True) == []


def test_a_chain_of_pauses_is_one_message_and_one_answer() -> None:
    transcript = take(asked(), text("I search."), SEARCH, stop="pause_turn")
    assert transcript.pauses == 1
    take(transcript, FOUND, server_tool_use("web_fetch", id="srvtoolu_2"), stop="pause_turn")
    assert transcript.pauses == 2
    fetched = {"type": "web_fetch_tool_result", "tool_use_id": "srvtoolu_2", "content": {}}
    take(transcript, fetched, text("Here."))
    assert transcript.pauses == 0
    assert [message["role"] for message in wire(transcript)] == ["user", "assistant"]
    kinds = [block["type"] for block in wire(transcript)[1]["content"]]
    assert kinds[1:5] == ["server_tool_use", "web_search_tool_result", "server_tool_use", "web_fetch_tool_result"]
    assert [len(turn["content"]) for turn in model_turns(transcript.entries[transcript.answer_from :])] == [2, 2, 2]
    assert len(model_turns(transcript.entries[transcript.run_from :])) == 3
    assert transcript.history.refused(container=True) == []


def test_a_refused_turn_is_kept_and_not_sent() -> None:
    transcript = take(asked(), text("Half an"), A, stop="refusal")
    assert wire(transcript) == [user(text("Hi"))]
    assert transcript.calls == {}
    assert transcript.last is not None
    assert model_turns(transcript.entries) == [transcript.last]
    transcript.begin("run_2", as_messages("Something else."))
    transcript.answer()
    assert wire(transcript) == [user(text("Hi"), text("Something else."))]


def test_blank_text_is_not_sent_back() -> None:
    transcript = take(asked(), text(""), thinking("so"), text(" \n\u3000"), A, text("x "))
    assert [block["type"] for block in wire(transcript)[1]["content"]] == ["thinking", "tool_use", "text"]
    assert transcript.last is not None
    assert len(transcript.last["content"]) == 5
    empty = take(asked(), text(""))
    assert wire(empty) == [user(text("Hi"))]
    assert empty.history.refused(container=True) == []


def test_what_a_fallback_leaves_behind_is_not_sent() -> None:
    fallback = {"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}}
    transcript = take(asked(), thinking("so"), text("I "), A, SEARCH, FOUND, fallback, B)
    assert wire(transcript)[1] == assistant(text("I "), SEARCH, FOUND, fallback, B)
    assert list(transcript.calls) == ["1:toolu_b"]


def test_input_that_is_no_object_is_sent_as_one() -> None:
    transcript = take(asked(), {**A, "input": '{"x": '}, {**B, "input": [1]})
    assert [block["input"] for block in wire(transcript)[1]["content"]] == [
        {"INVALID_JSON": '{"x": '},
        {"INVALID_JSON": "[1]"},
    ]
    assert [call.block["input"] for call in transcript.unended()] == [
        {"INVALID_JSON": '{"x": '},
        {"INVALID_JSON": "[1]"},
    ]
    assert transcript.history.problems == []


def test_unknown_blocks_and_fields_are_sent_as_they_came() -> None:
    hologram = {"type": "hologram", "n": 1.5, "x": [None, {"ü": "\ud83d"}]}
    assert wire(take(asked(), hologram))[1] == assistant(hologram)


# Messages of the caller.


def test_given_messages_are_turns_and_the_last_one_waits() -> None:
    given = [user(text("1")), assistant(A), user(result("toolu_a"), text("2")), assistant(text("3")), user(text("4"))]
    transcript = begun(*given)
    assert wire(transcript) == given[:-1]
    assert transcript.waiting == [text("4")]
    assert (transcript.turns, transcript.calls, transcript.last) == (0, {}, None)
    transcript.answer()
    assert wire(transcript) == given
    assert transcript.history.refused(container=True) == []


def test_given_neighbours_of_one_role_are_one_message() -> None:
    transcript = asked(user(text("1")), user(text("2")), assistant(text("3")), assistant(text("4")), user(text("5")))
    assert wire(transcript) == [user(text("1"), text("2")), assistant(text("3"), text("4")), user(text("5"))]


def test_a_given_result_is_a_turn_at_once() -> None:
    """Also while the API owes a result of its own: what is held back would never be sent."""
    given = [user(text("1")), assistant(SEARCH, A), user(result("toolu_a"))]
    transcript = begun(*given)
    assert wire(transcript) == given
    assert isinstance(next_step(transcript, Limits(), 0.0), CallModel)
    assert transcript.history.refused(container=True) == []


def test_a_system_message_follows_what_is_owed() -> None:
    system = {"role": "system", "content": [text("Be brief.")]}
    transcript = end(take(asked(), A))
    transcript.begin("run_2", as_messages([system]))
    assert wire(transcript)[-2:] == [user(result("toolu_a")), system]
    assert (transcript.calls, transcript.at_model_turn) == ({}, False)
    assert isinstance(next_step(transcript, Limits(), 0.0), CallModel)
    waited = begun("Hi")
    waited.begin("run_2", as_messages([system]))
    assert wire(waited) == [user(text("Hi")), system]


def test_a_prefill_is_the_start_of_the_reply() -> None:
    transcript = begun(user(text("1")), assistant(text("{")))
    assert isinstance(next_step(transcript, Limits(), 0.0), CallModel)
    take(transcript, text('"a": 1}'))
    assert wire(transcript)[1] == assistant(text("{"), text('"a": 1}'))


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([user(text("1")), assistant(A)], "^the messages end with a tool_use: give its tool_result"),
        ([user(text("1")), assistant(A), user(text("2")), assistant(text("3"))], "without `tool_result` blocks"),
        ([user(result("toolu_a"))], "^messages.0.content.0: unexpected `tool_use_id`"),
        ([user(text("1")), assistant(text("")), user(text("2"))], "must be non-empty"),
        ([{"role": "system", "content": "x"}], "use the top-level 'system' parameter"),
    ],
)
def test_a_history_that_the_api_would_refuse(given: list[Any], why: str) -> None:
    with pytest.raises(TranscriptError, match=why):
        begun(*given)


# Calls and decisions.


def test_calls_go_through_their_states() -> None:
    transcript = asked()
    assert transcript.call_id("toolu_a") == "1:toolu_a"
    take(transcript, A, B)
    first, second = transcript.unended()
    assert (first.call_id, first.block, first.state) == ("1:toolu_a", A, "open")
    transcript.hold(first)
    transcript.start(second)
    assert transcript.held() == [transcript.calls["1:toolu_a"]]
    assert transcript.calls["1:toolu_b"].state == "started"
    transcript.decide("1:toolu_a", Decision("edit", "better so", {"x": 5}))
    assert transcript.held() == []
    assert transcript.calls["1:toolu_a"].decision == Decision("edit", "better so", {"x": 5})
    transcript.end(second, "timed_out", result("toolu_b"))
    assert transcript.unended() == [transcript.calls["1:toolu_a"]]
    ended = transcript.calls["1:toolu_b"]
    assert (ended.state, ended.outcome, ended.result) == ("ended", "timed_out", result("toolu_b"))
    assert transcript.tool_calls == 1


def test_an_id_of_an_earlier_turn_is_another_call() -> None:
    transcript = end(take(asked(), A))
    transcript.answer()
    take(transcript, A)
    assert list(transcript.calls) == ["2:toolu_a"]
    assert transcript.history.refused(container=True)[0].rule == "tool_result_missing"
    end(transcript).answer()
    assert transcript.history.refused(container=True) == []


def test_only_a_held_call_can_be_decided_and_only_once() -> None:
    transcript = take(asked(), A, B)
    first, second = transcript.unended()
    with pytest.raises(ConfigurationError, match=r"^no call '1:toolu_a' waits for a decision \(waiting: none\)$"):
        transcript.decide("1:toolu_a", Decision("allow"))
    transcript.hold(first)
    transcript.hold(second)
    with pytest.raises(ConfigurationError, match=r"no call 'x' waits .*\(waiting: 1:toolu_a, 1:toolu_b\)"):
        transcript.decide("x", Decision("allow"))
    transcript.decide("1:toolu_a", Decision("deny", "no"))
    with pytest.raises(ConfigurationError, match=r"\(waiting: 1:toolu_b\)"):
        transcript.decide("1:toolu_a", Decision("allow"))


# Views.


def test_messages_show_open_calls_closed_and_what_waits() -> None:
    transcript = take(asked(), SEARCH, A, B)
    transcript.end(transcript.unended()[0], "done", result("toolu_a"))
    transcript.begin("run_2", as_messages("And?"))
    before = encode(transcript.entries)
    not_run = {**result("toolu_b", "This call has not run."), "is_error": True}
    assert transcript.messages() == [
        user(text("Hi")),
        assistant(SEARCH, A, B),
        user(result("toolu_a"), not_run, text("And?")),
    ]
    assert encode(transcript.entries) == before
    assert [call.state for call in transcript.calls.values()] == ["ended", "open"]
    assert transcript.messages() == transcript.messages()
    assert begun("Hi").messages() == [user(text("Hi"))]


def test_two_branches_never_see_each_other() -> None:
    trunk = take(asked(), SEARCH, A)
    trunk.hold(trunk.unended()[0])
    before = (trunk.messages(), trunk.dump(), trunk.turns, trunk.spending)
    one, other = trunk.branch(), trunk.branch()
    one.decide("1:toolu_a", Decision("allow"))
    end(one, "1").answer()
    take(one, FOUND, text("one"))
    other.begin("run_2", as_messages("other"))
    end(other, "2").answer()
    assert (trunk.messages(), trunk.dump(), trunk.turns, trunk.spending) == before
    assert trunk.held()
    assert trunk.server_open == {"srvtoolu_1"}
    assert wire(one)[-2:] == [user(result("toolu_a", "1")), assistant(FOUND, text("one"))]
    assert wire(other)[-1] == user(result("toolu_a", "2"))
    assert (one.run_id, one.waiting, other.run_id, other.waiting) == ("run_1", [], "run_2", [text("other")])
    broken = trunk.branch()
    broken.append({"entry": "turn", "role": "user"})
    assert broken.history.refused(container=True)
    assert not trunk.history.problems


def test_the_input_estimate_is_what_the_api_counted_and_a_third_of_the_bytes_since() -> None:
    transcript = asked()
    assert transcript.history.tokens() == len('[{"role":"user","content":[{"type":"text","text":"Hi"}') // 3
    usage = {"input_tokens": 1000, "output_tokens": 50, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 2}
    take(transcript, A, usage=usage)
    assert transcript.history.tokens() == 1057
    end(transcript, "x" * 3000).answer()
    assert 2057 < transcript.history.tokens() < 2057 + 50


def test_limits_count_from_the_run_and_not_from_a_resume() -> None:
    transcript = take(asked(), A, usage={"server_tool_use": {"web_search_requests": 2}}, container={"id": "c_1"})
    end(transcript).answer()
    assert (transcript.turns, transcript.tool_calls, transcript.elapsed, transcript.run_from) == (1, 1, 2.0, 0)
    assert transcript.spending.usage == Usage(10, 5, web_search_requests=2)
    transcript.begin("run_1", None)
    assert (transcript.turns, transcript.tool_calls, transcript.elapsed, transcript.run_from) == (1, 1, 2.0, 0)
    take(transcript, text("x"), container=None)
    assert (transcript.turns, transcript.spending.usage.output_tokens, transcript.elapsed) == (2, 10, 2.0)
    transcript.begin("run_2", as_messages("More"))
    assert (transcript.turns, transcript.tool_calls, transcript.spending.usage, transcript.elapsed) == (
        0,
        0,
        Usage(),
        0.0,
    )
    assert (transcript.run_id, transcript.run_from, transcript.container) == (
        "run_2",
        len(transcript.entries) - 1,
        "c_1",
    )
    take(transcript, text("x"), container={"id": "c_2", "expires_at": "…"})
    assert transcript.container == "c_2"


@pytest.mark.parametrize("container", [None, {}, {"id": None}, "c_2"])
def test_a_reply_without_a_container_keeps_the_one_before(container: Any) -> None:
    transcript = take(take(asked(), text("a"), container={"id": "c_1"}), text("b"), container=container)
    assert transcript.container == "c_1"


def test_a_call_from_code_needs_its_container() -> None:
    code = server_tool_use("code_execution", code="add(1)")
    call = {**A, "caller": {"type": "code_execution_20260120", "tool_id": "srvtoolu_1"}}
    transcript = end(take(asked(), code, call))
    transcript.answer()
    assert transcript.history.refused(container=True) == []
    assert [problem.rule for problem in transcript.history.refused(container=False)] == ["container_required"]
