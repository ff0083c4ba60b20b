"""Compaction on demand."""

from __future__ import annotations

from typing import Any

import pytest
from runs import agent_for
from scripted import error, reply, text, tool_use

from agentkit import Limits, tool
from agentkit.errors import BadRequestError, ConfigurationError, ProtocolError

pytestmark = pytest.mark.anyio

SUMMARY = {"type": "compaction", "content": "They added.", "signature": "sig", "encrypted_content": None, "new": 1}
COMPACTED = reply(SUMMARY, stop="compaction", usage={"input_tokens": 90, "output_tokens": 7})


@tool(needs_approval=lambda a, b: a > 100)
def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


async def test_a_summary_stands_for_the_messages_before_it() -> None:
    script = [reply(tool_use("add", a=1, b=2)), reply(text("3")), COMPACTED, reply(text("Yes.")), reply(text("No."))]
    options: dict[str, Any] = {
        "stop_sequences": ["END"],
        "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
        "effort": "low",
        "task_budget": {"type": "tokens", "total": 20_000, "remaining": 5},
        "tool_choice": {"type": "any"},
        "thread": {"type": "create"},
    }
    async with agent_for(script, add, **options) as (agent, server):
        result = await agent.run("1 + 2?")
        compacted = await agent.compact(result, instructions="Keep sums.")
        assert (compacted.text, compacted.finish.reason) == ("3", "end_turn")
        assert compacted.usage.input_tokens == result.usage.input_tokens + 90
        body = server.requests[2].json
        assert body["compaction"] == {"type": "summarize", "instructions": "Keep sums."}
        assert body["output_config"] == {"effort": "low", "task_budget": {"type": "tokens", "total": 20_000}}
        assert not {"stop_sequences", "context_management", "tool_choice", "thread"} & body.keys()
        assert body["messages"] == result.messages
        assert "compact-2026-09-04" in server.requests[2].headers["anthropic-beta"].split(",")
        again = await agent.run("Sure?", after=compacted.dump())
        question = {"role": "user", "content": [text("Sure?")]}
        assert server.requests[3].json["messages"] == [{"role": "assistant", "content": [SUMMARY]}, question]
        assert again.text == "Yes."
        await agent.run("Sure?", after=result)
        assert server.requests[4].json["thread"]["type"] == "continue", "the result that was compacted is as it was"


async def test_what_is_left_of_the_options_that_do_not_fit_is_nothing() -> None:
    async with agent_for([reply(text("Hi.")), COMPACTED]) as (agent, server):
        await agent.compact((await agent.run("Hello")).dump())
        assert server.requests[1].json["compaction"] == {"type": "summarize"}
        assert not {"output_config", "tool_choice"} & server.requests[1].json.keys()


@pytest.mark.parametrize("content", [[], [{**SUMMARY, "content": None}], [text("I can't.")], [SUMMARY, SUMMARY]])
async def test_a_reply_without_a_summary_is_an_error_and_changes_nothing(content: list[dict[str, Any]]) -> None:
    async with agent_for([reply(text("Hi.")), reply(*content, stop="compaction")]) as (agent, _):
        result = await agent.run("Hello")
        before = result.dump()
        with pytest.raises(ProtocolError, match="no summary"):
            await agent.compact(result)
        assert result.dump() == before


async def test_a_conversation_that_owes_something_is_not_compacted() -> None:
    async with agent_for([reply(tool_use("add", a=101, b=2))], add) as (agent, _):
        result = await agent.run("101 + 2?")
        with pytest.raises(ConfigurationError, match="resume it first"):
            await agent.compact(result)


async def test_a_paused_conversation_is_not_compacted() -> None:
    async with agent_for([reply(text("Hm."), stop="pause_turn")], limits=Limits(max_pauses=0)) as (agent, _):
        result = await agent.run("Search.")
        assert result.finish.reason == "max_pauses"
        with pytest.raises(ConfigurationError, match="resume it first"):
            await agent.compact(result.dump())


async def test_a_compaction_is_healed_as_a_run_is() -> None:
    expired = error(400, "invalid_request_error", "Container container_1 has expired or does not exist")
    first = reply(text("Hi."), container={"id": "container_1", "expires_at": "2026-11-28T00:00:00Z"})
    edits = {"edits": [{"type": "compact_20260112"}]}
    async with agent_for([first, expired, COMPACTED], context_management=edits) as (agent, server):
        compacted = await agent.compact(await agent.run("Hello"))
        operations = [entry["operation"] for entry in compacted.dump()["entries"] if entry["entry"] == "operation"]
        assert operations == ["drop_container", "compact"]
        assert "container" not in server.requests[2].json
        betas = server.requests[2].headers["anthropic-beta"].split(",")
        assert {"compact-2026-01-12", "compact-2026-09-04"} <= set(betas)


async def test_what_has_no_cure_fails_and_changes_nothing() -> None:
    async with agent_for([reply(text("Hi.")), error(400, "invalid_request_error", "no")]) as (agent, _):
        result = await agent.run("Hello")
        with pytest.raises(BadRequestError):
            await agent.compact(result)
