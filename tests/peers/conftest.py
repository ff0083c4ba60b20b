"""What a test of a peer gets: its environment, or a skip that says what is missing; and a way to run its program."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from environments import Missing, environment

HERE = Path(__file__).parent
_skipped: Counter[str] = Counter()
_lines: list[str] = []


@dataclass(frozen=True)
class Peer:
    """Software that others wrote, in an environment of its own."""

    name: str
    folder: Path
    home: Path

    def run(self, program: str, *arguments: str, url: str) -> Any:
        """Runs a program of this folder against an endpoint, and gives the JSON that it prints."""
        interpreter = ["node"] if program.endswith(".mjs") else [str(self.folder / "bin" / "python"), "-I"]
        environ = {
            **os.environ,
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_API_KEY": "any",
            "HOME": str(self.home),  # no settings of whoever runs the tests
            "PEER_HOME": str(self.folder),
        }
        done = subprocess.run(
            [*interpreter, str(HERE / program), *arguments],
            env=environ,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout.splitlines()[-1])


@functools.cache
def _made(name: str) -> Path | str:
    """An environment, or why there is none."""
    try:
        return environment(name)
    except Missing as why:
        return f"no {name}: {why}"


@pytest.fixture
def peer(tmp_path: Path) -> Callable[[str], Peer]:
    """Gives the peer of a name; the test skips where it can't be had."""

    def found(name: str) -> Peer:
        made = _made(name)
        if isinstance(made, str):
            _skipped[made] += 1
            pytest.skip(made)
        return Peer(name, made, tmp_path)

    return found


@pytest.fixture
def lines() -> list[str]:
    """What the run of the tests says at its end."""
    return _lines


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says what was counted, and in one line what was skipped and why."""
    if _skipped:
        why = "; ".join(f"{count} for {made}" for made, count in _skipped.items())
        _lines.append(f"peers: {_skipped.total()} tests skipped: {why}")
    for line in _lines:
        terminalreporter.write_line(line)
