"""Nothing that a model, a tool or a page says moves the cursor, hides or reorders text."""

from __future__ import annotations

import dataclasses
import os
import random
import sys
import time
import unicodedata
from io import StringIO
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.events import Event
from agentkit.messages import Usage
from agentkit.redaction import REDACTED
from agentkit.secrets import Secret
from agentkit.terminal import safe, safe_line

# Format characters that can be seen: signs that enclose the digits after them.
SEEN_FORMATS = set("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
NASTY = st.sampled_from(
    "\x1b\x9b\x07\x00\x7f\x85\r\u200b\u200d\u202e\u2066\u2028\u00ad\ufe0f\ufeff\u3164\U000e0041\ud800#1❤\u20e3"
)
STRINGS = 1_000_000 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 20_000
HIDES = frozenset(
    char
    for char in map(chr, range(sys.maxunicode + 1))
    if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") and char not in SEEN_FORMATS | {"\n", "\t"}
)
HOSTILE = "\x1b]0;owned\x07\x9b2J\r\x7f\u202eback\u200b\u2028"
TEXTS = st.text(st.characters(), max_size=60) | st.text(NASTY | st.characters(), max_size=60)


@pytest.mark.parametrize(
    ("given_text", "shown"),
    [
        ("plain, naïve, 日本語, עברית, 🙂\n\tindented", "plain, naïve, 日本語, עברית, 🙂\n\tindented"),
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
        ("\x1b]0;title\x07", "]0;title"),
        ("\x9b2Jgone", "2Jgone"),
        ("progress 10%\rprogress 99%\r\n", "progress 10%progress 99%\n"),
        ("user\u202egnp.exe", "userU+202Egnp.exe"),
        ("a\u200bb\u2066c\ufeff", "aU+200BbU+2066cU+FEFF"),
        ("hi\U000e0041\U000e007f", "hiU+E0041U+E007F"),
        ("one\u2028two\u0085", "oneU+2028two"),
        ("lone \ud83d", "lone U+D83D"),
        ("❤\ufe0f 1\ufe0f\u20e3 🏷\ufe0f", "❤\ufe0f 1\ufe0f\u20e3 🏷\ufe0f"),
        ("❤\ufe0f\ufe0f a\ufe0f 1\ufe0f", "❤\ufe0fU+FE0F aU+FE0F 1U+FE0F"),
    ],
)
def test_shown(given_text: str, shown: str) -> None:
    assert safe(given_text) == shown


def test_one_line() -> None:
    assert safe_line("  a\r\n\tb\u00a0c\x1b[2J \n") == "a b c[2J"


@given(TEXTS)
def test_nothing_hides(text: str) -> None:
    shown = safe(text)
    for at, char in enumerate(shown):
        category = unicodedata.category(char)
        assert category != "Cc" or char in "\n\t"
        assert category not in ("Cf", "Cs", "Zl", "Zp") or char in SEEN_FORMATS
        if char == "\ufe0f":
            assert unicodedata.category(shown[at - 1])[0] in "SPNL"
    shown.encode()


@given(TEXTS)
def test_shown_twice_is_shown_once(text: str) -> None:
    assert safe(safe(text)) == safe(text)


@given(TEXTS)
def test_line_has_no_line_break(text: str) -> None:
    assert len(safe_line(text).splitlines()) <= 1


@given(st.text(st.characters(categories=["L", "M", "N", "P"], max_codepoint=0x2FF)))
def test_ordinary_text_stays(text: str) -> None:
    assert safe(text) == text


@pytest.mark.slow
def test_nothing_hides_in_many_strings() -> None:
    draw = random.Random(12)
    nasty = [*sorted(HIDES), *"\ufe0f\u20e3#1❤\n\t ", "\x1b[31m", "\x1b]8;;http://x\x07", "plain", "naïve", "日本語"]
    for _ in range(STRINGS // 1000):
        pieces = draw.choices(nasty, k=600) + [chr(draw.randrange(sys.maxunicode + 1)) for _ in range(400)]
        for _ in range(1000):
            text = "".join(draw.choices(pieces, k=draw.randrange(1, 20)))
            shown = safe(text)
            assert HIDES.isdisjoint(shown), (text, shown)
            assert safe(shown) == shown
            assert len(safe_line(text).splitlines()) <= 1


@pytest.mark.parametrize("text", ["\x1b", "\u202e", "\ufe0f", "1\ufe0f\u20e3", "❤\ufe0f", "a\x00\ufe0f", "plain "])
def test_linear(text: str) -> None:
    def seconds(count: int) -> float:
        began = time.process_time()
        safe(text * count)
        return time.process_time() - began

    once = max(min(seconds(10_000) for _ in range(3)), 0.0005)
    assert min(seconds(80_000) for _ in range(3)) < 40 * once


def test_secrets_are_redacted_also_where_control_characters_split_them() -> None:
    secret = Secret("sk-ant-very-secret-1234")
    assert safe("key sk-ant-very-secret-1234") == f"key {REDACTED}"
    assert safe("key sk-ant\x1b-very-\x00secret-1234") == f"key {REDACTED}", secret


def _hostile(kind: Any) -> Any:
    """A value of a field of an event, with something hostile wherever there is text."""
    block = {"type": HOSTILE, "text": HOSTILE, "content": HOSTILE, "tool_use_id": HOSTILE, "id": HOSTILE}
    known = {"int": 3, "float": 1.5, "tuple[str, ...]": (HOSTILE,), "Usage": Usage(), "tuple[Citation, ...]": ()}
    known |= {"Block": block, "dict[str, Any]": {"content": [{**block, "type": "text"}]}, "float | None": None}
    return known.get(kind, {HOSTILE: HOSTILE, "more": [HOSTILE]} if kind == "Any" else HOSTILE)


@pytest.mark.parametrize("kind", get_args(Event), ids=lambda kind: kind.type)
def test_the_screen_shows_every_event_safely(kind: Any) -> None:
    console = pytest.importorskip("rich.console", reason="the screen needs the extra cli")
    from agentkit.cli.show import Screen

    out = StringIO()
    screen = Screen(console.Console(file=out, width=200), [HOSTILE])
    screen.event(kind(**{field.name: _hostile(field.type) for field in dataclasses.fields(kind)}))
    screen.note(HOSTILE)
    screen.close()
    assert HIDES.isdisjoint(out.getvalue()), ascii(out.getvalue())


def test_the_story_of_a_run_is_told_safely() -> None:
    console = pytest.importorskip("rich.console", reason="the story needs the extra cli")
    from agentkit.call import Pending
    from agentkit.cli.overview import ending
    from agentkit.cli.told import Teller

    content = [{"type": "text", "text": HOSTILE}]
    content += [{"type": "server_call", "name": HOSTILE, "input": HOSTILE, "error": HOSTILE, "ended": True}]  # type: ignore[dict-item]
    turn = {"turn": 1, "content": content, "stop_reason": HOSTILE, "usage": {}, "cost": None, "seconds": 1.0}
    call = {"name": HOSTILE, "input": {HOSTILE: HOSTILE}, "outcome": "failed", "result": HOSTILE, "seconds": 1.0}
    steps: list[dict[str, Any]] = [
        {"step": "asked", "text": HOSTILE},
        {"step": "turn", **turn},
        {"step": "held", **call},
        {"step": "call", **call},
        {"step": "decision", **call, "action": "edit"},
        {"step": "decision", **call, "action": "deny", "reason": HOSTILE},
        {"step": "judgement", "name": HOSTILE, "action": "deny", "rule": HOSTILE},
        {"step": "operation", "operation": HOSTILE, "why": HOSTILE},
        {"step": HOSTILE},
    ]
    for whole in (False, True):
        out = StringIO()
        teller = Teller(console.Console(file=out, width=200), whole=whole)
        teller.tell(steps)
        teller.pending([Pending(HOSTILE, HOSTILE, {HOSTILE: HOSTILE})], "agentkit runs resume x")
        teller.orphans([{"call": HOSTILE, "outcome": HOSTILE, "result": {"content": HOSTILE}}])
        teller.head(ending({"state": "error", "detail": HOSTILE}, "agentkit runs resume x"))
        assert HIDES.isdisjoint(out.getvalue()), ascii(out.getvalue())
