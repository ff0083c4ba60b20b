"""How often in a row a run has failed its workers, or they it: what its log says of those who took it up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import Any

from agentkit.errors import JournalError
from agentkit.journal import Journal

__all__ = ["deaths_of", "failures_of", "replies_of_takes"]

_GOES_ON = 2  # replies: a run that takes its worker with it at the same call each time gets one


def deaths_of(journal: Journal, run_id: str, takes: int) -> int:
    """How many workers in a row may have died with a run, and came no further than to one reply.

    Args:
        journal: The run's.
        run_id: The run.
        takes: How many times it was taken up since it was put on its queue.

    Raises:
        JournalError: The database can't be reached.
    """
    if takes < 2:
        return takes
    try:
        latest_first = reversed(replies_of_takes(journal.load(run_id).entries))
    except JournalError as error:
        if error.retryable:
            raise
        return 0  # its log is damaged, of which is told when it is taken up
    return min(takes, sum(1 for _ in takewhile(lambda replies: replies < _GOES_ON, latest_first)))


def failures_of(journal: Journal, run_id: str, before: int) -> int:
    """How many times in a row the endpoint has failed a run without a reply; this time too.

    Args:
        journal: The run's.
        run_id: The run.
        before: As many had it failed before it was taken up.

    Raises:
        JournalError: The database can't be reached.
    """
    replies = replies_of_takes(journal.load(run_id).entries)
    return 1 if replies[-1] else before + 1


def replies_of_takes(entries: Iterable[Mapping[str, Any]]) -> list[int]:
    """How many replies the model gave each time a run was queued or taken up, the first time first."""
    replies = [0]
    for entry in entries:
        if entry["entry"] == "run":
            replies.append(0)
        elif entry["entry"] == "turn" and entry["role"] == "assistant":
            replies[-1] += 1
    return replies
