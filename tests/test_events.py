"""What a run reports, as JSON."""

from __future__ import annotations

import dataclasses
import inspect
import json
import typing
from typing import Any

import pytest

from agentkit import events
from agentkit.events import Event, RunEnd, TextDelta, TurnEnd
from agentkit.messages import Citation, Usage

EVENTS: list[Any] = list(typing.get_args(Event))
VALUES = {
    "int": 7,
    "float": 1.5,
    "float | None": None,
    "str": "x",
    "str | None": None,
    "Any": {"a": 1},
    "Block": {"type": "text"},
    "dict[str, Any]": {"a": 1},
    "Usage": Usage(1, 2),
    "tuple[Citation, ...]": (Citation("c", "T", "u", {"type": "x"}),),
    "tuple[str, ...]": ("x", "y"),
}


def made(cls: Any) -> Any:
    return cls(**{field.name: VALUES[field.type] for field in dataclasses.fields(cls)})


def test_every_event_is_one_of_the_union_and_exported() -> None:
    defined = [cls for _, cls in inspect.getmembers(events, inspect.isclass) if cls.__module__ == events.__name__]
    assert {cls for cls in defined if dataclasses.is_dataclass(cls)} == set(EVENTS)
    assert {cls.__name__ for cls in EVENTS} | {"Event"} == set(events.__all__)


def test_every_event_has_a_type_of_its_own() -> None:
    kinds = [cls.type for cls in EVENTS]
    assert len(set(kinds)) == len(kinds) == 18
    snake = ["".join("_" + c.lower() if c.isupper() else c for c in cls.__name__).strip("_") for cls in EVENTS]
    assert kinds == snake


@pytest.mark.parametrize("cls", EVENTS)
def test_every_event_is_json(cls: Any) -> None:
    event = made(cls)
    found = event.as_dict()
    assert json.loads(json.dumps(found)) == found
    assert list(found) == ["type", *(field.name for field in dataclasses.fields(cls))]
    assert found["type"] == cls.type
    assert cls.__doc__


def test_usage_and_citations_are_written_out() -> None:
    assert TextDelta("a", 0).as_dict() == {"type": "text_delta", "text": "a", "index": 0}
    assert made(TurnEnd).as_dict()["usage"]["output_tokens"] == 2
    assert made(RunEnd).as_dict()["citations"] == [{"url": "u", "title": "T", "cited_text": "c"}]
