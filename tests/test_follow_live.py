"""Runs that go on in another place while they are followed, and what can be wrong with them."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from follows import CALLS, DONE, ELSEWHERE, MODEL, Elsewhere, followed, world
from runs import nothing_leaks
from scripted import ScriptedServer, reply, text, tool_use
from trio.testing import MockClock

from agentkit import Agent, Client, Journal, tool
from agentkit.errors import ConfigurationError, JournalError
from agentkit.events import Event, RunEnd, TextDelta, ToolCall, ToolResult, TurnStart
from agentkit.lease import LEASE_SECONDS, chained

pytestmark = pytest.mark.anyio
OTHER_PROCESS = """
import asyncio, pathlib, sys, time
from agentkit import Agent, Client, tool

@tool
def wait(name: str) -> str:
    "Waits for a file."
    while not pathlib.Path(name).exists():
        time.sleep(0.01)
    return "there"

async def main() -> None:
    async with Client(base_url=sys.argv[1]) as client:
        agent = Agent("claude-sonnet-4-6", tools=[wait], client=client, journal=sys.argv[2])
        await agent.run("Go.", run_id="watched")

asyncio.run(main())
"""


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Elsewhere]:
    made = Elsewhere(tmp_path)
    yield made
    made.close()


@contextmanager
def other_process(folder: Path, script: Any) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with ScriptedServer(script) as server:
        command = [sys.executable, "-c", OTHER_PROCESS, server.url, str(folder / "runs.db")]
        with subprocess.Popen(command) as process:
            try:
                yield process, server.url
            finally:
                process.kill()


async def begun(journal: Journal, run_id: str) -> None:
    with anyio.fail_after(20):
        while not journal.has(run_id):  # noqa: ASYNC110
            await anyio.sleep(0.02)


def waiting_for(file: Path) -> list[Any]:
    return [reply(text("Let me wait."), tool_use("wait", name=str(file))), DONE]


@pytest.mark.slow
async def test_another_process_writes_while_it_is_followed(tmp_path: Path) -> None:
    file, journal = tmp_path / "file", Journal(tmp_path / "runs.db")
    told: list[Event] = []
    with other_process(tmp_path, waiting_for(file)) as (process, _):
        await begun(journal, "watched")
        with anyio.fail_after(20):
            async for _, event in journal.follow("watched"):
                told.append(event)
                if isinstance(event, ToolCall):
                    assert process.poll() is None
                    file.touch()
        assert process.wait(20) == 0
    journal.close()
    assert [event.text for event in told if isinstance(event, TextDelta)] == ["Let me wait.", "Done."]
    assert [event.outcome for event in told if isinstance(event, ToolResult)] == ["done"]
    assert isinstance(told[-1], RunEnd)
    assert (told[-1].finish, told[-1].text) == ("end_turn", "Done.")


@pytest.mark.slow
async def test_a_process_that_is_killed_is_told_of_at_once(tmp_path: Path) -> None:
    @tool
    def wait(name: str) -> str:
        """Waits for a file."""
        return "there"

    file, journal = tmp_path / "file", Journal(tmp_path / "runs.db")
    with other_process(tmp_path, waiting_for(file)) as (process, url):
        await begun(journal, "watched")
        killed, told = 0.0, []
        with anyio.fail_after(20):
            async for known in journal.follow("watched"):
                told.append(known)
                if isinstance(known[1], ToolCall):
                    process.kill()
                    process.wait(20)
                    killed = time.monotonic()
        assert time.monotonic() - killed < LEASE_SECONDS / 2  # and not only after its lease
        number, end = told[-1]
        assert isinstance(end, RunEnd)
        assert end.finish == "interrupted"
        async with Client(base_url=url) as client:
            await Agent(MODEL, tools=[wait], client=client, journal=journal).resume("watched")
        rest = [event for _, event in await followed(journal, "watched", after=number)]
    journal.close()
    assert [event.outcome for event in rest if isinstance(event, ToolResult)] == ["unknown"]
    assert isinstance(rest[-1], RunEnd)
    assert rest[-1].finish == "end_turn"


async def test_a_machine_that_is_gone_is_told_of_when_its_lease_is_over(elsewhere: Elsewhere) -> None:
    elsewhere.says(text("Hello."))
    told = elsewhere.journal.follow("there")
    seen = [(await anext(told))[1] for _ in range(4)]
    assert isinstance(seen[0], TurnStart)
    with anyio.move_on_after(0.5):
        pytest.fail(f"{await anext(told)} came while its holder has it")
    elsewhere.clock.now += LEASE_SECONDS + 1
    number, end = await anext(told)
    assert isinstance(end, RunEnd)
    assert (number, end.finish, end.text) == (4, "interrupted", "Hello.")
    for _ in range(2):
        with pytest.raises(StopAsyncIteration):
            await anext(told)


async def test_a_queued_run_is_waited_for(tmp_path: Path) -> None:
    there = Elsewhere(tmp_path, "queued")
    told: list[Event] = []

    async def follow() -> None:
        told.extend([event async for _, event in there.journal.follow("there")])

    with ScriptedServer([CALLS, DONE]) as server:
        async with nothing_leaks(server), Client(base_url=server.url) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            await anyio.sleep(0.4)
            assert told == []
            there.clock.now += 10 * LEASE_SECONDS  # nobody has it, so nobody can lose it
            await anyio.sleep(0.4)
            assert told == []
            await Agent(MODEL, client=client, journal=there.journal).resume("there")
    assert isinstance(told[-1], RunEnd)
    assert (told[-1].finish, told[-1].turns) == ("end_turn", 2)
    there.close()


async def test_another_worker_takes_a_run_of_a_queue_over(elsewhere: Elsewhere) -> None:
    elsewhere.write(detail="research")
    elsewhere.says(text("Hello."))
    told = elsewhere.journal.follow("there")
    seen = [(await anext(told))[1] for _ in range(4)]
    elsewhere.clock.now += 10 * LEASE_SECONDS  # its worker is gone
    with anyio.move_on_after(0.5):
        pytest.fail(f"{await anext(told)} came while nobody has it")
    elsewhere.write(holder=ELSEWHERE, expires=elsewhere.clock() + LEASE_SECONDS)
    elsewhere.write(state="end_turn", holder=None, detail=None)
    seen.append((await anext(told))[1])
    assert isinstance(seen[-1], RunEnd)
    assert (seen[-1].finish, seen[-1].detail) == ("end_turn", None)


@pytest.mark.parametrize("state", ["paused", "error"])
async def test_a_worker_that_puts_a_run_on_its_queue_again(state: str, elsewhere: Elsewhere) -> None:
    elsewhere.write(state=state, detail="its worker was stopped", holder=None)
    told = elsewhere.journal.follow("there")
    with anyio.move_on_after(0.1):
        pytest.fail(f"{await anext(told)} came at once")
    elsewhere.write(state="queued", detail="research")
    with anyio.move_on_after(0.5):
        pytest.fail(f"{await anext(told)} came while it is queued")
    elsewhere.write(state=state, detail="its worker was stopped")  # where it stays
    _, end = await anext(told)
    assert isinstance(end, RunEnd)
    assert (end.finish, end.detail) == (state, "its worker was stopped")


def test_how_often_the_store_is_asked(tmp_path: Path) -> None:
    there, clock = Elsewhere(tmp_path), MockClock()  # which stands still
    there.says(text("Hello."))
    told: Any = there.journal.follow("there")
    ends: list[Event] = []

    async def read_end() -> None:
        ends.append((await anext(told))[1])

    async def look_after(seconds: float) -> None:
        asked = there.store.asked["run"]
        for part in (seconds - 0.001, 0.002):
            assert there.store.asked["run"] == asked
            clock.jump(part)
            await anyio.to_thread.run_sync(time.sleep, 0.01)
        while told._looks_at <= clock.current_time():  # its thread has a time of its own
            await anyio.to_thread.run_sync(time.sleep, 0.001)
        assert there.store.asked["run"] == asked + 1

    async def main() -> None:
        for _ in range(4):
            await anext(told)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read_end)
            for seconds in (0.2, 0.3, 0.45, 0.675, 1.0, 1.0):
                await look_after(seconds)
            there.says(text("Again."))
            await look_after(1.0)
        for _ in range(3):
            await anext(told)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read_end)
            await look_after(0.2)
            there.write(state="end_turn", holder=None)
            clock.jump(1)

    anyio.run(main, backend="trio", backend_options={"clock": clock})
    assert [type(event) for event in ends] == [TurnStart, RunEnd]
    assert (there.store.asked["lines"], there.store.read) == (2, 5)
    there.close()


async def test_a_reader_may_wait_for_a_moment_at_a_time(elsewhere: Elsewhere) -> None:
    told, seen, waits = elsewhere.journal.follow("there"), [], 0
    with anyio.fail_after(10):
        while not (seen and isinstance(seen[-1], RunEnd)):
            with anyio.move_on_after(0.05) as moment:
                seen.append((await anext(told))[1])
            waits += moment.cancelled_caught
            if waits == 5 and not seen:
                elsewhere.says(text("Hello."))
                elsewhere.write(state="end_turn", holder=None)
    assert [type(event).__name__ for event in seen] == [
        "TurnStart",
        "TextDelta",
        "ContentBlockStop",
        "TurnEnd",
        "RunEnd",
    ]


async def test_a_reader_may_leave_at_any_event(tmp_path: Path) -> None:
    async with world(tmp_path, [CALLS, DONE]) as (agent, journal), nothing_leaks():
        result = await agent.run("Go.")
        for leave_at in range(1, 12):
            async for number, _ in journal.follow(result.run_id):
                if number == leave_at:
                    break


async def test_a_journal_that_was_away_for_a_moment(elsewhere: Elsewhere) -> None:
    elsewhere.says(text("Hello."))
    told = elsewhere.journal.follow("there")
    for _ in range(4):
        await anext(told)
    elsewhere.store.fails = True
    for _ in range(2):
        with pytest.raises(JournalError, match="can't be reached"):
            await anext(told)
    elsewhere.store.fails = False
    elsewhere.says(text("Again."))
    assert (await anext(told))[0] == 5


async def test_a_damaged_entry_is_named_after_what_is_before_it(tmp_path: Path) -> None:
    async with world(tmp_path, [CALLS, DONE]) as (agent, journal):
        result = await agent.run("Go.")
        whole = await followed(journal, result.run_id)
        at = len(result.dump()["entries"]) - 1  # the last reply
        with sqlite3.connect(tmp_path / "runs.db") as db:
            db.execute("UPDATE entries SET entry = x'7b7d' WHERE seq = ?", (at,))
        db.close()
        seen, told = [], journal.follow(result.run_id)
        damaged = f"entry {at} of run {result.run_id} is damaged: `agentkit runs repair"
        with pytest.raises(JournalError, match=damaged):  # noqa: PT012
            async for known in told:
                seen.append(known)
        assert len(seen) > 10
        assert seen == whole[: len(seen)]
        assert isinstance(whole[len(seen)][1], TurnStart)
        with pytest.raises(JournalError, match="is damaged"):
            await followed(journal, result.run_id, after=len(seen))
        journal.repair(result.run_id, tmp_path / "cut")
        ((_, end),) = await followed(journal, result.run_id, after=len(seen))
        assert isinstance(end, RunEnd)
        assert end.finish == "repaired"


async def test_a_first_entry_that_is_damaged(elsewhere: Elsewhere, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "runs.db") as db:
        db.execute("UPDATE entries SET digest = x'00'")
    db.close()
    with pytest.raises(JournalError, match="entry 0 of run there is damaged"):
        await followed(elsewhere.journal, "there")


@pytest.mark.parametrize("entry", [{"entry": "dream"}, {"entry": "call", "call": "9:x", "state": "started"}])
async def test_an_entry_of_a_newer_agentkit(entry: dict[str, Any], elsewhere: Elsewhere) -> None:
    elsewhere.says(text("Hello."))
    elsewhere.write(entry)
    told = elsewhere.journal.follow("there")
    for _ in range(2):  # it is not passed over
        with pytest.raises(JournalError, match=r"entry 3 of run there is not known to this agentkit .*: update it"):
            async for _ in told:
                pass


async def test_results_that_were_rescued_are_told(tmp_path: Path) -> None:
    there = Elsewhere(tmp_path)
    there.says(tool_use("add", a=1, b=2))
    there.write({"entry": "call", "call": "1:toolu_1", "state": "started"})
    ended = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "3"}
    lines = chained(
        [{"entry": "call", "call": "1:toolu_1", "state": "ended", "outcome": "done", "result": ended}], there._digest
    )
    there.store.rescue(there._row, list(lines))
    there.clock.now += LEASE_SECONDS + 1
    *_, (_, result), (_, end) = await followed(there.journal, "there")
    assert isinstance(result, ToolResult)
    assert (result.outcome, result.size, result.seconds) == ("done", 1, 0.0)
    assert isinstance(end, RunEnd)
    assert end.finish == "interrupted"
    there.close()


async def test_a_run_that_is_not_there(elsewhere: Elsewhere) -> None:
    with pytest.raises(ConfigurationError, match="there is no run 'nowhere'"):
        await followed(elsewhere.journal, "nowhere")
