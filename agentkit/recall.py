"""What a run goes on from: a result, what its `dump()` gave, or its id in a journal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias, TypeVar

from agentkit.errors import ConfigurationError, RunBusy
from agentkit.journal import Journal, question_of
from agentkit.messages import Prompt, as_messages, encode
from agentkit.result import RunResult
from agentkit.transcript import Transcript

__all__ = ["Earlier", "has_begun", "last_of", "reread", "transcript_of"]

T = TypeVar("T")

_READS = 4

Earlier: TypeAlias = "RunResult | Mapping[str, Any] | str"
"""What a run goes on from: a result, what its `dump()` gave, or the id of a run in the journal."""


def transcript_of(earlier: Earlier | Transcript | None, journal: Journal | None) -> Transcript:
    """A log that a run can go on with.

    Args:
        earlier: What it goes on from; None is nothing.
        journal: Where an id is looked up.

    Raises:
        ConfigurationError: It is no dump, or there is no such run, or no journal.
        RunBusy: It goes on in another place.
        JournalError: An entry is damaged.
    """
    if earlier is None:
        return Transcript()
    if isinstance(earlier, RunResult):
        return earlier.transcript()
    if isinstance(earlier, Transcript):
        return earlier
    if not isinstance(earlier, str):
        return Transcript.load(earlier)
    if journal is None:
        raise ConfigurationError("a run id needs a journal: Agent(journal=…), or AGENTKIT_HOME")
    transcript = journal.load(earlier)
    if journal.is_live(journal.run(earlier)):
        raise RunBusy(f"run {earlier} goes on in another place: wait for its end")
    return transcript


async def reread(read: Callable[[], Awaitable[T]], go_on: Callable[[T], Awaitable[RunResult]]) -> RunResult:
    """Goes on with a run that others may write between the two; then it is read again, a few times.

    Args:
        read: Reads it.
        go_on: Takes it up as it was read.

    Raises:
        RunBusy: Another process goes on with it, or has decided what was to be decided here.
    """
    busy: RunBusy | None = None
    tries = 0
    while True:
        tries += 1
        earlier = await read()
        try:
            return await go_on(earlier)
        except RunBusy as error:
            if error.result is not None or tries == _READS:  # it is of a run below, or does not pass
                raise
            busy = error
        except ConfigurationError:
            if busy is None:
                raise
            raise busy from None


def last_of(session: str, journal: Journal | None) -> str | None:
    """The id of the last run of a session, None where it has none yet.

    Raises:
        ConfigurationError: There is no journal.
    """
    if journal is None:
        raise ConfigurationError("a session needs a journal: Agent(journal=…), or AGENTKIT_HOME")
    last = journal.last(session)
    return last.run_id if last else None


def has_begun(run_id: str, prompt: Prompt, journal: Journal | None) -> bool:
    """Whether the journal has the run of this name: a question that comes twice is asked once.

    Raises:
        ConfigurationError: It has begun with another question.
    """
    if journal is None or not journal.has(run_id):
        return False
    if encode(as_messages(prompt)) != encode(question_of(journal.load(run_id))):
        raise ConfigurationError(f"run {run_id!r} has begun with another question: give this one another run_id")
    return True
