"""`after=`: a conversation goes on, branches, and goes on again, whatever the end before."""

from __future__ import annotations

import json
from typing import Any

import pytest
from runs import SEARCH, add, agent_for, honest, valid
from scripted import error, reply, server_tool_use, text, tool_use

from agentkit import ConfigurationError, Limits, RunResult, tool
from agentkit.errors import BadRequestError
from agentkit.events import ToolResult, TurnStart
from agentkit.rules import check_history

pytestmark = pytest.mark.anyio
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}


def messages_of(request: Any) -> bytes:
    """The messages of a body as they were sent, without the closing brackets of the last one."""
    body: bytes = request.body
    start = body.index(b'"messages":')
    return body[start : body.index(b'],"max_tokens"')].removesuffix(b"}").removesuffix(b"]")


async def test_it_continues_and_branches_with_shared_bytes() -> None:
    script = [
        reply(text("I add."), tool_use("add", a=1, b=2), spare=1),
        reply(text("Three \u2028 é.")),
        reply(text("Left.")),
        reply(text("Right.")),
        reply(text("From JSON.")),
        reply(text("Further.")),
    ]
    async with agent_for(script, add) as (agent, server):
        first = await agent.run("What is 1 + 2?")
        kept = json.dumps([first.dump(), first.messages])
        left = await agent.run("Left?", after=first)
        right = await agent.run("Right?", after=first)
        loaded = await agent.run("JSON?", after=json.loads(json.dumps(first.dump())))
        further = await agent.run("Further?", after=left)
    assert [result.text for result in (left, right, loaded, further)] == ["Left.", "Right.", "From JSON.", "Further."]
    assert json.dumps([first.dump(), first.messages]) == kept
    assert len({result.run_id for result in (first, left, right, loaded, further)}) == 5
    shared = messages_of(server.requests[1])
    for request in server.requests[2:]:
        assert messages_of(request).startswith(shared)
        assert check_history(request.json["messages"]) == []
    assert messages_of(server.requests[5]).startswith(messages_of(server.requests[2]))
    assert server.requests[5].json["messages"][-3:] == [
        {"role": "user", "content": [text("Left?")]},
        {"role": "assistant", "content": [text("Left.")]},
        {"role": "user", "content": [text("Further?")]},
    ]
    assert (left.turns, left.usage.input_tokens) == (1, 10)


async def end_with(reason: str) -> tuple[RunResult, dict[str, Any]]:
    """A run that ended for this reason, and the last user message of the run after it."""
    first: dict[str, Any] = {
        "end_turn": reply(text("Hi.")),
        "stop_sequence": reply(text("Hi."), stop="stop_sequence", stop_sequence="END"),
        "max_tokens": reply(text("I pay"), tool_use("pay"), stop="max_tokens"),
        "model_context_window_exceeded": reply(text("Lo"), stop="model_context_window_exceeded"),
        "refusal": reply(text("I wo"), stop="refusal"),
        "empty": reply(stop="end_turn"),
        "needs_approval": reply(tool_use("hold")),
        "max_turns": reply(tool_use("pay")),
        "max_tool_calls": reply(tool_use("pay"), tool_use("pay", id="toolu_2")),
        "max_pauses": reply(text("Searching."), server_tool_use("web_search"), stop="pause_turn"),
        "unknown_stop": reply(text("Hm."), tool_use("pay"), stop="a_new_reason"),
        "cancelled": reply(tool_use("pay")),
        "error": reply(tool_use("pay")),
    }[reason]
    limits = {
        "max_turns": Limits(max_turns=1),
        "max_tool_calls": Limits(max_tool_calls=1),
        "max_pauses": Limits(max_pauses=0),
    }.get(reason)
    options: Any = {"limits": limits} if limits else {}

    @tool
    async def pay() -> str:
        """Pays."""
        return "paid"

    @tool(needs_approval=True)
    async def hold() -> str:
        """Waits."""
        return "held"

    second = reply(FOUND, text("Found.")) if reason == "max_pauses" else reply(text("Gone on."))
    script = [first, second, reply(text("At last."))]
    if reason == "error":
        script.insert(1, error(400, "invalid_request_error", "no"))
    async with agent_for(script, pay, hold) as (agent, server):
        if reason == "cancelled":
            async with agent.stream("Go") as run:
                async for event in run:
                    if event.type == "turn_end":
                        run.cancel()
            result = run.result
        elif reason == "error":
            with pytest.raises(BadRequestError) as caught:
                await agent.run("Go")
            result = caught.value.result
        else:
            result = await agent.run("Go", **options)
        valid(result)
        after = await agent.run("On", after=result.dump())
        assert after.finish.reason == "end_turn"
        valid(after)
        for request in server.requests:
            assert check_history(request.json["messages"]) == []
        return result, server.requests[-1].json["messages"][-1]


CUT = "This call was cut off (stop_reason {}) and has not run."
STOPPED = "The run was stopped before this call, so it has not run."


@pytest.mark.parametrize(
    ("reason", "results"),
    [
        ("end_turn", []),
        ("stop_sequence", []),
        ("max_tokens", [CUT.format("max_tokens")]),
        ("model_context_window_exceeded", []),
        ("refusal", []),
        ("empty", []),
        ("needs_approval", ["This call was not approved, so it has not run."]),
        ("max_tool_calls", [STOPPED, STOPPED]),
        ("unknown_stop", [CUT.format("a_new_reason")]),
        ("cancelled", [STOPPED]),
    ],
)
async def test_after_each_end(reason: str, results: list[str]) -> None:
    result, sent = await end_with(reason)
    assert result.finish.reason == ("end_turn" if reason == "empty" else reason)
    assert sent["role"] == "user"
    assert [block["content"] for block in sent["content"] if block["type"] == "tool_result"] == results
    assert sent["content"][-1] == text("On")


@pytest.mark.parametrize("reason", ["max_turns", "error"])
async def test_after_an_end_with_results_that_were_not_sent_yet(reason: str) -> None:
    _, sent = await end_with(reason)
    assert [block.get("content", block.get("text")) for block in sent["content"]] == ["paid", "On"]


async def test_after_a_pause_limit_the_input_waits_for_the_paused_turn() -> None:
    result, sent = await end_with("max_pauses")
    assert result.finish.reason == "max_pauses"
    assert sent == {"role": "user", "content": [text("On")]}


async def test_calls_of_a_paused_turn_that_was_then_cut_off_are_shown_to_have_not_run() -> None:
    """The input waits for that turn, so they end in the run that brought the input."""
    paused = reply(text("Searching."), server_tool_use("web_search"), stop="pause_turn")
    cut_off = reply(FOUND, tool_use("add", a=1, b=2), tool_use("nobody", id="toolu_2"), stop="max_tokens")
    async with agent_for([paused, cut_off, reply(text("Well."))], add, SEARCH) as (agent, _):
        first = await agent.run("Go", limits=Limits(max_pauses=0))
        async with agent.stream("On", after=first) as run:
            events = [event async for event in run]
    assert check_history(run.result.messages) == []
    ended = [event for event in events if isinstance(event, ToolResult)]
    assert [(event.call_id, event.name, event.outcome) for event in ended] == [
        ("2:toolu_1", "add", "not_run"),
        ("2:toolu_2", "nobody", "not_run"),
    ]
    assert [event.block for event in ended] == run.result.messages[-2]["content"][:2]
    assert {event.size for event in ended} == {len("This call was cut off, and has not run.")}
    assert [type(event) for event in events[events.index(ended[1]) :]][1] is TurnStart


@honest
def mixed(blocks: list[dict[str, Any]]) -> object:
    """A turn with a server tool and a client tool, then the server's result, then the answer."""
    kinds = [block["type"] for block in blocks]
    if "server_tool_use" not in kinds:
        return reply(server_tool_use("web_search"), tool_use("add", a=1, b=2))
    if "web_search_tool_result" not in kinds:
        return reply(FOUND, text("Both found."))
    return reply(text("And that."))


async def test_in_a_mixed_turn_new_input_waits_while_the_server_tool_is_open() -> None:
    async with agent_for(mixed, add, SEARCH) as (agent, server):
        cut = await agent.run("Both", limits=Limits(max_turns=1))
        assert cut.finish.reason == "max_turns"
        after = await agent.run("And this?", after=cut)
    assert after.text == "And that."
    second, third = (request.json["messages"] for request in server.requests[1:])
    assert [block["type"] for block in second[-1]["content"]] == ["tool_result"]
    assert third[-2] == {"role": "assistant", "content": [FOUND, text("Both found.")]}
    assert third[-1] == {"role": "user", "content": [text("And this?")]}
    assert after.turns == 2


async def test_a_conversation_in_wire_shape_goes_on_too() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    script = [reply(text("A cat.")), reply(text("A dog."))]
    async with agent_for(script) as (agent, server):
        first = await agent.run([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}])
        second = await agent.run([text("And this?"), image], after=first)
    assert second.text == "A dog."
    assert server.requests[1].json["messages"] == [
        {"role": "user", "content": [text("Hi")]},
        {"role": "assistant", "content": [text("Hello."), text("A cat.")]},
        {"role": "user", "content": [text("And this?"), image]},
    ]


async def test_a_run_that_never_began_to_ask_goes_on_with_both_inputs() -> None:
    async with agent_for([reply(text("Hi."))]) as (agent, server):
        async with agent.stream("One") as run:
            pass
        assert (await agent.run("Two", after=run.result)).text == "Hi."
    assert server.requests[0].json["messages"] == [{"role": "user", "content": [text("One"), text("Two")]}]


async def test_what_the_caller_changes_later_does_not_change_the_log() -> None:
    block = {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}
    async with agent_for([reply(text("One.")), reply(text("Two.")), reply(text("Three."))]) as (agent, server):
        async with agent.stream([block]) as run:
            block["cache_control"]["ttl"] = "changed"  # type: ignore[index]
            async for _ in run:
                pass
        dump = run.result.dump()
        second = await agent.run("And?", after=dump)
        dump["entries"][0]["messages"][0]["content"][0]["text"] = "changed"
        dump["entries"][2]["message"]["content"][0]["text"] = "changed"
        await agent.run("And?", after=second.dump())
    assert "changed" not in json.dumps([run.result.dump(), second.dump()])
    assert not any(b"changed" in request.body for request in server.requests)


async def test_a_prompt_that_is_no_json_is_refused_before_the_run_begins() -> None:
    async with agent_for([]) as (agent, _):
        with pytest.raises(ConfigurationError, match="can't be sent as JSON"):
            agent.stream([{"type": "text", "text": b"Hi"}])
