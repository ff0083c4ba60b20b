"""`agentkit run`: one question, one answer."""

from __future__ import annotations

import json
import os
import re
import sys
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from agentkit.cli.journals import found, is_kept, opened
from agentkit.cli.options import (
    DEFAULT_MODEL,
    AsJson,
    BaseUrl,
    CorpusFolder,
    Curl,
    EarlierRun,
    JournalFile,
    MaxTokens,
    MaxTurns,
    Model,
    NoDefaultTools,
    OnQueue,
    PauseAfter,
    PolicyFile,
    Question,
    Save,
    SessionName,
    System,
    ToolNames,
    UseEmulator,
)
from agentkit.cli.problems import brief_log, notice, reported
from agentkit.cli.queued import submit
from agentkit.cli.session import (
    check_resumable,
    emulated,
    endpoint,
    is_attended,
    leave,
    opened_view,
    result_of,
    told_if_kept,
)
from agentkit.cli.toolbox import default_tools, named_tools
from agentkit.errors import ConfigurationError

if TYPE_CHECKING:
    from agentkit.agent import Agent
    from agentkit.result import RunResult

__all__ = ["run"]

_ID = re.compile("[0-9a-f]+")  # of a run, or how it begins


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
    after: EarlierRun = None,
    as_json: AsJson = False,
    curl: Curl = False,
    journal: JournalFile = None,
    session: SessionName = None,
    policy: PolicyFile = None,
    queue: OnQueue = None,
) -> None:
    """Ask an agent a question, and watch it search, fetch and call tools until it answers.

    \b
    Examples:
      agentkit run --emulator "How do I parse command line arguments in Python?"
      agentkit run --corpus notes/ "When do we meet?"
      agentkit run --tool my_tools:lookup "What is the status of order 7?"
      git diff | agentkit run --system "Review this diff." -
      agentkit run --curl "Who maintains CPython?" | sh
      agentkit run --journal runs.db --session ada "Who maintains CPython?"; agentkit runs --journal runs.db
      agentkit run --queue research --journal postgresql://agents@db/agents "Who maintains CPython?"

    \b
    Exit codes: 0 answered · 1 the endpoint failed · 2 wrong usage or configuration
                3 ended without an answer (a limit, a refusal, an approval) · 130 interrupted, 143 by SIGTERM
    """
    with reported(), brief_log():
        from agentkit.agent import Agent
        from agentkit.settings import Limits

        _check(session, after, save, curl=curl)
        others: dict[str, Any] = {"--emulator": emulator, "--corpus": corpus, "--json": as_json, "--save": save}
        if queue is not None:
            others |= {"--tool": tool, "--system": system, "--policy": policy, "--after": after, "--curl": curl}
            submit(_alone(question, others), queue, journal, session)
            return
        prompt, earlier = _question(question, after), _loaded(after, journal)
        tools = [*([] if no_default_tools else default_tools()), *named_tools(tool or [])]
        if prompt is None and earlier:
            check_resumable(f"--after {after}", earlier, tools)
        settings: Any = {"system": system, "max_tokens": max_tokens, "limits": Limits(max_turns=max_turns)}
        agent = Agent(model, tools=tools, journal=journal, policy=policy, **settings)
        if curl:
            _show_curl(agent, _sent_alone(prompt, others), earlier, base_url)
            return
        view = opened_view(as_json, tools, earlier)
        local = (corpus, pause_after) if emulator or corpus is not None else None
        asking = _Asking(agent, view, is_attended(as_json), base_url, local, save, journal, session)
        asking.run(prompt, earlier)


@dataclass
class _Asking:
    """A question that is asked here, and the end of the command with it."""

    agent: Agent
    view: AbstractContextManager[Any]
    asks: bool
    base_url: str | None
    local: tuple[Path | None, int] | None
    save: Path | None
    journal: str | None
    session: str | None

    def run(self, prompt: str | None, earlier: RunResult | None) -> None:
        from agentkit.cli.converse import Conversation

        kept = self.save is None and is_kept(self.journal)
        with told_if_kept(kept=kept, journal=self.journal), ExitStack() as stack:
            view = stack.enter_context(self.view)
            reached = emulated(self.base_url, *self.local, view) if self.local else endpoint(self.base_url)
            open_client = stack.enter_context(reached)
            conversation = Conversation(self.agent, open_client, view, self.save, self.asks, self.session)
            result = conversation.run(prompt, earlier)
        leave(result, interrupted=conversation.interrupted, kept=kept, journal=self.journal)


def _check(session: str | None, after: str | None, save: Path | None, *, curl: bool) -> None:
    if session is not None and (after is not None or curl):
        raise ConfigurationError("--session goes on from the session's last run: leave --after and --curl out")
    # Before the run, so that it is not lost after it.
    if save is not None and not (save.parent.is_dir() and os.access(save.parent, os.W_OK)):
        raise ConfigurationError(f"--save {save}: can't write to the folder {save.parent}")


def _sent_alone(prompt: str | None, others: dict[str, Any]) -> str:
    """The question, where --curl can be."""
    if prompt is None:
        raise ConfigurationError('--curl needs a question: agentkit run --curl "…"')
    for name, value in others.items():
        if value:
            raise ConfigurationError(f"--curl sends nothing, so it can't go with {name}")
    return prompt


def _alone(question: str | None, others: dict[str, Any]) -> str:
    """The question for a queue, whose workers have all else."""
    for name, value in others.items():
        if value:
            raise ConfigurationError(f"the workers of a queue have an agent of their own: leave out {name}")
    return _question(question, None) or ""


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


def _question(question: str | None, after: str | None) -> str | None:
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


def _loaded(after: str | None, journal: str | None) -> RunResult | None:
    """What `--save` wrote, or a run in the journal."""
    if after is None:
        return None
    from agentkit.transcript import Transcript

    path = Path(after)
    if not path.exists() and _ID.fullmatch(after) and is_kept(journal):
        with opened(journal) as kept:
            return result_of(kept.load(found(kept, after).run_id))
    try:
        return result_of(Transcript.load(json.loads(path.read_text("utf-8"))))
    except OSError as error:
        raise ConfigurationError(f"--after {after}: {error.strerror}") from None
    except ValueError:
        raise ConfigurationError(f"--after {after}: this is not a file that --save wrote") from None
    except ConfigurationError as error:
        raise ConfigurationError(f"--after {after}: {error}") from None
