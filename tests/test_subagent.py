"""Agents that tools run: `as_tool`, and `within=ctx` in a tool of one's own."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from clock import BACKENDS, LONG, jump
from journaled import Clock, WatchedStore
from logs import asked
from runs import agent_for, honest, nothing_leaks
from scripted import ScriptedServer, error, reply, text, tool_use

from agentkit import Agent, Client, Journal, Limits, RunContext, RunResult, allow, tool, web_search
from agentkit.budget import Budget, Shared
from agentkit.errors import ConfigurationError
from agentkit.events import ToolProgress
from agentkit.lease import LEASE_SECONDS
from agentkit.rules import check_history

pytestmark = pytest.mark.anyio
MODEL = "claude-sonnet-4-6"
USAGE = {"input_tokens": 100, "output_tokens": 10}


def family(topics: list[str], usage: dict[str, int] = USAGE) -> Any:
    """A model that is asked to look into topics, and asks an agent about each; the agent notes it and answers."""

    @honest
    def script(blocks: list[dict[str, Any]]) -> object:
        first = blocks[0]["text"]
        results = [block for block in blocks if block["type"] == "tool_result"]
        if first in topics:
            said = f"{first} is known" if results else None
            return reply(text(said) if said else tool_use("note", id=f"toolu_{first}", topic=first), usage=usage)
        if not results:
            uses = [tool_use("research", id=f"toolu_{at}", prompt=topic) for at, topic in enumerate(topics)]
            return reply(*uses, usage=usage)
        return reply(text(" and ".join(str(block["content"]) for block in results)), usage=usage)

    return script


class Notes:
    """What the tool of the agents below has done."""

    def __init__(self) -> None:
        self.topics: list[str] = []

    def tool(self) -> Any:
        @tool(effect="write")
        async def note(ctx: RunContext[Any], topic: str) -> str:
            """Notes."""
            self.topics.append(topic)
            await anyio.sleep(0.001)
            return f"noted for {ctx.deps}"

        return note


def researcher(*tools: Any, **options: Any) -> Any:
    return Agent(MODEL, system="You research.", tools=tools, **options).as_tool("research", "Finds things out.")


def results_of(result: RunResult) -> list[dict[str, Any]]:
    return [block for message in result.messages for block in message["content"] if block["type"] == "tool_result"]


def result_of(result: RunResult) -> dict[str, Any]:
    (block,) = results_of(result)
    return block


async def test_an_agent_asks_another_one() -> None:
    notes = Notes()
    async with agent_for(family(["tea", "milk"]), researcher(notes.tool())) as (agent, server):
        async with agent.stream("Find out.", deps="Ada") as run:
            events = [event async for event in run]
        assert run.result.text == "tea is known and milk is known"
        assert sorted(notes.topics) == ["milk", "tea"]
        assert run.result.turns == 2
        assert run.result.usage.input_tokens == 600, "that of the agents is counted too"
        assert {request.json.get("system") for request in server.requests} == {None, "You research."}
        assert "calls note" in [event.text for event in events if isinstance(event, ToolProgress)]
        spent = [entry for entry in run.result.dump()["entries"] if entry.get("operation") == "spend"]
        assert len({entry["run"] for entry in spent}) == 2


async def test_what_an_agent_may_do_is_what_its_tools_may() -> None:
    @tool(effect=["read", "private"])
    def mail() -> str:
        """Mail."""
        return ""

    @tool
    def undeclared() -> None:
        """Does."""

    assert researcher().effect == {"net"}
    assert researcher(mail).effect == {"net", "read", "private"}
    assert researcher(web_search()).effect == {"net", "read", "untrusted"}
    assert researcher(mail, undeclared).effect == frozenset()
    assert researcher().input_schema["required"] == ["prompt"]
    assert researcher().description == "Finds things out."


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            reply(text("Half"), stop="max_tokens"),
            "The agent ended with max_tokens, so it has no answer. So far it has said: Half",
        ),
        (
            reply(tool_use("note", topic="x")),
            "The agent ended with needs_approval (note (1:toolu_1)), so it has no answer.",
        ),
        (
            error(400, "invalid_request_error", "secret"),
            "The agent could not go on: its request failed (BadRequestError).",
        ),
    ],
)
async def test_an_agent_without_an_answer_says_so(answer: object, told: str) -> None:
    @tool(needs_approval=True)
    def note(topic: str) -> str:
        """Notes."""
        raise AssertionError

    script = [reply(tool_use("research", id="toolu_r", prompt="tea")), answer, reply(text("Well."))]
    async with agent_for(script, researcher(note)) as (agent, _):
        result = await agent.run("Find out.")
        assert result.text == "Well."
        assert (result_of(result)["content"], result_of(result)["is_error"]) == (told, True)


async def test_who_decides_for_the_run_decides_for_its_agents() -> None:
    done = []

    @tool(needs_approval=True)
    def note(topic: str) -> str:
        """Notes."""
        done.append(topic)
        return "noted"

    async with agent_for(family(["tea"]), researcher(note)) as (agent, _):
        result = await agent.run("Find out.", approve=lambda pending: allow())
        assert result.text == "tea is known"
        assert done == ["tea"]


@pytest.mark.parametrize("topics", [1, 4, 12])
async def test_I8_a_tree_of_agents_shares_the_budget(topics: int) -> None:
    usage = {"input_tokens": 1000, "output_tokens": 500}
    most = 12_000
    agent_tool = researcher(Notes().tool(), max_tokens=500)
    script = family([f"topic{at}" for at in range(topics)], usage)
    async with agent_for(script, agent_tool, max_tokens=500) as (agent, server):
        result = await agent.run("Find out.", limits=Limits(max_total_tokens=most))
        assert result.usage.total_tokens == 1500 * len(server.requests)
        # What an input has is known once the API has counted it: a first request of each may cost more than it seemed.
        assert result.usage.total_tokens <= most + 1000 * topics
        assert result.finish.reason == ("end_turn" if topics == 1 else "max_total_tokens")
        assert len(server.requests) <= 8 + topics


async def test_agents_use_the_client_of_the_run_but_their_own_if_they_have_one() -> None:
    with ScriptedServer(family(["tea"])) as server, ScriptedServer([reply(text("mine"))]) as other:
        async with (
            nothing_leaks(server, other),
            Client(base_url=server.url, api_key="tenant") as tenant,
            Client(base_url=other.url) as own,
        ):
            plain = Agent(MODEL, tools=[researcher(Notes().tool())], client=own)
            assert (await plain.run("Find out.", client=tenant)).text == "tea is known"
            assert {request.headers["x-api-key"] for request in server.requests} == {"tenant"}
            mixed = Agent(MODEL, tools=[researcher(client=own)], client=own)
            assert (await mixed.run("Find out.", client=tenant)).text == "mine"


@BACKENDS
async def test_L4_the_deadline_is_one_for_the_tree() -> None:
    @tool
    async def note(topic: str) -> None:
        """Notes."""
        jump()
        await anyio.sleep(LONG)

    async with agent_for(family(["tea"]), researcher(note)) as (agent, _):
        with anyio.fail_after(2 * LONG - 10):
            result = await agent.run("Find out.", limits=Limits(max_seconds=LONG))
        assert result.finish.reason == "max_seconds"
        assert result_of(result)["is_error"]


async def test_a_run_that_is_cancelled_takes_its_agents_along() -> None:
    begun = anyio.Event()

    @tool
    async def note(topic: str) -> None:
        """Notes."""
        begun.set()
        await anyio.sleep(60)

    async with agent_for(family(["tea"]), researcher(note)) as (agent, _):
        async with agent.stream("Find out.") as run, anyio.create_task_group() as tasks:

            async def stop() -> None:
                await begun.wait()
                run.cancel()

            tasks.start_soon(stop)
            async for _ in run:
                pass
        assert run.result.finish.reason == "cancelled"
        assert run.result.usage.input_tokens == 200, "what the agent has used until then is known"


async def test_a_tool_of_ones_own_runs_agents_within_its_call() -> None:
    seen = []

    def script(request: Any) -> object:
        blocks = [block for message in request.json["messages"] for block in message["content"]]
        if blocks[0]["text"] != "Find out.":
            return reply(text(f"{len(seen)}: {blocks[0]['text']}"), usage=USAGE)
        return reply(text("Well.") if len(blocks) > 1 else tool_use("research", prompt="tea"))

    @tool
    async def research(ctx: RunContext[Any], prompt: str) -> list[str]:
        """Asks twice, and once something else."""
        answers = []
        for question in (prompt, prompt, "More?"):
            run = await Agent(MODEL).run(question, within=ctx)
            seen.append(run.run_id)
            answers.append(run.text)
        return answers

    async with agent_for(script, research) as (agent, _):
        result = await agent.run("Find out.")
        assert result_of(result)["content"] == '["0: tea","1: tea","2: More?"]'
        assert len(set(seen)) == 3
        assert result.usage.input_tokens == 320


async def test_an_agent_that_was_changed_goes_on_with_its_run(tmp_path: Path) -> None:
    """A run within a call is named after the call and the question: another model or prompt does not begin it again."""
    store, notes = WatchedStore(tmp_path), Notes()
    ctx = RunContext(deps=None, run_id="r", call_id="1:a", tool_use_id="a", tool_name="research")
    journal = store.journal(Clock())
    async with agent_for(family(["tea"]), notes.tool(), journal=journal) as (agent, _):
        shared = Shared(
            client=agent._client, journal=journal, approve=None, budget=Budget(Limits(), asked(), "generic")
        )
        first = await agent.run("tea", within=replace(ctx, shared=shared))
        changed: Any = {"system": "Changed.", "client": agent._client, "journal": journal}
        other = Agent("claude-opus-4-8", tools=[notes.tool()], **changed)
        again = await other.run("tea", within=replace(ctx, shared=replace(shared, asked=Counter())))
        assert (again.run_id, again.text) == (first.run_id, "tea is known")
        assert notes.topics == ["tea"]


async def test_what_can_not_be_a_part_of_a_call() -> None:
    agent = Agent(MODEL, client=Client(base_url="http://localhost:1"))
    ctx = RunContext(deps=None, run_id="r", call_id="1:a", tool_use_id="a", tool_name="t")
    with pytest.raises(ConfigurationError, match="within must be the RunContext that a tool was given"):
        await agent.run("Hi", within=ctx)
    with pytest.raises(ConfigurationError, match=r"run_sync can't be part of a call"):
        agent.run_sync("Hi", within=ctx)


@pytest.mark.slow
@pytest.mark.parametrize("topics", [1, 2])
async def test_agents_whose_process_is_killed_go_on_where_they_were(tmp_path: Path, topics: int) -> None:
    """At every write of the journal, before it and after it: effects and spending count once."""
    asks = ["tea", "milk"][:topics]
    kill_at, was_killed = 0, True
    with ScriptedServer(family(asks)) as server:
        async with Client(base_url=server.url) as client:
            while was_killed:
                kill_at += 1
                for stored in (False, True):
                    folder = tmp_path / f"{kill_at}{stored}"
                    folder.mkdir()
                    was_killed = await check_killed(WatchedStore(folder, kill_at, stored), client, asks)
    assert kill_at > 10


async def check_killed(store: WatchedStore, client: Client, asks: list[str]) -> bool:
    notes, clock = Notes(), Clock()
    agent = Agent(MODEL, tools=[researcher(notes.tool())], client=client, journal=store.journal(clock))
    try:
        await agent.run("Find out.", deps="Ada", run_id="above")
    except BaseException:
        if not store.dead:
            raise
    if not store.dead:
        return False
    clock.now += 2 * LEASE_SECONDS
    again = Agent(MODEL, tools=[researcher(notes.tool())], client=client, journal=Journal(store.folder / "runs.db"))
    result = await again.run("Find out.", deps="Ada", run_id="above")
    done = Counter(notes.topics)
    assert set(done.values()) <= {1}, "an effect that is not declared to be repeatable happens once"
    assert result.finish.reason == "end_turn"
    assert check_history(result.messages) == []
    told = [block["content"] for block in results_of(result)]
    assert all(text == f"{topic} is known" for text, topic in zip(told, asks, strict=True))
    journal = Journal(store.folder / "runs.db")
    logs = [journal.load(row.run_id) for row in journal.runs()]
    assert len(logs) == 1 + len(asks), "each agent went on with its own run"
    asked = [entry for log in logs for entry in log.entries if "message" in entry]
    assert result.usage.input_tokens == 100 * len(asked)
    return True
