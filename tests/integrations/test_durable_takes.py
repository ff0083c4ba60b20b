"""How often a run was taken up in vain is read off its log: what goes on is not given up."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agentkit import tool
from agentkit.journal import Journal
from agentkit.loop import begin

pytest.importorskip("dbos", reason="DBOS is not installed", exc_type=ImportError)

from durable_runs import agent_at, answer
from scripted import ScriptedServer

from agentkit.integrations.durable.takes import deaths_of, failures_of, replies_of_takes

pytestmark = pytest.mark.anyio


@tool
def pay() -> str:
    """Pays."""
    return "paid"


def again(journal: Journal, run_id: str) -> None:
    """One more log entry of a run that was queued or taken up."""
    transcript = journal.load(run_id)
    begin(transcript, run_id, None, asks=transcript.asked)
    journal.enqueue(transcript, "research")


async def test_deaths_and_failures_in_a_row(tmp_path: Path) -> None:
    place = tmp_path / "runs.db"
    with ScriptedServer(answer) as server:
        async with agent_at(server.url, str(place), pay) as agent:
            assert agent.journal
            run_id = (await agent.run("Pay.")).run_id
            assert replies_of_takes(agent.journal.load(run_id).entries) == [0, 2]
            # It got two replies: who died with it then does not count.
            assert [deaths_of(agent.journal, run_id, takes) for takes in (0, 1, 2, 9)] == [0, 1, 0, 0]
            assert failures_of(agent.journal, run_id, 7) == 1
            for times in (1, 2, 3):
                again(agent.journal, run_id)
                assert deaths_of(agent.journal, run_id, 9) == times
            assert deaths_of(agent.journal, run_id, 2) == 2
            assert failures_of(agent.journal, run_id, 4) == 5
            heard = (await agent.run("Heard?")).run_id
            assert replies_of_takes(agent.journal.load(heard).entries) == [0, 1]
            assert (deaths_of(agent.journal, heard, 9), failures_of(agent.journal, heard, 4)) == (2, 1)
            with closing(sqlite3.connect(place)) as db, db:
                db.execute("UPDATE entries SET entry = x'7b7d' WHERE run_id = ?", [run_id])
            assert deaths_of(agent.journal, run_id, 9) == 0
