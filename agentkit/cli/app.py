"""The commands and what they share. Each command imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

from typing import Annotated

import typer

from agentkit.cli.doctor import doctor
from agentkit.cli.emulate import emulate
from agentkit.cli.policy import policy
from agentkit.cli.run import run
from agentkit.cli.runs import runs
from agentkit.cli.schedules import schedules
from agentkit.cli.worker import worker

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command(short_help="Ask an agent a question.")(run)
app.add_typer(runs, name="runs", short_help="See what became of runs, and go on with them.")
app.command(short_help="Go on with the runs of a queue.")(worker)
app.add_typer(schedules, name="schedules", short_help="Let questions come again, on a queue.")
app.command(short_help="Serve a Messages API on this machine.")(emulate)
app.command(short_help="See what a policy allows, before anything is called.")(policy)
app.command(short_help="See what is configured and missing.")(doctor)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"agentkit {version('agentkit-loop')}")
        raise typer.Exit


@app.callback()
def agentkit(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and leave.")
    ] = False,
) -> None:
    """Agents that use tools, over the Anthropic Messages API.

    \b
    Try it without a key:
      agentkit run --emulator "How do I parse command line arguments in Python?"
    With a key:
      export ANTHROPIC_API_KEY=…
      agentkit run "What changed in the latest Python release?"
    What is configured, and whether it works:
      agentkit doctor
    """
