"""Sync tools whose thread is left behind: what they come to is logged, and kept beside the run."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest
from calls import World
from clock import BACKENDS, CLOCK, LONG, jump, settle
from journaled import Clock, WatchedStore
from runs import agent_for, until
from scripted import reply, text, tool_use

from agentkit import Agent, Client, Journal, Tool, ToolError, tool
from agentkit.emulator import Emulator
from agentkit.emulator import reply as says
from agentkit.emulator import tool_use as uses
from agentkit.rules import check_history

pytestmark = pytest.mark.anyio
SCRIPT = [reply(tool_use("act")), reply(text("Well."))]


class Stubborn:
    """A sync tool that goes on when its call is given up, until it is let go."""

    def __init__(self, outcome: Any = "acted, and the secret is 17") -> None:
        self.entered, self.free = threading.Event(), threading.Event()
        self.outcome = outcome

    def tool(self, **options: Any) -> Tool:
        @tool(**options)
        def act() -> str:
            """Acts."""
            self.entered.set()
            assert self.free.wait(60)
            if isinstance(self.outcome, Exception):
                raise self.outcome
            return self.outcome

        return act

    async def time_passes(self) -> None:
        """The call is late."""
        await until(self.entered.is_set)
        await settle()
        jump()


@pytest.mark.parametrize("ends", ["deadline", "cancel"])
@pytest.mark.parametrize(
    ("outcome", "kept"),
    [
        ("acted, and the secret is 17", ("done", "acted, and the secret is 17")),
        (ToolError("no: the secret is 17"), ("failed", "no: the secret is 17")),
        (OSError("the secret is 17"), ("failed", "The tool failed with OSError.")),
    ],
)
@BACKENDS
async def test_X20_what_comes_late_is_kept_beside_the_run(
    tmp_path: Path, ends: str, outcome: Any, kept: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    journal, stubborn = Journal(tmp_path / "runs.db"), Stubborn(outcome)
    made = stubborn.tool(timeout=LONG)
    async with agent_for(SCRIPT[: 2 if ends == "deadline" else 1], made, journal=journal) as (agent, _):
        async with agent.stream("Go.") as run, anyio.create_task_group() as group:

            async def cancel() -> None:
                await until(stubborn.entered.is_set)
                run.cancel()

            group.start_soon(cancel if ends == "cancel" else stubborn.time_passes)
            async for _ in run:
                pass
        (call,) = run.result.tool_calls
        assert call.outcome == ("timed_out" if ends == "deadline" else "cancelled")
        assert journal.orphans(run.run_id) == []
        with caplog.at_level(logging.INFO, "agentkit.tools"):
            stubborn.free.set()
            await until(lambda: bool(journal.orphans(run.run_id)))
        (orphan,) = journal.orphans(run.run_id)
        assert (orphan["call"], orphan["outcome"], orphan["result"]["content"]) == ("1:toolu_1", *kept)
        assert journal.load(run.run_id).dump() == run.result.dump()
        assert check_history(run.result.messages) == []
    assert f"act (1:toolu_1) has ended ({kept[0]}) after its call was given up" in caplog.text
    assert not any("secret" in record.getMessage() for record in caplog.records)
    journal.close()


async def test_X20_one_that_ends_in_time_leaves_no_orphan(tmp_path: Path) -> None:
    journal, stubborn = Journal(tmp_path / "runs.db"), Stubborn()
    stubborn.free.set()
    async with agent_for(SCRIPT, stubborn.tool(), journal=journal) as (agent, _):
        result = await agent.run("Go.")
        assert (result.tool_calls[0].outcome, journal.orphans(result.run_id)) == ("done", [])
    journal.close()


@BACKENDS
async def test_X20_a_late_result_that_can_not_be_kept_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store, stubborn = WatchedStore(tmp_path), Stubborn()
    async with agent_for(SCRIPT, stubborn.tool(timeout=LONG), journal=store.journal(Clock())) as (agent, _):
        async with anyio.create_task_group() as group:
            group.start_soon(stubborn.time_passes)
            result = await agent.run("Go.")
        store.close()  # what comes now can go to a file alone
        store.is_full = True
        stubborn.free.set()
        await until(lambda: "is lost" in caplog.text)
    assert "what 1:toolu_1 came to late is lost" in caplog.text
    assert "secret" not in caplog.text
    assert result.finish.reason == "end_turn"


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("closed", [False, True])
def test_X20_also_when_the_event_loop_and_the_journal_are_closed(backend: str, closed: bool, tmp_path: Path) -> None:
    stubborn, journal = Stubborn(), Journal(tmp_path / "runs.db")

    async def run() -> str:
        with Emulator(script=[says(uses("act")), says("Well.")]) as emulator:
            async with Client(base_url=emulator.url, api_key="any") as client, anyio.create_task_group() as group:
                group.start_soon(stubborn.time_passes)
                tools = [stubborn.tool(timeout=LONG)]
                agent = Agent("claude-sonnet-4-6", tools=tools, client=client, journal=journal)
                return (await agent.run("Go.")).run_id

    run_id = anyio.run(run, backend=backend, backend_options={"clock": CLOCK} if backend == "trio" else {})
    if closed:
        journal.close()
    before = threading.enumerate()
    stubborn.free.set()
    for thread in before:
        if "AnyIO" in thread.name or "Trio" in thread.name or "trio" in thread.name:
            thread.join(0.5)
    again = Journal(tmp_path / "runs.db")
    for _ in range(3000):
        if orphans := again.orphans(run_id):
            break
        threading.Event().wait(0.01)
    assert [orphan["outcome"] for orphan in orphans] == ["done"]
    again.close()
    journal.close()


async def test_a_thread_that_is_given_up_keeps_its_place_on_trio_alone(anyio_backend_name: str) -> None:
    stubborn = Stubborn()
    world = World([stubborn.tool(timeout=2)], [tool_use("act"), tool_use("act", id="toolu_2")], max_parallel_tools=1)
    world.commit()
    async with world.calls() as calls:
        await world.drain(calls)
        assert world.outcomes == ["timed_out", "timed_out"]
        assert calls._threads.borrowed_tokens == (2 if anyio_backend_name == "trio" else 0)
        assert calls._threads.total_tokens == 4
        stubborn.free.set()
        await until(lambda: calls._threads.borrowed_tokens == 0)
