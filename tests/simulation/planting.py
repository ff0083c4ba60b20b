"""Where planted bugs are kept, by what they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

__all__ = ["BUGS", "Patch", "bug", "nothing"]

Patch: TypeAlias = pytest.MonkeyPatch
BUGS: dict[str, Callable[[Patch], None]] = {}


def bug(function: Callable[[Patch], None]) -> Callable[[Patch], None]:
    """Takes a bug up."""
    BUGS[function.__name__.replace("_", " ")] = function
    return function


async def nothing(*given: Any, **named: Any) -> None:
    """In place of what must be done."""
    return
