"""Faults in what the model or the API says, against an agent: which tools run, and how the run ends."""

from __future__ import annotations

from typing import Any

import pytest
from sending import QUICK

from agentkit import Agent, Client, Limits, RunResult, tool, web_search
from agentkit.emulator import Emulator, ScriptError, reply, server_result, server_tool_use, thinking, tool_use
from agentkit.emulator.faults import Faults, fault
from agentkit.errors import BadRequestError
from agentkit.messages import Usage

pytestmark = pytest.mark.anyio

LIMITS = Limits(max_turns=6, max_pauses=3)
RAN: list[str] = []


@tool
def lookup(city: str) -> str:
    """Look a city up."""
    RAN.append(city)
    return f"{city}: sunny"


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def streamed(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def weather(body: dict[str, Any]) -> Any:
    """Calls the tool, and answers from its result; it knows nothing of faults."""
    assert "fault" not in str(body)
    last = body["messages"][-1]["content"]
    if last[0]["type"] == "tool_result":
        return reply("It is sunny." if "sunny" in str(last) else "I do not know.")
    return reply(thinking("hm"), "Let me see.", tool_use("lookup", city="Rome"))


async def answer(faults: Faults, streamed: bool, script: Any = weather) -> tuple[RunResult, list[Any]]:
    """The result of a run, and the requests."""
    RAN.clear()
    with Emulator(faults=faults, script=script, pace=0) as emulator:
        async with Client(base_url=emulator.url, api_key="any", retry=QUICK) as client:
            agent = Agent("claude-opus-5-5", tools=[lookup, web_search()], limits=LIMITS, client=client)
            if not streamed:
                return await agent.run("How is Rome?"), emulator.requests
            async with agent.stream("How is Rome?") as run:
                async for _ in run:
                    pass
            return run.result, emulator.requests


@pytest.mark.parametrize(
    ("name", "finish"),
    [
        ("S6", "unknown_stop"),
        ("S16", "max_tokens"),
        ("S17", "refusal"),
        ("S19", "unknown_stop"),
        ("S22", "model_context_window_exceeded"),
    ],
)
async def test_a_stop_that_ends_the_run_runs_no_tool(name: str, finish: str, streamed: bool) -> None:
    result, requests = await answer(fault(name), streamed)
    assert (result.finish.reason, RAN, len(requests)) == (finish, [], 1)


@pytest.mark.parametrize(("name", "text"), [("S18", ""), ("S20", "Let me see.")])
async def test_an_end_turn_that_ends_the_run_runs_no_tool(name: str, text: str, streamed: bool) -> None:
    result, requests = await answer(fault(name), streamed)
    assert (result.text, result.finish.reason, RAN, len(requests)) == (text, "end_turn", [], 1)


async def test_S4_an_unknown_block_comes_back_as_it_was(streamed: bool) -> None:
    result, requests = await answer(fault("S4"), streamed)
    assert (result.text, RAN) == ("It is sunny.", ["Rome"])
    assert requests[1]["messages"][1]["content"][-1] == {"type": "fault_block", "deep": {"list": [1, {"x": None}]}}


async def test_S15_cut_input_reaches_no_tool() -> None:
    result, requests = await answer(fault("S15"), streamed=True)
    assert (result.text, RAN) == ("I do not know.", [])
    assert requests[1]["messages"][2]["content"][0]["is_error"] is True


async def test_S16_cuts_the_last_block(streamed: bool) -> None:
    result, _ = await answer(fault("S16"), streamed, script=lambda body: reply("One two three four."))
    assert result.partial_text == "One two t"


async def test_S21_a_signature_that_is_not_right_is_healed(streamed: bool) -> None:
    result, requests = await answer(fault("S21"), streamed)
    assert (result.text, RAN) == ("It is sunny.", ["Rome"])
    kinds = [[block["type"] for block in request["messages"][1]["content"]] for request in requests[1:]]
    assert kinds == [["thinking", "text", "tool_use"], ["text", "tool_use"]]


async def test_S23_a_prompt_that_is_too_long(streamed: bool) -> None:
    with pytest.raises(BadRequestError, match="prompt is too long"):
        await answer(fault("prompt_too_long"), streamed)


async def test_S24_one_pause_is_passed(streamed: bool) -> None:
    """The endpoint never made that call, so it does not see it; the client's own request has it."""
    result, requests = await answer(fault("S24"), streamed)
    assert (result.text, RAN, len(requests)) == ("It is sunny.", ["Rome"], 3)
    assert requests[1]["messages"][1]["content"][0]["id"] == "srvtoolu_fault1"


async def test_S24_a_pause_without_end_ends_the_run(streamed: bool) -> None:
    result, requests = await answer(fault("S24", times=None), streamed)
    assert (result.finish.reason, len(requests)) == ("max_pauses", 4)


async def test_S27_a_search_that_failed(streamed: bool) -> None:
    script = [reply(server_tool_use("web_search", query="a"), server_result([{"url": "u", "title": "t"}]), "Well.")]
    result, _ = await answer(fault("search_error"), streamed, script)
    content = result.dump()["entries"][-1]["message"]["content"]
    assert content[1]["content"] == {"type": "web_search_tool_result_error", "error_code": "unavailable"}
    assert result.text == "Well."


async def test_S28_no_usage_counts_as_nothing(streamed: bool) -> None:
    result, _ = await answer(fault("no_usage", times=None), streamed)
    assert (result.text, result.usage) == ("It is sunny.", Usage())


async def test_a_fault_that_never_happens_is_told() -> None:
    with pytest.raises(ScriptError, match=r"never happened, in 2 requests for a message: S26 \(turn any\)"):
        await answer(fault("S26"), streamed=True)
