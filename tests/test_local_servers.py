"""What servers on one's own machine do differently, and is accepted. Source: messages-api.md section 23, verify.md."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from runs import drain
from scripted import Json, ScriptedServer, Sse, reply, text, tool_use

from agentkit import Agent, Client, allow, tool
from agentkit.errors import ConfigurationError, InternalServerError

pytestmark = pytest.mark.anyio


@tool
def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


@asynccontextmanager
async def local(
    script: list[Any], provider: str = "local", **options: Any
) -> AsyncGenerator[tuple[Agent, ScriptedServer]]:
    with ScriptedServer(script) as server:
        async with Client(base_url=server.url, provider=provider, api_key="any") as client:
            yield Agent("my-model", tools=[add], client=client, **options), server


async def test_calls_beside_end_turn_run() -> None:
    script = [reply(tool_use("add", id="chatcmpl-7", a=1, b=2), stop="end_turn"), reply(text("3"))]
    async with local(script) as (agent, server):
        result = await agent.run("1 + 2?")
        assert (result.text, result.turns) == ("3", 2)
        [answer] = server.requests[1].json["messages"][-1]["content"]
        assert (answer["tool_use_id"], answer["content"]) == ("chatcmpl-7", "3")


@pytest.mark.parametrize("provider", ["anthropic", "cometapi", "generic", "emulator"])
async def test_elsewhere_they_do_not(provider: str) -> None:
    async with local([reply(tool_use("add", a=1, b=2), stop="end_turn")], provider) as (agent, _):
        result = await agent.run("1 + 2?")
        assert result.finish.reason == "end_turn"
        assert result.tool_calls[0].outcome != "done"


async def test_a_run_that_stopped_at_such_calls_goes_on() -> None:
    script = [reply(tool_use("add", a=1, b=2), stop="end_turn"), reply(text("3"))]
    async with local(script) as (agent, _):
        async with agent.stream("1 + 2?") as run:
            async for event in run:
                if event.type == "turn_end":
                    run.cancel()
        assert run.result.finish.reason == "cancelled"
        assert (await agent.resume(run.result.dump())).text == "3"


async def test_usage_ids_pings_and_inputs_may_be_missing_or_odd() -> None:
    events = [
        b": keep-alive\n\n",
        {"type": "message_start", "message": {"type": "message", "role": "assistant", "model": "m", "content": []}},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "tool_use", "id": "call-1", "name": "add"},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "input_json_delta", "partial_json": '{"a":1,"b":2}'},
        },
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
        {"type": "message_stop"},
    ]
    plain = {"type": "message", "role": "assistant", "content": [text("3")], "stop_reason": "end_turn"}
    async with local([Sse(events), Sse({**reply(), **plain})]) as (agent, _):
        async with agent.stream("1 + 2?") as run:
            await drain(run)
        assert run.result.text == "3"
        assert run.result.cost is None


async def test_a_whole_reply_may_lack_usage() -> None:
    plain = {"type": "message", "role": "assistant", "content": [text("3")], "stop_reason": "end_turn"}
    async with local([Json(plain)]) as (agent, _):
        result = await agent.run("1 + 2?")
        assert (result.text, result.usage.total_tokens) == ("3", 0)


async def test_errors_of_another_shape_are_read() -> None:
    error = {"error": {"code": 500, "message": "no slot", "type": "server_error"}}
    async with local([Json(error, 500, {"x-should-retry": "false"})]) as (agent, _):
        with pytest.raises(InternalServerError, match="no slot"):
            await agent.run("Hi")


async def test_what_the_endpoint_says_of_a_model_beats_the_table() -> None:
    """A gateway may allow what the API does not."""
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    types = {name: {"supported": True} for name in ("adaptive", "enabled", "disabled")}
    said = {"type": "model", "id": "claude-opus-5-5", "capabilities": {"thinking": {"supported": True, "types": types}}}
    with ScriptedServer([Json({"data": [said], "has_more": False}), reply(text("Hi."))]) as server:
        async with Client(base_url=server.url, api_key="any") as client:
            with pytest.raises(ConfigurationError, match="thinking"):
                Agent("claude-opus-5-5", thinking=thinking, client=client)
            await client.models()
            agent = Agent("claude-opus-5-5", thinking=thinking, client=client)
            assert (await agent.run("Hello")).text == "Hi."
            with pytest.raises(ConfigurationError, match="thinking"):
                Agent("claude-opus-5-5", thinking=thinking, client=Client(base_url=server.url, api_key="any"))


async def test_a_held_call_beside_end_turn_runs_wherever_it_is_resumed() -> None:
    @tool(needs_approval=True)
    def pay(amount: int) -> str:
        """Pays."""
        return "paid"

    script = [reply(tool_use("pay", amount=1), stop="end_turn"), reply(text("Done."))]
    async with local(script) as (agent, server):
        held = await Agent("my-model", tools=[pay], client=agent._client).run("Pay.")
        assert held.finish.reason == "needs_approval"
        async with Client(base_url=server.url, provider="generic", api_key="any") as client:
            other = Agent("my-model", tools=[pay], client=client)
            done = await other.resume(held.dump(), decisions={held.pending[0].call_id: allow()})
        assert (done.text, done.tool_calls[0].outcome) == ("Done.", "done")
