"""The hard turns over HTTP: an agent against the emulator, which checks each request as the API does.

Each test looks at what went over the wire (`emulator.requests`) and at the result. Source: messages-api.md sections 7,
8, 10.4, 11, 14 and 18.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from runs import valid
from sending import QUICK

from agentkit import Agent, Client, Limits, RunResult, RunUnfinished, Tool, tool, web_search
from agentkit.emulator import (
    Emulator,
    ScriptError,
    compaction,
    error,
    fallback,
    from_code,
    redacted_thinking,
    reply,
    server_result,
    server_tool_use,
    text,
    thinking,
    tool_use,
)
from agentkit.errors import APIError, BadRequestError, StreamTruncated
from agentkit.server_tools import code_execution, tool_search

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

MODEL = "claude-sonnet-4-6"
BOUND = "claude-opus-5-5"
ADAPTIVE = {"type": "adaptive", "display": "summarized"}
CODE_CALLERS = ["code_execution_20260120"]


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def streamed(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@tool
def lookup(city: str) -> str:
    """Look a city up."""
    return f"{city}: sunny"


@tool(allowed_callers=CODE_CALLERS)
def query(sql: str) -> str:
    """Ask the database."""
    return f"[{sql}]"


WEATHER = Tool(
    name="weather",
    description="The weather.",
    input_schema={"type": "object", "properties": {}},
    call=lambda: "sunny",
    defer_loading=True,
)


@asynccontextmanager
async def emulated(
    *script: Any, model: str = MODEL, tools: Any = (lookup,), **options: Any
) -> AsyncGenerator[tuple[Agent, Emulator]]:
    """An agent, and the emulator that plays the script to it."""
    with Emulator(script=list(script), pace=0) as emulator:
        async with Client(base_url=emulator.url, api_key="any", provider="anthropic", retry=QUICK) as client:
            yield Agent(model, tools=tools, client=client, **options), emulator


async def ran(agent: Agent, prompt: Any, *, streamed: bool = True, **options: Any) -> RunResult:
    """A run to its end, whose log is valid then."""
    if not streamed:
        result = await agent.run(prompt, **options)
    else:
        async with agent.stream(prompt, **options) as run:
            assert [event async for event in run]
        result = run.result
    valid(result)
    return result


def kinds(content: list[dict[str, Any]]) -> list[str]:
    return [block["type"] for block in content]


def sent(emulator: Emulator, at: int) -> list[dict[str, Any]]:
    """The messages of a request."""
    messages: list[dict[str, Any]] = emulator.requests[at]["messages"]
    return messages


def received(result: RunResult) -> list[dict[str, Any]]:
    """The model's messages as they came."""
    return [entry["message"] for entry in result.dump()["entries"] if entry["entry"] == "turn" and "message" in entry]


# Pauses and mixed turns.


async def test_a_chain_of_pauses(streamed: bool) -> None:
    searching = server_tool_use("web_search", query="a")
    script = [reply(searching), reply(server_result([]), searching), reply(server_result([]), "Nothing.")]
    async with emulated(*script, tools=[web_search()]) as (agent, emulator):
        result = await ran(agent, "Search.", streamed=streamed)
    assert (result.text, result.turns, result.finish.reason) == ("Nothing.", 3, "end_turn")
    for at in (1, 2):  # nothing is added after the turn, and all of its parts are one message
        assert [message["role"] for message in sent(emulator, at)] == ["user", "assistant"]
    assert kinds(sent(emulator, 2)[1]["content"]) == [
        "server_tool_use", "web_search_tool_result", "server_tool_use"
    ]  # fmt: skip
    assert emulator.requests[0]["tools"] == emulator.requests[2]["tools"]


async def test_too_many_pauses_end_the_run() -> None:
    searching = server_tool_use("web_search", query="a")
    script = [reply(searching), *[reply(server_result([]), searching)] * 2]
    async with emulated(*script, tools=[web_search()], limits=Limits(max_pauses=2)) as (agent, _):
        assert (await ran(agent, "Search.")).finish.reason == "max_pauses"


async def test_a_mixed_turn(streamed: bool) -> None:
    """The answer has results only; the server's result opens the next reply, with the id of a turn before."""
    script = [
        reply("Both.", server_tool_use("web_search", query="a"), tool_use("lookup", city="Rome")),
        reply(server_result([{"url": "https://a.test", "title": "A"}]), "Sunny, says A."),
        reply("Bye."),
    ]
    async with emulated(*script, tools=[lookup, web_search()]) as (agent, emulator):
        result = await ran(agent, "How is Rome?", streamed=streamed)
        later = await ran(agent, "Thanks.", streamed=streamed, after=result)
    _, mixed, answer = sent(emulator, 1)
    assert kinds(mixed["content"]) == ["text", "server_tool_use", "tool_use"]
    assert kinds(answer["content"]) == ["tool_result"]
    assert answer["content"][0]["content"] == "Rome: sunny"
    opened = sent(emulator, 2)[3]
    assert kinds(opened["content"]) == ["web_search_tool_result", "text"]
    assert opened["content"][0]["tool_use_id"] == mixed["content"][1]["id"]
    assert (result.text, later.text) == ("Sunny, says A.", "Bye.")


# Programmatic tool calling.


async def test_code_calls_tools(streamed: bool) -> None:
    """Several calls, twice; the container and the callers go back, and results are text alone."""
    script = [
        reply(
            server_tool_use("code_execution", code="a, b = query('a'), query('b'); query('c')"),
            from_code(tool_use("query", sql="a")),
            from_code(tool_use("query", sql="b")),
        ),
        lambda body: reply(
            {**tool_use("query", sql="c"), "caller": body["messages"][1]["content"][1]["caller"]},
        ),
        reply(server_result({"stdout": "ab", "stderr": "", "return_code": 0, "content": []}), "It printed ab."),
    ]
    tools = [query, code_execution(version="20260120")]
    async with emulated(*script, tools=tools) as (agent, emulator):
        result = await ran(agent, "Run it.", streamed=streamed)
    first, *rest = received(result)
    container = first["container"]["id"]
    assert "container" not in emulator.requests[0]
    assert [request["container"] for request in emulator.requests[1:]] == [container] * 2
    assert rest[-1]["container"]["id"] == container
    code, *calls = sent(emulator, 1)[1]["content"]
    assert {call["caller"]["tool_id"] for call in calls} == {code["id"]}
    answers = [message["content"] for message in sent(emulator, 2) if message["role"] == "user"][1:]
    assert [[part["content"] for part in content] for content in answers] == [["[a]", "[b]"], ["[c]"]]
    assert [kinds(content) for content in answers] == [["tool_result"] * 2, ["tool_result"]]
    assert (result.text, result.turns) == ("It printed ab.", 3)


async def test_a_container_that_has_expired() -> None:
    """It is left away, once, and the run goes on in a new one."""
    ran_code = [server_tool_use("code_execution", code="1"), server_result({"stdout": "1"})]
    tools = [code_execution(version="20260120")]
    async with emulated(reply(*ran_code, "1"), reply(*ran_code, "2"), tools=tools) as (agent, emulator):
        first = await ran(agent, "Run 1.")
        emulator.expire_containers()
        second = await ran(agent, "Run 2.", after=first)
    assert second.text == "2"
    old, new = (message["container"]["id"] for message in received(second))
    assert [request.get("container") for request in emulator.requests] == [None, old, None]
    assert new != old


async def test_a_container_that_expires_while_code_waits() -> None:
    """The code is gone with it: its calls and their results are left away, and the question is asked anew."""

    @tool(name="query", allowed_callers=CODE_CALLERS)
    def slow_query(sql: str) -> str:
        """Ask the database, for longer than a container lives."""
        emulator.advance(301)
        return f"[{sql}]"

    script = [
        reply(server_tool_use("code_execution", code="query('a')"), from_code(tool_use("query", sql="a"))),
        reply("I can't say."),
    ]
    tools = [slow_query, code_execution(version="20260120")]
    async with emulated(*script, tools=tools) as (agent, emulator):
        result = await ran(agent, "Run it.")
    assert result.text == "I can't say."
    assert "container" in emulator.requests[1]
    assert "container" not in emulator.requests[2]
    assert "server_tool_use" not in [kind for message in sent(emulator, 2) for kind in kinds(message["content"])]


async def test_new_input_after_an_unfinished_mixed_turn() -> None:
    """The results go first and alone; what the user says waits until the API has finished its turn."""
    script = [
        reply(server_tool_use("web_search", query="a"), tool_use("lookup", city="Rome")),
        reply(server_result([]), "Sunny."),
        reply("Oslo, too."),
    ]
    async with emulated(*script, tools=[lookup, web_search()]) as (agent, emulator):
        first = await ran(agent, "How is Rome?", limits=Limits(max_turns=1))
        assert first.finish.reason == "max_turns"
        second = await ran(agent, "And Oslo?", after=first)
    assert kinds(sent(emulator, 1)[-1]["content"]) == ["tool_result"]
    assert sent(emulator, 2)[-1]["content"] == [text("And Oslo?")]
    assert second.text == "Oslo, too."


async def test_new_input_after_a_pause() -> None:
    script = [
        reply(server_tool_use("web_search", query="a")),
        reply(server_result([]), "Nothing."),
        reply("Nothing there either."),
    ]
    async with emulated(*script, tools=[web_search()]) as (agent, emulator):
        first = await ran(agent, "Search.", limits=Limits(max_turns=1))
        second = await ran(agent, "And there?", after=first)
    assert [message["role"] for message in sent(emulator, 1)] == ["user", "assistant"]
    assert sent(emulator, 2)[-1]["content"] == [text("And there?")]
    assert second.text == "Nothing there either."


# Tool search.


async def test_deferred_tools_are_found_on_the_server(streamed: bool) -> None:
    script = [
        reply(
            server_tool_use("tool_search_tool_regex", pattern="wea"), server_result(["weather"]), tool_use("weather")
        ),
        reply("Sunny."),
    ]
    async with emulated(*script, tools=[tool_search(), WEATHER, lookup]) as (agent, emulator):
        result = await ran(agent, "How is it?", streamed=streamed)
    found = sent(emulator, 1)[1]["content"][1]
    assert found["content"]["tool_references"] == [{"type": "tool_reference", "tool_name": "weather"}]
    for request in emulator.requests:  # the definition stays, or the reference would point nowhere
        assert next(one for one in request["tools"] if one["name"] == "weather")["defer_loading"] is True
    assert sent(emulator, 1)[2]["content"][0]["content"] == "sunny"
    assert result.text == "Sunny."


async def test_deferred_tools_are_found_by_a_tool_of_ours(streamed: bool) -> None:
    @tool
    def find_tools(words: str) -> list[dict[str, str]]:
        """Find tools."""
        return [{"type": "tool_reference", "tool_name": words}]

    deferred = {"name": "weather", "input_schema": {"type": "object", "properties": {}}, "defer_loading": True}
    script = [reply(tool_use("find_tools", words="weather")), reply("There is one.")]
    async with emulated(*script, tools=[find_tools, deferred]) as (agent, emulator):
        result = await ran(agent, "Which tool?", streamed=streamed)
    (found,) = sent(emulator, 1)[2]["content"]
    assert found["content"] == [{"type": "tool_reference", "tool_name": "weather"}]
    assert emulator.requests[1]["tools"][1] == deferred
    assert result.text == "There is one."


async def test_a_reference_to_no_tool_is_an_error_of_the_call() -> None:
    """The API would refuse the request; it does refuse it where a caller sends it as their own message."""

    @tool
    def find_tools() -> list[dict[str, str]]:
        """Find tools."""
        return [{"type": "tool_reference", "tool_name": "unknown"}]

    async with emulated(reply(tool_use("find_tools")), reply("None."), tools=[find_tools]) as (agent, emulator):
        assert (await ran(agent, "Which tool?")).text == "None."
        (result,) = sent(emulator, 1)[2]["content"]
        assert result["is_error"] is True
        messages = sent(emulator, 1)
        result["content"] = [{"type": "tool_reference", "tool_name": "unknown"}]
        with pytest.raises(BadRequestError, match="Tool reference 'unknown' not found in available tools"):
            await agent.run(messages)


# Refusals and fallbacks.


@pytest.mark.parametrize("said", [(), ("Well, ",), ("Well, ", tool_use("lookup", city="Rome"))])
async def test_a_refusal(said: tuple[Any, ...], streamed: bool) -> None:
    """Before output or in the middle of it: nothing runs, and nothing of it goes into the history."""
    details = {"type": "refusal", "category": "cyber", "explanation": "No."}
    script = [reply(*said, stop="refusal", stop_details=details), reply("Gladly.")]
    async with emulated(*script) as (agent, emulator):
        refused = await ran(agent, "Bad.", streamed=streamed)
        assert (refused.finish.reason, refused.finish.detail) == ("refusal", "No.")
        with pytest.raises(RunUnfinished):
            assert refused.text
        assert (await ran(agent, "Good?", streamed=streamed, after=refused)).text == "Gladly."
    assert [message["role"] for message in sent(emulator, 1)] == ["user"]
    assert (
        received(refused)[0]["content"] == [block if isinstance(block, dict) else text(block) for block in said] or said
    )


async def test_a_fallback_hop(streamed: bool) -> None:
    """Only calls after the last `fallback` block run, and what the declined model left behind is not sent back."""
    calls: list[str] = []

    @tool
    def note(word: str) -> str:
        """Note it."""
        calls.append(word)
        return word

    script = [
        reply(
            thinking("Hm."),
            "Let me see.",
            tool_use("note", word="declined"),
            fallback("claude-fable-5", "claude-opus-4-8"),
            thinking("Ah."),
            tool_use("note", word="answered"),
            model="claude-opus-4-8",
        ),
        reply("Done."),
    ]
    options = {"thinking": {"type": "adaptive"}, "fallbacks": [{"model": "claude-opus-4-8"}]}
    async with emulated(*script, model="claude-fable-5", tools=[note], **options) as (agent, emulator):
        result = await ran(agent, "Note it.", streamed=streamed)
    assert calls == ["answered"]
    echoed, answer = sent(emulator, 1)[1:]
    assert kinds(echoed["content"]) == ["text", "fallback", "thinking", "tool_use"]
    assert [part["tool_use_id"] for part in answer["content"]] == [echoed["content"][3]["id"]]
    assert (result.text, len(received(result)[0]["content"])) == ("Done.", 6)


# Turns that end early, or empty.


async def test_max_tokens_inside_a_call(streamed: bool) -> None:
    cut: Any = {**tool_use("lookup"), "input": '{"city": "Ro'} if streamed else tool_use("lookup", city="Ro")
    async with emulated(reply("Let me look.", cut, stop="max_tokens"), reply("Sorry.")) as (agent, emulator):
        result = await ran(agent, "How is Rome?", streamed=streamed)
        assert (result.finish.reason, result.partial_text) == ("max_tokens", "Let me look.")
        await ran(agent, "Go on.", streamed=streamed, after=result)
    (answer, asked) = sent(emulator, 1)[2]["content"]
    assert answer["is_error"] is True
    assert "cut off" in answer["content"]
    assert asked == text("Go on.")
    given = sent(emulator, 1)[1]["content"][1]["input"]
    assert given == ({"INVALID_JSON": '{"city": "Ro'} if streamed else {"city": "Ro"})


async def test_an_empty_end_after_results(streamed: bool) -> None:
    """It is an answer without text, and no message: the results go on with what the user says next."""
    script = [reply(tool_use("lookup", city="Rome")), reply(usage={"output_tokens": 2}), reply("Sunny.")]
    async with emulated(*script) as (agent, emulator):
        result = await ran(agent, "How is Rome?", streamed=streamed)
        assert (result.finish.reason, result.text) == ("end_turn", "")
        assert (await ran(agent, "Well?", streamed=streamed, after=result)).text == "Sunny."
    assert [message["role"] for message in sent(emulator, 2)] == ["user", "assistant", "user"]
    assert kinds(sent(emulator, 2)[2]["content"]) == ["tool_result", "text"]


async def test_the_context_window_is_full(streamed: bool) -> None:
    step = reply("It all began", stop="model_context_window_exceeded")
    async with emulated(step) as (agent, _):
        result = await ran(agent, "Tell me all.", streamed=streamed)
    assert result.finish.reason == "model_context_window_exceeded"
    assert result.partial_text == "It all began"


# Compaction.


async def test_a_threshold_compaction(streamed: bool) -> None:
    """The block comes first in the reply and goes back; it is counted in `iterations`."""
    edits = {"edits": [{"type": "compact_20260112"}]}
    script = [reply(compaction("They said hello."), "Hello."), reply("Again.")]
    async with emulated(*script, context_management=edits) as (agent, emulator):
        first = await ran(agent, "Hello", streamed=streamed)
        second = await ran(agent, "Again", streamed=streamed, after=first)
    assert "compact-2026-01-12" in emulator.headers[0]["anthropic-beta"]
    assert sent(emulator, 1)[1]["content"] == [{"type": "compaction", "content": "They said hello."}, text("Hello.")]
    assert (first.text, second.text) == ("Hello.", "Again.")


async def test_a_pause_after_compaction(streamed: bool) -> None:
    edits = {"edits": [{"type": "compact_20260112", "pause_after_compaction": True}]}
    script = [reply(compaction("They said hello."), stop="compaction"), reply("Hello.")]
    async with emulated(*script, context_management=edits) as (agent, emulator):
        result = await ran(agent, "Hello", streamed=streamed)
    assert [message["role"] for message in sent(emulator, 1)] == ["user", "assistant"]
    assert kinds(sent(emulator, 1)[1]["content"]) == ["compaction"]
    assert (result.text, result.turns) == ("Hello.", 2)


async def test_compaction_on_demand() -> None:
    """The signed block takes the place of the history, with thinking that was bound to it."""
    script = [
        reply(thinking("Hm."), tool_use("lookup", city="Rome")),
        reply(thinking(), "Sunny."),
        reply(compaction("Rome is sunny.")),
        reply(thinking(), "Still."),
        reply("Yes."),
    ]
    async with emulated(*script, model=BOUND) as (agent, emulator):
        compacted = await agent.compact(await ran(agent, "How is Rome?"))
        valid(compacted)
        later = await ran(agent, "And now?", after=compacted)
        await ran(agent, "Sure?", after=later)
    assert emulator.requests[2]["compaction"] == {"type": "summarize"}
    summary, asked = sent(emulator, 3)
    assert (summary["role"], kinds(summary["content"])) == ("assistant", ["compaction"])
    assert summary["content"][0]["content"] == "Rome is sunny."
    assert asked["content"] == [text("And now?")]
    assert len(sent(emulator, 4)) == 4


# Threads.


async def test_a_thread_sends_new_messages_only() -> None:
    script = [reply(tool_use("lookup", city="Rome")), reply("Sunny."), reply("Still.")]
    options = {"system": "Be brief.", "thread": {"type": "create"}}
    async with emulated(*script, **options) as (agent, emulator):
        result = await ran(agent, "How is Rome?")
        later = await ran(agent, "And now?", after=result)
    first, second, third = emulator.requests
    assert first["thread"] == {"type": "create"}
    assert second["thread"] == {"type": "continue", "previous_message_id": received(result)[0]["id"]}
    assert kinds(second["messages"][0]["content"]) == ["tool_result"]
    assert not {"system", "tools"} & second.keys()
    assert [message["role"] for message in third["messages"]] == ["user"]
    assert later.text == "Still."


async def test_a_thread_that_is_gone_is_made_again() -> None:
    script = [reply("Hi."), reply("Still."), reply("Yes.")]
    async with emulated(*script, thread={"type": "create"}) as (agent, emulator):
        first = await ran(agent, "Hello")
        emulator.expire_threads()
        second = await ran(agent, "And now?", after=first)
        again = await ran(agent, "And then?", after=first)  # it was continued already: a branch has a thread of its own
    assert [request["thread"]["type"] for request in emulator.requests] == [
        "create", "continue", "create", "continue", "create"
    ]  # fmt: skip
    assert [len(request["messages"]) for request in emulator.requests] == [1, 1, 3, 1, 3]
    assert (second.text, again.text) == ("Still.", "Yes.")


# Input that is no JSON.


@pytest.mark.parametrize("raw", ['{"city": "Ro', "Rome", '{"city": "Rome"}}', "[1]"])
async def test_eager_input_that_is_no_object(raw: str) -> None:
    """It does not run; its raw text goes back in an object, and the model is told."""
    eager = Tool(
        name="lookup", description="", input_schema={"type": "object"}, call=lambda **_: pytest.fail("it ran"),
        eager_input_streaming=True,
    )  # fmt: skip
    script = [reply({**tool_use("lookup"), "input": raw}), reply("Sorry.")]
    async with emulated(*script, tools=[eager]) as (agent, emulator):
        result = await ran(agent, "How is Rome?")
    assert emulator.requests[0]["tools"][0]["eager_input_streaming"] is True
    _, called, answer = sent(emulator, 1)
    assert list(called["content"][0]["input"]) == ["INVALID_JSON"]
    assert (answer["content"][0]["is_error"], result.text) == (True, "Sorry.")
    assert "not valid JSON" in answer["content"][0]["content"]


# Thinking.


async def test_thinking_goes_back_byte_for_byte(streamed: bool) -> None:
    thought = 'Is it "1 < 2"?\n\té ☃ \u2028 \\ 𝒳'
    script = [
        reply(
            thinking(thought),
            redacted_thinking(),
            tool_use("lookup", city="Rome"),
            thinking(),
            tool_use("lookup", city="Oslo"),
        ),
        reply(thinking("So."), "Sunny."),
        reply("Yes."),
    ]
    async with emulated(*script, thinking=ADAPTIVE, model=BOUND) as (agent, emulator):
        result = await ran(agent, "How is Rome?", streamed=streamed)
        await ran(agent, "Sure?", streamed=streamed, after=result)
    first, second = received(result)
    assert first["content"][0]["thinking"] == thought
    assert sent(emulator, 1)[1]["content"] == first["content"]
    assert [message["content"] for message in sent(emulator, 2)[1:4:2]] == [first["content"], second["content"]]


async def test_thinking_bound_to_another_conversation_is_healed_once() -> None:
    """The system prompt changed between two runs: the API is asked to drop what it can't read."""
    script = [reply(thinking(), "Hi."), reply(thinking(), "Still.")]
    async with emulated(*script, model=BOUND, system="Be brief.") as (agent, emulator):
        first = await ran(agent, "Hello")
        second = await ran(agent, "And now?", after=first, system="Be long.")
    assert second.text == "Still."
    _, refused, healed = emulator.requests
    assert refused["messages"] == healed["messages"]
    assert healed["thinking"]["block_binding"] == {"prefix_mismatch_behavior": "drop_block"}
    assert "thinking-binding-controls-2026-08-01" in emulator.headers[2]["anthropic-beta"]
    (dropped,) = received(second)[1]["input_transformations"]
    assert (dropped["reason"], dropped["path"]) == ("prefix_binding_mismatch", "messages.1.content.0")


async def test_changed_thinking_is_healed_once() -> None:
    """A proxy that re-serialises: the signature does not fit any more, so thinking is stripped."""
    script = [reply(thinking("Hm."), "Hi."), reply("Still.")]
    async with emulated(*script, thinking=ADAPTIVE) as (agent, emulator):
        dump = (await ran(agent, "Hello")).dump()
        for entry in dump["entries"]:
            for block in entry.get("message", {}).get("content", ()):
                if block["type"] == "thinking":
                    block["thinking"] = "Ha."
        assert (await ran(agent, "And now?", after=dump)).text == "Still."
    assert kinds(sent(emulator, 1)[1]["content"]) == ["thinking", "text"]
    assert kinds(sent(emulator, 2)[1]["content"]) == ["text"]


# What nobody knows yet.


async def test_an_unknown_stop_reason(streamed: bool) -> None:
    """Nothing runs."""
    step = reply(tool_use("lookup", city="Rome"), stop="moon_phase")
    async with emulated(step) as (agent, _):
        result = await ran(agent, "How is Rome?", streamed=streamed)
    assert result.finish.reason == "unknown_stop"
    assert [call for call in result.dump()["entries"] if call["entry"] == "call"] == []


async def test_unknown_blocks_and_fields_go_back(streamed: bool) -> None:
    hologram = {"type": "hologram", "depth": [1, {"x": None}], "zz": "é"}
    script = [reply(text("Look:", mood="calm"), hologram, tool_use("lookup", city="Rome"), tide="high"), reply("Yes.")]
    async with emulated(*script) as (agent, emulator):
        result = await ran(agent, "Show me.", streamed=streamed)
    assert sent(emulator, 1)[1]["content"][:2] == [text("Look:", mood="calm"), hologram]
    assert (received(result)[0]["tide"], result.text) == ("high", "Yes.")


async def test_unknown_deltas_and_events_pass() -> None:
    def strange(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "aura_delta", "aura": "blue"}}
        early = {"type": "message_delta", "delta": {"stop_reason": None}, "usage": {"output_tokens": 1}}
        return [events[0], {"type": "weather", "sky": "blue"}, *events[1:3], delta, *events[3:-2], early, *events[-2:]]

    async with emulated(reply("Hello.", events=strange)) as (agent, _), agent.stream("Hi") as run:
        events = [event async for event in run]
    unknown = [event.raw for event in events if event.type == "unknown_event"]
    assert {"type": "weather", "sky": "blue"} in unknown
    assert any(raw.get("delta", {}).get("type") == "aura_delta" for raw in unknown)
    assert run.result.text == "Hello."


async def test_an_error_inside_the_stream_is_tried_again() -> None:
    def broken(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        overloaded = {"type": "overloaded_error", "message": "Overloaded"}
        return [*events[:4], {"type": "error", "error": overloaded}]

    async with emulated(reply("Hello.", events=broken), reply("Hello.")) as (agent, emulator):
        assert (await ran(agent, "Hi")).text == "Hello."
    assert emulator.requests[0] == emulator.requests[1]


async def test_a_stream_that_ends_early_runs_nothing() -> None:
    call = reply(tool_use("lookup", city="Rome"), events=lambda events: events[:-1])
    async with emulated(*[call] * 4) as (agent, _):
        with pytest.raises(StreamTruncated) as raised:
            await ran(agent, "How is Rome?")
    assert [entry for entry in raised.value.result.dump()["entries"] if entry["entry"] == "call"] == []


async def test_errors_are_those_of_the_script() -> None:
    script = [error(529, "overloaded_error", "Overloaded"), error(400, "invalid_request_error", "no")]
    async with emulated(*script) as (agent, emulator):
        with pytest.raises(BadRequestError, match="no"):
            await agent.run("Hi")
    assert len(emulator.requests) == 2


async def test_a_request_that_no_step_foresees_fails_the_test() -> None:
    async def unforeseen() -> None:
        async with emulated(reply(tool_use("lookup", city="Rome"))) as (agent, _):
            with pytest.raises(APIError, match="not foreseen"):
                await agent.run("How is Rome?")

    with pytest.raises(ScriptError, match="request 2 is not foreseen") as raised:
        await unforeseen()
    assert "user: tool_result Rome: sunny" in str(raised.value)
