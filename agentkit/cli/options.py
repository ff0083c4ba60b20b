"""The options of the commands, with what `--help` says about them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "DEFAULT_MODEL",
    "AgentName",
    "Allowed",
    "AsDocument",
    "AsJson",
    "AsList",
    "AtTurn",
    "BaseUrl",
    "CorpusFolder",
    "Curl",
    "Denied",
    "DialectName",
    "DoctorAsJson",
    "DoctorModel",
    "EarlierRun",
    "Edited",
    "FaultTexts",
    "Host",
    "JournalFile",
    "MaxTokens",
    "MaxTurns",
    "Model",
    "ModelOfRun",
    "MostRuns",
    "NoDefaultTools",
    "OfState",
    "OnQueue",
    "OtherRunId",
    "OutFile",
    "PauseAfter",
    "Port",
    "Question",
    "RecordTo",
    "ReplayFrom",
    "RunId",
    "Save",
    "ScriptFile",
    "ServedCorpus",
    "ShowCurl",
    "ShowTurn",
    "System",
    "ToolNames",
    "Upstream",
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
ScriptFile = Annotated[
    Path | None,
    typer.Option(
        "--script", metavar="FILE", help="Play a script in place of the reader: YAML, or JSON.", show_default=False
    ),
]
FaultTexts = Annotated[
    list[str] | None,
    typer.Option(
        "--faults",
        metavar="TEXT",
        help="Let faults happen, such as reset@turn=2 or random@seed=7; more than once for more.",
        show_default=False,
    ),
]
RecordTo = Annotated[
    Path | None,
    typer.Option("--record", metavar="FILE", help="Forward to --upstream, and record.", show_default=False),
]
ReplayFrom = Annotated[
    Path | None,
    typer.Option(
        "--replay",
        metavar="FILE",
        help="Answer from a recording; with --upstream, ask that for what is not in it.",
        show_default=False,
    ),
]
Upstream = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="The endpoint to record, without /v1; the client sends the key.", show_default=False
    ),
]
DialectName = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Whose ways to follow: anthropic, cometapi as it is documented, or local: a lenient server.",
    ),
]
Host = Annotated[str, typer.Option(metavar="HOST", help="The address to listen on.")]
Port = Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="The port; 0 takes a free one.")]
JournalFile = Annotated[
    str | None,
    typer.Option(
        "--journal",
        metavar="FILE|URL",
        help="Where runs are kept: a file or postgresql://…; by default runs.db in the folder that AGENTKIT_HOME "
        "names.",
        show_default=False,
    ),
]
EarlierRun = Annotated[
    str | None,
    typer.Option(
        "--after",
        metavar="FILE|RUN",
        help="Go on with what --save wrote, or with a run in the journal; without a QUESTION, resume a run that was "
        "held or stopped.",
        show_default=False,
    ),
]
PolicyFile = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        metavar="FILE",
        help="What the tools may do, in TOML (`agentkit policy FILE` tells); on a terminal you are asked what it asks.",
        show_default=False,
    ),
]
SessionName = Annotated[
    str | None,
    typer.Option(
        "--session",
        metavar="NAME",
        help="Go on with the conversation of this name in the journal, or begin it.",
        show_default=False,
    ),
]
OnQueue = Annotated[
    str | None,
    typer.Option(
        "--queue",
        metavar="NAME",
        help="That of the workers who have it, or are to go on with it: see `agentkit worker`.",
        show_default=False,
    ),
]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="Its id, or how it begins.", show_default=False)]
OtherRunId = Annotated[str, typer.Argument(metavar="OTHER", help="The other one.", show_default=False)]
MostRuns = Annotated[int, typer.Option("--limit", metavar="N", min=1, help="So many at most.")]
OfState = Annotated[
    str | None, typer.Option("--state", metavar="STATE", help="Those in this state only.", show_default=False)
]
AsList = Annotated[bool, typer.Option("--json", help="Print one run a line as JSON.")]
AsDocument = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]
ShowTurn = Annotated[
    int | None,
    typer.Option(
        "--turn",
        metavar="N",
        min=1,
        help="This turn alone, with its inputs and results in full; counted over the conversation.",
        show_default=False,
    ),
]
ShowCurl = Annotated[
    bool, typer.Option("--curl", help="Print the request of --turn N as a curl line, as far as the journal has it.")
]
AtTurn = Annotated[
    int,
    typer.Option("--turn", metavar="N", min=1, help="The first turn that is not shared; 1 is the question alone."),
]
OutFile = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write it to FILE.", show_default=False)
]
Allowed = Annotated[
    list[str] | None,
    typer.Option(
        "--allow", metavar="CALL", help="Let this held call run; more than once for more.", show_default=False
    ),
]
Denied = Annotated[
    list[str] | None,
    typer.Option(
        "--deny", metavar="CALL[=WHY]", help="Refuse this held call; the model is told why.", show_default=False
    ),
]
Edited = Annotated[
    list[str] | None,
    typer.Option("--edit", metavar="CALL=JSON", help="Let this held call run with another input.", show_default=False),
]
AgentName = Annotated[
    str | None,
    typer.Option(
        "--agent",
        metavar="MODULE:NAME",
        help="An Agent of yours (or FILE.py:NAME), whose run this is, in place of the options of `agentkit run`.",
        show_default=False,
    ),
]
ModelOfRun = Annotated[
    str | None,
    typer.Option("--model", metavar="MODEL", help="Another model than the run has asked.", show_default=False),
]
