"""What a run has used: its own model turns, and the agents that its tools have run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agentkit.messages import Usage

__all__ = ["Spending"]


@dataclass
class Spending:
    """Since the run began.

    Attributes:
        usage: Tokens and server tool requests.
        cost: US dollars; None once something had no known price.
    """

    usage: Usage = field(default_factory=Usage)
    cost: float | None = 0.0
    _runs: dict[str, tuple[Usage, float | None]] = field(default_factory=dict)

    def add(self, usage: Usage, cost: float | None, cache_misses: tuple[str, ...] = ()) -> None:
        """A reply of the model."""
        self.usage += replace(usage, cache_miss_reasons=cache_misses) if cache_misses else usage
        self.cost = _sum(self.cost, cost)

    def add_run(self, run_id: str, wire: Mapping[str, Any], cost: float | None) -> None:
        """What a run of a tool's has used up to now: what was said of it before is part of that."""
        usage = Usage(**{**wire, "cache_miss_reasons": ()})
        before, cost_before = self.of(run_id)
        self._runs = {**self._runs, run_id: (usage, cost)}  # branches share the one before
        self.usage += usage - before
        self.cost = _sum(self.cost, None if cost is None or cost_before is None else cost - cost_before)

    def of(self, run_id: str) -> tuple[Usage, float | None]:
        """What is known of a run of a tool's."""
        return self._runs.get(run_id, (Usage(), 0.0))


def _sum(cost: float | None, more: float | None) -> float | None:
    return None if cost is None or more is None else cost + more
