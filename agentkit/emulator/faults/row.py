"""What a row of the fault table is: a name, what happens, and how it is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from agentkit.emulator.dialects.dialect import Dialect
from agentkit.emulator.faults.delivery import Delivery

__all__ = ["Answered", "Asked", "Damaged", "Place", "Rewritten", "Row", "Unmade"]

Fits = Literal["any", "stream", "whole"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: its body, its number, the id of the reply and the endpoint's ways."""

    body: dict[str, Any]
    turn: int
    request_id: str
    dialect: Dialect


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a reply: after so many whole events, and so many bytes more; None is where the row does it by itself."""

    event: int | None = None
    byte: int | None = None

    def index(self, pieces: tuple[bytes, ...]) -> int:
        """The event before which something comes, never after the last: nobody reads on there."""
        at = after_first_delta(pieces) if self.event is None else self.event
        return min(at, len(pieces) - 1)

    def offset(self, delivery: Delivery, by_itself: int) -> int:
        """The bytes of a body that come; at least one is missing."""
        at = by_itself
        if self.event is not None or self.byte is not None:
            at = sum(map(len, delivery.pieces[: self.event or 0])) + (self.byte or 0)
        return max(0, min(at, len(delivery.body) - 1))


def after_first_delta(pieces: tuple[bytes, ...]) -> int:
    """How many events there are up to and with the first that brings a piece of the content; at least 1."""
    found = (at for at, piece in enumerate(pieces) if piece.startswith(b"event: content_block_delta\n"))
    return next(found, 0) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row.

    Attributes:
        name: Its id in the table, and which case of it.
        alias: A name to remember.
        about: What happens, in one line.
        fits: The replies that it can happen to: `stream` or `whole` ones.
        places: What `fault` can be told of the place: `event`, `byte`.
        passing: Whether a client that asks again gets over it soon, so that a random schedule may draw it.
    """

    name: str
    alias: str = ""
    about: str
    fits: Fits = "any"
    places: tuple[str, ...] = ()
    passing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered(Row):
    """One that answers in place of the endpoint; `make` gives None where it does not fit the request."""

    make: Callable[[Asked], Delivery | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Damaged(Row):
    """One that spoils a reply on its way, or only looks so; `make` gives None where it does not fit.

    `lost`: the client has to ask again, and gets the same reply then.
    """

    make: Callable[[Delivery, Place], Delivery | None]
    lost: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten(Row):
    """One in which the model says something else; `make` changes the message, and gives None where it can't.

    `lost`: as in `Damaged`.
    """

    make: Callable[[dict[str, Any]], dict[str, Any] | None]
    lost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmade(Row):
    """One that no server can make; `instead` says why, and what to do."""

    instead: str
