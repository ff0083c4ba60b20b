"""`agentkit runs resume`: goes on with a run that is in the journal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from agentkit.cli.agents import named_agent
from agentkit.cli.journals import found, opened, shown_id, where
from agentkit.cli.options import (
    AgentName,
    Allowed,
    AsJson,
    BaseUrl,
    CorpusFolder,
    Denied,
    Edited,
    JournalFile,
    MaxTokens,
    MaxTurns,
    ModelOfRun,
    NoDefaultTools,
    OnQueue,
    PauseAfter,
    PolicyFile,
    RunId,
    System,
    ToolNames,
    UseEmulator,
)
from agentkit.cli.problems import brief_log, reported
from agentkit.cli.queued import go_on_at
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
from agentkit.errors import ConfigurationError, RunBusy
from agentkit.support import ANTHROPIC

if TYPE_CHECKING:
    from agentkit.agent import Agent
    from agentkit.client import Client
    from agentkit.journal import Journal
    from agentkit.result import RunResult
    from agentkit.transcript import Decision

__all__ = ["resume"]


def resume(
    run: RunId,
    allow: Allowed = None,
    deny: Denied = None,
    edit: Edited = None,
    agent: AgentName = None,
    emulator: UseEmulator = False,
    model: ModelOfRun = None,
    base_url: BaseUrl = None,
    tool: ToolNames = None,
    no_default_tools: NoDefaultTools = False,
    corpus: CorpusFolder = None,
    pause_after: PauseAfter = 3,
    system: System = None,
    max_tokens: MaxTokens = 8192,
    max_turns: MaxTurns = 50,
    as_json: AsJson = False,
    journal: JournalFile = None,
    policy: PolicyFile = None,
    queue: OnQueue = None,
) -> None:
    """Go on with a run that was interrupted, held, forked, cancelled, or stopped by a limit or an error.

    The journal keeps what was said and done, not the tools and the system prompt: give --tool, --system,
    --emulator, … as the first time, or name with --agent the Agent whose run it is.

    On a terminal you are asked about each call that waits for an approval and that no option decides on. Exit codes
    are those of `agentkit run`.

    \b
    Examples:
      agentkit runs resume 3f2a --tool my_tools:refund --allow 2:toolu_01
      agentkit runs resume 3f2a --agent app/desk.py:agent --deny '2:toolu_01=ask the customer first'
      agentkit runs resume 3f2a --agent desk:agent --edit '2:toolu_01={"amount": 5}'
      agentkit runs resume 3f2a --allow 2:toolu_01 --queue refunds
    """
    with reported(), brief_log(), told_if_kept(kept=True, journal=journal), ExitStack() as stack:
        from agentkit.cli.converse import Conversation

        others: dict[str, Any] = {"--tool": tool, "--system": system, "--model": model, "--policy": policy}
        theirs = _agent(agent, {**others, "--no-default-tools": no_default_tools}) if agent else None
        kept = stack.enter_context(_journal(theirs, journal))
        row = found(kept, run)
        earlier = _resumable(kept, row.run_id)
        decisions = _decisions(earlier, allow or [], deny or [], edit or [])
        if queue is not None:
            go_on_at(queue, kept.place, row.run_id, decisions)
            return
        tools = [*([] if no_default_tools else default_tools()), *named_tools(tool or [])]
        sizes = {"max_tokens": max_tokens, "max_turns": max_turns}
        answering = theirs or _made(model or row.model, tools, kept, policy, system, **sizes)
        tools = list(answering._blueprint.tools.values()) if theirs else tools
        check_resumable(f"run {shown_id(row.run_id)}", earlier, tools)
        view = stack.enter_context(opened_view(as_json, tools, earlier))
        is_local = emulator or corpus is not None
        reached = emulated(base_url, corpus, pause_after, view) if is_local else _endpoint(theirs, earlier, base_url)
        open_client, asks = stack.enter_context(reached), is_attended(as_json)
        conversation = Conversation(agent=answering, open_client=open_client, view=view, save=None, asks=asks)
        result = conversation.run(None, earlier, conversation.decide(earlier, decisions))
        leave(result, interrupted=conversation.interrupted, kept=True, journal=journal)


def _made(
    model: str, tools: Sequence[Any], kept: Journal, policy: Any, system: str | None, *, max_tokens: int, max_turns: int
) -> Agent:
    from agentkit.agent import Agent
    from agentkit.settings import Limits

    limits = Limits(max_turns=max_turns)
    return Agent(model, tools=tools, journal=kept, policy=policy, limits=limits, system=system, max_tokens=max_tokens)


def _agent(named: str, others: dict[str, Any]) -> Agent:
    for name, value in others.items():
        if value:
            raise ConfigurationError(f"--agent says what the run is made of: leave out {name}")
    return named_agent(named)


@contextmanager
def _journal(theirs: Agent | None, path: str | None) -> Iterator[Journal]:
    if theirs is None:
        with opened(path) as journal:
            yield journal
    elif theirs.journal is None:
        raise ConfigurationError(
            "the agent keeps no runs: give it a journal, Agent(…, journal=…), or set AGENTKIT_HOME"
        )
    elif path is not None:
        raise ConfigurationError("the agent has a journal of its own: leave out --journal")
    else:
        yield theirs.journal


def _resumable(journal: Journal, run_id: str) -> RunResult:
    """The run so far, if there is something to go on with."""
    earlier = result_of(journal.load(run_id))
    short_id = shown_id(run_id)
    if (row := journal.run(run_id)).state == "scheduled":
        raise ConfigurationError(f"run {short_id} is the question of a schedule: see `agentkit schedules`")
    if journal.is_live(row):
        raise RunBusy(f"run {short_id} goes on in {where(row)}: it can't be resumed here too")
    if earlier.finish.reason in ("end_turn", "stop_sequence"):
        raise ConfigurationError(f'run {short_id} has its answer; to go on: agentkit run --after {short_id} "…"')
    return earlier


def _endpoint(
    theirs: Agent | None, earlier: RunResult, base_url: str | None
) -> AbstractContextManager[Callable[[], AbstractAsyncContextManager[Client]]]:
    """Where the run goes on. What was said at one endpoint is not sent to another that nobody has named."""
    from agentkit.client import Client

    if base_url:
        return endpoint(base_url)
    if theirs:
        return nullcontext(theirs._default_client)
    asked = earlier.transcript().asked
    try:
        client: Client | None = Client()
    except ConfigurationError:
        client = None
    if asked and asked[1] not in (client and client.origin, ANTHROPIC.name if client is None else None):
        raise ConfigurationError(f"this run has asked {asked[1]}: name where to go on with --base-url, or --emulator")
    return endpoint(None)


def _decisions(
    earlier: RunResult, allowed: Sequence[str], denied: Sequence[str], edited: Sequence[str]
) -> dict[str, Decision]:
    """By id of the call, from what the options say; the turn in front of an id may be left out."""
    from agentkit.call import allow, deny, edit

    said = [(name, allow()) for name in allowed]
    for text in denied:
        name, _, why = text.partition("=")
        said.append((name, deny(why)))
    for text in edited:
        name, _, changed = text.partition("=")
        try:
            given = json.loads(changed)
        except ValueError as error:
            raise ConfigurationError(f"--edit {text}: write it as CALL=JSON ({error})") from None
        if not isinstance(given, dict):
            raise ConfigurationError(f'--edit {text}: the input of a call is a JSON object, {{"name": …}}')
        said.append((name, edit(given)))
    known = {name: held.call_id for held in earlier.pending for name in (held.call_id, held.call_id.partition(":")[2])}
    decisions: dict[str, Decision] = {}
    for name, decision in said:
        if name not in known:
            waiting = ", ".join(held.call_id for held in earlier.pending) or "none"
            raise ConfigurationError(f"no call {name!r} waits for a decision (waiting: {waiting})")
        if known[name] in decisions:
            raise ConfigurationError(f"there are two decisions on {name}: give one")
        decisions[known[name]] = decision
    return decisions
