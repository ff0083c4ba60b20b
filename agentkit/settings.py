"""Small frozen values for configuration. Durations are seconds."""

from __future__ import annotations

from dataclasses import dataclass

from agentkit.errors import ConfigurationError

__all__ = ["Limits", "RetryPolicy", "Timeouts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one run may use before it ends with a named outcome; counted again after `after=`, not after `resume`.

    Attributes:
        max_turns: Model turns, so requests that got an answer.
        max_tool_calls: Calls of client tools.
        max_pauses: `pause_turn` replies in a row that are resumed.
        max_seconds: Time that the run is active; time parked for an approval is left out.
        max_total_tokens: Input (cached too) and output tokens; None is no limit. Overshoot is at most one request.
        max_cost_usd: US dollars, as `result.cost` counts them; None is no limit. Needs known prices (extra `prices`).
            Overshoot is at most one request.
        max_parallel_tools: Calls of client tools at the same time, at least 1.
    """

    max_turns: int = 50
    max_tool_calls: int = 500
    max_pauses: int = 10
    max_seconds: float = 3600.0
    max_total_tokens: int | None = None
    max_cost_usd: float | None = None
    max_parallel_tools: int = 16

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ConfigurationError(f"{name} can't be {value}")
        if self.max_parallel_tools < 1:
            raise ConfigurationError("max_parallel_tools must be at least 1: with 0 every call would wait for ever")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long one request may take.

    Attributes:
        connect: To open a connection, and to get a free one.
        reply: To the whole reply, when it is not streamed.
        stall: Without progress of a stream; pings and half events are no progress. Models that think without showing it
            send only pings for minutes, so a short one ends good replies.
        tool: A tool that declares none.
    """

    connect: float = 10.0
    reply: float = 600.0
    stall: float = 180.0
    tool: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When a failed request is sent again. Source: faults.md section 3, RP.

    Attributes:
        max_attempts: Requests in all, for one model turn.
        base: The first wait is drawn from 0 to this (four times as much when the API is overloaded).
        cap: No drawn wait is longer.
        retry_after_cap: A longer `retry-after` is raised at once instead of waited for.
        total: Seconds of waiting in all, for one model turn.
    """

    max_attempts: int = 4
    base: float = 0.5
    cap: float = 30.0
    retry_after_cap: float = 60.0
    total: float = 120.0
