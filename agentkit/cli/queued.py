"""Runs that go to the workers of a queue instead of going on here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from agentkit.cli.journals import command_on, place_of, shown_id
from agentkit.cli.problems import notice
from agentkit.errors import ConfigurationError

if TYPE_CHECKING:
    from agentkit.call import Decision
    from agentkit.integrations.durable import Queue

T = TypeVar("T")

__all__ = ["cancel_on", "durable", "go_on_at", "submit"]


def submit(question: str, queue: str, journal: str | None, session: str | None) -> None:
    """Puts a question on a queue, and prints the id of its run."""
    with _opened(queue, journal) as opened:
        run_id = _awaited(partial(opened.submit, question, session=session))
    print(run_id)
    notice(f"on the queue {queue}; to watch it: {command_on(run_id, journal, 'watch')}")


def go_on_at(queue: str, journal: str | None, run_id: str, decisions: Mapping[str, Decision]) -> None:
    """Lets the workers of a queue go on with a run."""
    with _opened(queue, journal) as opened:
        _awaited(partial(opened.go_on, run_id, decisions))
    notice(f"{shown_id(run_id)} is on the queue {queue}; to watch it: {command_on(run_id, journal, 'watch')}")


def cancel_on(queue: str, journal: str | None, run_id: str) -> None:
    """Ends a run that is on a queue, or with one of its workers."""
    with _opened(queue, journal) as opened:
        _awaited(partial(opened.cancel, run_id))
    notice(f"cancelled {shown_id(run_id)}; a worker that has it ends it within some seconds")


def _awaited(ask: Callable[[], Awaitable[T]]) -> T:
    import anyio

    return anyio.run(ask)


@contextmanager
def _opened(queue: str, journal: str | None) -> Iterator[Queue]:
    durable()
    from agentkit.integrations.durable import Queue

    with closing(Queue(queue, place_of(journal))) as opened:
        yield opened


def durable() -> None:
    """Makes sure that queues can be used.

    Raises:
        ConfigurationError: Their package is not installed.
    """
    try:
        import agentkit.integrations.durable  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(str(error)) from None
