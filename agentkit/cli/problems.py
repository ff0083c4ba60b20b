"""What goes wrong, in one line that says what to do, and the exit code for it."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from agentkit.errors import AgentKitError, AuthenticationError, ConfigurationError, NotFoundError
from agentkit.terminal import safe_line

__all__ = ["FAILED", "INTERRUPTED", "UNFINISHED", "USAGE", "brief_log", "notice", "reported"]

FAILED = 1
USAGE = 2
UNFINISHED = 3
INTERRUPTED = 130

_ADVICE: dict[type[AgentKitError], str] = {
    AuthenticationError: "check the key: `agentkit doctor` shows which one is used",
    NotFoundError: "check --model, and --base-url (without /v1)",
}


def notice(text: str) -> None:
    """Prints one safe line to stderr."""
    print(safe_line(text), file=sys.stderr, flush=True)


@contextmanager
def reported() -> Iterator[None]:
    """Turns what is expected to go wrong into one line on stderr and an exit code."""
    try:
        yield
    except BrokenPipeError:
        raise  # the reader has left: typer ends the command without a word
    except ConfigurationError as error:
        notice(f"error: {error}")
        raise typer.Exit(USAGE) from None
    except AgentKitError as error:
        advice = next((text for kind, text in _ADVICE.items() if isinstance(error, kind)), "")
        notice(f"error: {error}{f'; {advice}' if advice else ''}")
        raise typer.Exit(FAILED) from None
    except OSError as error:
        notice(f"error: {error.filename or 'the system'}: {error.strerror or error}")
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        notice("interrupted")
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def brief_log() -> Iterator[None]:
    """Has agentkit's log print a line for each warning: of an exception its text and its place, not the traceback."""
    logger = logging.getLogger("agentkit")
    brief, before = _BriefLog(logging.WARNING), logger.propagate
    logger.addHandler(brief)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(brief)
        logger.propagate = before


class _BriefLog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        about = record.getMessage()
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            place = traceback.extract_tb(error.__traceback__)[-1:]
            about += f": {error}" + "".join(f" ({frame.filename}, line {frame.lineno})" for frame in place)
        notice(about)
