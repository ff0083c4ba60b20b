"""The loop: take the next step until there is none."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import TypeAlias

from agentkit.events import ContentBlockStop, Event, TurnEnd, TurnRestarted, TurnStart
from agentkit.execute import Calls
from agentkit.messages import Block, Prompt, as_messages
from agentkit.request import Request
from agentkit.settings import Limits
from agentkit.step import AFTER, Answer, CallModel, CallTools, Finish, next_step
from agentkit.transcript import Call, Outcome, Transcript

__all__ = ["Send", "begin", "loop"]

Send: TypeAlias = Callable[[Transcript, Request], AsyncGenerator[Event]]
"""Asks for one model turn; the last event is the `TurnEnd`."""


def begin(transcript: Transcript, run_id: str, prompt: Prompt | None) -> None:
    """Begins a run with `prompt`, or resumes one with None.

    New input can only follow when nothing is owed, so calls that have not ended are ended first, truthfully.

    Raises:
        ConfigurationError: The prompt has no known shape.
        TranscriptError: The API would refuse it.
    """
    if prompt is None:
        transcript.begin(run_id, None)
        return
    messages = as_messages(prompt)
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
    transcript: Transcript, send: Send, calls: Calls, request: Request, limits: Limits, clock: Callable[[], float]
) -> AsyncGenerator[Event | Finish]:
    """Runs until there is no next step; the last item says why.

    Args:
        transcript: The log, which grows.
        send: Asks for a model turn.
        calls: Runs client tools.
        request: What is sent with every turn.
        limits: Of the run.
        clock: Active seconds since the run began.
    """
    try:
        while True:
            match next_step(transcript, limits, clock()):
                case CallModel(room):
                    async with aclosing(_model_turn(transcript, send, calls, _within(request, room), clock)) as events:
                        async for event in events:
                            yield event
                case CallTools(due):
                    async with aclosing(calls.run(due)) as events:
                        async for event in events:
                            yield event
                case Answer():
                    transcript.answer()
                case Finish() as finish:
                    yield finish
                    return
    finally:
        await calls.close()


def _within(request: Request, room: int | None) -> Request:
    if room is None or room >= request.max_tokens:
        return request
    return replace(request, max_tokens=room)


async def _model_turn(
    transcript: Transcript, send: Send, calls: Calls, request: Request, clock: Callable[[], float]
) -> AsyncGenerator[Event]:
    calls.forget_early()
    yield TurnStart(transcript.turns + 1)
    async with aclosing(send(transcript, request)) as events:
        async for event in events:
            if isinstance(event, ContentBlockStop):
                if event.block.get("type") == "tool_use":
                    calls.offer(event.block)
            elif isinstance(event, TurnEnd):
                transcript.take_turn(event.message, event.request_id, clock())
            elif isinstance(event, TurnRestarted):
                calls.forget_early()
            yield event
