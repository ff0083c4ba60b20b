"""A swap race: another process swaps folders and files for links while the tools use them; nothing gets out."""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rooted_world import CTX, SECRET, World, resolved

from agentkit import ToolError
from agentkit_tools.files import files
from agentkit_tools.memory import memory

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
TRIES = 100_000 if LONG else 2_000

SWAPPER = """
import ctypes, os, sys
os.chdir(sys.argv[1])
exchange = ctypes.CDLL(None).renameat2  # two names change places at once: there is no moment without one
print("ready", flush=True)
count = 0
while True:
    for at, to in ((b"d", "../outside"), (b"e/g", "../../outside/f")):
        exchange(-100, at, -100, at + b".link", 2)
        count += 1
        if count % 100 < 2 and not os.path.islink(at) and not os.path.islink(at + b".link"):
            os.unlink(at + b".link")  # a tool replaced the link by its file, as it may
            os.symlink(to, at + b".link")
"""


def can_swap() -> bool:
    return hasattr(ctypes.CDLL(None), "renameat2")


needs_swaps = pytest.mark.skipif(not can_swap(), reason="no renameat2 on this system")


@contextmanager
def swapping(root: Path) -> Iterator[None]:
    """Another process swaps `d`, a folder, and `e/g`, a file, for links to the outside, as fast as it can."""
    with subprocess.Popen([sys.executable, "-c", SWAPPER, str(root)], stdout=subprocess.PIPE) as swapper:
        try:
            assert swapper.stdout is not None
            assert swapper.stdout.readline() == b"ready\n"
            yield
            assert swapper.poll() is None
        finally:
            swapper.kill()


@pytest.fixture
def raced(tmp_path: Path) -> World:
    world = World(tmp_path)
    for made in (world.root / "d", world.root / "e"):
        made.mkdir()
    for name in ("f", "only-outside"):
        (world.outside / name).write_text(f"{SECRET}\n")
    (world.root / "d" / "f").write_text("inside\n")
    (world.root / "e" / "g").write_text("inside\n")
    (world.root / "d.link").symlink_to("../outside")
    (world.root / "e" / "g.link").symlink_to("../../outside/f")
    world.before = world.state()
    return world


def races(world: World) -> list[Callable[[], Any]]:
    tools = {it.name: it for it in files(world.root, write=True)}
    kept = memory(world.root)
    reads = [lambda: tools["read_file"]("d/f"), lambda: tools["read_file"]("e/g")]
    return [
        *(4 * reads),
        lambda: tools["list_files"]("d"),
        lambda: tools["grep_files"](CTX, "SECRET", "d"),
        lambda: tools["glob_files"]("**/only*", "."),
        lambda: tools["write_file"]("d/f", "inside\n"),
        lambda: tools["write_file"]("e/g", "inside\n"),
        lambda: tools["edit_file"]("d/f", "inside", "inside "),
        lambda: tools["edit_file"]("e/g", "inside", "inside "),
        lambda: tools["write_file"]("d/new/file", "inside\n"),
        lambda: tools["move_file"]("d/new", "d/old"),
        lambda: tools["move_file"]("d/only-outside", "stolen"),
        lambda: tools["move_file"]("readme.md", "d/planted"),
        lambda: tools["delete_file"]("d/only-outside"),
        lambda: tools["undo_change"](),
        lambda: kept("delete", "/memories/d/old"),
        lambda: kept("view", "/memories/e/g"),
    ]


@needs_swaps
@pytest.mark.slow
def test_a_swap_race(raced: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda opened: None)  # nothing is lost here but time
    outcomes = {"done": 0, "refused": 0}
    with swapping(raced.root):
        for number, call in zip(range(TRIES), itertools.cycle(races(raced)), strict=False):
            try:
                reply = str(call())
                outcomes["done"] += 1
            except ToolError as error:
                reply = str(error)
                outcomes["refused"] += 1
            assert SECRET not in reply, reply
            if number % 100 == 0:
                assert raced.state() == raced.before
    assert raced.state() == raced.before
    assert not (raced.root / "stolen").exists()
    # Both sides of the swap were met, so there was a race.
    assert min(outcomes.values()) > TRIES / 50, outcomes


@needs_swaps
@pytest.mark.slow
def test_the_race_has_teeth(raced: World) -> None:
    """The same race is lost by who resolves the path, finds it inside, and opens it then."""
    tries = itertools.count(1)
    ends = time.monotonic() + 60
    with swapping(raced.root):
        while time.monotonic() < ends:
            for path in ("d/f", "e/g"):
                try:
                    text = resolved(raced.root, path)
                except (OSError, ValueError, RuntimeError):
                    text = ""
                if SECRET in text:
                    return
            next(tries)
    pytest.fail(f"no escape in {next(tries):,} tries")
