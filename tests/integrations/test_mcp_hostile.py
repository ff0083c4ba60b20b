"""MCP servers that behave badly: each ends within its deadline, says what is true, and leaves no process."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentkit import ConfigurationError
from agentkit.invocation import MAY_HAVE_RUN, Ended, invoke
from agentkit.rules.body import check_body
from agentkit.tool_results import as_text
from agentkit.tools import RunContext, Tool

pytest.importorskip("mcp", reason="needs the extra mcp")

from agentkit.integrations.mcp import ServerTools, mcp_server

pytestmark = pytest.mark.slow

SERVER = Path(__file__).with_name("hostile_server.py")
CLOSING = 5.0  # seconds, with room for a busy machine


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


class Hostile:
    """The server, with one behaviour."""

    def __init__(self, behaviour: str, folder: Path) -> None:
        self.folder = folder
        self.progress: list[str] = []
        self._command = [sys.executable, "-I", "-S", str(SERVER), behaviour, str(folder)]

    @asynccontextmanager
    async def __call__(self, **options: Any) -> AsyncGenerator[ServerTools]:
        options = {"connect_timeout": 10.0, "timeout": 10.0, "name": "bad", **options}
        async with mcp_server(self._command, **options) as tools:
            yield tools

    async def call(self, tool: Tool, **arguments: Any) -> Ended:
        """Calls a tool as a run of an agent does."""
        ctx = RunContext(
            deps=None, run_id="r", call_id="c", tool_use_id="t", tool_name=tool.name, report=self.progress.append
        )
        threads = anyio.CapacityLimiter(4)
        seconds = tool.timeout or 10
        return await invoke(tool, ctx, arguments, seconds=seconds, threads=threads, available=(), whole=False)

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    async def left(self) -> list[int]:
        """The processes that still live ten seconds after they should not."""
        for _ in range(1000):
            if not (left := [int(pid) for pid in self.lines("pids") if lives(int(pid))]):
                break
            await anyio.sleep(0.01)
        return left


@pytest.fixture
def hostile(tmp_path: Path) -> Callable[[str], Hostile]:
    return lambda behaviour: Hostile(behaviour, tmp_path)


def takes(tools: ServerTools) -> None:
    """The API takes the tools."""
    body = {
        "model": "claude-sonnet-4-6",
        "max_tokens": 10,
        "messages": [{"role": "user", "content": "x"}],
        "tools": [tool.definition for tool in tools],
    }
    assert list(check_body(json.loads(json.dumps(body)), None)) == []


QUICK = {"exits at once", "huge line", "list: the same name twice", "good", "call: dies", "call: invalid base64"}


def table(rows: list[tuple[Any, ...]]) -> list[Any]:
    """The rows by name; most are slow together."""
    return [pytest.param(*row, id=row[0], marks=[] if row[0] in QUICK else pytest.mark.slow) for row in rows]


NO_TOOLS = [
    ("silent", 1.5, r"did not answer within 1\.5 seconds"),
    ("exits at once", 10, r"has ended before it had answered \(it said: \[31mno configuration found\)"),
    ("only garbage", 10, "wrote 101 lines to stdout that are no messages"),
    ("huge line", 10, "sent a line of more than 16,777,216 bytes"),
    ("flood before anything", 20, "sent more than 5,000 messages too fast"),
    ("closes stdout", 10, "has ended before it had answered"),
    ("handshake: invalid JSON", 1.5, "did not answer within"),
    ("handshake: wrong id", 1.5, "did not answer within"),
    ("handshake: error", 10, r"answered with an error: I am \[31mnot\[0m ready$"),
    ("handshake: wrong shape", 10, "sent what is no message of MCP"),
    ("handshake: unknown version", 10, "can't be reached: Unsupported protocol version.*1999-01-01"),
    ("handshake: a list of messages", 1.5, "did not answer within"),
    ("handshake: slow drip", 1.5, "did not answer within"),
    ("list: never", 1.5, "did not answer within"),
    ("list: wrong shape", 10, "sent what is no message of MCP"),
    ("list: 10,000 tools", 20, "lists 10,000 tools at once, and at most 1,000 are taken"),
    ("list: pages without end", 20, "more than 100 pages"),
    ("list: pages in a circle", 10, "lists its tools in a circle"),
    ("list: the same name twice", 10, "lists the tool 'work' twice"),
    ("list: names that become one", 10, "'do it' and 'do_it' would both be bad__do_it: choose one with only="),
    ("list: too deep for JSON", 1.5, "did not answer within"),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("behaviour", "seconds", "words"), table(NO_TOOLS))
async def test_no_tools(hostile: Callable[[str], Hostile], behaviour: str, seconds: float, words: str) -> None:
    server = hostile(behaviour)
    began = time.monotonic()
    with pytest.raises(ConfigurationError, match=f"^MCP server 'bad'.*{words}") as raised:
        async with server(connect_timeout=seconds):
            pass
    assert "\n" not in str(raised.value)
    assert "\x1b" not in str(raised.value)
    assert time.monotonic() - began < seconds + CLOSING
    assert server.lines("pids")
    assert await server.left() == []


CUT = r"\[… 1,737,856 of 2,000,000 bytes left out …\]"
UNKNOWN = re.escape(MAY_HAVE_RUN)
BROKE = "The connection to the MCP server 'bad' broke while this call ran: it "
CALLS = [
    ("good", "done", "ok$"),
    ("some garbage", "done", "ok$"),
    ("stderr flood", "done", "ok$"),
    ("ignores SIGTERM", "done", "ok$"),
    ("ignores SIGTERM and the end of its input", "done", "ok$"),
    ("forks children", "done", "ok$"),
    ("call: never answers", "timed_out", f"Timed out after 1 seconds. {UNKNOWN}$"),
    ("call: answers twice", "done", "ok$"),
    ("call: wrong id", "timed_out", f".*{UNKNOWN}$"),
    ("call: its id as text", "done", "ok$"),
    ("call: dies", "failed", f"{BROKE}has ended. {UNKNOWN}$"),
    ("call: invalid JSON", "timed_out", f".*{UNKNOWN}$"),
    ("call: huge line", "failed", f"{BROKE}sent a line of more than 16,777,216 bytes. {UNKNOWN}$"),
    ("call: closes stdout", "failed", f"{BROKE}has ended. {UNKNOWN}$"),
    ("call: slow drip", "timed_out", f".*{UNKNOWN}$"),
    ("call: a failure", "failed", r"The disk is full\.$"),
    ("call: a failure without words", "failed", "The tool failed, and does not say why.$"),
    ("call: an unknown kind of content", "failed", f"What the MCP server 'bad' answered is no result.*{UNKNOWN}$"),
    ("call: content that is no list", "failed", f".* is no result of a tool. {UNKNOWN}$"),
    ("call: a result that is none", "failed", f".* is no result of a tool. {UNKNOWN}$"),
    ("call: NaN", "done", '{"x":null}$'),
    ("call: invalid base64", "done", r"\[image left out: it is no valid base64\]$"),
    ("call: an image that is none", "done", r"\[image left out: image/png, about 6 bytes\]$"),
    ("call: audio", "done", r"\[audio left out: audio/wav, about 6 bytes\]$"),
    ("call: a very long text", "done", f"x+\n{CUT}\nx+$"),
    ("call: an image too large", "failed", "The tool returned image/png of 6,750,009 bytes; at most 5,242,880"),
    ("call: an error of its own", "failed", rf".* answered with an error: Inter\[31mnal x{{987}}\. {UNKNOWN}$"),
    ("call: refused", "failed", "The MCP server 'bad' refused the call: Unknown tool: work$"),
    ("call: odd progress", "done", "ok$"),
    ("call: 4,000 notifications", "done", "ok$"),
    ("call: notifications without end", "failed", f"{BROKE}sent more than 5,000 messages too fast. {UNKNOWN}$"),
    ("call: answers to nothing without end", "failed", f"{BROKE}sent more than 5,000 messages.*{UNKNOWN}$"),
    ("call: a flood of requests", "done", "ok$"),
    ("call: asks for sampling", "done", '.*"error".*Sampling not supported'),
    ("call: asks the user", "done", '.*"error".*Elicitation not supported'),
    ("call: asks for folders", "done", '.*"error".*List roots not supported'),
    ("call: asks for what is not there", "done", '.*"error".*Method not found'),
    ("tells of changes all the time", "done", "ok$"),
    ("tool: slow pattern for its output", "done", "(?s).*ok"),
]
SHORT = {"timed_out": 1.0}


@pytest.mark.anyio
@pytest.mark.parametrize(("behaviour", "outcome", "words"), table(CALLS))
async def test_call(hostile: Callable[[str], Hostile], behaviour: str, outcome: str, words: str) -> None:
    server = hostile(behaviour)
    seconds = SHORT.get(outcome, 20.0)
    async with server(timeout=seconds) as tools:
        assert [tool.name for tool in tools] == ["bad__work"]
        began = time.monotonic()
        ended = await server.call(tools[0])
        took = time.monotonic() - began
        told = len(server.progress)
        assert len(tools.stderr) <= 64 * 1024
        assert "\x1b" not in tools.stderr
        assert ended.outcome == outcome, ended
        text = as_text(ended.content)
        assert re.match(words, text, re.DOTALL), text[:2000]
        assert took < seconds + 5
        began = time.monotonic()
    assert time.monotonic() - began < CLOSING
    assert len(server.lines("calls")) == 1  # nothing was sent twice
    assert await server.left() == []
    for line in server.progress:
        assert len(line) <= 200
        assert "\x1b" not in line
    assert len(server.progress) == told  # what comes later is not heard


@pytest.mark.anyio
async def test_deep_schema(hostile: Callable[[str], Hostile]) -> None:
    server = hostile("tool: deep schema")
    async with server() as tools:
        takes(tools)
        assert json.dumps(tools[0].definition).count('"x"') == 17
        assert (await server.call(tools[0], x={"x": {}})).content == "ok"


@pytest.mark.anyio
async def test_control_characters(hostile: Callable[[str], Hostile]) -> None:
    async with hostile("tool: control characters")() as tools:
        takes(tools)
        assert tools[0].name == "bad__wo__31mrk__"
        assert tools[0].description == "Wor]0;titleks.U+202EbackU+200B"


@pytest.mark.anyio
async def test_orders_in_a_description_are_cut_and_no_more_than_text(hostile: Callable[[str], Hostile]) -> None:
    async with hostile("tool: orders in its description")() as tools:
        takes(tools)
        assert len(tools[0].description) == 8001
        assert tools[0].effect == {"write", "net", "untrusted"}


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_very_long_name(hostile: Callable[[str], Hostile]) -> None:
    server = hostile("tool: a very long name")
    async with server() as tools:
        takes(tools)
        assert re.fullmatch("bad__n{50}_[0-9a-f]{8}", tools[0].name)
        assert (await server.call(tools[0])).content == "ok"


@pytest.mark.anyio
async def test_references_to_elsewhere(hostile: Callable[[str], Hostile]) -> None:
    async with hostile("tool: references to elsewhere")() as tools:
        takes(tools)
        assert tools[0].input_schema == {"type": "object", "properties": {"a": {}, "b": {}}}


@pytest.mark.anyio
async def test_any_of_at_the_root(hostile: Callable[[str], Hostile]) -> None:
    server = hostile("tool: anyOf at the root")
    async with server() as tools:
        takes(tools)
        assert tools[0].input_schema == {
            "type": "object",
            "properties": {"id": {"type": "integer"}, "name": {"type": "string"}},
        }
        assert 'must also fit this schema: {"anyOf": [{' in tools[0].description
        await server.call(tools[0], id=3)
    assert server.lines("calls") == ['{"id": 3}']


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("behaviour", "why"),
    [("tool: no object", "its input is no object"), ("tool: a huge schema", "its schema has more than 65,536 char")],
)
async def test_what_can_not_be_offered(hostile: Callable[[str], Hostile], behaviour: str, why: str) -> None:
    async with hostile(behaviour)() as tools:
        assert [tool.name for tool in tools] == ["bad__work"]
        assert tools.disabled["bad"].startswith(f"it can't be offered: {why}")


@pytest.mark.slow
@pytest.mark.anyio
async def test_no_tools_at_all(hostile: Callable[[str], Hostile]) -> None:
    async with hostile("list: no tools")() as tools:
        assert [*tools] == []


@pytest.mark.anyio
async def test_annotations_that_lie(hostile: Callable[[str], Hostile]) -> None:
    server = hostile("tool: lying annotations")
    async with server() as tools:
        assert tools[0].effect == {"write", "net", "untrusted"}
        assert not tools[0].is_read
    async with server(trust_annotations=True) as tools:
        assert tools[0].effect == {"read", "untrusted"}


@pytest.mark.anyio
async def test_a_changed_description_disables_the_tool(hostile: Callable[[str], Hostile]) -> None:
    server = hostile("changes its description")
    async with server() as tools:
        first = tools[0].description
        assert (await server.call(tools[0])).content == "ok"
        ended = await server.call(tools[0])
        assert ended.outcome == "failed"
        assert ended.content == (
            "This tool is disabled: the server has changed it since the run began, and nobody has approved that. "
            "The call was not sent."
        )
        assert tools[0].description == first
        assert tools.disabled.keys() == {"work"}
        assert "keys along" in tools.offers()["work"]["description"]
    assert len(server.lines("calls")) == 1


@pytest.mark.anyio
async def test_a_change_that_is_not_told_never_reaches_the_model(hostile: Callable[[str], Hostile]) -> None:
    server = hostile("changes it in silence")
    async with server() as tools:
        first = tools[0].description
        for _ in range(2):
            assert (await server.call(tools[0])).content == "ok"
        assert tools[0].description == first


@pytest.mark.slow
@pytest.mark.anyio
async def test_new_tools_are_not_added(hostile: Callable[[str], Hostile]) -> None:
    server = hostile("adds a tool")
    async with server() as tools:
        for _ in range(2):
            assert (await server.call(tools[0])).content == "ok"
        assert [tool.name for tool in tools] == ["bad__work"]
        assert tools.offers().keys() == {"work", "more"}


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_tool_that_is_taken_away(hostile: Callable[[str], Hostile]) -> None:
    server = hostile("takes its tool away")
    async with server() as tools:
        assert (await server.call(tools[0])).content == "ok"
        assert (await server.call(tools[0])).content == "The MCP server 'bad' refused the call: Unknown tool: work"


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_list_that_hangs_after_a_change(hostile: Callable[[str], Hostile]) -> None:
    server = hostile("list: hangs after a change")
    async with server() as tools:
        assert (await server.call(tools[0])).content == "ok"
        tools._connection._seconds = 1.5
        ended = await server.call(tools[0])
        assert re.search("its tools have changed, and does not list them.*not sent", str(ended.content))
    assert len(server.lines("calls")) == 1
    assert await server.left() == []


@pytest.mark.anyio
async def test_a_write_is_not_repeated_and_the_next_call_connects_again(hostile: Callable[[str], Hostile]) -> None:
    server = hostile("call: dies the first time")
    async with server() as tools:
        assert MAY_HAVE_RUN in (await server.call(tools[0])).content
        assert len(server.lines("calls")) == 1
        assert (await server.call(tools[0])).content == "ok"
    assert len(server.lines("pids")) == 2
    assert await server.left() == []


@pytest.mark.anyio
async def test_a_read_is_repeated(hostile: Callable[[str], Hostile]) -> None:
    server = hostile("call: dies the first time")
    async with server(effects={"work": "read"}) as tools:
        assert tools[0].is_read
        assert (await server.call(tools[0])).content == "ok"
    assert len(server.lines("calls")) == 2


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_read_is_repeated_twice_at_most(hostile: Callable[[str], Hostile]) -> None:
    server = hostile("call: dies")
    async with server(effects={"work": "read"}) as tools:
        ended = await server.call(tools[0])
    assert ended.content == "The connection to the MCP server 'bad' broke while this call ran: it has ended."
    assert len(server.lines("calls")) == 3
    assert await server.left() == []


@pytest.mark.slow
@pytest.mark.anyio
async def test_what_changed_while_it_was_away_is_disabled(hostile: Callable[[str], Hostile]) -> None:
    server = hostile("changes while it is away")
    async with server() as tools:
        assert MAY_HAVE_RUN in (await server.call(tools[0])).content
        assert str((await server.call(tools[0])).content).startswith("This tool is disabled")
    assert len(server.lines("calls")) == 1


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_server_that_reads_no_more_is_left_at_once(hostile: Callable[[str], Hostile]) -> None:
    server = hostile("call: does not read on")
    async with server(timeout=1.0) as tools:
        for _ in range(2):
            began = time.monotonic()
            assert (await server.call(tools[0], text="x" * 1_000_000)).outcome == "timed_out"
            assert time.monotonic() - began < 6
    assert await server.left() == []


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_cancelled_block_leaves_no_process(hostile: Callable[[str], Hostile]) -> None:
    for behaviour in ("silent", "ignores SIGTERM and the end of its input"):
        server = hostile(behaviour)
        with anyio.move_on_after(1):
            async with server():
                await anyio.sleep_forever()
        assert await server.left() == []
