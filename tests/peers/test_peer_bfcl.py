"""BFCL's gold dialogues as scripts of the emulator: agentkit's loop gives what calling the APIs directly gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.peers, pytest.mark.slow]

EVERY = 1 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 8  # `make long` takes all 800


@pytest.fixture
def counted(peer: Any) -> Callable[..., dict[str, int]]:
    """Runs the dialogues in a process of its own, and gives what held, by count."""
    folder = peer("bfcl").folder

    def run(*arguments: str) -> dict[str, int]:
        program = Path(__file__).with_name("bfcl_dialogues.py")
        done = subprocess.run(
            [sys.executable, str(program), str(EVERY), *arguments],
            env={**os.environ, "PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        counts: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
        return counts

    return run


def test_every_dialogue_ends_as_the_gold_calls_do(counted: Callable[..., dict[str, int]], lines: list[str]) -> None:
    counts = counted()
    lines.append(
        "BFCL: of {dialogues} dialogues {state} end in the right state, {outputs} give every output, {calls} make each "
        "call once and in order, in {replies} replies; {open} give an API what its signature does not allow".format(
            **counts
        )
    )
    assert counts["dialogues"] == 800 // EVERY
    assert counts["state"] == counts["outputs"] == counts["calls"] == counts["dialogues"]


def test_the_comparison_sees_a_missing_call(counted: Callable[..., dict[str, int]], lines: list[str]) -> None:
    counts = counted("without-last")
    lines.append(
        "BFCL without the last calls: of {dialogues} dialogues {state} end in the right state".format(**counts)
    )
    # The last call of the others only reads.
    assert 0.25 < counts["state"] / counts["dialogues"] < 0.5
    assert counts["outputs"] == counts["calls"] == 0
