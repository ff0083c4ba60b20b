"""The tools for files: what they show, and how to go on where there is too much."""

from __future__ import annotations

import base64
import os
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from file_box import Box, pdf, png, written
from hypothesis import given
from hypothesis import strategies as st

from agentkit import Agent, ToolError
from agentkit.emulator import reply, tool_use
from agentkit.tools import InvalidInput
from agentkit_tools import file_changes, file_search
from agentkit_tools.file_search import matcher, matches
from agentkit_tools.files import files

READING = ["list_files", "glob_files", "grep_files", "read_file"]
WRITING = ["write_file", "edit_file", "move_file", "delete_file", "undo_change"]


@pytest.fixture
def box(tmp_path: Path) -> Box:
    (tmp_path / "src" / "deep").mkdir(parents=True)
    (tmp_path / "src" / "main.py").write_text("import os\n\n\ndef main():\n    return os\n")
    (tmp_path / "src" / "deep" / "x.py").write_text("os = 1\n")
    (tmp_path / "notes.md").write_text("# Notes\n")
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "y.py").write_text("os = 2\n")
    return Box(tmp_path)


def test_which_tools_there_are(tmp_path: Path) -> None:
    assert [it.name for it in files(tmp_path)] == READING
    assert [it.name for it in files(tmp_path, write=True)] == READING + WRITING
    for it in files(tmp_path, write=True):
        assert it.effect == ({"read", "private"} if it.name in READING else {"write"})
        assert it.is_read == (it.name in READING)
        described = it.input_schema["properties"]
        assert all(field.get("description") for field in described.values()), it.name
        assert it.description
    for it in files(tmp_path, untrusted=True):
        assert it.effect == {"read", "private", "untrusted"}
        assert not it.is_read
    assert not any(str(tmp_path) in str(it.definition) for it in files(tmp_path))


def test_list(box: Box) -> None:
    (box.root / "link").symlink_to("src")
    os.mkfifo(box.root / "pipe")
    (box.root / "two\nlines").write_text("")
    assert box.list_files().split("\n") == [
        "link  (symbolic link: it can't be used)",
        "node_modules/",
        "notes.md  8 bytes",
        "pipe  (pipe: it can't be used)",
        "src/",
        r"'two\nlines'  0 bytes",
    ]
    assert box.list_files("src") == "deep/\nmain.py  38 bytes"
    (box.root / "empty").mkdir()
    assert box.list_files("empty") == "empty is empty."
    for path in ("notes.md", "missing", "link", "missing/x"):
        with pytest.raises(ToolError, match=f"There is no {path}"):
            box.list_files(path)


def test_pages(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[files.__module__], "_MOST_ENTRIES", 100)
    many = box.root / "many"
    many.mkdir()
    for number in range(305):
        (many / f"{number:04}").write_text("")
    seen, start = [], 1
    while True:
        *lines, last = box.list_files("many", start).split("\n")
        if not (go_on := re.fullmatch(r"\[.* of 305 entries: go on with start=(\d+)\]", last)):
            seen += [*lines, last]
            break
        seen += lines
        start = int(go_on[1])
    assert [line.split()[0] for line in seen] == [f"{number:04}" for number in range(305)]
    with pytest.raises(ToolError, match="There are 305 entries: none from 400 on"):
        box.list_files("many", 400)
    assert "go on with start=101" in box.glob_files("many/*")
    for bad in ({"start": 0}, {"start": "x"}, {"depth": 1}):
        with pytest.raises(InvalidInput):
            box.list_files.validate(bad)


@pytest.mark.parametrize(
    ("pattern", "path", "found"),
    [
        ("*.py", ".", ["src/deep/x.py", "src/main.py"]),
        ("*.py", "src/deep", ["src/deep/x.py"]),
        ("src/*.py", ".", ["src/main.py"]),
        ("src/**/*.py", ".", ["src/deep/x.py", "src/main.py"]),
        ("**", ".", ["notes.md", "src/deep/x.py", "src/main.py"]),
        ("**/deep/**", ".", ["src/deep/x.py"]),
        ("./src/[lm]*.??", ".", ["src/main.py"]),
        ("*", "node_modules", ["node_modules/y.py"]),
        ("*", "notes.md", ["notes.md"]),
        ("node_modules/*", ".", []),
        ("*.PY", ".", []),
    ],
)
def test_glob(box: Box, pattern: str, path: str, found: list[str]) -> None:
    assert box.glob_files(pattern, path) == ("\n".join(found) or f"No file matches {pattern} in {path}.")


@pytest.mark.parametrize("pattern", ["", "/", "../*", "/etc/*", "a/../b", ".", "x" * 2000])
def test_glob_refuses(box: Box, pattern: str) -> None:
    with pytest.raises(ToolError, match=r"pattern"):
        box.glob_files(pattern)


NAMES = st.text("ab*?", min_size=1, max_size=3).filter(lambda name: name != "**")


@given(st.lists(st.text("ab", min_size=1, max_size=2), min_size=1, max_size=4), st.lists(NAMES | st.just("**")))
def test_glob_is_as_a_regular_expression(parts: list[str], wanted: list[str]) -> None:
    pattern = "/".join(["**", *wanted]) + "/*"
    spelled = "".join(
        "(?:[ab]+/)*" if name == "**" else re.escape(name).replace(r"\*", "[ab]*").replace(r"\?", "[ab]") + "/"
        for name in [*pattern.split("/")]
    )
    # `**` takes no slash of its own at the end.
    assert matches(parts, pattern) == bool(re.fullmatch(spelled, "/".join(parts) + "/"))


def test_grep(box: Box) -> None:
    assert box.grep("os") == "src/deep/x.py:1: os = 1\nsrc/main.py:1: import os\nsrc/main.py:5:     return os"
    assert box.grep("^OS$|^Import", ignore_case=True) == "src/main.py:1: import os"
    assert box.grep("os", "node_modules") == "node_modules/y.py:1: os = 2"
    assert box.grep("os", "src/main.py", glob="nothing") == "src/main.py:1: import os\nsrc/main.py:5:     return os"
    assert box.grep("os", glob="deep/*") == "No matches in 0 files."
    assert box.grep("os", glob="**/deep/*") == "src/deep/x.py:1: os = 1"
    assert box.grep("absent") == "No matches in 3 files."
    assert box.grep("def", around=1) == "src/main.py-3- \nsrc/main.py:4: def main():\nsrc/main.py-5-     return os"
    assert box.grep("os|def", "src/main.py", around=1).count("def main") == 1
    assert box.grep("^import|return", "src/main.py", around=1).split("\n")[2] == "--"
    with pytest.raises(ToolError, match=r"There is no missing"):
        box.grep("x", "missing")


def test_grep_knows_ends_of_lines(box: Box) -> None:
    (box.root / "crlf").write_bytes(b"one\r\ntwo\r\n\r\n")
    (box.root / "bytes").write_bytes(b"one\0two")
    (box.root / "latin").write_bytes(b"t\xfcr one\n")
    assert box.grep("one$|^$|^two$", "crlf") == "crlf:1: one\ncrlf:2: two\ncrlf:3: "
    assert box.grep(r"\Atwo\z", "crlf") == "crlf:2: two"
    assert box.grep("one", "bytes") == "No matches in 1 files."
    assert box.grep("one", "latin") == "latin:1: t\ufffdr one"


def test_grep_goes_on(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        (box.root / name).write_text("".join(f"hit {name}{number}\nno\n" for number in range(150)))
    first = box.grep("hit").split("\n")
    assert first[-1] == "[There are more: go on with start=201, or narrow the pattern, path or glob]"
    second, third = box.grep("hit", start=201).split("\n"), box.grep("hit", start=401).split("\n")
    assert third[-1].startswith("c:")
    hits = [*first[:-1], *second[:-1], *third]
    assert hits == [f"{name}:{2 * number + 1}: hit {name}{number}" for name in "abc" for number in range(150)]
    assert box.grep("hit", start=451) == "450 matches in 6 files, none from there on."
    assert "x" * 500 + " [… 100 more characters]" in written(box, "long", "x" * 600).grep("x", "long")
    monkeypatch.setattr(file_search, "MOST_BYTES", 400)
    assert box.grep("hit").endswith("files over 33,554,432 bytes were not searched]")


def test_grep_reports_and_stops(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 0.1, 0.5, 1.2, 1.5, 46.0])  # a file takes two: at its end, and whether to tell
    monkeypatch.setattr(file_search, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    said = box.grep("absent")
    assert box.progress == ["searched 2 files, 0 matches"]
    assert said == "No matches in 3 files.\n[Stopped after 45 seconds and 3 files: narrow the path or glob]"


def test_no_pattern_takes_long(box: Box) -> None:
    written(box, "as", "a" * 30_000 + "b\n")
    began = time.monotonic()
    assert box.grep("[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}|^.{0,200}$", "as") == "No matches in 1 files."
    for pattern in ("(a+)+$", "(a|aa)+$", "(a*)*c", "^(([a-z])+.)+[A-Z]([a-z])+$", "(.*a){20}c"):
        assert box.grep(pattern, "as").startswith("No matches")
    assert time.monotonic() - began < 10
    for pattern, why in {
        "(": "unclosed group",
        "(?=a)": "look-around",
        r"(a)\1": "backreferences are not supported",
        "a{99999}{9999}": None,
        "(?:[ab]?){5000}[xyz]": None,
        "(((a{9}){9}){9})": None,
        "x" * 301: None,
        "[z-a]": "invalid character class range",
    }.items():
        said = f".*{why}.*without look-around" if why else "it is too long, or repeats too much"
        with pytest.raises(ToolError, match=f"The pattern can't be used: {said}") as caught:
            box.grep(pattern)
        assert "\n" not in str(caught.value)


@given(st.text("ab\n. \r", max_size=30), st.sampled_from(["a", "^a", "b$", "^$", "a.b", r"\ba", "[^a]", "a|^b"]))
def test_a_look_at_the_whole_misses_no_line(text: str, pattern: str) -> None:
    text = text.replace("\r\n", "\n")
    has_match = matcher(pattern)
    lines = text.removesuffix("\n").split("\n")
    if any(map(has_match, lines)):
        assert matcher(f"(?m){pattern}")(text)
    assert [has_match(line) for line in lines] == [bool(re.search(pattern.replace("$", r"\Z"), it)) for it in lines]


def test_read(box: Box) -> None:
    assert box.read_file("src/main.py", 4) == "     4\tdef main():\n     5\t    return os"
    assert box.read_file("src/main.py", 1, 1) == "     1\timport os"
    assert box.read_file("src/main.py", 5, 99) == "     5\t    return os"
    (box.root / "empty").write_text("")
    assert box.read_file("empty") == "empty is empty."
    (box.root / "crlf").write_bytes(b"a\r\n\r\nb")
    assert box.read_file("crlf") == "     1\ta\n     2\t\n     3\tb"
    with pytest.raises(ToolError, match=r"src/main\.py has 5 lines: there are none from 6 to its end"):
        box.read_file("src/main.py", 6)
    with pytest.raises(ToolError, match="there are none from 3 to 2"):
        box.read_file("src/main.py", 3, 2)
    for path, why in {
        "src": "src is a folder, not a file",
        "nope": "There is no nope",
        ".": "the folder itself",
    }.items():
        with pytest.raises(ToolError, match=why):
            box.read_file(path)


def test_reading_goes_on(box: Box) -> None:
    lines = [f"line {number} " + "x" * (number % 90) for number in range(1, 5001)]
    written(box, "big", "\n".join(lines))
    seen, start = [], 1
    while True:
        *page, last = box.read_file("big", start).split("\n")
        if not (go_on := re.fullmatch(r"\[[\d,]+ of 5,000 lines: go on with start=(\d+)\]", last)):
            seen += [*page, last]
            break
        seen += page
        start = int(go_on[1])
        assert sum(map(len, page)) <= 100_000
    assert [line.partition("\t")[2] for line in seen] == lines
    written(box, "wide", "y" * 9000 + "\nend")
    assert box.read_file("wide") == f"     1\t{'y' * 4000} [… 5,000 more characters]\n     2\tend"


def test_images_pdfs_and_other_bytes(box: Box) -> None:
    (box.root / "dot.png").write_bytes(png())
    (box.root / "page.pdf").write_bytes(pdf())
    assert box.read_file("dot.png") == png()
    assert box.read_file("page.pdf") == pdf()
    for data in (b"\x7fELF\0\0\0", b"caf\xe9", "two\n".encode("utf-16"), b"text\0"):
        (box.root / "data").write_bytes(data)
        with pytest.raises(ToolError, match=r"data is binary, or not in UTF-8 \(\d+ bytes, the first are [0-9a-f ]+\)"):
            box.read_file("data")
        with pytest.raises(ToolError, match="data is binary"):
            box.edit_file("data", "a", "b")


def test_what_is_too_large(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    with (box.root / "huge").open("wb") as file:
        file.truncate(33 * 1024 * 1024)
    with pytest.raises(ToolError, match="huge has 34,603,008 bytes; at most 33,554,432 can be read"):
        box.read_file("huge")
    box.write_file("small", "x")
    assert box.delete_file("huge") == "Deleted huge. It is too large to be kept: this can't be taken back."
    with pytest.raises(ToolError, match="There is no change left"):
        box.undo_change()
    monkeypatch.setattr(file_changes, "MOST_BYTES", 10)
    with pytest.raises(ToolError, match="The content has 11 bytes; at most 10 can be written"):
        box.write_file("small", "x" * 11)


@pytest.mark.parametrize("name", ["ü.txt", "a b", "日本", "e\u0301", "'\"", "-rf", "*", "🙂", "x" * 255, "\u202egnp.x"])
def test_names(box: Box, name: str) -> None:
    box.write_file(f"names/{name}", "x")
    assert box.read_file(f"names/{name}") == "     1\tx"
    path = f"names/{name}"
    assert box.glob_files("names/*") == (path if path.isprintable() else ascii(path))
    with pytest.raises(ToolError, match="File name too long"):
        box.write_file("y" * 256, "x")


@pytest.mark.skipif(sys.platform == "darwin", reason="names are always Unicode there")
def test_a_name_that_is_no_text(box: Box) -> None:
    Path(os.fsdecode(os.fsencode(box.root) + b"/bad\xff")).write_text("x")
    assert r"'bad\udcff'  1 bytes" in box.list_files()
    assert r"bad\udcff" in box.glob_files("bad*")


@pytest.mark.anyio
async def test_in_a_run(box: Box, scripted: Any) -> None:
    (box.root / "dot.png").write_bytes(png())
    api = scripted(
        reply(tool_use("read_file", path="dot.png"), tool_use("read_file", path="../x")),
        reply(tool_use("edit_file", path="notes.md", old="Notes", new="Done"), tool_use("grep_files", pattern="os")),
        reply("Done."),
    )
    async with Agent("claude-sonnet-4-6", tools=box.tools.values()) as agent:
        result = await agent.run("Do it.")
    assert result.text == "Done."
    seen, refused = api.requests[1]["messages"][2]["content"]
    assert seen["content"][0]["source"]["data"] == base64.b64encode(png()).decode()
    assert refused["is_error"]
    assert refused["content"] == "../x: .. is not allowed: give the path from the folder itself."
    edited, grepped = api.requests[2]["messages"][4]["content"]
    assert edited["content"] == "Edited notes.md: line 1."
    assert grepped["content"].startswith("src/deep/x.py:1:")
    assert (box.root / "notes.md").read_text() == "# Done\n"
