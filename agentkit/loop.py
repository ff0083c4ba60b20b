"""The loop: take the next step until there is none."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from agentkit.budget import Budget
from agentkit.errors import APIError
from agentkit.events import CacheMiss, ContentBlockStop, Event, Retry, ToolResult, TurnEnd, TurnRestarted, TurnStart
from agentkit.execute import Calls
from agentkit.healing import ask, heal
from agentkit.lease import Lease
from agentkit.ledger import Ledger
from agentkit.messages import Prompt, as_messages, copy_json, encode, final_text, sent_content
from agentkit.request import Request
from agentkit.step import Answer, CallModel, CallTools, Finish, next_step, reaction_to
from agentkit.threads import thread_of
from agentkit.transcript import Call, Outcome, Transcript

if TYPE_CHECKING:
    from agentkit.output import Output

__all__ = ["Send", "begin", "loop", "request_now", "sent_by"]

Send: TypeAlias = Callable[[Transcript, Request], AsyncGenerator[Event]]
"""Asks for one model turn; the last event is the `TurnEnd`."""


def begin(
    transcript: Transcript,
    run_id: str,
    prompt: Prompt | None,
    *,
    asks: tuple[str, str] | None = None,
    runs_at_end_turn: bool = False,
    sends: Mapping[str, Any] | None = None,
    taint: Iterable[str] = (),
    within: tuple[str, str] | None = None,
) -> None:
    """Begins a run with `prompt`, or resumes one with None.

    New input can only follow when nothing is owed, so calls that have not ended are ended first, truthfully.

    Args:
        transcript: The log so far.
        run_id: Names the run.
        prompt: What the user says.
        asks: Model and endpoint that are asked, where they are known.
        runs_at_end_turn: Whether calls of a reply that stops with `end_turn` run.
        sends: The fields of the request that are the same in every turn, for a log that is kept: written where the run
            before had others.
        taint: What the run above this one has seen.
        within: That run's id and its call, for a run that is a part of it.

    Raises:
        ConfigurationError: The prompt has no known shape, or something that JSON has not.
        TranscriptError: The API would refuse it.
    """
    if asks:
        ask(transcript, *asks)
    about: dict[str, Any] = {"asks": asks, "runs_at_end_turn": runs_at_end_turn}
    if sends is not None and sends != sent_by(transcript):
        about["sends"] = sends
    if words := sorted(taint):
        about["taint"] = words
    if within:
        about["within"] = list(within)
    if prompt is None:
        transcript.begin(run_id, None, **about)
        return
    messages = json.loads(encode(as_messages(prompt)))  # a copy: the caller may change theirs
    for call in transcript.unended():
        outcome, text = _why_not_ended(transcript, call)
        transcript.end(call, outcome, call.closing(text))
    transcript.begin(run_id, messages, **about)


def sent_by(transcript: Transcript) -> dict[str, Any] | None:
    """The fields of its requests that are the same in every turn, where the log keeps them."""
    return next((entry["sends"] for entry in reversed(transcript.entries) if "sends" in entry), None)


def _why_not_ended(transcript: Transcript, call: Call) -> tuple[Outcome, str]:
    if reaction_to(transcript) != "run calls":
        return "not_run", f"This call was cut off (stop_reason {transcript.stop_reason}) and has not run."
    if call.state == "started":
        return "unknown", "The process stopped while this call ran: its outcome is unknown. Check before repeating it."
    if call.state == "held" and (call.decision is None or call.decision.action == "deny"):
        return "denied", "This call was not approved, so it has not run."
    return "not_run", "The run was stopped before this call, so it has not run."


async def loop(
    transcript: Transcript,
    send: Send,
    calls: Calls,
    request: Request,
    budget: Budget,
    clock: Callable[[], float],
    output: Output[Any] | None = None,
    lease: Lease | None = None,
) -> AsyncGenerator[Event | Finish]:
    """Runs until there is no next step; the last item says why.

    Args:
        transcript: The log, which grows.
        send: Asks for a model turn.
        calls: Runs client tools.
        request: What is sent with every turn.
        budget: What the run may use.
        clock: Active seconds since the run began.
        output: What the answer is to be a value of.
        lease: Where the log is kept.
    """
    ledger, thread = Ledger(request, transcript), thread_of(transcript, request)
    async with aclosing(calls):
        while True:
            match next_step(transcript, budget.limits(), clock()):
                case CallModel(room):
                    asked = budget.fit(request_now(request, transcript), room)
                    if isinstance(asked, Finish):
                        yield asked
                        return
                    calls.forget_early()
                    shown, (miss, sent) = False, ledger.look()
                    for begun in _begun(transcript, miss):
                        yield begun
                    # Right here, and not in a generator of its own: each one that an event goes through has its cost.
                    try:
                        async with aclosing(send(transcript, asked)) as events:
                            async for event in events:
                                if _take(event, transcript, calls, budget, clock, sent, thread) and lease:
                                    await lease.commit(False)
                                shown = True
                                yield event
                    except APIError as error:
                        if not heal(transcript, error, request):
                            raise
                        budget.settle()
                        for healed in _told(error, shown):
                            yield healed
                case CallTools(due):
                    async with aclosing(calls.run(due)) as events:
                        async for event in events:
                            yield event
                case Answer():
                    for closed in map(_not_run, transcript.answer()):
                        yield closed
                case Finish() as finish:
                    if checked := _checked(transcript, output, finish):
                        yield checked
                        return


def _begun(transcript: Transcript, miss: CacheMiss | None) -> list[Event]:
    """That a turn begins, and what of the cache will not hold."""
    return [TurnStart(transcript.turns + 1), *([miss] if miss else [])]


def _not_run(call: Call) -> Event:
    """That a call ended with the reply that was cut off in it."""
    return ToolResult.of(call.call_id, str(call.block.get("name")), str(call.outcome), 0.0, call.result or {})


def _told(error: APIError, shown: bool) -> list[Event]:
    """That a request is sent again, after what could be healed; `shown` is whether something of its reply was."""
    again = [TurnRestarted(error.attempts + 1, str(error))] if shown else []
    return [Retry(error.attempts, 0.0, str(error)), *again]


def _take(
    event: Event,
    transcript: Transcript,
    calls: Calls,
    budget: Budget,
    clock: Callable[[], float],
    sent: dict[str, Any] | None,
    thread: str | None,
) -> bool:
    """What the run does with an event of a model turn; whether the turn is complete with it."""
    if isinstance(event, ContentBlockStop):
        if event.block.get("type") == "tool_use":
            calls.offer(event.block)
    elif isinstance(event, TurnEnd):
        transcript.take_turn(copy_json(event.message), event.request_id, clock(), event.cost, sent=sent, thread=thread)
        budget.settle()
        return True
    elif isinstance(event, TurnRestarted):
        calls.forget_early()
    return False


def _checked(transcript: Transcript, output: Output[Any] | None, finish: Finish) -> Finish | None:
    """The end of a run, or None if its answer fits no `output` and the model was asked, once, to put it right."""
    if output is None or transcript.last is None or finish.reason not in ("end_turn", "stop_sequence"):
        return finish
    from agentkit.output import InvalidOutput

    try:
        output.parse(final_text(sent_content(transcript.last)))
    except InvalidOutput as error:
        if "repair_output" in transcript.operations:
            return Finish("invalid_output", str(error))
        transcript.operate("repair_output", content=[{"type": "text", "text": output.repair(error)}])
        return None
    return finish


def request_now(request: Request, transcript: Transcript) -> Request:
    """The request as it is sent next."""
    if not transcript.drops_blocks or (request.params.get("thinking") or {}).get("type") == "disabled":
        return request
    binding = {"block_binding": {"prefix_mismatch_behavior": "drop_block"}}
    thinking = {"type": "adaptive", **(request.params.get("thinking") or {}), **binding}
    betas = tuple(dict.fromkeys([*request.betas, "thinking-binding-controls-2026-08-01"]))
    return replace(request, params={**request.params, "thinking": thinking}, betas=betas)
