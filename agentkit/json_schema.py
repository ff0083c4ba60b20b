"""JSON Schema (draft 2020-12): what in a value does not fit one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from operator import ge, gt, le, lt
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import unquote

__all__ = ["CONSTRAINTS", "TYPES", "at", "misfits", "target"]

_Path: TypeAlias = tuple[str | int, ...]
_Misfit: TypeAlias = tuple[_Path, str]

TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: not isinstance(value, bool) and isinstance(value, int | float) and value % 1 == 0,
    "number": lambda value: not isinstance(value, bool) and isinstance(value, int | float),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}
"""The types of JSON, and whether a value is of one."""


class _Constraint(NamedTuple):
    type: str
    holds: Callable[[Any, Any], bool]
    words: str


def _matches(text: str, pattern: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:  # of another dialect: it can't be checked here
        return True


CONSTRAINTS = {
    "minimum": _Constraint("number", ge, "be at least {}"),
    "maximum": _Constraint("number", le, "be at most {}"),
    "exclusiveMinimum": _Constraint("number", gt, "be more than {}"),
    "exclusiveMaximum": _Constraint("number", lt, "be less than {}"),
    "multipleOf": _Constraint(
        "number", lambda number, step: Decimal(str(number)) % Decimal(str(step)) == 0, "be a multiple of {}"
    ),
    "minLength": _Constraint("string", lambda text, least: len(text) >= least, "have at least {} characters"),
    "maxLength": _Constraint("string", lambda text, most: len(text) <= most, "have at most {} characters"),
    "pattern": _Constraint("string", _matches, "match the pattern {}"),
    "minItems": _Constraint("array", lambda items, least: len(items) >= least, "have at least {} items"),
    "maxItems": _Constraint("array", lambda items, most: len(items) <= most, "have at most {} items"),
    "uniqueItems": _Constraint(
        "array", lambda items, _: len(set(map(_key, items))) == len(items), "have no two equal items"
    ),
    "minProperties": _Constraint("object", lambda value, least: len(value) >= least, "have at least {} keys"),
    "maxProperties": _Constraint("object", lambda value, most: len(value) <= most, "have at most {} keys"),
}
"""Keywords that narrow a type: which, whether a value holds to it, and what follows "must" in words."""


def misfits(value: Any, schema: Any, path: _Path = ()) -> Iterator[str]:
    """What in `value` does not fit `schema`: a line for each problem, with its path.

    `format`, `contains`, `propertyNames`, `dependent…` and `unevaluated…` are not looked at.

    Args:
        value: JSON.
        schema: A JSON Schema; references lead to within it.
        path: Where `value` is.

    Raises:
        LookupError: A reference leads nowhere.
    """
    for where, text in _misfits(value, schema, schema, path):
        yield f"{at(where)}: {text}"


def at(path: Sequence[str | int]) -> str:
    """A path as people write it: `items[0].price`; of the whole, `the output`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part[:80]}" for part in path)
    return text.removeprefix(".") or "the output"


def target(root: Any, ref: Any) -> Any:
    """What a `$ref` leads to, within `root`.

    Raises:
        LookupError: Nothing, or something elsewhere.
    """
    start, *parts = str(ref).split("/")
    if start != "#":
        raise LookupError(ref)
    for part in parts:
        key = unquote(part).replace("~1", "/").replace("~0", "~")
        if not isinstance(root, Mapping) or key not in root:
            raise LookupError(ref)
        root = root[key]
    return root


def _misfits(value: Any, schema: Any, root: Any, path: _Path) -> Iterator[_Misfit]:
    if schema is False:
        yield path, "nothing may be here"
    if not isinstance(schema, Mapping):
        return
    kinds = schema.get("type", list(TYPES))
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if not any(TYPES[kind](value) for kind in kinds if kind in TYPES):
        yield path, f"must be {' or '.join(map(str, kinds))}"
        return
    values = [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else [])]
    if values and _key(value) not in map(_key, values):
        yield path, f"must be {' or '.join(map(_json, values))}"
    for key, limit in schema.items():
        if key in CONSTRAINTS and not _holds(value, CONSTRAINTS[key], limit):
            yield path, f"must {CONSTRAINTS[key].words.format(limit)}"
    if isinstance(value, dict):
        yield from _in_object(value, schema, root, path)
    if isinstance(value, list):
        yield from _in_array(value, schema, root, path)
    yield from _in_parts(value, schema, root, path)


def _holds(value: Any, constraint: _Constraint, limit: Any) -> bool:
    try:
        return limit is False or not TYPES[constraint.type](value) or constraint.holds(value, limit)
    except (TypeError, ArithmeticError):  # the limit makes no sense
        return True


def _in_object(value: dict[str, Any], schema: Mapping[str, Any], root: Any, path: _Path) -> Iterator[_Misfit]:
    properties, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield (*path, name), "is missing"
    for name, part in value.items():
        known = [properties[name]] if name in properties else []
        known += [shape for pattern, shape in patterns.items() if _matches(name, pattern)]
        for shape in known or [schema.get("additionalProperties", True)]:
            yield from _misfits(part, shape, root, (*path, name))


def _in_array(value: list[Any], schema: Mapping[str, Any], root: Any, path: _Path) -> Iterator[_Misfit]:
    first = schema.get("prefixItems", [])
    for number, item in enumerate(value):
        shape = first[number] if number < len(first) else schema.get("items", True)
        yield from _misfits(item, shape, root, (*path, number))


def _in_parts(value: Any, schema: Mapping[str, Any], root: Any, path: _Path) -> Iterator[_Misfit]:
    def fits(part: Any) -> bool:
        return not any(_misfits(value, part, root, path))

    if "$ref" in schema:
        yield from _misfits(value, target(root, schema["$ref"]), root, path)
    for part in schema.get("allOf", ()):
        yield from _misfits(value, part, root, path)
    for key in ("anyOf", "oneOf"):
        if key in schema and not any(map(fits, schema[key])):
            yield from min((list(_misfits(value, part, root, path)) for part in schema[key]), key=_distance(path))
    if sum(map(fits, schema.get("oneOf", ()))) > 1:
        yield path, "must fit one of its shapes only"
    if "not" in schema and fits(schema["not"]):
        yield path, f"must not fit {_json(schema['not'])}"
    if "if" in schema:
        then = schema.get("then" if fits(schema["if"]) else "else", True)
        yield from _misfits(value, then, root, path)


def _distance(path: _Path) -> Callable[[list[_Misfit]], tuple[bool, int]]:
    """Orders the shapes of a union by how near a value is to them: of another type is the farthest."""
    return lambda found: (any(where == path for where, _ in found), len(found))


def _key(value: Any) -> str:
    """The same for equal values: 1 is 1.0, but not true."""
    return json.dumps(_with_integers(value), sort_keys=True)


def _with_integers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_integers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_integers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
