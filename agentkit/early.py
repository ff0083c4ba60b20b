"""Calls that run while the reply that asks for them still streams: prefetched, and used only if its turn stands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio

from agentkit.invocation import Ended
from agentkit.jobs import Jobs
from agentkit.messages import Block

__all__ = ["EarlyCalls"]


@dataclass(slots=True)
class _Early:
    block: Block
    enter: Callable[[], Awaitable[Ended]]
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    ready: anyio.Event = field(default_factory=anyio.Event)
    ended: Ended = field(init=False)  # when it is ready

    async def run(self) -> None:
        with self.scope:
            self.ended = await self.enter()
            self.ready.set()

    async def result(self) -> Ended:
        await self.ready.wait()
        return self.ended


class EarlyCalls:
    """Those of the turn that streams, by the id of their block.

    Args:
        jobs: Where they run.
    """

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._early: dict[str, _Early] = {}

    def start(self, block: Block, enter: Callable[[], Awaitable[Ended]]) -> None:
        """Begins a call.

        Args:
            block: The `tool_use` as it came.
            enter: Runs it.
        """
        early = self._early[str(block.get("id"))] = _Early(block, enter)
        self._jobs.start(early.run)

    def result_of(self, block: Block) -> Callable[[], Awaitable[Ended]] | None:
        """What waits for the result of a call that was started for this very block; None if none was."""
        early = self._early.get(str(block["id"]))
        return early.result if early and early.block == block else None

    def stop(self) -> None:
        """Stops what was started for a turn that failed, or that runs no calls."""
        for early in self._early.values():
            early.scope.cancel()
        self.forget()

    def forget(self) -> None:
        """The turn is over, and each has its result."""
        self._early.clear()
