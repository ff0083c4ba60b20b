"""Values that never show."""

from __future__ import annotations

__all__ = ["Secret"]


class Secret:
    """A string that does not show in reprs, logs, errors or tracebacks.

    >>> Secret("sk-ant-very-secret-1234")
    Secret('…1234')
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself: only for the header that carries it."""
        return self._value

    def __repr__(self) -> str:
        # Short values would be given away by their end.
        return f"Secret('…{self._value[-4:]}')" if len(self._value) >= 16 else "Secret('…')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)
