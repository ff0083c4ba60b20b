"""All rows of the fault table, by name."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType

from agentkit.emulator.faults import connections, messages, statuses, streams
from agentkit.emulator.faults.row import Row, Unmade
from agentkit.errors import ConfigurationError

__all__ = ["BY_NAME", "FAULTS", "row_of"]

BY_NAME: Mapping[str, Row] = {
    row.name: row
    for row in (
        *statuses.ROWS,
        *connections.ROWS,
        *sorted((*streams.ROWS, *messages.ROWS), key=lambda row: int(row.name[1:].partition("-")[0])),
    )
}
_BY_ALIAS = {row.alias: row for row in BY_NAME.values() if row.alias}

FAULTS: Mapping[str, str] = MappingProxyType(
    {
        row.name: row.about + (f" (can't be made: {row.instead})" if isinstance(row, Unmade) else "")
        for row in BY_NAME.values()
    }
    | {alias: f"{row.name}: {row.about}" for alias, row in _BY_ALIAS.items()}
)
"""What can happen: for each id of a row and each alias, a line that says what it is."""


def row_of(name: str) -> Row:
    """The row of an id or alias.

    Raises:
        ConfigurationError: There is none, or no server can make it.
    """
    row = BY_NAME.get(name) or _BY_ALIAS.get(name)
    if row is None:
        known = {given.lower(): given for given in FAULTS}
        near = [known[found] for found in get_close_matches(name.lower(), known, n=3)]
        hint = f"; did you mean {' or '.join(near)}?" if near else "; `FAULTS` lists them"
        raise ConfigurationError(f"no fault {name!r}{hint}")
    if isinstance(row, Unmade):
        raise ConfigurationError(f"{row.name} ({row.about}) can't be made by the emulator: {row.instead}")
    return row
