"""Nothing that a model, a tool or a page says moves the cursor, hides or reorders text."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.terminal import safe, safe_line

# Format characters that can be seen: signs that enclose the digits after them.
SEEN_FORMATS = set("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
NASTY = st.sampled_from(
    "\x1b\x9b\x07\x00\x7f\x85\r\u200b\u200d\u202e\u2066\u2028\u00ad\ufe0f\ufeff\u3164\U000e0041\ud800#1❤\u20e3"
)
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
