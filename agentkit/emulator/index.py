"""Which pages fit a question: an inverted index in SQLite, and a score that can be worked out by hand.

A word of the question gives a page points: the rarer the word, the more, and the more prominently the page says it, the
more. Two words that stand together on the page as they do in the question give more. What else people call a thing
gives a part of the points.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from agentkit.emulator.pages import Page
from agentkit.emulator.stems import stem
from agentkit.emulator.synonyms import synonyms
from agentkit.emulator.words import content_words, split_identifiers, words_of

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
_SYNONYM = 0.25
_APART = 2  # words of the question that may be a pair
_WHOLE = 1.0  # how much more a page counts that has all words of the question than one that has hardly any
# A question with a word that none of many pages has is likely about something else.
_MANY = 100
_STRANGE = 0.6
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
    fits = [_fits(connection, word) for word in words]
    rarity = [math.log(1 + count / (len(pages) + 0.5)) for pages in fits]
    scores: dict[int, float] = defaultdict(float)
    covered: dict[int, float] = defaultdict(float)
    for pages, rare in zip(fits, rarity, strict=True):
        for row, weight in pages.items():
            scores[row] += rare * weight
            covered[row] += rare / sum(rarity)
    for first, second in _near(len(words)):
        for row, weight in _pages_with(connection, _pair(words[first], words[second])).items():
            scores[row] += weight * (rarity[first] + rarity[second]) / 2
    for row, share in covered.items():
        scores[row] *= 1 + _WHOLE * share
    rarest = math.log(1 + count / 0.5)
    unsure = _STRANGE if count > _MANY and not all(fits) else 1.0
    hits = [Hit(row, score, min(1.0, unsure * covered[row] * score / rarest)) for row, score in scores.items()]
    return sorted(hits, key=lambda hit: (-hit.score, hit.row))[:limit]


def _fits(connection: sqlite3.Connection, word: str) -> dict[int, float]:
    """How well each page fits a word, or what else people call it: the best of these counts."""
    fits = _pages_with(connection, word)
    for other in synonyms(word):
        for row, weight in _pages_with(connection, other).items():
            fits[row] = max(fits.get(row, 0.0), _SYNONYM * weight)
    return fits


def _pages_with(connection: sqlite3.Connection, word: str) -> dict[int, float]:
    return dict(connection.execute("select page, weight from words where word = ?", (word,)))


def _near(count: int) -> Iterator[tuple[int, int]]:
    for first in range(count):
        for second in range(first + 1, min(count, first + 1 + _APART)):
            yield first, second
