"""The log as bytes, as a dump, and as what every fold must agree with."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs import asked, begun, end, logs, result, take, wire
from scripted import server_tool_use, text, tool_use

from agentkit.errors import ConfigurationError
from agentkit.messages import Usage, client_calls, encode, sent_content
from agentkit.rules import check_history
from agentkit.settings import Limits
from agentkit.step import Answer, CallModel, CallTools, Finish, next_step
from agentkit.transcript import Decision, Transcript

A = tool_use("add", id="toolu_a", x=1)


# Bytes.


def test_large_histories_are_kept_in_slabs_and_the_bytes_are_those_of_one_join() -> None:
    transcript, rounds = asked(), 60
    for number in range(rounds):
        take(transcript, text(f"{number}"), {**A, "id": f"toolu_{number}"})
        end(transcript, "é" * 50_000).answer()
    parts = transcript.history.body.parts()
    assert len(parts) == 6
    assert all(1 << 20 <= len(part) < (1 << 20) + 100_100 for part in parts[:-1])
    joined = b"".join(parts)
    assert joined == encode(transcript.messages())
    assert len(joined) == transcript.history.body.size + len("]}]")
    branch = take(transcript.branch(), text("on"))
    assert all(one is other for one, other in zip(branch.history.body.parts(), parts[:-1], strict=False)), (
        "slabs are shared"
    )
    assert b"".join(branch.history.body.parts()).startswith(joined.removesuffix(b"]}]"))
    assert check_history(transcript.messages()) == []


def test_every_append_only_adds_bytes() -> None:
    transcript, before = begun("Hi"), b"["
    steps = 0
    while not isinstance(step := next_step(transcript, Limits(max_turns=4), 0.0), Finish):
        match step:
            case Answer():
                transcript.answer()
            case CallModel():
                take(transcript, text("é\u2028"), {**A, "id": f"toolu_{steps}"})
            case CallTools():
                end(transcript)
        after = b"".join(transcript.history.body.parts())
        assert after.startswith(before)
        before = after.removesuffix(b"]}]")
        steps += 1
    assert steps == 13


# Dumps.


def test_a_dump_is_the_log_and_comes_back_whole() -> None:
    transcript = take(asked(), text("\ud83d é"), server_tool_use("web_search"), A, tool_use("add", id="toolu_b"))
    transcript.hold(transcript.unended()[0])
    transcript.decide("1:toolu_a", Decision("edit", "so", {"x": 2}))
    transcript.begin("run_2", None)
    dump = transcript.dump()
    assert dump["agentkit"] == 1
    again = Transcript.load(json.loads(json.dumps(dump)))
    assert again.dump() == dump
    assert again.history.body.parts() == transcript.history.body.parts()
    assert again.calls == transcript.calls
    assert state(again) == state(transcript)


def test_a_dump_is_a_copy() -> None:
    transcript = take(asked(), A)
    dump = transcript.dump()
    dump["entries"][0]["messages"][0]["content"].clear()
    dump["entries"].clear()
    assert transcript.messages()[0]["content"] == [text("Hi")]
    assert len(transcript.entries) == 3


def test_input_as_deep_as_the_parser_allows_can_be_shown_dumped_and_loaded() -> None:
    deep: Any = "x"
    for _ in range(199):
        deep = [deep]
    transcript = take(asked(), {**A, "input": {"x": deep}})
    assert transcript.messages()[1]["content"] == [{**A, "input": {"x": deep}}]
    assert Transcript.load(transcript.dump()).history.body.parts() == transcript.history.body.parts()


RUN = {"entry": "run", "run_id": "r", "resume": False, "messages": [{"role": "user", "content": [text("Hi")]}]}
TURN = {"entry": "turn", "role": "assistant", "message": {"content": [A], "stop_reason": "tool_use"}}
HELD = {"entry": "call", "call": "1:toolu_a", "state": "held"}
ENDED = {**HELD, "state": "ended", "outcome": "done", "result": result("toolu_a")}
DECIDED = {"entry": "decision", "call": "1:toolu_a", "action": "allow", "reason": "", "input": None}
LOG = [RUN, {"entry": "turn", "role": "user"}, TURN, HELD, DECIDED, ENDED, {"entry": "turn", "role": "user"}]


def test_the_log_of_the_broken_ones_is_sound() -> None:
    transcript = Transcript.load({"agentkit": 1, "entries": LOG})
    assert transcript.history.refused(container=True) == []
    assert transcript.entries == LOG


@pytest.mark.parametrize(
    ("at", "broken"),
    [
        (0, None),
        (0, []),
        (0, {}),
        (0, {"entry": "input", "content": []}),
        (0, {"entry": []}),
        (0, {"entry": "run"}),
        (0, {**RUN, "messages": []}),
        (0, {**RUN, "messages": ["Hi"]}),
        (0, {**RUN, "messages": [{"role": "", "content": [text("Hi")]}]}),
        (0, {**RUN, "messages": [{"role": "user", "content": "Hi"}]}),
        (0, {**RUN, "messages": [{"role": "user", "content": [1]}]}),
        (2, {**TURN, "message": None}),
        (2, {**TURN, "message": {"content": "text"}}),
        (2, {**TURN, "message": {"content": [1]}}),
        (2, {**TURN, "message": {"content": [{"type": "tool_use"}]}}),
        (2, {**TURN, "elapsed": "long"}),
        (3, {**HELD, "call": "1:toolu_b"}),
        (3, {**HELD, "call": []}),
        (3, {**HELD, "state": "open"}),
        (4, {**DECIDED, "call": "2:toolu_a"}),
        (4, {**DECIDED, "action": "perhaps"}),
        (4, {"entry": "operation", "operation": "of another agentkit"}),
        (5, {**HELD, "state": "ended"}),
        (5, {**ENDED, "result": "3"}),
        (5, {**ENDED, "elapsed": "long"}),
    ],
)
def test_a_broken_dump_says_which_entry(at: int, broken: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"^entry {at} of the dump is broken: \w+Error: "):
        Transcript.load({"agentkit": 1, "entries": [*LOG[:at], broken]})


@pytest.mark.parametrize("dump", [None, [], "run_1", {}, {"agentkit": 1}, {"agentkit": 1, "entries": {}}])
def test_what_is_no_dump_is_refused(dump: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^this is not what result.dump\(\) gave"):
        Transcript.load(dump)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_a_dump_of_another_format_is_refused(version: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"^this dump has format {version!r}, and this agentkit reads 1$"):
        Transcript.load({"agentkit": version, "entries": []})


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "user", "tool_use", "1:toolu_a", "toolu_a"]),
    lambda some: (
        st.lists(some, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "role", "content", "id", "input", "message", "usage"]), some, max_size=3
        )
    ),
    max_leaves=8,
)


@given(data=st.data())
def test_no_dump_raises_anything_else(data: st.DataObject) -> None:
    """Any JSON, and sound logs with a value replaced somewhere."""
    entries = copy.deepcopy(LOG)
    for _ in range(data.draw(st.integers(1, 3))):
        place: Any = entries
        while True:
            key = data.draw(st.sampled_from(list(range(len(place))) if isinstance(place, list) else sorted(place)))
            if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.integers(0, 3)) == 0:
                place[key] = data.draw(values)
                break
            place = place[key]
    for dump in ({"agentkit": 1, "entries": entries}, data.draw(values)):
        try:
            transcript = Transcript.load(dump)
        except ConfigurationError:
            continue
        assert next_step(transcript, Limits(), 0.0)
        assert isinstance(transcript.messages(), list)
        assert Transcript.load(transcript.dump()).history.body.parts() == transcript.history.body.parts()


# Folds.


def state(transcript: Transcript) -> dict[str, Any]:
    """Every fold, as something to compare."""
    folds = {name: value for name, value in vars(transcript).items() if name not in ("entries", "history")}
    spent = {"usage": transcript.spending.usage, "cost": transcript.spending.cost}
    return {**folds, **spent, "server_open": transcript.server_open, "problems": transcript.history.problems}


def recomputed(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """What the folds must be, counted from the whole log."""
    begins = [at for at, entry in enumerate(entries) if entry["entry"] == "run" and not entry["resume"]]
    run = entries[begins[-1] :]
    model_turns = [entry["message"] for entry in entries if "message" in entry]
    of_run = [entry["message"] for entry in run if "message" in entry]
    at_model_turn, answer_from = False, 0
    for at, entry in enumerate(entries):
        if "message" in entry:
            answer_from = answer_from if at_model_turn else at
        elif not (entry["entry"] == "turn" or len(entry.get("messages", ())) > 1):
            continue
        at_model_turn = "message" in entry
    pauses = 0
    for message in of_run:
        pauses = pauses + 1 if message["stop_reason"] == "pause_turn" else 0
    spends = {entry["run"]: entry for entry in run if entry.get("operation") == "spend"}.values()
    usages = [Usage.from_wire(message["usage"]) for message in of_run] + [
        Usage(**{**spend["usage"], "cache_miss_reasons": ()}) for spend in spends
    ]
    containers = [message["container"]["id"] for message in model_turns if message["container"]]
    return {
        "run_id": [entry["run_id"] for entry in entries if entry["entry"] == "run"][-1],
        "run_from": begins[-1],
        "answer_from": answer_from,
        "turns": len(of_run),
        "pauses": pauses,
        "tool_calls": sum(entry.get("state") == "started" for entry in run),
        "usage": sum(usages, Usage()),
        "cost": None if of_run else pytest.approx(sum(spend["cost"] for spend in spends)),
        "elapsed": max([entry.get("elapsed") or 0.0 for entry in run]),
        "last": model_turns[-1] if model_turns else None,
        "container": containers[-1] if containers else None,
        "at_model_turn": at_model_turn,
        "_model_turns": len(model_turns),
    }


def resent(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages of a log, put together without any fold."""
    found: list[dict[str, Any]] = []
    results: dict[str, Any] = {}
    order: list[str] = []
    waiting: list[Any] = []

    def say(role: str, content: list[Any]) -> None:
        if content and found and found[-1]["role"] == role:
            found[-1]["content"] += content
        elif content:
            found.append({"role": role, "content": [*content]})

    def answer() -> None:
        owed = [results[id_] for id_ in order if id_ in results]
        holds = bool(owed and unanswered(found))
        say("user", owed + ([] if holds else waiting))
        if not holds:
            waiting.clear()
        order.clear()
        results.clear()

    for entry in entries:
        if entry["entry"] == "run" and not entry["resume"]:
            *before, last = entry["messages"]
            for message in before:
                if message["role"] == "user":
                    waiting.extend(message["content"])
                    answer()
                else:
                    say(message["role"], message["content"])
            waiting.extend(last["content"])
        elif "message" in entry:
            say("assistant", sent_content(entry["message"]))
            order[:] = [block["id"] for block in client_calls(sent_content(entry["message"]))]
        elif entry["entry"] == "turn":
            answer()
        elif entry.get("result"):
            results[entry["result"]["tool_use_id"]] = entry["result"]
    return found


def unanswered(messages: list[dict[str, Any]]) -> set[str]:
    blocks = [block for message in messages for block in message["content"]]
    answered = {block["tool_use_id"] for block in blocks if block["type"] == "web_search_tool_result"}
    return {block["id"] for block in blocks if block["type"] == "server_tool_use"} - answered


@given(transcript=logs)
def test_folds_are_what_the_whole_log_says(transcript: Transcript) -> None:
    assert state(transcript).items() >= recomputed(transcript.entries).items()
    messages = resent(transcript.entries)
    assert wire(transcript) == messages
    assert transcript.server_open == unanswered(messages)
    assert [problem.message for problem in transcript.history.refused(container=True)] == [
        p.message for p in check_history(messages)
    ]


@given(transcript=logs)
def test_a_log_loaded_at_any_entry_goes_on_as_it_was(transcript: Transcript) -> None:
    again = Transcript.load(transcript.dump())
    assert again.dump() == transcript.dump()
    assert (state(again), again.history.body.parts()) == (state(transcript), transcript.history.body.parts())
    for cut in range(1, len(transcript.entries), 5):
        part = Transcript.load({"agentkit": 1, "entries": transcript.entries[:cut]})
        for entry in transcript.entries[cut:]:
            part.append(entry)
        assert (state(part), part.history.body.parts()) == (state(transcript), transcript.history.body.parts())


@given(transcript=logs)
def test_shown_messages_are_always_a_history_that_the_api_takes(transcript: Transcript) -> None:
    shown = transcript.messages()
    assert [problem.rule for problem in check_history(shown) if problem.rule != "server_result_missing"] == []
    assert shown[: len(wire(transcript)) - 1] == wire(transcript)[:-1]
