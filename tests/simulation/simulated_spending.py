"""What a run of the simulation may spend: I8."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentkit import RunResult

if TYPE_CHECKING:
    from simulated_process import Process

__all__ = ["LIMITED", "look_at_spending"]

LIMITED = ("max_turns", "max_tool_calls", "max_total_tokens", "max_cost")
_WHOLE = ("end_turn", "max_tokens", "refusal", "needs_approval", *LIMITED)


def look_at_spending(process: Process, result: RunResult) -> None:
    """At an end that a living process has come to: what was spent is counted once, and within the limits.

    A limit of tokens or dollars may be passed by the last request of the run, and not before it.
    """
    world, limits = process.world, process.limits
    row = world.disk.rows[result.run_id]
    if process.dead or row.epoch != process.taken[result.run_id][0]:  # another has gone on with it meanwhile
        return

    def holds(fact: bool, text: str) -> None:
        world.check(fact, "I8", lambda: f"{process.name}: {text}")

    log = world.run_of(result.run_id)
    entries = [entry for entry in log if "message" in entry]
    tokens = [tokens_of(entry["message"]) for entry in entries]
    told = {entry["run"]: entry for entry in log if entry.get("operation") == "spend"}
    spent = sum(tokens) + sum(map(_tokens_in, (entry["usage"] for entry in told.values())))
    counted = _tokens_in(result.usage.as_dict())
    holds(counted == spent, f"{counted} tokens are counted, {spent} were used")
    holds(len(tokens) <= limits.max_turns, f"{len(tokens)} turns, {limits.max_turns} may be")
    calls = {entry["call"] for entry in log if entry.get("state") == "started"}
    holds(len(calls) <= limits.max_tool_calls, f"{len(calls)} calls, {limits.max_tool_calls} may be")
    below = [entry for run_id in world.asked_by(result.run_id) for entry in world.run_of(run_id) if "message" in entry]
    tokens += [tokens_of(entry["message"]) for entry in below]
    outcomes = {entry.get("outcome") for entry in log}
    if result.finish.reason in _WHOLE and not outcomes & {"unknown", "cancelled", "timed_out"}:
        ended = {run_id for run_id in world.asked_by(result.run_id) if world.disk.rows[run_id].state == "end_turn"}
        holds(ended <= told.keys(), "what an agent has used that it asked is not in its log")
    most = limits.max_total_tokens
    holds(most is None or sum(tokens) - max(tokens, default=0) < most, f"{tokens} tokens, {most} may be")
    if limits.max_cost_usd is not None:
        costs = [entry["cost"] for entry in (*entries, *below)]
        holds(
            sum(costs) - max(costs, default=0) < limits.max_cost_usd, f"{costs} dollars, {limits.max_cost_usd} may be"
        )
    lost = process.paid - process.stored
    may_be = process.is_hampered or result.finish.reason not in _WHOLE
    holds(lost <= may_be, f"{lost} replies were paid, and are not in the log")


def tokens_of(message: dict[str, Any]) -> int:
    """Of one reply."""
    return _tokens_in(message["usage"])


def _tokens_in(usage: dict[str, Any]) -> int:
    return sum(count for name, count in usage.items() if name.endswith("_tokens"))
