"""What happens next: a pure function of the transcript."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from agentkit.settings import Limits
from agentkit.transcript import Call, Transcript

__all__ = ["AFTER", "Answer", "CallModel", "CallTools", "Finish", "Step", "next_step", "reaction_to"]


@dataclass(frozen=True, slots=True)
class CallModel:
    """Ask the model. `max_tokens` is what still fits into a token limit, None without one."""

    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class CallTools:
    """Run these calls."""

    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """Append the user turn that carries results and waiting input."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The run is over.

    Attributes:
        reason: One of `end_turn, stop_sequence, max_tokens, model_context_window_exceeded, refusal, needs_approval,
            max_turns, max_tool_calls, max_pauses, max_total_tokens, max_cost, max_seconds, loop, cancelled, paused,
            invalid_output, unknown_stop`; `error` on the result that a raised `APIError` carries.
        detail: More about it, for people.
    """

    reason: str
    detail: str | None = None


Step: TypeAlias = CallModel | CallTools | Answer | Finish
Reaction: TypeAlias = Literal["run calls", "resend", "finish"]

# What follows each stop reason. What is not here is `unknown_stop`: no tool runs. Source: messages-api.md section 7.
AFTER: dict[str, Reaction] = {
    "tool_use": "run calls",
    "pause_turn": "resend",
    "compaction": "resend",
    "end_turn": "finish",
    "stop_sequence": "finish",
    "max_tokens": "finish",
    "model_context_window_exceeded": "finish",
    "refusal": "finish",
}


def next_step(transcript: Transcript, limits: Limits, elapsed: float) -> Step:
    """The next step of a run.

    Args:
        transcript: The log so far.
        limits: Of the run.
        elapsed: Active seconds since the run began.
    """
    if not transcript.at_model_turn:
        if transcript.waiting and not transcript.server_open:
            return Answer()
        return _call_model(transcript, limits, elapsed)
    unended = transcript.unended()
    if transcript.calls and not unended:
        return Answer()
    reaction = reaction_to(transcript)
    if reaction == "run calls" and unended:
        return _call_tools(transcript, unended, limits, elapsed)
    if transcript.waiting:
        # Unanswered server uses have one model turn to be answered; pauses are part of it.
        first = transcript.server_open and (not transcript.turns or reaction == "resend")
        return _resend(transcript, limits, elapsed) if first else Answer()
    if reaction == "resend":
        return _resend(transcript, limits, elapsed)
    return _finish(transcript, reaction)


def reaction_to(transcript: Transcript) -> Reaction | None:
    """What follows the last model turn; None after a stop reason that is not known."""
    stop_reason = transcript.stop_reason or ""
    if stop_reason == "end_turn" and transcript.calls and transcript.runs_at_end_turn:
        return "run calls"
    return AFTER.get(stop_reason)


def _call_model(transcript: Transcript, limits: Limits, elapsed: float) -> Step:
    if transcript.turns >= limits.max_turns:
        return Finish("max_turns", f"{transcript.turns} model turns")
    if transcript.repeats.are_too_many:
        return Finish("loop", "the same calls gave the same results, five times in a row")
    if elapsed >= limits.max_seconds:
        return Finish("max_seconds", f"{elapsed:.0f} seconds")
    usage, cost = transcript.spending.usage, transcript.spending.cost
    if limits.max_cost_usd is not None and (cost is None or cost >= limits.max_cost_usd):
        spent = "a cost that is not known" if cost is None else f"{cost:.4f} US dollars"
        return Finish("max_cost", f"{spent} spent")
    if limits.max_total_tokens is None:
        return CallModel()
    used = usage.total_tokens
    room = limits.max_total_tokens - used - transcript.history.tokens()
    if room < 1:
        return Finish("max_total_tokens", f"{used} tokens used, and the next request needs more than is left")
    return CallModel(room)


def _call_tools(transcript: Transcript, unended: list[Call], limits: Limits, elapsed: float) -> Step:
    runnable = tuple(call for call in unended if call.state != "held" or call.decision)
    if not runnable:
        return Finish("needs_approval", ", ".join(f"{call.block.get('name')} ({call.call_id})" for call in unended))
    new = sum(call.state != "started" for call in runnable)  # those of a dead run are counted already
    if new and transcript.tool_calls + new > limits.max_tool_calls:
        return Finish("max_tool_calls", f"{transcript.tool_calls} calls, and {new} more are asked for")
    if elapsed >= limits.max_seconds:
        return Finish("max_seconds", f"{elapsed:.0f} seconds")
    return CallTools(runnable)


def _resend(transcript: Transcript, limits: Limits, elapsed: float) -> Step:
    if transcript.pauses > limits.max_pauses:
        return Finish("max_pauses", f"{transcript.pauses} pauses in a row")
    return _call_model(transcript, limits, elapsed)


def _finish(transcript: Transcript, reaction: Reaction | None) -> Finish:
    stop_reason = transcript.stop_reason
    if reaction != "finish":
        return Finish("unknown_stop", f"stop_reason {stop_reason!r} with nothing to run")
    details = (transcript.last or {}).get("stop_details")
    explanation = details.get("explanation") or details.get("category") if isinstance(details, dict) else None
    return Finish(str(stop_reason), explanation)
