"""Structured output of any type: what is asked for is allowed, and values come back as they were."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import decimal
import functools
import json
import uuid
from typing import Annotated, Any, Literal

from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, create_model
from schemas import fits, refused
from test_output import Cat, Colour, Dog, Film, Node, Pair, Point

from agentkit.json_schema import misfits
from agentkit.output import InvalidOutput, Output


@dataclasses.dataclass
class Case:
    """A type, and values of it."""

    type: Any
    values: st.SearchStrategy[Any]


def case(type_: Any, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Case]:
    return st.just(Case(type_, values))


TEXT = st.text(max_size=5)
SMALL = st.integers(1, 9)
SCALARS = st.one_of(
    case(int, st.integers()),
    case(Annotated[int, Field(ge=1, lt=10, multiple_of=1, examples=[3])], SMALL),
    case(Annotated[float, Field(le=3.5)], st.floats(-100, 3.5)),
    case(bool, st.booleans()),
    case(str, TEXT),
    case(Annotated[str, Field(min_length=1, pattern="^a")], TEXT.map("a".__add__)),
    case(Annotated[str, Field(pattern=r"^\Aa{1,100}$")], st.just("aa")),
    case(None, st.none()),
    case(datetime.date, st.dates()),
    case(datetime.timedelta, st.timedeltas(datetime.timedelta(0), datetime.timedelta(9))),
    case(uuid.UUID, st.uuids()),
    case(decimal.Decimal, st.decimals(-99, 99, places=2)),
    case(Colour, st.sampled_from(Colour)),
    case(Literal["a", 1, True, None], st.sampled_from(["a", 1, True, None])),
    case(Point, st.builds(Point, SMALL, SMALL)),
    case(Film, st.sampled_from([{"title": "M"}, {"title": "M", "year": 1931}])),
    case(Pair, st.builds(Pair, SMALL, TEXT)),
    case(Cat, st.builds(Cat, kind=st.just("cat"), lives=SMALL)),
    case(Node, st.builds(Node, name=TEXT, inner=st.lists(st.builds(Node, name=TEXT), max_size=2))),
    case(Cat | Dog, st.builds(Dog, kind=st.just("dog"), name=TEXT)),
    case(int | str | list[bool], SMALL | TEXT | st.lists(st.booleans())),
    case(set[int], st.sets(SMALL)),
)


def list_of(item: Case, least: int, most: int | None) -> Case:
    bounds = Field(min_length=least, max_length=most)
    return Case(Annotated[list[item.type], bounds], st.lists(item.values, min_size=least, max_size=most or least + 2))  # type: ignore[name-defined]


def tuple_of(*items: Case) -> Case:
    return Case(tuple[*(item.type for item in items)], st.tuples(*(item.values for item in items)))  # type: ignore[misc]


def model_of(items: list[Case], described: list[bool]) -> Case:
    fields: dict[str, Any] = {
        f"f{at}": (item.type, Field(description=f"field {at}") if told else ...)
        for at, (item, told) in enumerate(zip(items, described, strict=False))
    }
    model = create_model("Made", **fields)
    values = {name: item.values for name, item in zip(fields, items, strict=False)}
    return Case(model, st.builds(functools.partial(model.model_construct), **values))


def _grown(inner: st.SearchStrategy[Case]) -> st.SearchStrategy[Case]:
    return st.one_of(
        st.builds(list_of, inner, st.integers(0, 2), st.none() | st.integers(2, 3)),
        st.builds(tuple_of, inner, inner),
        st.builds(lambda item: Case(item.type | None if item.type else None, item.values | st.none()), inner),
        st.builds(model_of, st.lists(inner, min_size=1, max_size=3), st.lists(st.booleans(), min_size=3, max_size=3)),
    )


@given(made=st.recursive(SCALARS, _grown, max_leaves=6), data=st.data())
def test_any_type(made: Case, data: st.DataObject) -> None:
    output = Output(made.type)
    schema = output.format["schema"]
    assert refused(schema) == []
    adapter = TypeAdapter(made.type)
    value = data.draw(made.values)
    dumped = json.loads(adapter.dump_json(value))
    assert list(misfits(dumped, adapter.json_schema())) == []
    text = json.dumps(dumped)
    if not fits(json.loads(text), schema):
        text = json.dumps({"value": dumped})
    assert fits(json.loads(text), schema)
    assert output.parse(text) == value


@given(made=st.recursive(SCALARS, _grown, max_leaves=6), text=st.text() | st.from_regex(r"[\[{\"0-9nt:,}\]]*"))
def test_any_text(made: Case, text: str) -> None:
    with contextlib.suppress(InvalidOutput):
        Output(made.type).parse(text)
