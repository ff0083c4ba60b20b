"""A calculator: exact with whole numbers, bounded in size and time."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from functools import partial
from typing import Any

from agentkit import ToolError, tool

__all__ = ["calculator"]

_LONGEST = 1000
# About 3,000 digits: multiplied in microseconds, and printed within Python's own limit of 4,300.
_MOST_BITS = 10_000
_TAKES = "It takes numbers, + - * / // % ** and parentheses, functions such as sqrt(2), and pi and e."


@tool(effect="read", idempotent=True, timeout=10)
def calculator(expression: str) -> str:
    """Calculate the value of an arithmetic expression, exactly where it has only whole numbers.

    Args:
        expression: Numbers with + - * / // % ** and parentheses, pi and e, and the functions abs, min, max, round,
            floor, ceil, gcd, sqrt, exp, log (natural, or to a base: log(8, 2)), log2, log10, sin, cos, tan, asin, acos,
            atan (in radians), radians and degrees. Example: (3 + 4) * sqrt(2) / 5
    """
    if len(expression) > _LONGEST:
        raise ToolError(f"The expression has more than {_LONGEST} characters: calculate it in parts.")
    try:
        return _shown(_number(_evaluate(" ".join(expression.split()))))
    except ZeroDivisionError:
        raise ToolError("That divides by zero.") from None
    except OverflowError:
        raise ToolError("The result is too large.") from None
    except SyntaxError:
        raise ToolError(f"That is no arithmetic expression. {_TAKES}") from None
    except (RecursionError, MemoryError):
        raise ToolError("The expression is nested too deeply: calculate it in parts.") from None
    except (ValueError, TypeError) as error:
        raise ToolError(f"That can't be calculated: {error}.") from None


def _evaluate(expression: str) -> Any:
    try:
        from simpleeval import InvalidExpression, OperatorNotDefined, SimpleEval  # type: ignore[import-untyped]
    except ImportError:
        raise ToolError("The calculator is not installed: pip install 'agentkit-loop[tools]'") from None

    evaluator = SimpleEval(operators=_OPERATORS, functions=_FUNCTIONS, names={"pi": math.pi, "e": math.e})
    for kind in evaluator.nodes.keys() - _SYNTAX:
        del evaluator.nodes[kind]
    try:
        return evaluator.eval(expression, previously_parsed=ast.parse(expression, mode="eval").body)
    except OperatorNotDefined:  # whose text has a memory address
        raise ToolError(f"That can't be calculated: it has another operator. {_TAKES}") from None
    except InvalidExpression as error:
        raise ToolError(f"That can't be calculated: {str(error).rstrip('.')}. {_TAKES}") from None


def _number(value: Any) -> Any:
    """`value`, if it is a number of a size that can be calculated with."""
    if type(value) not in (int, float):
        raise ToolError(f"That can't be calculated: {type(value).__name__} is no real number. {_TAKES}")
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise OverflowError
    if isinstance(value, float) and not math.isfinite(value):
        raise OverflowError
    return value


def _bounded(function: Callable[..., Any], *values: Any) -> Any:
    return _number(function(*map(_number, values)))


def _power(base: Any, exponent: Any) -> Any:
    # Before it is calculated: that alone could take hours.
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * exponent > 2 * _MOST_BITS:
        raise OverflowError
    return base**exponent


def _round(value: Any, digits: int = 0) -> Any:
    if abs(digits) > 1000:
        raise ValueError("round takes at most 1000 digits")
    return round(value, digits) if digits else round(value)


def _shown(value: Any) -> str:
    """15 digits of a fraction, so that 0.1 + 0.2 is 0.3."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.15g}" if isinstance(value, float) else str(value)


_SYNTAX = {ast.Constant, ast.Name, ast.UnaryOp, ast.BinOp, ast.Call}
_OPERATORS = {
    ast.Add: partial(_bounded, operator.add),
    ast.Sub: partial(_bounded, operator.sub),
    ast.Mult: partial(_bounded, operator.mul),
    ast.Div: partial(_bounded, operator.truediv),
    ast.FloorDiv: partial(_bounded, operator.floordiv),
    ast.Mod: partial(_bounded, operator.mod),
    ast.Pow: partial(_bounded, _power),
    ast.USub: partial(_bounded, operator.neg),
    ast.UAdd: partial(_bounded, operator.pos),
}
_NAMES = "floor ceil gcd sqrt exp log log2 log10 sin cos tan asin acos atan radians degrees"
_FUNCTIONS = {
    name: partial(_bounded, function)
    for name, function in {
        **{name: getattr(math, name) for name in _NAMES.split()},
        "abs": abs,
        "min": min,
        "max": max,
        "round": _round,
    }.items()
}
