"""Approvals from end to end: held, decided, resumed, also by another agent from a dump."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from runs import agent_for, honest, valid
from scripted import reply, text, tool_use

from agentkit import Agent, ConfigurationError, RunResult, Tool, allow, deny, edit, tool

pytestmark = pytest.mark.anyio


@honest
def pay_twice(blocks: list[dict[str, Any]]) -> object:
    """Two payments and a look at once, then the answer."""
    if any(block["type"] == "tool_result" for block in blocks):
        return reply(text("Done."))
    return reply(
        text("I pay."),
        tool_use("pay", id="toolu_a", amount=1),
        tool_use("look", id="toolu_b"),
        tool_use("pay", id="toolu_c", amount=3),
    )


class Bank:
    """Tools, and what they did."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def tools(self) -> list[Tool]:
        @tool(needs_approval=True)
        async def pay(amount: int) -> str:
            """Pays."""
            self.done.append(f"pay {amount}")
            return f"paid {amount}"

        @tool
        async def look() -> str:
            """Looks."""
            self.done.append("look")
            return "seen"

        return [pay, look]


def results(request: Any) -> dict[str, Any]:
    """What the model was told, by call."""
    return {block["tool_use_id"]: block["content"] for block in request.json["messages"][-1]["content"]}


async def held(agent: Agent) -> RunResult:
    result = await agent.run("Pay")
    assert result.finish.reason == "needs_approval"
    assert result.finish.detail == "pay (1:toolu_a), pay (1:toolu_c)"
    assert [(call.call_id, call.name, call.input) for call in result.pending] == [
        ("1:toolu_a", "pay", {"amount": 1}),
        ("1:toolu_c", "pay", {"amount": 3}),
    ]
    valid(result)
    return result


async def test_siblings_go_on_and_each_decision_is_followed() -> None:
    bank = Bank()
    async with agent_for(pay_twice, *bank.tools()) as (agent, server):
        result = await held(agent)
        assert bank.done == ["look"]
        decisions = {"1:toolu_a": deny("Not today."), "1:toolu_c": edit({"amount": 2})}
        done = await agent.resume(result, decisions=decisions)
    assert (done.text, done.pending, done.run_id) == ("Done.", [], result.run_id)
    assert bank.done == ["look", "pay 2"]
    assert results(server.requests[1]) == {
        "toolu_a": "The user declined this call. Not today.",
        "toolu_b": "seen",
        "toolu_c": [text('The user changed the input to {"amount":2}.'), text("paid 2")],
    }
    assert list(results(server.requests[1])) == ["toolu_a", "toolu_b", "toolu_c"]
    assert done.messages[1]["content"][1]["input"] == {"amount": 1}  # type: ignore[index]
    assert [call.call_id for call in result.pending] == ["1:toolu_a", "1:toolu_c"]


async def test_one_at_a_time_over_dumps_in_other_agents() -> None:
    bank = Bank()
    async with agent_for(pay_twice, *bank.tools()) as (agent, server):
        dump = json.dumps((await held(agent)).dump())
        other = Agent("claude-sonnet-4-6", tools=bank.tools(), client=agent._client)
        half = await other.resume(json.loads(dump), decisions={"1:toolu_a": allow()})
        assert half.finish.reason == "needs_approval"
        assert [call.call_id for call in half.pending] == ["1:toolu_c"]
        third = Agent("claude-sonnet-4-6", tools=bank.tools(), client=agent._client)
        done = await third.resume(json.loads(json.dumps(half.dump())), decisions={"1:toolu_c": allow()})
    assert done.text == "Done."
    assert bank.done == ["look", "pay 1", "pay 3"]
    assert len(server.requests) == 2


async def test_as_a_stream() -> None:
    bank = Bank()
    async with agent_for(pay_twice, *bank.tools()) as (agent, _):
        async with agent.stream("Pay") as run:
            waiting = [event.call_id async for event in run if event.type == "tool_held"]
        assert sorted(waiting) == ["1:toolu_a", "1:toolu_c"]
        decisions = dict.fromkeys(waiting, allow())
        async with agent.stream(None, after=run.result, decisions=decisions) as again:
            kinds = [event.type async for event in again]
    assert kinds[:4].count("tool_call") == 2
    assert again.result.text == "Done."
    assert sorted(bank.done) == ["look", "pay 1", "pay 3"]


async def test_without_decisions_it_still_waits() -> None:
    bank = Bank()
    async with agent_for(pay_twice, *bank.tools()) as (agent, server):
        result = await held(agent)
        again = await agent.resume(result)
        assert (again.finish, len(again.pending)) == (result.finish, 2)
    assert len(server.requests) == 1
    assert bank.done == ["look"]


async def test_a_decision_that_no_call_waits_for() -> None:
    async with agent_for(pay_twice, *Bank().tools()) as (agent, _):
        result = await held(agent)
        with pytest.raises(ConfigurationError) as caught:
            await agent.resume(result, decisions={"1:toolu_a": allow(), "1:toolu_b": allow()})
        waiting = "(waiting: 1:toolu_c)"
        assert str(caught.value) == f"no call '1:toolu_b' waits for a decision {waiting}"
        with pytest.raises(ConfigurationError, match="no call 'toolu_a' waits"):
            await agent.resume(result, decisions={"toolu_a": allow()})
        done = await agent.resume(result, decisions={"1:toolu_a": deny(), "1:toolu_c": deny()})
        with pytest.raises(ConfigurationError, match=r"waits for a decision \(waiting: none\)"):
            await agent.resume(done, decisions={"1:toolu_a": allow()})
        with pytest.raises(ConfigurationError, match=r"waiting: none"):
            agent.stream("New", after=result, decisions={"1:toolu_a": allow()})


async def test_an_edit_is_json_and_the_callers_dict_stays_the_callers() -> None:
    with pytest.raises(ConfigurationError, match="JSON"):
        edit({"amount": object()})
    given = {"amount": 1}
    decision = edit(given)
    given["amount"] = 100
    assert decision.input == {"amount": 1}


async def test_new_input_instead_of_a_decision_denies() -> None:
    bank = Bank()
    async with agent_for(pay_twice, *bank.tools()) as (agent, server):
        done = await agent.run("No, wait", after=await held(agent))
    assert (done.text, bank.done) == ("Done.", ["look"])
    sent = server.requests[1].json["messages"][-1]["content"]
    assert [block["content"] for block in sent[:3]] == [
        "This call was not approved, so it has not run.",
        "seen",
        "This call was not approved, so it has not run.",
    ]
    assert sent[3] == text("No, wait")


async def test_after_the_end_a_resume_gives_the_same_end_without_a_request() -> None:
    async with agent_for([reply(text("Hi."))]) as (agent, server):
        result = await agent.run("Go")
        again = await agent.resume(result)
    assert (again.text, again.finish, again.turns, again.usage) == ("Hi.", result.finish, 1, result.usage)
    assert len(server.requests) == 1


@pytest.mark.parametrize("decision", [True, "allow", allow])
async def test_what_is_no_decision_is_refused(decision: Any) -> None:
    async with agent_for(pay_twice, *Bank().tools()) as (agent, _):
        result = await held(agent)
        with pytest.raises(ConfigurationError, match=r"'1:toolu_a' must be allow\(\), deny\(…\) or edit"):
            await agent.resume(result, decisions={"1:toolu_a": decision})


async def test_a_reason_with_half_a_character_is_sent_without_it() -> None:
    async with agent_for(pay_twice, *Bank().tools()) as (agent, server):
        result = await held(agent)
        done = await agent.resume(result, decisions={"1:toolu_a": deny("No \ud800."), "1:toolu_c": allow()})
    assert done.text == "Done."
    assert results(server.requests[1])["toolu_a"] == "The user declined this call. No \ufffd."


async def test_P17_a_decision_whose_time_is_over_is_asked_for_again() -> None:
    done = []

    @tool(needs_approval=True)
    def pay(amount: int) -> str:
        """Pays."""
        done.append(amount)
        return "paid"

    script = [reply(tool_use("pay", amount=5)), reply(text("Done."))]
    async with agent_for(script, pay) as (agent, _):
        held = await agent.run("Pay.")
        (call,) = held.pending
        for late in (allow(until=time.time() - 1), edit({"amount": 1}, until=0)):
            held = await agent.resume(held, decisions={call.call_id: late})
            assert held.finish.reason == "needs_approval"
            assert [pending.call_id for pending in held.pending] == [call.call_id]
        assert done == []
        result = await agent.resume(held, decisions={call.call_id: allow(until=time.time() + 60)})
        assert result.text == "Done."
        assert done == [5]


async def test_a_decision_is_valid_for_an_hour() -> None:
    for decision in (allow(), edit({})):
        assert decision.until is not None
        assert 3590 < decision.until - time.time() < 3601
    assert deny().until is None
