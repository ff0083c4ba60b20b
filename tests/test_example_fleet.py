"""`examples/fleet.py`: questions on a queue, workers that answer them, the table, and what a stop leaves."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agentkit import Journal

pytest.importorskip("dbos", reason="dbos is not installed", exc_type=ImportError)
pytestmark = pytest.mark.slow

COMMAND = [sys.executable, str(Path(__file__).parents[1] / "examples" / "fleet.py")]
ROW = re.compile(r"^([0-9a-f]{8}) +(\d+) +(\d+) +(\d+)k +(\S+) +([\d.]+)  (.+)$", re.MULTILINE)


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.endswith(("_KEY", "_URL"))}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*COMMAND, *options], cwd=folder, env=environment, text=True, **pipes)


def states(folder: Path) -> list[str]:
    journal = Journal(folder / "fleet.db")
    try:
        return [row.state for row in journal.runs()]
    finally:
        journal.close()


def test_two_workers_answer_all_and_the_table_fits_a_terminal(tmp_path: Path) -> None:
    with start(tmp_path, "--runs", "6", "--workers", "2") as process:
        printed, told = process.communicate(timeout=300)
    assert process.returncode == 0, told
    assert states(tmp_path) == ["end_turn"] * 6
    rows = ROW.findall(printed)
    assert len({run for run, *_ in rows}) == len(rows) == 6
    assert {turns for _, _, turns, *_ in rows} == {"3"}
    assert {worker for _, worker, *_ in rows} <= set(re.findall(r"^worker \S+:(\d+):\w+: queue research", told, re.M))
    assert any("zipfile" in source for *_, source in rows)
    assert max(map(len, printed.splitlines())) <= 80


def test_what_is_not_finished_when_it_is_stopped_stays_on_the_queue(tmp_path: Path) -> None:
    with start(tmp_path, "--runs", "3", "--workers", "0") as process:
        assert process.stdout
        assert process.stdout.readline().startswith("3 runs are on the queue research")
        assert "agentkit worker" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "stays on the queue" in told
    assert states(tmp_path) == ["queued"] * 3
