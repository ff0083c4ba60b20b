"""Transactional tools: their effect and their result are written together, or neither is."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from journaled import Clock, WatchedStore
from runs import agent_for, honest
from scripted import ScriptedServer, reply, text, tool_use

from agentkit import Agent, Client, ConfigurationError, Journal, RunContext, ToolDefinitionError, ToolError, tool
from agentkit.errors import JournalError
from agentkit.lease import LEASE_SECONDS
from agentkit.rules import check_history

pytestmark = pytest.mark.anyio
MODEL = "claude-sonnet-4-6"


@tool(transactional=True)
def credit(ctx: RunContext[Any], amount: int) -> str:
    """Credits an account."""
    ctx.transaction.execute("CREATE TABLE IF NOT EXISTS credits (key TEXT, amount INTEGER) STRICT")
    ctx.transaction.execute("INSERT INTO credits VALUES (?, ?)", (ctx.idempotency_key, amount))
    if amount < 0:
        raise ToolError("That is a debit.")
    if amount == 0:
        raise OSError
    return f"credited {amount}"


@honest
def credit_twice(blocks: list[dict[str, Any]]) -> object:
    if any(block["type"] == "tool_result" for block in blocks):
        return reply(text("Done."))
    return reply(*(tool_use("credit", id=f"toolu_{amount}", amount=amount) for amount in (1, 2)))


def credited(path: Path) -> list[int]:
    with sqlite3.connect(path) as db:
        try:
            found = [amount for (amount,) in db.execute("SELECT amount FROM credits ORDER BY amount")]
        except sqlite3.OperationalError:
            found = []
    db.close()
    return found


async def test_effect_and_result_come_together(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "runs.db")
    async with agent_for(credit_twice, credit, journal=journal) as (agent, _):
        result = await agent.run("Credit.")
        assert result.text == "Done."
        assert [call.outcome for call in result.tool_calls] == ["done", "done"]
        assert credited(tmp_path / "runs.db") == [1, 2]
        assert journal.load(result.run_id).dump() == result.dump()
    journal.close()


@pytest.mark.parametrize(("amount", "told"), [(-1, "That is a debit."), (0, "The tool failed with OSError.")])
async def test_what_a_failed_call_did_is_undone(tmp_path: Path, amount: int, told: str) -> None:
    journal = Journal(tmp_path / "runs.db")
    script = [reply(tool_use("credit", amount=amount)), reply(text("Done."))]
    async with agent_for(script, credit, journal=journal) as (agent, _):
        result = await agent.run("Credit.")
        (call,) = result.tool_calls
        assert (call.outcome, call.text) == ("failed", told)
        assert credited(tmp_path / "runs.db") == []
    journal.close()


@pytest.mark.slow
@pytest.mark.parametrize("stored", [False, True])
async def test_a_process_that_is_killed_anywhere_has_credited_once(tmp_path: Path, stored: bool) -> None:
    kill_at, was_killed = 0, True
    while was_killed:
        kill_at += 1
        folder = tmp_path / str(kill_at)
        folder.mkdir()
        store, clock = WatchedStore(folder, kill_at, stored), Clock()
        with ScriptedServer(credit_twice) as server:
            async with Client(base_url=server.url) as client:
                try:
                    await Agent(MODEL, tools=[credit], client=client, journal=store.journal(clock)).run(
                        "Go", run_id="r"
                    )
                except BaseException:
                    if not store.dead:
                        raise
                was_killed = store.dead
                clock.now += 2 * LEASE_SECONDS
                agent = Agent(MODEL, tools=[credit], client=client, journal=Journal(folder / "runs.db"))
                result = await agent.run("Go", run_id="r")
        assert result.text == "Done."
        assert check_history(result.messages) == []
        assert credited(folder / "runs.db") == [1, 2]
    assert kill_at > 5


async def test_what_can_not_be_written_has_not_happened(tmp_path: Path) -> None:
    store = WatchedStore(tmp_path)
    broken = [True]

    def fails(durable: bool, lines: Any) -> bool:
        return broken[0] and any(b'"ended"' in line for line, _ in lines)

    store.fails = fails
    async with agent_for(credit_twice, credit, journal=store.journal(time.time)) as (agent, _):
        with pytest.raises(JournalError) as caught:
            await agent.run("Credit.")
        assert credited(tmp_path / "runs.db") == []
        broken[0] = False
        result = await agent.resume(caught.value.result)
        assert result.text == "Done."
        assert credited(tmp_path / "runs.db") == [1, 2]


async def test_what_is_under_way_when_asyncio_cancels_is_whole(tmp_path: Path, anyio_backend_name: str) -> None:
    """The result is in the log, the transaction is not committed yet, and `task.cancel()` heeds no shield."""
    if anyio_backend_name == "trio":
        pytest.skip("trio has one kind of cancellation")
    import asyncio

    entered, go_on = threading.Event(), threading.Event()

    def waits(durable: bool, lines: Any) -> bool:
        if any(b'"ended"' in line for line, _ in lines) and not entered.is_set():
            entered.set()
            assert go_on.wait(30)
        return False

    store = WatchedStore(tmp_path)
    store.fails = waits
    script = [reply(tool_use("credit", amount=7)), reply(text("Done."))]
    async with agent_for(script, credit, journal=store.journal(time.time)) as (agent, _):
        task = asyncio.create_task(agent.run("Credit.", run_id="r"))
        await asyncio.to_thread(entered.wait, 5)
        task.cancel()
        await asyncio.sleep(0.05)
        go_on.set()
        await asyncio.wait([task])
        result = await agent.resume("r")
        assert result.text == "Done."
        assert [call.outcome for call in result.tool_calls] == ["done"]
        assert credited(tmp_path / "runs.db") == [7]


async def test_a_tool_that_ends_the_transaction_is_an_error(tmp_path: Path) -> None:
    @tool(transactional=True, name="credit")
    def commits(ctx: RunContext[Any], amount: int) -> None:
        """Commits."""
        ctx.transaction.execute("COMMIT")

    journal = Journal(tmp_path / "runs.db")
    async with agent_for([reply(tool_use("credit", amount=1))], commits, journal=journal) as (agent, _):
        with pytest.raises(JournalError, match="leave commit and rollback out"):
            await agent.run("Credit.")
    journal.close()


async def test_it_needs_a_journal_and_a_sync_function() -> None:
    async with agent_for([], credit) as (agent, _):
        with pytest.raises(ConfigurationError, match="credit is transactional, so its run needs a journal"):
            await agent.run("Credit.")

    async def later() -> None:
        """Later."""

    def pieces() -> Any:
        """Pieces."""
        yield 1

    for function in (later, pieces):
        with pytest.raises(ToolDefinitionError, match="transactional needs a sync function"):
            tool(transactional=True)(function)
