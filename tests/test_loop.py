"""The loop: it takes the next step until there is none. `Send` is an argument, so a scripted one drives it."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import anyio
import pytest
from scripted import ScriptedServer, Sse, error, reply, server_tool_use, text, tool_use

from agentkit import Agent, Client, Limits, RetryPolicy, Run, Tool, TranscriptError, tool
from agentkit.budget import Budget
from agentkit.encode import events as wire_events
from agentkit.errors import APIConnectionError, BadRequestError, ConfigurationError
from agentkit.events import ContentBlockStop, Event, TurnEnd, TurnRestarted
from agentkit.execute import Calls
from agentkit.loop import begin, loop
from agentkit.messages import Usage
from agentkit.request import Request
from agentkit.rules import check_history
from agentkit.step import Finish
from agentkit.transcript import Decision, Transcript

pytestmark = pytest.mark.anyio
UNKNOWN = "The process stopped while this call ran: its outcome is unknown. Check before repeating it."


def new_transcript(*turns: dict[str, Any]) -> Transcript:
    transcript = Transcript()
    begin(transcript, "run_1", "Hello")
    for turn in turns:
        transcript.answer()
        transcript.take_turn(turn, None, 1.0)
    return transcript


def turn_end(message: dict[str, Any]) -> TurnEnd:
    return TurnEnd(message["stop_reason"], Usage.from_wire(message["usage"]), "req_1", message)


class Played:
    """A `Send` that plays replies, and keeps what it was asked."""

    def __init__(self, replies: Sequence[Any]) -> None:
        self.replies = list(replies)
        self.requests: list[Request] = []
        self.estimates: list[int] = []
        self.left = 0

    async def __call__(self, transcript: Transcript, request: Request) -> AsyncGenerator[Event]:
        self.requests.append(request)
        self.estimates.append(transcript.history.tokens())
        message = self.replies.pop(0)
        try:
            if isinstance(message, Exception):
                raise message
            for at, block in enumerate(message["content"]):
                yield ContentBlockStop(at, block)
            yield turn_end(message)
        finally:
            self.left += 1


async def drive(
    transcript: Transcript, send: Any, tools: Sequence[Tool] = (), *, limits: Limits | None = None
) -> tuple[list[Event], Finish]:
    """The events of the loop, and why it ended."""
    limits = limits or Limits()
    began = anyio.current_time()
    calls = Calls(
        transcript,
        {item.name: item for item in tools},
        deps=None,
        limits=limits,
        timeout=5,
        deadline=began + 60,
        clock=lambda: anyio.current_time() - began,
    )
    request = Request(model="claude-sonnet-4-6", max_tokens=100)
    seen: list[Any] = []
    async with aclosing(
        loop(transcript, send, calls, request, Budget(limits, transcript, "anthropic"), lambda: 0.5)
    ) as events:
        async for event in events:
            seen.append(event)
    assert isinstance(seen[-1], Finish)
    return seen[:-1], seen[-1]


async def drain(run: Run) -> None:
    async for _ in run:
        pass


@tool
async def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


# begin


async def test_a_prompt_waits_for_its_turn_and_a_resume_has_none() -> None:
    transcript = new_transcript()
    assert transcript.waiting == [{"type": "text", "text": "Hello"}]
    begin(transcript, "run_1", None)
    assert [(entry["run_id"], entry["resume"]) for entry in transcript.entries] == [("run_1", False), ("run_1", True)]


@pytest.mark.parametrize("stop", ["max_tokens", "model_context_window_exceeded", "end_turn", "pause_turn", "new_word"])
async def test_S16_S20_S22_new_input_ends_calls_of_a_turn_that_runs_none(stop: str) -> None:
    transcript = new_transcript(reply(text("I will"), tool_use("add", a=1), stop=stop))
    begin(transcript, "run_2", "Go on")
    ended = transcript.entries[-2]
    assert ended["outcome"] == "not_run"
    assert ended["result"]["content"] == f"This call was cut off (stop_reason {stop}) and has not run."
    assert check_history(transcript.messages()) == []


async def test_new_input_ends_open_calls_truthfully() -> None:
    uses = [tool_use("add", id=f"toolu_{at}", a=1, b=at) for at in range(5)]
    transcript = new_transcript(reply(*uses))
    _, started, held, allowed, done = transcript.unended()
    transcript.start(started)
    transcript.hold(held)
    transcript.hold(allowed)
    transcript.decide(allowed.call_id, Decision("allow"))
    result = {"type": "tool_result", "tool_use_id": "toolu_4", "content": "5"}
    transcript.end(done, "done", result)
    begin(transcript, "run_2", "Go on")
    ended = {entry["result"]["tool_use_id"]: entry for entry in transcript.entries if entry.get("state") == "ended"}
    assert {id_: (entry["outcome"], entry["result"]["content"]) for id_, entry in ended.items()} == {
        "toolu_0": ("not_run", "The run was stopped before this call, so it has not run."),
        "toolu_1": ("unknown", UNKNOWN),
        "toolu_2": ("denied", "This call was not approved, so it has not run."),
        "toolu_3": ("not_run", "The run was stopped before this call, so it has not run."),
        "toolu_4": ("done", "5"),
    }
    transcript.answer()
    assert check_history(transcript.messages()) == []
    sent: Any = transcript.messages()[-1]["content"]
    assert [block.get("tool_use_id", "text") for block in sent] == [f"toolu_{at}" for at in range(5)] + ["text"]


async def test_what_the_api_would_refuse_is_refused_at_once() -> None:
    orphan = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_9", "content": "x"}]}
    with pytest.raises(TranscriptError, match="toolu_9"):
        begin(Transcript(), "run_1", [orphan, {"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}])
    with pytest.raises(ConfigurationError, match="prompt is empty"):
        begin(Transcript(), "run_1", [])


# loop


async def test_a_turn_tools_and_a_turn() -> None:
    send = Played([reply(text("I add."), tool_use("add", a=1, b=2)), reply(text("Three."))])
    transcript = new_transcript()
    events, finish = await drive(transcript, send, [add])
    assert finish == Finish("end_turn")
    assert [event.type for event in events] == [
        "turn_start",
        "content_block_stop",
        "content_block_stop",
        "turn_end",
        "tool_call",
        "tool_result",
        "turn_start",
        "content_block_stop",
        "turn_end",
    ]
    assert [event.turn for event in events if event.type == "turn_start"] == [1, 2]
    assert [request.max_tokens for request in send.requests] == [100, 100]
    assert check_history(transcript.messages()) == []


async def test_an_error_of_send_appends_nothing() -> None:
    transcript = new_transcript()
    with pytest.raises(APIConnectionError):
        await drive(transcript, Played([APIConnectionError("down")]))
    assert [entry["entry"] for entry in transcript.entries] == ["run", "turn"]


async def test_a_consumer_that_leaves_ends_the_request() -> None:
    send = Played([reply(text("a"), text("b"))])
    transcript = new_transcript()
    calls = Calls(transcript, {}, deps=None, limits=Limits(), timeout=5, deadline=0, clock=float)
    request = Request(model="claude-sonnet-4-6", max_tokens=100)
    async with aclosing(
        loop(transcript, send, calls, request, Budget(Limits(), transcript, "anthropic"), float)
    ) as events:
        async for event in events:
            if isinstance(event, ContentBlockStop):
                break
    assert send.left == 1
    assert transcript.turns == 0


@pytest.mark.parametrize("total", [None, 10_000, 60])
async def test_L3_a_token_limit_lowers_max_tokens(total: int | None) -> None:
    send = Played([reply(text("x"))])
    _, finish = await drive(new_transcript(), send, limits=Limits(max_total_tokens=total))
    room = 100 if total is None else total - send.estimates[0]
    assert send.requests[0].max_tokens == min(100, room)
    assert (room < 60) == (total == 60)
    assert finish.reason == "end_turn"


@pytest.mark.parametrize("stop", ["max_tokens", "refusal", "end_turn", "model_context_window_exceeded", "new_word"])
async def test_S16_S17_S20_S22_only_tool_use_runs_tools(stop: str) -> None:
    entered: list[int] = []

    @tool(effect="read")
    async def look(at: int) -> int:
        """Looks, but not for a turn that does not ask for it in the end."""
        await anyio.sleep(60)
        entered.append(at)
        return at

    send = Played([reply(tool_use("look", at=1), stop=stop)])
    transcript = new_transcript()
    events, finish = await drive(transcript, send, [look])
    assert finish.reason == ("unknown_stop" if stop == "new_word" else stop)
    assert entered == []
    assert not any(event.type.startswith("tool_") for event in events)
    assert not any(entry["entry"] == "call" for entry in transcript.entries)


async def test_S25_a_call_in_a_paused_turn_is_not_run_and_its_early_result_is_not_kept() -> None:
    entered: list[int] = []

    @tool(effect="read")
    async def look(at: int) -> str:
        """Counts."""
        entered.append(at)
        return f"look {len(entered)}"

    # Gateways number their calls anew in each turn, so the same id means another call.
    use = tool_use("look", at=1)
    found = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
    send = Played(
        [
            reply(use, server_tool_use("web_search"), stop="pause_turn"),
            reply(found, use),
            reply(text("Seen.")),
        ]
    )

    async def slow(transcript: Transcript, request: Request) -> AsyncGenerator[Event]:
        async with aclosing(send(transcript, request)) as events:
            async for event in events:
                yield event
                await anyio.wait_all_tasks_blocked()

    transcript = new_transcript()
    await drive(transcript, slow, [look])
    results = [entry["result"]["content"] for entry in transcript.entries if entry.get("state") == "ended"]
    assert results == ["look 2"]
    assert entered == [1, 1]


# Early calls, over HTTP


def _turn_with_gate(message: dict[str, Any], gate: threading.Event) -> Sse:
    """The events of a message; the last of them is sent when the gate opens."""
    parts = list(wire_events(message))
    at = next(at for at, part in enumerate(parts) if part["type"] == "message_delta")
    return Sse([*parts[:at], gate, *parts[at:]])


async def test_X23_a_read_starts_at_its_content_block_stop() -> None:
    gate = threading.Event()
    log: list[str] = []

    @tool(effect="read")
    async def look(at: int) -> str:
        """Lets the server finish the turn: it can't before this runs."""
        log.append(f"look {at}")
        gate.set()
        return "seen"

    turn = _turn_with_gate(reply(tool_use("look", at=1)), gate)
    with ScriptedServer([turn, reply(text("Done."))]) as server:
        async with Client(base_url=server.url) as client:
            agent = Agent("claude-sonnet-4-6", tools=[look], client=client)
            with anyio.fail_after(30):
                async with agent.stream("Look") as run:
                    async for event in run:
                        log.append(event.type)
    assert run.result.text == "Done."
    assert log.count("look 1") == 1
    assert log.index("look 1") < log.index("turn_end") < log.index("tool_call") < log.index("tool_result")


@pytest.mark.parametrize("effect", [None, "write", ("read", "net")], ids=str)
async def test_X23_anything_else_waits_for_the_commit(effect: Any) -> None:
    gate = threading.Event()
    entered: list[bool] = []

    @tool(effect=effect)
    def act(at: int) -> str:
        """Notes whether the turn had ended."""
        entered.append(gate.is_set())
        return "ok"

    turn = _turn_with_gate(reply(tool_use("act", at=1)), gate)
    with ScriptedServer([turn, reply(text("Done."))]) as server:
        async with Client(base_url=server.url) as client:
            agent = Agent("claude-sonnet-4-6", tools=[act], client=client)
            async with agent.stream("Act") as run:
                async for event in run:
                    if event.type == "content_block_stop" and not gate.is_set():
                        await anyio.sleep(0.03)
                        assert entered == []
                        gate.set()
    assert entered == [True]


@pytest.mark.parametrize("end", ["close", "reset", "clean"])
async def test_X23_the_early_call_of_a_turn_that_fails_is_not_used(end: Any) -> None:
    entered: list[int] = []
    gate = threading.Event()

    @tool(effect="read")
    async def look(at: int) -> str:
        """The first one hangs."""
        entered.append(at)
        gate.set()
        if len(entered) == 1:
            await anyio.sleep_forever()
        return f"look {len(entered)}"

    broken = [*list(wire_events(reply(tool_use("look", at=1))))[:-2], gate]
    script = [Sse(broken, end=end), reply(tool_use("look", at=1)), reply(text("Done."))]
    with ScriptedServer(script) as server:
        retry = RetryPolicy(base=0.001)
        async with Client(base_url=server.url, retry=retry) as client:
            agent = Agent("claude-sonnet-4-6", tools=[look], client=client, limits=Limits(max_parallel_tools=1))
            began = time.monotonic()
            async with agent.stream("Look") as run:
                events = [event async for event in run]
            assert time.monotonic() - began < 20
    assert any(isinstance(event, TurnRestarted) for event in events)
    assert entered == [1, 1]
    assert server.requests[2].json["messages"][-1]["content"][0]["content"] == "look 2"


async def test_X23_no_early_result_of_a_turn_that_fails_for_good() -> None:
    gate = threading.Event()

    @tool(effect="read")
    async def look(at: int) -> str:
        """Looks."""
        gate.set()
        return "seen"

    broken = [*list(wire_events(reply(tool_use("look", at=1))))[:-2], gate]
    script = [Sse(broken, end="close"), error(400, "invalid_request_error")]
    with ScriptedServer(script) as server:
        async with Client(base_url=server.url, retry=RetryPolicy(base=0.001)) as client:
            agent = Agent("claude-sonnet-4-6", tools=[look], client=client)
            run = agent.stream("Look")
            with pytest.raises(BadRequestError):
                async with run:
                    await drain(run)
    assert [entry["entry"] for entry in run.result.dump()["entries"]] == ["run", "turn"]
    assert run.result.turns == 0
