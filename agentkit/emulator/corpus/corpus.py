"""The pages that the emulator searches: an index in SQLite, built once and kept.

Not the web: `web_search` and `web_fetch` of the emulator look only here.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from agentkit.emulator.corpus.index import SCHEMA, insert, search
from agentkit.emulator.corpus.pages import SUFFIXES, Page, folder_pages, project_pages, stdlib_pages
from agentkit.errors import ConfigurationError

__all__ = ["Corpus", "Found", "index_path"]

_MAKERS = ("index.py", "pages.py", "stdlib_pages.py", "stems.py", "subjects.py", "subjects.txt", "words.py")
# Each Python, release and checkout has an index of its own, of some megabytes: enough to change between a few of them.
_MOST_INDEXES = 8


@dataclass(frozen=True, slots=True)
class Found:
    """One page that a search found.

    Attributes:
        page: The page.
        score: How well it fits; only good for comparing.
        sure: How sure it is that the page answers: 0 to 1. It is small where the page has few of the query's words,
            rare ones counting more, and where it only mentions them.
    """

    page: Page
    score: float
    sure: float


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
        about = f"the standard library of Python {sys.version_info.major}.{sys.version_info.minor}"
        project = list(project_pages())
        if project:
            return cls(_with_project(project, progress), f"{about} and the documents of agentkit")
        return cls(_library(progress), about)

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
        hits = search(self._connection, query, self._count, limit)
        return [Found(self._row(hit.row), hit.score, hit.sure) for hit in hits]

    def _row(self, row: int) -> Page:
        found = self._connection.execute(f"select {_COLUMNS} from pages where id = ?", (row,)).fetchone()  # noqa: S608
        return Page(*found[1:])


_COLUMNS = "id, url, name, title, summary, substr(text, 1, 1500), text, changed, subjects, weight"


def _connect() -> sqlite3.Connection:
    # Threads of a server share the connection.
    return sqlite3.connect(":memory:", check_same_thread=False)


def _fill(connection: sqlite3.Connection, pages: Iterable[Page]) -> None:
    connection.executescript(SCHEMA)
    insert(connection, pages)


def _library(progress: Callable[[str], None]) -> sqlite3.Connection:
    """The index of the standard library."""

    def fill(connection: sqlite3.Connection) -> None:
        progress("reading the documentation of the standard library (once, a few seconds)")
        _fill(connection, stdlib_pages(progress))

    return _kept(index_path(), 0, fill)


def _with_project(pages: list[Page], progress: Callable[[str], None]) -> sqlite3.Connection:
    """The index of the standard library and this checkout's documents: a file for each checkout, as they change."""

    def fill(connection: sqlite3.Connection) -> None:
        with closing(_library(progress)) as library:
            library.backup(connection)
        insert(connection, pages)

    checkout = hashlib.sha256(__file__.encode()).hexdigest()[:8]
    said = hashlib.sha256(repr(pages).encode()).digest()
    return _kept(index_path().with_suffix(f".{checkout}.sqlite3"), int.from_bytes(said[:4]) >> 1, fill)


def _kept(path: Path, edition: int, fill: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
    """An index file, opened; made first where there is none of this edition, or it is broken."""
    connection = _stored(path, edition)
    if connection is None:
        _write(path, edition, fill)
        connection = _stored(path, edition)
    if connection is None:
        raise ConfigurationError(f"the index {path.name} can't be read; set AGENTKIT_HOME to a folder of your own")
    with suppress(OSError):  # it may be another user's
        os.utime(path)
    return connection


def _stored(path: Path, edition: int) -> sqlite3.Connection | None:
    try:
        # A file is replaced, never changed, so no lock is needed.
        address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        connection = sqlite3.connect(address, uri=True, check_same_thread=False)
    except sqlite3.Error:
        return None
    try:
        (found,) = connection.execute("pragma user_version").fetchone()
        for table in ("pages", "words"):
            connection.execute(f"select 1 from {table} limit 1")  # noqa: S608
    except sqlite3.Error:
        found = None
    if found == edition:
        return connection
    connection.close()
    return None


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


def _write(path: Path, edition: int, fill: Callable[[sqlite3.Connection], None]) -> None:
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
            fill(connection)
            connection.execute(f"pragma user_version = {edition}")
        # On Windows a file that another process has open stays: that process made the same one.
        with suppress(PermissionError):
            Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
    _remove_unused(path.parent)


def _remove_unused(folder: Path) -> None:
    """Removes all indexes but those that were opened last. Whoever has one of the others open reads on."""
    with suppress(OSError):  # another process may do the same
        opened = sorted(folder.glob("stdlib-*.sqlite3"), key=lambda path: path.stat().st_mtime_ns)
        for path in opened[:-_MOST_INDEXES]:
            path.unlink()
