"""Runs that are killed at every append of their log, loaded from `dump()` and resumed.

Each scripted run is cut before and after each of its entries. What the log held at that moment is all that is left;
a new agent resumes it. The server refuses what the API would refuse; each effect may happen once; the end is that
of the run that was not cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from scripted import Message, Request, ScriptedServer, error, reply, server_tool_use, text, thinking, tool_use

from agentkit import Agent, Client, Limits, RunResult, Tool, ToolError, allow, tool
from agentkit.events import ToolCall
from agentkit.rules import check_request
from agentkit.transcript import Transcript

pytestmark = pytest.mark.anyio

FOUND = {"type": "web_search_tool_result", "content": []}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
QUESTION = "Do it."
GO_ON = "Go on."


class Killed(BaseException):
    """The process is gone."""


@dataclass
class World:
    """What outlives a process: effects that happened."""

    effects: Counter[str] = field(default_factory=Counter)
    dead: bool = False

    def tools(self) -> list[Tool]:
        @tool
        async def pay(amount: int) -> str:
            """Pays."""
            if not self.dead:
                self.effects[f"pay {amount}"] += 1
            return f"paid {amount}"

        @tool
        async def fail(why: str) -> str:
            """Fails."""
            if not self.dead:
                self.effects[f"fail {why}"] += 1
            raise ToolError(why)

        @tool(needs_approval=True)
        def refund(amount: int) -> str:
            """Refunds, in a thread."""
            if not self.dead:
                self.effects[f"refund {amount}"] += 1
            return f"refunded {amount}"

        return [pay, fail, refund]


def answered(messages: list[Message]) -> set[str]:
    """Ids of every result in the history."""
    blocks = [block for message in messages for block in message["content"]]
    return {block["tool_use_id"] for block in blocks if block["type"].endswith("tool_result")}


def called(messages: list[Message]) -> set[str]:
    """Ids of every call in the history."""
    blocks = [block for message in messages for block in message["content"]]
    return {block["id"] for block in blocks if block["type"].endswith("tool_use")}


def parallel(messages: list[Message]) -> Message:
    if answered(messages):
        return reply(text("All done."))
    uses = [
        tool_use("pay", id="toolu_a", amount=1),
        tool_use("fail", id="toolu_b", why="no"),
        tool_use("pay", id="toolu_c", amount=2),
    ]
    return reply(text("Working."), *uses, tool_use("unknown", id="toolu_d"))


def pauses(messages: list[Message]) -> Message:
    done = answered(messages)
    if not called(messages):
        return reply(server_tool_use("web_search", id="srvtoolu_1", query="a"), stop="pause_turn")
    if "srvtoolu_1" not in done:
        following = server_tool_use("web_search", id="srvtoolu_2", query="b")
        return reply({**FOUND, "tool_use_id": "srvtoolu_1"}, following, stop="pause_turn")
    return reply({**FOUND, "tool_use_id": "srvtoolu_2"}, text("All done."))


def mixed(messages: list[Message]) -> Message:
    if not called(messages):
        return reply(
            text("Both."),
            server_tool_use("web_search", id="srvtoolu_1", query="a"),
            tool_use("pay", id="toolu_a", amount=1),
        )
    assert "toolu_a" in answered(messages)
    if "srvtoolu_1" not in answered(messages):
        return reply({**FOUND, "tool_use_id": "srvtoolu_1"}, tool_use("pay", id="toolu_b", amount=2))
    return reply(text("All done."))


def approval(messages: list[Message]) -> Message:
    if answered(messages):
        return reply(text("All done."))
    return reply(
        tool_use("refund", id="toolu_a", amount=1),
        tool_use("pay", id="toolu_b", amount=2),
        tool_use("refund", id="toolu_c", amount=3),
    )


def limited(messages: list[Message]) -> Message:
    said = [block.get("text") for message in messages for block in message["content"] if message["role"] == "user"]
    if GO_ON in said:
        return reply(text("All done."))
    return reply(tool_use("pay", id=f"toolu_{len(called(messages))}", amount=len(called(messages))))


def refused_thinking(messages: list[Message]) -> object:
    if not answered(messages):
        return reply(thinking("So."), tool_use("pay", id="toolu_a", amount=1))
    if any(block["type"] == "thinking" for message in messages for block in message["content"]):
        return error(400, "invalid_request_error", "messages.1.content.0: Invalid `signature` in `thinking` block")
    return reply(text("All done."))


def expired(messages: list[Message]) -> object:
    if any(str(block.get("text")).startswith("Code that was running") for block in messages[-1]["content"]):
        return reply(text("All done."))
    if not called(messages):
        call = {
            **tool_use("pay", id="toolu_a", amount=1),
            "caller": {"type": "code_execution_20260120", "tool_id": "s"},
        }
        container = {"id": "container_1", "expires_at": "2026-11-28T00:00:00Z"}
        return reply(server_tool_use("code_execution", id="s", code="pay(1)"), call, container=container)
    return error(400, "invalid_request_error", "Container container_1 has expired or does not exist")


def abandoned(messages: list[Message]) -> Message:
    if not called(messages) and len(messages) == 1:
        return reply(text("I search."), server_tool_use("web_search", id="srvtoolu_1", query="a"), stop="max_tokens")
    return reply(text("All done."))


@dataclass(frozen=True)
class Scenario:
    script: Callable[[list[Message]], object]
    effects: dict[str, int]
    limits: Limits = field(default_factory=Limits)
    then: str | None = None
    cancel_at: str | None = None


SCENARIOS = {
    "parallel": Scenario(parallel, {"pay 1": 1, "fail no": 1, "pay 2": 1}),
    "pauses": Scenario(pauses, {}),
    "mixed": Scenario(mixed, {"pay 1": 1, "pay 2": 1}),
    "approval": Scenario(approval, {"refund 1": 1, "pay 2": 1, "refund 3": 1}),
    "limit then after": Scenario(limited, {"pay 0": 1, "pay 1": 1}, Limits(max_turns=2), then=GO_ON),
    "thinking refused": Scenario(refused_thinking, {"pay 1": 1}),
    "container expired": Scenario(expired, {"pay 1": 1}),
    "turn abandoned": Scenario(abandoned, {}, then=GO_ON),
    "cancel": Scenario(parallel, {"fail no": 1}, cancel_at="fail"),
}


def honest(script: Callable[[list[Message]], object]) -> Callable[[Request], object]:
    """A server that says what the API says: it refuses what breaks a rule."""

    def answer(request: Request) -> object:
        if problems := check_request(request.json):
            return error(400, "invalid_request_error", problems[0].message)
        return script(request.json["messages"])

    return answer


async def drive(agent: Agent, client: Client, scenario: Scenario, dump: dict[str, Any] | None) -> RunResult:
    """What a program around the agent does: start or resume, decide, go on, until the end."""
    options: Any = {"client": client, "limits": scenario.limits}
    cancels = scenario.cancel_at if dump is None else None
    async with agent.stream(None if dump else QUESTION, after=dump, **options) as run:
        async for event in run:
            if cancels and isinstance(event, ToolCall) and event.name == cancels:
                run.cancel()
    result = run.result
    while True:
        said = sum(bool(entry.get("messages")) for entry in result.dump()["entries"])
        if result.finish.reason == "needs_approval":
            decisions = {pending.call_id: allow() for pending in result.pending}
            result = await agent.resume(result, decisions=decisions, **options)
        elif result.finish.reason == "cancelled":
            result = await agent.resume(result, **options)
        elif scenario.then and said == 1:
            result = await agent.run(scenario.then, after=result, **options)
        else:
            return result


@dataclass
class Power:
    """Cuts the power at one append."""

    world: World
    at: int
    stored: bool  # whether the entry at which it happens is still written
    dump: dict[str, Any] | None = None
    appended: int = 0

    def install(self, patch: pytest.MonkeyPatch) -> None:
        append = Transcript.append

        def counted(transcript: Transcript, entry: dict[str, Any]) -> None:
            if self.world.dead:
                raise Killed
            self.appended += 1
            if self.appended != self.at:
                append(transcript, entry)
                return
            if self.stored:
                append(transcript, entry)
            self.dump = transcript.dump()
            self.world.dead = True
            raise Killed

        patch.setattr(Transcript, "append", counted)


async def run_and_kill(scenario: Scenario, world: World, power: Power, client: Client) -> RunResult | None:
    """The run's result, or None if it was killed."""
    agent = Agent("claude-sonnet-4-6", tools=[*world.tools(), SEARCH])
    with pytest.MonkeyPatch.context() as patch:
        power.install(patch)
        try:
            return await drive(agent, client, scenario, None)
        except Killed:
            return None
        except BaseException:
            if not world.dead:
                raise
            return None


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize(
    "stored",
    [pytest.param(True, id="after the entry"), pytest.param(False, id="before the entry", marks=pytest.mark.slow)],
)
async def test_a_run_that_is_killed_at_an_append_goes_on_to_the_same_end(name: str, stored: bool) -> None:
    scenario = SCENARIOS[name]
    with ScriptedServer(honest(scenario.script)) as server:
        async with Client(base_url=server.url) as client:
            world = World()
            power = Power(world, at=0, stored=True)
            whole = await run_and_kill(scenario, world, power, client)
            assert whole is not None
            assert (whole.finish.reason, whole.partial_text) == ("end_turn", "All done.")
            assert all(world.effects[effect] <= count for effect, count in scenario.effects.items())
            if name != "cancel":
                assert world.effects == scenario.effects
            for at in range(1, power.appended + 1):
                world = World()
                power = Power(world, at=at, stored=stored)
                assert await run_and_kill(scenario, world, power, client) is None
                world.dead = False
                again = Agent("claude-sonnet-4-6", tools=[*world.tools(), SEARCH])
                dump = power.dump if power.dump and power.dump["entries"] else None  # else the caller asks again
                result = await drive(again, client, scenario, dump)
                assert (result.finish.reason, result.partial_text) == (whole.finish.reason, whole.partial_text), at
                assert all(count == 1 for count in world.effects.values()), (at, world.effects)
                assert set(world.effects) <= set(scenario.effects) | ({"pay 1", "pay 2"} if name == "cancel" else set())


@pytest.mark.slow
async def test_a_call_that_had_started_ends_as_unknown() -> None:
    found: Counter[str] = Counter()
    with ScriptedServer(honest(parallel)) as server:
        async with Client(base_url=server.url) as client:
            for at in range(4, 11):
                world = World()
                power = Power(world, at=at, stored=True)
                assert await run_and_kill(SCENARIOS["parallel"], world, power, client) is None
                assert power.dump is not None
                states = [(e["call"], e["state"]) for e in power.dump["entries"] if e["entry"] == "call"]
                left = {call for call, state in states if state == "started"} - {
                    c for c, state in states if state == "ended"
                }
                agent = Agent("claude-sonnet-4-6", tools=World().tools(), client=client)
                result = await agent.resume(power.dump)
                outcomes = {e["call"]: e["outcome"] for e in result.dump()["entries"] if e.get("state") == "ended"}
                found.update(outcomes[call] for call in left)
    assert set(found) == {"unknown"}


async def test_the_honest_server_refuses_a_broken_history() -> None:
    with ScriptedServer(honest(parallel)) as server:
        async with Client(base_url=server.url) as client:
            messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": [tool_use("pay", amount=1)]}]
            body = {
                "model": "claude-sonnet-4-6",
                "max_tokens": 9,
                "messages": [*messages, {"role": "user", "content": "b"}],
            }
            import httpx

            async with httpx.AsyncClient() as http:
                answer = await http.post(f"{client.base_url}/v1/messages", json=body)
    assert answer.status_code == 400
    assert "tool_use` ids were found without `tool_result`" in answer.json()["error"]["message"]
