"""Planted bugs of limits, approvals, tools of another version, and conversations."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from planting import Patch, bug

from agentkit import agent, execute, step, transcript
from agentkit.budget import Budget, Shared
from agentkit.journal import Journal
from agentkit.lease import Lease
from agentkit.messages import Usage
from agentkit.spending import Spending
from agentkit.transcript import Transcript


@bug
def limits_begin_anew_at_each_resume(patch: Patch) -> None:
    def on_run(log: Transcript, entry: dict[str, Any]) -> None:
        Transcript._on_run(log, entry)
        log.turns = log.tool_calls = 0
        log.spending = Spending()

    patch.setitem(transcript._FOLDS, "run", on_run)


@bug
def one_turn_too_many_is_asked_for(patch: Patch) -> None:
    call_model = step._call_model

    def later(log: Transcript, limits: Any, elapsed: float) -> Any:
        return call_model(log, replace(limits, max_turns=limits.max_turns + 1), elapsed)

    patch.setattr(step, "_call_model", later)


@bug
def nobody_counts_calls(patch: Patch) -> None:
    call_tools = step._call_tools

    def uncounted(log: Transcript, unended: Any, limits: Any, elapsed: float) -> Any:
        return call_tools(log, unended, replace(limits, max_tool_calls=1000), elapsed)

    patch.setattr(step, "_call_tools", uncounted)


@bug
def tokens_from_the_cache_are_not_counted(patch: Patch) -> None:
    patch.setattr(Usage, "total_tokens", property(lambda usage: usage.input_tokens + usage.output_tokens))


@bug
def a_follow_up_is_written_into_the_run_before(patch: Patch) -> None:
    begin = agent.begin

    def begun(log: Transcript, run_id: str, prompt: Any, **about: Any) -> None:
        begin(log, log.run_id or run_id, prompt, **about)

    patch.setattr(agent, "begin", begun)


@bug
def a_run_that_goes_on_is_continued_by_another(patch: Patch) -> None:
    patch.setattr(Journal, "is_live", lambda journal, row: False)


@bug
def an_approval_counts_for_a_tool_that_was_changed(patch: Patch) -> None:
    needs_approval = execute.needs_approval

    async def asked(tool: Any, call: Any, *given: Any) -> bool:
        return call.decision is None and await needs_approval(tool, call, *given)

    patch.setattr(execute, "needs_approval", asked)


@bug
def an_approval_counts_for_all_calls_of_its_tool(patch: Patch) -> None:
    needs_approval, allowed = execute.needs_approval, set()

    async def asked(tool: Any, call: Any, *given: Any) -> bool:
        if call.decision is not None:
            allowed.add(tool.name)
        return tool.name not in allowed and await needs_approval(tool, call, *given)

    patch.setattr(execute, "needs_approval", asked)


@bug
def an_approval_counts_for_the_calls_beside_it(patch: Patch) -> None:
    decide = Transcript.decide

    def decided(log: Transcript, call_id: str, decision: Any) -> None:
        for call in log.held():
            if decision.action == "allow" or call.call_id == call_id:
                decide(log, call.call_id, decision)

    patch.setattr(Transcript, "decide", decided)


@bug
def a_tool_that_was_changed_repeats_what_was_begun(patch: Patch) -> None:
    left_behind = execute.left_behind

    async def left(tool: Any, ctx: Any, call: Any, **how: Any) -> Any:
        return await left_behind(tool, ctx, replace(call, tool=tool.digest), **how)

    patch.setattr(execute, "left_behind", left)


@bug
def an_agent_that_was_asked_begins_anew_after_a_crash(patch: Patch) -> None:
    patch.setattr(Shared, "run_id", lambda shared, key, question: os.urandom(16).hex())


@bug
def what_agents_below_have_used_is_forgotten(patch: Patch) -> None:
    patch.setattr(Budget, "close", lambda budget: None)


@bug
def what_comes_late_is_dropped(patch: Patch) -> None:
    patch.setattr(Lease, "keep_late", lambda lease, *given: None)
