"""Bounds: each is a named outcome at its border, never an exception, and the run can go on."""

from __future__ import annotations

from typing import Any

import pytest
from runs import add, agent_for, valid
from scripted import Request, reply, server_tool_use, text, tool_use

from agentkit import ConfigurationError, Limits, RunResult, RunUnfinished

pytestmark = pytest.mark.anyio


def calls_for_ever(request: Request) -> object:
    return reply(text(f"Step {request.number}"), tool_use("add", id=f"toolu_{request.number}", a=request.number, b=1))


def pauses_for_ever(request: Request) -> object:
    use = server_tool_use("web_search", id=f"srvtoolu_{request.number}", query=f"{request.number}")
    found = {"type": "web_search_tool_result", "tool_use_id": use["id"], "content": []}
    return reply(text("Still."), use, found, stop="pause_turn")


async def limited(script: Any, **limits: Any) -> tuple[RunResult, int]:
    """The result, and how many requests were made."""
    async with agent_for(script, add) as (agent, server):
        result = await agent.run("Go", limits=Limits(**limits))
    valid(result)
    return result, len(server.requests)


@pytest.mark.parametrize("most", [1, 3])
async def test_L2_max_turns(most: int) -> None:
    result, requests = await limited(calls_for_ever, max_turns=most)
    assert (result.finish.reason, result.finish.detail) == ("max_turns", f"{most} model turns")
    assert (requests, result.turns) == (most, most)
    assert result.partial_text == f"Step {most - 1}"


async def test_L2_by_default_every_run_ends() -> None:
    result, requests = await limited(calls_for_ever)
    assert (result.finish.reason, requests) == ("max_turns", 50)


async def test_max_tool_calls_is_refused_before_a_call_too_many() -> None:
    result, requests = await limited(calls_for_ever, max_tool_calls=2)
    assert (result.finish.reason, requests) == ("max_tool_calls", 3)
    assert result.finish.detail == "2 calls, and 1 more are asked for"
    started = [entry for entry in result.dump()["entries"] if entry.get("state") == "started"]
    assert len(started) == 2


@pytest.mark.parametrize("most", [0, 2])
async def test_S24_max_pauses(most: int) -> None:
    result, requests = await limited(pauses_for_ever, max_pauses=most)
    assert (result.finish.reason, result.finish.detail) == ("max_pauses", f"{most + 1} pauses in a row")
    assert requests == most + 1


async def test_S24_by_default_ten() -> None:
    assert (await limited(pauses_for_ever))[1] == 11


async def test_a_time_of_zero() -> None:
    result, requests = await limited(calls_for_ever, max_seconds=0)
    assert (result.finish.reason, requests) == ("max_seconds", 0)


async def test_L3_max_total_tokens_lowers_max_tokens_and_then_ends() -> None:
    usage = {"input_tokens": 400, "output_tokens": 100, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 1}

    def script(request: Request) -> object:
        return reply(tool_use("add", id=f"toolu_{request.number}", a=1, b=1), usage=usage)

    async with agent_for(script, add, max_tokens=2000) as (agent, server):
        result = await agent.run("Go", limits=Limits(max_total_tokens=1500))
    assert result.finish.reason == "max_total_tokens"
    asked = [request.json["max_tokens"] for request in server.requests]
    assert len(asked) == 2
    assert 1450 < asked[0] < 1500
    assert 1500 - 2 * 511 - 60 < asked[1] < 1500 - 2 * 511  # spent, sent again, and a little new
    assert result.usage.total_tokens == 1022
    assert "1022 tokens used" in str(result.finish.detail)


async def test_L3_too_little_for_even_one_request() -> None:
    result, requests = await limited(calls_for_ever, max_total_tokens=3)
    assert (result.finish.reason, requests) == ("max_total_tokens", 0)


async def test_a_resume_goes_on_counting_and_a_continuation_counts_anew() -> None:
    async with agent_for(calls_for_ever, add) as (agent, server):
        limits = Limits(max_turns=2)
        first = await agent.run("Go", limits=limits)
        again = await agent.resume(first, limits=limits)
        assert (again.finish, len(server.requests)) == (first.finish, 2)
        more = await agent.resume(first, limits=Limits(max_turns=3))
        assert (more.turns, len(server.requests)) == (3, 3)
        after = await agent.run("On", after=first, limits=limits)
        assert (after.turns, len(server.requests)) == (2, 5)


async def test_an_unfinished_run_says_so_and_carries_its_result() -> None:
    result, _ = await limited(calls_for_ever, max_turns=1)
    with pytest.raises(RunUnfinished) as caught:
        _ = result.output
    assert str(caught.value) == (
        "the run ended with max_turns (1 model turns), so it has no answer; .partial_text has what there is"
    )
    assert caught.value.result is result


@pytest.mark.parametrize(
    ("stop", "reason"),
    [("max_tokens", "max_tokens"), ("refusal", "refusal"), ("novel", "unknown_stop"), ("tool_use", "unknown_stop")],
)
async def test_S6_S17_S19_ends_that_are_no_answer(stop: str, reason: str) -> None:
    result, requests = await limited([reply(text("Half"), stop=stop)])
    assert (result.finish.reason, requests) == (reason, 1)
    assert result.partial_text == ("" if stop == "refusal" else "Half")


async def test_S17_a_refusal_says_why() -> None:
    said = reply(
        text("No"), stop="refusal", stop_details={"type": "refusal", "category": "cyber", "explanation": "Bad."}
    )
    result, _ = await limited([said])
    assert result.finish.detail == "Bad."


async def test_S18_an_empty_answer_is_an_answer_and_nobody_is_asked_again() -> None:
    result, requests = await limited([reply(stop="end_turn")])
    assert (result.text, requests) == ("", 1)


def test_with_no_place_for_a_call_all_would_wait_for_ever() -> None:
    with pytest.raises(ConfigurationError, match="max_parallel_tools"):
        Limits(max_parallel_tools=0)


@pytest.mark.parametrize(
    ("most", "reason"), [(4096, "max_total_tokens"), (5000, "end_turn"), (20_000, "end_turn"), (None, "end_turn")]
)
async def test_max_tokens_is_not_lowered_to_the_thinking_budget(most: int | None, reason: str) -> None:
    script: Any = [reply(text("Hi."))] if reason == "end_turn" else []
    async with agent_for(script, thinking={"type": "enabled", "budget_tokens": 4096}) as (agent, server):
        result = await agent.run("Go", limits=Limits(max_total_tokens=most))
    assert result.finish.reason == reason
    assert all(request.json["max_tokens"] > 4096 for request in server.requests)
    server.assert_done()


async def test_a_thinking_budget_above_max_tokens_is_interleaved_and_may_stay() -> None:
    options: Any = {
        "thinking": {"type": "enabled", "budget_tokens": 20_000},
        "betas": ["interleaved-thinking-2025-05-14"],
    }
    async with agent_for([reply(text("Hi."))], **options) as (agent, server):
        assert (await agent.run("Go", limits=Limits(max_total_tokens=5000))).text == "Hi."
    assert server.requests[0].json["max_tokens"] < 5000
