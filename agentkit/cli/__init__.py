"""The `agentkit` command. It needs the extra `cli`, and says so where that is missing."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

__all__ = ["main"]

_INTERRUPTED, _TERMINATED = 130, 143


def main() -> int:
    """Runs the command with the arguments of the process, and gives its exit code.

    0: done. 1: the endpoint or the system failed. 2: wrong usage or configuration. 3: the run ended without an
    answer. 130: interrupted. 143: ended by SIGTERM.
    """
    try:
        code = _run()
    except KeyboardInterrupt:
        code = _INTERRUPTED
    if code in (_INTERRUPTED, _TERMINATED):
        _leave_at_once(code)
    return code


def _run() -> int:
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ModuleNotFoundError as error:
        print(f"error: the command needs {error.name}: pip install 'agentkit-loop[cli]'", file=sys.stderr)
        return 2
    from agentkit.cli.app import app

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that has no "…" shows "?"
    try:
        app(prog_name="agentkit")
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    return 0


def _leave_at_once(code: int) -> None:
    """Ends the process now: a sync tool that was given up may still hold a thread, for which Python would wait."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
