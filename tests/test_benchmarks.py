"""`benchmarks/instructions.py` counts, prints, and fails where a limit is exceeded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(__file__).parents[1] / "benchmarks" / "instructions.py"

# In the place of valgrind: writes what valgrind would for clients of which one takes a fifth more than the other.
VALGRIND = f"""#!{sys.executable}
import sys
name, _, *jobs = sys.argv[sys.argv.index(sys.executable) + 2:]
(path,) = (option.partition("=")[2] for option in sys.argv if option.startswith("--callgrind-out-file="))
for at, job in enumerate(jobs, 1):
    total = 7777 + int(job.partition("=")[2]) * dict(httpx=1000, agentkit=1200)[name]
    with open(f"{{path}}.{{at}}", "w") as file:
        file.write(f"summary: 1\\ntotals: {{total}}\\n")
"""


def run(*options: str, path: str = os.environ.get("PATH", os.defpath)) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(COMMAND), *options]
    return subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True)


@pytest.fixture
def stand_in(tmp_path: Path) -> str:
    """A folder with a valgrind that does not count."""
    for name in ("valgrind", "vgdb"):
        (tmp_path / name).write_text(VALGRIND)
        (tmp_path / name).chmod(0o755)
    return str(tmp_path)


def test_without_valgrind_it_says_so(tmp_path: Path) -> None:
    done = run(path=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "instructions: skipped, valgrind is not there (on Debian: apt install valgrind)\n"


@pytest.mark.slow
def test_the_table_and_the_limits(stand_in: str) -> None:
    done = run("--events", "30", "--turns", "3", path=stand_in)
    assert done.stdout == (
        "| instructions | bare httpx | agentkit | agentkit / httpx | limit |\n"
        "|---|--:|--:|--:|--:|\n"
        "| one streamed text event | 1,000 | 1,200 | 1.200 | 1.15 |\n"
        "| one turn with a tool call | 1,000 | 1,200 | 1.200 | 1.35 |\n"
    )
    assert done.stderr == "one streamed text event takes 1.200 times what bare httpx does: more than 1.15\n"
    assert done.returncode == 1
    within = run("--events", "30", "--turns", "3", "--event-limit", "1.2", "--json", path=stand_in)
    assert (within.returncode, within.stderr) == (0, "")
    assert json.loads(within.stdout) == {
        "instructions": {"httpx": {"events": 1000, "turns": 1000}, "agentkit": {"events": 1200, "turns": 1200}},
        "ratios": {"events": 1.2, "turns": 1.2},
        "limits": {"events": 1.2, "turns": 1.35},
    }


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("vgdb"), reason="valgrind is not there")
def test_what_valgrind_counts() -> None:
    done = run("--events", "20", "--turns", "2", "--event-limit", "0.5", "--json")
    assert done.returncode == 1, done.stderr
    assert "one streamed text event takes" in done.stderr
    printed = json.loads(done.stdout)
    for counts in printed["instructions"].values():  # so wide that they hold on any machine
        assert 20_000 < counts["events"] < 1_000_000
        assert 500_000 < counts["turns"] < 30_000_000
    assert all(0.9 < ratio < 2 for ratio in printed["ratios"].values())
