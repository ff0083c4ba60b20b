"""The first point where two JSON values differ, in words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

__all__ = ["Difference", "first_difference"]

_FIRST = ("model", "tools", "system", "messages", "type", "role", "name")
_MOST = 120  # characters of one value in a text
_BEFORE = 30  # characters of a long text that are shown before the point where it differs
_NOTHING = object()


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two values differ first.

    Attributes:
        path: Such as `messages.2.content.0.text`; empty for the values themselves.
        shared: How many values are the same before it.
        text: The path, and what is there in both.
    """

    path: str
    shared: int
    text: str


def first_difference(recorded: Any, sent: Any) -> Difference | None:
    """Where `sent` differs first from `recorded`: the model, the tools, `system`, the messages, then the rest."""
    return _Walk().compare(recorded, sent, "")


class _Walk:
    def __init__(self) -> None:
        self._shared = 0

    def compare(self, recorded: Any, sent: Any, path: str) -> Difference | None:
        if isinstance(recorded, dict) and isinstance(sent, dict):
            for name in sorted(recorded.keys() | sent.keys(), key=_place):
                one, other = recorded.get(name, _NOTHING), sent.get(name, _NOTHING)
                if found := self.compare(one, other, f"{path}.{name}"):
                    return found
        elif isinstance(recorded, list) and isinstance(sent, list):
            for at in range(max(len(recorded), len(sent))):
                one, other = (value[at] if at < len(value) else _NOTHING for value in (recorded, sent))
                if found := self.compare(one, other, f"{path}.{at}"):
                    return found
        elif repr(recorded) != repr(sent):  # as JSON, 1, 1.0 and true are three values
            where = path.removeprefix(".")
            return Difference(where, self._shared, f"{where or 'the body'}: {_both(recorded, sent)}")
        else:
            self._shared += 1
        return None


def _place(name: str) -> tuple[int, str]:
    return (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)


def _both(recorded: Any, sent: Any) -> str:
    start = 0
    if isinstance(recorded, str) and isinstance(sent, str) and max(len(recorded), len(sent)) > _MOST:
        start = max(0, _same_characters(recorded, sent) - _BEFORE)
        recorded, sent = recorded[start:], sent[start:]
    mark = f" (from character {start} on)" if start else ""
    return f"recorded {_short(recorded)}, sent {_short(sent)}{mark}"


def _same_characters(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (left, right) in pairs if left != right), min(len(one), len(other)))


def _short(value: Any) -> str:
    if value is _NOTHING:
        return "nothing"
    written = json.dumps(value, ensure_ascii=False)
    return written if len(written) <= _MOST else f"{written[:_MOST]}…"
