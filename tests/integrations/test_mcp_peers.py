"""Real MCP servers of others: listed, called, and gone at the end."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import anyio
import pytest
from tool_runs import Run

from agentkit import Tool, ToolError
from agentkit.rules.body import check_body

pytest.importorskip("mcp", reason="needs the extra mcp")

from mcp_peers import program

from agentkit.integrations.mcp import ServerTools, mcp_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore:Async generator 'httpx2:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Async generator 'httpcore2:ResourceWarning"),
]
SECONDS = 90  # to start: the machine may be busy


def by_name(tools: ServerTools) -> dict[str, Tool]:
    """The tools by the server's names; the API takes them."""
    body = {
        "model": "claude-sonnet-4-6",
        "max_tokens": 10,
        "messages": [{"role": "user", "content": "x"}],
        "tools": [tool.definition for tool in tools],
    }
    assert list(check_body(json.loads(json.dumps(body)), None)) == []
    assert tools.disabled == {}
    return {tool.name.partition("__")[2]: tool for tool in tools}


@pytest.mark.anyio
async def test_time() -> None:
    command = [program("mcp-server-time"), "--local-timezone", "UTC"]
    async with mcp_server(command, name="time", connect_timeout=SECONDS) as tools:
        found = by_name(tools)
        assert found.keys() == {"get_current_time", "convert_time"}
        answer = await Run()(found["get_current_time"], timezone="Europe/Warsaw")
        assert "Europe/Warsaw" in str(answer)
        with pytest.raises(ToolError):
            await Run()(found["get_current_time"], timezone="Nowhere/None")


@pytest.mark.anyio
async def test_git(tmp_path: Path) -> None:
    await anyio.run_process(["git", "init", "-q", str(tmp_path)])
    (tmp_path / "a.txt").write_text("hello")
    command = [program("mcp-server-git"), "--repository", str(tmp_path)]
    async with mcp_server(command, name="git", connect_timeout=SECONDS, effects={"git_status": "read"}) as tools:
        found = by_name(tools)
        assert len(found) >= 12
        assert found["git_status"].is_read
        assert "a.txt" in str(await Run()(found["git_status"], repo_path=str(tmp_path)))
        await Run()(found["git_add"], repo_path=str(tmp_path), files=["a.txt"])
        assert "new file" in str(await Run()(found["git_status"], repo_path=str(tmp_path)))


@pytest.mark.anyio
async def test_fetch() -> None:
    async with mcp_server([program("mcp-server-fetch")], name="fetch", connect_timeout=SECONDS) as tools:
        found = by_name(tools)
        assert found.keys() == {"fetch"}
        with pytest.raises(ToolError):  # it reaches no address of this machine
            await Run()(found["fetch"], url="http://127.0.0.1:9/")


@pytest.mark.anyio
async def test_filesystem(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    command = [program("mcp-server-filesystem"), str(tmp_path)]
    async with mcp_server(command, name="files", connect_timeout=SECONDS, trust_annotations=True) as tools:
        found = by_name(tools)
        assert "hello" in str(await Run()(found["read_text_file"], path=str(tmp_path / "a.txt")))
        assert found["write_file"].needs_approval
        assert "read" in found["read_text_file"].effect
        with pytest.raises(ToolError):
            await Run()(found["read_text_file"], path="/etc/hostname")


async def use_everything(found: dict[str, Tool]) -> None:
    assert "hello" in str(await Run()(found["echo"], message="hello"))
    assert "5" in str(await Run()(found["get-sum"], a=2, b=3))
    image: Any = await Run()(found["get-tiny-image"])
    assert "image" in {block["type"] for block in image}
    run = Run()
    await run(found["trigger-long-running-operation"], duration=1, steps=3)
    assert run.progress
    assert await Run()(found["get-structured-content"], location="Chicago")
    assert await Run()(found["get-resource-links"], count=2)


@pytest.mark.anyio
async def test_everything_over_pipes() -> None:
    command = [program("mcp-server-everything"), "stdio"]
    async with mcp_server(command, name="all", connect_timeout=SECONDS) as tools:
        await use_everything(by_name(tools))


async def is_listening(port: int) -> None:
    with anyio.fail_after(SECONDS):
        while True:
            try:
                await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
                return
            except OSError:
                await anyio.sleep(0.1)


@pytest.mark.anyio
async def test_everything_over_http(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program("mcp-server-everything"), "streamableHttp"]
    log = (tmp_path / "log").open("w")
    process = await anyio.open_process(command, env={**os.environ, "PORT": str(port)}, stdout=log, stderr=log)
    log.close()
    async with process:
        try:
            await is_listening(port)
            url = f"http://127.0.0.1:{port}/mcp"
            async with mcp_server(url=url, name="all", connect_timeout=SECONDS) as tools:
                await use_everything(by_name(tools))
        finally:
            process.kill()
