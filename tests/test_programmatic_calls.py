"""On the wire: calls from code, and a tool search of one's own, against a server that refuses what the API refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from runs import agent_for, honest, valid
from scripted import Request, reply, server_tool_use, text, tool_use

from agentkit import allow, tool
from agentkit.server_tools import code_execution

pytestmark = pytest.mark.anyio

CALLER = {"type": "code_execution_20260120", "tool_id": "srvtoolu_1"}
CONTAINER = {"id": "container_1", "expires_at": "2026-11-28T12:00:00Z"}
OUTPUT = {"type": "code_execution_result", "stdout": "310\n", "stderr": "", "return_code": 0, "content": []}


@tool(allowed_callers=["code_execution_20260120"])
async def sales(region: str) -> dict[str, Any]:
    """Sales of a region."""
    return {"region": region, "amounts": [100, 210] if region == "north" else []}


def from_code(name: str, id_: str, **given: Any) -> dict[str, Any]:
    return {**tool_use(name, id=id_, **given), "caller": CALLER}


@honest
def code_calls_twice(blocks: list[dict[str, Any]]) -> object:
    """Code that calls two tools at once, then a third; then its output opens the next reply."""
    answered = sum(block["type"] == "tool_result" for block in blocks)
    if answered == 0:
        code = server_tool_use("code_execution", code="…")
        uses = [from_code("sales", f"toolu_{at}", region=region) for at, region in enumerate(("north", "south"))]
        return reply(text("I add them up."), code, *uses, container=CONTAINER)
    if answered == 2:
        return reply(from_code("sales", "toolu_9", region="east"), container=CONTAINER)
    done = {"type": "code_execution_tool_result", "tool_use_id": "srvtoolu_1", "content": OUTPUT}
    return reply(done, text("310 in all."), container=CONTAINER)


async def test_code_calls_tools_until_it_ends() -> None:
    async with agent_for(code_calls_twice, code_execution(version="20260120"), sales) as (agent, server):
        result = await agent.run("How much did we sell?")
    assert result.text == "310 in all."
    valid(result)
    first, second, third = [request.json for request in server.requests]
    assert "container" not in first
    assert [body["container"] for body in (second, third)] == ["container_1", "container_1"]
    assert first["tools"] == second["tools"] == third["tools"]
    for body in (second, third):  # only results, each as one text that code can parse
        last = body["messages"][-1]
        assert {block["type"] for block in last["content"]} == {"tool_result"}
        assert all(isinstance(json.loads(block["content"]), dict) for block in last["content"])
    assert [call.caller for call in result.tool_calls] == ["code_execution_20260120"] * 3
    assert [call.outcome for call in result.tool_calls] == ["done"] * 3
    (code,) = result.searches
    assert (code.name, code.results[0].raw, code.error) == ("code_execution", OUTPUT, None)


async def test_a_call_from_code_is_held_as_any_other() -> None:
    asks = tool(name="sales", needs_approval=True)(sales.__wrapped__)  # type: ignore[attr-defined]
    async with agent_for(code_calls_twice, code_execution(version="20260120"), asks) as (agent, server):
        held = await agent.run("How much did we sell?")
        assert (held.finish.reason, [call.name for call in held.pending]) == ("needs_approval", ["sales", "sales"])
        decisions = {call.call_id: allow() for call in held.pending}
        again = await agent.resume(held, decisions=decisions)
        assert [call.call_id for call in again.pending] == ["2:toolu_9"]
        assert len(server.requests) == 2
        assert {block["type"] for block in server.requests[1].json["messages"][-1]["content"]} == {"tool_result"}


@tool(defer_loading=True)
def exchange_rate(currency: str) -> float:
    """The price of a currency."""
    return 0.92


@tool
def find_tools(topic: str) -> list[dict[str, str]]:
    """Finds tools."""
    return [{"type": "tool_reference", "tool_name": topic}]


def searching(topic: str) -> Any:
    @honest
    def script(blocks: list[dict[str, Any]]) -> object:
        results = [block for block in blocks if block["type"] == "tool_result"]
        if not results:
            return reply(tool_use("find_tools", topic=topic))
        if results[-1].get("is_error"):
            return reply(text(results[-1]["content"]))
        if len(results) == 1:
            return reply(tool_use("exchange_rate", id="toolu_2", currency="USD"))
        return reply(text(f"It is {results[-1]['content']}."))

    return script


def references(request: Request) -> list[Any]:
    return [block["content"] for block in request.json["messages"][-1]["content"]]


async def test_a_search_of_ones_own_finds_a_deferred_tool() -> None:
    async with agent_for(searching("exchange_rate"), find_tools, exchange_rate) as (agent, server):
        result = await agent.run("What is a dollar?")
    assert result.text == "It is 0.92."
    assert [tool.get("defer_loading") for tool in server.requests[0].json["tools"]] == [None, True]
    assert server.requests[0].json["tools"] == server.requests[2].json["tools"]
    assert references(server.requests[1]) == [[{"type": "tool_reference", "tool_name": "exchange_rate"}]]
    assert [call.name for call in result.tool_calls] == ["find_tools", "exchange_rate"]


async def test_a_reference_to_no_tool_is_told_to_the_model_and_not_sent() -> None:
    async with agent_for(searching("weather"), find_tools, exchange_rate) as (agent, _):
        result = await agent.run("What is a dollar?")
    assert result.text == "The result refers to tools that this run does not have: weather."
    assert [call.outcome for call in result.tool_calls] == ["failed"]
