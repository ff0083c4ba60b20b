"""Planted bugs of turns, calls, effects and the journal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf
from typing import Any

import anyio
from planting import Patch, bug, nothing
from simulated_store import SimulatedStore

from agentkit import RunContext, execute, invocation, journal, loop, step, stream, transcript
from agentkit.errors import JournalError, LeaseLost
from agentkit.execute import Calls
from agentkit.lease import RENEWED_EVERY, Lease
from agentkit.run import Run
from agentkit.transcript import Transcript


@bug
def a_reply_that_ends_early_is_taken_as_whole(patch: Patch) -> None:
    def message(fold: Any) -> dict[str, Any]:
        for index in [*fold._open]:
            fold._close(index)
        return {"stop_reason": "end_turn", **(fold._message or {"content": []})}

    patch.setattr(stream.Fold, "message", property(message))


@bug
def tools_of_a_turn_that_was_cut_off_run(patch: Patch) -> None:
    patch.setitem(step.AFTER, "max_tokens", "run calls")


@bug
def tools_of_a_refused_turn_run(patch: Patch) -> None:
    patch.setitem(step.AFTER, "refusal", "run calls")
    patch.setattr(transcript, "sent_content", lambda message: message.get("content") or [])


@bug
def the_intent_is_not_written(patch: Patch) -> None:
    commit = Lease.commit

    async def without_intents(lease: Lease, durable: bool) -> None:
        last = lease._transcript.entries[-1]
        if last.get("state") != "started":
            await commit(lease, durable)

    patch.setattr(Lease, "commit", without_intents)


@bug
def the_intent_is_not_durable(patch: Patch) -> None:
    commit = Lease.commit
    patch.setattr(Lease, "commit", lambda lease, durable: commit(lease, False))


@bug
def a_tool_starts_before_its_intent_is_stored(patch: Patch) -> None:
    run_started = Calls._run_started

    async def at_once(calls: Calls, call: Any, tool: Any, enter: Any) -> None:
        ended: list[Any] = []

        async def early() -> Any:
            return ended[0]

        if not tool.is_read:
            ended.append(await enter())
        await run_started(calls, call, tool, enter if tool.is_read else early)

    patch.setattr(Calls, "_run_started", at_once)


@bug
def the_store_does_not_look_who_writes(patch: Patch) -> None:
    # Not the epoch alone: whoever takes a run up appends to it, so the length tells too.
    patch.setattr(SimulatedStore, "_check_epoch", lambda store, row: None)


@bug
def a_run_that_has_gone_on_is_taken_up(patch: Patch) -> None:
    patch.setattr(SimulatedStore, "_check_free", lambda store, known, row, dead: None)


@bug
def a_held_run_is_taken_up(patch: Patch) -> None:
    patch.setattr(journal, "is_dead", lambda holder: True)


@bug
def who_lost_the_lease_writes_on(patch: Patch) -> None:
    append = Lease._append

    def silent(lease: Lease, durable: bool, **end: Any) -> None:
        try:
            append(lease, durable, **end)
        except LeaseLost:
            lease._row = replace(lease._row, expires=inf)  # else it would look for ever whether its time is up

    patch.setattr(Lease, "_append", silent)


@bug
def results_of_who_lost_the_lease_are_dropped(patch: Patch) -> None:
    patch.setattr(SimulatedStore, "orphan", lambda store, row, lines: None)


@bug
def a_cancelled_call_is_said_not_to_have_run(patch: Patch) -> None:
    note = Calls._note

    def noted(calls: Calls, call: Any, ended: Any) -> Any:
        ended.outcome = "not_run" if ended.outcome == "cancelled" else ended.outcome
        return note(calls, call, ended)

    patch.setattr(Calls, "_note", noted)


@bug
def what_is_unknown_is_said_not_to_have_run(patch: Patch) -> None:
    left_behind = invocation.left_behind

    async def wrong(*given: Any, **named: Any) -> Any:
        ended = await left_behind(*given, **named)
        if ended and ended.outcome == "unknown":
            ended.outcome = "not_run"
        return ended

    patch.setattr(execute, "left_behind", wrong)


@bug
def undeclared_tools_repeat_after_a_crash(patch: Patch) -> None:
    patch.setattr(execute, "left_behind", nothing)


@bug
def idempotent_tools_repeat_without_end(patch: Patch) -> None:
    patch.setattr(invocation, "_MOST_ATTEMPTS", 99)


@bug
def a_result_is_lost(patch: Patch) -> None:
    patch.setattr(Lease, "commit_result", nothing)
    patch.setattr(Calls, "_note", _forgetful(Calls._note))


def _forgetful(note: Any) -> Any:
    def noted(calls: Calls, call: Any, ended: Any) -> Any:
        if ended.outcome == "done" and len(calls._transcript.calls) > 2:
            ended.outcome, ended.content = "unknown", f"Lost. {invocation.MAY_HAVE_RUN}"
        return note(calls, call, ended)

    return noted


@bug
def a_result_that_can_not_be_stored_at_once_is_given_up(patch: Patch) -> None:
    async def once(lease: Lease) -> None:
        try:
            await lease.commit(True)
        except JournalError:
            lease._transcript.entries.pop()
            raise

    patch.setattr(Lease, "commit_result", once)


@bug
def results_come_in_the_order_of_their_ends(patch: Patch) -> None:
    on_call = Transcript._on_call

    def reordered(log: Transcript, entry: dict[str, Any]) -> None:
        on_call(log, entry)
        if entry["state"] == "ended":
            log.calls[entry["call"]] = log.calls.pop(entry["call"])

    patch.setitem(transcript._FOLDS, "call", reordered)


@bug
def a_result_is_left_out(patch: Patch) -> None:
    answer = Transcript._answer

    def short(log: Transcript) -> None:
        if len(log.calls) > 1:
            log.calls.popitem()
        answer(log)

    patch.setattr(Transcript, "_answer", short)
    patch.setitem(transcript._FOLDS, "turn", lambda log, entry: _on_turn(log, entry, short))


def _on_turn(log: Transcript, entry: Mapping[str, Any], answer: Callable[[Transcript], None]) -> None:
    log._on_model_turn(entry) if "message" in entry else answer(log)  # type: ignore[arg-type]


@bug
def a_denied_call_runs(patch: Patch) -> None:
    decide = Transcript.decide

    def allowed(log: Transcript, call_id: str, decision: Any) -> None:
        decide(log, call_id, type(decision)("allow") if decision.action == "deny" else decision)

    patch.setattr(Transcript, "decide", allowed)


@bug
def nobody_is_asked(patch: Patch) -> None:
    async def never(*given: Any) -> bool:
        return False

    patch.setattr(execute, "needs_approval", never)


@bug
def an_edit_is_ignored(patch: Patch) -> None:
    patch.setattr(execute, "input_of", lambda call: call.block.get("input"))


@bug
def a_key_differs_at_each_attempt(patch: Patch) -> None:
    count = iter(range(1_000_000))
    patch.setattr(RunContext, "idempotency_key", property(lambda ctx: f"ak_{next(count)}"))


@bug
def a_failed_renewal_ends_the_watch(patch: Patch) -> None:
    async def watch(run: Run) -> None:
        while run._lease and anyio.current_time() + RENEWED_EVERY < run._deadline:
            await anyio.sleep(RENEWED_EVERY)
            await run._lease.renew()
        await anyio.sleep_until(run._deadline)
        run._stop(step.Finish("max_seconds"))

    patch.setattr(Run, "_watch", watch)


@bug
def the_lease_is_not_renewed(patch: Patch) -> None:
    patch.setattr(Lease, "renew", nothing)


@bug
def a_run_is_held_again_after_its_end(patch: Patch) -> None:
    leave = Lease.leave

    def left(lease: Lease, state: str, detail: str | None) -> None:
        holder = lease._row.holder
        leave(lease, state, detail)
        lease._row = replace(lease._row, holder=holder)  # so a renewal that comes late takes it again

    patch.setattr(Lease, "leave", left)


@bug
def a_run_has_no_deadline(patch: Patch) -> None:
    patch.setattr(Run, "_watch", lambda run: anyio.sleep_forever())


@bug
def a_turn_is_not_stored(patch: Patch) -> None:
    patch.setattr(loop, "_take", _untold(loop._take))


def _untold(take: Any) -> Any:
    def taken(event: Any, log: Transcript, *given: Any) -> bool:
        whole: bool = take(event, log, *given)
        if whole and log.last:
            log.last["content"] = log.last["content"][:1]
        return whole

    return taken


@bug
def tools_go_on_when_the_run_is_left(patch: Patch) -> None:
    patch.setattr(Calls, "aclose", nothing)


@bug
def a_model_request_is_tried_without_end(patch: Patch) -> None:
    patch.setattr("agentkit.client.wait_before_retry", lambda *given: 0.1)
