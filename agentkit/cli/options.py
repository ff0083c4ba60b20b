"""The options of the commands, with what `--help` says about them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "DEFAULT_MODEL",
    "After",
    "AsJson",
    "BaseUrl",
    "CorpusFolder",
    "Curl",
    "DoctorAsJson",
    "DoctorModel",
    "Host",
    "MaxTokens",
    "MaxTurns",
    "Model",
    "NoDefaultTools",
    "PauseAfter",
    "Port",
    "Question",
    "Save",
    "ServedCorpus",
    "System",
    "ToolNames",
    "UseEmulator",
    "WithProbe",
]

DEFAULT_MODEL = "claude-sonnet-4-6"

Question = Annotated[
    str | None,
    typer.Argument(metavar="QUESTION", help="What to ask; - reads it from stdin.", show_default=False),
]
UseEmulator = Annotated[
    bool,
    typer.Option(
        "--emulator",
        help="Use the local emulator: no key, no network. A rule-based reader answers from a corpus on this machine.",
    ),
]
Model = Annotated[
    str, typer.Option(metavar="MODEL", envvar="AGENTKIT_MODEL", show_envvar=False, help="Id of the model.")
]
BaseUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="An endpoint that speaks the Messages API, without /v1.", show_default=False),
]
ToolNames = Annotated[
    list[str] | None,
    typer.Option(
        "--tool",
        metavar="MODULE:FUNCTION",
        help="A tool of yours, from the current folder or an installed package; more than once for more.",
        show_default=False,
    ),
]
NoDefaultTools = Annotated[
    bool, typer.Option("--no-default-tools", help="Leave out web_search, web_fetch and the calculator.")
]
CorpusFolder = Annotated[
    Path | None,
    typer.Option(
        "--corpus",
        metavar="DIR",
        help="A folder of Markdown, text and HTML files for the emulator to search; implies --emulator.",
        show_default=False,
    ),
]
ServedCorpus = Annotated[
    Path | None,
    typer.Option(
        "--corpus", metavar="DIR", help="A folder of Markdown, text and HTML files to search.", show_default=False
    ),
]
PauseAfter = Annotated[
    int,
    typer.Option(metavar="N", min=1, help="The emulator pauses a turn after N server calls; the API after 10."),
]
System = Annotated[str | None, typer.Option(metavar="TEXT", help="The system prompt.", show_default=False)]
MaxTokens = Annotated[int, typer.Option(metavar="N", min=1, help="Output tokens of one reply.")]
MaxTurns = Annotated[int, typer.Option(metavar="N", min=1, help="Model turns of the run.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one event a line as JSON; the last is run_end, unless the endpoint fails.")
]
Curl = Annotated[
    bool, typer.Option("--curl", help="Print the first request as a curl line, the key left out, and send nothing.")
]
DoctorModel = Annotated[
    str, typer.Option(metavar="MODEL", envvar="AGENTKIT_MODEL", show_envvar=False, help="The model to look for.")
]
WithProbe = Annotated[
    bool, typer.Option("--probe", help="Find out what the endpoint supports, by small requests that cost a little.")
]
DoctorAsJson = Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")]
Save = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write the conversation to FILE, however the run ends.", show_default=False),
]
After = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Go on with what --save wrote; without a QUESTION, resume a run that was held or stopped.",
        show_default=False,
    ),
]
Host = Annotated[str, typer.Option(metavar="HOST", help="The address to listen on.")]
Port = Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="The port; 0 takes a free one.")]
