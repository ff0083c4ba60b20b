"""`agentkit runs watch`: follows a run that goes on in another process, on whatever machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from agentkit.cli.journals import command_on, found, opened, shown_id
from agentkit.cli.options import JournalFile, RunId
from agentkit.cli.problems import INTERRUPTED, notice, reported
from agentkit.redaction import redacted

if TYPE_CHECKING:
    from agentkit.events import Event
    from agentkit.journal import Journal
    from agentkit.result import RunResult
    from agentkit.store import RunRow

__all__ = ["watch"]

AfterEvent = Annotated[int, typer.Option("--after", metavar="N", min=0, help="Leave out the events up to number N.")]
AsEvents = Annotated[bool, typer.Option("--json", help="Print one event a line as JSON, each with its number.")]


def watch(run: RunId, after: AfterEvent = 0, as_json: AsEvents = False, journal: JournalFile = None) -> None:
    """Watch a run that goes on in another process, on whatever machine, until it rests.

    All is read off the journal: what was done is told first, texts come whole, a reply when it is complete. Ctrl-C
    ends the watching and not the run. With --after a reader goes on behind the last event that it has.

    A run on a queue is waited for. Exit codes are those of `agentkit run`, and 3 also where the process of a run is
    gone.

    \b
    Examples:
      agentkit runs watch 3f2a
      agentkit runs watch 3f2a --json --after 17
    """
    with reported(), opened(journal) as kept:
        row = found(kept, run)
        try:
            result = (_printed if as_json else _shown)(kept, row, after)
        except KeyboardInterrupt:
            again = command_on(row.run_id, journal, "watch")
            notice(f"only the watching has ended, not the run; to watch it again: {again}")
            raise typer.Exit(INTERRUPTED) from None
        from agentkit.cli.session import leave

        leave(result, interrupted=0, kept=True, journal=journal)


def _printed(journal: Journal, row: RunRow, after: int) -> RunResult:
    def line(number: int, event: Event) -> None:
        told = {**event.as_dict(), "number": number}
        print(redacted(json.dumps(told, separators=(",", ":"), default=str)), flush=True)

    return _followed(journal, row.run_id, after, line)


def _shown(journal: Journal, row: RunRow, after: int) -> RunResult:
    from agentkit.cli.show import Screen
    from agentkit.cli.told import on_screen
    from agentkit.loop import sent_by
    from agentkit.messages import model_turns

    transcript = journal.load(row.run_id)
    names = [str(tool.get("name")) for tool in (sent_by(transcript) or {}).get("tools", ())]
    earlier = [block for message in model_turns(transcript.entries) for block in message.get("content") or ()]
    with closing(Screen(on_screen(), names, earlier, is_retold=True)) as screen:
        queued = f" (on the queue {row.detail})" if row.state == "queued" else ""
        screen.note(f"run {shown_id(row.run_id)}: {row.title}{queued}")
        result = _followed(journal, row.run_id, after, lambda _, event: screen.event(event))
        screen.finish(result)
    return result


def _followed(journal: Journal, run_id: str, after: int, tell: Callable[[int, Event], None]) -> RunResult:
    """The run as it rests, when all of it has been told."""
    import anyio

    from agentkit.result import RunResult
    from agentkit.step import Finish

    finish = anyio.run(partial(_follow, journal, run_id, after, tell))
    return RunResult(journal.load(run_id), Finish(*finish))


async def _follow(
    journal: Journal, run_id: str, after: int, tell: Callable[[int, Event], None]
) -> tuple[str, str | None]:
    from agentkit.events import RunEnd

    finish: tuple[str, str | None] = ("", None)
    async for number, event in journal.follow(run_id, after):
        tell(number, event)
        if isinstance(event, RunEnd):
            finish = event.finish, event.detail
    return finish
