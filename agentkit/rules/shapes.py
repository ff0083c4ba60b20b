"""The shapes of JSON: what looks at one value and says, in the API's words, what is wrong with it.

A look is a function of a path and a value. Looks are put together from others: `one_of(…)`, `array(…)`, `Record`,
`Kinds`. An optional key may be null. The words are those that live probes of 2026-08-31 found and published, unless a
source says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from agentkit.rules.texts import Problem

__all__ = [
    "EXTRA",
    "Kinds",
    "Look",
    "Record",
    "anything",
    "array",
    "at_least",
    "boolean",
    "fraction",
    "integer",
    "mapping",
    "nullable",
    "one_of",
    "required",
    "say",
    "string",
    "text",
]

Look: TypeAlias = Callable[[str, Any], Iterator[Problem]]
"""Looks at the value at a path."""

EXTRA = "Extra inputs are not permitted"


def say(rule: str, path: str, words: str) -> Problem:
    """A problem whose text begins with its path."""
    return Problem(rule, path, f"{path}: {words}")


def required(path: str, value: Mapping[str, Any], *keys: str) -> Iterator[Problem]:
    """Says which keys are missing."""
    for key in keys:
        if key not in value:
            yield say("field_required", f"{path}.{key}", "Field required")


def anything(_path: str, _value: Any) -> Iterator[Problem]:
    """Nothing is wrong with it, whatever it is."""
    yield from ()


def nullable(look: Look) -> Look:
    """Null, or what `look` takes."""
    return lambda path, value: iter(()) if value is None else look(path, value)


def string(path: str, value: Any) -> Iterator[Problem]:
    """A string."""
    if not isinstance(value, str):
        yield say("field_type", path, "Input should be a valid string")


def text(least: int = 0, most: int | None = None, rule: str = "field_value") -> Look:
    """A string of so many characters."""

    def look(path: str, value: Any) -> Iterator[Problem]:
        yield from string(path, value)
        if isinstance(value, str) and len(value) < least:
            yield say(rule, path, f"String should have at least {least} character{'s' if least > 1 else ''}")
        if isinstance(value, str) and most is not None and len(value) > most:
            yield say(rule, path, f"String should have at most {most} characters")

    return look


def integer(path: str, value: Any) -> Iterator[Problem]:
    """An integer."""
    if not isinstance(value, int) or isinstance(value, bool):
        yield say("field_type", path, "Input should be a valid integer")


def at_least(least: int, words: str = "must be greater than or equal to {}", rule: str = "field_range") -> Look:
    """An integer that is no smaller."""

    def look(path: str, value: Any) -> Iterator[Problem]:
        yield from integer(path, value)
        if isinstance(value, int) and not isinstance(value, bool) and value < least:
            yield say(rule, path, words.format(least))

    return look


def fraction(path: str, value: Any) -> Iterator[Problem]:
    """A number from 0 to 1. Source: api-errors.md A (rig)."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        yield say("field_type", path, "Input should be a valid number")
    elif not 0 <= value <= 1:
        yield say("field_range", path, "range: 0..1")


def boolean(path: str, value: Any) -> Iterator[Problem]:
    """True or false."""
    if not isinstance(value, bool):
        yield say("field_type", path, "Input should be a valid boolean")


def one_of(*values: str) -> Look:
    """One of these strings."""
    *most, last = (f"'{each}'" for each in values)
    listed = f"{', '.join(most)} or {last}" if most else last

    def look(path: str, value: Any) -> Iterator[Problem]:
        if value not in values:
            yield say("field_value", path, f"Input should be {listed}")

    return look


def mapping(path: str, value: Any) -> Iterator[Problem]:
    """An object with any keys."""
    if not isinstance(value, dict):
        yield say("field_type", path, "Input should be an object")


def array(item: Look, most: int | None = None) -> Look:
    """An array of such items, at most so many."""

    def look(path: str, value: Any) -> Iterator[Problem]:
        if not isinstance(value, list):
            yield say("field_type", path, "Input should be a valid array")
            return
        if most is not None and len(value) > most:
            words = f"List should have at most {most} items after validation, not {len(value)}"
            yield say("field_range", path, words)
        for at, each in enumerate(value):
            yield from item(f"{path}.{at}", each)

    return look


@dataclass(frozen=True, slots=True)
class Record:
    """An object with known keys.

    Attributes:
        needs: What a key that must be there has to be.
        may: What a key that may be there has to be; null is as good as absent.
        closed: Whether no other key is taken.
    """

    needs: Mapping[str, Look] = field(default_factory=dict)
    may: Mapping[str, Look] = field(default_factory=dict)
    closed: bool = True

    def __call__(self, path: str, value: Any) -> Iterator[Problem]:
        """Looks at the object at a path."""
        yield from mapping(path, value)
        if not isinstance(value, dict):
            return
        for key, look in self.needs.items():
            yield from required(path, value, key)
            if key in value:
                yield from look(f"{path}.{key}", value[key])
        for key, look in self.may.items():
            if value.get(key) is not None:
                yield from look(f"{path}.{key}", value[key])
        for key in value if self.closed else ():
            if key not in self.needs and key not in self.may:
                yield say("field_unknown", f"{path}.{key}", EXTRA)


@dataclass(frozen=True, slots=True)
class Kinds:
    """An object whose `type` says what else it has; the type is part of the path of that.

    Attributes:
        records: By type; their keys without `type`.
        closed: Whether no other type is taken. Otherwise one that is not known may have any keys.
    """

    records: Mapping[str, Record]
    closed: bool = False

    def __call__(self, path: str, value: Any) -> Iterator[Problem]:
        """Looks at the object at a path."""
        yield from mapping(path, value)
        if not isinstance(value, dict):
            return
        yield from required(path, value, "type")
        kind = value.get("type", "")
        record = self.records.get(kind) if isinstance(kind, str) else None
        if record:
            yield from record(f"{path}.{kind}", {key: each for key, each in value.items() if key != "type"})
        elif self.closed and "type" in value:
            expected = ", ".join(f"'{tag}'" for tag in self.records)
            words = f"Input tag '{kind}' found using 'type' does not match any of the expected tags: {expected}"
            yield say("field_value", path, words)
        else:
            yield from string(f"{path}.type", kind)
