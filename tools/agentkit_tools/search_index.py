"""The passages of the text files of a folder, in SQLite's full-text index."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from agentkit import ConfigurationError, ToolError

__all__ = ["Index", "Passage"]

_MOST_FILES, _MOST_BYTES, _LARGEST = 20_000, 200 * 1024 * 1024, 2 * 1024 * 1024
_PASSAGE = 1500  # characters, about
_MOST_FOUND, _MOST_OF_A_FILE = 8, 3
_LEFT_OUT = {"node_modules", "__pycache__"}
_VERSION = 1
_SCHEMA = f"""
PRAGMA user_version = {_VERSION};
CREATE TABLE files (path TEXT PRIMARY KEY, changed INTEGER, size INTEGER);
CREATE TABLE passages (id INTEGER PRIMARY KEY, path TEXT, first INTEGER, heading TEXT, text TEXT);
CREATE INDEX passages_path ON passages (path);
CREATE VIRTUAL TABLE words USING fts5(
    path, heading, text, content='', tokenize='porter unicode61 remove_diacritics 2'
);
"""


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a file.

    Attributes:
        source: Path and line, such as `guide/refunds.md:12`.
        title: Path and the heading above it.
        text: As it is in the file.
    """

    source: str
    title: str
    text: str


class Index:
    """Kept in memory, or in a file.

    Args:
        root: The folder, absolute.
        file: Where the index is kept.

    Raises:
        ConfigurationError: The file can't be used.
    """

    def __init__(self, root: Path, file: Path | None = None) -> None:
        self._root = root
        self._lock = threading.Lock()
        try:
            self._database = _opened(file)
        except sqlite3.Error as error:
            raise ConfigurationError(f"search(index={str(file)!r}): no index can be kept there: {error}") from None
        weakref.finalize(self, self._database.close)

    def refresh(self, progress: Callable[[str], None]) -> str:
        """Takes in what has changed; gives a note for the model if not everything fits."""
        with self._lock:
            known = {path: (changed, size) for path, changed, size in self._database.execute("SELECT * FROM files")}
            seen: set[str] = set()
            total = new = 0
            note = ""
            for path, folder, name, changed, size in _files(self._root):
                if len(seen) >= _MOST_FILES or total + size > _MOST_BYTES:
                    note = f"Only the first {len(seen):,} files of the folder are searched."
                    break
                seen.add(path)
                total += size
                if known.get(path) != (changed, size):
                    self._take_in(path, _text(folder, name), changed, size)
                    new += 1
                    if new % 200 == 0:
                        self._database.commit()
                        progress(f"Indexed {new:,} files")
            for path in known.keys() - seen:
                self._forget(path)
            self._database.commit()
            return note

    def find(self, query: str) -> list[Passage]:
        """The best passages for a query, at most 3 of one file.

        Raises:
            ToolError: The query has no words.
        """
        wanted = _match(query)
        if not wanted:
            raise ToolError("The query has no words to search for.")
        ranked = (
            "SELECT id, passages.path FROM words JOIN passages ON id = words.rowid WHERE words MATCH ? "
            "ORDER BY bm25(words, 2.0, 3.0, 1.0), id LIMIT 2000"
        )
        whole = "SELECT path, first, heading, text FROM passages WHERE id = ?"
        best: list[int] = []
        of_file: Counter[str] = Counter()
        with self._lock:
            for id_, path in self._database.execute(ranked, [wanted]).fetchall():
                of_file[path] += 1
                if of_file[path] <= _MOST_OF_A_FILE and len(best) < _MOST_FOUND:
                    best.append(id_)
            rows = [self._database.execute(whole, [id_]).fetchone() for id_ in best]
        return [
            Passage(f"{path}:{first}", f"{path}: {heading}" if heading else path, text)
            for path, first, heading, text in rows
        ]

    def _take_in(self, path: str, text: str | None, changed: int, size: int) -> None:
        self._forget(path)
        self._database.execute("INSERT INTO files VALUES (?, ?, ?)", [path, changed, size])
        for first, heading, passage in _passages(text or ""):
            row = [path, first, heading, passage]
            added = self._database.execute("INSERT INTO passages VALUES (NULL, ?, ?, ?, ?)", row).lastrowid
            self._database.execute(
                "INSERT INTO words (rowid, path, heading, text) VALUES (?, ?, ?, ?)",
                [added, _spaced(path), heading, passage],
            )

    def _forget(self, path: str) -> None:
        rows = self._database.execute("SELECT id, heading, text FROM passages WHERE path = ?", [path]).fetchall()
        self._database.executemany(
            "INSERT INTO words (words, rowid, path, heading, text) VALUES ('delete', ?, ?, ?, ?)",
            [(id_, _spaced(path), heading, text) for id_, heading, text in rows],
        )
        self._database.execute("DELETE FROM passages WHERE path = ?", [path])
        self._database.execute("DELETE FROM files WHERE path = ?", [path])


def _opened(file: Path | None) -> sqlite3.Connection:
    database = sqlite3.connect(file or ":memory:", check_same_thread=False, timeout=30)
    try:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if not tables:
            database.executescript(_SCHEMA)
    except sqlite3.Error:
        database.close()
        raise
    if tables and version != _VERSION:
        database.close()
        raise sqlite3.DatabaseError("it has something else in it")
    return database


def _files(root: Path) -> Iterator[tuple[str, int, str, int, int]]:
    """Path below the root, handle of its folder, name, time and size of each file, in order; no link is followed."""
    for folder, folders, names, handle in os.fwalk(root, follow_symlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _LEFT_OUT)
        for name in sorted(names):
            if name.startswith("."):
                continue
            try:
                about = os.stat(name, dir_fd=handle, follow_symlinks=False)
            except OSError:  # gone meanwhile
                continue
            if stat.S_ISREG(about.st_mode) and 0 < about.st_size <= _LARGEST:
                path = str(PurePosixPath(os.path.relpath(folder, root), name))
                yield path.encode(errors="replace").decode(), handle, name, about.st_mtime_ns, about.st_size


def _text(folder: int, name: str) -> str | None:
    """The text of a file; None if it is no text, or no plain file any more."""
    try:
        opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        with open(opened, "rb") as file:
            data = file.read(_LARGEST + 1) if stat.S_ISREG(os.fstat(opened).st_mode) else b"\0"
        return None if b"\0" in data else data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None


def _passages(text: str) -> Iterator[tuple[int, str, str]]:
    """Number of the first line, the heading above, and text of each passage: whole paragraphs as far as they fit."""
    first, heading, size = 1, "", 0
    lines: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        starts = bool(re.match(r"#{1,6} ", line))
        long = size > _PASSAGE or (size > _PASSAGE // 2 and not line.strip())
        if lines and (starts or long):
            yield from _cut(first, heading, lines)
            first, lines, size = number, [], 0
        if starts:
            heading = line.lstrip("#").strip()[:200]
        lines.append(line)
        size += len(line) + 1
    yield from _cut(first, heading, lines)


def _cut(first: int, heading: str, lines: list[str]) -> Iterator[tuple[int, str, str]]:
    text = "\n".join(lines).strip("\n")
    for at in range(0, len(text), 2 * _PASSAGE):  # a file may be one line
        part = text[at : at + 2 * _PASSAGE]
        if part.strip():
            yield first, heading, part


def _spaced(path: str) -> str:
    """A path as words: `RefundPolicy_2024.md` is found by each of them."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[^\w]|_", " ", path)


def _match(query: str) -> str:
    """The query in FTS5's language, every word quoted: none of it is an operator."""
    parts = re.findall(r'"([^"]*)"|(\w+)', query)
    words = [" ".join(re.findall(r"\w+", phrase or word)) for phrase, word in parts]
    return " OR ".join(f'"{word}"' for word in dict.fromkeys(words) if word)
