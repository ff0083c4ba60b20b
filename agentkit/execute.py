"""Runs the calls of a run: validate, hold or allow, record, start, time out, cancel, collect. Concurrently."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from agentkit.background import Background
from agentkit.errors import ToolError
from agentkit.events import Event, ToolCall, ToolHeld, ToolProgress, ToolResult
from agentkit.messages import Block, copy_json, encode
from agentkit.settings import Limits
from agentkit.tool_results import as_content, as_text
from agentkit.tools import RunContext, Tool
from agentkit.transcript import Call, Outcome, Transcript

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

__all__ = ["Calls"]

_Job: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
_logger = logging.getLogger("agentkit.tools")
_CODE_WAITS = 240.0
"""Seconds that a call from code may take, results on their way included: after 270 the code gets a TimeoutError.
Source: messages-api.md section 11."""
_MAY_HAVE_RUN = "The outcome is unknown: it may or may not have taken effect. Check before repeating it."


@dataclass(slots=True)
class _Ended:
    """How a tool ended, before it is written down."""

    outcome: Outcome
    content: str | list[Block]
    seconds: float = 0.0


@dataclass(slots=True)
class _Early:
    """A call that started while the reply still streamed: used only if its turn is committed."""

    block: Block
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    ready: anyio.Event = field(default_factory=anyio.Event)
    ended: _Ended = field(init=False)  # when it is ready


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
    ) -> None:
        self._transcript = transcript
        self._tools = tools
        self._available = tools if available is None else available
        self._deps = deps
        self._timeout = timeout
        self._deadline = deadline
        self._clock = clock
        self._slots = anyio.Semaphore(limits.max_parallel_tools, fast_acquire=True)
        # Threads that were given up keep their place until they end, so there are more than slots.
        self._threads = anyio.CapacityLimiter(4 * limits.max_parallel_tools)
        self._early: dict[str, _Early] = {}
        self._answer_by = inf  # what code waits for
        self._background: Background | None = None
        self._group: TaskGroup | None = None
        self._jobs: list[_Job] = []  # until the group is open
        self._events: deque[Event] = deque()
        self._wake = anyio.Event()

    def offer(self, block: Block) -> None:
        """Starts a complete `tool_use` of a turn that still streams, if it is safe to: a valid call of a read tool."""
        tool = self._tools.get(str(block.get("name")))
        if tool is None or not tool.is_read or tool.needs_approval or block.get("toolset_name"):
            return
        try:
            arguments = tool.validate(block.get("input"))
        except ToolError:
            return
        early = self._early[str(block.get("id"))] = _Early(block)
        self._submit(partial(self._run_early, early, tool, arguments))

    def forget_early(self) -> None:
        """Stops what was started for a turn that failed, or that runs no calls."""
        for early in self._early.values():
            early.scope.cancel()
        self._early.clear()

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
                self._submit(partial(self._run, call))
        for members in toolsets.values():
            self._submit(partial(self._run_in_order, members))
        left = len(calls)
        while left:
            event = await self._next_event()
            left -= isinstance(event, ToolResult | ToolHeld)
            yield event
        self._early.clear()
        self._answer_by = inf

    async def close(self) -> None:
        """Cancels what still runs and waits for it to be written down."""
        if self._background:
            background, self._background = self._background, None
            await background.stop()

    def _submit(self, job: _Job) -> None:
        if self._group is not None:
            self._group.start_soon(job)
            return
        self._jobs.append(job)
        if self._background is None:
            self._background = Background(self._work)

    async def _work(self) -> None:
        try:
            async with anyio.create_task_group() as self._group:
                for job in self._jobs:
                    self._group.start_soon(job)
                await anyio.sleep_forever()
        finally:
            self._group = None
            self._wake.set()

    async def _next_event(self) -> Event:
        # Not a memory object stream: that costs a turn of the event loop for every event.
        while not self._events:
            if self._background is None or self._background.error is not None:
                raise (self._background and self._background.error) or RuntimeError("the run's tools were stopped")
            self._wake = anyio.Event()
            await self._wake.wait()
        return self._events.popleft()

    async def _run_in_order(self, calls: Sequence[Call]) -> None:
        """Calls of one toolset: what follows a failure is not run. Source: messages-api.md section 9."""
        for call in calls:
            before = self._members_before(call)
            if failed := [other for other in before if other.outcome not in (None, "done")]:
                text = f"Not executed: {failed[0].block.get('name')}, an earlier call of this toolset, did not succeed."
                self._end(call, _Ended("not_run", text))
            elif call.decision is None and any(other.state == "held" for other in before):
                self._hold(call)
            else:
                await self._run(call)

    def _members_before(self, call: Call) -> list[Call]:
        earlier = takewhile(lambda other: other.call_id != call.call_id, self._transcript.calls.values())
        return [other for other in earlier if other.block.get("toolset_name") == call.block["toolset_name"]]

    async def _run(self, call: Call) -> None:
        """One call, from where its entries say it is to its end."""
        tool = self._tools.get(str(call.block.get("name")))
        decision = call.decision
        if decision and decision.action == "deny":
            self._end(call, _Ended("denied", as_content(f"The user declined this call. {decision.reason}".strip())))
            return
        if tool is None:
            self._end(call, _Ended("failed", self._unknown_tool(str(call.block.get("name")))))
            return
        if call.state == "started" and not (tool.is_read or tool.idempotent):
            self._end(call, _Ended("unknown", f"The process stopped while this call ran. {_MAY_HAVE_RUN}"))
            return
        try:
            arguments = tool.validate(_input_of(call))
            held = decision is None and call.state == "open" and await self._needs_approval(tool, call, arguments)
        except ToolError as error:
            self._end(call, _Ended("failed", _broken_input(call) or as_content(error.content)))
            return
        if held:
            self._hold(call)
            return
        tool_use_id = str(call.block["id"])
        early = self._early.get(tool_use_id)
        if early and early.block == call.block:  # it has a slot, or waits for one
            await self._run_started(call, partial(self._ended_early, early))
            return
        async with self._slots:
            await checkpoint_if_cancelled()
            await self._run_started(call, partial(self._call, tool, call.call_id, call.block, arguments))

    async def _run_started(self, call: Call, enter: Callable[[], Awaitable[_Ended]]) -> None:
        self._transcript.start(call)
        self._emit(ToolCall(call.call_id, str(call.block.get("name")), copy_json(_input_of(call))))
        began = anyio.current_time()
        try:
            ended = await enter()
        except anyio.get_cancelled_exc_class():
            text = f"The run was stopped while this call ran. {_MAY_HAVE_RUN}"
            self._end(call, _Ended("cancelled", text, anyio.current_time() - began))
            raise
        self._end(call, ended)

    async def _run_early(self, early: _Early, tool: Tool, arguments: dict[str, Any]) -> None:
        id_ = str(early.block["id"])
        with early.scope:
            async with self._slots:
                await checkpoint_if_cancelled()
                early.ended = await self._call(tool, self._transcript.call_id(id_), early.block, arguments)
            early.ready.set()

    async def _ended_early(self, early: _Early) -> _Ended:
        await early.ready.wait()
        return early.ended

    async def _call(self, tool: Tool, call_id: str, block: Block, arguments: dict[str, Any]) -> _Ended:
        """Enters the tool. Whatever it does, one end comes out, unless the run itself is cancelled."""
        began = anyio.current_time()
        seconds = self._timeout if tool.timeout is None else tool.timeout
        if from_code := _is_from_code(block):
            seconds = min(seconds, _CODE_WAITS, max(self._answer_by - began, 0))
        progress = partial(self._progress, call_id, tool.name)
        ctx = RunContext(
            deps=self._deps,
            run_id=self._transcript.run_id,
            call_id=call_id,
            tool_use_id=str(block["id"]),
            tool_name=tool.name,
            deadline=min(began + seconds, self._deadline),
            report=progress,
        )
        with anyio.CancelScope(deadline=began + seconds) as scope:
            ended = await self._enter(tool, ctx, arguments, progress, whole=from_code)
        if scope.cancelled_caught:
            ended = _Ended("timed_out", f"Timed out after {seconds:.6g} seconds. {_MAY_HAVE_RUN}")
        ended.seconds = anyio.current_time() - began
        return ended

    async def _enter(
        self,
        tool: Tool,
        ctx: RunContext[Any],
        arguments: dict[str, Any],
        progress: Callable[[str], None],
        *,
        whole: bool,
    ) -> _Ended:
        try:
            content = await tool.run(ctx, arguments, threads=self._threads, progress=progress, whole=whole)
            if unknown := self._unknown_references(content):
                return _Ended(
                    "failed", f"The result refers to tools that this run does not have: {', '.join(unknown)}."
                )
            return _Ended("done", content)
        except ToolError as error:
            return _Ended("failed", error.content)
        except (SystemExit, KeyboardInterrupt):
            return _Ended("failed", "The tool tried to exit the process.")
        except BaseException as error:
            await checkpoint_if_cancelled()  # ours goes on; it may have come wrapped in a group
            if isinstance(error, anyio.get_cancelled_exc_class()):
                return _Ended("failed", f"The tool cancelled itself. {_MAY_HAVE_RUN}")
            # The text of an exception can hold secrets, so the model gets its class alone.
            _logger.warning("tool %s failed: %s", tool.name, type(error).__name__, exc_info=error)
            return _Ended("failed", f"The tool failed with {type(error).__name__}.")

    async def _needs_approval(self, tool: Tool, call: Call, arguments: dict[str, Any]) -> bool:
        if not callable(tool.needs_approval):
            return tool.needs_approval
        try:
            verdict = tool.needs_approval(**arguments)
            return bool(await verdict if isinstance(verdict, Awaitable) else verdict)
        except BaseException as error:
            await checkpoint_if_cancelled()
            _logger.warning("needs_approval of %s failed", tool.name, exc_info=error)
            return True

    def _hold(self, call: Call) -> None:
        self._transcript.hold(call)
        self._emit(ToolHeld(call.call_id, str(call.block.get("name")), copy_json(call.block.get("input"))))

    def _unknown_references(self, content: str | list[Block]) -> list[str]:
        """Source: messages-api.md section 10.4: the API refuses the whole request for one."""
        blocks = [] if isinstance(content, str) else content
        named = [str(block["tool_name"]) for block in blocks if block.get("type") == "tool_reference"]
        return [name for name in named if name not in self._available]

    def _end(self, call: Call, ended: _Ended) -> None:
        content = ended.content
        if _is_from_code(call.block):  # code may parse it, so nothing is added
            content = as_text(content)
        elif call.decision and call.decision.action == "edit" and ended.outcome != "unknown":
            notice = {"type": "text", "text": f"The user changed the input to {encode(call.decision.input).decode()}."}
            blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
            content = [notice, *(block for block in blocks if block["type"] != "text" or block["text"].strip())]
        block: Block = {"type": "tool_result", "tool_use_id": call.block["id"], "content": content}
        if "toolset_name" in call.block:
            block["toolset_name"] = call.block["toolset_name"]
        if ended.outcome != "done":
            block["is_error"] = True
        self._transcript.end(call, ended.outcome, block, self._clock())
        size = len(content.encode() if isinstance(content, str) else encode(content))
        name = str(call.block.get("name"))
        self._emit(ToolResult(call.call_id, name, ended.outcome, ended.seconds, size, copy_json(block)))

    def _emit(self, event: Event) -> None:
        self._events.append(event)
        self._wake.set()

    def _progress(self, call_id: str, name: str, text: str) -> None:
        call = self._transcript.calls.get(call_id)
        if call and call.state == "started":  # what runs early has no turn yet, and a thread may outlive its call
            self._emit(ToolProgress(call_id, name, text))

    def _unknown_tool(self, name: str) -> str:
        import difflib

        near = difflib.get_close_matches(name, self._tools, n=3)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(self._tools) or 'none'}."
        return f"There is no tool {name!r}. {hint}"


def _is_from_code(block: Block) -> bool:
    """Whether code that the API runs has made the call. Source: messages-api.md section 11."""
    caller = block.get("caller")
    return isinstance(caller, dict) and str(caller.get("type")).startswith("code_execution_")


def _input_of(call: Call) -> Any:
    """What a call runs with: the model's input, or the one that a human put in its place."""
    edited = call.decision.input if call.decision else None
    return call.block.get("input") if edited is None else edited


def _broken_input(call: Call) -> str | None:
    """What is said of streamed input that is no JSON. Source: messages-api.md section 8."""
    given = _input_of(call)
    return encode({"INVALID_JSON": given}).decode() if isinstance(given, str) else None
