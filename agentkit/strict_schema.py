"""A JSON Schema as the API can hold the model to it: the subset of structured output and strict tools."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from agentkit.errors import ConfigurationError
from agentkit.json_schema import CONSTRAINTS, TYPES, target
from agentkit.messages import encode

__all__ = ["Size", "size_of", "strict_schema"]

# What the API takes. Source: messages-api.md section 13.
_FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
# No lookaround, backreference, word boundary, lazy quantifier or large count; which count is large is not documented.
_SIMPLE_PATTERN = re.compile(
    r"""(?: \\[dDwWsSnrt] | \\[^\w\s]                                # an escape
          | \[\^?\]? (?: [^\]\\] | \\[dDwWsSnrt] | \\[^\w\s] )* \]    # a class
          | \( (?: \?: | (?!\?) ) | [)|^$.]
          | (?: [*+?] | \{[12]?\d (?:,(?:[12]?\d)?)? \} ) (?![?+])
          | [^\\\[\](){}*+?|^$.] )*""",
    re.VERBOSE,
)
_ANNOTATIONS = {"title", "description", "default", "examples"}
_SHAPES = {"type", "enum", "const", "properties", "items", "prefixItems", "additionalProperties", "required"}
_UNIONS = ("anyOf", "oneOf")
_ONLY_WORDS = {"not", "if", "then", "else", "contains", "minContains", "maxContains", "propertyNames", "format"} | {
    "patternProperties",
    "dependentRequired",
    "dependentSchemas",
}
# Which type a keyword is about; of others it says nothing.
_ABOUT = {key: constraint.type for key, constraint in CONSTRAINTS.items()} | {
    "properties": "object",
    "required": "object",
    "additionalProperties": "object",
    "items": "array",
    "prefixItems": "array",
}
# Any other keyword says nothing about the values, as JSON Schema has it.
_KNOWN = {"$ref", "allOf", *_UNIONS, *_ANNOTATIONS, *_SHAPES, *CONSTRAINTS, *_ONLY_WORDS}


def strict_schema(schema: Mapping[str, Any], name: str) -> dict[str, Any]:
    """`schema` in the subset that the API can hold the model to; what it can't becomes words in the description.

    Objects are closed, `oneOf` is `anyOf`, `allOf` is written as one schema. A value of the original fits the result,
    if its objects have no other keys than those that are named.

    Args:
        schema: A JSON Schema (draft 2020-12). References lead to within it.
        name: What errors call it.

    Raises:
        ConfigurationError: It is none, or has a part that can't be said in the subset: an object with any keys, a
            value of any type, a reference elsewhere; the text names the part and the way out.

    Source: messages-api.md section 13.
    """
    subset = _Subset(schema, name)
    try:
        shape = subset.shape(subset.flat(schema, ""), "")
        definitions = subset.definitions()
    except (TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{name} is no JSON Schema: {error}") from None
    return {**shape, "$defs": definitions} if definitions else shape


class _Subset:
    def __init__(self, root: Mapping[str, Any], name: str) -> None:
        self._root = root
        self._name = name
        self._names: dict[str, str] = {}  # of definitions, by reference
        self._inside: list[str] = []  # references that are being written in

    def definitions(self) -> dict[str, Any]:
        """Those that the shapes so far refer to."""
        found: dict[str, Any] = {}
        while left := [(ref, name) for ref, name in self._names.items() if name not in found]:
            for ref, name in left:
                shape = self.shape(self.flat({"$ref": ref}, name), name)
                found[name] = {key: value for key, value in shape.items() if (key, value) != ("title", name)}
        return found

    def shape(self, schema: Any, where: str) -> dict[str, Any]:
        """A schema in the subset."""
        ref = self._mapping(schema, where).get("$ref")
        # Nothing may stand beside a reference (no accepted request has it), so what would need to is written in.
        if ref is not None and (not schema.keys() & _KNOWN - {"$ref", "title"} or ref in self._inside):
            return {"$ref": f"#/$defs/{self._definition(ref, where)}"}
        self._inside.append(str(ref))
        given = self.flat(schema, where)
        kinds = self._kinds(given, where)
        union = next((key for key in _UNIONS if key in given), None)
        if union and given.keys() & _SHAPES <= {"type"}:
            kind = {key: given.pop(key) for key in ("type",) if key in given}
            shape = {"anyOf": [self.shape({**kind, **self._mapping(part, where)}, where) for part in given.pop(union)]}
        elif len(kinds) > 1 and {"object", "array"} & set(kinds):
            own = {key: given.pop(key) for key in list(given) if key not in _ANNOTATIONS}
            shape = {"anyOf": [self.shape({**own, "type": kind}, where) for kind in kinds]}
        else:
            shape = self._single(given, kinds, where)
        self._inside.pop()
        return _described(shape, given)

    def _single(self, given: dict[str, Any], kinds: list[str], where: str) -> dict[str, Any]:
        """The shape of a schema that is no union; what it says it takes out of `given`."""
        given.pop("type", None)
        shape: dict[str, Any] = {"type": kinds[0] if len(kinds) == 1 else kinds} if kinds else {}
        values: dict[str, Any] = {key: given.pop(key) for key in ("enum", "const") if key in given}
        if any(isinstance(value, dict | list) for value in [*values.get("enum", ()), values.get("const")]):
            raise self._refused(where, "it can list text, numbers, true, false and null only")
        if not kinds and not values:
            raise self._refused(where, "it may be anything: say which type it has")
        shape |= values
        if "object" in kinds:
            shape |= self._object(given, where)
        if "array" in kinds:
            shape |= self._array(given, where)
        if "string" in kinds:
            if given.get("format") in _FORMATS:
                shape["format"] = given.pop("format")
            if "pattern" in given and _SIMPLE_PATTERN.fullmatch(given["pattern"]):
                shape["pattern"] = given.pop("pattern")
        about = {*kinds, "number"} if "integer" in kinds else {*kinds}
        for key in [key for key in given if _ABOUT.get(key, "") not in {*about, ""}]:
            del given[key]
        return shape

    def _object(self, given: dict[str, Any], where: str) -> dict[str, Any]:
        others = given.pop("additionalProperties", "properties" not in given)
        properties = given.pop("properties", {})
        if not properties and others is not False:
            raise self._refused(where, "it may have any keys: name them, or make it a list of keys and values")
        shapes = {key: self.shape(part, f"{where}.{key}") for key, part in properties.items()}
        required = [key for key in given.pop("required", []) if key in properties]
        return {"properties": shapes, **({"required": required} if required else {}), "additionalProperties": False}

    def _array(self, given: dict[str, Any], where: str) -> dict[str, Any]:
        shape: dict[str, Any] = {}
        items = given.pop("items", None)
        if first := given.get("prefixItems"):
            # The order can't be asked for, so each item may be what any of them may be.
            parts = [self.shape(part, f"{where}[{number}]") for number, part in enumerate(first)]
            given["prefixItems"] = ", ".join(map(_short, parts))
            if isinstance(items, Mapping):
                parts.append(self.shape(items, f"{where}[]"))
            elif given.get("minItems") == given.get("maxItems") == len(first):  # a tuple: the words say it
                del given["minItems"], given["maxItems"]
                shape["minItems"] = 1
            parts = [part for number, part in enumerate(parts) if part not in parts[:number]]
            shape["items"] = parts[0] if len(parts) == 1 else {"anyOf": parts}
        elif items is not None:
            shape["items"] = self.shape(items, f"{where}[]")
        if "minItems" in given:
            least = given["minItems"] if given["minItems"] > 1 else given.pop("minItems")
            shape["minItems"] = min(least, 1)
        return shape

    def flat(self, schema: Any, where: str, seen: tuple[str, ...] = ()) -> dict[str, Any]:
        """`schema` with what its `$ref` and `allOf` say written in."""
        own = {key: value for key, value in self._mapping(schema, where).items() if key in _KNOWN}
        ref, parts = own.pop("$ref", None), own.pop("allOf", [])
        merged: dict[str, Any] = {}
        if ref is not None:
            if ref in seen:
                raise self._refused(where, f"$ref {ref!r} leads to itself")
            merged = self.flat(self._target(ref, where), where, (*seen, ref))
        for part in [*(self.flat(part, where, seen) for part in parts), own]:
            self._merge(merged, part, where)
        return merged

    def _merge(self, into: dict[str, Any], part: dict[str, Any], where: str) -> None:
        for key, value in part.items():
            if key not in into or key in _ANNOTATIONS or key == "additionalProperties":
                into[key] = value
            elif key == "properties":
                both = {name: {"allOf": [into[key][name], value[name]]} for name in into[key].keys() & value.keys()}
                into[key] = {**into[key], **value, **both}
            elif key == "required":
                into[key] = [*into[key], *(name for name in value if name not in into[key])]
            elif into[key] != value:
                raise self._refused(where, f"the parts of allOf say two things about {key}: say one")

    def _target(self, ref: Any, where: str) -> Any:
        try:
            return target(self._root, ref)
        except LookupError:
            raise self._refused(where, f"$ref {ref!r} leads to no definition in the schema itself") from None

    def _definition(self, ref: str, where: str) -> str:
        if ref not in self._names:
            self._target(ref, where)
            name = re.sub(r"[^\w.-]", "_", unquote(ref).rpartition("/")[2].replace("#", "root"))
            while name in self._names.values():
                name += "_"
            self._names[ref] = name
        return self._names[ref]

    def _kinds(self, given: dict[str, Any], where: str) -> list[str]:
        guess = ["object"] if "properties" in given else ["array"] if given.keys() & {"items", "prefixItems"} else []
        kinds = _listed(given.get("type", guess))
        if unknown := [kind for kind in kinds if kind not in TYPES]:
            raise self._refused(where, f"JSON has no type {unknown[0]!r}")
        return kinds

    def _mapping(self, schema: Any, where: str) -> Mapping[str, Any]:
        if not isinstance(schema, Mapping):
            raise self._refused(where, "it may be anything: say which type it has")
        return schema

    def _refused(self, where: str, why: str) -> ConfigurationError:
        return ConfigurationError(f"{self._name}{f' at {where.lstrip(chr(46))}' if where else ''}: {why}")


def _listed(kinds: Any) -> list[Any]:
    return kinds if isinstance(kinds, list) else [kinds]


def _short(shape: dict[str, Any]) -> str:
    """A shape in a word or two."""
    if "$ref" in shape:
        return str(shape["$ref"]).rpartition("/")[2]
    if "anyOf" in shape:
        return " or ".join(map(_short, shape["anyOf"]))
    values = shape.get("enum", [shape["const"]] if "const" in shape else [])
    return " or ".join(map(_json, values)) or " or ".join(_listed(shape["type"]))


def _described(shape: dict[str, Any], left: dict[str, Any]) -> dict[str, Any]:
    """`shape` with the annotations of what is left, and the rest of that in words."""
    notes: dict[str, Any] = {key: left.pop(key) for key in ("title", "description", "default") if key in left}
    examples = left.pop("examples", None)
    words = [f"must {_in_words(key, value)}" for key, value in left.items() if value is not False]
    told = [str(notes["description"])] if notes.get("description") else []
    told += [f"({', '.join(words)})"] if words else []
    told += [f"For example: {', '.join(map(_json, examples))}"] if examples else []
    return {**shape, **notes, **({"description": "\n".join(told)} if told else {})}


def _in_words(key: str, value: Any) -> str:
    if key in CONSTRAINTS:
        return CONSTRAINTS[key].words.format(value)
    if key == "prefixItems":
        return f"have these items, in this order: {value}"
    return f"have the format {value}" if key == "format" else f"fit {key} {_json(value)}"


def _json(value: Any) -> str:
    return encode(value).decode()


class Size(NamedTuple):
    """What the API limits in all schemas of a request together: at most 24 optional fields and 16 unions.

    Attributes:
        optional: Properties that are not required.
        unions: Properties of several types.
    """

    optional: int
    unions: int


def size_of(schema: Any) -> Size:
    """How much a schema counts, definitions once. Source: messages-api.md section 13; api-errors.md part A (rig)."""
    optional = unions = 0
    left = [schema]
    while left:
        part = left.pop()
        if not isinstance(part, dict):
            continue
        properties = part.get("properties") or {}
        optional += len(properties.keys() - set(part.get("required") or ()))
        unions += sum(map(_is_union, properties.values()))
        for key in ("properties", "$defs", "definitions"):
            left += (part.get(key) or {}).values()
        for key in ("anyOf", "oneOf", "allOf"):
            left += part.get(key) or []
        left.append(part.get("items"))
    return Size(optional, unions)


def _is_union(schema: Any) -> bool:
    return isinstance(schema, dict) and (isinstance(schema.get("type"), list) or not schema.keys().isdisjoint(_UNIONS))
