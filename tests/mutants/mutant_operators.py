"""The ways in which a mutant differs from the source: those of cosmic-ray that fit, and five of ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import parso
from cosmic_ray.operators import boolean_replacer, break_continue, exception_replacer, number_replacer
from cosmic_ray.operators import comparison_operator_replacement as comparisons
from cosmic_ray.operators.binary_operator_replacement import operators as binary_operators
from cosmic_ray.operators.operator import Example, Operator
from cosmic_ray.operators.remove_decorator import RemoveDecorator
from cosmic_ray.operators.unary_operator_replacement import operators as unary_operators
from cosmic_ray.operators.zero_iteration_for_loop import ZeroIterationForLoop

__all__ = ["OPERATORS"]

_IMPORTS = ("import_name", "import_from")
_POINTLESS = ("pass", "global_stmt", "nonlocal_stmt", *_IMPORTS)
# Where the condition is among the children of what has one.
_CONDITIONS = {"if_stmt": 1, "while_stmt": 1, "assert_stmt": 1, "ternary": 2, "test": 2, "comp_if": 1, "guard": 1}
# Boundaries and opposites: all 56 pairs of cosmic-ray are more of the same.
_COMPARISONS = {
    "Lt": ("LtE", "GtE"),
    "LtE": ("Lt", "Gt"),
    "Gt": ("GtE", "LtE"),
    "GtE": ("Gt", "Lt"),
    "Eq": ("NotEq",),
    "NotEq": ("Eq",),
    "Is": ("IsNot",),
    "IsNot": ("Is",),
}
_ARITHMETIC = {"Add_Sub", "Sub_Add", "Mul_FloorDiv", "FloorDiv_Mul", "Div_Mul", "BitOr_BitAnd", "BitAnd_BitOr"}


def _place(node: Any) -> tuple[Any, Any]:
    return node.start_pos, node.end_pos


class DeleteStatement(Operator):  # type: ignore[misc]
    """`pass` in the place of a simple statement in a function."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        """As of every operator of cosmic-ray."""
        if node.type == "simple_stmt" and _in_function(node) and not _is_pointless(node.children[0]):
            yield _place(node)

    def mutate(self, node: Any, index: int) -> Any:
        """As of every operator of cosmic-ray."""
        return _in_place_of(node, "pass\n")

    @classmethod
    def examples(cls) -> Any:
        """As of every operator of cosmic-ray."""
        return (Example("def f():\n    g()\n", "def f():\n    pass\n"),)


class NegateCondition(Operator):  # type: ignore[misc]
    """`not (…)` around a condition as a whole; `AddNot` of cosmic-ray negates `a` alone in `a or b`."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        """As of every operator of cosmic-ray."""
        for at in self._at(node):
            yield _place(node.children[at])

    def mutate(self, node: Any, index: int) -> Any:
        """As of every operator of cosmic-ray."""
        at = self._at(node)[index]
        condition = node.children[at]
        node.children[at] = _in_place_of(condition, f"not ({_code(condition)})")
        return node

    @staticmethod
    def _at(node: Any) -> list[int]:
        children = getattr(node, "children", [])
        if node.type in ("if_stmt", "while_stmt"):
            return [at + 1 for at, part in enumerate(children) if _code(part) in ("if", "elif", "while")]
        return [_CONDITIONS[node.type]] if node.type in _CONDITIONS and len(children) > 1 else []

    @classmethod
    def examples(cls) -> Any:
        """As of every operator of cosmic-ray."""
        return (
            Example("if a or b: pass\n", "if not (a or b): pass\n"),
            Example("if a: pass\nelif b: pass\n", "if a: pass\nelif not (b): pass\n", occurrence=1),
            Example("x = [a for a in b if a]\n", "x = [a for a in b if not (a)]\n"),
            Example("x = a if b else c\n", "x = a if not (b) else c\n"),
        )


class SwapCalls(Operator):  # type: ignore[misc]
    """Two calls that follow each other, awaited or not, in the other order."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        """As of every operator of cosmic-ray."""
        for first, second in self._pairs(node):
            yield node.children[first].start_pos, node.children[second].end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """As of every operator of cosmic-ray."""
        first, second = self._pairs(node)[index]
        children = node.children
        children[first], children[second] = children[second], children[first]
        return node

    @staticmethod
    def _pairs(node: Any) -> list[tuple[int, int]]:
        if node.type != "suite":
            return []
        calls = [at for at, part in enumerate(node.children) if _is_call(part)]
        return [(at, at + 1) for at in calls if at + 1 in calls]

    @classmethod
    def examples(cls) -> Any:
        """As of every operator of cosmic-ray."""
        return (
            Example("async def f():\n    await a()\n    await b()\n", "async def f():\n    await b()\n    await a()\n"),
        )


class UnwrapWith(Operator):  # type: ignore[misc]
    """The body of a `with`, without it: no lock, no scope, no time limit."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        """As of every operator of cosmic-ray."""
        if self._with(node) is not None:
            yield _place(node)

    def mutate(self, node: Any, index: int) -> Any:
        """As of every operator of cosmic-ray."""
        return _in_place_of(node, f"if True:{self._with(node).children[-1].get_code()}")

    @staticmethod
    def _with(node: Any) -> Any:
        if node.type == "async_stmt":
            return node.children[1] if node.children[1].type == "with_stmt" else None
        return node if node.type == "with_stmt" and not _is_async(node) else None

    @classmethod
    def examples(cls) -> Any:
        """As of every operator of cosmic-ray."""
        return (Example("with a:\n    b()\n", "if True:\n    b()\n"),)


class ReplaceMembership(Operator):  # type: ignore[misc]
    """`in` and `not in`, each in the place of the other; cosmic-ray leaves them alone."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        """As of every operator of cosmic-ray."""
        if node.type == "comparison":
            for at in self._at(node):
                yield _place(node.children[at])

    def mutate(self, node: Any, index: int) -> Any:
        """As of every operator of cosmic-ray."""
        at = self._at(node)[index]
        operator = node.children[at]
        node.children[at] = _in_place_of(operator, "in" if _code(operator) == "not in" else "not in")
        return node

    @staticmethod
    def _at(node: Any) -> list[int]:
        return [at for at, part in enumerate(node.children) if _code(part) in ("in", "not in")]

    @classmethod
    def examples(cls) -> Any:
        """As of every operator of cosmic-ray."""
        return (Example("x = a in b\n", "x = a not in b\n"), Example("x = a not in b\n", "x = a in b\n"))


class ReplaceWord(Operator):  # type: ignore[misc]
    """A string that is one word, such as a state or a key, is another word."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        """As of every operator of cosmic-ray."""
        if node.type == "string" and node.value[1:-1].isidentifier():
            yield _place(node)

    def mutate(self, node: Any, index: int) -> Any:
        """As of every operator of cosmic-ray."""
        node.value = f"{node.value[:-1]}_{node.value[-1]}"
        return node

    @classmethod
    def examples(cls) -> Any:
        """As of every operator of cosmic-ray."""
        return (Example('x = "held"\n', 'x = "held_"\n'),)


def _code(node: Any) -> str:
    return str(node.get_code(include_prefix=False))


def _in_place_of(node: Any, code: str) -> Any:
    new = parso.parse(code)
    new.get_first_leaf().prefix = node.get_first_leaf().prefix
    return new


def _in_function(node: Any) -> bool:
    while node := node.parent:
        if node.type in ("funcdef", "lambdef"):
            return True
        if node.type == "classdef":
            return False
    return False


def _is_pointless(statement: Any) -> bool:
    is_text = statement.type in ("string", "strings")
    return is_text or statement.type in _POINTLESS or _code(statement) in ("pass", "...")


def _is_call(node: Any) -> bool:
    return node.type == "simple_stmt" and node.children[0].type in ("atom_expr", "power")


def _is_async(node: Any) -> bool:
    return node.parent is not None and node.parent.type == "async_stmt"


def _named(name: str) -> type[Operator]:
    return next(one for one in comparisons.operators() if one.__name__ == f"ReplaceComparisonOperator_{name}")


OPERATORS: tuple[Operator, ...] = tuple(
    one()
    for one in (
        DeleteStatement,
        NegateCondition,
        SwapCalls,
        UnwrapWith,
        ReplaceMembership,
        ReplaceWord,
        *(_named(f"{old}_{new}") for old, many in _COMPARISONS.items() for new in many),
        *(one for one in binary_operators() if one.__name__.partition("_")[2] in _ARITHMETIC),
        *(one for one in unary_operators() if "Delete" in one.__name__),
        boolean_replacer.ReplaceAndWithOr,
        boolean_replacer.ReplaceOrWithAnd,
        boolean_replacer.ReplaceTrueWithFalse,
        boolean_replacer.ReplaceFalseWithTrue,
        break_continue.ReplaceBreakWithContinue,
        break_continue.ReplaceContinueWithBreak,
        exception_replacer.ExceptionReplacer,
        number_replacer.NumberReplacer,
        RemoveDecorator,
        ZeroIterationForLoop,
    )
)
