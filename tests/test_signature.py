"""What a function says of itself. No `from __future__ import annotations` here: half of the cases need real objects."""

import functools
import math
from collections.abc import Callable
from typing import Any

import pytest

from agentkit.errors import ToolDefinitionError
from agentkit.signature import first_line, first_parameter, hints_of, parameters_of, read_docstring, shown, source_of


def asks(function: Callable[..., Any]) -> list[str]:
    return list(parameters_of(function, "t"))


class Desk:
    def method(self, city: str) -> str:
        """A method."""
        return city

    def __call__(self, city: str) -> str:
        return city

    @classmethod
    def of_class(cls, city: str) -> str:
        return city


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def plain(city: str, days: int = 3) -> str:
    """Plain."""
    return city * days


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (plain, ["city", "days"]),
        (wrapped(plain), ["city", "days"]),
        (functools.partial(plain, days=2), ["city"]),
        (functools.partial(plain, "Rome"), ["days"]),
        (Desk().method, ["city"]),
        (Desk.of_class, ["city"]),
        (Desk().__call__, ["city"]),
    ],
)
def test_parameters(function: Callable[..., Any], expected: list[str]) -> None:
    assert asks(function) == expected


@pytest.mark.parametrize(
    ("function", "source"),
    [
        (plain, plain),
        (wrapped(wrapped(plain)), plain),
        (functools.partial(functools.partial(plain, "Rome"), days=1), plain),
        (functools.partial(wrapped(plain), "Rome"), plain),
        (Desk().method, Desk.method),
    ],
)
def test_source(function: Callable[..., Any], source: Callable[..., Any]) -> None:
    assert source_of(function) is source


def refusals() -> list[tuple[Callable[..., Any], str]]:
    def no_annotation(city):  # type: ignore[no-untyped-def]
        ...

    def stars(*cities: str) -> None: ...
    def two_stars(**cities: str) -> None: ...
    def positional(city: str, /) -> None: ...

    return [
        (no_annotation, r"parameter 'city': it has no annotation: say its type, as in `city: str`"),
        (lambda x: x, r"parameter 'x': it has no annotation"),
        (Desk.method, r"parameter 'self': it has no annotation: decorate the bound method, tool\(instance\.method\)"),
        (stars, r"parameter 'cities': the model can't be told what \*cities takes: name each parameter"),
        (two_stars, r"parameter 'cities': the model can't be told what \*\*cities takes"),
        (positional, r"parameter 'city': it is positional-only, .*: remove the /"),
        (dict.update, r"its signature can't be read"),
    ]


@pytest.mark.parametrize(("function", "text"), refusals())
def test_refused(function: Callable[..., Any], text: str) -> None:
    with pytest.raises(ToolDefinitionError, match=rf"^tool 't': {text}") as caught:
        parameters_of(function, "t")
    assert "\n" not in str(caught.value)


def test_first_parameter() -> None:
    first = first_parameter(plain)
    assert first is not None
    assert first.name == "city"
    assert first_parameter(lambda x: x) is None
    assert first_parameter(lambda: None) is None
    assert first_parameter(dict.update) is None


def hints(function: Callable[..., Any]) -> dict[str, Any]:
    return hints_of(function, parameters_of(function, "t"), "t")


class Outer:
    class City:
        pass

    def method(self: "Outer", city: "list[Outer.City]") -> None: ...


def test_hints() -> None:
    def given(city: str, days: "int", names: list["str"], either: "int | None" = None) -> "Unknown":  # type: ignore[name-defined] # noqa: F821
        ...

    assert hints(given) == {"city": str, "days": int, "names": list[str], "either": int | None}
    assert hints(Outer.method) == {"self": Outer, "city": list[Outer.City]}


def test_hints_name_what_is_local() -> None:
    class City:
        pass

    def inner() -> dict[str, Any]:
        class Day:
            pass

        def given(city: "City", days: "list[Day]") -> None: ...

        assert Day is not City
        return {**hints(given), "expected": list[Day]}

    found = inner()
    assert found["city"] is City
    assert found["days"] == found["expected"]


def test_the_nearest_local_name_counts() -> None:
    class Desk:
        pass

    def given(desk: "Desk") -> None: ...

    assert hints(given) == {"desk": Desk}


def test_hints_of_a_class_that_is_being_made() -> None:
    class Service:
        class Day:
            pass

        def given(day: "Day") -> None: ...  # type: ignore[misc,name-defined]

        found = hints(given)  # type: ignore[arg-type]

    assert Service.found == {"day": Service.Day}


@pytest.mark.parametrize("annotation", ["Nowhere", "not python", "1 +", "math.nowhere"])
def test_hints_that_name_nothing(annotation: str) -> None:
    def given(city: str, day: int) -> None: ...

    given.__annotations__["day"] = annotation
    with pytest.raises(ToolDefinitionError, match=r"^tool 't': parameter 'day': .* can't be resolved .*TYPE_CHECKING"):
        hints(given)


def test_hints_without_globals() -> None:
    assert hints_of(math.sqrt, {}, "t") == {}


GOOGLE = """Look up a forecast
for one city.

It is made twice a day,
at noon and at midnight:

- at noon the short one
- at midnight the long one

Args:
    city: Name of the city,
        in English.
    days (int): How many days:
        - 1 is today
        - 2 is tomorrow

    ghost: No such parameter.

Returns:
    What it will be.

Raises:
    ValueError: No such city.
"""
NUMPY = """Look up a forecast
for one city.

It is made twice a day,
at noon and at midnight:

- at noon the short one
- at midnight the long one

Parameters
----------
city : str
    Name of the city,
    in English.
days : int, optional
    How many days:
    - 1 is today
    - 2 is tomorrow
ghost
    No such parameter.

Returns
-------
str
    What it will be.
"""
REST = """Look up a forecast
for one city.

It is made twice a day,
at noon and at midnight:

- at noon the short one
- at midnight the long one

:param city: Name of the city,
    in English.
:param int days: How many days:
    - 1 is today
    - 2 is tomorrow
:param ghost: No such parameter.
:returns: What it will be.
:raises ValueError: No such city.
"""
DESCRIPTION = """Look up a forecast for one city.

It is made twice a day, at noon and at midnight:

- at noon the short one
- at midnight the long one"""


def documented(doc: str | None) -> Callable[..., Any]:
    def function() -> None: ...

    function.__doc__ = doc
    return function


@pytest.mark.parametrize("indent", ["", "    "])
@pytest.mark.parametrize("doc", [GOOGLE, NUMPY, REST], ids=["google", "numpy", "rest"])
def test_docstring(doc: str, indent: str) -> None:
    first, *rest = doc.splitlines()
    description, parameters = read_docstring(documented("\n".join([first, *(indent + line for line in rest)])))
    assert description == DESCRIPTION
    assert parameters == {
        "city": "Name of the city, in English.",
        "days": "How many days:\n- 1 is today\n- 2 is tomorrow",
        "ghost": "No such parameter.",
    }


@pytest.mark.parametrize(
    ("doc", "expected"),
    [
        (None, ""),
        ("", ""),
        ("One line.", "One line."),
        ("Wrapped\n    over two.", "Wrapped over two."),
        ("Says:\n\n    code = 1\n    more = 2\n\nDone.", "Says:\n\n    code = 1\n    more = 2\n\nDone."),
        ("Steps:\n1. one\n2) two\n| a | b |\n>>> x\n# Head", "Steps:\n1. one\n2) two\n| a | b |\n>>> x\n# Head"),
        ("It takes\n3 days.", "It takes 3 days."),
        ("Time is 3:param of it.", "Time is 3:param of it."),
        ("Only\nthis.\n\nReturns:\n    Text.", "Only this."),
        ("\n    Args:\n        x: Only parameters.\n    ", ""),
    ],
)
def test_docstring_without_parameters(doc: str | None, expected: str) -> None:
    assert read_docstring(documented(doc))[0] == expected


def test_docstring_that_breaks_its_style() -> None:
    text = "Do it.\n\n:param a b c d: too many words"
    assert read_docstring(documented(text)) == (text, {})


def test_docstring_of_what_is_not_a_plain_function() -> None:
    assert read_docstring(functools.partial(plain, days=2)) == ("Plain.", {})
    assert read_docstring(Desk().method) == ("A method.", {})
    assert read_docstring(wrapped(plain)) == ("Plain.", {})


def test_texts() -> None:
    assert shown(int) == "int"
    assert shown("x" * 100) == "x" * 80 + "…"
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(KeyError()) == "KeyError"
