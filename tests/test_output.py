"""Structured output: a type → the `format` of a request, and the model's text → a value of the type."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import json
import operator
import subprocess
import sys
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, NotRequired

import pytest
from pydantic import BaseModel, ConfigDict, Field, create_model, field_validator
from recordings import MISSING, PATH, exchanges
from schemas import refused
from typing_extensions import TypedDict

from agentkit.errors import AgentKitError, ConfigurationError
from agentkit.output import InvalidOutput, Output


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(ge=1, le=9, description="How many are left.")


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


class Report(BaseModel):
    """What was found."""

    model_config = ConfigDict(title="Findings")

    title: Annotated[str, Field(max_length=10)]
    pets: list[Annotated[Cat | Dog, Field(discriminator="kind")]] = Field(min_length=2)
    on: datetime.date
    best: Cat = Field(description="The best of them.")
    note: str | None = None


class Node(BaseModel):
    name: str
    inner: list[Node] = []


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Film(TypedDict):
    title: str
    year: NotRequired[int]


class Pair(NamedTuple):
    left: int
    right: str


class Colour(enum.Enum):
    RED = "red"


def schema_of(type_: Any) -> dict[str, Any]:
    output = Output(type_)
    assert output.format.keys() == {"type", "schema"}
    assert output.format["type"] == "json_schema"
    schema = output.format["schema"]
    assert refused(schema) == []
    return dict(schema)


def test_a_model() -> None:
    cat = {
        "type": "object",
        "properties": {
            "kind": {"type": "string", "const": "cat"},
            "lives": {"type": "integer", "description": "How many are left.\n(must be at most 9, must be at least 1)"},
        },
        "required": ["kind", "lives"],
        "additionalProperties": False,
    }
    assert schema_of(Report) == {
        "type": "object",
        "title": "Findings",
        "description": "What was found.",
        "properties": {
            "title": {"type": "string", "description": "(must have at most 10 characters)"},
            "pets": {
                "type": "array",
                "items": {"anyOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]},
                "minItems": 1,
                "description": "(must have at least 2 items)",
            },
            "on": {"type": "string", "format": "date"},
            "best": {**cat, "title": "Cat", "description": "The best of them."},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        },
        "required": ["title", "pets", "on", "best"],
        "additionalProperties": False,
        "$defs": {
            "Cat": cat,
            "Dog": {
                "type": "object",
                "properties": {"kind": {"type": "string", "const": "dog"}, "name": {"type": "string"}},
                "required": ["kind", "name"],
                "additionalProperties": False,
            },
        },
    }


def test_objects_and_arrays_are_asked_for_as_they_are() -> None:
    for type_ in (Report, Node, Point, Film, {"type": "object", "properties": {"a": {"type": "null"}}}):
        assert schema_of(type_)["type"] == "object"
        assert "value" not in schema_of(type_)["properties"]
    for type_ in (list[Cat], tuple[int, str], Pair, set[int], {"type": "array", "items": {"type": "integer"}}):
        assert schema_of(type_)["type"] == "array"


@pytest.mark.parametrize(
    ("type_", "inner"),
    [
        (int, {"type": "integer"}),
        (Literal["a", 1, None], {"enum": ["a", 1, None]}),
        (Colour, {"type": "string", "enum": ["red"], "title": "Colour"}),
        (Cat | Dog, {"anyOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]}),
        ({"type": "string", "maxLength": 3}, {"type": "string", "description": "(must have at most 3 characters)"}),
    ],
)
def test_other_types_are_asked_for_as_an_object_with_a_value(type_: Any, inner: dict[str, Any]) -> None:
    schema = schema_of(type_)
    assert schema.pop("$defs", {}).keys() == ({"Cat", "Dog"} if "anyOf" in inner else set())
    assert schema == {
        "type": "object",
        "properties": {"value": inner},
        "required": ["value"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        (Point, '{"x": 1}', Point(1)),
        (Film, '{"title": "M"}', {"title": "M"}),
        (Pair, '[1, "a"]', Pair(1, "a")),
        (list[Cat], '[{"kind": "cat", "lives": 9}]', [Cat(kind="cat", lives=9)]),
        (int | str, ' {"value": "3"}\n', "3"),
        (Colour, '{"value": "red"}', Colour.RED),
        (None, '{"value": null}', None),
        (decimal.Decimal, '{"value": "0.12345678901234567890123"}', decimal.Decimal("0.12345678901234567890123")),
        (Annotated[Cat | Dog, Field(discriminator="kind")], '{"value": {"kind": "dog", "name": "R"}}', "Dog"),
        (Node, '{"name": "a", "inner": [{"name": "b"}]}', Node(name="a", inner=[Node(name="b")])),
        ({"type": "array", "items": {"type": "integer"}}, "[1, 2]", [1, 2]),
        ({"type": "integer", "minimum": 1}, '{"value": 1}', 1),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "object", "properties": {}}}}, '{"b": 1}', {"b": 1}),
    ],
)
def test_values(type_: Any, text: str, value: Any) -> None:
    parsed = Output(type_).parse(text)
    assert (type(parsed).__name__ if value == "Dog" else parsed) == value


class Checked(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def must_be_even(cls, n: int) -> int:
        if n == 7:
            raise KeyError("secret")
        if n % 2:
            raise ValueError("must be even")
        return n


@pytest.mark.parametrize(
    ("type_", "text", "problem"),
    [
        (int, "", "the output is not JSON: EOF while parsing a value at line 1 column 0"),
        (int, "```json\n3\n```", "the output is not JSON: expected value at line 1 column 1"),
        (float, '{"value": NaN}', "the output is not JSON: expected value at line 1 column 11"),
        (int, '{"value": 3} ok', "the output is not JSON: trailing characters at line 1 column 14"),
        (int, "3", "the output: Input should be an object"),
        (int, "{}", "value: Field required"),
        (list[Cat], '[{"kind": "cat", "lives": 0}]', "[0].lives: Input should be greater than or equal to 1"),
        (list[int], '[1, "x"]', "[1]: Input should be a valid integer, unable to parse string as an integer"),
        (Report, '{"title": "long " }', "pets: Field required\non: Field required\nbest: Field required"),
        (Checked, '{"n": 3}', "n: Value error, must be even"),
        (Checked, '{"n": 7}', "the output: its check failed with KeyError"),
        ({"type": "integer", "minimum": 1}, '{"value": 0}', "value: must be at least 1"),
        ({"type": "integer", "minimum": 1}, "0", "the output: must be an object with the key value"),
        ({"type": "integer", "minimum": 1}, "{}", "the output: must be an object with the key value"),
        ({"type": "array", "items": {"maximum": 1, "type": "integer"}}, "[1,2]", "[1]: must be at most 1"),
        ({"enum": ["a" * 600]}, '{"value": 3}', f'value: must be "{"a" * 484}'),
    ],
)
def test_what_does_not_fit(type_: Any, text: str, problem: str) -> None:
    output = Output(type_)
    with pytest.raises(InvalidOutput) as caught:
        output.parse(text)
    assert isinstance(caught.value, AgentKitError)
    assert str(caught.value) == problem
    assert output.repair(caught.value) == (
        f"Your last answer does not fit the format that was asked for:\n{problem}\n"
        "Give the whole answer again with this put right, as JSON alone."
    )


@pytest.mark.parametrize("type_", [list[int], {"type": "array", "items": {"type": "integer"}}])
def test_many_problems(type_: Any) -> None:
    with pytest.raises(InvalidOutput) as caught:
        Output(type_).parse(json.dumps(["x"] * 30))
    lines = str(caught.value).splitlines()
    assert len(lines) == 21
    assert lines[0].startswith("[0]: ")
    assert lines[-1] == "… and 10 more"


def test_deep_text_is_refused() -> None:
    for type_ in (list[int], {"type": "array"}):
        with pytest.raises(InvalidOutput, match="recursion limit exceeded"):
            Output(type_).parse("[" * 10_000 + "]" * 10_000)


class Unknown:
    pass


class Late(BaseModel):
    x: Missing  # noqa: F821


def many(count: int, type_: Any, default: Any) -> Any:
    return create_model("Many", **{f"field_{number}": (type_, default) for number in range(count)})


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (Any, "output_type Any: it may be anything: say which type it has"),
        (dict[str, int], r"output_type dict\[str, int\]: it may have any keys: name them, or make it a list of keys"),
        (list, r"output_type list at \[\]: it may be anything"),
        (Unknown, r"output_type Unknown can't be read from JSON: Unable to generate pydantic-core schema"),
        (Late, "output_type Late can't be read from JSON: .*Late.* is not fully defined"),
        (Callable[[int], int], "output_type .* can't be read from JSON: Cannot generate a JsonSchema"),
        (print, "output_type <built-in function print> is a function: give a type"),
        (3, "output_type 3 can't be read from JSON"),
        ({"type": "object"}, "the JSON Schema of output_type: it may have any keys"),
        ({1: {2}}, "can't be sent as JSON"),
        (
            many(25, int, 0),
            "output_type Many has 25 optional fields, and the API takes at most 24: leave away defaults",
        ),
        (
            many(17, int | None, ...),
            r"output_type Many has 17 fields of several types \(`\| None` counts\), and the API",
        ),
    ],
)
def test_types_that_are_refused(type_: Any, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text) as caught:
        Output(type_)
    assert "\n" not in str(caught.value)


def test_limits_that_are_just_kept() -> None:
    schema_of(many(24, int, 0))
    schema_of(many(16, int | None, ...))


def test_a_schema_whose_fault_shows_late() -> None:
    output = Output({"type": "integer", "not": {"$ref": "#/nowhere"}})
    with pytest.raises(ConfigurationError, match="the JSON Schema of output_type is no JSON Schema"):
        output.parse('{"value": 3}')


def test_pydantic_is_loaded_by_the_first_type() -> None:
    code = "import sys; from agentkit.output import Output; assert 'pydantic' not in sys.modules; Output(int)"
    subprocess.run([sys.executable, "-c", code], check=True)


# What was recorded.


@pytest.mark.recordings
@pytest.mark.skipif(not PATH.exists(), reason=MISSING)
def test_recorded_answers_are_values() -> None:
    parsed = []
    for exchange in exchanges():
        body = exchange["request_body"]
        if exchange["status"] != 200 or not isinstance(body, dict):
            continue
        asked = body.get("output_format") or (body.get("output_config") or {}).get("format")
        text = answer(exchange) if asked else ""
        if text:
            parsed.append(Output(asked["schema"]).parse(text))
    assert len(parsed) > 60
    assert any(isinstance(value, list) for value in parsed)


def answer(exchange: dict[str, Any]) -> str:
    """The text of a recorded reply that ended; empty for one that did not."""
    if exchange["response_body"]:
        reply = exchange["response_body"]
        ended = reply["stop_reason"] == "end_turn"
        return "".join(block.get("text", "") for block in reply["content"]) if ended else ""
    lines = [line[6:] for line in exchange["response_sse"].splitlines() if line.startswith("data: ")]
    events = [json.loads(line) for line in lines]
    deltas = [event.get("delta", {}) for event in events]
    if not any(delta.get("stop_reason") == "end_turn" for delta in deltas):
        return ""
    return functools.reduce(operator.add, (d.get("text", "") for d in deltas if d.get("type") == "text_delta"), "")
