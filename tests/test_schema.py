"""Signature and docstring → schema and validator."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import decimal
import enum
import json
import pathlib
import string
import typing
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Generic, Literal, NamedTuple, Optional, TypeVar

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, RootModel
from typing_extensions import TypedDict

from agentkit.errors import ToolDefinitionError, ToolError
from agentkit.schema import FunctionSchema, GivenSchema, InvalidInput

T = TypeVar("T")


class Context(Generic[T]):
    """Stands in for RunContext."""


class Unit(enum.Enum):
    """How to count."""

    CELSIUS = "c"
    KELVIN = "k"


class Strange:
    pass


class City(BaseModel):
    """A place."""

    title: str
    zip_code: str | None = None
    tags: list[str] = Field(default=[], description="What it is known for.", title="Known for")


class Region(BaseModel):
    model_config = ConfigDict(title="A region")
    capital: City
    regions: list[Region] = []


class Empty(BaseModel):
    pass


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    day: datetime.date
    unit: Unit


class Box(BaseModel, Generic[T]):
    inside: T


class Numbers(RootModel[list[int]]):
    pass


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0


class Options(TypedDict, total=False):
    depth: typing.Required[int]
    quiet: bool


class Pair(NamedTuple):
    left: int
    right: str


class Discriminated(BaseModel):
    kind: Literal["a"]


class Other(BaseModel):
    kind: Literal["b"]


def schema_of(function: Callable[..., Any]) -> FunctionSchema:
    return FunctionSchema(function, "t", Context)


def of_type(annotation: Any, default: Any = dataclasses.MISSING) -> FunctionSchema:
    """The schema of a function whose parameter `x` has this annotation."""

    def with_default(x: Any = default) -> None: ...

    def without(x: Any) -> None: ...

    function = without if default is dataclasses.MISSING else with_default
    function.__annotations__["x"] = annotation
    return schema_of(function)


def problems(schema: FunctionSchema | GivenSchema, value: object) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        schema.validate(value)
    assert isinstance(caught.value, ToolError)
    assert isinstance(caught.value.content, str)
    return caught.value.content.splitlines()


# The schema.


def test_schema() -> None:
    def lookup(ctx: Context[int], city: str, days: int = 3, unit: Unit = Unit.CELSIUS, at: City | None = None) -> str:
        """Look up a forecast.

        Args:
            city: Name of the city,
                in English.
            at: To be exact.
        """
        return f"{ctx}{city}{days}{unit}{at}"

    schema = schema_of(lookup)
    assert schema.takes_context
    assert schema.description == "Look up a forecast."
    assert schema.input_schema == {
        "type": "object",
        "properties": {
            "city": {"description": "Name of the city, in English.", "type": "string"},
            "days": {"type": "integer", "default": 3},
            "unit": {"$ref": "#/$defs/Unit", "default": "c"},
            "at": {
                "description": "To be exact.",
                "anyOf": [{"$ref": "#/$defs/City"}, {"type": "null"}],
                "default": None,
            },
        },
        "required": ["city"],
        "additionalProperties": False,
        "$defs": {
            "Unit": {"description": "How to count.", "enum": ["c", "k"], "type": "string"},
            "City": {
                "description": "A place.",
                "properties": {
                    "title": {"type": "string"},
                    "zip_code": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
                    "tags": {
                        "default": [],
                        "description": "What it is known for.",
                        "items": {"type": "string"},
                        "title": "Known for",
                        "type": "array",
                    },
                },
                "required": ["title"],
                "type": "object",
                "additionalProperties": False,
            },
        },
    }


def test_schema_of_nothing() -> None:
    def now() -> str:
        return ""

    schema = schema_of(now)
    assert not schema.takes_context
    assert schema.input_schema == {"type": "object", "properties": {}, "additionalProperties": False}
    assert schema.validate({}) == {}
    assert problems(schema, {"x": 1}) == ["x: Unexpected argument (this tool takes nothing)"]


def test_schema_of_the_context_alone() -> None:
    def now(ctx: Context) -> None: ...  # type: ignore[type-arg]

    schema = schema_of(now)
    assert schema.takes_context
    assert schema.input_schema["properties"] == {}


def test_the_schema_is_a_copy() -> None:
    schema = of_type(list[City])
    schema.input_schema["properties"]["x"]["items"].clear()
    schema.input_schema["$defs"].clear()
    assert schema.input_schema["properties"]["x"]["items"] == {"$ref": "#/$defs/City"}
    assert set(schema.input_schema["$defs"]) == {"City"}


def test_equal_annotations_keep_their_order() -> None:
    """`int | str == str | int`, but the bytes of a definition must not depend on which came first."""
    orders = [
        [part["type"] for part in of_type(it).input_schema["properties"]["x"]["anyOf"]] for it in (int | str, str | int)
    ]
    assert orders == [["integer", "string"], ["string", "integer"]]


def test_recursion_and_titles() -> None:
    schema = of_type(Region).input_schema
    assert schema["properties"]["x"] == {"$ref": "#/$defs/Region"}
    assert set(schema["$defs"]) == {"City", "Region"}
    assert schema["$defs"]["Region"]["title"] == "A region"
    assert schema["$defs"]["Region"]["properties"]["regions"]["items"] == {"$ref": "#/$defs/Region"}


def test_two_models_of_one_name() -> None:
    def make() -> type[BaseModel]:
        class City(BaseModel):
            mayor: str

        return City

    def both(one: City, two: object) -> None: ...

    both.__annotations__["two"] = make()
    schema = schema_of(both)
    assert len(schema.input_schema["$defs"]) == 2
    found = schema.validate({"one": {"title": "Rome"}, "two": {"mayor": "R."}})
    assert [type(value).__name__ for value in found.values()] == ["City", "City"]
    assert type(found["one"]) is not type(found["two"])


@pytest.mark.parametrize(
    ("annotation", "closed"),
    [(City, True), (Empty, True), (Point, True), (Options, True), (Box[int], True), (Open, False)],
)
def test_objects_are_closed(annotation: Any, closed: bool) -> None:
    schema = of_type(annotation).input_schema
    [(name, definition)] = schema["$defs"].items()
    assert definition["additionalProperties"] is not closed
    assert "title" not in definition
    assert schema["properties"]["x"] == {"$ref": f"#/$defs/{name}"}


@pytest.mark.parametrize(
    ("annotation", "default", "shown"),
    [
        (int, 3, 3),
        (int | None, None, None),
        (str, "a", "a"),
        (list[int], (), []),
        (float, float("nan"), None),
        (Unit, Unit.KELVIN, "k"),
        (datetime.date, datetime.date(2026, 1, 2), "2026-01-02"),
        (City, City(title="Rome"), {"title": "Rome", "zip_code": None, "tags": []}),
        (int, None, None),
        (decimal.Decimal, decimal.Decimal("1.5"), "1.5"),
    ],
)
def test_defaults(annotation: Any, default: Any, shown: Any) -> None:
    schema = of_type(annotation, default)
    assert schema.input_schema["properties"]["x"]["default"] == shown
    assert "required" not in schema.input_schema
    assert schema.validate({}) == {}


def test_a_default_that_json_has_not_is_left_out() -> None:
    schema = of_type(Any, object())
    assert schema.input_schema["properties"]["x"] == {}
    assert "required" not in schema.input_schema


def test_pydantic_fields() -> None:
    def search(
        query: Annotated[str, Field(description="What to find.", min_length=2)],
        limit: int = Field(10, ge=1, le=50, description="How many."),
        tags: list[str] = Field(default_factory=list),  # noqa: B008
        page: Annotated[int, "not a field", Field(gt=0), Field(default=1)] = 2,
        sort: Annotated[str, Field(default="date")] = Field(description="By what."),  # type: ignore[assignment]
        must: str = Field(description="Required."),
    ) -> None:
        """Search.

        Args:
            query: The docstring's words.
            tags: Only these.
        """

    schema = schema_of(search)
    assert schema.input_schema["properties"] == {
        "query": {"description": "What to find.", "minLength": 2, "type": "string"},
        "limit": {"default": 10, "description": "How many.", "maximum": 50, "minimum": 1, "type": "integer"},
        "tags": {"description": "Only these.", "items": {"type": "string"}, "type": "array"},
        "page": {"default": 2, "exclusiveMinimum": 0, "type": "integer"},
        "sort": {"default": "date", "description": "By what.", "type": "string"},
        "must": {"description": "Required.", "type": "string"},
    }
    assert schema.input_schema["required"] == ["query", "must"]
    first, second = (schema.validate({"query": "it", "must": ""}) for _ in range(2))
    assert first == {"query": "it", "limit": 10, "tags": [], "sort": "date", "must": ""}
    assert first["tags"] is not second["tags"]
    assert problems(schema, {"query": "i", "limit": 0, "page": 0, "must": ""}) == [
        "query: String should have at least 2 characters (got 'i')",
        "limit: Input should be greater than or equal to 1 (got 0)",
        "page: Input should be greater than 0 (got 0)",
    ]


# What can't be a tool.


def refusals() -> list[tuple[Callable[..., Any], str]]:
    def late(city: str, ctx: Context[int]) -> None: ...
    def keyword(*, ctx: Context[int]) -> None: ...
    def optional(ctx: Context[int] | None) -> None: ...
    def twice(ctx: Context[int], other: Context[int]) -> None: ...
    def strange(city: str, thing: Strange) -> None: ...
    def call(then: Callable[[int], int]) -> None: ...
    def kind(of: type) -> None: ...
    def alias(city: Annotated[str, Field(alias="from")]) -> None: ...
    def other_alias(city: str = Field(validation_alias="from")) -> None: ...
    def accent(größe: int) -> None: ...
    def long(x: int) -> None: ...
    def number(x: 5) -> None: ...  # type: ignore[valid-type]
    def bad_field(x: Annotated[str, Field(gt=1, pattern="(")]) -> None: ...

    long.__annotations__ = {"x" * 65: "int"}
    long.__code__ = long.__code__.replace(co_varnames=("x" * 65,))
    return [
        (late, "'ctx': Context is for the first parameter, alone"),
        (keyword, "'ctx': Context is for the first parameter, alone, not after a *"),
        (optional, "'ctx': Context is for the first parameter"),
        (twice, "'other': Context is for the first parameter"),
        (strange, "'thing': Strange can't be read from JSON"),
        (call, "'then': collections.abc.Callable[[int], int] can't be read from JSON"),
        (kind, "'of': type can't be read from JSON"),
        (alias, "'city': a Field's alias has no effect here: rename the parameter"),
        (other_alias, "'city': a Field's alias has no effect here"),
        (accent, "'größe': the API takes letters of ASCII"),
        (long, f"'{'x' * 65}': the API takes"),
        (number, "'x': 5 can't be read from JSON"),
        (bad_field, "'x': typing.Annotated[str, FieldInfo("),
    ]


@pytest.mark.parametrize(("function", "text"), refusals())
def test_refused(function: Callable[..., Any], text: str) -> None:
    with pytest.raises(ToolDefinitionError) as caught:
        schema_of(function)
    assert str(caught.value).startswith(f"tool 't': parameter {text}")
    assert "\n" not in str(caught.value)


def test_a_model_that_is_not_finished() -> None:
    class Half(BaseModel):
        other: Missing  # type: ignore[name-defined] # noqa: F821

    with pytest.raises(ToolDefinitionError, match=r"parameter 'x': .*Half can't be read .*not fully defined"):
        of_type(Half)


# The validator.


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (int, 3, 3),
        (int, "3", 3),
        (int, 3.0, 3),
        (float, 3, 3.0),
        (str, "é\0🙂", "é\0🙂"),
        (bool, True, True),
        (None, None, None),
        (Any, {"a": [1]}, {"a": [1]}),
        (dict, {"a": [1]}, {"a": [1]}),
        (object, [1], [1]),
        (Literal["a", 1], 1, 1),
        (Unit, "k", Unit.KELVIN),
        (int | str, "3", "3"),
        (Optional[int], None, None),  # noqa: UP045
        (list[int | None], [1, None], [1, None]),
        (set[int], [1, 1], {1}),
        (tuple[int, str], [1, "a"], (1, "a")),
        (dict[int, str], {"1": "a"}, {1: "a"}),
        (bytes, "ab", b"ab"),
        (datetime.datetime, "2026-01-02T03:04:05Z", datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)),
        (datetime.timedelta, "PT2H", datetime.timedelta(hours=2)),
        (decimal.Decimal, "1.10", decimal.Decimal("1.10")),
        (uuid.UUID, "12345678123456781234567812345678", uuid.UUID("12345678123456781234567812345678")),
        (pathlib.Path, "a/b", pathlib.Path("a/b")),
        (City, {"title": "Rome"}, City(title="Rome")),
        (list[City], [{"title": "Rome"}], [City(title="Rome")]),
        (Region, {"capital": {"title": "R"}, "regions": []}, Region(capital=City(title="R"))),
        (Strict, {"day": "2026-01-02", "unit": "c"}, Strict(day=datetime.date(2026, 1, 2), unit=Unit.CELSIUS)),
        (Point, {"x": 1}, Point(1.0)),
        (Options, {"depth": 2}, {"depth": 2}),
        (Pair, [1, "a"], Pair(1, "a")),
        (Box[int], {"inside": 1}, Box[int](inside=1)),
        (Annotated[Discriminated | Other, Field(discriminator="kind")], {"kind": "b"}, Other(kind="b")),
        (Annotated[int, Field(gt=1)], 2, 2),
        (Annotated[int, ["no hash"]], 2, 2),
        (Numbers, [1], Numbers([1])),
        (pydantic.SecretStr, "hush", pydantic.SecretStr("hush")),
    ],
)
def test_values(annotation: Any, value: Any, expected: Any) -> None:
    schema = of_type(annotation)
    before = copy.deepcopy(value)
    found = schema.validate({"x": value})
    assert found == {"x": expected}
    assert type(found["x"]) is type(expected)
    assert value == before
    if isinstance(value, dict | list):
        assert found["x"] is not value
    assert set(schema.input_schema) <= {"type", "properties", "required", "additionalProperties", "$defs"}
    json.dumps(schema.input_schema, allow_nan=False)


def test_any_shares_nothing_with_the_input() -> None:
    value: Any = {"x": {"deep": [{"er": 1}]}}
    for schema in (of_type(Any), of_type(dict[str, Any]), GivenSchema({"type": "object"}, "t", print, Context)):
        schema.validate(value)["x"]["deep"][0]["er"] = 2
        assert value == {"x": {"deep": [{"er": 1}]}}


@pytest.mark.parametrize(
    ("annotation", "value", "texts"),
    [
        (int, "x", ["x: Input should be a valid integer, unable to parse string as an integer (got 'x')"]),
        (int, None, ["x: Input should be a valid integer (got None)"]),
        (int, [1], ["x: Input should be a valid integer"]),
        (int, "9" * 5000, [f"x: Unable to parse input string as an integer, exceeded maximum size (got '{'9' * 79}…)"]),
        (
            list[City],
            [{"title": "R"}, {"tags": [1]}],
            ["x[1].title: Field required", "x[1].tags[0]: Input should be a valid string (got 1)"],
        ),
        (
            dict[str, int],
            {"k" * 99: "v"},
            [f"x.{'k' * 80}…: Input should be a valid integer, unable to parse string as an integer (got 'v')"],
        ),
        (Unit, "f", ["x: Input should be 'c' or 'k' (got 'f')"]),
        (
            str,
            "\ud800",
            [
                "x: Error serializing to JSON: UnicodeEncodeError: "
                "'utf-8' codec can't encode character '\\ud800' in position 0: surrogates not allowed"
            ],
        ),
        (str, object(), ["x: Unable to serialize unknown type: <class 'object'>"]),
    ],
)
def test_problems(annotation: Any, value: Any, texts: list[str]) -> None:
    assert problems(of_type(annotation), {"x": value}) == texts


def test_several_problems() -> None:
    def function(a: int, b: int, *, c: int = 1) -> None: ...

    found = problems(schema_of(function), {"b": "x", "d": 1, "c": 2.5, "e" * 99: 2})
    assert found == [
        "a: Field required",
        "b: Input should be a valid integer, unable to parse string as an integer (got 'x')",
        "c: Input should be a valid integer, got a number with a fractional part (got 2.5)",
        "d: Unexpected argument (this tool takes a, b, c)",
        f"{'e' * 80}…: Unexpected argument (this tool takes a, b, c)",
    ]


def test_many_problems() -> None:
    found = problems(of_type(list[int]), {"x": ["a"] * 50})
    assert len(found) == 21
    assert found[0].startswith("x[0]: ")
    assert found[-1] == "… and 30 more"


@pytest.mark.parametrize("name", ["password", "api_key", "auth_token"])
def test_secrets_are_not_repeated(name: str) -> None:
    def function(x: str) -> None: ...

    function.__annotations__ = {name: "int"}
    function.__code__ = function.__code__.replace(co_varnames=(name,))
    found = problems(schema_of(function), {name: "hunter2"})
    assert found == [f"{name}: Input should be a valid integer, unable to parse string as an integer"]


def test_a_check_of_the_users_that_fails() -> None:
    def known(value: int) -> int:
        raise ValueError("no " + "x" * 1000)

    def unknown(value: int) -> int:
        raise KeyError("a secret")

    [text] = problems(of_type(Annotated[int, pydantic.AfterValidator(known)]), {"x": 1})
    assert text == f"x: Value error, no {'x' * 484}… (got 1)"
    assert problems(of_type(Annotated[int, pydantic.AfterValidator(unknown)]), {"x": 1}) == [
        "x: its check failed with KeyError"
    ]


def test_a_default_that_fails() -> None:
    def function(x: int = Field(default_factory=lambda: 1 // 0)) -> None: ...

    assert problems(schema_of(function), {}) == ["x: its check failed with ZeroDivisionError"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([1], "the input should be an object, not an array"),
        ("x", "the input should be an object, not a string"),
        (None, "the input should be an object, not null"),
        (3, "the input should be an object, not a int"),
        ({"INVALID_JSON": '{"x": '}, "the input was not valid JSON: send it again as one JSON object"),
    ],
)
def test_not_an_object(value: object, text: str) -> None:
    assert problems(of_type(int), value) == [text]
    assert problems(GivenSchema({"type": "object"}, "t", print, Context), value) == [text]


def test_deep_input() -> None:
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    with pytest.raises(InvalidInput):
        of_type(Any).validate({"x": deep})
    for _ in range(5000):
        deep = [deep]
    for schema in (of_type(Any), GivenSchema({"type": "object"}, "t", print, Context)):
        with pytest.raises(InvalidInput):
            schema.validate({"x": deep})


# Schema and validator are of one mind.

LEAVES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, st.integers(-(2**63), 2**63)),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (bool, st.booleans()),
    (str, st.text()),
    (type(None), st.none()),
    (datetime.date, st.dates()),
    (datetime.timedelta, st.timedeltas(datetime.timedelta(0), datetime.timedelta(days=10**6))),
    (decimal.Decimal, st.decimals(allow_nan=False, allow_infinity=False, places=3)),
    (uuid.UUID, st.uuids()),
    (Unit, st.sampled_from(Unit)),
    (Literal["a", "b"], st.sampled_from(["a", "b"])),
    (Annotated[int, Field(ge=0, le=9)], st.integers(0, 9)),
    (City, st.builds(City, title=st.text(), zip_code=st.none() | st.text(), tags=st.lists(st.text(), max_size=2))),
    (Point, st.builds(Point, st.floats(allow_nan=False, allow_infinity=False), st.just(1.0))),
    (Region, st.builds(Region, capital=st.builds(City, title=st.text()), regions=st.just([]))),
]
TypeAndValues = tuple[Any, st.SearchStrategy[Any]]


def containers(inner: st.SearchStrategy[TypeAndValues]) -> st.SearchStrategy[TypeAndValues]:
    return st.one_of(
        inner.map(lambda it: (list[it[0]], st.lists(it[1], max_size=3))),  # type: ignore[name-defined]
        inner.map(lambda it: (dict[str, it[0]], st.dictionaries(st.text(), it[1], max_size=3))),  # type: ignore[name-defined]
        inner.map(lambda it: (it[0] | None, st.none() | it[1])),
        st.tuples(inner, inner).map(lambda two: (tuple[two[0][0], two[1][0]], st.tuples(two[0][1], two[1][1]))),  # type: ignore[misc]
    )


TYPES = st.recursive(st.sampled_from(LEAVES), containers, max_leaves=4)


@given(
    data=st.data(),
    parameters=st.dictionaries(st.text(string.ascii_lowercase, min_size=1, max_size=8), TYPES, max_size=4),
)
def test_what_the_annotation_allows_comes_back(data: st.DataObject, parameters: dict[str, TypeAndValues]) -> None:
    names = {f"p_{name}": it for name, it in parameters.items()}
    source = f"def function({', '.join(names)}): ..."
    scope: dict[str, Any] = {}
    exec(source, scope)
    scope["function"].__annotations__ = {name: annotation for name, (annotation, _) in names.items()}
    schema = schema_of(scope["function"])

    shape = schema.input_schema
    assert shape["type"] == "object"
    assert not {"oneOf", "anyOf", "allOf", "$ref"} & shape.keys()
    assert shape["additionalProperties"] is False
    assert list(shape["properties"]) == shape.get("required", []) == list(names)
    encoded = json.dumps(shape, allow_nan=False)
    assert encoded == json.dumps(schema_of(scope["function"]).input_schema)
    for reference in {part.split('"')[0] for part in encoded.split('"#/$defs/')[1:]}:
        assert reference in shape["$defs"]

    values = {name: data.draw(strategy) for name, (_, strategy) in names.items()}
    sent = {
        name: pydantic.TypeAdapter(names[name][0]).dump_python(value, mode="json") for name, value in values.items()
    }
    before = copy.deepcopy(sent)
    assert schema.validate(sent) == values
    assert sent == before


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(value=st.dictionaries(st.sampled_from(["x", "y"]), JSON) | JSON, it=TYPES)
def test_any_input_validates_or_says_why(value: Any, it: TypeAndValues) -> None:
    before = copy.deepcopy(value)
    try:
        found = of_type(it[0]).validate(value)
    except InvalidInput as error:
        assert error.content  # noqa: PT017
        assert len(error.content) < 40_000  # noqa: PT017
    else:
        assert found.keys() == {"x"}
    assert value == before


# Known by a schema alone.


def test_given_schema() -> None:
    written: dict[str, Any] = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A"}},
        "$defs": {"A": {"not": {}}},
    }
    schema = GivenSchema(written, "t", lambda **_: None, Context)
    assert schema.input_schema == written
    assert schema.description == ""
    assert not schema.takes_context
    schema.input_schema["properties"].clear()
    written["properties"].clear()
    assert schema.input_schema["properties"] == {"a": {"$ref": "#/$defs/A"}}
    assert schema.validate({"anything": [1]}) == {"anything": [1]}


def test_given_schema_finds_the_context() -> None:
    def asks(ctx: Context[int], /, **rest: Any) -> None: ...
    def asks_not(a: int) -> None: ...

    assert GivenSchema({"type": "object"}, "t", asks, Context).takes_context
    assert not GivenSchema({"type": "object"}, "t", asks_not, Context).takes_context
    assert not GivenSchema({"type": "object"}, "t", dict.update, Context).takes_context


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({}, '"type": "object" at its root'),
        ({"type": "array"}, '"type": "object" at its root'),
        ([], '"type": "object" at its root'),
        ({"type": "object", "anyOf": []}, "can't have anyOf at its root"),
        ({"type": "object", "oneOf": [], "allOf": []}, "can't have allOf at its root"),
        ({"type": "object", "default": {1}}, "input_schema can't be sent as JSON"),
    ],
)
def test_given_schema_is_refused(schema: Any, text: str) -> None:
    with pytest.raises(ToolDefinitionError, match=rf"^tool 't': .*{text}"):
        GivenSchema(schema, "t", print, Context)
