"""Values that never show."""

from __future__ import annotations

from typing import Any

from agentkit.errors import ConfigurationError
from agentkit.redaction import Hidden, can_hide, hide, redacted

__all__ = ["Secret", "redacted", "register"]


class Secret:
    """A string that does not show in reprs, logs, errors or tracebacks.

    While it lives, its value is redacted wherever agentkit shows or keeps something: see `redacted`. A value
    that would take ordinary words with it is not: `is_redacted` tells.

    >>> Secret("sk-ant-very-secret-1234")
    Secret('…1234')
    """

    __slots__ = ("_hidden", "_value")

    def __init__(self, value: str) -> None:
        self._value = value
        self._hidden = hide(value)

    def reveal(self) -> str:
        """The value itself: only for the header that carries it."""
        return self._value

    @property
    def is_redacted(self) -> bool:
        """Whether the value is redacted where it occurs: it has 8 characters or more, and is no plain word."""
        return self._hidden is not None

    def __repr__(self) -> str:
        # Short values would be given away by their end.
        return f"Secret('…{self._value[-4:]}')" if len(self._value) >= 16 else "Secret('…')"

    __str__ = __repr__

    def __reduce__(self) -> tuple[Any, ...]:
        return Secret, (self._value,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


_kept: set[Hidden] = set()


def register(*values: str) -> None:
    """Redacts values for the life of the process, as if a `Secret` of each were kept.

    Args:
        *values: Passwords, tokens, keys.

    Raises:
        ConfigurationError: One of them would take ordinary words with it: then none is registered.
    """
    if plain := [number for number, value in enumerate(values, 1) if not can_hide(value)]:
        raise ConfigurationError(
            f"value {plain[0]} can't be redacted without ordinary text: a secret has 8 characters or more, 4 different "
            "ones, and is no word"
        )
    _kept.update(hidden for value in values if (hidden := hide(value)))
