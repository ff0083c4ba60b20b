"""Numbers and inputs in a few words."""

from __future__ import annotations

import json
from typing import Any

from agentkit.terminal import safe_line

__all__ = ["amount", "asked", "counted", "short", "took"]


def asked(given: Any) -> str:
    """The input of a call on one line: the value alone where there is one."""
    if not isinstance(given, dict):
        return _shown(given)
    for name in ("query", "url"):
        if isinstance(given.get(name), str):
            return _shown(given[name]).removeprefix("https://")
    if len(given) == 1:
        return _shown(*given.values())
    return ", ".join(f"{safe_line(str(name))}={_shown(value)}" for name, value in given.items())


def _shown(value: Any) -> str:
    return safe_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))


def amount(size: int) -> str:
    """A number of bytes, for people."""
    return f"{size} B" if size < 1000 else f"{size / 1000:.1f} kB" if size < 999_950 else f"{size / 1e6:.1f} MB"


def short(count: int) -> str:
    """A number in a few characters."""
    return str(count) if count < 1000 else f"{count / 1000:.{count < 10_000:d}f}k"


def counted(count: int, one: str, more: str | None = None) -> str:
    """A number and its noun."""
    return f"{count} {one if count == 1 else more or one + 's'}"


def took(seconds: float) -> str:
    """How long something took."""
    return "<0.1 s" if seconds < 0.1 else f"{seconds:.1f} s"
