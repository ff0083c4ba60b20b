"""Mutants of a module, each with a name that outlives edits of other lines, and the list of equivalent ones."""

from __future__ import annotations

import copy
import difflib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import parso
from cosmic_ray.ast import ast_nodes
from mutant_operators import OPERATORS

__all__ = ["Mutant", "mutants_of", "read_equivalents"]

_FOR_SPEED_ALONE = ("slots=True", "fast_acquire=True")


@dataclass(frozen=True)
class Mutant:
    """One change of a module.

    Attributes:
        module: Its name, such as `step`.
        function: Where, with its class; `-` outside of functions.
        kind: The operator.
        old: The lines that are changed, without indentation.
        new: What they become.
        number: Which one, where a function has several of these.
        first: The first line that is changed.
        last: The last one.
        source: The whole module, changed.
    """

    module: str
    function: str
    kind: str
    old: str
    new: str
    number: int = 1
    first: int = field(default=0, compare=False)
    last: int = field(default=0, compare=False)
    source: str = field(default="", compare=False, repr=False)

    def __str__(self) -> str:
        """As the list of equivalent ones has it."""
        number = f" #{self.number}" if self.number > 1 else ""
        old, new = (text.replace("\n", f"\n{sign} ") for text, sign in ((self.old, "-"), (self.new, "+")))
        return f"{self.module} {self.function} {self.kind}{number}\n- {old}\n+ {new}"


def mutants_of(path: Path) -> list[Mutant]:
    """All mutants of a module, in the order of their lines; one for each different program.

    Args:
        path: The file of the module.
    """
    source = path.read_text("utf-8")
    lines = source.splitlines(keepends=True)
    seen = {_program(source), None}
    numbers: Counter[Mutant] = Counter()
    found = []
    for node in ast_nodes(parso.parse(source)):
        if _is_left_alone(node):
            continue
        for operator in OPERATORS:
            for index, _ in enumerate(operator.mutation_positions(node)):
                text = _changed(lines, node, operator, index)
                if (program := _program(text)) in seen:
                    continue
                seen.add(program)
                first, last, old, new = _difference(lines, text.splitlines(keepends=True))
                named = Mutant(path.stem, _function(node), _kind(operator), old, new)
                numbers[named] += 1
                found.append(Mutant(*_name(named), numbers[named], first, last, text))
    return sorted(found, key=lambda mutant: (mutant.first, mutant.kind))


def read_equivalents(path: Path) -> dict[Mutant, str]:
    """The mutants that no test can kill, with the reason of each.

    The file has a paragraph for each, as `str(mutant)` gives it, and then a line `= reason`; `#` begins a remark.

    Raises:
        ValueError: A paragraph is none of these.
    """
    text = "\n".join(line for line in path.read_text("utf-8").splitlines() if not line.startswith("#"))
    return dict(_read(paragraph) for paragraph in text.split("\n\n") if paragraph.strip())


def _read(paragraph: str) -> tuple[Mutant, str]:
    head, *lines = paragraph.strip().splitlines()
    try:
        module, function, kind, *number = head.split()
        old, new, reason = ("\n".join(line[2:] for line in lines if line.startswith(sign)) for sign in "-+=")
        if not reason:
            raise ValueError("no reason")
        return Mutant(module, function, kind, old, new, int(number[0][1:]) if number else 1), reason
    except ValueError as error:
        raise ValueError(f"not a mutant with its reason ({error}):\n{paragraph}") from None


def _name(mutant: Mutant) -> tuple[str, str, str, str, str]:
    return mutant.module, mutant.function, mutant.kind, mutant.old, mutant.new


def _kind(operator: Any) -> str:
    return type(operator).__name__.removeprefix("Replace").removesuffix("Operator")


def _is_left_alone(node: Any) -> bool:
    """Annotations, imports, `__all__`, `if TYPE_CHECKING`, options for speed alone; signals to who knows what."""
    inner = node
    while parent := inner.parent:
        if parent.type in ("import_from", "import_name"):
            return True
        if parent.type == "argument" and _code(parent) in _FOR_SPEED_ALONE:
            return True
        if parent.type == "atom_expr" and _code(parent).startswith("os.kill("):
            return True
        if parent.type == "tfpdef" or (parent.type == "annassign" and inner is parent.children[1]):
            return True
        if parent.type == "funcdef" and inner is parent.children[-3] and _code(parent.children[-4]) == "->":
            return True
        if parent.type == "expr_stmt" and _code(parent).startswith(("__all__", "Reaction:", "Step:", "_Job:")):
            return True
        if parent.type == "if_stmt" and _code(parent.children[1]) == "TYPE_CHECKING":
            return True
        inner = parent
    return node.type == "if_stmt" and _code(node.children[1]) == "TYPE_CHECKING"


def _changed(lines: list[str], node: Any, operator: Any, index: int) -> str:
    parent, node.parent = node.parent, None
    try:
        twin = copy.deepcopy(node)
    finally:
        node.parent = parent
    twin.parent = parent  # operators look at it
    before, after = _around(lines, node)
    new = operator.mutate(twin, index)
    text = "" if new is None else new.get_code(include_prefix=False).lstrip(" ")
    return f"{before}{text}{after}"


def _around(lines: list[str], node: Any) -> tuple[str, str]:
    (top, left), (bottom, right) = node.start_pos, node.end_pos
    before = "".join(lines[: top - 1]) + lines[top - 1][:left]
    after = (lines[bottom - 1][right:] if bottom <= len(lines) else "") + "".join(lines[bottom:])
    return before, after


def _program(text: str) -> str | None:
    """The program without its layout, None if it is none."""
    try:
        compile(text, "mutant", "exec")
    except (SyntaxError, ValueError):
        return None
    return "".join(text.split())


def _difference(old: list[str], new: list[str]) -> tuple[int, int, str, str]:
    changes = [
        one for one in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes() if one[0] != "equal"
    ]
    first, last = changes[0][1], max(changes[-1][2], changes[0][1] + 1)
    stop = last + len(new) - len(old)
    return first + 1, last, _trimmed(old[first:last]), _trimmed(new[first:stop])


def _trimmed(lines: Iterable[str]) -> str:
    return "\n".join(line.strip() for line in lines if line.strip())


def _function(node: Any) -> str:
    return ".".join(reversed(list(_names(node)))) or "-"


def _names(node: Any) -> Iterator[str]:
    inner = node
    while inner := inner.parent:
        if inner.type in ("funcdef", "classdef"):
            yield inner.name.value


def _code(node: Any) -> str:
    return str(node.get_code(include_prefix=False))
