"""Every example runs, offline: as a user would start it, against the emulator."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from agentkit.emulator import Emulator

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """The environment of a user whose endpoint is the emulator."""
    with Emulator(pace=0) as emulator:
        yield {**os.environ, "ANTHROPIC_BASE_URL": emulator.url, "ANTHROPIC_API_KEY": "emulator"}


def run(*command: str, environment: dict[str, str]) -> str:
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_run_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {
        "quickstart",
        "research_bot",
        "backend",
        "cometapi",
        "durable_refund",
        "data_analyst",
        "coding_agent",
        "mcp_agent",
        "fleet",
    }


def test_quickstart(environment: dict[str, str]) -> None:
    source = (EXAMPLES / "quickstart.py").read_text()
    assert sum(bool(line.strip()) for line in source.splitlines() if not line.startswith('"""')) <= 10
    assert "425" in run(str(EXAMPLES / "quickstart.py"), environment=environment)


@pytest.mark.slow
def test_research_bot_answers_with_sources_and_leaves_a_report(environment: dict[str, str], tmp_path: Path) -> None:
    question = "Which module reads and writes ZIP archives? And how much is 1024 * 768?"
    printed = run(str(EXAMPLES / "research_bot.py"), question, str(tmp_path), environment=environment)
    report = json.loads((tmp_path / "report.json").read_text())
    assert "786432" in printed
    assert "zipfile" in printed
    assert report["question"] == question
    assert any("zipfile" in source["url"] and source["quotes"] for source in report["sources"])


@pytest.mark.slow
def test_cometapi_streams_with_a_tool_and_shows_its_usage() -> None:
    with Emulator(dialect="cometapi", pace=0) as gateway:
        environment = {**os.environ, "COMETAPI_BASE_URL": gateway.url, "COMETAPI_KEY": "emulator"}
        printed = run(str(EXAMPLES / "cometapi.py"), environment=environment)
    assert "mean: 6.0" in printed
    assert "mean: 2.16" in printed
    used = re.findall(r"(\d+) read from the cache, (\d+) written to it", printed)
    assert len(used) == 2
    assert int(used[0][1]) > 1024
    assert int(used[1][0]) > int(used[0][1])
    body = gateway.requests[0]
    assert (body["stream"], body["output_config"]) == (True, {"effort": "low"})
    assert body["system"][1]["cache_control"] == {"type": "ephemeral"}


@pytest.fixture
def backend(environment: dict[str, str]) -> Iterator[str]:
    """The backend, as uvicorn serves it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:  # who connects before it serves waits
        fd = listener.fileno()
        command = [sys.executable, "-m", "uvicorn", "examples.backend:app", "--fd", str(fd), "--log-level", "warning"]
        server = subprocess.Popen(command, env=environment, cwd=EXAMPLES.parent, pass_fds=[fd])
        port = listener.getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=60)


def events_of(answer: httpx.Response) -> list[tuple[str, dict[str, object]]]:
    frames = [frame.split("\ndata: ") for frame in answer.text.strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data)) for name, data in frames]


def test_backend_streams_and_remembers(backend: str) -> None:
    for question, answer in [("What is 6 * 7?", "42"), ("What is 6 * 8?", "48")]:
        body = {"user": "ada", "question": question}
        events = events_of(httpx.post(f"{backend}/ask", json=body, timeout=120))
        names = [name for name, _ in events]
        assert "text_delta" in names
        assert names[-1] == "run_end"
        assert answer in str(events[-1][1]["text"])


def written(folder: Path) -> list[int]:
    """Changes whenever the journal does."""
    found = []
    for path in sorted(folder.glob("runs.db*")):
        with suppress(FileNotFoundError):  # SQLite has taken it away meanwhile
            found.append(path.stat().st_mtime_ns)
    return found


def refunds_until_it_ends(folder: Path, delays: Iterator[float]) -> int:
    """Starts the example again and again, killing it a moment after its first write; how often it was killed."""
    command = [sys.executable, str(EXAMPLES / "durable_refund.py"), str(folder)]
    environment = {name: value for name, value in os.environ.items() if not name.endswith(("_KEY", "_URL"))}
    for kills, delay in enumerate(delays):
        before = written(folder)
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            try:
                while process.poll() is None and written(folder) == before:
                    time.sleep(0.0005)
                printed, _ = process.communicate(timeout=delay)
            except subprocess.TimeoutExpired:
                continue
            finally:
                process.kill()
        assert process.returncode == 0
        assert "Both customers have their money back." in printed
        return kills
    raise AssertionError("it never came to its end")


@pytest.mark.slow
@pytest.mark.parametrize("growth", [3.0, 1.6])
def test_durable_refund_pays_once_whenever_it_is_killed(growth: float, tmp_path: Path) -> None:
    folder = tmp_path / "refunds"
    folder.mkdir()
    assert refunds_until_it_ends(folder, (0.001 * growth**number for number in range(50))) > 1
    book = (folder / "bank.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["order"] for line in book) == [17, 23]
