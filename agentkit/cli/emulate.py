"""`agentkit emulate`: the emulator on a port of its own, for other programs."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from agentkit.cli.options import (
    DialectName,
    FaultTexts,
    Host,
    PauseAfter,
    Port,
    RecordTo,
    ReplayFrom,
    ScriptFile,
    ServedCorpus,
    Upstream,
)
from agentkit.cli.problems import FAILED, notice, reported
from agentkit.errors import ConfigurationError
from agentkit.terminal import safe

if TYPE_CHECKING:
    from agentkit.emulator import Corpus, Emulator

__all__ = ["emulate", "opened_corpus"]

_PACE = 1.5  # seconds a reply, for people; a script is for tests


def emulate(
    port: Port = 8808,
    host: Host = "127.0.0.1",
    corpus: ServedCorpus = None,
    script: ScriptFile = None,
    faults: FaultTexts = None,
    replay: ReplayFrom = None,
    record: RecordTo = None,
    upstream: Upstream = None,
    pause_after: PauseAfter = 3,
    dialect: DialectName = "anthropic",
) -> None:
    """Serve a local Messages API for trying agents without a key, until Ctrl-C.

    What answers is a small reader that follows fixed rules, not a language model. It searches and reads a corpus on
    this machine: the documentation of Python's standard library, or the folder that --corpus names. In its place,
    --script plays a script, and --replay a recording.

    A page at /_emulator shows what came and what was answered. Nothing is stored but by --record.

    With --script, --replay or --faults, the exit code is 1 where a request was not foreseen, or where a step or a fault
    was not used, and stderr says which.

    \b
    Examples:
      agentkit emulate
      agentkit emulate --port 0 --corpus notes/
      agentkit emulate --script script.yaml --faults overloaded@turn=2
      agentkit emulate --record talk.jsonl --upstream https://api.anthropic.com
      agentkit emulate --replay talk.jsonl
      agentkit emulate --dialect cometapi
    """
    with reported():
        from agentkit.emulator import ScriptError, faults_of, serve

        planned = faults_of(" ".join(faults)) if faults else None
        with _pages(corpus, script or replay or record) as pages, _ended_by_a_signal():
            try:
                serve(
                    corpus=pages,
                    script=script,
                    faults=planned,
                    replay=replay,
                    record=record,
                    upstream=upstream,
                    dialect=dialect,
                    host=host,
                    port=port,
                    pause_after=pause_after,
                    pace=0 if script else _PACE,
                    ready=_show,
                )
            except ScriptError as misfit:
                print(safe(str(misfit)), file=sys.stderr)
                raise typer.Exit(FAILED) from None


def _show(emulator: Emulator) -> None:
    print(f"The emulator serves {emulator.url}, until Ctrl-C. What comes is shown at {emulator.url}/_emulator")
    print(f"{emulator.about}\nIn another terminal:\n")
    print(f'  ANTHROPIC_BASE_URL={emulator.url} ANTHROPIC_API_KEY=emulator agentkit run "…"\n', flush=True)


@contextlib.contextmanager
def _pages(folder: Path | None, instead: Path | None) -> Iterator[Corpus | None]:
    """What the reader searches; None where something else answers."""
    if instead is not None:
        if folder is not None:
            raise ConfigurationError("--corpus is for the reader: leave it out, or leave out what is in its place")
        yield None
        return
    pages = opened_corpus(folder, notice)
    try:
        yield pages
    finally:
        pages.close()


@contextlib.contextmanager
def _ended_by_a_signal() -> Iterator[None]:
    """SIGTERM, by which other programs end a server that they started, ends it as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def opened_corpus(folder: Path | None, progress: Callable[[str], None]) -> Corpus:
    """What the emulator searches; close it after use.

    Args:
        folder: A folder of the user's, or None for the built-in pages.
        progress: Gets a line now and then while the built-in index is made.

    Raises:
        ConfigurationError: There is no such folder, or a file in it can't be read.
    """
    from agentkit.emulator import Corpus

    if folder is None:
        return Corpus.builtin(progress)
    left_out: list[str] = []
    try:
        corpus = Corpus.folder(folder, left_out.append)
    except ConfigurationError:
        if not left_out:
            raise
    else:
        if not left_out:
            return corpus
        corpus.close()
    more = f" ({len(left_out) - 1} more like it)" if len(left_out) > 1 else ""
    raise ConfigurationError(f"in the corpus {folder}: {left_out[0].removeprefix('left out ')}{more}")
