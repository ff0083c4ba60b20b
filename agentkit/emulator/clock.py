"""The emulator's time: that of the machine, and what a test lets pass."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache

__all__ = ["Clock", "rfc3339"]


class Clock:
    """Wall time that can be moved on, so that what lives for minutes can end within a test."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self._ahead

    def advance(self, seconds: float) -> None:
        """Lets time pass."""
        self._ahead += seconds


def rfc3339(seconds: float) -> str:
    """Seconds since the epoch as the API writes a time."""
    return _written(int(seconds))


@lru_cache(maxsize=256)
def _written(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}Z"
