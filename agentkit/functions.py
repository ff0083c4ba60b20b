"""Enters the function of a tool, async or sync, also one that yields, and gives what comes out as content."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import aclosing, closing
from functools import partial
from typing import Any, cast

import anyio

from agentkit.errors import ToolError
from agentkit.messages import Block
from agentkit.tool_results import Pieces, as_content

__all__ = ["Report", "content_of", "entry_of", "is_async"]


def entry_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function that a call enters: an object's `__call__`, else itself."""
    plain = inspect.isroutine(function) or isinstance(function, partial)
    return function if plain else cast("Any", function).__call__


def is_async(function: Callable[..., Any]) -> bool:
    """Whether a call of it is made on the event loop, and not in a thread."""
    entry = entry_of(function)
    return inspect.iscoroutinefunction(entry) or inspect.isasyncgenfunction(entry)


class Report:
    """Progress from wherever the function runs to the task that waits for it."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        self._progress = progress
        self._thread = threading.get_ident()

    def __call__(self, text: str) -> None:
        if threading.get_ident() == self._thread:
            self._progress(text)
        else:
            anyio.from_thread.run_sync(self._progress, text)

    def keep(self, pieces: Pieces, piece: Any) -> bool:
        """Takes a piece of a generator; false if it is to be stopped."""
        if text := pieces.add(piece):
            self(text)
        if threading.get_ident() != self._thread:
            anyio.from_thread.check_cancelled()
        return not pieces.are_enough


async def content_of(
    enter: Callable[[], Any], *, on_loop: bool, threads: anyio.CapacityLimiter, report: Report, whole: bool
) -> str | list[Block]:
    """Calls `enter` and gives its result as the content of a `tool_result`.

    Args:
        enter: The function, with its arguments.
        on_loop: Whether it is called on the event loop; else in a thread, which a cancelled call leaves behind.
        threads: The limit for threads.
        report: Where progress goes.
        whole: As for `as_content`.

    Raises:
        ToolError: The function raised it, or returned what can't be sent.
    """
    in_thread = partial(anyio.to_thread.run_sync, limiter=threads, abandon_on_cancel=True)
    try:
        if on_loop:
            outcome: Any = enter()
        else:
            content, outcome = await in_thread(partial(_enter, enter, report, whole))
            if content is not None:
                return content
        if inspect.isawaitable(outcome):
            outcome = await outcome
        if inspect.isasyncgen(outcome):
            return await _collect_async(outcome, report, whole)
        if inspect.isgenerator(outcome):
            return await in_thread(partial(_collect, outcome, report, whole))
        return as_content(outcome, whole=whole)
    except ToolError as error:
        error.content = as_content(error.content)
        raise


def _enter(function: Callable[[], Any], report: Report, whole: bool) -> tuple[str | list[Block] | None, Any]:
    """Runs a sync function in its thread: its content, or what it gave to be awaited on the event loop."""
    outcome = function()
    if inspect.isawaitable(outcome) or inspect.isasyncgen(outcome):
        return None, outcome
    if inspect.isgenerator(outcome):
        return _collect(outcome, report, whole), None
    return as_content(outcome, whole=whole), None


def _collect(generator: Any, report: Report, whole: bool) -> str | list[Block]:
    pieces = Pieces(whole=whole)
    with closing(generator):
        for piece in _with_return(generator):
            if not report.keep(pieces, piece):
                break
    return pieces.content()


def _with_return(generator: Generator[Any, None, Any]) -> Iterator[Any]:
    last = yield from generator
    if last is not None:
        yield last


async def _collect_async(generator: Any, report: Report, whole: bool) -> str | list[Block]:
    pieces = Pieces(whole=whole)
    async with aclosing(generator):
        async for piece in generator:
            if not report.keep(pieces, piece):
                break
    return pieces.content()
