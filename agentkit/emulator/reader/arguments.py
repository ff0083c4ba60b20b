"""Which client tools a question calls for: those whose every required argument it holds, by type."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from agentkit.emulator.corpus.words import content_words

__all__ = ["calls_for", "expressions", "without_expressions"]

_MAX_CALLS = 8  # of one tool, for one question
_MISSING = object()
_DATE_TIME = re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:Z|[+-]\d\d:\d\d)?")
_DATE = re.compile(r"\b\d{4}-\d\d-\d\d\b")
_NUMBER = re.compile(r"(?<![\w.])(?<![A-Za-z]-)(?:(?<![\w)])-)?\d{1,30}(?:\.\d{1,30})?(?!\w)")
_QUOTED = re.compile(r"\"([^\"\n]+)\"|“([^”\n]+)”|`([^`\n]+)`|(?<!\w)'([^'\n]+)'(?!\w)")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")
_OPERAND = r"\({0,9}(?:(?<![\w)])-)?\({0,9}\d{1,30}(?:\.\d{1,30})?(?!\w)\){0,9}"
_SUM = re.compile(rf"(?<![\w.])(?<![A-Za-z]-){_OPERAND}(?:\s{{0,9}}(?:\*\*|//|[-+*/%])\s{{0,9}}{_OPERAND}){{1,40}}")
_SPOKEN = {
    "plus": "+",
    "minus": "-",
    "times": "*",
    "multiplied by": "*",
    "divided by": "/",
    "to the power of": "**",
    "×": "*",
    "÷": "/",
    "^": "**",
}
_BETWEEN_NUMBERS = re.compile(r"(?<=[\d)])\s*(" + "|".join(map(re.escape, _SPOKEN)) + r")\s*(?=[\d(.-])")
_ARITHMETIC = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.Constant, ast.operator, ast.unaryop)


def calls_for(question: str, tools: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The calls of client tools for a question: (name, input), in the order of the tools.

    A tool with one required argument is called once for each value of it. A tool that requires nothing is
    called when the question has a word of its name.

    Args:
        question: The user's text.
        tools: The `tools` of the request; those without `input_schema` are never called.
    """
    for tool in tools:
        schema = tool.get("input_schema")
        if isinstance(schema, dict):
            for given in _inputs(tool["name"], schema, _Evidence(question)):
                yield tool["name"], given


def _inputs(name: str, schema: dict[str, Any], evidence: _Evidence) -> list[dict[str, Any]]:
    required: list[str] = schema.get("required") or []
    properties = schema.get("properties") or {}
    if not required:
        return [{}] if set(content_words(name)) & set(content_words(evidence.text)) else []
    kinds = {key: _resolved(properties.get(key), schema) for key in required}
    if len(required) == 1:
        (key,) = required
        return [{key: value} for value in evidence.several(key, kinds[key])][:_MAX_CALLS]
    given = {key: evidence.take(key, kind) for key, kind in kinds.items()}
    return [] if _MISSING in given.values() else [given]


def _resolved(kind: Any, root: dict[str, Any]) -> dict[str, Any]:
    """A property's schema, through a local reference and the first part of a union that is not null."""
    for _ in range(8):
        if not isinstance(kind, dict):
            return {}
        union = [part for part in _items(kind, "anyOf") if part != {"type": "null"}]
        definitions = root.get("$defs")
        if isinstance(kind.get("$ref"), str) and isinstance(definitions, dict):
            kind = definitions.get(kind["$ref"].rpartition("/")[2])
        elif union:
            kind = union[0]
        else:
            break
    return kind if isinstance(kind, dict) else {}


def _items(kind: dict[str, Any], key: str) -> list[Any]:
    items = kind.get(key)
    return items if isinstance(items, list) else []


class _Evidence:
    """The values that a question holds, by type; each is taken once."""

    def __init__(self, text: str) -> None:
        self.text = text
        plain = _DATE_TIME.sub(lambda match: " " * len(match[0]), text)
        self._date_times = _DATE_TIME.findall(text)
        self._dates = _DATE.findall(plain)
        self._quoted = [next(filter(None, groups)) for groups in _QUOTED.findall(text)]
        self._numbers = _NUMBER.findall(_THOUSANDS.sub("", _DATE.sub(" ", plain)))
        self._expressions = expressions(text)

    def several(self, key: str, kind: dict[str, Any]) -> list[Any]:
        """All values for the one required argument of a tool; only the first number or text."""
        if "enum" in kind:
            return [value for value in _items(kind, "enum") if self._mentions(value)]
        if _wants_expression(key, kind):
            return self._expressions
        value = self.take(key, kind)
        return [] if value is _MISSING else [value]

    def take(self, key: str, kind: dict[str, Any]) -> Any:
        """The next value that fits an argument, `_MISSING` where the question holds none."""
        if "const" in kind:
            return kind["const"]
        if "enum" in kind:
            return next((value for value in _items(kind, "enum") if self._mentions(value)), _MISSING)
        match kind.get("type"):
            case "integer" | "number" as wanted:
                return self._number(whole=wanted == "integer")
            case "array":
                return self._array(kind.get("items"))
            case "string":
                values = self._strings(key, kind)
                return values.pop(0) if values else _MISSING
        return _MISSING

    def _strings(self, key: str, kind: dict[str, Any]) -> list[str]:
        if _wants_expression(key, kind):
            return self._expressions
        if kind.get("format") == "date-time":
            return self._date_times
        if kind.get("format") == "date" or key == "date" or key.endswith("_date"):
            return self._dates
        return self._quoted

    def _number(self, *, whole: bool) -> Any:
        for written in self._numbers:
            if "." not in written or not whole:
                self._numbers.remove(written)
                return float(written) if "." in written else int(written)
        return _MISSING

    def _array(self, items: Any) -> Any:
        values: list[Any] = []
        while isinstance(items, dict) and (value := self.take("", items)) is not _MISSING and len(values) < _MAX_CALLS:
            values.append(value)
        return values or _MISSING

    def _mentions(self, value: Any) -> bool:
        return isinstance(value, str) and re.search(rf"(?i)(?<!\w){re.escape(value)}(?!\w)", self.text) is not None


def _wants_expression(key: str, kind: dict[str, Any]) -> bool:
    return key == "expression" and kind.get("type") == "string"


def expressions(text: str) -> list[str]:
    """The arithmetic in a text, as Python writes it, each once.

    >>> expressions("What is (17 + 3) * 2, and 6 times 7?")
    ['(17 + 3) * 2', '6 * 7']
    """
    return list(dict.fromkeys(written for _, _, written in _found(_normal(text))))


def without_expressions(text: str) -> str:
    """A text without its arithmetic."""
    text = _normal(text)
    for start, end, _ in reversed(list(_found(text))):
        text = f"{text[:start]} {text[end:]}"
    return text


def _normal(text: str) -> str:
    text = _THOUSANDS.sub("", _DATE.sub(" ", _DATE_TIME.sub(" ", text)))
    return _BETWEEN_NUMBERS.sub(lambda match: f" {_SPOKEN[match[1]]} ", text)


def _found(text: str) -> Iterator[tuple[int, int, str]]:
    for match in _SUM.finditer(text):
        written = _balanced(match[0])
        if _is_arithmetic(written):
            yield match.start(), match.end(), written


def _balanced(written: str) -> str:
    """Without the brackets of the sentence around it."""
    while written.count("(") > written.count(")") and written.startswith("("):
        written = written[1:]
    while written.count(")") > written.count("(") and written.endswith(")"):
        written = written[:-1]
    return " ".join(written.split())


def _is_arithmetic(written: str) -> bool:
    try:
        tree = ast.parse(written, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    parts = list(ast.walk(tree))
    return isinstance(tree.body, ast.BinOp) and all(isinstance(part, _ARITHMETIC) for part in parts)
