"""A run that is told from its log says what its live stream said, as far as that is in the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from follows import CALLS, DONE, MODEL, PAYS, Elsewhere, followed, live, merged, world
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import FOUND, SEARCH, add, honest, look, pause_tools_answer
from scripted import Drop, Json, Sse, error, reply, server_tool_use, text, thinking, tool_use

from agentkit import Agent, Limits, allow, deny, edit
from agentkit.events import (
    CacheMiss,
    ContentBlockStop,
    Event,
    RunEnd,
    ServerToolCall,
    ServerToolResult,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolHeld,
    ToolJudged,
    ToolResult,
    TurnEnd,
    TurnStart,
)
from agentkit.follow import Followed, News
from agentkit.policy import Policy

pytestmark = pytest.mark.anyio


@dataclass
class Scene:
    """A script, and what is done with the run.

    Attributes:
        script: For the server.
        finish: How the run rests in the end.
        has: Types of events that must be there, so that the scene is one.
        options: Of the agent.
        decisions: On the calls that wait, each time that it parks, by the id of their block.
        more: Events that only the log has, by their types.
    """

    script: Any
    finish: str
    has: Sequence[type] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    decisions: Sequence[Mapping[str, Any]] = ()
    more: Callable[[Event], bool] = lambda event: False


UNAVAILABLE = {**FOUND, "content": {"type": "web_search_tool_result_error", "error_code": "unavailable"}}
UNREADABLE = error(400, "invalid_request_error", "messages.1.content.0: Invalid `signature` in `thinking` block")


def is_in_a_reply(event: Event) -> bool:
    return not isinstance(event, TurnStart | TurnEnd | RunEnd)


SCENES = {
    "tools side by side": Scene([CALLS, DONE], "end_turn", [ToolCall, ToolResult, ThinkingDelta]),
    "a pause, tools, an answer": Scene(
        pause_tools_answer, "end_turn", [ToolCall, ServerToolCall, ServerToolResult], {"tools": [add, look, SEARCH]}
    ),
    "a server tool that fails": Scene(
        [reply(server_tool_use("web_search"), UNAVAILABLE, text("Hm."))], "end_turn", [ServerToolResult]
    ),
    "parked": Scene([PAYS], "needs_approval", [ToolHeld]),
    "parked and resumed": Scene(
        [PAYS, DONE],
        "end_turn",
        [ToolHeld, ToolCall],
        decisions=[{"toolu_p": allow()}, {"toolu_q": edit({"euros": 1})}],
    ),
    "parked and denied": Scene(
        [PAYS, DONE], "end_turn", [ToolHeld], decisions=[{"toolu_p": deny("no"), "toolu_q": deny()}]
    ),
    "decided while it goes on": Scene(
        [PAYS, DONE],
        "end_turn",
        [ToolHeld],
        {"approve": lambda held: allow()},
        more=lambda event: isinstance(event, ToolHeld),  # it waits for the run's own approver
    ),
    "retried": Scene(
        [error(529, "overloaded_error"), Sse(CALLS, cut=900, end="close"), Drop(), CALLS, DONE], "end_turn", [ToolCall]
    ),
    "failed": Scene([CALLS, error(400, "invalid_request_error")], "error", [ToolCall]),
    "healed": Scene([CALLS, UNREADABLE, DONE], "end_turn", [ToolCall]),
    "refused": Scene([reply(text("No"), stop="refusal")], "refusal", [TextDelta]),
    "cut off": Scene([reply(text("I"), tool_use("add", a=1, b=2), stop="max_tokens")], "max_tokens", [TextDelta]),
    "too many turns": Scene([CALLS], "max_turns", [ToolCall], {"limits": Limits(max_turns=1)}),
    "judged": Scene(
        [CALLS, DONE],
        "end_turn",
        [ToolJudged],
        {"policy": Policy(deny=[{"tool": "look"}], ask=[{"tool": "add"}], allow=[{"tool": "*"}])},
    ),
    "an output that is put right": Scene(
        [reply(text("x")), reply(text('{"value": 3}'))], "end_turn", [TextDelta], {"output_type": int}
    ),
    "not streamed": Scene([Json(reply(text("Hi.")))], "end_turn", [TextDelta], more=is_in_a_reply),
}


async def play(scene: Scene, agent: Agent, options: Any) -> tuple[str, list[Event]]:
    """The run of a scene, and what its consumers saw of it: of several, one after the other."""
    run = agent.stream("Go.", **options)
    events = await live(run)
    for decided in scene.decisions:
        events.pop()
        known = {call.call_id.partition(":")[2]: call.call_id for call in run.result.pending}
        decisions = {known[id_]: decision for id_, decision in decided.items()}
        run = agent.stream(None, after=run.run_id, decisions=decisions)
        events += await live(run)
    return run.run_id, events


@pytest.mark.parametrize("name", SCENES)
async def test_the_log_tells_what_the_stream_told(name: str, tmp_path: Path) -> None:
    scene = SCENES[name]
    options = {name: value for name, value in scene.options.items() if name != "approve"}
    of_run = {name: value for name, value in scene.options.items() if name == "approve"}
    async with world(tmp_path, scene.script, **options) as (agent, journal):
        run_id, seen = await play(scene, agent, of_run)
        told = await followed(journal, run_id)
    events = [event for _, event in told]
    assert [number for number, _ in told] == [*range(1, len(told)), len(told) - 1]
    assert isinstance(events[-1], RunEnd)
    assert (events[-1].finish, events[-1].run_id) == (scene.finish, run_id)
    assert {type(event) for event in events} >= {*scene.has}
    kept = [event for event in events if not scene.more(event)]
    assert merged(kept) == merged(seen if isinstance(seen[-1], RunEnd) else [*seen, events[-1]])


async def test_agents_within_a_run_are_followed_apart(tmp_path: Path) -> None:
    @honest
    def script(blocks: list[dict[str, Any]]) -> object:
        if blocks[0]["text"] == "sums":
            has_result = any(block["type"] == "tool_result" for block in blocks)
            return reply(text("It is 3.") if has_result else tool_use("add", id="toolu_1", a=1, b=2))
        has_result = any(block["type"] == "tool_result" for block in blocks)
        return reply(text("Three.") if has_result else tool_use("ask", id="toolu_0", prompt="sums"))

    inner = Agent(MODEL, tools=[add]).as_tool("ask", "Asks.")
    async with world(tmp_path, script, tools=[inner]) as (agent, journal):
        run = agent.stream("Go.")
        seen = await live(run)
        (other,) = [row.run_id for row in journal.runs() if row.run_id != run.run_id]
        assert merged(event for _, event in await followed(journal, run.run_id)) == merged(seen)
        of_inner = [event for _, event in await followed(journal, other)]
    assert [event.name for event in of_inner if isinstance(event, ToolCall)] == ["add"]
    assert isinstance(of_inner[-1], RunEnd)
    assert (of_inner[-1].text, of_inner[-1].run_id) == ("It is 3.", other)


async def test_a_run_that_goes_on_from_another_is_told_alone(tmp_path: Path) -> None:
    compacted = reply({"type": "compaction", "content": "They met.", "encrypted_content": None}, stop="compaction")
    async with world(tmp_path, [PAYS, reply(text("Two.")), compacted, reply(text("Three."))]) as (agent, journal):
        held = await agent.run("One?")
        second = agent.stream("Two?", after=held.run_id)  # which ends the calls that wait
        seen = await live(second)
        assert merged(event for _, event in await followed(journal, second.run_id)) == merged(seen)
        short = await agent.compact(second.run_id)
        third = agent.stream("Three?", after=short.run_id)
        seen = await live(third)
        told = await followed(journal, third.run_id)
        assert merged(event for _, event in told) == merged(seen)
        assert [event.turn for _, event in told if isinstance(event, TurnStart)] == [1]


async def test_a_fork_is_told_from_its_question_on(tmp_path: Path) -> None:
    async with world(tmp_path, [CALLS, DONE, reply(text("Again."))]) as (agent, journal):
        first = await agent.run("Go.")
        before = await followed(journal, first.run_id)
        fork = journal.fork(first.run_id, 2)
        *shared, (number, end) = await followed(journal, fork)
        assert shared == before[: len(shared)]
        assert isinstance(end, RunEnd)
        assert (end.finish, number, end.turns) == ("forked", len(shared), 1)
        await agent.resume(fork)
        *_, (_, end) = rest = await followed(journal, fork, after=number)
        assert isinstance(end, RunEnd)
        assert (end.finish, end.text) == ("end_turn", "Again.")
        assert [type(event) for _, event in rest] == [TurnStart, TextDelta, ContentBlockStop, TurnEnd, RunEnd]


async def test_what_a_consumer_left_is_told_all_the_same(tmp_path: Path) -> None:
    async with world(tmp_path, [CALLS]) as (agent, journal):
        async with agent.stream("Go.") as run:
            async for event in run:
                if isinstance(event, ToolCall):
                    break
        told = [event for _, event in await followed(journal, run.run_id)]
    assert isinstance(told[-1], RunEnd)
    assert (told[-1].finish, told[-1].detail) == ("cancelled", "the consumer left before the end")
    begun = {event.call_id for event in told if isinstance(event, ToolCall)}
    assert begun
    assert begun <= {event.call_id for event in told if isinstance(event, ToolResult)}


async def test_a_reader_who_was_cut_off_anywhere_misses_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, [CALLS, PAYS, DONE]) as (agent, journal):
        held = await agent.run("Go.")
        parked = await followed(journal, held.run_id)
        await agent.resume(held.run_id, decisions={call.call_id: allow() for call in held.pending})
        whole = await followed(journal, held.run_id)
        assert whole[: len(parked) - 1] == parked[:-1]
        for cut in range(1, len(whole)):
            told = []
            async for number, event in journal.follow(held.run_id):
                told.append((number, event))
                if number == cut:
                    break
            assert told + await followed(journal, held.run_id, after=number) == whole
        assert await followed(journal, held.run_id, after=parked[-1][0]) == whole[len(parked) - 1 :]
        assert await followed(journal, held.run_id, after=10_000) == whole[-1:]


_uses = st.lists(
    st.sampled_from(["add", "look", "fail", "pay", "nobody", "wrong"]).map(
        lambda name: {
            "add": tool_use("add", a=1, b=2),
            "look": tool_use("look", at=1),
            "fail": tool_use("fail", at=2),
            "pay": tool_use("pay", euros=3),
            "nobody": tool_use("nobody"),
            "wrong": tool_use("add", a="x"),
        }[name]
    ),
    max_size=4,
)
_said = st.lists(st.sampled_from([text("Hm. \u00fc"), thinking("So."), text(" "), {"type": "hologram"}]), max_size=3)
_turns = st.lists(st.tuples(_said, _uses), max_size=3)
_decisions = st.sampled_from([allow(), deny("no"), edit({"euros": 1}), None])


@pytest.mark.slow
@settings(max_examples=max(settings().max_examples // 10, 10))  # each is a server, a database and a run or more
@given(turns=_turns, decision=_decisions, backend=st.sampled_from(["asyncio", "trio"]))
def test_any_run_is_told_as_it_was(
    turns: list[tuple[list[Any], list[Any]]], decision: Any, backend: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ids = count()
    made = [[*said, *({**use, "id": f"toolu_{next(ids)}"} for use in uses)] for said, uses in turns]
    script = [
        reply(*content, stop=None if any("id" in block for block in content) else "pause_turn") for content in made
    ]

    async def main() -> None:
        async with world(tmp_path_factory.mktemp("run"), [*script, DONE]) as (agent, journal):
            run = agent.stream("Go.")
            seen = await live(run)
            while run.result.pending and decision:
                seen.pop()
                run = agent.stream(None, after=run.run_id, decisions={run.result.pending[0].call_id: decision})
                seen += await live(run)
            told = await followed(journal, run.run_id)
            assert merged(event for _, event in told) == merged(seen)

    anyio.run(main, backend=backend)


async def test_what_each_entry_stands_for(tmp_path: Path) -> None:
    there = Elsewhere(tmp_path)
    page = {"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}
    fetched = {
        "type": "web_fetch_tool_result",
        "tool_use_id": "srvtoolu_1",
        "content": {"type": "web_fetch_result", "url": "https://a.test", "content": page},
    }
    cited = {"type": "char_location", "cited_text": "x", "document_title": "T"}
    uses = [tool_use("pay", id=f"toolu_{at}", euros=5) for at in range(2)]
    there.says(server_tool_use("web_fetch"), fetched, *uses, cost=0.25, sent={"cache_misses": ["the tools"]})
    first, second = "1:toolu_0", "1:toolu_1"
    ended = {"entry": "call", "state": "ended", "outcome": "done"}
    results = [{"type": "tool_result", "tool_use_id": f"toolu_{at}", "content": "é"} for at in range(2)]
    there.write(
        {"entry": "judgement", "call": first, "name": "pay", "action": "allow", "rule": "r", "taint": ["private"]},
        {"entry": "call", "call": first, "state": "held"},
        {"entry": "decision", "call": first, "action": "edit", "input": {"euros": 1}},
        {"entry": "call", "call": first, "state": "started"},
        {**ended, "call": first, "result": results[0], "elapsed": 3.5},
        {"entry": "run", "run_id": "there", "resume": True, "messages": []},
        {**ended, "call": second, "result": results[1], "elapsed": 5.0},
        {"entry": "turn", "role": "user"},
        {"entry": "turn", "role": "assistant", "message": reply(text("Paid", citations=[cited])), "cost": 0.5},
        state="max_turns",
        detail="two",
        holder=None,
    )
    told = []
    async for _, event in there.journal.follow("there"):
        told.append(event)
        if isinstance(event, TurnEnd):
            event.message["content"].clear()  # the reader's own
    there.close()
    assert [type(event).__name__ for event in told[:8]] == [
        "TurnStart",
        "CacheMiss",
        "ServerToolCall",
        "ServerToolResult",
        "ContentBlockStop",
        "ContentBlockStop",
        "TurnEnd",
        "ToolJudged",
    ]
    assert told[1] == CacheMiss(("the tools",))
    assert told[7:12] == [
        ToolJudged(first, "pay", "allow", "r", ("private",)),
        ToolHeld(first, "pay", {"euros": 5}),
        ToolCall(first, "pay", {"euros": 1}),
        ToolResult(first, "pay", "done", 2.5, 2, results[0]),
        ToolResult(second, "pay", "done", 1.5, 2, results[1]),
    ]
    end = told[-1]
    assert isinstance(end, RunEnd)
    assert [event.cost for event in told if isinstance(event, TurnEnd | RunEnd)] == [0.25, 0.5, 0.75]
    assert (end.finish, end.detail, end.text, end.turns, end.seconds) == ("max_turns", "two", "Paid", 2, 5.0)
    assert [citation.url for citation in end.citations] == ["https://a.test"]
    assert (end.usage.input_tokens, end.usage.cache_miss_reasons) == (20, ("the tools",))


async def test_others_have_their_turn_while_a_long_log_is_told(tmp_path: Path) -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    async with world(tmp_path, [CALLS, DONE]) as (agent, _):
        entries = (await agent.run("Go.")).dump()["entries"]
    reader = Followed(lambda length, digest: News([], b"", None), after=1000)
    reader._new.extend(entries)  # read, so that no thread has a part in it
    reader._rest = ("end_turn", None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count_turns)
        _, end = await anext(reader)
        assert turns > len(entries) // 2  # who is first may differ
        tasks.cancel_scope.cancel()
    assert isinstance(end, RunEnd)
