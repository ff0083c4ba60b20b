"""A program in the sandbox: what it gives back, the limits it meets, and that nothing of it is left."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sandboxed import needs_sandbox

from agentkit_tools.processes import Finished, Kept, run_confined
from agentkit_tools.sandbox import Sandbox, work_folder

pytestmark = [needs_sandbox, pytest.mark.slow]

MIB = 1024 * 1024


async def run(root: Path, *argv: str, sandbox: Sandbox | None = None, **options: Any) -> Finished:
    return await run_confined(sandbox or Sandbox(), work_folder(root), argv, **options)


async def python(root: Path, code: str, **limits: Any) -> Finished:
    box = Sandbox(readable=sorted({sys.prefix, sys.base_prefix}), **limits)
    return await run(root, sys.executable, "-c", code, sandbox=box)


def left_over(mark: str) -> list[str]:
    """Processes of this machine with the mark in their command line."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
        except OSError:
            continue
        if mark in line and int(pid) != os.getpid():
            found.append(line)
    return found


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


@pytest.mark.anyio
async def test_what_it_gives_back(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    shown: list[str] = []
    line = "echo out; echo err >&2; cat; pwd; echo made > file; exit 3"
    done = await run(tmp_path, "sh", "-c", line, stdin="given\n", folder="sub", progress=shown.append)
    assert done == Finished(exit_code=3, stdout=f"out\ngiven\n{tmp_path}/sub\n", stderr="err\n", stopped=None)
    assert (tmp_path / "sub" / "file").read_text() == "made\n"
    assert sorted("".join(shown).splitlines()) == sorted(f"out\nerr\ngiven\n{tmp_path}/sub".splitlines())


@pytest.mark.anyio
async def test_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret")
    done = await run(tmp_path, "env", sandbox=Sandbox(environment={"MODE": "test"}))
    names = {line.partition("=")[0] for line in done.stdout.splitlines()}
    assert names == {"PATH", "HOME", "USER", "LOGNAME", "LANG", "TERM", "PWD", "MODE"}


@pytest.mark.anyio
async def test_programs_that_do_not_start(tmp_path: Path) -> None:
    assert "no-such-program" in (await run(tmp_path, "no-such-program")).stderr
    assert "no-such-folder" in (await run(tmp_path, "true", folder="no-such-folder")).stderr
    with pytest.raises(ValueError, match="null"):
        await run(tmp_path, "echo", "a\0b")
    with pytest.raises(OSError, match="too long"):
        await run(tmp_path, "echo", "x" * 3_000_000)
    root = work_folder(tmp_path)
    os.rename(root, root.with_name("gone"))
    with pytest.raises(FileNotFoundError):
        await run_confined(Sandbox(), root, ["true"])


@pytest.mark.anyio
async def test_its_own_network_works(tmp_path: Path) -> None:
    code = (
        "import socket; a = socket.create_server(('localhost', 0)); socket.create_connection(a.getsockname()); print(1)"
    )
    assert (await python(tmp_path, code)).stdout == "1\n"


@pytest.mark.anyio
async def test_much_is_read_and_little_kept(tmp_path: Path) -> None:
    done = await run(tmp_path, "sh", "-c", "seq 300000; seq 5 >&2", sandbox=Sandbox(output=1000))
    assert done.stderr == "1\n2\n3\n4\n5\n"
    assert done.stdout.startswith("1\n2\n3\n")
    assert done.stdout.endswith("299999\n300000\n")
    assert "bytes left out]" in done.stdout
    assert len(done.stdout) < 1100


@pytest.mark.anyio
@pytest.mark.slow
async def test_much_is_given_and_nothing_read(tmp_path: Path) -> None:
    done = await run(tmp_path, "true", stdin="x" * 3_000_000)
    assert done.exit_code == 0
    assert (await run(tmp_path, "wc", "-c", stdin="x" * 3_000_000)).stdout == "3000000\n"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "line",
    [
        "setsid sleep {mark} >/dev/null 2>&1 </dev/null &",
        *(
            pytest.param(line, marks=pytest.mark.slow)
            for line in (
                "sleep {mark} &",
                "(setsid sh -c 'trap \"\" TERM HUP INT; sleep {mark}; sleep {mark}' &) ; sleep 0.1",
                "nohup sleep {mark} & disown",
                "exec >&- 2>&-; sleep {mark} & exit 0",
            )
        ),
    ],
)
async def test_nothing_goes_on_after_its_end(tmp_path: Path, line: str) -> None:
    mark = f"{Random().randrange(10**6, 10**7)}.5"
    started = time.monotonic()
    done = await run(tmp_path, "bash", "-c", line.replace("{mark}", mark))
    assert (done.exit_code, done.stopped) == (0, None)
    assert time.monotonic() - started < 10
    assert left_over(mark) == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    "line",
    [
        "trap '' TERM INT HUP; while :; do sleep {mark}; done",
        *(
            pytest.param(line, marks=pytest.mark.slow)
            for line in (
                "setsid sleep {mark} & wait",
                "exec >&- 2>&- <&-; sleep {mark}",
                "kill -STOP $$; sleep {mark}",
            )
        ),
    ],
)
async def test_too_late(tmp_path: Path, line: str) -> None:
    mark = f"{Random().randrange(10**6, 10**7)}.5"
    done = await run(tmp_path, "bash", "-c", "echo begun; " + line.replace("{mark}", mark), timeout=3)
    assert done == Finished(exit_code=137, stdout="begun\n", stderr="", stopped="it took more than 3 seconds")
    assert left_over(mark) == []


@pytest.mark.anyio
async def test_the_limit_of_the_sandbox_is_above_that_of_the_call(tmp_path: Path) -> None:
    done = await run(tmp_path, "sleep", "100", sandbox=Sandbox(timeout=0.2), timeout=50)
    assert done.stopped == "it took more than 0.2 seconds"


@pytest.mark.anyio
@pytest.mark.parametrize("seed", [0, pytest.param(range(1, 40), marks=pytest.mark.slow)])
async def test_cancelled_at_any_moment(tmp_path: Path, seed: int | Sequence[int]) -> None:
    for number in [seed] if isinstance(seed, int) else seed:
        mark = f"{Random().randrange(10**6, 10**7)}.5"
        with anyio.move_on_after(Random(number).uniform(0, 0.12)) as scope:
            await run(tmp_path, "sh", "-c", f"sleep {mark} & sleep {mark}")
        assert scope.cancelled_caught
        with anyio.fail_after(10):  # what was killed in the instant of its start goes a little later
            while left_over(mark):  # noqa: ASYNC110 - of other processes
                await anyio.sleep(0.01)


HANDLES = """
import os, sys
from contextlib import suppress
import anyio
from agentkit_tools.processes import run_confined
from agentkit_tools.sandbox import Sandbox, work_folder

async def main():
    async def run(*argv):
        await run_confined(Sandbox(), work_folder(sys.argv[1]), argv)

    await run("true")
    before = os.listdir("/proc/self/fd")
    await run("true")
    with anyio.move_on_after(0.05):
        await run("sleep", "9")
    with suppress(ValueError):
        await run("a\\0b")
        raise SystemExit("it ran")
    print(len(os.listdir("/proc/self/fd")) - len(before))

anyio.run(main, backend=sys.argv[2])
"""


def test_its_files_are_closed(tmp_path: Path, anyio_backend: str) -> None:
    """In an interpreter of its own, since the handles of other tests come and go in this one."""
    command = [sys.executable, "-c", HANDLES, str(tmp_path), anyio_backend]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("0\n", "", 0)


# Each pauses between its forks, which leaves others on the machine a turn: they double every 10 ms all the same.
FORKS = """
import os, time
while True:
    try:
        os.fork()
    except OSError:
        pass
    time.sleep(0.01)
"""
SHARED = """
import mmap
kept = []
for _ in range(30):
    kept.append(mmap.mmap(-1, 32 << 20, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS))
    kept[-1].write(b"x" * (32 << 20))
"""
CHILDREN = """
import os, time
for _ in range(10):
    if os.fork() == 0:
        kept = b"x" * (40 << 20)
        time.sleep(100)
time.sleep(100)
"""
FILES = """
for number in range(1000):
    with open(f"f{number}", "wb") as file:
        for _ in range(8):
            file.write(bytes(1 << 20))
"""


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize(
    ("code", "limits", "why"),
    [
        (FORKS, {"processes": 50}, "it had more than 50 processes"),
        (SHARED, {"memory": 256 * MIB}, "it used more than 256 MiB of memory"),
        (CHILDREN, {"memory": 256 * MIB}, "it used more than 256 MiB of memory"),
        (FILES, {"disk": 200 * MIB}, "the free space on the disk fell by more than 200 MiB"),
    ],
)
async def test_limits_of_all_together(tmp_path: Path, code: str, limits: dict[str, Any], why: str) -> None:
    done = await python(tmp_path, code, timeout=60, **limits)
    if os.getuid() != 0 and code is FORKS:  # the kernel says no to each
        why = "it took more than 60 seconds"
    assert (done.exit_code, done.stopped) == (137, why)
    assert size_of(tmp_path) < 1000 * MIB


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize(
    ("code", "limits", "said"),
    [
        ("x = b'x' * (200 << 20)", {"memory": 100 * MIB}, "MemoryError"),
        ("open('big', 'wb').write(bytes(30 << 20))", {"file_size": 10 * MIB}, "File too large"),
        ("open('/dev/shm/big', 'wb').write(bytes(100 << 20))", {}, "No space left on device"),
        ("open('/tmp/big', 'wb').write(bytes(300 << 20))", {}, "No space left on device"),
        ("x = [open('/dev/null') for _ in range(100)]", {"open_files": 50}, "Too many open files"),
        ("import resource; print(resource.getrlimit(resource.RLIMIT_CORE))", {}, "(1, 1)"),
    ],
)
async def test_limits_of_one(tmp_path: Path, code: str, limits: dict[str, Any], said: str) -> None:
    done = await python(tmp_path, code, **limits)
    assert said in done.stdout + done.stderr
    assert done.stopped is None
    assert size_of(tmp_path) <= 10 * MIB


@pytest.mark.slow
@pytest.mark.anyio
async def test_processor_time(tmp_path: Path) -> None:
    done = await python(tmp_path, "while True: pass", cpu=1)
    assert (done.exit_code, done.stopped) in ((137, None), (152, None))  # SIGKILL or SIGXCPU


@pytest.mark.slow
@pytest.mark.anyio
async def test_shared_pages_are_counted_once(tmp_path: Path) -> None:
    code = (
        "import os, time\nx = b'x' * (100 << 20)\nfor _ in range(8):\n  if os.fork() == 0: time.sleep(1); os._exit(0)\n"
    )
    done = await python(tmp_path, code + "for _ in range(8): os.wait()", memory=400 * MIB)
    assert (done.exit_code, done.stopped) == (0, None)


@given(st.integers(1, 40), st.lists(st.binary(max_size=30), max_size=8))
def test_what_is_kept_of_any_output(size: int, pieces: list[bytes]) -> None:
    kept = Kept(size)
    for piece in pieces:
        kept.add(piece.replace(b"\x1b", b"").replace(b"\r", b""))
    whole = b"".join(pieces).replace(b"\x1b", b"").replace(b"\r", b"")
    half = max(size // 2, 1)
    if len(whole) <= 2 * half:
        assert kept.text() == whole.decode("utf-8", "replace")
    else:
        head, tail = (part.decode("utf-8", "replace") for part in (whole[:half], whole[-half:]))
        assert kept.text() == f"{head}\n[{len(whole) - 2 * half} bytes left out]\n{tail}"


def test_colours_are_left_out() -> None:
    kept = Kept(1000)
    kept.add(b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07plain\r\n\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\")
    assert kept.text() == "red plain\nlink"
