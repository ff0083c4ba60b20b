"""Rate limits as the headers of a reply show them. Nothing is refused for them: a script says when there is a 429.

Source: messages-api.md sections 2.4 and 16; which headers, and how they are rounded, as recorded.
"""

from __future__ import annotations

import re
from typing import Any

from agentkit.emulator.clock import Clock, rfc3339

__all__ = ["RateLimits"]

# A minute's worth in the lowest tier.
_LIMITS = {"requests": 1_000, "input-tokens": 2_000_000, "output-tokens": 400_000}
_MINUTE = 60.0
_ROUNDED_TO = 1_000  # tokens
_FAMILY = re.compile(r"claude-(?:opus-4|sonnet-4|[a-z]+-[\d-]+)")  # the models that share a limit


class RateLimits:
    """A bucket for each family of models and each kind, full at first; what is taken out comes back in a minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._full: dict[tuple[str, str], float] = {}  # when it is full again

    def headers(self, model: str, usage: dict[str, Any]) -> dict[str, str]:
        """The headers of a reply; what it used is taken out.

        Args:
            model: The model that the request names.
            usage: Of the reply. What was read from the cache is free.
        """
        found = _FAMILY.match(model)
        family, now = found[0] if found else model, self._clock.now()
        used = {
            "requests": 1,
            "input-tokens": (usage.get("input_tokens") or 0) + (usage.get("cache_creation_input_tokens") or 0),
            "output-tokens": usage.get("output_tokens") or 0,
        }
        left: dict[str, tuple[int, int, float]] = {}
        for kind, limit in _LIMITS.items():
            before = max(now, self._full.get((family, kind), 0.0))
            full = min(before + used[kind] * _MINUTE / limit, now + _MINUTE)
            self._full[family, kind] = full
            left[kind] = limit, round(limit * (1 - (full - now) / _MINUTE)), full
        both = left["input-tokens"], left["output-tokens"]
        left["tokens"] = both[0][0] + both[1][0], both[0][1] + both[1][1], max(both[0][2], both[1][2])
        return dict(pair for kind, state in left.items() for pair in _shown(kind, *state))


def _shown(kind: str, limit: int, remaining: int, full: float) -> list[tuple[str, str]]:
    if kind != "requests":
        remaining = round(remaining / _ROUNDED_TO) * _ROUNDED_TO
    values = {"limit": str(limit), "remaining": str(remaining), "reset": rfc3339(full)}
    return [(f"anthropic-ratelimit-{kind}-{name}", value) for name, value in values.items()]
