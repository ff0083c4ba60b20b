"""Runs in a journal: taken up by id, in another process, and by one at a time."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio.lowlevel
import pytest
from clock import BACKENDS, LONG, jump
from journaled import Clock, Killed, WatchedStore
from runs import until
from scripted import ScriptedServer, reply, text, tool_use

from agentkit import Agent, Client, ConfigurationError, Journal, Limits, Run, RunResult, Tool, allow, deny, tool
from agentkit.errors import JournalError, LeaseLost, RunBusy
from agentkit.lease import LEASE_SECONDS, is_dead, new_holder
from agentkit.request import Request

pytestmark = pytest.mark.anyio


class Desk:
    """Effects that happened."""

    def __init__(self) -> None:
        self.paid: list[int] = []
        self.asked: list[int] = []

    def tools(self) -> list[Tool]:
        @tool
        async def pay(amount: int) -> str:
            """Pays."""
            self.paid.append(amount)
            return f"paid {amount}"

        @tool(needs_approval=True)
        async def refund(amount: int) -> str:
            """Refunds."""
            self.paid.append(-amount)
            return f"refunded {amount}"

        @tool(effect="read")
        async def look(at: int) -> str:
            """Looks."""
            self.asked.append(at)
            return "seen"

        return [pay, refund, look]


def said(*steps: object) -> Callable[[Any], object]:
    """Each step in turn, by the number of model turns in the request."""

    def answer(request: Any) -> object:
        turns = sum(message["role"] == "assistant" for message in request.json["messages"])
        return steps[turns] if turns < len(steps) else reply(text("All done."))

    return answer


@asynccontextmanager
async def serving(*steps: object) -> AsyncGenerator[Client]:
    with ScriptedServer(said(*steps)) as server:
        async with Client(base_url=server.url) as client:
            yield client


PAYS = reply(tool_use("pay", id="toolu_a", amount=1))
HELD = reply(tool_use("refund", id="toolu_r", amount=5), tool_use("pay", id="toolu_p", amount=2))


async def test_a_held_run_goes_on_tomorrow_in_another_process(tmp_path: Path) -> None:
    desk = Desk()
    async with serving(HELD) as client:
        agent = Agent("claude-sonnet-4-6", tools=desk.tools(), client=client, journal=tmp_path / "runs.db")
        held = await agent.run("Do it.")
        assert held.finish.reason == "needs_approval"
        assert desk.paid == [2]
        again = Agent("claude-sonnet-4-6", tools=desk.tools(), client=client, journal=tmp_path / "runs.db")
        with pytest.raises(ConfigurationError, match="no call '9:x' waits"):
            await again.resume(held.run_id, decisions={"9:x": allow()})
        result = await again.resume(held.run_id, decisions={held.pending[0].call_id: allow()})
    assert (result.text, result.run_id, desk.paid) == ("All done.", held.run_id, [2, -5])
    with pytest.raises(RunBusy, match="has gone on since it was read"):
        await agent.resume(held, decisions={held.pending[0].call_id: deny()})
    assert desk.paid == [2, -5]
    journal = Journal(tmp_path / "runs.db")
    assert journal.load(result.run_id).entries == result.dump()["entries"]
    row = journal.run(result.run_id)
    assert (row.state, row.title, row.model, row.holder) == ("end_turn", "Do it.", "claude-sonnet-4-6", None)
    assert [row.run_id for row in journal.runs()] == [result.run_id]
    journal.close()


async def test_a_conversation_branches_and_shares_its_beginning(tmp_path: Path) -> None:
    async with serving(PAYS, reply(text("One.")), reply(text("Two.")), reply(text("Three."))) as client:
        journal = Journal(tmp_path / "runs.db")
        agent = Agent("claude-sonnet-4-6", tools=Desk().tools(), client=client, journal=journal)
        first = await agent.run("First")
        left = await agent.run("Left", after=first.run_id)
        right = await agent.run("Right", after=first)
        last = await agent.run("More", after=left.run_id)
    assert [result.text for result in (first, left, right, last)] == ["One.", "Two.", "Two.", "Three."]
    shared = len(first.dump()["entries"])
    for result, parent, length in ((first, None, 0), (left, first, shared), (right, first, shared)):
        row = journal.run(result.run_id)
        assert (row.parent, row.parent_length) == (parent and parent.run_id, length)
    for result in (first, left, right, last):
        assert journal.load(result.run_id).entries == result.dump()["entries"]
        assert journal.load(result.run_id).messages() == result.messages
    with sqlite3.connect(tmp_path / "runs.db") as db:
        rows = db.execute("SELECT count(*) FROM entries").fetchone()[0]
    db.close()
    assert rows == shared + 3 * (len(left.dump()["entries"]) - shared)
    journal.close()


async def test_what_was_kept_elsewhere_is_taken_in_whole(tmp_path: Path) -> None:
    async with serving(PAYS) as client:
        first = await Agent("claude-sonnet-4-6", tools=Desk().tools(), client=client).run("First")
        journal = Journal(tmp_path / "runs.db")
        agent = Agent("claude-sonnet-4-6", tools=Desk().tools(), client=client, journal=journal)
        for earlier in (first, json.loads(json.dumps(first.dump()))):
            result = await agent.run("More", after=earlier)
            assert journal.run(result.run_id).parent is None
            assert journal.load(result.run_id).entries == result.dump()["entries"]
        other = Journal(tmp_path / "other.db")
        moved = Agent("claude-sonnet-4-6", tools=Desk().tools(), client=client, journal=other)
        again = await moved.run("And more", after=result)
        assert other.load(again.run_id).entries == again.dump()["entries"]
    journal.close()
    other.close()


async def test_an_effect_costs_two_syncs_and_a_read_none(tmp_path: Path) -> None:
    reads = reply(*(tool_use("look", id=f"toolu_{n}", at=n) for n in range(5)))
    pays = reply(*(tool_use("pay", id=f"toolu_{n}", amount=n) for n in range(8)))
    for turn, most in ((reads, 0), (PAYS, 2), (pays, 16)):
        store = WatchedStore(tmp_path)
        async with serving(turn) as client:
            agent = Agent("claude-sonnet-4-6", tools=Desk().tools(), client=client, journal=store.journal(Clock()))
            assert (await agent.run("Do it.")).text == "All done."
        synced = sum(durable for durable, _ in store.writes)
        assert synced <= most + 1  # and one for the end of the run
        store.close()


async def test_the_home_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTKIT_HOME", str(tmp_path / "home"))
    async with serving() as client:
        result = await Agent("claude-sonnet-4-6", client=client).run("Hi.")
        assert (await Agent("claude-sonnet-4-6", client=client).run("More", after=result.run_id)).turns == 1
    assert (tmp_path / "home" / "runs.db").exists()
    monkeypatch.delenv("AGENTKIT_HOME")
    with pytest.raises(ConfigurationError, match="a run id needs a journal"):
        await Agent("claude-sonnet-4-6", client=client).resume(result.run_id)
    with pytest.raises(ConfigurationError, match="there is no run 'run_9' in the journal"):
        await Agent("claude-sonnet-4-6", client=client, journal=tmp_path / "home" / "runs.db").resume("run_9")


async def test_from_a_thread_without_an_event_loop(tmp_path: Path) -> None:
    async with serving(PAYS) as client:
        agent = Agent("claude-sonnet-4-6", tools=Desk().tools(), client=client, journal=tmp_path / "runs.db")
        first = await anyio.to_thread.run_sync(lambda: agent.run_sync("Do it."))
        agent.close()
        assert (await agent.run("More", after=first.run_id)).text == "All done."


async def test_C14_one_of_two_goes_on(tmp_path: Path) -> None:
    desk = Desk()
    async with serving(HELD) as client:
        path = tmp_path / "runs.db"
        held = await Agent("claude-sonnet-4-6", tools=desk.tools(), client=client, journal=path).run("Do it.")
        ended: list[RunResult] = []
        refused: list[Exception] = []

        async def resume() -> None:
            agent = Agent("claude-sonnet-4-6", tools=desk.tools(), client=client, journal=path)
            try:
                ended.append(await agent.resume(held.run_id, decisions={held.pending[0].call_id: allow()}))
            except (RunBusy, ConfigurationError) as error:  # who comes when the call has run: nothing waits
                refused.append(error)

        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(resume)
    assert (len(ended), len(refused)) == (1, 3)
    assert desk.paid == [2, -5]


async def test_C14_who_lost_the_run_starts_no_effect(tmp_path: Path) -> None:
    clock, desk = Clock(), Desk()
    store = WatchedStore(tmp_path)

    async def to_the_end(run: Run) -> None:
        async for event in run:
            if event.type == "turn_end":
                stolen()

    def stolen() -> None:
        clock.now += LEASE_SECONDS + 1
        other = Journal(tmp_path / "runs.db", clock=clock)
        transcript = other.load(run.run_id)
        transcript.begin(run.run_id, None)
        other._take_up(transcript, new_holder())
        other.close()

    async with serving(PAYS) as client:
        agent = Agent("claude-sonnet-4-6", tools=desk.tools(), client=client, journal=store.journal(clock))
        async with agent.stream("Do it.") as run:
            with pytest.raises(LeaseLost, match="taken over run") as caught:
                await to_the_end(run)
    assert desk.paid == []
    assert caught.value.result is run.result
    assert run.result.finish.reason == "error"
    assert run.result.tool_calls[0].outcome == "not_run"
    store.close()


async def test_C15_a_result_that_comes_too_late_is_kept_beside_the_run(tmp_path: Path) -> None:
    clock = Clock()

    @tool
    async def slow() -> str:
        """Takes its time."""
        clock.now += LEASE_SECONDS + 1
        other = Journal(tmp_path / "runs.db", clock=clock)
        transcript = other.load(run.run_id)
        transcript.begin(run.run_id, None)
        await other.take_up(transcript)
        other.close()
        return "done after all"

    async with serving(reply(tool_use("slow", id="toolu_a"))) as client:
        journal = Journal(tmp_path / "runs.db", clock=clock)
        agent = Agent("claude-sonnet-4-6", tools=[slow], client=client, journal=journal)
        async with agent.stream("Do it.") as run:
            with pytest.raises(LeaseLost):
                async for _ in run:
                    pass
    (late,) = journal.orphans(run.run_id)
    assert (late["call"], late["outcome"], late["result"]["content"]) == ("1:toolu_a", "done", "done after all")
    assert all(entry.get("state") != "ended" for entry in journal.load(run.run_id).entries)
    journal.close()


async def test_C17_no_effect_without_its_intent(tmp_path: Path) -> None:
    desk, store = Desk(), WatchedStore(tmp_path)
    store.fails = lambda durable, lines: any(b'"started"' in entry for entry, _ in lines)
    async with serving(HELD) as client:
        agent = Agent("claude-sonnet-4-6", tools=desk.tools(), client=client, journal=store.journal(Clock()))
        with pytest.raises(JournalError, match="disk is full") as caught:
            await agent.run("Do it.")
    assert desk.paid == []
    result = caught.value.result
    assert [(call.name, call.outcome) for call in result.tool_calls] == [("refund", None), ("pay", "not_run")]
    assert len(result.dump()["entries"]) > len(Journal(tmp_path / "runs.db").load(result.run_id).entries)
    store.close()


async def test_C18_a_result_is_tried_for_a_while(tmp_path: Path) -> None:
    desk, store = Desk(), WatchedStore(tmp_path)
    failed: list[int] = []

    def fails(durable: bool, lines: Any) -> bool:
        if len(failed) < 3 and any(b'"ended"' in entry for entry, _ in lines):
            failed.append(1)
            return True
        return False

    store.fails = fails
    async with serving(PAYS) as client:
        agent = Agent("claude-sonnet-4-6", tools=desk.tools(), client=client, journal=store.journal(Clock()))
        result = await agent.run("Do it.")
    assert (result.text, desk.paid, len(failed)) == ("All done.", [1], 3)
    store.close()


async def test_C19_a_damaged_entry_is_named(tmp_path: Path) -> None:
    async with serving(PAYS) as client:
        path = tmp_path / "runs.db"
        result = await Agent("claude-sonnet-4-6", tools=Desk().tools(), client=client, journal=path).run("Do it.")
        with sqlite3.connect(path) as db:
            rows = db.execute("SELECT seq, entry FROM entries").fetchall()
            ((seq, entry),) = [row for row in rows if b"paid 1" in row[1]]
            db.execute("UPDATE entries SET entry = ? WHERE seq = ?", (entry.replace(b"paid 1", b"paid 9"), seq))
        db.close()
        with pytest.raises(JournalError, match=f"entry {seq} of run {result.run_id} is damaged"):
            await Agent("claude-sonnet-4-6", client=client, journal=path).resume(result.run_id)


async def test_the_lease_is_renewed_while_a_tool_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentkit.run.RENEWED_EVERY", 0.01)
    store, clock = WatchedStore(tmp_path), Clock()

    @tool
    async def slow() -> str:
        """Takes its time."""
        clock.now += 100
        for _ in range(1000):
            await anyio.sleep(0.005)
            if store.run(store.runs(1)[0].run_id).expires > clock.now:
                return "done"
        raise AssertionError("the lease ran out")

    async with serving(reply(tool_use("slow", id="toolu_a"))) as client:
        agent = Agent("claude-sonnet-4-6", tools=[slow], client=client, journal=store.journal(clock))
        assert (await agent.run("Do it.")).text == "All done."
    store.close()


async def test_a_dead_process_of_this_machine_is_no_holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    async with serving(PAYS) as client:
        store = WatchedStore(tmp_path, kill_at=3)
        journal = store.journal(Clock())
        monkeypatch.setattr("agentkit.lease.release_holder", lambda holder: None)  # a dead process forgets nothing
        agent = Agent("claude-sonnet-4-6", tools=desk.tools(), client=client, journal=journal)
        with pytest.raises((Killed, BaseExceptionGroup)):
            await agent.run("Do it.")
        store.close()
        other = Journal(tmp_path / "runs.db", clock=Clock())
        again = Agent("claude-sonnet-4-6", tools=desk.tools(), client=client, journal=other)
        (row,) = other.runs()
        assert row.state == "running"
        assert other.interrupted() == []  # this process holds it
        with pytest.raises(RunBusy, match="goes on in another place"):
            await again.resume(row.run_id)
        with pytest.raises(RunBusy, match="goes on in another place"):
            await again.run("And more.", after=row.run_id)
        monkeypatch.setattr("agentkit.lease._holders", set())  # its process id was ours, before us
        assert other.interrupted() == [row]
        assert (await again.resume(row.run_id)).text == "All done."
        other.close()


def test_which_holder_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = new_holder()
    host, pid, _ = ours.rsplit(":", 2)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert is_dead(f"{host}:{ended.pid}:aa")
    assert is_dead(f"{host}:{pid}:aa")
    for holder in (ours, f"elsewhere:{ended.pid}:aa", f"{host}:{os.getppid()}:aa", f"{host}:1:aa", None):
        assert not is_dead(holder), holder
    monkeypatch.setattr("agentkit.lease.this_machine", lambda: "here/2")  # another world of process ids
    assert not is_dead(f"here/1:{ended.pid}:aa")
    monkeypatch.undo()
    monkeypatch.setattr("agentkit.lease.os.name", "nt")
    assert not is_dead(f"{host}:{ended.pid}:aa")


async def test_C24_a_question_that_comes_twice_is_asked_once(tmp_path: Path) -> None:
    desk = Desk()
    async with serving(PAYS) as client:
        agent = Agent("claude-sonnet-4-6", tools=desk.tools(), client=client, journal=tmp_path / "runs.db")
        first = await agent.run("Do it.", run_id="order-17")
        again = await agent.run("Do it.", run_id="order-17")
        assert (first.run_id, again.run_id, again.text, desk.paid) == ("order-17", "order-17", "All done.", [1])
        with pytest.raises(ConfigurationError, match="run 'order-17' has begun with another question"):
            await agent.run("Do something else.", run_id="order-17")
        other = await Agent("claude-sonnet-4-6", tools=desk.tools(), client=client).run("Do it.", run_id="order-17")
        assert (other.run_id, desk.paid) == ("order-17", [1, 1])


@BACKENDS
async def test_a_lease_that_can_not_be_renewed_leaves_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentkit.run.RENEWED_EVERY", 0.01)
    store, clock = WatchedStore(tmp_path), Clock()
    failed: list[bool] = []

    def fails(durable: bool, lines: Any) -> bool:
        failed.append(not durable and not lines and len(failed) < 9)
        return failed[-1]

    @tool
    async def slow() -> str:
        """Takes its time."""
        store.fails = fails
        await until(lambda: any(failed))
        jump()
        await anyio.sleep(30)
        return "done"

    async with serving(reply(tool_use("slow", id="toolu_a"))) as client:
        agent = Agent("claude-sonnet-4-6", tools=[slow], client=client, journal=store.journal(clock))
        result = await agent.run("Do it.", limits=Limits(max_seconds=LONG))
    assert (result.finish.reason, any(failed)) == ("max_seconds", True)
    store.close()


async def test_a_process_that_was_stopped_looks_before_it_starts_an_effect(tmp_path: Path) -> None:
    desk, clock = Desk(), Clock()
    store = WatchedStore(tmp_path)

    def stopped(durable: bool, lines: Any) -> bool:
        if any(b'"started"' in entry for entry, _ in lines) and clock.now < 1_000_010:
            store.fails = lambda durable, lines: False
            transcript_row = store.runs(1)[0]
            append = store._store.append

            def and_then_taken(row: Any, lines: Any, *, durable: bool) -> None:
                append(row, lines, durable=durable)
                store._store.append = append  # type: ignore[method-assign]
                clock.now += LEASE_SECONDS + 1
                other = Journal(tmp_path / "runs.db", clock=clock)
                transcript = other.load(transcript_row.run_id)
                transcript.begin(transcript_row.run_id, None)
                other._take_up(transcript, new_holder())
                other.close()

            store._store.append = and_then_taken  # type: ignore[method-assign]
        return False

    store.fails = stopped
    async with serving(PAYS) as client:
        agent = Agent("claude-sonnet-4-6", tools=desk.tools(), client=client, journal=store.journal(clock))
        with pytest.raises(LeaseLost):
            await agent.run("Do it.")
    assert desk.paid == []
    store.close()


async def test_a_run_whose_task_is_cancelled_by_asyncio_is_given_back(tmp_path: Path, anyio_backend_name: str) -> None:
    if anyio_backend_name != "asyncio":
        pytest.skip("trio has one kind of cancellation")
    entered = anyio.Event()

    @tool
    async def slow() -> str:
        """Takes its time."""
        entered.set()
        await anyio.sleep(60)
        return "never"

    async with serving(reply(tool_use("slow", id="toolu_a"))) as client:
        journal = Journal(tmp_path / "runs.db")
        agent = Agent("claude-sonnet-4-6", tools=[slow], client=client, journal=journal)
        task = asyncio.ensure_future(agent.run("Do it."))
        await entered.wait()
        for _ in range(6):  # whoever cancels is impatient
            task.cancel()
            await anyio.lowlevel.checkpoint()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: journal.runs()[0].holder is None)
        (row,) = journal.runs()
        assert (row.state, row.holder) == ("cancelled", None)
        assert journal.load(row.run_id).calls["1:toolu_a"].outcome == "cancelled"
    journal.close()


async def test_what_was_sent_is_kept_once_and_without_secrets(tmp_path: Path) -> None:
    server = {"type": "url", "name": "m", "url": "https://u:pw@mcp.test", "authorization_token": "tok-secret"}
    async with serving(PAYS) as client:
        journal = Journal(tmp_path / "runs.db")
        options: Any = {"client": client, "journal": journal, "mcp_servers": [server], "extra_headers": {"x-a": "hush"}}
        tools = [*Desk().tools(), {"type": "mcp_toolset", "mcp_server_name": "m"}]
        agent = Agent("claude-sonnet-4-6", tools=tools, system="Be kind.", **options)
        first = await agent.run("Do it.")
        second = await agent.run("More.", after=first.run_id)
        other = await Agent("claude-sonnet-4-6", tools=tools, system="Be brief.", **options).run(
            "More.", after=second.run_id
        )
    entries = journal.load(other.run_id).entries
    kept = [entry["sends"] for entry in entries if "sends" in entry]
    assert [one["system"] for one in kept] == ["Be kind.", "Be brief."]
    assert [tool.get("name") for tool in kept[0]["tools"]][:3] == ["pay", "refund", "look"]
    assert Request.recalled("claude-sonnet-4-6", kept[0]).kept() == kept[0]
    written = json.dumps(entries)
    assert not any(secret in written for secret in ("tok-secret", "pw@", "hush"))
    journal.close()
