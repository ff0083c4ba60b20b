"""What a run from the command line has around it: an endpoint, a view, and an exit code."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from agentkit.cli.journals import command_on, shown_id
from agentkit.cli.lines import Lines
from agentkit.cli.problems import UNFINISHED, notice
from agentkit.errors import APIError, ConfigurationError

if TYPE_CHECKING:
    from agentkit.cli.converse import View
    from agentkit.client import Client
    from agentkit.messages import Block
    from agentkit.result import RunResult
    from agentkit.transcript import Transcript

__all__ = [
    "check_resumable",
    "emulated",
    "endpoint",
    "is_attended",
    "leave",
    "opened_view",
    "result_of",
    "told_if_kept",
]

_EMULATED = "Emulator: a small rule-based reader over a local corpus, not a language model."
_WHAT_TO_DO = {
    "max_tokens": "the reply was cut off; give more with --max-tokens",
    "max_turns": "give more with --max-turns",
    "max_pauses": "ask for less in one question",
    "refusal": "the model declined; ask in other words",
    "model_context_window_exceeded": "the conversation is too long for the model; begin a new one",
    "needs_approval": "answer on a terminal: with --save FILE, then `agentkit run --after FILE` and the same --tool",
}
_ANSWERED = ("end_turn", "stop_sequence")


def leave(result: RunResult, *, interrupted: int, kept: bool, journal: str | None) -> None:
    """Ends with the exit code of how the run ended, and says why it has no answer.

    Args:
        result: The run.
        interrupted: The signal that ended it; 0: none did.
        kept: Whether `agentkit runs resume` could go on with it.
        journal: Where it is kept, if the user has named that.
    """
    finish, resume = result.finish, command_on(result.run_id, journal)
    if interrupted:
        notice("interrupted: what was done is above" + (f"; to go on: {resume}" if kept else ""))
        raise typer.Exit(128 + interrupted)
    if finish.reason not in _ANSWERED:
        about = f"{finish.reason} ({finish.detail})" if finish.detail else finish.reason
        advice = _WHAT_TO_DO.get(finish.reason, "with --save FILE you could go on with --after FILE")
        if kept and finish.reason == "needs_approval":
            advice = f"to see what waits, and how to decide: {command_on(result.run_id, journal, 'show')}"
        elif kept:
            advice = f"{_WHAT_TO_DO[finish.reason]}; " if finish.reason in _WHAT_TO_DO else ""
            advice += f"to go on: {resume} (or --after {shown_id(result.run_id)} and a question)"
        notice(f"no answer: {about}; {advice}")
        raise typer.Exit(UNFINISHED)


@contextmanager
def told_if_kept(*, kept: bool, journal: str | None) -> Iterator[None]:
    """Says of a run that an error ends how to go on with it, where it has done something.

    Args:
        kept: As for `leave`.
        journal: As for `leave`.
    """
    try:
        yield
    except APIError as error:
        if kept and error.result is not None and error.result.turns:
            notice(f"what was done is kept; to go on: {command_on(error.result.run_id, journal)}")
        raise


def is_attended(as_json: bool) -> bool:
    """Whether somebody is there to be asked."""
    return not as_json and sys.stdin.isatty() and sys.stdout.isatty()


def result_of(transcript: Transcript) -> RunResult:
    """A log as the result that a run goes on from."""
    from agentkit.result import RunResult
    from agentkit.settings import Limits
    from agentkit.step import Finish, next_step

    step = next_step(transcript, Limits(), 0.0)
    return RunResult(transcript, step if isinstance(step, Finish) else Finish("cancelled"))


def check_resumable(named: str, earlier: RunResult, tools: Iterable[Any]) -> None:
    """Before the run, so that no approval is spent on a call that can't run.

    Raises:
        ConfigurationError: There is nothing to resume, or a tool is missing.
    """
    if earlier.finish.reason in _ANSWERED:
        raise ConfigurationError(f"{named}: that run has its answer; ask a question to go on")
    names = {getattr(tool, "name", None) or getattr(tool, "__name__", None) for tool in tools}
    for held in earlier.pending:
        if held.name not in names:
            raise ConfigurationError(f"{named}: {held.name} waits for approval: name its tool with --tool")


def _blocks(earlier: RunResult | None) -> list[Block]:
    contents = [message["content"] for message in earlier.messages] if earlier else []
    return [block for content in contents if not isinstance(content, str) for block in content]


@contextmanager
def opened_view(as_json: bool, tools: Iterable[Any], earlier: RunResult | None) -> Iterator[View]:
    """Where the run is shown: events for programs, or a screen that knows the conversation so far."""
    if as_json:
        # What tools print must not come between the events.
        out = sys.stdout
        with redirect_stdout(sys.stderr):
            yield Lines(out)
        return
    from rich.console import Console

    from agentkit.cli.show import Screen

    is_terminal = sys.stdout.isatty()
    console = Console(force_terminal=is_terminal, highlight=False, markup=False, emoji=False)
    screen = Screen(console, [str(getattr(tool, "name", "")) for tool in tools], _blocks(earlier))
    try:
        yield screen
    finally:
        screen.close()


@contextmanager
def endpoint(base_url: str | None) -> Iterator[Callable[[], AbstractAsyncContextManager[Client]]]:
    """The endpoint at an address, or that of the environment."""
    from agentkit.client import Client

    client = Client(base_url=base_url)
    yield lambda: client


@contextmanager
def emulated(
    base_url: str | None, corpus: Path | None, pause_after: int, view: View
) -> Iterator[Callable[[], AbstractAsyncContextManager[Client]]]:
    """An emulator of its own, for as long as the run."""
    if base_url:
        raise ConfigurationError("--base-url and --emulator (or --corpus) exclude each other")
    from agentkit.cli.emulate import opened_corpus
    from agentkit.emulator import Emulator

    with (
        closing(opened_corpus(corpus, view.progress)) as pages,
        Emulator(corpus=pages, pause_after=pause_after) as emulator,
    ):
        view.note(_EMULATED)
        yield partial(_emulated_client, emulator.url)


@asynccontextmanager
async def _emulated_client(url: str) -> AsyncIterator[Client]:
    import ssl

    import httpx

    from agentkit.client import Client

    # Loopback: no proxy, and no certificates to load.
    async with httpx.AsyncClient(trust_env=False, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)) as http:
        yield Client(base_url=url, provider="emulator", api_key="emulator", http_client=http)
