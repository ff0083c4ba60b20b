"""The environments of the peers: software that nobody here wrote, each set in a folder of its own, made once."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["PEERS", "Missing", "environment", "made_once"]

HOME = Path(os.environ.get("AGENTKIT_PEERS_HOME") or Path.home() / ".cache" / "agentkit-peers")

# Exact, so that a red run is of our making; raise them now and then.
PEERS = {
    "anthropic-1": ("anthropic==1.17.0",),
    "anthropic-2": ("anthropic==2.14.0",),
    "frameworks": (
        "llm==0.36",
        "llm-anthropic==0.30",
        "pydantic-ai-slim[anthropic]==2.68.0",
        "langchain==1.5.2",
        "langchain-anthropic==1.7.10",
    ),
    "bfcl": ("bfcl-eval==2026.3.23", "mpmath==1.4.1"),
    "node": ("@anthropic-ai/sdk@1.14.0", "ai@6.0.326", "@ai-sdk/anthropic@3.0.140", "zod@4.6.7"),
}
_STAMP = "made.json"
_SECONDS = 600
# As it is before `conftest.py` takes proxies out: an installer may need one.
_ENVIRON = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}


class Missing(Exception):
    """An environment can't be had here; the text says why, in one line."""


def environment(name: str) -> Path:
    """The folder of a set of `PEERS`, made if it is not there as it should be.

    `bfcl` is a folder for `PYTHONPATH`, `node` one with `node_modules`; the others are Pythons of their own.

    Raises:
        Missing: A package or a tool is not to be had.
    """
    folder = HOME / name
    stamp = json.dumps([PEERS[name], "" if name == "node" else sys.version])
    return made_once(folder, stamp, _commands(name, folder))


def made_once(folder: Path, stamp: str, commands: Iterable[list[str]]) -> Path:
    """The folder, made by these commands if it does not have this stamp: by one process, for which others wait.

    Raises:
        Missing: A package or a tool is not to be had.
    """
    made = folder / _STAMP

    def is_there() -> bool:
        return made.exists() and made.read_text("utf-8") == stamp

    if is_there():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_there():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for command in commands:
                _run(command)
            made.write_text(stamp, "utf-8")
    return folder


def _commands(name: str, folder: Path) -> Iterator[list[str]]:
    packages = PEERS[name]
    if name == "node":
        yield ["npm", "install", "--prefix", str(folder), "--no-fund", "--no-audit", "--ignore-scripts", *packages]
    elif name == "bfcl":
        # Its dependencies are those of a hundred models; the dialogues need none of them.
        yield [*_installer(Path(sys.executable)), "--no-deps", "--target", str(folder), *packages]
    else:
        venv.create(folder, symlinks=os.name == "posix")
        yield [*_installer(folder / "bin" / "python"), *packages]


def _installer(python: Path) -> list[str]:
    """The command that installs into a Python: with uv if it is there, else with the pip of one that has it."""
    if shutil.which("uv"):
        return ["uv", "pip", "install", "--quiet", "--python", str(python)]
    for pip in (sys.executable, "python3"):
        if subprocess.run([pip, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
            # Not compiled: most of these files are never imported.
            return [pip, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-compile", "--retries", "1"]
    raise Missing("there is neither uv nor pip")


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, env=_ENVIRON, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except FileNotFoundError:
        raise Missing(f"there is no {command[0]}") from None
    except subprocess.TimeoutExpired:
        raise Missing(f"{command[0]} took more than {_SECONDS} seconds") from None
    if done.returncode:
        told = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        raise Missing(told[-1] if told else f"{command[0]} failed")
