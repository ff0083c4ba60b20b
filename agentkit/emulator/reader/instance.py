"""JSON that fits a schema, with values from a text where it has them: the reader's structured output."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["instance"]

_DEEPEST = 12
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w]|\.\d)")
_QUOTED = re.compile(r"\"([^\"\n]+)\"|“([^”\n]+)”|`([^`\n]+)`|(?<!\w)'([^'\n]+)'(?!\w)")
_NAME = re.compile(r"[A-Z][a-z]+(?: [A-Z][a-z]+)*")
_ASKS = {"What", "Which", "Who", "When", "Where", "Why", "How", "Is", "Are", "Do", "Does", "The", "A", "An", "Please"}
_FORMATS = {
    "date-time": ("2026-01-01T00:00:00Z", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d)"),
    "date": ("2026-01-01", r"\d{4}-\d\d-\d\d"),
    "time": ("00:00:00Z", r"\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d)"),
    "duration": ("P1D", r"P(?=\d|T)\w+"),
    "email": ("nobody@example.com", r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    "hostname": ("example.com", r"[a-z0-9-]+(?:\.[a-z0-9-]+)+"),
    "uri": ("https://example.com/", r"https?://[^\s<>\"']+"),
    "ipv4": ("127.0.0.1", r"\d{1,3}(?:\.\d{1,3}){3}"),
    "ipv6": ("::1", r"[0-9a-f]*(?::[0-9a-f]*){2,7}"),
    "uuid": ("00000000-0000-4000-8000-000000000000", r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
}


def instance(schema: Mapping[str, Any], text: str) -> Any:
    """A value that fits.

    Args:
        schema: As `output_config.format` may have it. Source: messages-api.md section 13.
        text: Where numbers, names, quotations and the like are taken from, each once and in order.

    A `pattern` that nothing in the text fits is not fulfilled.
    """
    return _Writer(schema, text).value(schema, 0)


class _Writer:
    def __init__(self, root: Mapping[str, Any], text: str) -> None:
        self._root = root
        self._text = text
        self._numbers = _NUMBER.findall(re.sub(r"(?<=\d),(?=\d{3}\b)", "", text))
        quoted = [next(filter(None, groups)) for groups in _QUOTED.findall(text)]
        names = [name for name in _NAME.findall(text) if name not in _ASKS]
        self._strings = list(dict.fromkeys([*quoted, *names]))

    def value(self, schema: Any, depth: int) -> Any:
        schema = self._resolved(schema)
        if "const" in schema or "default" in schema:
            return schema.get("const", schema.get("default"))
        if schema.get("enum"):
            return next((value for value in schema["enum"] if self._mentions(value)), schema["enum"][0])
        parts = schema.get("anyOf") or schema.get("oneOf")
        if parts:
            return self.value(self._shallow(parts, depth), depth + 1)
        kind = schema.get("type")
        kind = kind[0] if isinstance(kind, list) else kind
        match kind or ("object" if "properties" in schema else "string"):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "integer" | "number" as kind:
                return self._number(whole=kind == "integer")
            case "boolean":
                return not re.search(r"(?i)\b(?:not|no|never|without)\b", self._text)
            case "null":
                return None
        return self._string(schema)

    def _resolved(self, schema: Any) -> dict[str, Any]:
        """Through local references; all parts of an `allOf` are one schema."""
        for _ in range(_DEEPEST):
            if not isinstance(schema, dict) or "$ref" not in schema:
                break
            found: Any = self._root
            for name in str(schema["$ref"]).removeprefix("#").strip("/").split("/"):
                found = found.get(name, {}) if name and isinstance(found, Mapping) else found
            schema = found
        if not isinstance(schema, dict):
            return {}
        whole = dict(schema)
        for part in whole.pop("allOf", ()):
            resolved = self._resolved(part)
            properties = {**whole.get("properties", {}), **resolved.get("properties", {})}
            whole |= resolved | ({"properties": properties} if properties else {})
        return whole

    def _shallow(self, parts: list[Any], depth: int) -> Any:
        """The first part that is not null; deep down one that is null or no object, so that recursion ends."""
        plain = [part for part in parts if self._resolved(part).get("type") in ("null", "string", "integer", "boolean")]
        if depth >= _DEEPEST and plain:
            return plain[0]
        return next((part for part in parts if self._resolved(part).get("type") != "null"), parts[0])

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties") or {}
        required = schema.get("required") or ()
        names = [name for name in properties if name in required or depth < 2]
        return {name: self.value(properties[name], depth + 1) for name in names}

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        if depth >= _DEEPEST:
            return []
        return [self.value(schema.get("items") or {}, depth + 1)]

    def _number(self, *, whole: bool) -> Any:
        for written in self._numbers:
            if "." not in written or not whole:
                self._numbers.remove(written)
                return float(written) if "." in written else int(written)
        return 1

    def _string(self, schema: dict[str, Any]) -> str:
        if schema.get("format") in _FORMATS:
            default, pattern = _FORMATS[schema["format"]]
            found = re.search(pattern, self._text)
            return found[0] if found else default
        if isinstance(schema.get("pattern"), str):
            return self._fitting(schema["pattern"])
        return self._strings.pop(0) if self._strings else " ".join(self._text.split())[:80]

    def _fitting(self, pattern: str) -> str:
        try:
            fits = re.compile(pattern).search
        except re.error:
            return ""
        words = [*self._strings, *re.findall(r"\S+", self._text), *re.findall(r"\w+", self._text)]
        return next(filter(fits, words), "")

    def _mentions(self, value: Any) -> bool:
        return re.search(rf"(?i)(?<!\w){re.escape(str(value))}(?!\w)", self._text) is not None
