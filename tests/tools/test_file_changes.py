"""Changes of files: what they make of a folder, and that each can be taken back."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from file_box import Box, state, written
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentkit import NotDone, ToolError
from agentkit_tools import file_changes


@pytest.fixture
def box(tmp_path: Path) -> Box:
    (tmp_path / "src" / "deep").mkdir(parents=True)
    (tmp_path / "src" / "main.py").write_text("import os\n\n\ndef main():\n    return os\n")
    (tmp_path / "src" / "deep" / "x.py").write_text("os = 1\n")
    (tmp_path / "notes.md").write_text("# Notes\n")
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "y.py").write_text("os = 2\n")
    return Box(tmp_path)


def test_write_and_edit(box: Box) -> None:
    assert box.write_file("new/folder/a.txt", "é\n") == "Wrote new/folder/a.txt: 3 bytes."
    assert box.write_file("new/folder/a.txt", "one\ntwo\none two\n") == "Replaced new/folder/a.txt: 16 bytes."
    assert box.edit_file("new/folder/a.txt", "two\none", "2\n1") == "Edited new/folder/a.txt: line 2."
    assert (box.root / "new/folder/a.txt").read_text() == "one\n2\n1 two\n"
    for old, why in {
        "absent": "The old text is not in new/folder/a.txt",
        "o": "is in new/folder/a.txt 2 times, in lines 1, 3: give more",
        "": "The old text is empty",
        "     1\tone": "without line numbers",
    }.items():
        with pytest.raises(ToolError, match=why):
            box.edit_file("new/folder/a.txt", old, "x")
    with pytest.raises(ToolError, match="are the same"):
        box.edit_file("new/folder/a.txt", "2", "2")
    with pytest.raises(ToolError, match="half a character"):
        box.write_file("new/folder/a.txt", "\ud800")
    assert (box.root / "new/folder/a.txt").read_text() == "one\n2\n1 two\n"
    assert box.edit_file("new/folder/a.txt", "2\n", "") == "Edited new/folder/a.txt: line 2."


def test_edits_overlap(box: Box) -> None:
    written(box, "f", "aaa")
    with pytest.raises(ToolError, match="2 times"):
        box.edit_file("f", "aa", "b")


def test_ends_of_lines_stay(box: Box) -> None:
    (box.root / "dos.txt").write_bytes(b"one\r\ntwo\r\nthree\r\n")
    box.edit_file("dos.txt", "one\ntwo", "1\n2")
    assert (box.root / "dos.txt").read_bytes() == b"1\r\n2\r\nthree\r\n"
    (box.root / "bom.txt").write_bytes(b"\xef\xbb\xbfone\n")
    box.edit_file("bom.txt", "one", "two")
    assert (box.root / "bom.txt").read_bytes() == b"\xef\xbb\xbftwo\n"


def test_move_and_delete(box: Box) -> None:
    assert box.move_file("src/main.py", "app/run.py") == "Moved src/main.py to app/run.py."
    assert box.move_file("src", "app/old") == "Moved src to app/old."
    assert sorted(os.listdir(box.root / "app")) == ["old", "run.py"]
    for given_, why in {
        ("notes.md", "app/run.py"): "There is app/run.py already: delete it first",
        ("app", "app/inner"): "can't be moved into itself",
        ("app", "app"): "can't be moved into itself",
        ("nope", "x"): "There is no nope",
        ("notes.md", "app/run.py/x"): "There is no app/run.py/x: a name on the way is a file",
        (".", "x"): "the folder itself",
        ("app", "."): "the folder itself",
    }.items():
        with pytest.raises(ToolError, match=why):
            box.move_file(*given_)
    assert box.delete_file("app/old/deep/x.py") == "Deleted app/old/deep/x.py."
    with pytest.raises(ToolError, match="app is a folder with 2 entries: delete those first"):
        box.delete_file("app")
    assert box.delete_file("app/old/deep") == "Deleted the folder app/old/deep."
    with pytest.raises(ToolError, match="There is no nope"):
        box.delete_file("nope")


def test_undo(box: Box) -> None:
    (box.root / "notes.md").chmod(0o640)
    before = state(box.root)
    box.write_file("notes.md", "changed")
    box.edit_file("notes.md", "changed", "again")
    box.write_file("fresh.txt", "x")
    box.move_file("notes.md", "moved.md")
    box.delete_file("moved.md")
    box.delete_file("src/deep/x.py")
    box.delete_file("src/deep")
    told = [box.undo_change() for _ in range(7)]
    assert told == [
        "Taken back: Deleted the folder src/deep.",
        "Taken back: Deleted src/deep/x.py.",
        "Taken back: Deleted moved.md.",
        "Taken back: Moved notes.md to moved.md.",
        "Taken back: Wrote fresh.txt.",
        "Taken back: Changed notes.md.",
        "Taken back: Changed notes.md.",
    ]
    assert state(box.root) == before
    with pytest.raises(ToolError, match="There is no change left that could be taken back"):
        box.undo_change()


def test_undo_leaves_what_others_changed(box: Box) -> None:
    box.write_file("a", "first")
    box.write_file("a", "second")
    (box.root / "a").write_text("by a human")
    with pytest.raises(ToolError, match="a was changed by somebody else since: it is left as it is"):
        box.undo_change()
    assert (box.root / "a").read_text() == "by a human"
    box.delete_file("a")
    (box.root / "a").write_text("another")
    with pytest.raises(ToolError, match="There is another a now"):
        box.undo_change()
    assert (box.root / "a").read_text() == "another"


def test_what_is_kept_for_undo_is_bounded(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_changes, "_MOST_KEPT", 100)
    box.write_file("a", "x" * 60)
    box.write_file("a", "y" * 60)
    box.write_file("a", "z" * 60)
    assert box.undo_change() == "Taken back: Changed a."
    with pytest.raises(ToolError, match="no change left"):
        box.undo_change()


@pytest.fixture
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bringing files to the disk is most of the time, and none of these tests looks there."""
    monkeypatch.setattr(os, "fsync", lambda opened: None)


@pytest.mark.usefixtures("unsynced")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("write_file"), st.sampled_from(["ab/x", "c"]), st.text(max_size=5)),
            st.tuples(st.just("edit_file"), st.sampled_from(["ab/x", "c"]), st.text("ab"), st.text("ab")),
            st.tuples(st.just("move_file"), st.sampled_from(["a", "c", "d"]), st.sampled_from(["d/a", "c", "e/f"])),
            st.tuples(st.just("delete_file"), st.sampled_from(["a", "c", "d", "d/a", "e/f"])),
        ),
        max_size=8,
    )
)
def test_undoing_all_gives_what_was_there(tmp_path: Path, steps: list[Any]) -> None:
    root = tmp_path / str(time.monotonic_ns())
    root.mkdir()
    (root / "a").write_text("ab")
    box = Box(root)
    done = 0
    for name, *given_ in steps:
        try:
            box.tools[name](*given_)
            done += 1
        except ToolError:
            continue
    for _ in range(done):
        box.undo_change()
    assert {it for it in state(root).items() if it[1][1] is not None} == {("a", ((root / "a").stat().st_mode, b"ab"))}


def test_what_became_of_a_call_whose_process_died(box: Box) -> None:
    def verify(name: str, **arguments: str) -> Any:
        found = box.tools[name].verify
        assert found is not None
        return found(box.ctx, arguments)

    with pytest.raises(NotDone):
        verify("write_file", path="a", content="x")
    box.write_file("a", "x")
    assert verify("write_file", path="a", content="x") == "Wrote a: 1 bytes."
    with pytest.raises(NotDone):
        verify("move_file", path="a", destination="b")
    box.move_file("a", "b")
    assert verify("move_file", path="a", destination="b") == "Moved a to b."
    with pytest.raises(ToolError):
        verify("move_file", path="a", destination="c")
    with pytest.raises(NotDone):
        verify("delete_file", path="b")
    box.delete_file("b")
    assert verify("delete_file", path="b") == "Deleted b."
    assert box.tools["edit_file"].verify is None  # who could tell?
