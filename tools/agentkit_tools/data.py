"""Data behind SQL that can only be read, and charts of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from agentkit import ConfigurationError, Tool, tool
from agentkit_tools.data_chart import MOST_POINTS, Kind, drawn
from agentkit_tools.data_duckdb import READERS, DuckdbFile, DuckdbFolder
from agentkit_tools.data_rows import Database, as_table
from agentkit_tools.data_sqlite import SqliteFile

__all__ = ["data"]

_MOST_ROWS, _MOST_TABLES = 200, 200


def data(path: str | os.PathLike[str]) -> list[Tool]:
    """`list_tables`, `query_data` and `draw_chart` on one place: they read it and change nothing.

    A query is one SELECT of at most 30 seconds, of whose rows the first 200 are shown. The database itself sees to it
    that nothing else runs: SQLite opens the file read-only, with an authorizer; duckdb runs a read-only transaction
    that reaches no file, no network and no setting.

    Args:
        path: A folder, whose CSV, TSV and Parquet files are the tables (links and subfolders are left out), one such
            file, a SQLite file, or a duckdb file.

    Raises:
        ConfigurationError: There are no data there.
    """
    database = _database(Path(path))

    @tool(effect={"read", "private"}, timeout=180)
    def list_tables() -> str:
        """List the tables, with their columns and how many rows they have."""
        tables = database.tables()
        shown = "\n\n".join(
            f"{table.name}{'' if table.rows is None else f' ({table.rows:,} rows)'}\n"
            + "\n".join(f"- {name}: {kind or 'any'}" for name, kind in table.columns)
            for table in tables[:_MOST_TABLES]
        )
        more = f"\n\n[… {len(tables) - _MOST_TABLES} more tables …]" if len(tables) > _MOST_TABLES else ""
        return f"{shown}{more}" if tables else "There are no tables."

    @tool(effect={"read", "private"}, timeout=180)
    def query_data(sql: Annotated[str, Field(min_length=1, max_length=20_000)]) -> str:
        """Run one SELECT on the data; at most 200 rows are shown, so aggregate.

        Args:
            sql: In the dialect of the database, which `list_tables` names the tables of.
        """
        return as_table(database.select(sql, _MOST_ROWS))

    @tool(effect={"read", "private"}, timeout=180)
    def draw_chart(
        sql: Annotated[str, Field(min_length=1, max_length=20_000)],
        kind: Kind,
        title: Annotated[str, Field(max_length=200)] = "",
    ) -> list[Any]:
        """Draw a chart of what a SELECT gives; you see it as an image.

        Args:
            sql: Its first column is the x axis, each further one a series of numbers; for a histogram, the numbers.
            kind: line, bar (at most 60 rows), scatter or histogram.
            title: Above the chart.
        """
        found = database.select(sql, MOST_POINTS)
        return [f"A {kind} chart of {len(found.rows)} rows.", drawn(kind, title, found)]

    return [list_tables, query_data, draw_chart]


def _database(path: Path) -> Database:
    if path.is_dir():
        whole = path.resolve()
        if whole == Path(whole.anchor) or Path.home().resolve().is_relative_to(whole):
            raise ConfigurationError(f"data({str(path)!r}): give a folder of its own, not {whole}")
        return DuckdbFolder(path)
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise ConfigurationError(f"data({str(path)!r}) can't be read: {error.strerror}") from None
    if start == b"SQLite format 3\0":
        return SqliteFile(path)
    if start[8:12] == b"DUCK":
        return DuckdbFile(path)
    if path.suffix.lower() in READERS:
        return DuckdbFolder(path)
    raise ConfigurationError(f"data({str(path)!r}): give a folder, a {', '.join(READERS)}, SQLite or duckdb file")
