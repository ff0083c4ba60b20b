"""A run that is resumed by its id, and that others write between our reading it and taking it up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from runs import agent_for
from scripted import reply, text, tool_use

from agentkit import ConfigurationError, Journal, Limits, Tool, allow, deny, tool
from agentkit.errors import RunBusy
from agentkit.sqlite_store import SqliteStore
from agentkit.store import Lines, RunRow

pytestmark = pytest.mark.anyio
ONE_TURN = Limits(max_turns=1)


class Crossed(SqliteStore):
    """Others come first when it is told so."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.first: list[Callable[[], None]] = []
        self.claims = 0

    def claim(self, row: RunRow, lines: Lines, *, dead: str | None = None) -> int:
        self.claims += 1
        if self.first:
            self.first.pop()()
        return super().claim(row, lines, dead=dead)


@pytest.fixture
def store(tmp_path: Path) -> Crossed:
    return Crossed(tmp_path / "runs.db")


def act(entered: list[int] | None = None, **options: Any) -> Tool:
    @tool(**options)
    async def act() -> str:
        """Acts."""
        if entered is not None:
            entered.append(1)
        return "acted"

    return act


SCRIPT = [reply(tool_use("act")), reply(text("Well."))]


@pytest.mark.parametrize("times", [1, 3])
async def test_a_run_that_was_written_meanwhile_is_read_again(store: Crossed, tmp_path: Path, times: int) -> None:
    journal, other = Journal(store), Journal(tmp_path / "runs.db")
    async with agent_for(SCRIPT, act(), journal=journal) as (agent, _):
        stopped = await agent.run("Go.", limits=ONE_TURN)

        def touch() -> None:
            transcript = other.load(stopped.run_id)
            transcript.begin(stopped.run_id, None)
            other._take_up(transcript, "elsewhere:1:a").leave("max_turns", None)

        store.first, store.claims = [touch] * times, 0
        result = await agent.resume(stopped.run_id)
        assert (result.text, store.claims) == ("Well.", times + 1)
        assert journal.load(stopped.run_id).dump() == result.dump()
        store.first = [touch]
        with pytest.raises(RunBusy, match="has gone on since it was read"):
            await agent.resume(result)  # nobody but its owner could read it again
        store.first, store.claims = [touch] * 9, 0
        with pytest.raises(RunBusy, match="has gone on since it was read"):
            await agent.resume(stopped.run_id)
        assert store.claims == 4
    other.close()
    journal.close()


async def test_a_run_that_another_has_taken_up_meanwhile_is_left_to_it(store: Crossed, tmp_path: Path) -> None:
    journal, other = Journal(store), Journal(tmp_path / "runs.db")
    async with agent_for(SCRIPT[:1], act(), journal=journal) as (agent, _):
        stopped = await agent.run("Go.", limits=ONE_TURN)

        def take_up() -> None:
            transcript = other.load(stopped.run_id)
            transcript.begin(stopped.run_id, None)
            other._take_up(transcript, "elsewhere:1:a")

        store.first, store.claims = [take_up], 0
        with pytest.raises(RunBusy, match=f"run {stopped.run_id} goes on in another place: wait for its end"):
            await agent.resume(stopped.run_id)
        assert store.claims == 1
    other.close()
    journal.close()


async def test_what_another_has_decided_meanwhile_stands(store: Crossed, tmp_path: Path) -> None:
    journal, other = Journal(store), Journal(tmp_path / "runs.db")
    entered: list[int] = []
    async with agent_for(SCRIPT[:1], act(entered, needs_approval=True), journal=journal) as (agent, _):
        held = await agent.run("Go.")
        (call,) = held.pending

        def refuse() -> None:
            transcript = other.load(held.run_id)
            transcript.begin(held.run_id, None)
            transcript.decide(call.call_id, deny())
            other._take_up(transcript, "elsewhere:1:a").leave("cancelled", None)

        with pytest.raises(ConfigurationError, match="no call 'none' waits for a decision"):
            await agent.resume(held.run_id, decisions={"none": allow()})
        store.first = [refuse]
        with pytest.raises(RunBusy, match="has gone on since it was read"):
            await agent.resume(held.run_id, decisions={call.call_id: allow()})
        assert entered == []
    other.close()
    journal.close()


async def test_a_run_that_finds_another_busy_is_not_begun_again(store: Crossed) -> None:
    journal = Journal(store)
    entered: list[int] = []

    @tool
    async def ask() -> str:
        """Asks another run."""
        entered.append(1)
        raise RunBusy("another run goes on")

    async with agent_for([reply(tool_use("ask"))], ask, journal=journal) as (agent, _):
        stopped = await agent.run("Go.", limits=Limits(max_tool_calls=0))
        assert entered == []
        with pytest.raises(RunBusy, match="another run goes on") as caught:
            await agent.resume(stopped.run_id, limits=Limits())
        assert (entered, caught.value.result.run_id) == ([1], stopped.run_id)
    journal.close()
