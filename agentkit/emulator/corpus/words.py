"""What the reader knows about words: which carry meaning, which go together, where sentences end."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["content_words", "sentences", "split_identifiers", "words_of"]

_WORD = re.compile(r"[^\W_]+")
_DOTTED = re.compile(r"\w+(?:\.\w+)*")
_CAMEL = re.compile(r"[A-ZÀ-Þ]+(?![a-zß-ÿ])|[A-ZÀ-Þ]?[a-zß-ÿ]+|\d+|[^\W\d_]+")

# Words that say nothing about what a question is about. "Module" and its like are the corpus itself.
_LITTLE_WORDS = """
a about above actually after again all already also always an and another any anything are as at back be because been
before being below best between but by can certain could d did different do does doing don done during each easiest
easily easy etc even ever every everything explain five for four from get gets give given go goes going good got had has
have having he hello help her here hers hey hi him his how i if in into is isn it its just kind know let lets like ll
look m make makes may me might mine more most much must my need needs never new nice nicely no not nothing now of off
often on one only or other our out over own please possible possibly put re really s same see several shall she should
show simple simply so some something still such sure t tell than thank thanks that the their them then there these they
thing things this those three through to too two up us use used useful user using ve very want wants was way ways we
well were what when where whether which while who whom whose why will with within without work works would yes you your
code find instead learn list library libraries module modules program programs python script scripts standard stdlib
"""
_STOP_WORDS = frozenset(_LITTLE_WORDS.split())


def words_of(text: str) -> list[str]:
    """The words of `text` and those of its identifiers, in lower case, in order."""
    return [word.lower() for word in _WORD.findall(f"{text} {split_identifiers(text)}")]


def content_words(text: str) -> list[str]:
    """The words of `text` that carry meaning, in lower case, each once, in order."""
    return list(dict.fromkeys(word for word in words_of(text) if word not in _STOP_WORDS and len(word) > 1))


def split_identifiers(text: str) -> str:
    """The words of the identifiers in `text`: `ArgumentParser`, `parse_args` and `os.path` give argument, parser, …"""
    found = dict.fromkeys(_DOTTED.findall(text))
    parts = (part for name in found if len(parts := _CAMEL.findall(name)) > 1 for part in parts)
    return " ".join(dict.fromkeys(part.lower() for part in parts))


_BLANK_LINES = re.compile(r"\n[ \t]*\n\s*")
_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[A-Z0-9\"'(`*>-])|(?<=[:;])[ \t]*\n[ \t]*(?=[-*•])")


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Where the sentences of `text` are: (start, end) in characters, without the white space around them."""
    start = 0
    for end in [*(match.end() for match in _BLANK_LINES.finditer(text)), len(text)]:
        yield from _in_paragraph(text, start, end)
        start = end


def _in_paragraph(text: str, start: int, paragraph_end: int) -> Iterator[tuple[int, int]]:
    for end in [*(match.end() for match in _END.finditer(text, start, paragraph_end)), paragraph_end]:
        piece = text[start:end]
        if piece.strip():
            yield start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())
        start = end
