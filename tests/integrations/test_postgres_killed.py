"""Clients that are killed, and processes that race for the same runs and sessions, on PostgreSQL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from typing import Any

import anyio
import pytest
from runs import agent_for
from scripted import ScriptedServer, reply, text, tool_use
from test_store import RUN, line

from agentkit import Journal, RunContext, tool

postgres_integration = pytest.importorskip("agentkit.integrations.postgres", exc_type=ImportError)

pytestmark = pytest.mark.slow

PAYS = reply(tool_use("pay", id="toolu_a", amount=1))
DONE = reply(text("All done."))

_WORKER = """
import os, sys
from agentkit import Agent, Client, Journal, tool
from agentkit.integrations.postgres import PostgresStore

@tool(transactional=sys.argv[3] == "transactional")
def pay(amount: int) -> str:
    print("paid", flush=True)
    os.kill(os.getpid(), 9)

async def main():
    async with Client(base_url=sys.argv[2], api_key="k") as client:
        agent = Agent("claude-sonnet-4-6", tools=[pay], client=client, journal=Journal(PostgresStore(sys.argv[1])))
        await agent.run("Pay.", run_id="run_1")

import anyio
anyio.run(main)
"""


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize(("kind", "outcome"), [("plain", "unknown"), ("transactional", "done")])
async def test_a_client_that_is_killed_in_a_call(database: str, kind: str, outcome: str) -> None:
    with ScriptedServer([PAYS]) as server:
        command = [sys.executable, "-c", _WORKER, database, server.url, kind]
        died = await anyio.run_process(command, check=False, env={**os.environ, "PYTHONWARNINGS": "default"})
    assert (died.returncode, died.stdout) == (-signal.SIGKILL, b"paid\n"), died.stderr
    paid: list[int] = []

    @tool(transactional=kind == "transactional")
    def pay(ctx: RunContext[Any], amount: int) -> str:
        """Pays."""
        paid.append(amount)
        return f"paid {amount}"

    journal = Journal(postgres_integration.PostgresStore(database))
    async with agent_for([DONE], pay, journal=journal) as (agent, _):
        result = await agent.resume("run_1")  # at once: the holder is known to be dead
    assert result.text == "All done."
    assert [call.outcome for call in result.tool_calls] == [outcome]
    assert paid == [1] * (kind == "transactional")
    journal.close()


_RACER = """
import sys
from dataclasses import replace
from agentkit.errors import RunBusy
from agentkit.integrations.postgres import PostgresStore
from agentkit.store import RunRow
import json

store = PostgresStore(sys.argv[1])
rows = [RunRow(**row) for row in json.loads(sys.argv[2])]
print("ready", flush=True)
sys.stdin.readline()
for row in rows:
    try:
        print(store.claim(replace(row, holder=sys.argv[3]), [(b"{}", sys.argv[3].encode())]))
    except RunBusy:
        print("busy")
store.close()
"""


@pytest.mark.slow
def test_C14_C16_two_processes_race_for_runs_and_sessions(database: str) -> None:
    store = postgres_integration.PostgresStore(database)
    rows = []
    for number in range(20):
        resting = replace(RUN, run_id=f"resting_{number}", holder=None)
        store.claim(resting, [line(0)])
        rows.append(replace(resting, length=1))
        rows.append(replace(RUN, run_id="{}" + f"_{number}", session=f"session_{number}"))
    racers = []
    for name in ("left:1", "right:2"):
        named = [asdict(replace(row, run_id=row.run_id.format(name))) for row in rows]
        command = [sys.executable, "-c", _RACER, database, json.dumps(named), name]
        racers.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    for racer in racers:
        assert racer.stdout
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("go\n")
        racer.stdin.flush()
    outcomes = [racer.communicate(timeout=60)[0].split() for racer in racers]
    for left, right, row in zip(*outcomes, rows, strict=True):
        assert sorted([left, right]) == ["1" if row.session else "2", "busy"]
    for number in range(20):
        assert len(store.lines(f"resting_{number}", 0, 9)) == 2
    store.close()
