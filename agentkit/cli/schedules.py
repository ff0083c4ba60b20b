"""`agentkit schedules`: questions that come again for the workers of a queue."""

from __future__ import annotations

import json
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentkit.cli.journals import opened, place_of
from agentkit.cli.options import JournalFile
from agentkit.cli.problems import notice, reported
from agentkit.cli.queued import durable
from agentkit.errors import ConfigurationError
from agentkit.terminal import safe_line

if TYPE_CHECKING:
    from agentkit.integrations.durable import Schedule

__all__ = ["schedules"]

schedules = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

OneALine = Annotated[bool, typer.Option("--json", help="Print one schedule a line as JSON.")]
ScheduleName = Annotated[str, typer.Argument(metavar="NAME", help="Names the schedule, in the whole journal.")]
Times = Annotated[
    str, typer.Argument(metavar="CRON", help='Minute, hour, day, month and weekday, such as "0 9 * * 1-5".')
]
Asked = Annotated[str, typer.Argument(metavar="QUESTION", help="What is asked each time.")]
OfQueue = Annotated[str, typer.Option("--queue", metavar="NAME", help="Whose workers run it: see `agentkit worker`.")]
Timezone = Annotated[str, typer.Option(metavar="ZONE", help="Where the times are read, such as Europe/Berlin.")]
InSession = Annotated[
    str | None,
    typer.Option(
        "--session",
        metavar="NAME",
        help="The conversation that the runs go on with; a time is skipped while it has a run that has not ended.",
        show_default=False,
    ),
]


@schedules.callback(invoke_without_command=True)
def overview(context: typer.Context, as_json: OneALine = False, journal: JournalFile = None) -> None:
    """Questions that come again: at each of its times, the workers of a queue begin one run.

    Without a command, they are listed, with the time when each comes next. A run is named by its schedule and its
    time in UTC: daily-2026-12-01T0800Z. It is seen and decided on by `agentkit runs`, as all are.

    \b
    Examples:
      export AGENTKIT_HOME=~/.agentkit
      agentkit schedules add daily "0 9 * * 1-5" "What changed?" --queue research --timezone Europe/Berlin
      agentkit schedules
      agentkit schedules remove daily
    """
    if context.invoked_subcommand is None:
        with reported():
            _list(as_json, journal)
    elif (as_json, journal) != (False, None):
        with reported():
            command = context.invoked_subcommand
            raise ConfigurationError(f"write options behind the command: agentkit schedules {command} …")


@schedules.command(short_help="Let a question come again.")
def add(
    name: ScheduleName,
    cron: Times,
    question: Asked,
    queue: OfQueue,
    timezone: Timezone = "UTC",
    session: InSession = None,
    journal: JournalFile = None,
) -> None:
    """Let a question come again, or replace the schedule of this name. Some worker of the queue must be up.

    Of the times that pass while none is, the newest is made up for when one comes, up to a week late.

    \b
    Examples:
      agentkit schedules add daily "0 9 * * 1-5" "What changed?" --queue research --timezone Europe/Berlin
      agentkit schedules add hourly "0 * * * *" "Anything new?" --queue research --session news
    """
    with reported():
        durable()
        import anyio

        from agentkit.integrations.durable.schedules import schedule
        from agentkit.journal import Journal

        with closing(Journal(place_of(journal))) as kept:
            made = anyio.run(partial(schedule, kept, queue, name, cron, question.strip(), timezone, session))
        notice(f"{name} comes next at {_next(made)} ({timezone}), on the queue {queue}")


@schedules.command(short_help="End a schedule.")
def remove(name: ScheduleName, journal: JournalFile = None) -> None:
    """End a schedule. Runs that have begun go on.

    \b
    Example:
      agentkit schedules remove daily
    """
    with reported():
        durable()
        import anyio

        from agentkit.integrations.durable.schedules import unschedule

        with opened(journal) as kept:
            anyio.run(unschedule, kept, name)
        notice(f"{name} comes no more; runs that have begun go on")


def _list(as_json: bool, journal: str | None) -> None:
    durable()
    from agentkit.integrations.durable.schedules import scheduled

    with opened(journal) as kept:
        found = scheduled(kept)
    if as_json:
        for one in found:
            print(json.dumps(_about(one)))
    elif found:
        _show(found)
    else:
        notice("nothing is scheduled")


def _about(one: Schedule) -> dict[str, Any]:
    return {
        "name": one.name,
        "queue": one.queue,
        "cron": one.cron,
        "timezone": one.timezone,
        "next": one.next_time.isoformat(),
        "session": one.session,
        "title": one.title,
    }


def _show(found: list[Schedule]) -> None:
    from rich.table import Table
    from rich.text import Text

    from agentkit.cli.told import on_screen

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for column in ("schedule", "next", "times", "queue"):
        table.add_column(column, no_wrap=True)
    table.add_column("asks")  # the only one that may shrink
    for one in found:
        session = f" (session {safe_line(one.session)})" if one.session else ""
        table.add_row(
            one.name,
            _next(one),
            Text.assemble(one.cron, (f" {one.timezone}", "dim")),
            safe_line(one.queue),
            Text.assemble(safe_line(one.title), (session, "dim"), no_wrap=True, overflow="ellipsis"),
        )
    on_screen().print(table)


def _next(one: Schedule) -> str:
    return f"{one.next_time:%Y-%m-%d %H:%M}"
