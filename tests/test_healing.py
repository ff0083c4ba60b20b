"""What the API will not take, healed once and written down."""

from __future__ import annotations

from typing import Any

import pytest
from runs import agent_for, drain
from scripted import Request, Sse, error, reply, server_tool_use, text, thinking, tool_use
from sending import REQUEST

from agentkit import Agent, Client, allow, tool
from agentkit.errors import BadRequestError, InternalServerError
from agentkit.healing import heal
from agentkit.transcript import Transcript

pytestmark = pytest.mark.anyio

BOUND = (
    "messages.1.content.0: Invalid `signature` in `thinking` block. The block is bound to a different conversation. "
    'Remove the block, or set `thinking.block_binding.prefix_mismatch_behavior` to "drop_block".'
)
MODIFIED = (
    "messages.1.content.0: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be "
    "modified. "
    "These blocks must remain as they were in the original response."
)
SIGNATURE = "messages.1.content.0: Invalid `signature` in `thinking` block"
EXPIRED = "Container container_1 has expired or does not exist"
BETA = "thinking-binding-controls-2026-08-01"


def refused(why: str) -> Any:
    return error(400, "invalid_request_error", why)


def operations(result: Any) -> list[str]:
    return [entry["operation"] for entry in result.dump()["entries"] if entry["entry"] == "operation"]


def kinds(request: Request) -> list[str]:
    return [block["type"] for message in request.json["messages"] for block in message["content"]]


@tool
def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


@pytest.mark.parametrize("why", [SIGNATURE, MODIFIED])
async def test_thinking_that_is_refused_is_stripped_once(why: str) -> None:
    script = [reply(thinking("so"), tool_use("add", a=1, b=2)), refused(why), reply(thinking("new"), text("3"))]
    async with agent_for(script, add) as (agent, server):
        async with agent.stream("1 + 2?") as run:
            events = [event.type for event in await drain(run)]
        assert run.result.text == "3"
        assert operations(run.result) == ["strip_thinking"]
        assert kinds(server.requests[1]) == ["text", "thinking", "tool_use", "tool_result"]
        assert kinds(server.requests[2]) == ["text", "tool_use", "tool_result"]
        assert "retry" in events
        assert [block["type"] for block in run.result.messages[-1]["content"]] == ["thinking", "text"]


async def test_thinking_that_is_refused_again_is_an_error() -> None:
    script = [reply(thinking("so"), tool_use("add", a=1, b=2)), refused(SIGNATURE), refused(SIGNATURE)]
    async with agent_for(script, add) as (agent, _):
        with pytest.raises(BadRequestError, match="Invalid `signature`") as caught:
            await agent.run("1 + 2?")
        assert operations(caught.value.result) == ["strip_thinking"]


async def test_the_api_drops_what_it_can_not_verify_where_it_says_so() -> None:
    script = [reply(thinking("so"), tool_use("add", a=1, b=2)), refused(BOUND), reply(text("3")), reply(text("Yes."))]
    async with agent_for(script, add, thinking={"type": "adaptive", "display": "summarized"}) as (agent, server):
        result = await agent.run("1 + 2?")
        assert operations(result) == ["drop_block"]
        await agent.run("Sure?", after=result.dump())
        for request in server.requests[2:]:
            assert request.json["thinking"] == {
                "type": "adaptive",
                "display": "summarized",
                "block_binding": {"prefix_mismatch_behavior": "drop_block"},
            }
            assert request.headers["anthropic-beta"] == BETA
            assert "thinking" in kinds(request)
        assert "block_binding" not in server.requests[1].json["thinking"]


async def test_a_run_on_another_model_begins_without_thinking() -> None:
    script = [reply(thinking("so"), text("Hi.")), reply(text("Yes.")), reply(text("On."))]
    async with agent_for(script) as (agent, server):
        first = await agent.run("Hello")
        other = Agent("claude-opus-4-8", client=agent._client)
        second = await other.run("And you?", after=first)
        assert kinds(server.requests[1]) == ["text", "text", "text"]
        assert second.dump()["entries"][-3]["asks"] == ["claude-opus-4-8", "127.0.0.1"]
        assert operations(second) == ["strip_thinking"]
        assert operations(first) == []
        await agent.run("Go on.", after=first)
        assert kinds(server.requests[2]) == ["text", "thinking", "text", "text"]


async def test_a_run_at_another_endpoint_begins_without_thinking() -> None:
    script = [reply(thinking("so"), text("Hi.")), reply(text("Yes."))]
    async with agent_for(script) as (agent, server):
        first = await agent.run("Hello")
        async with Client(base_url=server.url, provider="cometapi", api_key="k") as client:
            await agent.run("And you?", after=first, client=client)
        assert "thinking" not in kinds(server.requests[1])


async def test_a_container_that_has_expired_is_left_away() -> None:
    first = reply(text("Done."), container={"id": "container_1", "expires_at": "2026-11-28T00:00:00Z"})
    async with agent_for([first, refused(EXPIRED), reply(text("Again."))]) as (agent, server):
        one = await agent.run("Compute.")
        two = await agent.run("Again.", after=one)
        assert operations(two) == ["drop_container"]
        assert [request.json.get("container") for request in server.requests] == [None, "container_1", None]


async def test_code_that_waits_in_an_expired_container_is_given_up_and_its_calls_are_told() -> None:
    caller = {"type": "code_execution_20260120", "tool_id": "srvtoolu_1"}
    call = {**tool_use("add", a=1, b=2), "caller": caller}
    first = reply(
        text("I compute."), server_tool_use("code_execution", code="…"), call, container={"id": "container_1"}
    )
    async with agent_for([first, refused(EXPIRED), reply(text("3"))], add) as (agent, server):
        result = await agent.run("1 + 2?")
        assert result.text == "3"
        assert operations(result) == ["drop_container"]
        question, answer, told = server.requests[2].json["messages"]
        assert (question["content"], answer["content"]) == ([text("1 + 2?")], [text("I compute.")])
        assert told["content"] == [text('Code that was running was given up. It had called:\nadd({"a":1,"b":2}): 3')]


def test_what_has_no_cure_is_left_to_the_caller() -> None:
    transcript = Transcript()
    assert not heal(transcript, InternalServerError(SIGNATURE), REQUEST)
    assert not heal(transcript, BadRequestError("prompt is too long: 1 tokens > 0 maximum"), REQUEST)
    assert not heal(transcript, BadRequestError(SIGNATURE), REQUEST)  # there is no thinking to blame
    assert not heal(transcript, BadRequestError(EXPIRED), REQUEST)
    assert transcript.entries == []


async def test_another_model_is_not_told_to_drop_blocks() -> None:
    script = [reply(thinking("so"), tool_use("add", a=1, b=2)), refused(BOUND), reply(text("3")), reply(text("Yes."))]
    async with agent_for(script, add) as (agent, server):
        result = await agent.run("1 + 2?")
        other = Agent("claude-haiku-4-5", client=agent._client)
        again = await other.run("Sure?", after=result)
        assert operations(again) == ["drop_block", "strip_thinking"]
        assert "thinking" not in server.requests[3].json
        assert "anthropic-beta" not in server.requests[3].headers


async def test_what_does_not_think_has_thinking_stripped() -> None:
    first = reply(thinking("so"), tool_use("add", a=1, b=2))
    options = {"thinking": {"type": "disabled"}, "betas": [BETA]}
    async with agent_for([first, refused(BOUND), reply(text("3"))], add, **options) as (agent, server):
        assert operations(await agent.run("1 + 2?")) == ["strip_thinking"]
        assert server.requests[2].json["thinking"] == {"type": "disabled"}
        assert server.requests[2].headers["anthropic-beta"] == BETA


async def test_a_resume_at_another_model_may_be_healed_too() -> None:
    @tool(needs_approval=True)
    def pay(amount: int) -> str:
        """Pays."""
        return "paid"

    first, second = reply(thinking("so"), tool_use("pay", amount=1)), reply(thinking("b"), tool_use("pay", amount=2))
    async with agent_for([first, second, refused(SIGNATURE), reply(text("Done."))], pay) as (agent, _):
        held = await agent.run("Pay.")
        other = Agent("claude-opus-4-8", tools=[pay], client=agent._client)
        held = await other.resume(held, decisions={held.pending[0].call_id: allow()})
        done = await other.resume(held, decisions={held.pending[0].call_id: allow()})
        assert done.text == "Done."
        assert operations(done) == ["strip_thinking", "strip_thinking"]


async def test_a_turn_that_is_healed_inside_its_stream_is_shown_as_restarted() -> None:
    broken = [
        {"type": "message_start", "message": {**reply(), "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": text("")},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
        {"type": "error", "error": {"type": "invalid_request_error", "message": SIGNATURE}},
    ]
    async with agent_for([reply(thinking("so"), tool_use("add", a=1, b=2)), Sse(broken), reply(text("3"))], add) as (
        agent,
        _,
    ):
        async with agent.stream("1 + 2?") as run:
            events = [event.type for event in await drain(run)]
        at = events.index("turn_restarted")
        assert events[at - 1] == "retry"
        assert "text_delta" in events[:at]
        assert run.result.text == "3"
