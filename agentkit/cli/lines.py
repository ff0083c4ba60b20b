"""`--json`: a run as one event a line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TextIO

from agentkit.cli.problems import notice
from agentkit.redaction import redacted

if TYPE_CHECKING:
    from agentkit.events import Event
    from agentkit.result import RunResult

__all__ = ["Lines"]


class Lines:
    """Prints events as JSON, and nothing else.

    Args:
        out: Where to.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def event(self, event: Event) -> None:
        """Prints one event. Pure ASCII, because some characters end a line for some readers."""
        self._out.write(redacted(json.dumps(event.as_dict(), separators=(",", ":"), default=str)) + "\n")
        self._out.flush()

    def note(self, text: str) -> None:
        """Shows a line about the run itself, beside the events."""
        notice(text)

    def progress(self, text: str) -> None:
        """Shows what goes on before the run, beside the events."""
        notice(text)

    def finish(self, result: RunResult) -> None:
        """Prints nothing: `run_end` has said it."""

    def close(self) -> None:
        """Does nothing."""
