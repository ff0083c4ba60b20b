"""The calculator: right, bounded, and friendly when it can't."""

from __future__ import annotations

import ast
import importlib
import math
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit import ToolError
from agentkit_tools import calculator


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2+2", "4"),
        (" ( 3 +\n4 ) * 2 ", "14"),
        ("2**100", str(2**100)),
        ("2**5000 - 1", str(2**5000 - 1)),
        ("2**-1", "0.5"),
        ("(-2)**3", "-8"),
        ("10/4", "2.5"),
        ("10/5", "2"),
        ("7//2", "3"),
        ("-7%3", "2"),
        ("0.1+0.2", "0.3"),
        ("1/3", "0.333333333333333"),
        ("1e300*10", "1e+301"),
        ("1e20", "1e+20"),
        ("sqrt(16)", "4"),
        ("log(8, 2)", "3"),
        ("log(e)", "1"),
        ("sin(pi/2)", "1"),
        ("degrees(pi)", "180"),
        ("max(1, 5, 3) - min(2, 1)", "4"),
        ("abs(-3)", "3"),
        ("round(2.567, 2)", "2.57"),
        ("round(2.5)", "2"),
        ("floor(2.7) + ceil(2.1)", "5"),
        ("gcd(12, 18)", "6"),
        ("+1_000 - 0x10", "984"),
    ],
)
def test_values(expression: str, value: str) -> None:
    assert calculator(expression) == value


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("1/0", "That divides by zero."),
        ("1 % 0", "That divides by zero."),
        ("9**9**9", "The result is too large."),
        ("2.0**99999", "The result is too large."),
        ("(2**9000) * (2**9000)", "The result is too large."),
        ("(2**9000) / 0.5", "The result is too large."),
        ("1e308 * 10", "The result is too large."),
        ("1e999", "The result is too large."),
        ("exp(1000)", "The result is too large."),
        ("(-8)**0.5", "That can't be calculated: complex is no real number."),
        ("1j", "That can't be calculated: complex"),
        ("True", "That can't be calculated: bool"),
        ("'a' * 100000", "That can't be calculated: str"),
        ("min('a', 'b')", "That can't be calculated: str"),
        ("sqrt(-1)", "That can't be calculated: math domain error."),
        ("sin()", "That can't be calculated: "),
        ("round(5, -1000000000)", "That can't be calculated: round takes at most 1000 digits."),
        ("round(5, 2.5)", "That can't be calculated: "),
        ("x + 1", "That can't be calculated: 'x' is not defined"),
        ("open('f')", "That can't be calculated: Function 'open' not defined"),
        ("__import__('os')", "That can't be calculated: "),
        ("().__class__", "That can't be calculated: Sorry, Attribute is not available"),
        ("sin.__self__(1)", "That can't be calculated: Sorry, Attribute is not available"),
        ("(lambda: 1)()", "That can't be calculated: "),
        ("[1][0]", "That can't be calculated: Sorry, Subscript"),
        ("1 if 1 else 2", "That can't be calculated: Sorry, IfExp"),
        ("1 < 2", "That can't be calculated: Sorry, Compare"),
        ("10 ^ 2", "That can't be calculated: it has another operator."),
        ("~1", "That can't be calculated: it has another operator."),
        ("1,000", "That can't be calculated: Sorry, Tuple"),
        ("x = 1", "That is no arithmetic expression."),
        ("1; 2", "That is no arithmetic expression."),
        ("two plus two", "That is no arithmetic expression."),
        ("", "That is no arithmetic expression."),
        ("\0", "That is no arithmetic expression."),
        ("1" * 1001, "The expression has more than 1000 characters"),
        ("-" * 990 + "1", "The expression is nested too deeply"),
    ],
)
def test_what_it_refuses(expression: str, text: str) -> None:
    began = time.monotonic()
    with pytest.raises(ToolError) as caught:
        calculator(expression)
    assert str(caught.value).startswith(text)
    assert "0x" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - began < 20


OPERATORS = st.sampled_from(["+", "-", "*", "/", "//", "%", "**"])
FUNCTIONS = st.sampled_from(["sqrt", "abs", "sin", "exp", "log", "floor"])
LEAVES = st.integers(0, 10**6).map(str) | st.floats(0, 1e6).map(repr) | st.sampled_from(["pi", "e"])
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//", "%", "**"]), inner).map(
            lambda it: f"({' '.join(it)})"
        ),
        st.tuples(st.sampled_from(["sqrt", "abs", "sin", "exp", "log", "floor"]), inner).map(
            lambda it: f"{it[0]}({it[1]})"
        ),
        inner.map(lambda it: f"-{it}"),
    ),
    max_leaves=6,
)


@pytest.mark.slow
@given(EXPRESSIONS)
def test_it_agrees_with_python_or_refuses(expression: str) -> None:
    try:
        found = calculator(expression)
    except ToolError:
        return
    names = {name: getattr(math, name) for name in ("sqrt", "sin", "exp", "log", "floor", "pi", "e")}
    expected = eval(compile(ast.parse(expression, mode="eval"), "", "eval"), {"__builtins__": {"abs": abs}, **names})
    if isinstance(expected, int):
        assert found == str(expected)
    else:
        assert float(found) == pytest.approx(expected, rel=1e-14)


@given(st.text(max_size=60))
def test_any_text_gives_a_value_or_a_tool_error(text: str) -> None:
    try:
        assert calculator(text)
    except ToolError as error:
        assert str(error)  # noqa: PT017


def test_definition() -> None:
    assert calculator.name == "calculator"
    assert calculator.is_read
    schema = calculator.input_schema
    assert schema["required"] == ["expression"]
    assert "sqrt" in schema["properties"]["expression"]["description"]


def test_without_simpleeval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simpleeval", None)
    with pytest.raises(ToolError, match=r"agentkit-loop\[tools\]"):
        calculator("1")


@pytest.mark.slow
def test_the_tool_is_not_hidden_by_its_module() -> None:
    script = """
import importlib, sys
importlib.import_module("agentkit_tools.calculator")
from agentkit_tools import calculator
assert calculator("1+1") == "2"
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    assert importlib.import_module("agentkit_tools.calculator").calculator is calculator
