"""Fields of tomorrow: what a script put into a reply may come back, though no rule knows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from agentkit.messages import Block, copy_json
from agentkit.rules import Problem

__all__ = ["Novelty"]


class Novelty:
    """The names of all fields in replies of the script. The API takes back what it sent."""

    def __init__(self) -> None:
        self._sent: set[str] = set()

    def note(self, content: list[Block]) -> None:
        """Takes the content of a reply."""
        self._sent.update(_names(content))

    def without(self, body: dict[str, Any], problems: Iterable[Problem]) -> dict[str, Any] | None:
        """The body without the fields that are refused only for not being known; None if there is no such field."""
        paths = [problem.path.split(".") for problem in problems if problem.rule == "field_unknown"]
        ours = [path for path in paths if path[0] == "messages" and path[-1] in self._sent]
        if not ours:
            return None
        left: dict[str, Any] = copy_json(body)
        for path in ours:
            _remove(left, path)
        return left


def _names(value: Any) -> Iterator[str]:
    for item in value if isinstance(value, list) else ():
        yield from _names(item)
    for name, item in value.items() if isinstance(value, dict) else ():
        yield name
        yield from _names(item)


def _remove(value: Any, path: list[str]) -> None:
    """Removes the field at a path, in which the type of a block stands before its key."""
    inside = False
    for part in path[:-1]:
        if isinstance(value, list):
            value, inside = value[int(part)], False
        elif not inside and value.get("type") == part:
            inside = True
        else:
            value, inside = value[part], False
    value.pop(path[-1], None)
