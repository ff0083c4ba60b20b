"""The messages as they are sent, and their rewriting."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from logs import logs
from scripted import server_tool_use, text, thinking, tool_use

from agentkit.history import History
from agentkit.messages import encode
from agentkit.rules import check_history
from agentkit.transcript import Transcript

CODE = server_tool_use("code_execution", id="srvtoolu_c", code="pay(3)")
PAY = {
    **tool_use("pay", id="toolu_p", amount=3),
    "caller": {"type": "code_execution_20260120", "tool_id": "srvtoolu_c"},
}
PAID = {"type": "tool_result", "tool_use_id": "toolu_p", "content": "paid"}


def user(*content: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": [*content]}


def assistant(*content: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": [*content]}


def test_messages_are_those_that_were_added() -> None:
    messages = [user(text("Hi")), assistant(thinking("so"), text("Yes.")), user(text("é\u2028"))]
    history = History.of(messages)
    assert history.messages() == messages
    assert b"".join(history.body.parts()) == encode(messages)
    assert history.refused(container=True) == []
    assert History.of([user(text("Hi"))]).has_thinking() is False
    assert history.has_thinking() is True


def test_a_branch_goes_on_by_itself() -> None:
    history = History.of([user(text("Hi")), assistant(server_tool_use("web_search"))])
    branch = history.branch()
    branch.add("assistant", [{"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}])
    branch.add("tool", [text("no such role")])
    assert (history.server_open, branch.server_open) == ({"srvtoolu_1"}, set())
    assert (history.problems, [problem.rule for problem in branch.problems]) == ([], ["role_unknown"])
    assert len(history.messages()[1]["content"]) == 1


def test_without_thinking_neighbours_that_are_left_become_one() -> None:
    redacted = {"type": "redacted_thinking", "data": "x"}
    history = History.of([user(text("a")), assistant(thinking("so"), redacted), user(text("b")), assistant(text("c"))])
    assert history.without_thinking().messages() == [user(text("a"), text("b")), assistant(text("c"))]


def test_uses_that_will_have_no_result_go_with_the_thinking_after_them() -> None:
    found = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
    before = [thinking("first"), server_tool_use("web_search"), found, text("I search again.")]
    history = History.of([user(text("Hi")), assistant(*before, server_tool_use("web_search", id="s2"), thinking("on"))])
    assert history.server_open == {"s2"}
    assert history.abandoned_calls() is None
    assert history.without_open_uses().messages() == [user(text("Hi")), assistant(*before)]


def test_calls_of_code_that_is_given_up_go_too_and_are_told() -> None:
    other = {**PAY, "id": "toolu_q", "input": {"amount": 4}}
    long = {**PAID, "tool_use_id": "toolu_q", "content": [text("y" * 600)]}
    history = History.of([user(text("Pay.")), assistant(text("I pay."), CODE, PAY, other), user(PAID, long)])
    assert history.without_open_uses().messages() == [user(text("Pay.")), assistant(text("I pay."))]
    told = history.abandoned_calls()
    assert told is not None
    first, second, third = told.split("\n")
    assert first == "Code that was running was given up. It had called:"
    assert second == 'pay({"amount":3}): paid'
    assert third.startswith('pay({"amount":4}): [{"type":"text","text":"yyy')
    assert third.endswith("y…")


@pytest.mark.parametrize("length", [499, 500, 501])
def test_of_a_long_result_500_characters_are_told(length: int) -> None:
    paid = {**PAID, "content": "y" * length}
    told = History.of([user(text("Pay.")), assistant(CODE, PAY), user(paid)]).abandoned_calls()
    assert told is not None
    assert told.split("\n")[1] == 'pay({"amount":3}): ' + ("y" * length if length <= 500 else "y" * 500 + "…")


def rules_broken(history: History) -> list[str]:
    return [problem.rule for problem in check_history(history.messages())]


@given(transcript=logs)
def test_rewritten_histories_are_ones_that_the_api_takes(transcript: Transcript) -> None:
    history = transcript.history
    stripped = history.without_thinking()
    assert not stripped.has_thinking()
    assert stripped.server_open == history.server_open
    assert set(rules_broken(stripped)) <= {*rules_broken(history), "messages_empty"}
    abandoned = history.without_open_uses()
    assert abandoned.server_open == set()
    assert set(rules_broken(abandoned)) <= {*rules_broken(history), "messages_empty"} - {"server_result_missing"}


@pytest.mark.parametrize("rewrite", ["without_thinking", "without_open_uses"])
def test_rewriting_leaves_the_history_itself_alone(rewrite: str) -> None:
    history = History.of([user(text("Hi")), assistant(thinking("so"), server_tool_use("web_search"))])
    before = b"".join(history.body.parts())
    getattr(history, rewrite)()
    assert b"".join(history.body.parts()) == before
