"""`agentkit runs`: what the journal holds: listed, shown, compared, forked, ended, put right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from agentkit.cli.journals import ID_LENGTH, about_of, command_on, found, opened, shown_id, state_of, where
from agentkit.cli.options import (
    AsDocument,
    AsList,
    AtTurn,
    BaseUrl,
    JournalFile,
    MostRuns,
    OfState,
    OnQueue,
    OtherRunId,
    OutFile,
    RunId,
    ShowCurl,
    ShowTurn,
)
from agentkit.cli.problems import notice, reported
from agentkit.cli.queued import cancel_on
from agentkit.cli.resume import resume
from agentkit.cli.watch import watch
from agentkit.errors import ConfigurationError, RunBusy

if TYPE_CHECKING:
    from agentkit.cli.story import Step
    from agentkit.transcript import Transcript

__all__ = ["runs"]

runs = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

_ALL = 1_000_000


@runs.callback(invoke_without_command=True)
def overview(
    context: typer.Context,
    limit: MostRuns = 20,
    state: OfState = None,
    as_json: AsList = False,
    journal: JournalFile = None,
) -> None:
    """See what became of runs, and go on with them.

    Without a command, the newest runs are listed. A run is named by its id, or by as many first characters of it as
    are unique. Runs are kept where --journal, or AGENTKIT_HOME, names a place.

    \b
    Examples:
      agentkit run --journal runs.db "When does the harbour close?"
      agentkit runs --journal runs.db
      export AGENTKIT_HOME=~/.agentkit
      agentkit runs --state needs_approval
      agentkit runs show 3f2a
      agentkit runs watch 3f2a
      agentkit runs resume 3f2a
    """
    if context.invoked_subcommand is None:
        list_runs(limit, state, as_json, journal)
    elif (limit, state, as_json, journal) != (20, None, False, None):
        with reported():
            raise ConfigurationError(f"write options behind the command: agentkit runs {context.invoked_subcommand} …")


@runs.command("list", short_help="The newest runs (also without a command).")
def list_runs(
    limit: MostRuns = 20, state: OfState = None, as_json: AsList = False, journal: JournalFile = None
) -> None:
    """List the newest runs, the last one written first.

    A state is `running`, `interrupted` (its process is gone: resume it), `needs_approval`, `forked` (not begun yet),
    `scheduled` (the question of a schedule), `skipped` (a time of one), or why it ended: `end_turn` with an answer,
    `cancelled`, `max_turns`, `error`, …

    \b
    Examples:
      agentkit runs list --state interrupted
      agentkit runs list --json | jq -r 'select(.cost > 1) | .run_id'
    """
    with reported(), opened(journal) as kept:
        rows = [row for row in kept.runs(_ALL if state else limit) if state in (None, state_of(kept, row))][:limit]
        known = [about_of(kept, row) for row in rows]
        if as_json:
            for about in known:
                print(json.dumps(about))
            return
        from agentkit.cli.overview import show_table

        show_table(known)


@runs.command(short_help="What a run did.")
def show(
    run: RunId,
    turn: ShowTurn = None,
    curl: ShowCurl = False,
    base_url: BaseUrl = None,
    as_json: AsDocument = False,
    journal: JournalFile = None,
) -> None:
    """Show what a run did, turn by turn: texts, calls with what came of them, decisions, what waits, how it ended.

    \b
    Examples:
      agentkit runs show 3f2a
      agentkit runs show 3f2a --turn 2
      agentkit runs show 3f2a --turn 2 --curl
      agentkit runs show 3f2a --json | jq '.steps[] | select(.step == "call")'
    """
    with reported(), opened(journal) as kept:
        row = found(kept, run)
        transcript = kept.load(row.run_id)
        if curl:
            from agentkit.cli.recalled import show_request

            show_request(transcript, turn, base_url)
            return
        steps = _steps(transcript, turn)
        about = about_of(kept, row)
        orphans = kept.orphans(row.run_id)
        if as_json:
            pending = [{"call": call.call_id, "name": call.name, "input": call.input} for call in _held(transcript)]
            print(json.dumps({**about, "steps": steps, "pending": pending, "orphans": orphans}))
            return
        from agentkit.cli.overview import ending, show_head
        from agentkit.cli.told import Teller, on_screen

        teller = Teller(on_screen(), whole=turn is not None)
        if turn is None:
            show_head(teller, about)
        teller.tell(steps)
        going_on = command_on(row.run_id, journal)
        if turn is None:
            if orphans:
                teller.orphans(orphans)
            if held := _held(transcript):
                teller.pending(held, going_on)
            teller.head(ending(about, going_on))
            if about["state"] in ("running", "queued"):
                teller.line(f"to watch it: {command_on(row.run_id, journal, 'watch')}")


runs.command(short_help="Follow a run that goes on elsewhere.")(watch)
runs.command(short_help="Go on with a run.")(resume)


@runs.command(short_help="Its log as JSON.")
def export(run: RunId, out: OutFile = None, journal: JournalFile = None) -> None:
    """Print the log of a run as JSON: what `result.dump()` gives, and `agent.run(…, after=)` and `resume` take.

    \b
    Examples:
      agentkit runs export 3f2a -o talk.json
      agentkit run --after talk.json "And on Sundays?"
    """
    with reported(), opened(journal) as kept:
        text = json.dumps(kept.load(found(kept, run).run_id).dump())
        if out is None:
            print(text)
        else:
            out.write_text(text, "utf-8")


@runs.command(short_help="A new run from a turn of it.")
def fork(run: RunId, turn: AtTurn, journal: JournalFile = None) -> None:
    """Make a new run that shares all that came before a model turn, and print its id. Nothing is asked yet.

    What the tools did before that turn is in the log of both; what they do from there on is done again.

    \b
    Examples:
      agentkit runs fork 3f2a --turn 2
      agentkit runs resume $(agentkit runs fork 3f2a --turn 1) --model claude-opus-4-8
    """
    with reported(), opened(journal) as kept:
        made = kept.fork(found(kept, run).run_id, turn)
        print(made)
        notice(f"to go on with it: {command_on(made, journal)}")


@runs.command(short_help="End a run that waits.")
def cancel(run: RunId, journal: JournalFile = None, queue: OnQueue = None) -> None:
    """End a run that waits for an approval, or that was interrupted, so that it is listed as pending no longer.

    Calls that had not begun are closed as not run. What had begun, when its process died, is closed as unknown.
    With --queue a run that is on a queue, or with one of its workers, is ended too.

    \b
    Examples:
      agentkit runs cancel 3f2a
      agentkit runs cancel 3f2a --queue research
    """
    with reported(), opened(journal) as kept:
        row = found(kept, run)
        if queue is not None:
            cancel_on(queue, kept.place, row.run_id)
            return
        if kept.is_live(row):
            raise RunBusy(f"run {shown_id(row.run_id)} goes on in {where(row)}: press Ctrl-C there, or end it")
        open_calls = kept.load(row.run_id).unended()
        kept.cancel(row.run_id)
        notice(f"cancelled {shown_id(row.run_id)}")
        if begun := [f"{call.block.get('name')} ({call.call_id})" for call in open_calls if call.state == "started"]:
            notice(f"it is not known whether this took effect: {', '.join(begun)}")


@runs.command(short_help="Where two runs part.")
def diff(run: RunId, other: OtherRunId, as_json: AsDocument = False, journal: JournalFile = None) -> None:
    """Show what two runs have in common, and what each did from where they part.

    Two turns are the same if the same was said, called and came of it; ids, times and costs don't count.

    \b
    Example:
      agentkit runs diff 3f2a 81c0
    """
    with reported(), opened(journal) as kept:
        from agentkit.cli.compared import compare, show_difference

        rows = found(kept, run), found(kept, other)
        difference = compare(*(kept.load(row.run_id) for row in rows))
        if as_json:
            print(json.dumps(difference))
        else:
            show_difference(difference, [shown_id(row.run_id) for row in rows])


@runs.command(short_help="Cut a run that is damaged.")
def repair(run: RunId, out: OutFile = None, journal: JournalFile = None) -> None:
    """Cut a run before its first damaged entry, so that it can go on from what is left.

    What is cut goes to a file. Calls that were open there are closed as unknown: they may have had their effect, and
    effects that are told of in what was cut may happen again.

    \b
    Example:
      agentkit runs repair 3f2a -o 3f2a.cut.jsonl
    """
    with reported(), opened(journal) as kept:
        row = found(kept, run)
        keep = out or Path(f"{row.run_id[:ID_LENGTH]}.cut.jsonl")
        count = kept.repair(row.run_id, keep)
        notice(f"{count} of {row.length} entries were cut; they are in {keep}")
        if began := _began(keep):
            notice(f"in what was cut, these calls had begun: {', '.join(began)}: check before they are repeated")


def _began(cut: Path) -> list[str]:
    """Calls that are told of in entries that were cut, as far as they can be read."""
    calls: dict[str, None] = {}
    for line in cut.read_bytes().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("state") == "started":
            calls[str(entry.get("call"))] = None
    return list(calls)


def _steps(transcript: Transcript, turn: int | None) -> list[Step]:
    """Of the run itself, or of one turn of the conversation."""
    from agentkit.cli.story import parts_of, story_of

    if turn is None:
        return story_of(transcript, transcript.run_from)
    from agentkit.journal import before_turn

    before_turn(transcript, turn)
    return next(part for part in parts_of(story_of(transcript)) if part[0].get("turn") == turn)


def _held(transcript: Transcript) -> list[Any]:
    return [call.pending() for call in transcript.held()]
