"""The journal that a command is about, and the run in it that a few characters name."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from agentkit.errors import ConfigurationError, JournalError

if TYPE_CHECKING:
    from agentkit.journal import Journal
    from agentkit.store import RunRow

__all__ = [
    "ID_LENGTH",
    "about_of",
    "command_on",
    "found",
    "is_kept",
    "opened",
    "place_of",
    "shown_id",
    "state_of",
    "where",
]

ID_LENGTH = 8
"""Characters of an id that are shown: any that are unique will do to name a run."""

_MADE_UP = re.compile("[0-9a-f]{32}")
_ALL = 1_000_000
_MOST_CANDIDATES = 5


def is_kept(journal: str | None) -> bool:
    """Whether runs are kept, and not in memory alone."""
    return journal is not None or bool(os.environ.get("AGENTKIT_HOME"))


def shown_id(run_id: str) -> str:
    """An id as it is shown: the beginning of one that agentkit made up, and the whole of a name: many begin alike."""
    return run_id[:ID_LENGTH] if _MADE_UP.fullmatch(run_id) else run_id


def command_on(run_id: str, journal: str | None, verb: str = "resume") -> str:
    """The command to type for a run: `agentkit runs resume 3f2a81c0`, without the password of a database."""
    place = re.sub(r"(://[^/@:]*):[^@]*@", r"\1@", journal or "")
    where_kept = f" --journal {shlex.quote(place)}" if journal else ""
    return f"agentkit runs {verb} {shlex.quote(shown_id(run_id))}{where_kept}"


def place_of(named: str | None) -> str:
    """The file or URL of the journal that is named, or that of AGENTKIT_HOME.

    Raises:
        ConfigurationError: Neither is there.
    """
    if named is not None:
        return named
    home = os.environ.get("AGENTKIT_HOME")
    if not home:
        raise ConfigurationError("no journal is named: give --journal FILE|URL, or set AGENTKIT_HOME to its folder")
    os.makedirs(home, mode=0o700, exist_ok=True)
    return os.path.join(home, "runs.db")


@contextmanager
def opened(place: str | None) -> Iterator[Journal]:
    """The journal in a file or a database, or that of AGENTKIT_HOME.

    Raises:
        ConfigurationError: There is none, or the file is something else.
    """
    from agentkit.journal import Journal

    place = place_of(place)
    if "://" not in place and not os.path.isfile(place):
        raise ConfigurationError(f'there is no journal {place}: `agentkit run --journal {place} "…"` makes one')
    with closing(Journal(place)) as journal:
        yield journal


def found(journal: Journal, named: str) -> RunRow:
    """The run with this id, or whose id is the only one that begins so.

    Raises:
        ConfigurationError: There is none, or more than one.
    """
    rows = [row for row in journal.runs(_ALL) if row.run_id.startswith(named)]
    exact = [row for row in rows if row.run_id == named]
    if len(rows) == 1 or exact:
        return (exact or rows)[0]
    if not (rows and named):
        raise ConfigurationError(f"there is no run {named!r} in the journal: `agentkit runs` lists them")
    candidates = ", ".join(f"{_told_apart(row.run_id, named)} ({row.title})" for row in rows[:5])
    more = f", and {len(rows) - _MOST_CANDIDATES} more" if len(rows) > _MOST_CANDIDATES else ""
    raise ConfigurationError(f"{len(rows)} runs begin with {named!r}: {candidates}{more}")


def _told_apart(run_id: str, named: str) -> str:
    return run_id[: max(len(shown_id(run_id)), len(named) + 4)]


def state_of(journal: Journal, row: RunRow) -> str:
    """Why it ended, `running`, or `interrupted` where nobody is there to go on with it."""
    return "interrupted" if row.state == "running" and not journal.is_live(row) else row.state


def about_of(journal: Journal, row: RunRow) -> dict[str, Any]:
    """What is known of a run, as JSON; of a damaged one that it is."""
    about: dict[str, Any] = {
        "run_id": row.run_id,
        "state": state_of(journal, row),
        "detail": row.detail,
        "title": row.title,
        "model": row.model,
        "parent": row.parent,
        "created": row.created,
        "updated": row.updated,
        "queue": row.detail if row.state in ("queued", "running") else None,
        "holder": row.holder if journal.is_live(row) else None,
        "lease": max(0.0, round(row.expires - time.time(), 1)) if row.holder else None,
    }
    try:
        transcript = journal.load(row.run_id)
    except (JournalError, ConfigurationError) as error:
        return {**about, "damaged": str(error)}
    usage = transcript.spending.usage
    tokens = {"input_tokens": usage.total_tokens - usage.output_tokens, "output_tokens": usage.output_tokens}
    spent = {"turns": transcript.turns, **tokens, "cost": transcript.spending.cost, "seconds": transcript.elapsed}
    return {**about, **spent, "calls": transcript.tool_calls, "pending_calls": len(transcript.held())}


def where(row: RunRow) -> str:
    """Who goes on with a run that is live."""
    host, pid, _ = (row.holder or "::").rsplit(":", 2)
    return f"process {pid} on {host}"
