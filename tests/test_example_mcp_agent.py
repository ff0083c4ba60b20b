"""The example of an agent with an MCP server runs, offline, as a user would start it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[1] / "examples" / "mcp_agent.py"


@pytest.mark.slow
def test_it_lists_books_and_pins(tmp_path: Path) -> None:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "COMETAPI_"))
    }
    for _ in range(2):  # the second time its tools are pinned
        done = subprocess.run(
            [sys.executable, str(EXAMPLE)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [
            "  rooms__free_rooms {'day': 'Monday'}",
            "  allowed: rooms__book_room",
            "  rooms__book_room {'room': 'Harbour', 'day': 'Monday'}",
            "  … asking the caretaker",
            "The larger room is yours: Harbour, on Monday.",
        ]
    assert sorted(json.loads((tmp_path / "mcp-pins.json").read_text())["servers"]["rooms"]) == [
        "book_room",
        "free_rooms",
    ]
