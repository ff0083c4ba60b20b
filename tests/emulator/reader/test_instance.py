"""Structured output of the reader: JSON that fits the schema, from the question where that has it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from talking import CALCULATOR, Talk, text

from agentkit import Agent, Client
from agentkit.emulator import Corpus, Emulator
from agentkit.emulator.reader.instance import instance
from agentkit.json_schema import misfits

ORDER = "Ada ordered three chairs, for 1,250 euros in all."


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


STRING: dict[str, Any] = {"type": "string"}
INTEGER: dict[str, Any] = {"type": "integer"}


@pytest.mark.parametrize(
    ("schema", "text", "expected"),
    [
        (closed(customer=STRING, euros=INTEGER), ORDER, {"customer": "Ada", "euros": 1250}),
        (closed(a={"type": "number"}, b=INTEGER), "2.5 and 7", {"a": 2.5, "b": 7}),
        (INTEGER, "none", 1),
        (STRING, 'He said "no way".', "no way"),
        (STRING, "what is this?", "what is this?"),
        ({"enum": ["red", "blue"]}, "The sky is Blue.", "blue"),
        ({"enum": ["red", "blue"]}, "Hm.", "red"),
        ({"const": 7}, "", 7),
        ({"type": "integer", "default": 3}, "5", 3),
        ({"anyOf": [{"type": "null"}, INTEGER]}, "5", 5),
        ({"type": ["integer", "null"]}, "5", 5),
        ({"type": "null"}, "5", None),
        ({"type": "boolean"}, "It is so.", True),
        ({"type": "boolean"}, "It is not so.", False),
        ({"type": "array", "items": INTEGER}, "5", [5]),
        ({"type": "string", "format": "email"}, "Write to ada@example.org.", "ada@example.org"),
        ({"type": "string", "format": "date"}, "soon", "2026-01-01"),
        ({"type": "string", "pattern": "^[A-Z]{3}$"}, "Fly to FCO now", "FCO"),
        ({"type": "string", "pattern": "^[A-Z]{3}$"}, "Fly", ""),
        ({"type": "string", "pattern": "("}, "Fly", ""),
        (
            {"allOf": [closed(a=INTEGER), {"properties": {"b": STRING}, "required": ["a", "b"]}]},
            "Ada 5",
            {"a": 5, "b": "Ada"},
        ),
        ({"$ref": "#/$defs/N", "$defs": {"N": INTEGER}}, "5", 5),
        ({"$ref": "https://elsewhere.test"}, "Ada", "Ada"),
        ({"$ref": "#"}, "Ada", "Ada"),
        (True, "Ada", "Ada"),
        ({"properties": {"a": INTEGER}}, "5", {"a": 5}),
    ],
)
def test_values(schema: Any, text: str, expected: Any) -> None:
    assert instance(schema, text) == expected


def test_recursion_ends() -> None:
    item = closed(name=STRING, children={"type": "array", "items": {"$ref": "#/$defs/Item"}})
    node = closed(next={"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]})
    for schema in (
        {"$ref": "#/$defs/Item", "$defs": {"Item": item}},
        {"$ref": "#/$defs/Node", "$defs": {"Node": node}},
    ):
        assert list(misfits(instance(schema, "Ada"), schema)) == []


SCALARS = st.sampled_from(
    [STRING, INTEGER, {"type": "number"}, {"type": "boolean"}, {"type": "null"}, {"enum": ["a", 2]}, {"const": "x"}]
)
SCHEMAS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from("abcd"), inner, max_size=3).map(lambda found: closed(**found)),
        inner.map(lambda items: {"type": "array", "items": items, "minItems": 1}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"anyOf": parts}),
    ),
    max_leaves=8,
)


@given(schema=SCHEMAS, words=st.text(max_size=40))
def test_it_always_fits(schema: dict[str, Any], words: str) -> None:
    assert list(misfits(instance(schema, words), schema)) == []


@pytest.fixture(scope="module")
def serving(corpus: Corpus) -> Iterator[Emulator]:
    with Emulator(corpus=corpus, pace=0) as emulator:
        yield emulator


def test_the_reader_answers_in_json(http: httpx.Client, serving: Emulator) -> None:
    config = {"format": {"type": "json_schema", "schema": closed(customer=STRING, euros=INTEGER)}}
    answer = Talk(http, serving.url).ask(ORDER, output_config=config)
    assert answer["stop_reason"] == "end_turn"
    assert json.loads(text(answer)) == {"customer": "Ada", "euros": 1250}


def test_after_the_tools(http: httpx.Client, serving: Emulator) -> None:
    config = {"format": {"type": "json_schema", "schema": closed(total=INTEGER)}}
    talk = Talk(http, serving.url, CALCULATOR)
    answer = talk.ask("What is six times 7 * 1?", {"calculator": "42"}, output_config=config)
    assert len(talk.turns) == 2
    assert isinstance(json.loads(text(answer))["total"], int)


@pytest.mark.anyio
async def test_an_agent_gets_its_output(serving: Emulator) -> None:
    class Order(BaseModel):
        customer: str
        euros: int = Field(ge=1)
        items: list[str]

    async with Client(base_url=serving.url, api_key="any") as client:
        result = await Agent("claude-sonnet-4-6", output_type=Order, client=client).run(ORDER)
    assert result.finish.reason == "end_turn"
    assert (result.output.customer, result.output.euros) == ("Ada", 1250)
