"""`agentkit run`: one question, one answer."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    ExitStack,
    asynccontextmanager,
    closing,
    contextmanager,
    redirect_stdout,
)
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from agentkit.cli.lines import Lines
from agentkit.cli.options import (
    DEFAULT_MODEL,
    After,
    AsJson,
    BaseUrl,
    CorpusFolder,
    Curl,
    MaxTokens,
    MaxTurns,
    Model,
    NoDefaultTools,
    PauseAfter,
    Question,
    Save,
    System,
    ToolNames,
    UseEmulator,
)
from agentkit.cli.problems import INTERRUPTED, UNFINISHED, brief_log, notice, reported
from agentkit.cli.toolbox import default_tools, named_tools
from agentkit.errors import ConfigurationError

if TYPE_CHECKING:
    from agentkit.agent import Agent
    from agentkit.cli.converse import View
    from agentkit.client import Client
    from agentkit.messages import Block
    from agentkit.result import RunResult
    from agentkit.step import Finish

__all__ = ["run"]

_EMULATED = "Emulator: a small rule-based reader over a local corpus, not a language model."
_WHAT_TO_DO = {
    "max_tokens": "the reply was cut off; give more with --max-tokens",
    "max_turns": "give more with --max-turns",
    "max_pauses": "ask for less in one question",
    "refusal": "the model declined; ask in other words",
    "model_context_window_exceeded": "the conversation is too long for the model; begin a new one",
    "needs_approval": "answer on a terminal: with --save FILE, then `agentkit run --after FILE` and the same --tool",
}


def run(
    question: Question = None,
    emulator: UseEmulator = False,
    model: Model = DEFAULT_MODEL,
    base_url: BaseUrl = None,
    tool: ToolNames = None,
    no_default_tools: NoDefaultTools = False,
    corpus: CorpusFolder = None,
    pause_after: PauseAfter = 3,
    system: System = None,
    max_tokens: MaxTokens = 8192,
    max_turns: MaxTurns = 50,
    save: Save = None,
    after: After = None,
    as_json: AsJson = False,
    curl: Curl = False,
) -> None:
    """Ask an agent a question, and watch it search, fetch and call tools until it answers.

    \b
    Examples:
      agentkit run --emulator "How do I parse command line arguments in Python?"
      agentkit run --corpus notes/ "When do we meet?"
      agentkit run --tool my_tools:lookup "What is the status of order 7?"
      agentkit run --json "Who maintains CPython?" | tail -1
      git diff | agentkit run --system "Review this diff." -
      agentkit run --curl "Who maintains CPython?" | sh

    \b
    Exit codes: 0 answered · 1 the endpoint failed · 2 wrong usage or configuration
                3 ended without an answer (a limit, a refusal, an approval) · 130 interrupted
    """
    with reported(), brief_log():
        from agentkit.agent import Agent
        from agentkit.cli.converse import Conversation
        from agentkit.settings import Limits

        prompt = _question(question, after)
        earlier, content = _loaded(after)
        _check_writable(save)
        tools = [*([] if no_default_tools else default_tools()), *named_tools(tool or [])]
        if prompt is None:
            _check_resumable(after, earlier, tools)
        if curl:
            _check_curl(prompt, {"--emulator": emulator, "--corpus": corpus, "--json": as_json, "--save": save})
        agent = Agent(model, system=system, tools=tools, max_tokens=max_tokens, limits=Limits(max_turns=max_turns))
        if curl:
            _show_curl(agent, prompt or "", earlier, base_url)
            return
        with ExitStack() as stack:
            view = stack.enter_context(_view(as_json, tools, content))
            if emulator or corpus:
                open_client = stack.enter_context(_emulated(base_url, corpus, pause_after, view))
            else:
                open_client = _endpoint(base_url)
            asks = not as_json and sys.stdin.isatty() and sys.stdout.isatty()
            conversation = Conversation(agent=agent, open_client=open_client, view=view, save=save, asks=asks)
            result = conversation.run(prompt, earlier)
        _leave(result.finish, interrupted=conversation.interrupted)


def _check_curl(prompt: str | None, others: dict[str, Any]) -> None:
    if prompt is None:
        raise ConfigurationError('--curl needs a question: agentkit run --curl "…"')
    for name, value in others.items():
        if value:
            raise ConfigurationError(f"--curl sends nothing, so it can't go with {name}")


def _show_curl(agent: Agent, prompt: str, earlier: RunResult | None, base_url: str | None) -> None:
    """Prints the request to stdout, and to stderr what there is to say of it."""
    from agentkit.client import Client

    if base_url:
        preview = agent.preview(prompt, after=earlier, client=Client(base_url=base_url))
    else:
        preview = agent.preview(prompt, after=earlier)
    typer.echo(preview.curl)
    cost = f"no known cost ({preview.cost_unknown})" if preview.cost is None else f"at most ${preview.cost:.4f}"
    notice(f"nothing was sent: {preview.size:,} bytes, about {preview.input_tokens:,} input tokens, {cost}")


def _leave(finish: Finish, *, interrupted: bool) -> None:
    """Ends with the exit code of how the run ended, and says why it has no answer."""
    if interrupted:
        notice("interrupted: what was done is above")
        raise typer.Exit(INTERRUPTED)
    if finish.reason not in ("end_turn", "stop_sequence"):
        about = f"{finish.reason} ({finish.detail})" if finish.detail else finish.reason
        advice = _WHAT_TO_DO.get(finish.reason, "with --save FILE you could go on with --after FILE")
        notice(f"no answer: {about}; {advice}")
        raise typer.Exit(UNFINISHED)


def _question(question: str | None, after: Path | None) -> str | None:
    if question == "-":
        try:
            question = sys.stdin.buffer.read().decode()
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"stdin is not UTF-8 (byte {error.start})") from None
    if question is None and after is not None:
        return None
    if not (question and question.strip()):
        raise ConfigurationError('ask a question: agentkit run "…" (- reads it from stdin)')
    return question.strip()


def _loaded(after: Path | None) -> tuple[RunResult | None, list[Block]]:
    """What `--save` wrote, and the content blocks in it."""
    if after is None:
        return None, []
    from agentkit.result import RunResult
    from agentkit.settings import Limits
    from agentkit.step import Finish, next_step
    from agentkit.transcript import Transcript

    try:
        transcript = Transcript.load(json.loads(after.read_text("utf-8")))
    except OSError as error:
        raise ConfigurationError(f"--after {after}: {error.strerror}") from None
    except ValueError:
        raise ConfigurationError(f"--after {after}: this is not a file that --save wrote") from None
    except ConfigurationError as error:
        raise ConfigurationError(f"--after {after}: {error}") from None
    step = next_step(transcript, Limits(), 0.0)
    earlier = RunResult(transcript, step if isinstance(step, Finish) else Finish("cancelled"))
    contents = (message["content"] for message in earlier.messages)
    return earlier, [block for content in contents if not isinstance(content, str) for block in content]


def _check_resumable(after: Path | None, earlier: RunResult | None, tools: Iterable[Any]) -> None:
    """Before the run, so that no approval is spent on a call that can't run."""
    if earlier is None:
        return
    if earlier.finish.reason in ("end_turn", "stop_sequence"):
        raise ConfigurationError(f"--after {after}: that run has its answer; ask a question to go on")
    names = {getattr(tool, "name", None) or getattr(tool, "__name__", None) for tool in tools}
    for held in earlier.pending:
        if held.name not in names:
            raise ConfigurationError(f"--after {after}: {held.name} waits for approval: name its tool with --tool")


def _check_writable(save: Path | None) -> None:
    """Before the run, so that it is not lost after it."""
    if save is not None and not (save.parent.is_dir() and os.access(save.parent, os.W_OK)):
        raise ConfigurationError(f"--save {save}: can't write to the folder {save.parent}")


@contextmanager
def _view(as_json: bool, tools: Iterable[Any], earlier: Iterable[Block]) -> Iterator[View]:
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
    screen = Screen(console, [str(getattr(tool, "name", "")) for tool in tools], earlier)
    try:
        yield screen
    finally:
        screen.close()


def _endpoint(base_url: str | None) -> Callable[[], Client]:
    from agentkit.client import Client

    client = Client(base_url=base_url)
    return lambda: client


@contextmanager
def _emulated(
    base_url: str | None, corpus: Path | None, pause_after: int, view: View
) -> Iterator[Callable[[], AbstractAsyncContextManager[Client]]]:
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
