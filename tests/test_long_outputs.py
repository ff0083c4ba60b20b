"""Results that are too long: kept whole, named in what the model gets, and read back in pages or searched."""

from __future__ import annotations

import os
import re
import stat
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tool_runs import Run

from agentkit import long_outputs
from agentkit.errors import ConfigurationError, ToolError
from agentkit.functions import Report, content_of
from agentkit.long_outputs import Outputs
from agentkit.tool_results import HARD_CAP, KEPT_FROM, TEXT_CAP, as_content, fitted, to_content

LOG = "".join(f"line {at}: nothing to see here\n" for at in range(1, 5001))
NEXT = re.compile(r"start_line=(\d+)(?:, start_column=(\d+))? reads on")
NAMED = re.compile(r'read_output\(output="(\w+)", start_line=(\d+)(?:, start_column=(\d+))?\) reads on')


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    return Outputs(tmp_path / "outputs")


def cut(outputs: Outputs, value: Any, run_id: str = "run_1") -> Any:
    """What the model gets for what a tool returned."""
    return fitted(to_content(value), keep=partial(outputs.keep, run_id))


def ends(content: str) -> tuple[str, str, str]:
    """Head, note and tail of a text that was cut."""
    at = content.index("[… ")
    note, _, tail = content[at:].partition("…]\n")
    return content[:at], note, tail


def pages(outputs: Outputs, name: str, line: int = 1, column: int = 1, **options: Any) -> str:
    """The text from a place on, read page by page."""
    text = ""
    while True:
        page = outputs.read_output(name, line, column, **options)
        assert len(page.encode()) <= KEPT_FROM
        header, _, shown = page.partition("\n")
        text += shown
        found = NEXT.search(header)
        if not found:
            assert header.endswith("; this is the end]")
            return text
        at, (line, column) = (line, column), (int(found[1]), int(found[2] or 1))
        assert (line, column) > at  # or this would go on for ever


# What is kept, and what the model gets of it.


def test_what_is_not_long_is_as_it_was(outputs: Outputs) -> None:
    for value in ["", "short", "x" * KEPT_FROM, "é" * (KEPT_FROM // 2), [{"type": "text", "text": "x"}, "y"], {"a": 1}]:
        assert cut(outputs, value) == as_content(value)
    assert os.listdir(outputs.folder) == []


def test_head_tail_and_how_to_read_on(outputs: Outputs) -> None:
    head, note, tail = ends(cut(outputs, LOG))
    assert LOG.startswith(head)
    assert head.endswith("here\n")
    assert LOG.endswith(tail)
    assert tail.startswith("line ")
    assert KEPT_FROM // 3 < len(head + tail) <= KEPT_FROM // 2
    assert note.startswith(f"[… {len(LOG) - len(head) - len(tail):,} of {len(LOG):,} bytes left out here. All of it is")
    found = NAMED.search(note)
    assert found
    assert head + pages(outputs, found[1], int(found[2])) == LOG
    assert found[3] is None


def test_one_long_line_is_read_on_by_its_column(outputs: Outputs) -> None:
    head, note, tail = ends(cut(outputs, list(range(20_000))))
    whole = "[" + ",".join(map(str, range(20_000))) + "]"
    found = NAMED.search(note)
    assert found
    assert found[2] == "1"
    assert head[:-1] + pages(outputs, found[1], 1, int(found[3])) == whole
    assert whole.endswith(tail)
    assert "start_line=1, start_column=" in outputs.read_output(found[1])


def test_only_its_owner_can_read_it(outputs: Outputs) -> None:
    cut(outputs, LOG)
    (name,) = os.listdir(outputs.folder)
    assert (outputs.folder / name).read_text() == LOG
    assert stat.S_IMODE((outputs.folder / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(outputs.folder.stat().st_mode) == 0o700


def test_the_same_text_has_one_name_in_a_run_and_another_elsewhere(outputs: Outputs) -> None:
    first = cut(outputs, LOG)
    (kept,) = outputs.folder.iterdir()
    os.utime(kept, (1, 1))
    assert cut(outputs, LOG) == first  # so that a run in circles is seen to be one
    assert time.time() - kept.stat().st_mtime < 60  # and what is named anew is not old
    assert cut(outputs, LOG, "run_2") != first
    assert cut(outputs, LOG, "any name \ud800") != first
    assert len(os.listdir(outputs.folder)) == 3


def test_blocks_with_long_text(outputs: Outputs) -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://a.test/b.png"}}
    content = cut(outputs, [image, LOG, " ", image, "the end"])
    assert [block["type"] for block in content] == ["image", "text", "image"]
    _, note, tail = ends(content[1]["text"])
    assert tail.endswith("here\n\n \nthe end")
    found = NAMED.search(note)
    assert found
    assert pages(outputs, found[1]) == f"{LOG}\n \nthe end"


def test_many_short_texts_are_long_too(outputs: Outputs) -> None:
    (block,) = cut(outputs, [{"type": "text", "text": f"{at:04}"} for at in range(10_000)])
    assert len(block["text"]) < KEPT_FROM
    assert block["text"].startswith("0000\n0001\n")


@pytest.mark.parametrize("letter", ["x", "é"])
def test_beyond_the_hard_cap_it_says_what_is_kept(outputs: Outputs, letter: str) -> None:
    size = 20_000_000
    _, note, tail = ends(cut(outputs, letter * (size // len(letter.encode())) + "TAIL"))
    (kept,) = outputs.folder.iterdir()
    assert f"of {size + 4:,} bytes left out here. Kept of it are {kept.stat().st_size:,} bytes, head and tail:" in note
    assert HARD_CAP <= kept.stat().st_size <= HARD_CAP + 200
    assert tail.endswith(f"{letter}TAIL")
    assert f"{size + 4:,} bytes left out …]" in kept.read_text()


def test_what_a_generator_was_stopped_at_is_kept_whole(outputs: Outputs) -> None:
    stopped = "x" * HARD_CAP + f"\n[… stopped after {HARD_CAP:,} bytes …]"
    assert "All of it is kept" in cut(outputs, stopped)


@pytest.mark.parametrize("size", [TEXT_CAP, 2 * TEXT_CAP])
def test_a_full_disk_changes_nothing_but_what_is_said(size: int, caplog: pytest.LogCaptureFixture) -> None:
    def full(text: str) -> str:
        raise OSError(28, "No space left on device")

    text = "HEAD" + "x" * (size - 8) + "TAIL"
    content = fitted(text, keep=full)
    if size == TEXT_CAP:
        assert content == text
    else:
        assert f"[… {TEXT_CAP:,} of {size:,} bytes left out; the whole could not be kept: No space left" in content
        assert as_content(text) == str(content).replace("; the whole could not be kept: No space left on device", "")
    assert "could not be kept: [Errno 28]" in caplog.text


def test_a_folder_that_went_away(outputs: Outputs) -> None:
    outputs.folder.rmdir()
    assert "the whole could not be kept: No such file or directory" in cut(outputs, LOG * 5)


def test_what_could_not_be_written_leaves_nothing(outputs: Outputs, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(file: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    assert "the whole could not be kept: Input/output error" in cut(outputs, LOG * 5)
    assert os.listdir(outputs.folder) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "no" / "outputs"):
        with pytest.raises(ConfigurationError, match=r"can't be made: .*; name another one"):
            Outputs(folder)
    Outputs(tmp_path)


# Reading back.


def test_pages_by_lines(outputs: Outputs) -> None:
    name = outputs.keep("r", LOG)
    assert outputs.read_output(name, 2, lines=2) == (
        "[lines 2 to 3 of 5000; start_line=4 reads on]\nline 2: nothing to see here\nline 3: nothing to see here\n"
    )
    assert outputs.read_output(name, 5000).startswith("[lines 5000 to 5000 of 5000; this is the end]\nline 5000")
    assert outputs.read_output(name, 5000, 6, lines=1).endswith("\n5000: nothing to see here\n")


@given(
    text=st.text(st.sampled_from("a\n\r\u2028é🙂")).filter(bool) | st.text().map(to_content).map(str).filter(bool),
    lines=st.integers(1, 4),
    page=st.integers(4, 40),
)
def test_the_pages_of_any_text_are_the_text(
    tmp_path_factory: pytest.TempPathFactory, text: str, lines: int, page: int
) -> None:
    outputs = Outputs(tmp_path_factory.getbasetemp() / "any")
    name = outputs.keep("r", text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long_outputs, "_PAGE", page)
        assert pages(outputs, name, lines=lines) == text


@given(
    parts=st.lists(st.sampled_from(["a" * 300, "b\n", "\n\n", "é" * 77, "🙂" * 50 + "\n", " x" * 40]), min_size=1),
    most=st.integers(100, 10_000),
)
@example(parts=["b\n", "b\n", "🙂" * 50 + "\n"], most=408)  # the head ends where a line does, but for the line's end
def test_head_and_pages_are_the_text(tmp_path_factory: pytest.TempPathFactory, parts: list[str], most: int) -> None:
    text = "".join(parts) * (20_000 // sum(len(part.encode()) for part in parts) + 1)
    outputs = Outputs(tmp_path_factory.getbasetemp() / "heads")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agentkit.tool_results.KEPT_FROM", 19_000)
        patch.setattr("agentkit.tool_results._EXCERPT", most)
        head, note, tail = ends(cut(outputs, text))
    found = NAMED.search(note)
    assert found
    head = head[:-1] if found[3] else head  # a head that ends within a line has its end put to it
    assert head + pages(outputs, found[1], int(found[2]), int(found[3] or 1)) == text
    assert text.endswith(tail)


def test_a_line_without_room_is_on_the_next_page(outputs: Outputs) -> None:
    name = outputs.keep("r", "x" * 20_000 + "\n" + "y" * 20_000 + "\n")
    header, line = outputs.read_output(name).splitlines()
    assert header == "[lines 1 to 1 of 2; start_line=2 reads on]"
    assert line == "x" * 20_000


def test_a_place_that_is_not_there(outputs: Outputs) -> None:
    name = outputs.keep("r", "one\ntwo")
    with pytest.raises(ToolError, match="The output has 2 lines"):
        outputs.read_output(name, 3)
    with pytest.raises(ToolError, match="Line 2 has 3 characters"):
        outputs.read_output(name, 2, 4)


@pytest.mark.parametrize(
    "name", ["", "../secret", "/etc/passwd", "a" * 24, "secret", "x" * 500, "\0", "a" * 23 + "\n", "\ud800"]
)
def test_names_that_no_result_gave(outputs: Outputs, name: str) -> None:
    (outputs.folder.parent / "secret.txt").write_text("secret")
    (outputs.folder / "secret.txt").write_text("secret")
    with pytest.raises(ToolError, match="There is no output") as caught:
        outputs.read_output(name)
    assert len(str(caught.value)) < 250


def test_no_link_is_followed(outputs: Outputs) -> None:
    (outputs.folder.parent / "secret").write_text("secret")
    os.symlink("../secret", outputs.folder / f"{'a' * 24}.txt")
    with pytest.raises(ToolError, match="can't be read"):
        outputs.read_output("a" * 24)


# As a tool.


@pytest.mark.anyio
async def test_the_tool(outputs: Outputs) -> None:
    name = outputs.keep("another run", LOG)
    content = await Run()(outputs.tool, output=name, start_line=4999)
    assert content.endswith("line 5000: nothing to see here\n")
    assert outputs.tool.name == "read_output"
    assert outputs.tool.is_read  # so it may start early, and again after a crash
    assert outputs.tool.effect == {"read", "private"}
    for wrong in ({"start_line": 0}, {"lines": 0}, {"lines": 10_001}, {"start_column": 0}, {"pattern": "x" * 1001}):
        with pytest.raises(ToolError):
            outputs.tool.validate({"output": name, **wrong})


def test_the_definition_is_the_same_for_every_folder(tmp_path: Path) -> None:
    first, second = Outputs(tmp_path / "a"), Outputs(tmp_path / "b")
    assert first.tool.definition == second.tool.definition
    assert set(first.tool.definition["input_schema"]["properties"]) == {
        "output",
        "start_line",
        "start_column",
        "lines",
        "pattern",
    }


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["sync", "async", "pieces", "async pieces", "sync awaitable", "error"])
async def test_it_is_kept_in_a_thread(outputs: Outputs, kind: str) -> None:
    threads: set[int] = set()

    def keep(text: str) -> str:
        threads.add(threading.get_ident())
        return outputs.keep("r", text)

    async def later(text: str) -> str:
        return text

    async def yields() -> Any:
        yield LOG

    def fails() -> str:
        raise ToolError(LOG)

    enter: Any = {
        "sync": lambda: LOG,
        "async": lambda: later(LOG),
        "pieces": lambda: iter([LOG]) and (piece for piece in [LOG]),
        "async pieces": yields,
        "sync awaitable": lambda: later(LOG),
        "error": fails,
    }[kind]
    limiter = anyio.CapacityLimiter(1)
    report = Report(lambda text: None)
    on_loop = kind.startswith("async")
    try:
        content: Any = await content_of(enter, on_loop=on_loop, threads=limiter, report=report, whole=False, keep=keep)
    except ToolError as error:
        assert kind == "error"
        content = error.content
    found = NAMED.search(content)
    assert found
    assert pages(outputs, found[1]) == LOG
    assert len(threads) == 1
    assert threading.get_ident() not in threads


@pytest.mark.anyio
async def test_for_code_nothing_is_kept(outputs: Outputs) -> None:
    def fails() -> str:
        raise ToolError(LOG * 4)

    async def run(enter: Any) -> Any:
        report, limiter = Report(lambda text: None), anyio.CapacityLimiter(1)
        keep = partial(outputs.keep, "r")
        return await content_of(enter, on_loop=False, threads=limiter, report=report, whole=True, keep=keep)

    assert await run(lambda: LOG * 4) == LOG * 4
    with pytest.raises(ToolError) as caught:
        await run(fails)
    assert len(caught.value.content) < TEXT_CAP + 100
    assert os.listdir(outputs.folder) == []
