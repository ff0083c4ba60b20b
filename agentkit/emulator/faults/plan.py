"""Which faults happen, and when."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

from agentkit.emulator.faults.row import Row
from agentkit.emulator.faults.rows import BY_NAME, row_of
from agentkit.errors import ConfigurationError

__all__ = ["Fault", "Faults", "Plan", "RandomFaults", "fault", "faults_of", "random_faults"]

_PASSING = tuple(name for name, row in BY_NAME.items() if row.passing)
_RATE = 0.2
_MOST_EVENTS = 12  # before a fault of a random schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What `fault` makes."""

    name: str
    turn: int | None = None
    event: int | None = None
    byte: int | None = None
    times: int | None = 1

    @property
    def row(self) -> Row:
        """The row that says how it is made."""
        return BY_NAME[self.name]


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomFaults:
    """What `random_faults` makes."""

    seed: int
    rate: float
    names: tuple[str, ...]

    def at(self, turn: int, *, streamed: bool) -> Fault | None:
        """What happens at a turn; the same each time, whatever was asked before."""
        random = Random(f"{self.seed}/{turn}")  # noqa: S311
        if random.random() >= self.rate:
            return None
        fitting = [name for name in self.names if _fits(BY_NAME[name], streamed=streamed)]
        if not fitting:
            return None
        name = random.choice(fitting)
        places = BY_NAME[name].places
        chosen = streamed and "event" in places and random.random() < 0.5
        return Fault(name=name, turn=turn, event=random.randrange(1, _MOST_EVENTS) if chosen else None)


Faults: TypeAlias = "Fault | RandomFaults | Iterable[Fault | RandomFaults]"


def fault(
    name: str, *, turn: int | None = None, event: int | None = None, byte: int | None = None, times: int | None = 1
) -> Fault:
    """A fault that happens to requests for a message.

    Args:
        name: Of `FAULTS`: the id of a row, such as `T6`, or its alias, such as `reset`.
        turn: The first request that it may happen to, counted from 1, each repetition too; None is any. One that it
            does not fit is passed over: that of a stream waits for a stream, that of a call for a reply with a call.
        event: How many events come whole before it happens. By default the first piece of the content has come.
        byte: How many bytes come before it happens, after those events.
        times: How often it happens; None is always.

    Raises:
        ConfigurationError: There is no such fault, no server can make it, it has no such place, or a number is too
            small.
    """
    row = row_of(name)
    for what, least, value in (("turn", 1, turn), ("event", 0, event), ("byte", 0, byte), ("times", 1, times)):
        if value is not None and value < least:
            raise ConfigurationError(f"{what} of the fault {name} must be at least {least}, not {value}")
    for what, value in (("event", event), ("byte", byte)):
        if value is not None and what not in row.places:
            raise ConfigurationError(f"the fault {name} can't be told at which {what} it happens: {row.about}")
    return Fault(name=row.name, turn=turn, event=event, byte=byte, times=times)


def random_faults(seed: int, *, rate: float = _RATE, names: Iterable[str] | None = None) -> RandomFaults:
    """A schedule of faults, drawn for each request by its number: the same for the same seed.

    Args:
        seed: Of the schedule.
        rate: The share of requests that meet a fault, from 0 to 1.
        names: Those that are drawn from. By default all that a client gets over soon by asking again, so none that
            waits for a time-out, or that asking again does not help.

    Raises:
        ConfigurationError: As for `fault`, or the rate is no share, or there are no names.
    """
    if not 0 <= rate <= 1:
        raise ConfigurationError(f"the rate of random faults must be from 0 to 1, not {rate}")
    drawn = _PASSING if names is None else tuple(row_of(name).name for name in names)
    if not drawn:
        raise ConfigurationError("random faults need at least one name")
    return RandomFaults(seed=seed, rate=rate, names=drawn)


_ITEM = re.compile(r"(?P<name>[\w-]+)(?P<always>\*?)(?:@(?P<options>.*))?")
_OPTION = re.compile(r"(\w+)=(\d+(?:\.\d+)?)")


def faults_of(text: str) -> list[Fault | RandomFaults]:
    """The faults that a line of text names: `T6@turn=2,event=3 H13* random@seed=7,rate=0.1`.

    Args:
        text: Faults with spaces between. Each is a name, then `*` if it happens always, then `@` and what `fault` can
            be told (`turn`, `event`, `byte`, `times`), with commas between; `random` takes `seed` and `rate`.

    Raises:
        ConfigurationError: As for `fault`, or the text is something else.
    """
    found = [_item(item) for item in text.split()]
    if not found:
        raise ConfigurationError("no fault is named; try T6@turn=2")
    return found


def _item(item: str) -> Fault | RandomFaults:
    match = _ITEM.fullmatch(item)
    options = {} if match is None or match["options"] is None else _options(match["options"])
    name = match["name"] if match else ""
    known = ("seed", "rate") if name == "random" else ("turn", "event", "byte", "times")
    always = bool(match and match["always"])
    wrong = options is None or not set(options) <= set(known) or (always and (name == "random" or "times" in options))
    if match is None or options is None or wrong:
        raise ConfigurationError(f"can't read the fault {item!r}; write it like T6, H13* or T6@turn=2,event=3")
    if name == "random":
        return random_faults(int(options.get("seed", 0)), rate=options.get("rate", _RATE))
    numbers = {what: int(value) for what, value in options.items()}
    return fault(name, **({"times": None} if always else {}), **numbers)


def _options(text: str) -> dict[str, float] | None:
    found = [_OPTION.fullmatch(part) for part in text.split(",")]
    options = {match[1]: float(match[2]) for match in found if match}
    return options if len(options) == len(found) else None


def _fits(row: Row, *, streamed: bool) -> bool:
    return row.fits in ("any", "stream" if streamed else "whole")


class Plan:
    """Faults, and which of them have happened.

    Args:
        faults: One fault or schedule, or several; of those that are due, the first happens.

    Attributes:
        met: What has happened: the turn, and the fault.

    Raises:
        ConfigurationError: Something else is given.
    """

    def __init__(self, faults: Faults) -> None:
        given = [faults] if isinstance(faults, Fault | RandomFaults) else list(faults)
        for item in given:
            if not isinstance(item, Fault | RandomFaults):
                text = "give fault(…) or random_faults(…)"
                raise ConfigurationError(f"faults hold something of type {type(item).__name__}: {text}")
        self._faults = given
        self._left = [item.times if isinstance(item, Fault) else None for item in given]
        self.met: list[tuple[int, Fault]] = []

    def due(self, turn: int, *, streamed: bool) -> Iterator[tuple[int, Fault]]:
        """What may happen at a turn, in order; each is taken as happening until it is given back."""
        for at, item in enumerate(self._faults):
            fault = item.at(turn, streamed=streamed) if isinstance(item, RandomFaults) else item
            left = self._left[at]
            if fault is None or left == 0 or turn < (fault.turn or 1) or not _fits(fault.row, streamed=streamed):
                continue
            if left is not None:
                self._left[at] = left - 1
            yield at, fault

    def give_back(self, at: int) -> None:
        """It did not fit after all."""
        left = self._left[at]
        self._left[at] = None if left is None else left + 1

    def unmet(self) -> list[Fault]:
        """The faults that never happened, schedules left out."""
        met = {fault for _, fault in self.met}
        return [item for item in self._faults if isinstance(item, Fault) and item not in met]
