"""`Agent(outputs=…)`: what is too long for the model is kept, and it reads on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from runs import agent_for, honest
from scripted import reply, text, tool_use

from agentkit import Agent, ConfigurationError, tool
from agentkit.tool_results import KEPT_FROM

pytestmark = pytest.mark.anyio
LOG = "".join(f"line {at}: nothing to see here\n" for at in range(1, 5001))
READ_ON = re.compile(r'read_output\(output="(\w+)", start_line=(\d+)\)')


@tool
def log() -> str:
    """A long log."""
    return LOG


def results(blocks: list[dict[str, Any]]) -> list[str]:
    """The texts of the results that the API has been sent."""
    return [block["content"] for block in blocks if block["type"] == "tool_result"]


@honest
def reads_on(blocks: list[dict[str, Any]]) -> object:
    """Asks for the log, then for what was left out of it."""
    told = results(blocks)
    if not told:
        return reply(tool_use("log"))
    found = READ_ON.search(told[0])
    assert found
    if len(told) == 1:
        return reply(tool_use("read_output", id="toolu_2", output=found[1], start_line=int(found[2])))
    return reply(text("Read."))


async def test_it_reads_on(tmp_path: Path) -> None:
    async with agent_for(reads_on, log, outputs=tmp_path / "outputs") as (agent, server):
        result = await agent.run("Read the log.")
    first, second = (call.text for call in result.tool_calls)
    assert len(first) < KEPT_FROM // 2 + 300
    head = first[: first.index("[…")]
    assert LOG.startswith(head + second.partition("\n")[2])
    names = [it["name"] for it in server.requests[0].json["tools"]]
    assert names == ["log", "read_output"]  # its place is fixed, for the sake of the prompt cache
    assert all(request.json["tools"] == server.requests[0].json["tools"] for request in server.requests)


async def test_a_run_that_goes_on_from_it_reads_it_and_so_does_another_agent(tmp_path: Path) -> None:
    folder = tmp_path / "outputs"

    @honest
    def script(blocks: list[dict[str, Any]]) -> object:
        told, asked = results(blocks), sum(block.get("text") == "Now read." for block in blocks)
        if not told:
            return reply(tool_use("log"))
        if len(told) == 1 and asked:
            name = READ_ON.search(told[0])
            assert name
            return reply(tool_use("read_output", id="toolu_2", output=name[1], start_line=5000))
        return reply(text("Done."))

    async with agent_for(script, log, outputs=folder) as (agent, _):
        first = await agent.run("Read the log.")
    async with agent_for(script, log, outputs=folder) as (agent, _):
        second = await agent.run("Now read.", after=first.dump())
    assert second.tool_calls[-1].text.endswith("this is the end]\nline 5000: nothing to see here\n")


async def test_results_for_code_errors_and_short_ones(tmp_path: Path) -> None:
    @tool(effect="read")
    async def short() -> str:
        """Short."""
        return "x" * KEPT_FROM

    async with agent_for(
        lambda request: reply(tool_use("short")) if len(request.json["messages"]) == 1 else reply(text("Done.")),
        short,
        outputs=tmp_path,
    ) as (agent, _):
        result = await agent.run("Go.")
    assert result.tool_calls[0].text == "x" * KEPT_FROM
    assert os.listdir(tmp_path) == []


async def test_tools_of_one_run_and_names_that_clash(tmp_path: Path) -> None:
    @tool
    def read_output() -> str:
        """Another."""
        return ""

    agent = Agent("claude-sonnet-4-6", outputs=tmp_path)
    tools = agent.preview("Hi", tools=[log]).body["tools"]
    assert [it["name"] for it in tools] == ["log", "read_output"]
    with pytest.raises(ConfigurationError, match="two tools have the name 'read_output'"):
        Agent("claude-sonnet-4-6", tools=[read_output], outputs=tmp_path)
    with pytest.raises(ConfigurationError, match="can't be made"):
        Agent("claude-sonnet-4-6", outputs=tmp_path / "no" / "folder")


async def test_a_full_disk_does_not_end_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "outputs"

    @honest
    def script(blocks: list[dict[str, Any]]) -> object:
        return reply(text("Done.")) if results(blocks) else reply(tool_use("log"))

    async with agent_for(script, log, outputs=folder) as (agent, _):
        folder.rmdir()
        result = await agent.run("Go.")
    assert result.finish.reason == "end_turn"
    assert result.tool_calls[0].text == LOG


async def test_a_run_goes_round_in_circles_all_the_same(tmp_path: Path) -> None:
    count = 0

    def script(request: Any) -> object:
        nonlocal count
        count += 1
        return reply(tool_use("log", id=f"toolu_{count}"))

    async with agent_for(script, log, outputs=tmp_path) as (agent, _):
        result = await agent.run("Go.")
    assert result.finish.reason == "loop"
    assert len(os.listdir(tmp_path)) == 1


async def test_a_name_is_of_one_run(tmp_path: Path) -> None:
    @honest
    def script(blocks: list[dict[str, Any]]) -> object:
        return reply(text("Done.")) if results(blocks) else reply(tool_use("log"))

    async with agent_for(script, log, outputs=tmp_path) as (agent, _):
        for run_id in ("one", "one", "two"):
            await agent.run("Go.", run_id=run_id)
    assert len(os.listdir(tmp_path)) == 2


def test_agents_without_outputs_do_not_load_it() -> None:
    code = "import sys, agentkit; agentkit.Agent('claude-sonnet-4-6'); sys.exit('agentkit.long_outputs' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
