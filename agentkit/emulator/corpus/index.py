"""Which pages fit a question: an inverted index in SQLite, and a score that can be worked out by hand.

A word of the question gives a page points: the rarer the word, the more, and the more prominently the page says it, the
more. Two words that stand together on the page as they do in the question give more.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from agentkit.emulator.corpus.pages import Page
from agentkit.emulator.corpus.stems import stem
from agentkit.emulator.corpus.words import content_words, split_identifiers, words_of

__all__ = ["SCHEMA", "Hit", "insert", "search"]

SCHEMA = """
create table pages (
    id integer primary key, url text unique, name text, title text, summary text, text text, changed text,
    subjects text, weight real
);
create table words (word text, page integer, weight real, primary key (word, page)) without rowid;
"""
# What a word counts by where the page says it: in its name, title and subjects, at its beginning, anywhere.
_ABOUT = 1.5
_LEAD = 0.2
_TEXT = 0.1
_UNDESCRIBED = 5.0  # how much more its own words count where nobody says otherwise what a page is about
_USUAL_LENGTH = 2000  # words of a page
_PAIR = 1.5
_NUMBER = 0.5  # of what a word counts
_APART = 2  # words of the question that may be a pair
_WHOLE = 1.0  # how much more a page counts that has all words of the question than one that has hardly any
# Where there are many pages, a question is likely about something else if none has some of its words, or the page that
# fits has only one of them.
_MANY = 100
_ONE_ALONE = 0.5
_PHRASE_END = re.compile(r"[,.;:()\n]")


@dataclass(frozen=True, slots=True)
class Hit:
    """A page that fits: its row, its score, and how sure it is that it answers (see `Found`)."""

    row: int
    score: float
    sure: float


def insert(connection: sqlite3.Connection, pages: Iterable[Page]) -> None:
    """Adds pages to an index that has `SCHEMA`."""
    pages = list(pages)
    known = {word for page in pages for word in re.findall(r"[a-z]{3,}", page.text.lower())}
    with connection:
        for page in pages:
            columns = (
                page.url,
                page.name,
                page.title,
                page.summary,
                page.text,
                page.changed,
                page.subjects,
                page.weight,
            )
            row = connection.execute("insert into pages values (null, ?, ?, ?, ?, ?, ?, ?, ?)", columns).lastrowid
            words = [(word, row, weight) for word, weight in _weights(page, known).items()]
            connection.executemany("insert into words values (?, ?, ?)", words)


def _weights(page: Page, known: set[str]) -> dict[str, float]:
    """What each word and pair of words of a page counts."""
    about = f"{page.name}. {split_identifiers(page.name)}. {unglued(page.name, known)}. {page.title}. {page.subjects}"
    length = len(page.text) / 6 / _USUAL_LENGTH
    weights: dict[str, float] = defaultdict(float)
    share = 1.0 if page.subjects else _UNDESCRIBED
    for text, most, slow in (
        (about, _ABOUT, 0.7),
        (page.lead, share * _LEAD, 1.0),
        (page.text, share * _TEXT, 0.5 + 0.5 * length),
    ):
        for word, count in Counter(map(stem, words_of(text))).items():
            weights[word] = max(weights[word], page.weight * most * count / (count + slow))
    for phrase in _PHRASE_END.split(about):
        for first, second in pairwise(map(stem, content_words(phrase))):
            weights[_pair(first, second)] = page.weight * _PAIR
    return weights


def _pair(first: str, second: str) -> str:
    return " ".join(sorted((first, second)))


def unglued(name: str, known: set[str]) -> str:
    """`zipfile` as "zip file": a name made of two words of the corpus, split in the middle where it can be."""
    cuts = sorted(range(3, len(name) - 2), key=lambda cut: abs(2 * cut - len(name)))
    return next((f"{name[:cut]} {name[cut:]}" for cut in cuts if {name[:cut], name[cut:]} <= known), "")


def search(connection: sqlite3.Connection, query: str, count: int, limit: int) -> list[Hit]:
    """The pages that fit a query best, best first.

    Args:
        connection: The index.
        query: Words or a question.
        count: How many pages the index has.
        limit: At most so many.
    """
    words = list(dict.fromkeys(map(stem, content_words(query))))
    fits = {word: _pages_with(connection, word) for word in words}
    rarity = {
        word: (_NUMBER if word.isdecimal() else 1.0) * math.log(1 + count / (len(pages) + 0.5))
        for word, pages in fits.items()
    }
    scores: dict[int, float] = defaultdict(float)
    covered: dict[int, float] = defaultdict(float)
    for word, pages in fits.items():
        for row, weight in pages.items():
            scores[row] += rarity[word] * weight
            covered[row] += rarity[word] / sum(rarity.values())
    for first, second in _near(words):
        for row, weight in _pages_with(connection, _pair(first, second)).items():
            scores[row] += weight * (rarity[first] + rarity[second]) / 2
    for row, share in covered.items():
        scores[row] *= 1 + _WHOLE * share
    best = sorted(scores, key=lambda row: (-scores[row], row))[:limit]
    rarest = math.log(1 + count / 0.5)
    meant = {row: _meant(row, fits) if count > _MANY else 1.0 for row in best}
    return [Hit(row, scores[row], min(1.0, meant[row] * covered[row] * scores[row] / rarest)) for row in best]


def _meant(row: int, fits: dict[str, dict[int, float]]) -> float:
    """How likely a page is meant, and does not fit by chance: 0 to 1."""
    words = [pages for word, pages in fits.items() if not word.isdecimal()]
    known = sum(map(bool, words)) / len(words) if words else 1.0
    alone = len(words) > 1 and sum(row in pages for pages in words) == 1
    return known * (_ONE_ALONE if alone else 1.0)


def _pages_with(connection: sqlite3.Connection, word: str) -> dict[int, float]:
    return dict(connection.execute("select page, weight from words where word = ?", (word,)))


def _near(words: list[str]) -> Iterator[tuple[str, str]]:
    for at, first in enumerate(words):
        for second in words[at + 1 : at + 1 + _APART]:
            yield first, second
