"""The prompt cache in a run: marks on the wire, and what will not hold, said before it is sent."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from runs import drain
from scripted import ScriptedServer, reply, text, thinking, tool_use

from agentkit import Agent, Client, RunResult, tool
from agentkit.errors import ConfigurationError
from agentkit.rules import check_request
from agentkit.server_tools import code_execution

pytestmark = pytest.mark.anyio

MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


@tool
def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


@tool(needs_approval=lambda amount: amount > 100)
def pay(amount: int) -> str:
    """Pays."""
    return f"paid {amount}"


@asynccontextmanager
async def cached(
    provider: str, script: list[Any], *tools: Any, **options: Any
) -> AsyncGenerator[tuple[Agent, ScriptedServer]]:
    with ScriptedServer(script) as server:
        async with Client(base_url=server.url, provider=provider, api_key="k") as client:
            settings = {"system": "Be terse.", "cache": "auto", "tools": tools, "client": client, **options}
            yield Agent("claude-sonnet-4-6", **settings), server
    for request in server.requests:
        assert check_request(request.json) == []


async def missed(agent: Agent, prompt: str, **options: Any) -> tuple[RunResult, list[tuple[str, ...]]]:
    async with agent.stream(prompt, **options) as run:
        events = await drain(run)
    return run.result, [event.reasons for event in events if event.type == "cache_miss"]


def marked(value: Any) -> int:
    return json.dumps(value).count("cache_control")


async def test_where_the_api_moves_the_mark_along_there_is_one_field() -> None:
    async with cached("anthropic", [reply(tool_use("add", a=1, b=2)), reply(text("3"))], add) as (agent, server):
        await agent.run("1 + 2?")
        for request in server.requests:
            assert request.json["cache_control"] == MARK
            assert marked(request.json) == 1


async def test_what_stays_the_same_is_kept_for_an_hour_where_a_human_may_take_long() -> None:
    async with cached("anthropic", [reply(text("Hi."))], pay) as (agent, server):
        await agent.run("Hello")
        assert server.requests[0].json["cache_control"] == MARK
        assert server.requests[0].json["system"] == [{"type": "text", "text": "Be terse.", "cache_control": HOUR}]


@pytest.mark.parametrize(("provider", "most"), [("cometapi", 3), ("generic", 2), ("local", 0)])
async def test_elsewhere_marks_go_with_the_newest_turn_within_the_budget(provider: str, most: int) -> None:
    script = [reply(tool_use("add", id=f"toolu_{n}", a=1, b=n)) for n in range(3)]
    async with cached(provider, [*script, reply(text("3"))], add) as (agent, server):
        await agent.run("1 + 2?")
        for request in server.requests:
            assert "cache_control" not in request.json
            assert marked(request.json) == most
            assert marked(request.json["messages"][-1]) == min(most, 1)
            assert marked(request.json["messages"][:-1]) == 0


async def test_nothing_is_said_while_the_cache_holds() -> None:
    script = [reply(thinking("so"), tool_use("add", a=1, b=2)), reply(text("3")), reply(text("Yes."))]
    async with cached("anthropic", script, add) as (agent, _):
        first, reasons = await missed(agent, "1 + 2?")
        again, more = await missed(agent, "Sure?", after=first.dump())
        assert reasons == more == []
        assert again.usage.cache_miss_reasons == ()


async def test_what_breaks_the_cache_is_said_before_it_is_sent() -> None:
    async with cached("anthropic", [reply(text("Hi."))] * 4, add) as (agent, _):
        first, _ = await missed(agent, "Hello")
        other, reasons = await missed(agent, "Sure?", after=first, system="Be terse!")
        assert reasons == [("system changed at byte 8",)]
        assert other.usage.cache_miss_reasons == ("system changed at byte 8",)
        assert other.usage.as_dict()["cache_miss_reasons"] == ["system changed at byte 8"]
        _, reasons = await missed(agent, "And now?", after=other.dump(), tools=[pay, add])
        assert reasons == [("tools changed: pay", "system changed at byte 8")]


async def test_a_history_that_was_rewritten_is_named() -> None:
    script = [reply(thinking("so"), text("Hi.")), reply(text("Yes."))]
    async with cached("anthropic", script) as (agent, _):
        first = await agent.run("Hello")
        other = Agent("claude-opus-4-8", system="Be terse.", cache="auto", client=agent._client)
        _, reasons = await missed(other, "Sure?", after=first)
        assert len(reasons) == 1
        assert "model changed" in reasons[0]
        assert "the messages were rewritten (strip_thinking)" in reasons[0]


async def test_without_marks_nothing_is_kept_or_said() -> None:
    async with cached("anthropic", [reply(text("Hi."))] * 2, cache=None) as (agent, server):
        first = await agent.run("Hello")
        result, reasons = await missed(agent, "Sure?", after=first, system="Other.")
        assert reasons == []
        assert not any("sent" in entry for entry in result.dump()["entries"])
        assert marked([request.json for request in server.requests]) == 0


def test_a_way_of_caching_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="cache is 'auto' or None"):
        Agent("claude-sonnet-4-6", cache="yes", client=Client(base_url="http://127.0.0.1:9"))  # type: ignore[arg-type]


async def test_skills_go_into_the_container_that_there_is() -> None:
    skills = {"skills": [{"type": "anthropic", "skill_id": "xlsx", "version": "latest"}]}
    first = reply(text("Hi."), container={"id": "container_1", "expires_at": "2026-11-28T00:00:00Z"})
    script = [first, reply(text("Yes."))]
    async with cached("anthropic", script, code_execution(), container=skills) as (agent, server):
        await agent.run("Sure?", after=await agent.run("Hello"))
        assert server.requests[0].json["container"] == skills
        assert server.requests[1].json["container"] == {"id": "container_1", **skills}
