"""`agentkit emulate`: the emulator on a port of its own, for other programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agentkit.cli.options import Host, PauseAfter, Port, ServedCorpus
from agentkit.cli.problems import notice, reported
from agentkit.errors import ConfigurationError

if TYPE_CHECKING:
    from agentkit.emulator import Corpus, Emulator

__all__ = ["emulate", "opened_corpus"]

DialectName = Annotated[
    str, typer.Option(metavar="NAME", help="Whose ways to follow: anthropic, or cometapi as it is documented.")
]


def emulate(
    port: Port = 8808,
    host: Host = "127.0.0.1",
    corpus: ServedCorpus = None,
    pause_after: PauseAfter = 3,
    dialect: DialectName = "anthropic",
) -> None:
    """Serve a local Messages API for trying agents without a key, until Ctrl-C.

    What answers is a small reader that follows fixed rules, not a language model. It searches and reads a corpus on
    this machine: the documentation of Python's standard library, or the folder that --corpus names.

    \b
    Examples:
      agentkit emulate
      agentkit emulate --port 0 --corpus notes/
      agentkit emulate --dialect cometapi
    """
    with reported():
        from agentkit.emulator import serve

        pages = opened_corpus(corpus, notice)
        try:
            serve(corpus=pages, dialect=dialect, host=host, port=port, pause_after=pause_after, ready=_show)
        finally:
            pages.close()


def _show(emulator: Emulator) -> None:
    print(f"The emulator serves {emulator.url} with {emulator.corpus.about}, until Ctrl-C.")
    print("It is a small rule-based reader, not a language model. In another terminal:\n")
    print(f'  ANTHROPIC_BASE_URL={emulator.url} ANTHROPIC_API_KEY=emulator agentkit run "…"\n', flush=True)


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
