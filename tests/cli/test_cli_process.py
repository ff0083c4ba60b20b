"""The command as a process of its own: what only a process shows."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import PYTHON, started
from scripted import ScriptedServer, Sse, reply, text, tool_use

from agentkit.cli import main


@contextmanager
def on_terminal(*arguments: str, columns: int = 80) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "40"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen([*PYTHON, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read_until(terminal: int, wanted: bytes, seconds: float = 30.0) -> str:
    """What is written to the terminal, up to a text that must come, or to its end with b""."""
    shown = b""
    deadline = time.monotonic() + seconds
    while not wanted or wanted not in shown:
        assert select.select([terminal], [], [], max(deadline - time.monotonic(), 0))[0], shown.decode()
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # how Linux says that the other side is closed
            piece = b""
        if not piece:
            assert not wanted, shown.decode()
            break
        shown += piece
    return shown.decode()


def test_emulator_as_json(corpus: Path) -> None:
    with started("run", "When does the harbour of Lindholm close?", "--corpus", str(corpus), "--json") as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert err == "Emulator: a small rule-based reader over a local corpus, not a language model.\n"
    assert "\x1b" not in out
    events = [json.loads(line) for line in out.splitlines()]
    assert events[-1]["type"] == "run_end"
    assert events[-1]["finish"] == "end_turn"
    assert "https://corpus.local/harbour.md" in {citation["url"] for citation in events[-1]["citations"]}
    assert {"server_tool_call", "server_tool_result"} <= {event["type"] for event in events}


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_C13_a_signal_ends_with_what_was_done(tools: Path, sent: signal.Signals) -> None:
    with ScriptedServer([reply(tool_use("begun", seconds=60))]) as server:
        arguments = ["--base-url", server.url, "--tool", "my_tools:begun", "--json"]
        with started("run", "Sleep.", *arguments, cwd=tools) as process:
            assert process.stdout is not None
            events = []
            for line in process.stdout:
                events.append(json.loads(line))
                if events[-1]["type"] == "tool_progress":
                    since = time.monotonic()
                    process.send_signal(sent)
            _, err = process.communicate(timeout=30)
    assert time.monotonic() - since < 30  # the thread of the tool is not waited for
    assert process.returncode == 128 + sent
    assert err == "interrupted: what was done is above\n"
    assert (events[-1]["type"], events[-1]["finish"], events[-1]["turns"]) == ("run_end", "cancelled", 1)


@pytest.mark.slow
def test_second_interrupt_ends_at_once(tools: Path) -> None:
    with ScriptedServer([reply(tool_use("stubborn", seconds=60))]) as server:
        arguments = ["--base-url", server.url, "--tool", "my_tools:stubborn", "--json"]
        with started("run", "Sleep.", *arguments, cwd=tools) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if json.loads(line)["type"] == "tool_call":
                    break
            process.send_signal(signal.SIGINT)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.5)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "interrupted\n")


@pytest.mark.slow
def test_reader_that_leaves_is_no_error(tools: Path) -> None:
    has_left = threading.Event()
    script = [reply(tool_use("lookup", city="Ulm")), Sse(reply(text("It is sunny.")), delay=has_left)]
    with ScriptedServer(script) as server:
        arguments = ["--base-url", server.url, "--tool", "my_tools:lookup"]
        with started("run", "Is it sunny?", *arguments, cwd=tools) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.stdout.close()
            has_left.set()
            assert process.stderr is not None
            assert process.stderr.read() == ""
            assert process.wait(60) == 1


@pytest.mark.slow
def test_terminal_has_colours_and_asks(tools: Path) -> None:
    script = [reply(tool_use("remove", path="notes\u202egpj.txt")), reply(text("Gone. " * 20))]
    with ScriptedServer(script) as server:
        arguments = ["--base-url", server.url, "--tool", "my_tools:remove", "--no-default-tools"]
        with on_terminal("run", "Remove it.", *arguments) as (process, terminal):
            asked = read_until(terminal, b"a reason for no: ")
            os.write(terminal, b"\nno, keep it\n")
            rest = read_until(terminal, b"")
            assert process.wait(60) == 0
        server.assert_done()
    assert "\x1b[36m" in asked  # the names of tools
    assert 'remove waits for your approval, to run with\r\n{\r\n  "path": "notesU+202Egpj.txt"\r\n}' in asked
    assert "\u202e" not in asked
    assert re.search(r"remove .*denied", rest)
    result = server.requests[-1].json["messages"][-1]["content"][0]
    assert result["content"] == "The user declined this call. no, keep it"
    assert max(len(line) for line in rest.splitlines() if line.startswith("Gone.")) <= 80
    assert rest.count("Gone.") == 20


def test_command_without_its_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "typer", None)
    assert main() == 2
    assert capsys.readouterr().err == "error: the command needs typer: pip install 'agentkit-loop[cli]'\n"


def test_help_loads_little() -> None:
    script = "import sys; sys.argv[1:] = ['run', '--help']; from agentkit.cli import main; code = main()\n"
    script += "print('loaded', *sorted({'httpx', 'anyio', 'asyncio', 'rich.live'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert 'agentkit run --emulator "How do I' in done.stdout
    assert done.stdout.endswith("loaded\n")
