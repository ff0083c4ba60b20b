"""A question to the user, in the middle of a run."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import anyio
from pydantic import Field

from agentkit import ConfigurationError, Tool, ToolError, tool

__all__ = ["ask_user"]

# People take their time: a deadline is the run's to set.
_SECONDS = 30 * 86400


def ask_user(ask: Callable[[str, list[str]], str | Awaitable[str | None] | None] | None) -> Tool[..., Any]:
    """A tool `ask_user` that asks through a callback and waits as long as it takes.

    Args:
        ask: Gets the question, and the answers that the model suggests; may be async, else it is called in a thread.
            It returns the answer, or None if nobody is there. `ask=None`: nobody ever is, and the model is told so.

    Raises:
        ConfigurationError: `ask` can't be called.
    """
    if ask is not None and not callable(ask):
        raise ConfigurationError("ask_user needs a function that takes a question and a list of suggested answers")

    # Neither `read`, for it must not be asked twice, nor `write`, for it can do no harm.
    @tool(effect="private", timeout=_SECONDS)
    async def ask_user(
        question: Annotated[str, Field(min_length=1, max_length=4000)],
        suggestions: Annotated[list[str], Field(max_length=10)] = [],  # noqa: B006
    ) -> str:
        """Ask the user what only they can know or decide, and wait for the answer.

        Args:
            question: One question, with what they need to know to answer it.
            suggestions: Short answers to choose from; they may give another.
        """
        answer = None if ask is None else await _answer(ask, question, list(suggestions))
        if answer is None:
            raise ToolError("Nobody is there to answer. Decide by yourself what you can, and say what you assumed.")
        return answer or "(an empty answer)"

    return ask_user


async def _answer(ask: Callable[[str, list[str]], Any], question: str, suggestions: list[str]) -> str | None:
    if inspect.iscoroutinefunction(ask) or inspect.iscoroutinefunction(getattr(ask, "__call__", None)):  # noqa: B004
        found = await ask(question, suggestions)
    else:
        # In a tuple: trio lets no thread give a coroutine.
        (found,) = await anyio.to_thread.run_sync(lambda: (ask(question, suggestions),), abandon_on_cancel=True)
        found = await found if isinstance(found, Awaitable) else found
    return None if found is None else str(found)
