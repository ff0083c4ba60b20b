"""What a run looks like, whatever its events say."""

from __future__ import annotations

import io
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from agentkit.cli.flow import Flow
from agentkit.cli.phrases import amount, asked, counted, short, took
from agentkit.cli.show import Screen
from agentkit.events import (
    ContentBlockStop,
    Event,
    InputDelta,
    Retry,
    ServerToolCall,
    ServerToolResult,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolHeld,
    ToolProgress,
    ToolResult,
    TurnEnd,
    TurnRestarted,
    TurnStart,
    UnknownEvent,
)
from agentkit.messages import Usage
from agentkit.result import RunResult
from agentkit.step import Finish
from agentkit.terminal import safe
from agentkit.transcript import Transcript

WORDS = st.lists(st.text("abc,.é日\u202e❤\ufe0f", min_size=1, max_size=12), min_size=1, max_size=30)
GAPS = st.sampled_from([" ", "  ", "\n", "\n\n", "\n\n\n\n", "\t", "\n  "])


def flowed(pieces: list[str], width: int | None) -> str:
    out = io.StringIO()
    flow = Flow(lambda piece: out.write(piece), width)
    for piece in pieces:
        flow.feed(piece)
    flow.end()
    assert not flow.begun
    return out.getvalue()


@given(st.data(), WORDS, st.sampled_from([None, 20]))
def test_any_split_of_a_text_flows_the_same(data: st.DataObject, words: list[str], width: int | None) -> None:
    text = "".join(word + data.draw(GAPS) for word in words)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole = flowed([text], width)
    assert flowed(pieces, width) == whole
    assert whole.split() == safe(text).split()
    assert "\n\n\n" not in whole


@given(st.lists(st.text("abcé", min_size=1, max_size=10), min_size=1, max_size=40), st.integers(10, 40))
def test_lines_fit(words: list[str], width: int) -> None:
    assert all(len(line) <= width for line in flowed([" ".join(words)], width).splitlines())


def test_text_without_spaces_does_not_wait() -> None:
    out: list[str] = []
    Flow(out.append, 20).feed("日本語" * 20)
    assert "".join(out) == "日本語" * 20


def test_mark_stands_before_the_gap() -> None:
    out: list[str] = []
    flow = Flow(out.append, 20)
    flow.feed("It closes at ten.\n\n")
    flow.mark(1)
    flow.feed("Then")
    flow.end()
    assert "".join(out) == "It closes at ten.\n[1]\n\nThen\n"


NASTY = "\x1b[2J\x1b]0;owned\x07\x9b1A\r\u202ereversed\u200b\U000e0041 [bold]:smile:[/] two\nlines"
HOSTILE: list[Event] = [
    TurnStart(1),
    ThinkingDelta(NASTY, 0),
    TextDelta(NASTY, 1),
    ContentBlockStop(1, {"type": "text", "text": NASTY, "citations": [{"url": NASTY, "title": NASTY}]}),
    ServerToolCall("s1", NASTY, {"query": NASTY}),
    ServerToolResult("s1", NASTY, 10, NASTY, {"content": {"error_code": NASTY}}),
    ServerToolResult("s2", "web_fetch", 10, None, {"content": {"content": {"title": NASTY}, "url": NASTY}}),
    Retry(1, 0.5, NASTY),
    TurnRestarted(2, NASTY),
    UnknownEvent({"type": NASTY}),
    TurnEnd("tool_use", Usage(), None, {"content": [{"type": "tool_use", "id": "t1", "input": {NASTY: NASTY}}]}),
    InputDelta(NASTY, 0),
    ToolCall("1:t1", NASTY, {NASTY: NASTY, "b": [NASTY]}),
    ToolProgress("1:t1", NASTY, NASTY),
    ToolResult("1:t1", NASTY, "done", 0.2, 5, {"tool_use_id": "t1", "content": NASTY[-5:]}),
    ToolResult("1:t1", NASTY, "timed_out", 0.2, 5, {"tool_use_id": "t1", "content": [{"type": "text", "text": NASTY}]}),
    ToolHeld("1:t2", NASTY, NASTY),
    TurnStart(2),
    TurnEnd("end_turn", Usage(), None, {"content": [{"type": "text", "text": NASTY}, None]}),
]


@pytest.mark.parametrize("terminal", [False, True])
def test_nothing_hostile_gets_through(terminal: bool) -> None:
    out = io.StringIO()
    plain = {"highlight": False, "markup": False, "emoji": False}
    console = Console(file=out, width=80, force_terminal=terminal, _environ={"TERM": "xterm"}, **plain)
    screen = Screen(console, ["web_search", NASTY])
    screen.note(NASTY)
    for event in HOSTILE:
        screen.event(event)
    screen.finish(RunResult(Transcript(), Finish("end_turn")))
    screen.close()
    shown = out.getvalue()
    if terminal:  # what rich itself writes: colours, moves of the cursor, and showing it
        shown = re.sub(r"\x1b\[(\d*(;\d+)*[mAK]|\?25[hl])|\r", "", shown)
    assert {char for char in shown if unicodedata.category(char) in ("Cc", "Cf")} <= {"\n"}
    assert shown.count("U+202E") > 5
    assert "[bold]:smile:[/]" in shown


def test_call_that_was_cut_off_is_shown() -> None:
    out = io.StringIO()
    screen = Screen(Console(file=out, width=80), ["slow"])
    screen.event(ToolCall("1:t1", "slow", {"seconds": 60}))
    screen.finish(RunResult(Transcript(), Finish("cancelled")))
    assert re.match(r"  slow +60 +cut off +(<0\.1|\d+\.\d) s\n\n1 call, (<0\.1|\d+\.\d) s\n", out.getvalue())


def test_calls_fit_a_narrow_terminal() -> None:
    out = io.StringIO()
    screen = Screen(Console(file=out, width=40, force_terminal=True, color_system=None), ["calculator"])
    screen.event(ServerToolCall("s1", "web_search", {"query": "copy a directory tree"}))
    screen.event(ServerToolResult("s1", "web_search", 10, None, {"content": [{}] * 5}))
    screen.close()
    [line] = [line for line in out.getvalue().splitlines() if "results" in line]
    assert re.fullmatch(r"  search +copy .* 5 results (<0\.1|\d+\.\d) s", line.removeprefix("\x1b[?25l"))
    assert len(line.removeprefix("\x1b[?25l")) <= 40


def test_restart_forgets_the_sources_of_the_void_reply() -> None:
    out = io.StringIO()
    screen = Screen(Console(file=out, width=80))
    void, kept = (
        {"type": "text", "text": "x", "citations": [{"url": url}]} for url in ("https://void", "https://kept")
    )
    for event in (TurnStart(1), TextDelta("Void", 0), ContentBlockStop(0, void), TurnRestarted(2, "cut")):
        screen.event(event)
    for event in (TextDelta("Kept", 0), ContentBlockStop(0, kept)):
        screen.event(event)
    screen.finish(RunResult(Transcript(), Finish("end_turn")))
    assert "Kept [1]" in out.getvalue()
    assert "  [1] https://kept\n" in out.getvalue()
    assert "void\n" not in out.getvalue()


@pytest.mark.parametrize(
    ("given_input", "shown"),
    [
        ({"query": "a", "max": 3}, "a"),
        ({"url": "https://x.org/y"}, "x.org/y"),
        ({"query": 7, "b": None}, "query=7, b=null"),
        ({"seconds": 3}, "3"),
        ({}, ""),
        (["a"], '["a"]'),
        ("{broken", "{broken"),
    ],
)
def test_what_was_asked(given_input: object, shown: str) -> None:
    assert asked(given_input) == shown


def test_amounts() -> None:
    sizes = [0, 999, 1000, 999_949, 999_950]
    assert [amount(size) for size in sizes] == ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB"]
    assert [counted(1, "fetch", "fetches"), counted(2, "fetch", "fetches"), counted(0, "call")] == [
        "1 fetch",
        "2 fetches",
        "0 calls",
    ]
    assert [short(count) for count in (0, 999, 1000, 9_949, 12_345, 1_234_567)] == [
        "0",
        "999",
        "1.0k",
        "9.9k",
        "12k",
        "1235k",
    ]
    assert [took(seconds) for seconds in (0, 0.1, 75.04)] == ["<0.1 s", "0.1 s", "75.0 s"]
