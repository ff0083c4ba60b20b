"""When a run goes in circles, and when it does not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import ScriptedServer, reply, server_tool_use, text, tool_use

from agentkit import Agent, Client, RunResult, Tool, tool
from agentkit.repeats import NOTICE, Repeats, digest_of


def fed(turns: list[set[str]]) -> Repeats:
    repeats = Repeats()
    for turn in turns:
        repeats.begin_turn([])
        for digest in turn:
            repeats.add(digest)
    return repeats


@pytest.mark.parametrize(
    ("rounds", "length"), [(["a"], 1), (["a", "b"], 2), (["a", "b", "c"], 3), (["a", "b", "a", "c"], 4)]
)
def test_five_equal_rounds_are_too_many_and_the_third_is_noticed(rounds: list[str], length: int) -> None:
    turns = [{digest} for digest in rounds * 5]
    for count in range(len(turns)):
        assert not fed(turns[:count]).are_too_many
    assert fed(turns).are_too_many
    repeats = Repeats()
    for at, digest in enumerate(rounds * 3):
        repeats.begin_turn([])
        assert repeats.are_noticed(digest) == (at >= 2 * length), at
        repeats.add(digest)


@given(st.lists(st.sampled_from(["ab", "ac", "ad"]), max_size=30))
def test_work_between_equal_calls_is_no_circle(edits: list[str]) -> None:
    turns: list[set[str]] = []
    for number, edit in enumerate(edits):
        turns += [{f"{edit} {number}"}, {"the same test fails"}]
        assert not fed(turns).are_too_many


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=2), max_size=40))
def test_what_is_too_many_was_noticed_before(turns: list[list[str]]) -> None:
    repeats, noticed = Repeats(), False
    for turn in turns:
        repeats.begin_turn([])
        for digest in turn:
            noticed = noticed or repeats.are_noticed(digest)
            repeats.add(digest)
        assert not repeats.are_too_many or noticed


def test_turns_without_calls_are_no_circle() -> None:
    assert not fed([set()] * 30).are_too_many


def test_a_call_that_ends_after_a_resume() -> None:
    repeats = Repeats()
    assert not repeats.are_noticed("a")
    repeats.add("a")
    assert not repeats.are_too_many


def test_what_the_api_ran_counts_without_what_always_differs() -> None:
    repeats = Repeats()
    for number in range(5):
        use = {"type": "server_tool_use", "id": f"srvtoolu_{number}", "name": "web_search", "input": {"query": "a"}}
        found = [{"type": "web_search_result", "url": "https://a.test", "encrypted_content": str(number)}]
        result = {"type": "web_search_tool_result", "tool_use_id": use["id"], "content": found}
        repeats.begin_turn([use, result])
    assert repeats.are_too_many


def test_a_result_may_come_a_turn_later() -> None:
    repeats = Repeats()
    result: dict[str, Any] = {"type": "text"}
    for number in range(6):
        use = {"type": "server_tool_use", "id": f"srvtoolu_{number}", "name": "web_fetch", "input": {"url": "u"}}
        repeats.begin_turn([result, use])
        content = {"type": "web_fetch_tool_result_error", "error_code": "url_not_accessible"}
        result = {"type": "web_fetch_tool_result", "tool_use_id": use["id"], "content": content}
    assert repeats.are_too_many


def test_a_digest_is_of_name_input_and_result() -> None:
    digests = {digest_of(name, given, result) for name in "ab" for given in (1, 2) for result in ("x", ["x"])}
    assert len(digests) == 8


async def run(it: Tool, script: Any = None) -> tuple[RunResult, list[Any]]:
    calls = script or (lambda turns: reply(tool_use("act", id=f"toolu_{turns}", at=1)))
    with ScriptedServer(lambda request: calls(len(request.json["messages"]) // 2)) as server:
        async with Client(base_url=server.url) as client:
            return await Agent("claude-sonnet-4-6", tools=[it], client=client).run("Do it."), server.requests


@tool
async def act(at: int) -> str:
    """Acts."""
    return "nothing new"


@pytest.mark.anyio
async def test_L1_a_circle_is_noticed_then_ended_and_can_be_resumed() -> None:
    result, requests = await run(act)
    assert (result.finish.reason, result.turns) == ("loop", 5)
    assert [NOTICE in str(request.json["messages"][-1]) for request in requests] == [False, False, False, True, True]
    assert result.finish.detail == "the same calls gave the same results, five times in a row"
    with ScriptedServer(lambda request: reply(text("Well."))) as server:
        async with Client(base_url=server.url) as client:
            again = await Agent("claude-sonnet-4-6", tools=[act], client=client).resume(result)
    assert again.text == "Well."


@pytest.mark.anyio
async def test_L1_a_tool_that_polls_may_repeat() -> None:
    @tool(polls=True, name="act")
    async def waits(at: int) -> str:
        """Waits."""
        return "not yet"

    def script(turns: int) -> Any:
        return reply(text("Done.")) if turns == 12 else reply(tool_use("act", id=f"toolu_{turns}", at=1))

    result, _ = await run(waits, script)
    assert (result.text, result.turns) == ("Done.", 13)


@pytest.mark.anyio
async def test_L1_a_server_tool_can_go_in_circles_too() -> None:
    def script(turns: int) -> Any:
        use = server_tool_use("web_search", id=f"srvtoolu_{turns}", query="a")
        found = {"type": "web_search_tool_result", "tool_use_id": use["id"], "content": []}
        return reply(use, found, stop="pause_turn")

    made: list[int] = []

    def paused(_: int) -> Any:
        made.append(1)
        return script(len(made))

    search = {"type": "web_search_20250305", "name": "web_search"}
    with ScriptedServer(lambda request: paused(0)) as server:
        async with Client(base_url=server.url) as client:
            result = await Agent("claude-sonnet-4-6", tools=[search], client=client).run("Find it.")
    assert (result.finish.reason, result.turns) == ("loop", 5)
