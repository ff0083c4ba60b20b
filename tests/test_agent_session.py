"""Sessions: conversations that go on by name, one run at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from runs import agent_for, honest
from scripted import reply, text, tool_use

from agentkit import ConfigurationError, Journal, allow, tool
from agentkit.errors import RunBusy

pytestmark = pytest.mark.anyio


@honest
def count(blocks: list[dict[str, Any]]) -> object:
    """Says how much was said so far; pays when it is told to."""
    said = [block["text"] for block in blocks if block["type"] == "text"]
    if said[-1] == "Pay." and blocks[-1]["type"] == "text":
        return reply(tool_use("pay", id=f"toolu_{len(blocks)}", amount=5))
    return reply(text(f"{len(said)} said"))


@tool(needs_approval=True)
def pay(amount: int) -> str:
    """Pays."""
    return "paid"


async def test_a_session_goes_on_by_its_name_in_any_process(tmp_path: Path) -> None:
    for at, expected in enumerate(["1 said", "3 said", "5 said"]):
        journal = Journal(tmp_path / "runs.db")
        async with agent_for(count, journal=journal) as (agent, _):
            result = await agent.run(f"Question {at}", session="ada")
            assert result.text == expected
            assert (await agent.run("Question", session="eve" + str(at))).text == "1 said"
            last = journal.last("ada")
            assert last is not None
            assert last.run_id == result.run_id
        journal.close()


async def test_C16_two_runs_of_a_session_at_once(tmp_path: Path) -> None:
    entered, go_on = anyio.Event(), anyio.Event()

    @tool(name="pay")
    async def slow(amount: int) -> str:
        """Pays."""
        entered.set()
        await go_on.wait()
        return "paid"

    async with agent_for(count, slow, journal=tmp_path / "runs.db") as (agent, _):
        await agent.run("Hello.", session="ada")
        async with anyio.create_task_group() as group:

            async def first() -> None:
                assert (await agent.run("Pay.", session="ada")).text == "3 said"

            group.start_soon(first)
            await entered.wait()
            with pytest.raises(RunBusy, match="goes on in another place"):
                await agent.run("And me?", session="ada")
            go_on.set()
        assert (await agent.run("And me?", session="ada")).text == "5 said"
        assert agent.journal is not None
        agent.journal.close()


async def test_a_session_holds_for_an_approval_and_goes_on(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "runs.db")
    async with agent_for(count, pay, journal=journal) as (agent, _):
        held = await agent.run("Pay.", session="ada")
        assert held.finish.reason == "needs_approval"
        (call,) = held.pending
        paid = await agent.resume(held.run_id, decisions={call.call_id: allow()})
        assert paid.text == "1 said"
        held = await agent.run("Pay.", session="ada")
        last = await agent.run("Never mind.", session="ada")
        assert last.text == "4 said"
        with pytest.raises(RunBusy, match=f"session 'ada' has gone on with run {last.run_id}"):
            await agent.resume(held.run_id, decisions={held.pending[0].call_id: allow()})
        async with agent.stream(None, session="ada") as run:
            async for _event in run:
                pass
        assert run.result.text == "4 said"
    journal.close()


async def test_a_session_that_is_compacted_goes_on_from_the_summary(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "runs.db")
    summary = {"type": "compaction", "content": "All was said."}
    script = [reply(text("Hello.")), reply(summary, stop="compaction"), reply(text("Yes."))]
    async with agent_for(script, journal=journal) as (agent, server):
        first = await agent.run("Hello.", session="ada")
        compacted = await agent.compact(first.run_id)
        await agent.run("More?", session="ada")
        assert [message["role"] for message in server.requests[-1].json["messages"]] == ["assistant", "user"]
        assert [row.session for row in journal.runs()] == ["ada"] * 3
        assert compacted.run_id in [row.run_id for row in journal.runs()]
    journal.close()


async def test_a_run_with_a_name_is_begun_once_in_a_session(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "runs.db")
    async with agent_for(count, journal=journal) as (agent, server):
        for _ in range(2):
            assert (await agent.run("Hello.", session="ada", run_id="first")).text == "1 said"
        assert len(server.requests) == 1
    journal.close()


async def test_a_session_without_a_run_has_nothing_to_go_on_with(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "runs.db")
    async with agent_for(count, journal=journal) as (agent, _):
        with pytest.raises(ConfigurationError, match="session 'ada' has no run yet"):
            agent.stream(None, session="ada")
    journal.close()


async def test_a_session_needs_a_journal() -> None:
    async with agent_for(count) as (agent, _):
        with pytest.raises(ConfigurationError, match="a session needs a journal"):
            await agent.run("Hello.", session="ada")
