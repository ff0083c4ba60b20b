"""Notes in one file: whatever happens to it, what was noted whole is read back."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentkit import Tool, ToolError
from agentkit.tools import InvalidInput
from agentkit_tools import notes


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "notes.jsonl"


def tools(file: Path) -> tuple[Tool, Tool]:
    add_note, read_notes = notes(file)
    return add_note, read_notes


def test_notes(file: Path) -> None:
    add_note, read_notes = tools(str(file))  # type: ignore[arg-type]
    assert read_notes() == "There are no notes yet."
    assert not file.exists()
    assert add_note("Rome\n trip", "By train.\n\nOn Monday.") == "Noted: Rome trip"
    assert add_note(title="Bread", text="") == "Noted: Bread"
    assert read_notes() == "## Rome trip\n\nBy train.\n\nOn Monday.\n\n## Bread"
    assert read_notes("monday ROME") == "## Rome trip\n\nBy train.\n\nOn Monday."
    assert read_notes(query="monday bread") == "There are 2 notes, none with all of: monday bread"
    assert [json.loads(line) for line in file.read_text("utf-8").splitlines()] == [
        {"title": "Rome trip", "text": "By train.\n\nOn Monday."},
        {"title": "Bread", "text": ""},
    ]


def test_other_tools_on_the_file_see_them(file: Path) -> None:
    tools(file)[0]("a", "1")
    tools(file)[0]("b", "2")
    assert tools(file)[1]() == "## a\n\n1\n\n## b\n\n2"


def test_effects_and_input(file: Path) -> None:
    add_note, read_notes = tools(file)
    assert (add_note.name, add_note.effect, add_note.is_read) == ("add_note", {"write"}, False)
    assert (read_notes.name, read_notes.effect, read_notes.is_read) == ("read_notes", {"read", "private"}, True)
    assert "path" not in json.dumps([add_note.definition, read_notes.definition])
    assert all(it["description"] for it in add_note.input_schema["properties"].values())
    for bad in ({"title": "", "text": "x"}, {"title": "x" * 201, "text": ""}, {"title": "x", "text": "x" * 65537}):
        with pytest.raises(InvalidInput):
            add_note.validate(bad)


@pytest.mark.parametrize(
    "left", ["", '{"title": "half', '{"title": "whole", "text": "w"}\n{"ti', "no JSON\n[1]\n{}\n\xff\n"]
)
def test_what_a_crash_left_is_skipped(file: Path, left: str) -> None:
    file.write_bytes(left.encode("latin-1"))
    add_note, read_notes = tools(file)
    add_note("new", "n")
    read = read_notes()
    assert read.endswith("## new\n\nn")
    assert ("## whole" in read) == ("whole" in left)
    assert read.count("##") == 1 + ("whole" in left)


def test_cut_at_every_byte(file: Path) -> None:
    add_note, _ = tools(file)
    add_note("one", "1é")
    add_note("two", "2")
    whole = file.read_bytes()
    first = whole.index(b"\n")
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        add_note, read_notes = tools(file)
        add_note("three", "3")
        # A line without its newline is whole too.
        expected = ["## one\n\n1é"] * (size >= first) + ["## two\n\n2"] * (size >= len(whole) - 1) + ["## three\n\n3"]
        assert read_notes() == "\n\n".join(expected)


def test_parallel_calls(file: Path) -> None:
    both = [tools(file), tools(file)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: both[number % 2][0](f"n{number}", "x" * 5000), range(60)))
    # Who sees a line of the other half written begins a new one, so a blank one may be between them.
    kept = [json.loads(line)["title"] for line in file.read_bytes().split(b"\n") if line]
    assert sorted(kept) == sorted(f"n{number}" for number in range(60))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.text(st.characters(codec=None), min_size=1), st.text(st.characters(codec=None)))))
def test_any_text_is_kept(tmp_path: Path, pairs: list[tuple[str, str]]) -> None:
    file = tmp_path / "any.jsonl"
    file.unlink(missing_ok=True)
    add_note, read_notes = tools(file)
    for title, text in pairs:
        add_note(title, text)
    read = read_notes()
    assert isinstance(read, str)
    assert all(f"## {' '.join(title.split())}\n\n{text}".rstrip() in read for title, text in pairs)


def test_full(file: Path) -> None:
    with file.open("wb") as opened:
        opened.truncate(16 * 1024 * 1024 - 10)
    with pytest.raises(ToolError, match="The notes are full"):
        tools(file)[0]("one", "more")
    assert file.stat().st_size == 16 * 1024 * 1024 - 10


def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    add_note, read_notes = tools(tmp_path / "no folder" / "notes.jsonl")
    with pytest.raises(ToolError, match="The notes can't be written: No such file or directory"):
        add_note("a", "b")
    assert read_notes() == "There are no notes yet."
    _, read_notes = tools(tmp_path)
    with pytest.raises(ToolError, match="The notes can't be read"):
        read_notes()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on " + sys.platform)
def test_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="The notes can't be written"):
        tools(Path("/dev/full"))[0]("a", "b")


def test_P25_notes_of_runs_that_read_what_others_wrote_say_so(tmp_path: Path) -> None:
    for untrusted, expected in ((False, {"read", "private"}), (True, {"read", "private", "untrusted"})):
        _, read = notes(tmp_path / "notes.jsonl", untrusted=untrusted)
        assert read.effect == expected
