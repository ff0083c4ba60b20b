"""A run in PostgreSQL is watched from elsewhere: who watches has a journal, and connections, of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import anyio
import pytest
from follows import CALLS, DONE, PAYS, followed, live, merged, world
from scripted import reply, tool_use

from agentkit import Journal, allow, tool
from agentkit.errors import JournalError
from agentkit.events import Event, RunEnd, ToolCall

if TYPE_CHECKING:
    from postgres_server import PostgresServer

pytest.importorskip("agentkit.integrations.postgres", exc_type=ImportError)

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def watching(database: str) -> Iterator[Journal]:
    journal = Journal(database)
    yield journal
    journal.close()


async def test_a_run_is_watched_and_decided_from_another_place(database: str, watching: Journal) -> None:
    told: list[Event] = []
    numbers: list[int] = []

    async def watch(run_id: str, after: int) -> None:
        async for number, event in watching.follow(run_id, after):
            numbers.append(number)
            told.append(event)

    async with world(database, [CALLS, PAYS, DONE]) as (agent, _):
        run = agent.stream("Go.")
        async with anyio.create_task_group() as tasks, run:
            tasks.start_soon(watch, run.run_id, 0)
            seen = [event async for event in run]
        assert merged(told) == merged(seen)
        assert isinstance(end := told.pop(), RunEnd)
        assert end.finish == "needs_approval"
        held = {call.call_id: allow() for call in watching.load(run.run_id).held()}
        again = agent.stream(None, after=run.run_id, decisions=held)
        async with anyio.create_task_group() as tasks, again:
            tasks.start_soon(watch, run.run_id, numbers.pop())
            seen = [*seen[:-1], *[event async for event in again]]
        assert merged(told) == merged(seen)
    assert numbers == [*range(1, len(told)), len(told) - 1]
    assert [event for _, event in await followed(watching, run.run_id)] == told


async def test_connections_are_cut_while_it_is_watched(
    database: str, watching: Journal, postgres: PostgresServer
) -> None:
    told: list[Event] = []
    go_on = anyio.Event()

    @tool
    async def wait() -> str:
        """Waits."""
        await go_on.wait()
        return "there"

    async def watch(run_id: str) -> None:
        async for _, event in watching.follow(run_id):
            told.append(event)
            if isinstance(event, ToolCall):
                assert postgres.end_connections() > 1
                go_on.set()

    async with world(database, [reply(tool_use("wait")), DONE], tools=[wait]) as (agent, _):
        run = agent.stream("Go.")
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks, run:
                tasks.start_soon(watch, run.run_id)
                seen = [event async for event in run]
    assert merged(told) == merged(seen)
    assert isinstance(told[-1], RunEnd)
    assert told[-1].finish == "end_turn"


async def test_the_server_goes_away_and_comes_back(
    database: str, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentkit.integrations.postgres.connections._PATIENCE", 0.2)
    watching = Journal(database)
    async with world(database, [CALLS, PAYS, DONE]) as (agent, _):
        run = agent.stream("Go.")
        seen = await live(run)
    postgres.stop()
    told = watching.follow(run.run_id)
    try:
        with pytest.raises(JournalError) as failed:
            await anext(told)
        assert failed.value.retryable
    finally:
        postgres.start()
    assert merged([event async for _, event in told]) == merged(seen)
    watching.close()
