"""The pages that the emulator searches: SQLite FTS5, built once and kept.

Not the web: `web_search` and `web_fetch` of the emulator look only here.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path

from agentkit.emulator.pages import SUFFIXES, Page, folder_pages, project_pages, stdlib_pages
from agentkit.emulator.words import SUPERSEDED, content_words, related, split_identifiers
from agentkit.errors import ConfigurationError

__all__ = ["Corpus", "Found", "index_path"]

_SCHEMA = """
create table pages (
    id integer primary key, url text unique, name text, title text, summary text, text text, changed text
);
create virtual table leads using fts5 (name, parts, title, lead, content='', tokenize="porter unicode61");
create virtual table bodies using fts5 (identifiers, text, content='', tokenize="porter unicode61");
"""
_LEAD_WEIGHTS = "8, 8, 8, 1"
_BODY_WEIGHTS = "0.5, 1"
_BODY_SHARE = 1.0
_RELATED_SHARE = 10.0
_SUPERSEDED_SHARE = 0.3
_MAKERS = ("corpus.py", "pages.py", "stdlib_pages.py", "words.py")


@dataclass(frozen=True, slots=True)
class Found:
    """One page that a search found.

    Attributes:
        page: The page.
        score: How well it fits; only good for comparing.
        covered: The share of the query's words that the page has, rare words counting more: 0 to 1.
    """

    page: Page
    score: float
    covered: float


class Corpus:
    """Pages that can be searched and read by address. Made by `builtin` or `folder`; close it after use.

    Attributes:
        about: What is in it, in a few words.
        skipped: One line for each file that was left out.
    """

    def __init__(self, connection: sqlite3.Connection, about: str, skipped: Iterable[str] = ()) -> None:
        self._connection = connection
        self.about = about
        self.skipped = tuple(skipped)
        self._count: int = connection.execute("select count(*) from pages").fetchone()[0]

    @classmethod
    def builtin(cls, progress: Callable[[str], None] = lambda line: None) -> Corpus:
        """The standard library of this interpreter, and this project's documents where they are at hand.

        The first time takes some seconds; the index is kept in `AGENTKIT_HOME`, or the user's cache folder,
        and opens in milliseconds from then on. Two processes may do this at once.

        Args:
            progress: Gets a line of text now and then while the index is made.

        Raises:
            ConfigurationError: The pages could not be made.
        """
        project = list(project_pages())
        path = index_path()
        connection = _stored(path)
        if connection is None:
            progress("reading the documentation of the standard library (once, a few seconds)")
            _build_file(path, stdlib_pages(progress))
            connection = _stored(path)
        if connection is None:
            raise ConfigurationError(f"the index {path.name} can't be read; set AGENTKIT_HOME to a folder of your own")
        about = f"the standard library of Python {sys.version_info.major}.{sys.version_info.minor}"
        if project:
            _insert(connection, project)
            about += " and the documents of agentkit"
        return cls(connection, about)

    @classmethod
    def folder(cls, folder: str | os.PathLike[str], warn: Callable[[str], None] = lambda line: None) -> Corpus:
        """The Markdown, text and HTML files of a folder and its subfolders.

        Args:
            folder: The folder.
            warn: Gets one line for each file that is left out because it can't be read.

        Raises:
            ConfigurationError: There is no such folder, or it has no such file.
        """
        root = Path(folder)
        if not root.is_dir():
            raise ConfigurationError(f"there is no folder {os.fspath(folder)!r} to search")
        skipped: list[str] = []
        pages = list(folder_pages(root, skipped.append))
        for line in skipped:
            warn(line)
        if not pages:
            raise ConfigurationError(f"the folder {os.fspath(folder)!r} has no readable file ({' '.join(SUFFIXES)})")
        connection = _connect()
        _fill(connection, pages)
        return cls(connection, f"{len(pages)} files of the folder {root.name!r}", skipped)

    def __len__(self) -> int:
        return self._count

    def close(self) -> None:
        """Lets go of the index."""
        self._connection.close()

    def page(self, url: str) -> Page | None:
        """The page at an address; a fragment and a final slash make no difference."""
        plain = url.split("#", 1)[0].rstrip("/")
        row = self._connection.execute(f"select {_COLUMNS} from pages where url = ?", (plain,)).fetchone()  # noqa: S608
        return Page(*row[1:]) if row else None

    def search(self, query: str, limit: int = 5) -> list[Found]:
        """The pages that fit a query best, best first.

        Args:
            query: Words or a question.
            limit: At most so many pages.
        """
        words = content_words(query)
        names = related(query)
        if not words and not names:
            return []
        scores = self._scores(words, names)
        covered = self._coverage(words, names)
        best = sorted(scores, key=lambda row: (-scores[row] * (0.3 + covered.get(row, 0.0)), row))[:limit]
        return [Found(self._row(row), scores[row], covered.get(row, 0.0)) for row in best]

    def _scores(self, words: list[str], names: list[str]) -> dict[int, float]:
        pairs = [f'"{first} {second}"' for first, second in pairwise(words)]
        query = " OR ".join([*(f'"{word}"' for word in words), *pairs])
        scores: dict[int, float] = {}
        for table, weights, share in (("leads", _LEAD_WEIGHTS, 1.0), ("bodies", _BODY_WEIGHTS, _BODY_SHARE)):
            ranked = f"select rowid, -bm25({table}, {weights}) from {table} where {table} match ?"  # noqa: S608
            for row, score in self._connection.execute(ranked, (query,)) if words else ():
                scores[row] = scores.get(row, 0.0) + share * score
        for place, name in enumerate(names):
            for (row,) in self._connection.execute("select id from pages where name = ?", (name,)):
                scores[row] = scores.get(row, 0.0) + _RELATED_SHARE * 0.9**place
        for row, name in self._connection.execute("select id, name from pages"):
            if name in SUPERSEDED and row in scores:
                scores[row] *= _SUPERSEDED_SHARE
        return scores

    def _coverage(self, words: list[str], names: list[str]) -> dict[int, float]:
        """For each page the share of the words that it has. A word that is on no page is as rare as can be."""
        covered: dict[int, float] = {}
        total = 0.0
        for word in words:
            rows = self._rows_with(word)
            weight = math.log(1 + self._count / (len(rows) + 0.5))
            total += weight
            for row in rows:
                covered[row] = covered.get(row, 0.0) + weight
        shares = {row: weight / total for row, weight in covered.items()}
        for name in names:
            for (row,) in self._connection.execute("select id from pages where name = ?", (name,)):
                shares[row] = max(shares.get(row, 0.0), 0.75)
        return shares

    def _rows_with(self, word: str) -> set[int]:
        found = "select rowid from leads where leads match ?1 union select rowid from bodies where bodies match ?1"
        return {row for (row,) in self._connection.execute(found, (f'"{word}"',))}

    def _row(self, row: int) -> Page:
        found = self._connection.execute(f"select {_COLUMNS} from pages where id = ?", (row,)).fetchone()  # noqa: S608
        return Page(*found[1:])


_COLUMNS = "id, url, name, title, summary, substr(text, 1, 1500), text, changed"


def _connect() -> sqlite3.Connection:
    # The server's thread reads what the caller's thread opened.
    return sqlite3.connect(":memory:", check_same_thread=False)


def _stored(path: Path) -> sqlite3.Connection | None:
    """A copy of an index file, None where there is none or it is broken."""
    connection = _connect()
    try:
        with closing(sqlite3.connect(path.absolute().as_uri() + "?mode=ro", uri=True)) as stored:
            stored.backup(connection)
        for table in ("pages", "leads", "bodies"):
            connection.execute(f"select 1 from {table} limit 1")  # noqa: S608
    except sqlite3.Error:
        connection.close()
        return None
    return connection


def _fill(connection: sqlite3.Connection, pages: Iterable[Page]) -> None:
    try:
        connection.executescript(_SCHEMA)
    except sqlite3.OperationalError as error:
        raise ConfigurationError(f"the SQLite of this Python can't search: {error}") from None
    _insert(connection, pages)


def _insert(connection: sqlite3.Connection, pages: Iterable[Page]) -> None:
    pages = list(pages)
    known = {word for page in pages for word in re.findall(r"[a-z]{3,}", page.text.lower())}
    with connection:
        for page in pages:
            values = (page.url, page.name, page.title, page.summary, page.text, page.changed)
            row = connection.execute(
                "insert into pages (url, name, title, summary, text, changed) values (?, ?, ?, ?, ?, ?)", values
            ).lastrowid
            parts = f"{split_identifiers(page.name)} {_unglued(page.name, known)}"
            lead = (row, page.name, parts, page.title, page.lead)
            connection.execute("insert into leads (rowid, name, parts, title, lead) values (?, ?, ?, ?, ?)", lead)
            body = (row, split_identifiers(page.text), page.text)
            connection.execute("insert into bodies (rowid, identifiers, text) values (?, ?, ?)", body)


def _unglued(name: str, known: set[str]) -> str:
    """`zipfile` as "zip file": a name made of two words of the corpus, split in the middle where it can be."""
    cuts = sorted(range(3, len(name) - 2), key=lambda cut: abs(2 * cut - len(name)))
    return next((f"{name[:cut]} {name[cut:]}" for cut in cuts if {name[:cut], name[cut:]} <= known), "")


def index_path() -> Path:
    """Where the index of the built-in corpus is kept."""
    python = "-".join([sys.implementation.name, *map(str, sys.version_info[:3])])
    # Code that makes another index makes another file.
    makers = b"".join(Path(__file__).with_name(name).read_bytes() for name in _MAKERS)
    return _cache_folder() / f"stdlib-{python}-{_release()}-{hashlib.sha256(makers).hexdigest()[:8]}.sqlite3"


def _release() -> str:
    try:
        return version("agentkit-loop")
    except PackageNotFoundError:
        return "unreleased"


def _cache_folder() -> Path:
    home = os.environ.get("AGENTKIT_HOME")
    if home:
        return Path(home) / "corpus"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "agentkit" / "corpus"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "agentkit" / "corpus"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agentkit" / "corpus"


def _build_file(path: Path, pages: Iterable[Page]) -> None:
    """Writes the index beside its place and moves it there whole, so that no process sees half of one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    except OSError as error:
        raise ConfigurationError(
            f"can't write the index to {path.parent}: {error.strerror}; set AGENTKIT_HOME"
        ) from None
    os.close(handle)
    try:
        with closing(sqlite3.connect(name)) as connection:
            _fill(connection, pages)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
