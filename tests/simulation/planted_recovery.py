"""Planted bugs of what is rescued and taken in again, and of approvals whose time is over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import simulated_store
from planting import Patch, bug
from simulated_store import SimulatedStore

from agentkit import execute
from agentkit.execute import Calls
from agentkit.store import Lines, RunRow, missing_of
from agentkit.transcript import Transcript


@bug
def what_was_rescued_is_never_taken_in(patch: Patch) -> None:
    patch.setattr(SimulatedStore, "recover", lambda store, run_id: None)


@bug
def what_was_rescued_is_removed_before_it_is_taken_in(patch: Patch) -> None:
    recover = SimulatedStore.recover

    def recovered(store: SimulatedStore, run_id: str) -> None:
        if kept := store.disk.rescued.pop(run_id, None):
            store.on_taken_in()
            store.disk.rescued[run_id] = kept
        recover(store, run_id)

    patch.setattr(SimulatedStore, "recover", recovered)


@bug
def what_was_rescued_is_taken_in_again(patch: Patch) -> None:
    def all_missing(known: RunRow, row: RunRow, lines: Lines, stored: Sequence[bytes]) -> tuple[Lines, Lines]:
        return (lines, []) if row.epoch == known.epoch else missing_of(known, row, lines, stored)

    patch.setattr(simulated_store, "missing_of", all_missing)


@bug
def what_was_rescued_is_taken_into_a_run_that_others_have_taken_up(patch: Patch) -> None:
    def any_missing(known: RunRow, row: RunRow, lines: Lines, stored: Sequence[bytes]) -> tuple[Lines, Lines]:
        missing, others = missing_of(known, row, lines, stored)
        return ([*missing, *others], []) if row.epoch != known.epoch else (missing, others)

    patch.setattr(simulated_store, "missing_of", any_missing)


@bug
def what_was_rescued_and_fits_nowhere_is_dropped(patch: Patch) -> None:
    patch.setattr(simulated_store, "missing_of", lambda *given: (missing_of(*given)[0], []))


@bug
def an_approval_counts_for_ever(patch: Patch) -> None:
    patch.setattr(Calls, "_now", lambda calls: 0.0)


@bug
def when_an_approval_is_over_is_forgotten_where_it_is_read_again(patch: Patch) -> None:
    load = Transcript.load.__func__  # type: ignore[attr-defined]

    def loaded(kind: type[Transcript], dump: Any) -> Transcript:
        log: Transcript = load(kind, dump)
        for call_id, call in log.calls.items():
            if call.decision:
                log.calls[call_id] = replace(call, decision=replace(call.decision, until=None))
        return log

    patch.setattr(Transcript, "load", classmethod(loaded))


@bug
def nobody_looks_whether_an_approval_is_over_while_its_call_waits(patch: Patch) -> None:
    needs_approval, seen = execute.needs_approval, []

    async def asked(tool: Any, call: Any, *given: Any) -> bool:
        if any(call is other for other in seen):
            return False
        seen.append(call)
        return await needs_approval(tool, call, *given)

    patch.setattr(execute, "needs_approval", asked)
