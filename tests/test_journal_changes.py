"""Runs in a journal that are forked, ended and put right without an agent."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from journaled import Clock
from logs import asked
from scripted import ScriptedServer, reply, text, tool_use

from agentkit import Agent, Client, ConfigurationError, Journal, allow, tool
from agentkit.errors import JournalError, RunBusy
from agentkit.lease import release_holder

pytestmark = pytest.mark.anyio

CALLS = [
    reply(text("One."), tool_use("pay", id="toolu_a", amount=1)),
    reply(text("Two."), tool_use("pay", id="toolu_b", amount=2)),
    reply(text("Three."), tool_use("refund", id="toolu_c", amount=3), tool_use("pay", id="toolu_d", amount=4)),
]


@asynccontextmanager
async def paying(path: Path, paid: list[int]) -> AsyncGenerator[Agent]:
    """An agent that pays three times, and asks before it refunds."""

    @tool
    async def pay(amount: int) -> str:
        """Pays."""
        paid.append(amount)
        return f"paid {amount}"

    @tool(needs_approval=True)
    async def refund(amount: int) -> str:
        """Refunds."""
        paid.append(-amount)
        return f"refunded {amount}"

    def said(request: Any) -> object:
        turns = sum(message["role"] == "assistant" for message in request.json["messages"])
        return CALLS[turns] if turns < len(CALLS) else reply(text("All done."))

    with ScriptedServer(said) as server:
        async with Client(base_url=server.url) as client:
            yield Agent("claude-sonnet-4-6", tools=[pay, refund], client=client, journal=path)


def outcomes(journal: Journal, run_id: str) -> dict[str, str]:
    entries = journal.load(run_id).entries
    return {entry["call"]: entry["outcome"] for entry in entries if entry.get("state") == "ended"}


def damage(path: Path, part: bytes) -> int:
    """Changes a letter in the one entry that has this part."""
    with sqlite3.connect(path) as db:
        rows = db.execute("SELECT rowid, seq, entry FROM entries").fetchall()
        ((rowid, seq, entry),) = [row for row in rows if part in row[2]]
        db.execute("UPDATE entries SET entry = ? WHERE rowid = ?", (entry.replace(part, part[:-1] + b"?"), rowid))
    db.close()
    return int(seq)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


async def test_a_fork_shares_what_came_before_its_turn(path: Path) -> None:
    paid: list[int] = []
    async with paying(path, paid) as agent:
        held = await agent.run("Do it.")
        assert paid == [1, 2, 4]
        journal = Journal(path)
        made = journal.fork(held.run_id, 2)
        row = journal.run(made)
        assert (row.state, row.detail, row.holder) == ("forked", f"before turn 2 of run {held.run_id}", None)
        assert (row.parent, row.title) == (held.run_id, "Do it.")
        shared = journal.load(held.run_id).entries[: row.parent_length]
        assert journal.load(made).entries[:-1] == shared
        assert outcomes(journal, made) == {"1:toolu_a": "done"}
        assert journal.load(made).turns == 1
        assert journal.interrupted() == []
        result = await agent.resume(made)
        assert (result.finish.reason, paid) == ("needs_approval", [1, 2, 4, 2, 4])
        assert [entry["call"] for entry in journal.load(held.run_id).entries if entry.get("state") == "held"] == [
            "3:toolu_c"
        ]
        journal.close()


async def test_a_fork_at_the_first_turn_has_the_question_alone(path: Path) -> None:
    async with paying(path, []) as agent:
        held = await agent.run("Do it.")
        journal = Journal(path)
        made = journal.fork(held.run_id, 1)
        assert [entry["entry"] for entry in journal.load(made).entries] == ["run", "turn", "run"]
        for turn, said in ((0, "no turn 0: it has turns 1 to 3"), (4, "no turn 4")):
            with pytest.raises(ConfigurationError, match=said):
                journal.fork(held.run_id, turn)
        with pytest.raises(ConfigurationError, match="has no turn 1: it has no model turn yet"):
            journal.fork(made, 1)
        journal.close()


async def test_what_waits_is_ended_by_cancel(path: Path) -> None:
    paid: list[int] = []
    async with paying(path, paid) as agent:
        held = await agent.run("Do it.")
        journal = Journal(path)
        journal.cancel(held.run_id)
        assert journal.run(held.run_id).state == "cancelled"
        assert outcomes(journal, held.run_id)["3:toolu_c"] == "not_run"
        assert journal.load(held.run_id).held() == []
        with pytest.raises(ConfigurationError, match=r"has ended \(cancelled\): there is nothing to cancel"):
            journal.cancel(held.run_id)
        with pytest.raises(ConfigurationError, match="no call '3:toolu_c' waits"):
            await agent.resume(held.run_id, decisions={"3:toolu_c": allow()})
        assert (await agent.run("And now?", after=held.run_id)).text == "All done."
        assert paid == [1, 2, 4]
        journal.close()


async def test_cancel_says_that_the_outcome_of_what_had_begun_is_unknown(path: Path) -> None:
    clock = Clock()
    async with paying(path, []) as agent:
        held = await agent.run("Do it.")
        journal = Journal(path, clock=clock)
        transcript = journal.load(held.run_id)
        transcript.begin(held.run_id, None)
        transcript.decide("3:toolu_c", allow())
        transcript.start(transcript.calls["3:toolu_c"])
        await journal.take_up(transcript)
        other = Journal(path, clock=clock)
        with pytest.raises(RunBusy, match="goes on in another place"):
            other.cancel(held.run_id)
        assert other.is_live(other.run(held.run_id))
        clock.now += 60
        assert not other.is_live(other.run(held.run_id))
        other.cancel(held.run_id)
        assert outcomes(other, held.run_id)["3:toolu_c"] == "unknown"
        other.close()
        journal.close()


@pytest.mark.parametrize("turn", [1, 2, 3])
async def test_a_damaged_run_is_cut_and_goes_on(path: Path, tmp_path: Path, turn: int) -> None:
    """At a turn: what it said is gone, and the model is asked again. What is cut is kept."""
    paid: list[int] = []
    async with paying(path, paid) as agent:
        held = await agent.run("Do it.")
        length = len(held.dump()["entries"])
        at = damage(path, (b"One.", b"Two.", b"Three.")[turn - 1])
        journal, keep = Journal(path), tmp_path / "cut.jsonl"
        assert journal.repair(held.run_id, keep) == length - at
        lines = keep.read_bytes().splitlines()
        assert len(lines) == length - at
        assert json.loads(lines[1]) == held.dump()["entries"][at + 1]
        row = journal.run(held.run_id)
        assert (row.state, row.detail, row.length) == ("repaired", f"cut before entry {at}", at + 1)
        assert journal.load(held.run_id).entries[:-1] == held.dump()["entries"][:at]
        assert (await agent.resume(held.run_id)).finish.reason == "needs_approval"
        with pytest.raises(RunBusy):
            await agent.resume(held)
        journal.close()


async def test_a_call_that_may_have_gone_on_in_what_is_cut_ends_as_unknown(path: Path, tmp_path: Path) -> None:
    paid: list[int] = []
    async with paying(path, paid) as agent:
        held = await agent.run("Do it.")
        damage(path, b"paid 2")
        journal = Journal(path)
        journal.repair(held.run_id, tmp_path / "cut.jsonl")
        assert outcomes(journal, held.run_id) == {"1:toolu_a": "done", "2:toolu_b": "unknown"}
        await agent.resume(held.run_id)
        assert paid.count(2) == 1
        journal.close()


async def test_what_repair_refuses(path: Path, tmp_path: Path) -> None:
    async with paying(path, []) as agent:
        held = await agent.run("Do it.")
        journal, keep = Journal(path), tmp_path / "cut.jsonl"
        forked = journal.fork(held.run_id, 3)
        with pytest.raises(ConfigurationError, match=f"no entry of run {held.run_id} is damaged"):
            journal.repair(held.run_id, keep)
        damage(path, b"Two.")
        with pytest.raises(JournalError, match=f"the damage is in run {held.run_id}, that it goes on from"):
            journal.repair(forked, keep)
        keep.write_text("mine")
        with pytest.raises(ConfigurationError, match="name a new file for what is cut"):
            journal.repair(held.run_id, keep)
        assert keep.read_text() == "mine"
        with pytest.raises(JournalError, match="is damaged"):
            journal.load(held.run_id)
        journal.repair(held.run_id, tmp_path / "other.jsonl")
        journal.load(held.run_id)
        with pytest.raises(JournalError, match="is damaged"):
            journal.load(forked)  # whose beginning is gone
        damage(path, b"Do it.")
        with pytest.raises(JournalError, match="the damage is its first entry"):
            journal.repair(held.run_id, tmp_path / "third.jsonl")
        journal.close()


async def test_a_missing_end_is_damage(path: Path, tmp_path: Path) -> None:
    async with paying(path, []) as agent:
        held = await agent.run("Do it.")
        with sqlite3.connect(path) as db:
            db.execute("DELETE FROM entries WHERE seq >= 4")
        db.close()
        journal = Journal(path)
        with pytest.raises(JournalError, match=r"entry 4 of run \w+ is damaged"):
            journal.load(held.run_id)
        journal.repair(held.run_id, tmp_path / "cut.jsonl")
        assert len(journal.load(held.run_id).entries) > 4
        journal.close()


async def test_a_dump_of_a_run_in_the_journal_goes_on_there(path: Path) -> None:
    async with paying(path, []) as agent:
        held = await agent.run("Do it.")
        dump = json.loads(json.dumps(held.dump()))
        result = await agent.resume(dump, decisions={"3:toolu_c": allow()})
        journal = Journal(path)
        assert journal.load(held.run_id).entries == result.dump()["entries"]
        with pytest.raises(RunBusy, match="has gone on since it was read"):
            await agent.resume(dump)
        journal.close()


async def test_a_run_that_is_put_on_a_queue_is_of_that_queue_until_its_end(path: Path) -> None:
    journal = Journal(path)
    assert journal.enqueue(asked("Do it."), "mail", "talk") == 1
    row = journal.run("run_1")
    assert (row.state, row.detail, row.session, row.holder) == ("queued", "mail", "talk", None)
    for _ in range(2):  # the second time from a worker that is gone
        lease = await journal.take_up(journal.load("run_1"))
        row = journal.run("run_1")
        assert (row.state, row.detail, row.session) == ("running", "mail", "talk")
        release_holder(row.holder)
    await lease.release("needs_approval", "one call waits")
    lease = await journal.take_up(journal.load("run_1"))
    assert (journal.run("run_1").state, journal.run("run_1").detail) == ("running", None)
    await lease.release("end_turn", None)
    journal.close()
