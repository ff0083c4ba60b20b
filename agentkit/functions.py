"""Enters the function of a tool, async or sync, also one that yields, and gives what comes out as content."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import aclosing, closing
from functools import partial
from typing import Any, TypeAlias, cast

import anyio

from agentkit.errors import ToolError
from agentkit.messages import Block
from agentkit.redaction import redacted, without_begun
from agentkit.tool_results import Keep, Pieces, fitted, is_long, to_content

__all__ = ["Late", "Report", "content_of", "entry_of", "is_async"]

Late: TypeAlias = Callable[["str | list[Block] | BaseException"], None]
_Result: TypeAlias = "tuple[str | list[Block] | None, Any]"


def entry_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function that a call enters: an object's `__call__`, else itself."""
    plain = inspect.isroutine(function) or isinstance(function, partial)
    return function if plain else cast("Any", function).__call__


def is_async(function: Callable[..., Any]) -> bool:
    """Whether a call of it is made on the event loop, and not in a thread."""
    entry = entry_of(function)
    return inspect.iscoroutinefunction(entry) or inspect.isasyncgenfunction(entry)


class Report:
    """Progress and results from wherever the function runs to the task that waits for it, as long as it does.

    Args:
        progress: Called on the task's own thread.
        late: Called in another thread with what a sync function came to after its call was given up: its content, or
            what it raised.
    """

    def __init__(self, progress: Callable[[str], None], late: Late | None = None) -> None:
        self._progress = progress
        self._late = late
        self._thread = threading.get_ident()
        self._handover = threading.Lock()
        self._is_left = False
        self._came: list[_Result | BaseException] = []
        self._begun = ""  # the end of what was yielded, where it may begin a secret

    def __call__(self, text: str) -> None:
        text = redacted(text)
        if threading.get_ident() == self._thread:
            self._progress(text)
        elif not self._is_left:  # or there may be no event loop any more
            anyio.from_thread.run_sync(self._progress, text)

    def keep(self, pieces: Pieces, piece: Any) -> bool:
        """Takes a piece of a generator; false if it is to be stopped."""
        text, self._begun = without_begun(self._begun + pieces.add(piece))
        if text:
            self(text)
        if threading.get_ident() != self._thread:
            anyio.from_thread.check_cancelled()
        return not pieces.are_enough

    def end(self) -> None:
        """Reports what was held back of the pieces."""
        if self._begun:
            self(self._begun)
            self._begun = ""

    async def result_of(self, work: Callable[[], _Result], threads: anyio.CapacityLimiter) -> _Result:
        """What `work` gives in a thread. Who is cancelled leaves the thread behind, and `late` is told of its end.

        Args:
            work: Gives the content, or what has to be awaited for it.
            threads: The limit for threads.
        """
        cancelled = anyio.get_cancelled_exc_class()

        def handed_over() -> _Result:
            try:
                came = work()
            except cancelled:  # a generator that was stopped
                raise
            except BaseException as error:
                self._hand_over(error)
                raise
            self._hand_over(came)
            return came

        try:
            return await anyio.to_thread.run_sync(handed_over, limiter=threads, abandon_on_cancel=True)
        except cancelled:
            with self._handover:
                self._is_left = True
            for came in self._came:  # it ended while the cancellation was on its way
                threading.Thread(target=self._tell, args=(came,)).start()
            raise
        finally:
            self._came.clear()

    def _hand_over(self, came: _Result | BaseException) -> None:
        with self._handover:  # of the two, who comes second knows of the other
            if not self._is_left:
                self._came.append(came)
                return
        self._tell(came)

    def _tell(self, came: _Result | BaseException) -> None:
        content, awaitable = (came, None) if isinstance(came, BaseException) else came
        if inspect.iscoroutine(awaitable):
            awaitable.close()
        if content is not None and self._late:
            self._late(content)


async def content_of(
    enter: Callable[[], Any],
    *,
    on_loop: bool,
    threads: anyio.CapacityLimiter,
    report: Report,
    whole: bool,
    keep: Keep | None = None,
) -> str | list[Block]:
    """Calls `enter` and gives its result as the content of a `tool_result`.

    Args:
        enter: The function, with its arguments.
        on_loop: Whether it is called on the event loop; else in a thread, which a cancelled call leaves behind.
        threads: The limit for threads.
        report: Where progress goes, and what a thread that was left behind comes to.
        whole: As for `fitted`; nothing is kept then, errors are cut.
        keep: As for `fitted`; it is called in a thread.

    Raises:
        ToolError: The function raised it, or returned what can't be sent.
    """
    in_thread = partial(anyio.to_thread.run_sync, limiter=threads, abandon_on_cancel=True)
    keep = None if whole else keep

    async def fit_here(content: str | list[Block], whole: bool = whole) -> str | list[Block]:
        fit = partial(fitted, whole=whole, keep=keep)
        return await in_thread(fit, content) if keep and is_long(content) else fit(content)

    try:
        if on_loop:
            outcome: Any = enter()
        else:
            fit = partial(fitted, whole=whole, keep=keep)
            content, outcome = await report.result_of(partial(_enter, enter, report, fit), threads)
            if content is not None:
                return content
        if inspect.isawaitable(outcome):
            outcome = await outcome
        if inspect.isasyncgen(outcome):
            return await fit_here(await _collect_async(outcome, report))
        if inspect.isgenerator(outcome):
            collect = partial(_enter, lambda: outcome, report, partial(fitted, whole=whole, keep=keep))
            content, _ = await report.result_of(collect, threads)
            return cast("str | list[Block]", content)
        return await fit_here(to_content(outcome))
    except ToolError as error:
        error.content = await fit_here(to_content(error.content), whole=False)
        raise


def _enter(
    function: Callable[[], Any], report: Report, fit: Callable[[str | list[Block]], str | list[Block]]
) -> tuple[str | list[Block] | None, Any]:
    """Runs a sync function in its thread: its content, or what it gave to be awaited on the event loop."""
    outcome = function()
    if inspect.isawaitable(outcome) or inspect.isasyncgen(outcome):
        return None, outcome
    if inspect.isgenerator(outcome):
        return fit(_collect(outcome, report)), None
    return fit(to_content(outcome)), None


def _collect(generator: Any, report: Report) -> str | list[Block]:
    pieces = Pieces()
    with closing(generator):
        for piece in _with_return(generator):
            if not report.keep(pieces, piece):
                break
    report.end()
    return pieces.content()


def _with_return(generator: Generator[Any, None, Any]) -> Iterator[Any]:
    last = yield from generator
    if last is not None:
        yield last


async def _collect_async(generator: Any, report: Report) -> str | list[Block]:
    pieces = Pieces()
    async with aclosing(generator):
        async for piece in generator:
            if not report.keep(pieces, piece):
                break
    report.end()
    return pieces.content()
