"""`Run`: a run that goes on, as its consumer sees it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import anyio

from agentkit.background import Background, stoppable
from agentkit.budget import Budget, Shared
from agentkit.call import Approve
from agentkit.client import Client
from agentkit.errors import ConfigurationError, JournalError, LeaseLost
from agentkit.events import ContentBlockStop, Event, RunEnd, ServerToolCall, ServerToolResult, TextDelta, TurnStart
from agentkit.execute import Calls
from agentkit.journal import Journal
from agentkit.lease import RENEWED_EVERY, Lease
from agentkit.loop import loop
from agentkit.prices import require_price
from agentkit.redaction import logger_of, redacted
from agentkit.request import Request
from agentkit.result import RunResult
from agentkit.settings import Limits
from agentkit.step import Finish
from agentkit.tool_results import Keep
from agentkit.tools import RunContext, Tool
from agentkit.transcript import Transcript

if TYPE_CHECKING:
    from agentkit.output import Output
    from agentkit.policy import Policy

__all__ = ["Run"]

_logger = logger_of("agentkit.run")


class Run:
    """A run: iterate over its events, then read `result`.

    No cancel scope or task group is open between two events, so a consumer may leave at any of them. Leaving the
    context manager ends the run and writes down how its calls ended.

    Attributes:
        run_id: Names the run.
        result: The `RunResult`, set when the run has ended, in whatever way.
    """

    result: RunResult

    def __init__(
        self,
        transcript: Transcript,
        *,
        client: Client,
        request: Request,
        limits: Limits,
        tools: Mapping[str, Tool],
        deps: Any,
        output: Output[Any] | None,
        approve: Approve | None = None,
        journal: Journal | None = None,
        keep: Keep | None = None,
        session: str | None = None,
        policies: Sequence[Policy] = (),
        within: RunContext[Any] | None = None,
    ) -> None:
        self.run_id = transcript.run_id
        self._transcript = transcript
        self._client = client
        self._request = request
        self._limits = limits
        self._tools = tools
        self._deps = deps
        self._output = output
        self._approve = approve
        self._journal = journal
        self._keep = keep
        self._session = session
        self._policies = policies
        self._within = within
        self._lease: Lease | None = None
        self._events: AsyncGenerator[Event | Finish] | None = None
        self._stopped: Finish | None = None
        self._paused: Finish | None = None
        self._has_ended = False

    async def __aenter__(self) -> Self:
        if self._events is not None:
            raise ConfigurationError("a run is entered once: begin another, or resume it")
        budget = self._new_budget()
        if not self._journal and (tool := next((tool for tool in self._tools.values() if tool.transactional), None)):
            raise ConfigurationError(f"{tool.name} is transactional, so its run needs a journal: Agent(journal=…)")
        if self._journal:
            try:
                self._lease = await self._journal.take_up(self._transcript, self._session)
            except BaseException:
                budget.close()
                raise
        self._budget = budget
        began = anyio.current_time() - self._transcript.elapsed

        def clock() -> float:
            return anyio.current_time() - began

        self._clock = clock
        self._deadline = min(began + self._limits.max_seconds, _deadline_of(self._within))
        shared = Shared(
            client=self._client,
            journal=self._journal,
            approve=self._approve,
            budget=budget,
            policies=self._policies,
        )
        calls = Calls(
            self._transcript,
            self._tools,
            deps=self._deps,
            limits=self._limits,
            timeout=self._client.timeouts.tool,
            deadline=self._deadline,
            clock=clock,
            available=_offered(self._request),
            approve=self._approve,
            lease=self._lease,
            keep=self._keep,
            shared=shared,
            policies=self._policies,
        )
        send, request = self._client.send, self._request
        self._events = loop(self._transcript, send, calls, request, budget, clock, self._output, self._lease)
        self._step = stoppable()
        # One timer for the run: a deadline for each event would cost a fifth of what an event costs.
        self._timer = Background(self._watch)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._timer.stop()
        await self._close()
        await self._settle(Finish("cancelled", "the consumer left before the end"))

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        if self._has_ended:
            raise StopAsyncIteration
        events = self._events
        if events is None or self._step.is_waiting:
            events = self._opened()
        if self._stopped is None:
            try:
                item = await self._step.wait(anext(events))
            except BaseException as error:
                await self._fail(error)
                raise
            if item is not None and not self._pauses_at(item):
                return await self._end(item) if isinstance(item, Finish) else item
        return await self._end(await self._give_up())

    def _new_budget(self) -> Budget:
        above = self._within.shared.budget if self._within else None
        provider = self._client.provider.name
        budget = Budget(self._limits, self._transcript, provider, above)
        if budget.counts_money:
            require_price(self._request.model, provider)
        return budget

    async def drain(self) -> RunResult:
        """Runs to the end with nobody to watch, where one cancel scope does for all events."""
        async with self:
            try:
                finish = await self._step.wait(self._finish_of(self._opened()))
            except BaseException as error:
                await self._fail(error)
                raise
            await self._settle(finish or await self._give_up())
        return self.result

    @property
    def text_stream(self) -> AsyncIterator[str]:
        """The model's text as it comes, with an empty line where something else stood between two texts.

        Text of a turn that was restarted comes again: the events tell.
        """
        return _Text(self)

    def cancel(self) -> None:
        """Ends the run with the outcome `cancelled`, at once: to be called on the run's event loop."""
        self._stop(Finish("cancelled"))

    def pause(self, why: str | None = None, *, at_once: bool = False) -> None:
        """Ends the run with the outcome `paused` before its next request, when the calls of the turn have ended.

        `agent.resume` goes on with it, in any process. To be called on the run's event loop.

        Args:
            why: Told with the outcome.
            at_once: Cancels what goes on now: calls that have begun end as `cancelled`, and a reply is lost.
        """
        self._paused = Finish("paused", why)
        if at_once:
            self._stop(self._paused)

    def _pauses_at(self, item: Event | Finish) -> bool:
        if self._paused and isinstance(item, TurnStart):
            self._stopped = self._stopped or self._paused
            return True
        return False

    async def _finish_of(self, events: AsyncGenerator[Event | Finish]) -> Finish | None:
        while not isinstance(item := await anext(events), Finish):
            if self._pauses_at(item):
                return None
        return item

    def _stop(self, finish: Finish) -> None:
        self._stopped = self._stopped or finish
        if self._events is not None:
            self._step.stop()

    async def _watch(self) -> None:
        """Ends the run at its deadline, and keeps it until then."""
        async with anyio.create_task_group() as tasks:
            if self._lease:
                tasks.start_soon(self._renew, self._lease)
            await anyio.sleep_until(self._deadline)
            self._stop(Finish("max_seconds", "the time is up"))
            tasks.cancel_scope.cancel()

    async def _renew(self, lease: Lease) -> None:
        while True:
            await anyio.sleep(RENEWED_EVERY)
            try:
                await lease.renew()
            except LeaseLost as error:
                self._stop(Finish("error", str(error)))  # which its end raises
                return
            except JournalError as error:  # it may pass; if it does not, the next write tells
                _logger.warning("%s", error)

    def _opened(self) -> AsyncGenerator[Event | Finish]:
        if self._events is None:
            raise ConfigurationError("a run is a context manager: `async with agent.stream(…) as run:`")
        if self._step.is_waiting:
            raise ConfigurationError("another task waits for the next event of this run: only one at a time can")
        return self._events

    async def _fail(self, error: BaseException) -> None:
        finish = Finish("cancelled", "by the caller") if _is_cancel(error) else Finish("error", redacted(str(error)))
        with suppress(JournalError):  # the first error is the one to tell
            await self._settle(finish)
        if hasattr(error, "result"):
            error.result = self.result

    async def _give_up(self) -> Finish:
        """Ends what a run that was cancelled, or has used up its time, had begun."""
        await self._close()
        return self._stopped or Finish("cancelled")

    async def _close(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._opened().aclose()

    async def _settle(self, finish: Finish) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        self.result = RunResult(self._transcript, finish, self._output, self._clock())
        self._budget.close()
        if self._lease:
            # In a task of its own: asyncio's own cancellation heeds no shield.
            release = Background(partial(self._lease.release, finish.reason, finish.detail))
            try:
                await release.join()
            except JournalError as error:
                error.result = self.result
                raise

    async def _end(self, finish: Finish) -> RunEnd:
        await self._settle(finish)
        result = self.result
        return RunEnd(
            finish=finish.reason,
            detail=finish.detail,
            text=result.partial_text,
            citations=tuple(result.citations),
            usage=result.usage,
            cost=result.cost,
            turns=result.turns,
            seconds=result.seconds,
            run_id=self.run_id,
        )


def _deadline_of(within: RunContext[Any] | None) -> float:
    return inf if within is None or within.deadline is None else within.deadline


def _offered(request: Request) -> Collection[str]:
    """The names that a tool may refer to: those of the request, and any name where an MCP server has its own."""
    if any(tool.get("type") == "mcp_toolset" for tool in request.tools):
        return _AnyName()
    return {str(tool.get("name")) for tool in request.tools}


class _AnyName(frozenset[str]):
    def __contains__(self, name: object) -> bool:
        return True


class _Text:
    # Not a generator: trio warns of those that are left before their end.
    def __init__(self, run: Run) -> None:
        self._run = run
        self._said = False
        self._between = ""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        async for event in self._run:
            if isinstance(event, TextDelta):
                between, self._between, self._said = self._between, "", True
                return between + event.text
            if self._said and _is_no_text(event):
                self._between = "\n\n"
        raise StopAsyncIteration


def _is_no_text(event: Event) -> bool:
    """Whether a content block that is no text has come, or one of a server tool."""
    if isinstance(event, ContentBlockStop):
        return event.block.get("type") != "text"
    return isinstance(event, ServerToolCall | ServerToolResult)


def _is_cancel(error: BaseException) -> bool:
    """Also of a group, which is how nurseries of trio pass on a cancellation."""
    cancelled = anyio.get_cancelled_exc_class()
    if isinstance(error, BaseExceptionGroup):
        return error.split(cancelled)[1] is None
    return isinstance(error, cancelled)
