"""Runs the calls of a run: validate, hold or allow, record, start, time out, cancel, collect. Concurrently."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import takewhile
from math import inf
from typing import TYPE_CHECKING, Any

import anyio
from anyio import from_thread, to_thread
from anyio.lowlevel import checkpoint_if_cancelled

from agentkit.budget import Shared
from agentkit.call import Approve, Call
from agentkit.early import EarlyCalls
from agentkit.errors import JournalError, ToolError
from agentkit.events import Event, ToolCall, ToolHeld, ToolJudged, ToolProgress, ToolResult
from agentkit.invocation import (
    MAY_HAVE_RUN,
    Ended,
    answer_of,
    broken_input,
    input_of,
    invoke,
    invoke_within,
    is_denied,
    is_from_code,
    left_behind,
    needs_approval,
    result_of,
    unknown_tool,
)
from agentkit.jobs import Jobs
from agentkit.lease import Lease
from agentkit.messages import Block, copy_json
from agentkit.redaction import logger_of
from agentkit.repeats import digest_of
from agentkit.settings import Limits
from agentkit.taint import TAINTS, taint_of
from agentkit.tool_results import Keep, as_content
from agentkit.tools import RunContext, Tool
from agentkit.transcript import Transcript

if TYPE_CHECKING:
    from agentkit.policy import Policy, Verdict

__all__ = ["Calls"]

_logger = logger_of("agentkit.tools")
_CODE_WAITS = 240.0
"""Seconds that a call from code may take, results on their way included: after 270 the code gets a TimeoutError.
Source: messages-api.md section 11."""


class Calls:
    """The calls of one run, in one task of the run's own, so that a consumer may leave at any event.

    Args:
        transcript: Where each call writes its entries.
        tools: By name.
        deps: For `RunContext`.
        limits: Of the run.
        timeout: Seconds for a tool that declares none.
        deadline: When the run ends, on anyio's clock.
        clock: Active seconds since the run began.
        available: All names that the request offers, for results that refer to tools; None: those of `tools`.
        approve: Decides on calls that need it, while the run goes on; None: they are held.
        lease: Where the log is kept.
        keep: Where results go that are too long for the model.
        shared: For the agents that tools run.
        policies: What may run: that of the agent, and those of the runs above this one.
    """

    def __init__(
        self,
        transcript: Transcript,
        tools: Mapping[str, Tool],
        *,
        deps: Any,
        limits: Limits,
        timeout: float,
        deadline: float,
        clock: Callable[[], float],
        available: Collection[str] | None = None,
        approve: Approve | None = None,
        lease: Lease | None = None,
        keep: Keep | None = None,
        shared: Shared | None = None,
        policies: Sequence[Policy] = (),
    ) -> None:
        self._transcript = transcript
        self._tools = tools
        self._available = tools if available is None else available
        self._deps = deps
        self._approve = approve
        self._lease, self._keep = lease, keep
        self._shared, self._policies = shared, policies
        self._timeout, self._deadline, self._clock = timeout, deadline, clock
        self._slots = anyio.Semaphore(limits.max_parallel_tools, fast_acquire=True)
        # More than slots: on trio a thread that is given up keeps its place until it ends, on asyncio it frees it then.
        self._threads = anyio.CapacityLimiter(4 * limits.max_parallel_tools)
        self._answer_by = inf  # what code waits for
        self._jobs = Jobs()
        self._early = EarlyCalls(self._jobs)
        self._unsaid: dict[str, str] = {}  # the last progress of calls that are early

    def offer(self, block: Block) -> None:
        """Starts a complete `tool_use` of a turn that still streams, if it is safe to: a valid call of a read tool."""
        tool = self._tools.get(str(block.get("name")))
        if tool is None or not tool.is_read or tool.needs_approval or block.get("toolset_name"):
            return
        try:
            arguments = tool.validate(block.get("input"))
        except ToolError:
            return
        if any(policy.judge(tool, block.get("input"), TAINTS).action != "allow" for policy in self._policies):
            return
        call = Call(self._transcript.call_id(str(block.get("id"))), block)  # once the turn is taken, the id is another
        self._early.start(block, partial(self._in_slot, call, tool, arguments))

    def forget_early(self) -> None:
        """Stops what was started for a turn that failed, or that runs no calls."""
        self._early.stop()
        self._unsaid.clear()

    async def run(self, calls: Sequence[Call]) -> AsyncGenerator[Event]:
        """Runs `calls` at the same time; each writes its own entries, and its events come as they happen.

        Calls of one toolset run one after the other, in the order of the turn.
        """
        self._answer_by = anyio.current_time() + _CODE_WAITS
        toolsets: dict[str, list[Call]] = {}
        for call in calls:
            if toolset := call.block.get("toolset_name"):
                toolsets.setdefault(str(toolset), []).append(call)
            else:
                self._jobs.start(partial(self._run, call))
        for members in toolsets.values():
            self._jobs.start(partial(self._run_in_order, members))
        left = len(calls)
        while left:
            event = await self._jobs.next_event()
            left -= isinstance(event, ToolResult | ToolHeld)
            yield event
        self._jobs.check()
        self._early.forget()
        self._answer_by = inf

    async def aclose(self) -> None:
        """Cancels what still runs and waits for it to be written down; what does not end in time is given up."""
        await self._jobs.aclose()

    async def _run_in_order(self, calls: Sequence[Call]) -> None:
        """Calls of one toolset: what follows a failure is not run. Source: messages-api.md section 9."""
        for call in calls:
            before = self._members_before(call)
            if failed := [other for other in before if other.outcome not in (None, "done")]:
                text = f"Not executed: {failed[0].block.get('name')}, an earlier call of this toolset, did not succeed."
                self._end(call, Ended("not_run", text))
            elif call.decision is None and any(other.state == "held" for other in before):
                await self._hold(call)
            else:
                await self._run(call)

    def _members_before(self, call: Call) -> list[Call]:
        earlier = takewhile(lambda other: other.call_id != call.call_id, self._transcript.calls.values())
        return [other for other in earlier if other.block.get("toolset_name") == call.block["toolset_name"]]

    async def _run(self, call: Call) -> None:
        """One call, from where its entries say it is to its end."""
        tool = self._tools.get(str(call.block.get("name")))
        if is_denied(call):
            reason = call.decision.reason if call.decision else ""
            self._end(call, Ended("denied", as_content(f"The user declined this call. {reason}".strip())))
            return
        if tool is None:
            self._end(call, Ended("failed", unknown_tool(str(call.block.get("name")), self._tools)))
            return
        if call.state == "started" and (ended := await self._left_behind(tool, call)):
            await self._show(tool, self._note(call, ended))
            return
        try:
            arguments = tool.validate(input_of(call))
        except ToolError as error:
            self._end(call, Ended("failed", broken_input(call) or as_content(error.content)))
            return
        held = call.state != "started" and await needs_approval(tool, call, arguments, self._now())
        if verdict := self._judged(tool, call):
            asks = verdict.action == "ask" and call.decision is None
            if call.state == "started" and (verdict.action == "deny" or asks):
                self._end(call, Ended("unknown", f"The process stopped while this call ran. {MAY_HAVE_RUN}"))
                return
            if verdict.action == "deny" or (asks and not held and self._approve is None):
                self._end(call, Ended("denied", verdict.refusal))
                return
            held = held or asks
        if held:
            if await self._decided(call, tool):
                await self._run(self._transcript.calls[call.call_id])
            return
        if early := self._early.result_of(call.block):  # it has a slot, or waits for one
            await self._run_started(call, tool, early)
            return
        async with self._slots:
            await checkpoint_if_cancelled()
            over = call.decision and call.state == "held" and await needs_approval(tool, call, arguments, self._now())
            if tool.transactional and self._lease and not over:
                await self._run_within(self._lease, call, tool, arguments)
            elif not over:
                await self._run_started(call, tool, partial(self._call, tool, call, arguments))
        if over:  # its approval, while it waited for its place
            await self._run(call)

    def _judged(self, tool: Tool, call: Call) -> Verdict | None:
        """What the policies say of a call, written down; None without one."""
        if not self._policies:
            return None
        from agentkit.policy import stricter

        taint = self._transcript.taint.words
        verdict = stricter(*(policy.judge(tool, input_of(call), taint) for policy in self._policies))
        said = {"name": tool.name, "action": verdict.action, "rule": verdict.rule, "taint": sorted(taint)}
        self._transcript.append({"entry": "judgement", "call": call.call_id, **said})
        self._jobs.emit(ToolJudged(call.call_id, tool.name, verdict.action, verdict.rule, tuple(sorted(taint))))
        return verdict

    async def _run_started(self, call: Call, tool: Tool, enter: Callable[[], Awaitable[Ended]]) -> None:
        lease = None if tool.is_read else self._lease
        self._transcript.start(call, tool=tool.digest)
        if lease:
            try:
                await lease.commit(True)
                await lease.confirm()
            except BaseException:
                self._end(call, Ended("not_run", "The run was stopped before this call, so it has not run."))
                raise
        call = self._transcript.calls[call.call_id]
        self._jobs.emit(ToolCall(call.call_id, tool.name, copy_json(input_of(call))))
        if said := self._unsaid.pop(call.call_id, ""):
            self._progress(call.call_id, tool.name, said)
        began = anyio.current_time()
        watch = self._jobs.watch(began + self._seconds(tool, call), partial(self._give_up, call, tool))
        try:
            ended = await enter()
            if ended.raised and not watch.is_given_up:
                await checkpoint_if_cancelled()  # our cancellation may have come wrapped in it
        except anyio.get_cancelled_exc_class():
            if not watch.is_given_up:
                text = f"The run was stopped while this call ran. {MAY_HAVE_RUN}"
                self._end(call, Ended("cancelled", text, anyio.current_time() - began))
            raise
        finally:
            self._jobs.unwatch(watch)
        if watch.is_given_up:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self._keep_late, call, tool, ended)
            return
        await self._show(tool, self._note(call, ended))

    async def _run_within(self, lease: Lease, call: Call, tool: Tool, arguments: dict[str, Any]) -> None:
        """A call whose effect and result are written together, or not at all. Source: faults.md section 6."""
        ctx = self._told(tool, call, anyio.current_time() + self._seconds(tool, call))
        self._transcript.start(call, tool=tool.digest)
        self._jobs.emit(ToolCall(call.call_id, tool.name, copy_json(input_of(call))))
        events: list[Event] = []

        def work(transaction: Any) -> None:
            ended = invoke_within(tool, ctx, arguments, transaction)
            from_thread.run_sync(lambda: events.append(self._note(call, ended)))

        try:
            await lease.transact(work)
        except JournalError:
            if events:
                self._transcript.start(call, tool=tool.digest)  # nothing of it has happened
            raise
        self._jobs.emit(events[0])

    async def _in_slot(self, call: Call, tool: Tool, arguments: dict[str, Any]) -> Ended:
        async with self._slots:
            await checkpoint_if_cancelled()
            return await self._call(tool, call, arguments)

    async def _call(self, tool: Tool, call: Call, arguments: dict[str, Any]) -> Ended:
        seconds = self._seconds(tool, call)
        return await invoke(
            tool,
            self._told(tool, call, anyio.current_time() + seconds),
            arguments,
            seconds=seconds,
            threads=self._threads,
            available=self._available,
            whole=is_from_code(call.block),
            keep=self._keep,
            late=partial(self._keep_late, call, tool),
        )

    def _now(self) -> float:
        return self._lease.now() if self._lease else time.time()

    def _seconds(self, tool: Tool, call: Call) -> float:
        """How long a call may run."""
        seconds = self._timeout if tool.timeout is None else tool.timeout
        if is_from_code(call.block):
            return min(seconds, _CODE_WAITS, max(self._answer_by - anyio.current_time(), 0))
        return seconds

    def _give_up(self, call: Call, tool: Tool, is_late: bool) -> None:
        """Ends a call whose tool does not stop. Source: faults.md, C2, X8 and X20."""
        _logger.warning("tool %s goes on though it was cancelled: its call is given up", tool.name)
        if is_late:
            text = f"Timed out after {self._seconds(tool, call):.6g} seconds, and did not stop then. {MAY_HAVE_RUN}"
            self._jobs.start(partial(self._show, tool, self._note(call, Ended("timed_out", text))))
        else:
            text = f"The run was stopped while this call ran, and it did not stop then. {MAY_HAVE_RUN}"
            self._end(call, Ended("cancelled", text))

    def _keep_late(self, call: Call, tool: Tool, ended: Ended) -> None:
        """What a call has come to after it was given up, never part of the log. In a thread, perhaps after the run."""
        _logger.info("%s (%s) has ended (%s) after its call was given up", tool.name, call.call_id, ended.outcome)
        if self._lease and not tool.is_read:
            self._lease.keep_late(call.call_id, ended.outcome, result_of(call, ended, repeated=False))

    def _told(self, tool: Tool, call: Call, deadline: float) -> RunContext[Any]:
        known = self._transcript.calls.get(call.call_id)  # what runs early has no turn yet
        return RunContext(
            deps=self._deps,
            run_id=self._transcript.run_id,
            call_id=call.call_id,
            tool_use_id=str(call.block["id"]),
            tool_name=tool.name,
            input=input_of(call),
            attempt=max(known.attempts, 1) if known else 1,
            deadline=min(deadline, self._deadline),
            report=partial(self._progress, call.call_id, tool.name),
            shared=self._shared and replace(self._shared, asked=Counter(), taint=self._transcript.taint.all),
        )

    async def _left_behind(self, tool: Tool, call: Call) -> Ended | None:
        seconds = self._seconds(tool, call)
        ctx = self._told(tool, call, anyio.current_time() + seconds)
        return await left_behind(tool, ctx, call, seconds=seconds, threads=self._threads)

    async def _decided(self, call: Call, tool: Tool) -> bool:
        """Whether the run's own approver has decided on a call; else it is held."""
        if self._approve is None:
            await self._hold(call)
            return False
        self._transcript.hold(call, tool=tool.digest)
        try:
            decision = await answer_of(self._approve, call.pending(), threads=self._threads)
            self._transcript.decide(call.call_id, decision)
            return True
        except Exception as error:
            _logger.warning("approve failed for %s", tool.name, exc_info=error)
        await self._hold(call)
        return False

    async def _hold(self, call: Call) -> None:
        name, now = str(call.block.get("name")), self._transcript.calls[call.call_id]
        if now.state != "held" or now.decision:  # a decision on another tool of this name does not count
            tool = self._tools.get(name)
            self._transcript.hold(call, **({"tool": tool.digest} if tool else {}))
        if self._lease:
            await self._lease.commit(False)
        self._jobs.emit(ToolHeld(call.call_id, name, copy_json(call.block.get("input"))))

    async def _show(self, tool: Tool, event: Event) -> None:
        """Stored first, visible second: how a call ended that may have had an effect."""
        if self._lease and not tool.is_read:
            with anyio.CancelScope(shield=True):
                await self._lease.commit_result()
        self._jobs.emit(event)

    def _end(self, call: Call, ended: Ended) -> None:
        self._jobs.emit(self._note(call, ended))

    def _note(self, call: Call, ended: Ended) -> Event:
        """Writes down how a call ended."""
        name = str(call.block.get("name"))
        tool = self._tools.get(name)
        polls = tool and tool.polls  # so that it is unlike any other call
        digest = call.call_id if polls else digest_of(name, input_of(call), ended.content)
        block = result_of(call, ended, repeated=self._transcript.repeats.are_noticed(digest))
        entered = tool if self._transcript.calls[call.call_id].state == "started" else None
        about = {"taint": taint} if entered and (taint := sorted(taint_of(entered.effect))) else {}
        self._transcript.end(call, ended.outcome, block, self._clock(), digest=digest, **about)
        return ToolResult.of(call.call_id, name, ended.outcome, ended.seconds, block)

    def _progress(self, call_id: str, name: str, text: str) -> None:
        call = self._transcript.calls.get(call_id)
        if call is None:  # what runs early has no turn yet
            self._unsaid[call_id] = text
        elif call.state == "started":  # a thread may outlive its call
            self._jobs.emit(ToolProgress(call_id, name, text))
