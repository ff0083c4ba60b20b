"""No path and no link leads out of a root: a table of attacks on every tool that takes a path."""

from __future__ import annotations

import gc
import itertools
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from rooted_world import SECRET, World, attacks, calls, resolved

from agentkit import ConfigurationError, ToolError
from agentkit_tools.files import files
from agentkit_tools.memory import memory
from agentkit_tools.rooted import Root, parts_of
from agentkit_tools.text_editor import text_editor

# What would make a file of that name, which is none of the attack's doing: a pattern, or a name like any other.
PATTERNS = ("glob pattern", "grep glob")
MAKERS = ("write", "write below", "move to", "create", "memory create", "memory rename to")
NUMBER_OF_CALLS = 22
QUICK = (5, 6, 10, 12)  # read, write, move to, view: the others go the same ways


@pytest.mark.parametrize(
    "at", [at if at in QUICK else pytest.param(at, marks=pytest.mark.slow) for at in range(NUMBER_OF_CALLS)]
)
def test_no_path_leads_out(tmp_path: Path, at: int) -> None:
    world = World(tmp_path)
    name, call = list(calls(world).items())[at]
    paths = attacks(world)
    assert len(paths) > 120
    for path in paths:
        # An absolute path is one below /memories there.
        is_name = (
            name in MAKERS + PATTERNS or (name.startswith("memory") and path.startswith("/")) or path in ("~", "Z:")
        )
        try:
            reply = str(call(path))
        except ToolError as error:
            reply = str(error)
        else:
            assert is_name, f"{name} {path!r}: {reply}"
        assert not reply.replace(path, "").count(SECRET), f"{name} {path!r}: {reply}"
        assert "root:x" not in reply, f"{name} {path!r}: {reply}"
        assert world.state() == world.before, f"{name} {path!r}"


def test_the_table_has_all_calls(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert len(calls(world)) == NUMBER_OF_CALLS
    assert len(set(attacks(world))) * NUMBER_OF_CALLS > 2000


def test_the_table_has_teeth(tmp_path: Path) -> None:
    """The two ways that are found in the field: joined and opened; resolved and looked at, then opened."""
    world = World(tmp_path)
    paths = [path for path in attacks(world) if "pipe" not in path]

    def joined(path: str) -> str:
        return (world.root / path).read_text()

    def escapes(read: Callable[[str], str]) -> int:
        found = 0
        for path in paths:
            try:
                found += SECRET in (text := read(path)) or "root:x" in text
            except (OSError, ValueError, RuntimeError):
                continue
        return found

    assert escapes(joined) > 25
    # The table can't tell this one, but the race can: see test_rooted_race.
    assert escapes(lambda path: resolved(world.root, path)) == 0


@pytest.mark.parametrize("name", ["write", "edit", "str_replace", "insert"])
def test_hard_links_are_not_written(tmp_path: Path, name: str) -> None:
    world = World(tmp_path)
    shared = world.root / "shared"
    os.link(world.outside / "secret.txt", shared)
    with pytest.raises(ToolError, match="shared has other hard links"):
        calls(world)[name]("shared")
    assert world.state() == world.before
    assert shared.stat().st_nlink == 2
    assert [it for it in os.listdir(world.root) if it.startswith(".agentkit")] == []


@pytest.mark.parametrize("at", ["/", "home", "above home", "missing", "file", "", None])
def test_a_root_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str | None) -> None:
    home = tmp_path / "people" / "ada"
    home.mkdir(parents=True)
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(home)
    monkeypatch.setenv("HOME", str(home))
    root = {"home": tmp_path / "link", "above home": tmp_path / "people"}.get(str(at), at)
    root = tmp_path / str(at) if at in ("missing", "file") else root
    for make in (Root, files, text_editor, memory):
        with pytest.raises(ConfigurationError) as caught:
            make(root)  # type: ignore[operator,arg-type]
        assert "\n" not in str(caught.value)
    if at == "home":
        assert "holds the home folder: give one folder in it" in str(caught.value)
        (home / "project").mkdir()
        assert Root(home / "project").path == home / "project"


def test_paths() -> None:
    assert parts_of("a//b/./c/") == ("a", "b", "c")
    assert parts_of(".") == parts_of("") == parts_of("./.") == ()
    assert parts_of("...") == ("...",)
    assert parts_of("a b/ü/..x") == ("a b", "ü", "..x")


def test_a_root_that_moved_is_still_the_one(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    root = Root(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    (tmp_path / "a").symlink_to("/etc")
    root.write("x", b"1")
    assert (tmp_path / "b" / "x").read_bytes() == b"1"
    assert root.entry("passwd") is None


def test_writing_keeps_the_mode_and_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Root(tmp_path)
    (tmp_path / "run.sh").write_text("old")
    (tmp_path / "run.sh").chmod(0o4750)
    root.write("run.sh", b"new")
    assert stat.S_IMODE((tmp_path / "run.sh").stat().st_mode) == 0o750  # and no longer another's rights
    root.write("secret", b"x", 0o600)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    for call in ("fsync", "rename"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, full)
            with pytest.raises(ToolError, match="No space left on device"):
                root.write("run.sh", b"half")
        assert (tmp_path / "run.sh").read_text() == "new"
        assert sorted(os.listdir(tmp_path)) == ["run.sh", "secret"]


def test_readers_see_the_old_or_the_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda opened: None)
    root = Root(tmp_path)
    for letter in "abc" * 50:
        root.write("f", letter.encode() * 5000)
        data = (tmp_path / "f").read_bytes()
        assert data == data[:1] * 5000


def handles_below(folder: Path) -> list[str]:
    """Open files of this process in a folder, and the folder."""
    return [target for one in Path("/proc/self/fd").iterdir() if (target := linked(one)).startswith(str(folder))]


def linked(handle: Path) -> str:
    with suppress(FileNotFoundError):  # that of the listing itself
        return os.readlink(handle)
    return ""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="there is no list of open files here")
def test_no_handle_is_left_open(tmp_path: Path) -> None:
    (world := World(tmp_path)).root.joinpath("many").mkdir()
    every = calls(world)
    open_before = handles_below(tmp_path)
    assert open_before
    for call, path in itertools.product(every.values(), ["missing/x", "readme.md", "src", "file_link", "pipe", "../x"]):
        try:
            call(path)
        except ToolError:
            continue
    assert sorted(handles_below(tmp_path)) == sorted(open_before)
    del every, call
    gc.collect()  # an error holds the frames that it came through
    assert handles_below(tmp_path) == []


def test_deleting_a_whole_folder_leaves_what_its_links_lead_to(tmp_path: Path) -> None:
    world = World(tmp_path)
    calls(world)["memory delete"]("src")
    assert not (world.root / "src").exists()
    assert world.state() == world.before
