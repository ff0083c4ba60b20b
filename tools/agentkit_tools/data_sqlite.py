"""A SQLite file that can only be read: SQLite refuses the rest."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentkit import ToolError
from agentkit_tools.data_rows import SECONDS, Rows, Table

__all__ = ["SqliteFile"]

_READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
# What SQLite may have been built with, and what no query over data needs. One printf can run for minutes.
_NOT_THESE = {"load_extension", "fts3_tokenizer", "readfile", "writefile", "edit", "sqlite_dbpage", "sqlite_dbdata"}
_NOT_THESE |= {"printf", "format"}
_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 10_000_000,  # bytes of a value: no function makes a larger one
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 100_000,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1000,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
}


class SqliteFile:
    """Opened anew for each query, so it may change meanwhile.

    Args:
        path: The file.
        seconds: That a query may take.
    """

    def __init__(self, path: Path, seconds: float = SECONDS) -> None:
        self._uri = f"{path.absolute().as_uri()}?mode=ro"
        self._seconds = seconds

    def tables(self) -> list[Table]:
        with self._opened() as database:
            named = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'"
            names = [str(name) for (name,) in database.execute(f"{named} ORDER BY name")]
            return [Table(name, _columns(database, name), _count(database, name)) for name in names]

    def select(self, sql: str, most: int) -> Rows:
        with self._opened() as database:
            database.set_authorizer(_authorized)
            cursor = database.execute(sql)
            if cursor.description is None:
                raise sqlite3.ProgrammingError("not authorized")
            rows = cursor.fetchmany(most + 1)
            columns = [str(column[0]) for column in cursor.description]
            return Rows(columns, rows[:most], len(rows) > most)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        ends = time.monotonic() + self._seconds
        try:
            database = sqlite3.connect(self._uri, uri=True, isolation_level=None)
        except sqlite3.Error as error:
            raise ToolError(f"The database can't be opened: {error}.") from error
        try:
            database.text_factory = lambda data: data.decode("utf-8", "replace")
            database.execute("PRAGMA query_only = ON")
            database.execute("PRAGMA trusted_schema = OFF")
            for limit, value in _LIMITS.items():
                database.setlimit(limit, value)
            database.set_progress_handler(lambda: time.monotonic() > ends, 10_000)
            yield database
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise ToolError(self._told(str(error))) from error
        finally:
            database.close()

    def _told(self, error: str) -> str:
        if error == "interrupted":
            return f"The query took more than {self._seconds:g} seconds: make it simpler, or read less."
        if "authorized" in error or "prohibited" in error or "readonly" in error:
            return f"That is not allowed here ({error}): use one SELECT; data can be read and not changed."
        return f"The query can't be run: {error}."


def _authorized(action: int, first: str | None, second: str | None, database: str | None, inside: str | None) -> int:
    named = {str(first).lower(), str(second).lower()}
    return sqlite3.SQLITE_OK if action in _READING and not named & _NOT_THESE else sqlite3.SQLITE_DENY


def _columns(database: sqlite3.Connection, table: str) -> list[tuple[str, str]]:
    try:
        return [
            (str(name), str(kind))
            for name, kind in database.execute("SELECT name, type FROM pragma_table_info(?)", [table])
        ]
    except sqlite3.OperationalError:  # a view of something that is gone
        return []


def _count(database: sqlite3.Connection, table: str) -> int | None:
    quoted = table.replace('"', '""')
    try:
        (count,) = database.execute(f'SELECT count(*) FROM "{quoted}"').fetchone()  # noqa: S608
    except sqlite3.OperationalError:
        return None
    return int(count)
