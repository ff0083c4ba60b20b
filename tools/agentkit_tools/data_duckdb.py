"""CSV and Parquet files of a folder, or a duckdb file, that can only be read: duckdb refuses the rest."""

from __future__ import annotations

import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from agentkit import ToolError
from agentkit_tools.data_rows import SECONDS, Rows, Table

__all__ = ["READERS", "DuckdbFile", "DuckdbFolder"]

READERS = {".csv": "read_csv", ".tsv": "read_csv", ".parquet": "read_parquet"}
_MOST_FILES, _MOST_BYTES = 200, 2 * 1024**3
# In one process all connections to a file share one database, whose settings can be locked only once.
_one_file = threading.Lock()
_AGAIN = 0.1  # seconds: duckdb forgets an interrupt that comes just before the query runs
_OPENED = {
    "memory_limit": "2GB",
    "temp_directory": "",  # else it may write there, and be read from there
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
}
_CLOSED = (
    "SET python_enable_replacements = false",  # names of Python variables are no tables
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)
_COLUMNS = (
    "SELECT table_name, column_name, data_type FROM information_schema.columns "
    "WHERE table_schema = 'main' ORDER BY table_name, ordinal_position"
)


class _Duckdb:
    """Queries on a database that `_connected` opens and closes.

    Args:
        seconds: That a query may take.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        raise NotImplementedError
        yield

    def tables(self) -> list[Table]:
        columns: dict[str, list[tuple[str, str]]] = {}
        for name, column, kind in self.select(_COLUMNS, 10_000).rows:
            columns.setdefault(name, []).append((column, kind))
        found = []
        for name, described in columns.items():
            quoted = name.replace('"', '""')
            ((count,),) = self.select(f'SELECT count(*) FROM "{quoted}"', 1).rows  # noqa: S608
            found.append(Table(name, described, int(count)))
        return found

    def select(self, sql: str, most: int) -> Rows:
        duckdb = _duckdb()
        with self._connected() as database, database.cursor() as cursor:
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            try:
                with _interrupted(cursor, self._seconds):
                    found = cursor.execute(_one(cursor, sql))
                    rows = found.fetchmany(most + 1)
                    return Rows([str(column[0]) for column in found.description or ()], rows[:most], len(rows) > most)
            except duckdb.InterruptException:
                text = f"The query took more than {self._seconds:g} seconds: make it simpler, or read less."
                raise ToolError(text) from None
            except duckdb.PermissionException as error:
                raise ToolError(f"That is not allowed here: only the tables can be read ({_first(error)}).") from None
            except duckdb.Error as error:
                raise ToolError(f"The query can't be run: {str(error)[:1000]}") from None
            finally:
                with suppress(duckdb.Error):
                    cursor.execute("ROLLBACK")


class DuckdbFolder(_Duckdb):
    """The files right in a folder, each of them a table with the name of the file.

    They are read into memory, because a database that may touch no file can't read them later; and again when one of
    them has changed.

    Args:
        path: The folder, or one file.
        seconds: That a query may take.
    """

    def __init__(self, path: Path, seconds: float = SECONDS) -> None:
        super().__init__(seconds)
        self._folder = path if path.is_dir() else path.parent
        self._only = None if path.is_dir() else path.name
        self._lock = threading.Lock()
        self._loaded: tuple[list[tuple[str, int, int]], Any] = ([], None)

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        with self._lock:
            files = self._files()
            if self._loaded[1] is None or self._loaded[0] != files:
                self._loaded = (files, self._load([name for name, _, _ in files]))
            database = self._loaded[1]
        yield database

    def _files(self) -> list[tuple[str, int, int]]:
        """Name, time and size of each file, links left out."""
        found = []
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    wanted = Path(entry.name).suffix.lower() in READERS and self._only in (None, entry.name)
                    if wanted and entry.is_file(follow_symlinks=False):
                        about = entry.stat(follow_symlinks=False)
                        found.append((entry.name, about.st_mtime_ns, about.st_size))
        except OSError as error:
            raise ToolError(f"The data can't be read: {error.strerror}.") from error
        if len(found) > _MOST_FILES or sum(size for _, _, size in found) > _MOST_BYTES:
            text = f"The data is more than {_MOST_FILES} files or {_MOST_BYTES // 1024**3} GB: that is too much."
            raise ToolError(text)
        return sorted(found)

    def _load(self, names: list[str]) -> Any:
        database = _opened(":memory:")
        taken: set[str] = set()
        for name in names:
            table = _table_name(name, taken)
            taken.add(table)
            with _followed(self._folder, name) as path, _interrupted(database, 4 * self._seconds):
                _fill(database, table, READERS[Path(name).suffix.lower()], path, name)
        for setting in _CLOSED:
            database.execute(setting)
        return database


class DuckdbFile(_Duckdb):
    """A duckdb file, opened anew for each query, so that others may write to it meanwhile.

    Args:
        path: The file.
        seconds: That a query may take.
    """

    def __init__(self, path: Path, seconds: float = SECONDS) -> None:
        super().__init__(seconds)
        self._path = path

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        with _one_file:
            try:
                database = _opened(str(self._path), read_only=True)
            except _duckdb().Error as error:
                raise ToolError(f"The database can't be opened: {_first(error)}.") from None
            with database:
                for setting in _CLOSED:
                    database.execute(setting)
                yield database


def _duckdb() -> Any:
    try:
        import duckdb
    except ImportError:
        raise ToolError("These data can't be read here: pip install 'agentkit-loop[data]'") from None
    return duckdb


def _opened(path: str, *, read_only: bool = False) -> Any:
    return _duckdb().connect(path, read_only=read_only, config=_OPENED)


def _one(cursor: Any, sql: str) -> Any:
    """The statement, if it is one that reads."""
    duckdb = _duckdb()
    statements = cursor.extract_statements(sql)
    reading = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
    if len(statements) != 1 or statements[0].type not in reading:
        raise ToolError("That is not allowed here: use one SELECT; data can be read and not changed.")
    return statements[0]


@contextmanager
def _interrupted(cursor: Any, seconds: float) -> Iterator[None]:
    is_over = threading.Event()

    def interrupt() -> None:
        wait = seconds
        while not is_over.wait(wait):
            cursor.interrupt()
            wait = _AGAIN

    watching = threading.Thread(target=interrupt, name="data query", daemon=True)
    watching.start()
    try:
        yield
    finally:
        is_over.set()
        watching.join()


@contextmanager
def _followed(folder: Path, name: str) -> Iterator[str]:
    """A path of the very file that was opened: no link, and not what takes its place meanwhile."""
    try:
        opened = os.open(folder / name, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise ToolError(f"{name} can't be read: {error.strerror}.") from error
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise ToolError(f"{name} is no file.")
        proc = f"/proc/self/fd/{opened}"
        yield proc if os.path.exists(proc) else str(folder / name)
    finally:
        os.close(opened)


def _fill(database: Any, table: str, reader: str, path: str, name: str) -> None:
    quoted = path.replace("'", "''")
    try:
        database.execute(f"CREATE TABLE \"{table}\" AS SELECT * FROM {reader}('{quoted}')")  # noqa: S608
    except _duckdb().Error as error:
        raise ToolError(f"{name} can't be read: {_first(error).replace(path, name)}") from None


def _table_name(name: str, taken: set[str]) -> str:
    base = re.sub(r"\W+", "_", Path(name).stem).strip("_").lower() or "data"
    base = f"t_{base}" if base[0].isdigit() else base
    return next(it for it in (base, *(f"{base}_{number}" for number in range(2, 1000))) if it not in taken)


def _first(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]
