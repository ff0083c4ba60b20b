"""Nothing gets out of the sandbox: each way out is tried inside, and outside, where it works.

What uses up the machine, and what stays behind, is in test_processes.py.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
from escape_world import world
from sandboxed import needs_sandbox

from agentkit_tools.processes import run_confined
from agentkit_tools.sandbox import Sandbox, Start, work_folder

pytestmark = [needs_sandbox, pytest.mark.slow]

PROGRAM = Path(__file__).with_name("escapes")
IS_ROOT = os.getuid() == 0

# Outside they fail too: the kernel has no such thing, or they would do harm.
SHOWN_INSIDE_ALONE = {
    "remount_writable",
    "unmount",
    "core_files",
    "kernel_module",
    "kernel_crypto_socket",
    "system_calls_by_other_numbers",
    "limits_lifted",
}


def attempts() -> list[str]:
    """The names of all, as the program itself has them."""
    listed = subprocess.run([sys.executable, str(PROGRAM), "--list"], capture_output=True, text=True, check=True)
    return listed.stdout.split()


@dataclass
class Outcomes:
    """What came of each attempt."""

    inside: dict[str, str]
    outside: dict[str, str]


@pytest.fixture(scope="module")
def outcomes() -> Iterator[Outcomes]:
    with tempfile.TemporaryDirectory(prefix="world-") as folder, world(Path(folder)) as told:
        sandbox = Sandbox(readable=[PROGRAM, *{sys.prefix, sys.base_prefix}])
        root = work_folder(told["root"])
        command = [sys.executable, str(PROGRAM)]

        async def confined() -> dict[str, str]:
            done = await run_confined(sandbox, root, command, stdin=json.dumps({**told, "inside": True}))
            assert (done.exit_code, done.stderr, done.stopped) == (0, "", None)
            return json.loads(done.stdout)  # type: ignore[no-any-return]

        free = subprocess.run(
            command, input=json.dumps({**told, "inside": False}), capture_output=True, text=True, close_fds=False
        )
        assert free.returncode == 0, free.stderr
        yield Outcomes(anyio.run(confined), json.loads(free.stdout))


@pytest.mark.parametrize("name", attempts())
def test_no_way_out(outcomes: Outcomes, name: str) -> None:
    assert outcomes.inside[name] not in ("escaped", "died")
    if name not in SHOWN_INSIDE_ALONE and IS_ROOT:
        assert outcomes.outside[name] == "escaped"


def test_they_are_many_and_real(outcomes: Outcomes) -> None:
    assert len(outcomes.inside) == len(outcomes.outside) >= 95
    real = [name for name, outcome in outcomes.outside.items() if outcome == "escaped"]
    assert len(real) >= (85 if IS_ROOT else 50)


@pytest.mark.skipif(not IS_ROOT, reason="only root can start it as another user")
@pytest.mark.slow
def test_as_a_normal_user() -> None:
    python = shutil.which("python3", path="/usr/bin")
    if python is None:
        pytest.skip("there is no /usr/bin/python3, and this one belongs to root")
    with tempfile.TemporaryDirectory(prefix="world-") as folder, world(Path(folder)) as told:
        for path in (folder, *(os.path.join(at, name) for at, _, names in os.walk(folder) for name in ("", *names))):
            os.chown(path, 65534, 65534, follow_symlinks=False)
        program = Path(folder, "program")
        shutil.copytree(PROGRAM, program)
        start = Start.of(Sandbox(readable=[program]), Path(told["root"]), [python, "-B", str(program)])
        try:
            done = subprocess.run(
                start.command,
                env=start.environment,
                pass_fds=start.files,
                input=json.dumps({**told, "inside": True}),
                capture_output=True,
                text=True,
                user=65534,
                group=65534,
                extra_groups=[],
            )
        finally:
            start.close()
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout)
    assert len(outcomes) >= 95
    assert [name for name, outcome in outcomes.items() if outcome in ("escaped", "died")] == []
