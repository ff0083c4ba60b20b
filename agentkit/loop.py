"""The loop: take the next step until there is none."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from agentkit.events import ContentBlockStop, Event, TurnEnd, TurnRestarted, TurnStart
from agentkit.execute import Calls
from agentkit.messages import Block, Prompt, as_messages, copy_json, encode, final_text, sent_content
from agentkit.request import Request
from agentkit.settings import Limits
from agentkit.step import AFTER, Answer, CallModel, CallTools, Finish, next_step
from agentkit.transcript import Call, Outcome, Transcript

if TYPE_CHECKING:
    from agentkit.output import Output

__all__ = ["Send", "begin", "loop", "within"]

Send: TypeAlias = Callable[[Transcript, Request], AsyncGenerator[Event]]
"""Asks for one model turn; the last event is the `TurnEnd`."""


def begin(transcript: Transcript, run_id: str, prompt: Prompt | None) -> None:
    """Begins a run with `prompt`, or resumes one with None.

    New input can only follow when nothing is owed, so calls that have not ended are ended first, truthfully.

    Raises:
        ConfigurationError: The prompt has no known shape, or something that JSON has not.
        TranscriptError: The API would refuse it.
    """
    if prompt is None:
        transcript.begin(run_id, None)
        return
    messages = json.loads(encode(as_messages(prompt)))  # a copy: the caller may change theirs
    for call in transcript.unended():
        outcome, text = _why_not_ended(transcript, call)
        result: Block = {"type": "tool_result", "tool_use_id": call.block["id"], "content": text, "is_error": True}
        transcript.end(call, outcome, result)
    transcript.begin(run_id, messages)


def _why_not_ended(transcript: Transcript, call: Call) -> tuple[Outcome, str]:
    if AFTER.get(transcript.stop_reason or "") != "run calls":
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
    limits: Limits,
    clock: Callable[[], float],
    output: Output[Any] | None = None,
) -> AsyncGenerator[Event | Finish]:
    """Runs until there is no next step; the last item says why.

    Args:
        transcript: The log, which grows.
        send: Asks for a model turn.
        calls: Runs client tools.
        request: What is sent with every turn.
        limits: Of the run.
        clock: Active seconds since the run began.
        output: What the answer is to be a value of.
    """
    try:
        while True:
            match next_step(transcript, limits, clock()):
                case CallModel(room) if not _has_room_to_think(request, room):
                    yield Finish("max_total_tokens", f"{room} tokens are left, fewer than the model may think")
                    return
                case CallModel(room):
                    calls.forget_early()
                    yield TurnStart(transcript.turns + 1)
                    # Right here, and not in a generator of its own: each one that an event goes through has its cost.
                    async with aclosing(send(transcript, within(request, room))) as events:
                        async for event in events:
                            if isinstance(event, ContentBlockStop):
                                if event.block.get("type") == "tool_use":
                                    calls.offer(event.block)
                            elif isinstance(event, TurnEnd):
                                transcript.take_turn(copy_json(event.message), event.request_id, clock(), event.cost)
                            elif isinstance(event, TurnRestarted):
                                calls.forget_early()
                            yield event
                case CallTools(due):
                    async with aclosing(calls.run(due)) as events:
                        async for event in events:
                            yield event
                case Answer():
                    transcript.answer()
                case Finish() as finish:
                    if checked := _checked(transcript, output, finish):
                        yield checked
                        return
    finally:
        await calls.close()


def _checked(transcript: Transcript, output: Output[Any] | None, finish: Finish) -> Finish | None:
    """The end of a run, or None if its answer fits no `output` and the model was asked, once, to put it right."""
    if output is None or transcript.last is None or finish.reason not in ("end_turn", "stop_sequence"):
        return finish
    from agentkit.output import InvalidOutput

    try:
        output.parse(final_text(sent_content(transcript.last)))
    except InvalidOutput as error:
        if transcript.repairs:
            return Finish("invalid_output", str(error))
        transcript.repair(output.repair(error))
        return None
    return finish


def within(request: Request, room: int | None) -> Request:
    """The request, asking for no more output than there is `room` for in tokens; None is no limit."""
    if room is None or room >= request.max_tokens:
        return request
    return replace(request, max_tokens=room)


def _has_room_to_think(request: Request, room: int | None) -> bool:
    """Whether `max_tokens` stays above the thinking budget, as the API demands. Source: messages-api.md section 14."""
    thinking = request.params.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    return room is None or not isinstance(budget, int) or not room <= budget < request.max_tokens
