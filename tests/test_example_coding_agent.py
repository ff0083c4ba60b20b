"""The coding agent mends a package, in the sandbox and by its script; without a sandbox it says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agentkit import ConfigurationError
from agentkit_tools.sandbox import Sandbox

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[1] / "examples" / "coding_agent.py"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {name: value for name, value in os.environ.items() if not name.endswith(("_KEY", "_URL"))}
    command = [sys.executable, str(EXAMPLE), *arguments]
    return subprocess.run(command, env={**given, **environment}, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_it_mends_a_package() -> None:
    try:
        Sandbox().check()
    except ConfigurationError as error:
        pytest.skip(str(error))
    before = {path.name: path.read_bytes() for path in EXAMPLE.with_name("intervals").iterdir() if path.is_file()}
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    failed, mended = done.stdout.split("> edit_file")
    assert "FAILED (failures=2)" in failed
    assert "exit code 0" not in failed
    assert "Ran 4 tests" in mended
    assert "\n  OK\n" in mended
    assert mended.endswith("All tests pass.\n")
    after = {path.name: path.read_bytes() for path in EXAMPLE.with_name("intervals").iterdir() if path.is_file()}
    assert before == after


@pytest.mark.slow
def test_without_a_sandbox_it_says_so(tmp_path: Path) -> None:
    done = run(PATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == "the sandbox needs bubblewrap and util-linux: apt install bubblewrap util-linux\n"


@pytest.mark.slow
def test_a_folder_needs_a_model(tmp_path: Path) -> None:
    done = run(str(tmp_path))
    assert done.returncode == 2
    assert "set ANTHROPIC_API_KEY" in done.stderr
