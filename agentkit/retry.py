"""Failure → wait: whether a failed request is sent again, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentkit.errors import APIError, ConflictError, OverloadedError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentkit.settings import RetryPolicy

__all__ = ["RetryBudget", "parse_retry_after", "wait_before_retry"]


class RetryBudget:
    """Keeps retries to a tenth of the requests once the first ten are used up, so that they make no storm."""

    def __init__(self) -> None:
        self._left = 10.0

    def earn(self) -> None:
        """Counts a request that got an answer."""
        self._left = min(self._left + 0.1, 100.0)

    def spend(self) -> bool:
        """Takes one retry, if there is one."""
        if self._left < 1:
            return False
        self._left -= 1
        return True


def wait_before_retry(error: APIError, attempt: int, waited: float, policy: RetryPolicy) -> float | None:
    """Seconds until the request is sent again, or None if it is not. Source: faults.md section 3, RP.

    Args:
        error: What went wrong.
        attempt: How many times the request was sent, from 1.
        waited: Seconds waited before, for this turn.
        policy: The limits.
    """
    attempts = min(policy.max_attempts, _MOST_ATTEMPTS.get(type(error), policy.max_attempts))
    if not error.retryable or attempt >= attempts:
        return None
    drawn = _full_jitter(attempt, policy.base * (4 if isinstance(error, OverloadedError) else 1), policy.cap)
    if error.retry_after is not None and error.retry_after > 0:
        if error.retry_after > policy.retry_after_cap:
            return None
        # Never before the time asked for; a little after it, so that many clients do not come at once.
        drawn = error.retry_after + min(drawn, 0.1 * error.retry_after)
    return None if waited + drawn > policy.total else drawn


_MOST_ATTEMPTS: dict[type[APIError], int] = {ProtocolError: 2, ConflictError: 3}


def _full_jitter(attempt: int, base: float, cap: float) -> float:
    from tenacity import RetryCallState, wait_random_exponential

    state = RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type]
    state.attempt_number = attempt
    return float(wait_random_exponential(multiplier=base, max=cap)(state))


def parse_retry_after(headers: Mapping[str, Any], now: float) -> float | None:
    """Seconds that a reply asks to wait; None where it does not, or not in a way that makes sense.

    Args:
        headers: Of the reply.
        now: Wall time in seconds since the epoch, for the form that is a date.

    Source: messages-api.md section 16.1.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * unit
        except ValueError:
            seconds = _until(value, now)
        if 0 <= seconds < float("inf"):
            return seconds
    return None


def _until(date: str, now: float) -> float:
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return -1.0
