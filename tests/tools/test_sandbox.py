"""The sandbox refuses what it can't confine: wrong folders and limits, and a machine that has no sandbox."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from sandboxed import needs_sandbox

from agentkit import ConfigurationError
from agentkit_tools import sandbox as module
from agentkit_tools.bash import bash
from agentkit_tools.processes import run_confined
from agentkit_tools.python import cpython
from agentkit_tools.sandbox import Sandbox, Start, work_folder
from agentkit_tools.shell import shell
from agentkit_tools.syscalls import filter_program

pytestmark = pytest.mark.slow

MAKERS = pytest.mark.parametrize("make", [shell, cpython, bash])


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As in a process that has not looked yet; what it finds is forgotten."""
    monkeypatch.setattr(module, "_check", module._check.__wrapped__)  # type: ignore[attr-defined]
    return monkeypatch


def programs(folder: Path, **said: str) -> str:
    """A PATH on which there are these programs alone, which print what they are given and fail."""
    for name, text in said.items():
        (folder / name).write_text(f"#!/bin/sh\necho '{text}' >&2\nexit 1\n")
        (folder / name).chmod(0o755)
    return str(folder)


@MAKERS
def test_without_bubblewrap_no_tool_is_made(unchecked: pytest.MonkeyPatch, tmp_path: Path, make: Any) -> None:
    unchecked.setenv("PATH", programs(tmp_path, choom="", prlimit=""))
    with pytest.raises(ConfigurationError, match=r"^the sandbox needs bubblewrap: apt install bubblewrap$"):
        make(tmp_path)


def test_each_missing_program_is_named_with_its_package(unchecked: pytest.MonkeyPatch, tmp_path: Path) -> None:
    unchecked.setenv("PATH", programs(tmp_path))
    with pytest.raises(ConfigurationError, match=r"apt install bubblewrap util-linux$"):
        Sandbox().check()


def test_no_other_system(unchecked: pytest.MonkeyPatch) -> None:
    unchecked.setattr(sys, "platform", "darwin")
    with pytest.raises(ConfigurationError, match="needs Linux"):
        Sandbox().check()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("bwrap: Unknown option --disable-userns", "needs a newer bubblewrap"),
        ("bwrap: No permissions to create a new namespace", "lets this user make no user namespaces"),
        ("bwrap: setting up uid map: Permission denied", "apparmor_restrict_unprivileged_userns"),
        ("bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted", "lets this user make no user namespaces"),
        ("bwrap: something else", "does not start here: bwrap: something else"),
    ],
)
def test_what_bubblewrap_refuses_is_told(unchecked: pytest.MonkeyPatch, tmp_path: Path, said: str, told: str) -> None:
    path = programs(tmp_path, bwrap=said, prlimit="")
    (tmp_path / "choom").write_text('#!/bin/sh\nshift 3\nexec "$@"\n')
    (tmp_path / "choom").chmod(0o755)
    unchecked.setenv("PATH", f"{path}:{os.environ['PATH']}")
    unchecked.setattr(module, "_ENVIRONMENT", {"PATH": os.environ["PATH"]})
    with pytest.raises(ConfigurationError, match=told) as error:
        Sandbox().check()
    assert "\n" not in str(error.value)


@needs_sandbox
@pytest.mark.slow
def test_where_the_kernel_refuses_user_namespaces() -> None:
    code = "from agentkit_tools.sandbox import Sandbox; Sandbox().check()"
    refuses = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$0" "$@"'
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", refuses, sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "ConfigurationError: the kernel lets this user make no user namespaces" in done.stderr.splitlines()[-1]


def test_no_filter_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {}
    for machine in ("x86_64", "aarch64"):
        monkeypatch.setattr("platform.machine", lambda machine=machine: machine)
        sizes[machine] = len(filter_program())
    assert sizes["x86_64"] > sizes["aarch64"] > 8 * 60
    assert all(size % 8 == 0 and size < 4096 * 8 for size in sizes.values())
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(ConfigurationError, match="riscv64"):
        filter_program()


@MAKERS
@pytest.mark.parametrize("root", ["/", "/usr", "/usr/share", "/etc", "/proc/self", "/dev/shm", "/home", "~", "", "no"])
def test_no_folder_to_work_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any, root: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=r"give the tools a|another one"):
        make(os.path.expanduser(root))


def test_nor_the_home_folder_or_one_above_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "people" / "ada"
    (home / "project").mkdir(parents=True)
    (tmp_path / "link").symlink_to(home)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(home))
    for refused in (home, home.parent, tmp_path, tmp_path / "link", tmp_path / "file"):
        with pytest.raises(ConfigurationError):
            work_folder(refused)
    assert work_folder(tmp_path / "link" / "project") == home / "project"


@pytest.mark.parametrize(
    "wrong",
    [{"timeout": 0}, {"memory": -1}, {"processes": 0}, {"readable": ["relative"]}, {"readable": ["/not/there"]}],
)
def test_wrong_settings(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        Sandbox(**wrong)


@needs_sandbox
def test_its_own_programs_are_not_those_of_the_work_folder(tmp_path: Path) -> None:
    path = programs(tmp_path, bwrap="not it", choom="not it", prlimit="not it")
    sandbox = Sandbox(environment={"PATH": f"{path}:/usr/bin"})

    async def main() -> str:
        return (await run_confined(sandbox, work_folder(tmp_path), ["sh", "-c", "ulimit -n; prlimit"])).stdout

    assert anyio.run(main) == "1024\n"


def test_what_lies_in_the_other_is_mounted_over_it(tmp_path: Path) -> None:
    inner = tmp_path / "work" / "tools"
    inner.mkdir(parents=True)
    work = work_folder(tmp_path / "work")
    start = Start.of(Sandbox(readable=[inner, tmp_path]), work, ["true"])
    start.close()
    at = [start.command.index(str(path)) for path in (tmp_path, work, inner)]
    assert at == sorted(at)


@needs_sandbox
def test_this_interpreter_can_not_be_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".venv").mkdir()
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))

    async def main() -> str:
        return (await run_confined(Sandbox(), work_folder(tmp_path), ["touch", ".venv/a", "b"])).stderr

    assert "Read-only file system" in anyio.run(main)
    assert (tmp_path / "b").exists()


@needs_sandbox
def test_a_link_among_the_protected_leads_nowhere(tmp_path: Path) -> None:
    """What an earlier command put there must not be mounted by the next one."""
    root, secret = tmp_path / "work", tmp_path / "secret"
    for folder in (root / "sub", secret / "a" / ".git"):
        folder.mkdir(parents=True)
    (secret / ".env").write_text("TOKEN=1")
    (secret / "a" / ".git" / "config").write_text("TOKEN=1")
    for link, target in [(".git", ""), (".env", ".env"), ("sub/.git", ""), ("other", ""), ("third", "a")]:
        (root / link).symlink_to(secret / target)

    async def main() -> str:
        argv = ["sh", "-c", "cat .git/.env .env sub/.git/.env other/a/.git/config third/.git/config; echo ran"]
        return (await run_confined(Sandbox(), work_folder(root), argv)).stdout

    assert anyio.run(main) == "ran\n"


@needs_sandbox
def test_a_link_in_place_of_what_is_readable_ends_it(tmp_path: Path) -> None:
    """Of two commands, the first moves the folder that holds it; where it is fixed, it can't."""
    root, secret = tmp_path / "work", tmp_path / "secret"
    (root / "a" / "b" / "tools").mkdir(parents=True)
    (secret / "tools").mkdir(parents=True)
    (secret / "tools" / "key").write_text("TOKEN=1")
    sandbox = Sandbox(readable=[root / "a" / "b" / "tools"])

    async def main(*argv: str) -> str:
        done = await run_confined(sandbox, work_folder(root), argv)
        return done.stdout + done.stderr

    assert "busy" in anyio.run(main, "mv", "a", "c")
    assert "busy" in anyio.run(main, "mv", "a/b", "c")
    assert anyio.run(main, "touch", "a/file", "a/b/file") == ""
    os.rename(root / "a" / "b", root / "moved")
    (root / "a" / "b").symlink_to(secret)
    with pytest.raises(NotADirectoryError):
        anyio.run(main, "cat", "a/b/tools/key")
