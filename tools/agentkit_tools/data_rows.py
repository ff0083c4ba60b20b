"""What a query gives, and how a model reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["SECONDS", "Database", "Rows", "Table", "as_table"]

SECONDS = 30.0
"""That a query may take."""
_LONGEST_CELL, _LONGEST = 300, 60_000


@dataclass(frozen=True, slots=True)
class Table:
    """A table or a view.

    Attributes:
        name: As it is written in SQL, without quotes.
        columns: Name and type of each.
        rows: How many; None if that is not known.
    """

    name: str
    columns: list[tuple[str, str]]
    rows: int | None


@dataclass(frozen=True, slots=True)
class Rows:
    """What a query gave.

    Attributes:
        columns: Their names.
        rows: The first ones.
        are_cut: Whether there are more.
    """

    columns: list[str]
    rows: list[tuple[Any, ...]]
    are_cut: bool


class Database(Protocol):
    """Data that can be read with SQL and not changed: the database itself sees to that."""

    def tables(self) -> list[Table]:
        """All tables and views."""

    def select(self, sql: str, most: int) -> Rows:
        """The first `most` rows of one query.

        Raises:
            ToolError: It can't be run, would do more than read, or takes too long.
        """


def as_table(found: Rows) -> str:
    """Rows as a Markdown table, long values and tables cut."""
    lines = [_line(found.columns), _line(["---"] * len(found.columns))]
    size = 0
    for row in found.rows:
        line = _line(list(map(_cell, row)))
        size += len(line)
        if size > _LONGEST:
            break
        lines.append(line)
    shown = len(lines) - 2
    if shown < len(found.rows) or found.are_cut:
        lines.append(f"\n[… only the first {shown} rows: aggregate, or use WHERE, LIMIT and OFFSET …]")
    return "\n".join(lines) if found.rows else f"No rows. Columns: {', '.join(found.columns)}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes | bytearray | memoryview):
        return f"({len(value):,} bytes)"
    text = f"{value:.15g}" if isinstance(value, float) else str(value)
    text = " ".join(text.split("\n")).replace("|", "\\|")
    return text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]}…"
