"""Keeps the keys of a request out of what is stored."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote

__all__ = ["Redaction", "is_secret"]

_STAND_IN = b"[redacted]"
_SHORTEST = 12  # characters; shorter values are no keys, and could be words of a prompt
_SECRET = re.compile(r"auth|key|token|secret|cookie|password", re.IGNORECASE)


class Redaction:
    """Takes the keys of one request out of bytes: as they are, in JSON, in a URL, and in base64.

    Values shorter than 12 characters, such as `any`, are taken for no keys.

    Args:
        headers: Of the request.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        forms = {form for value in _values(headers) for form in _forms(value)}
        longest_first = sorted(forms, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, longest_first))) if forms else None

    def __call__(self, data: bytes) -> bytes:
        """`data` without the keys."""
        return self._pattern.sub(_STAND_IN, data) if self._pattern else data

    def finds(self, data: bytes) -> bool:
        """Whether a key is in `data`, also if an event stream brings it in pieces."""
        if self._pattern is None:
            return False
        return bool(self._pattern.search(data) or self._pattern.search(_joined_deltas(data)))


def is_secret(name: str) -> bool:
    """Whether a header or a field of a query with this name holds a key."""
    return _SECRET.search(name) is not None


def _values(headers: Mapping[str, str]) -> Iterator[str]:
    for name, value in headers.items():
        if is_secret(name):
            parts = value.split(";") if name.lower() == "cookie" else [value]
            for part in parts:
                # `Bearer …`, or the `name=…` of a cookie.
                secret = part.strip().rpartition(" ")[2] if name.lower() != "cookie" else part.partition("=")[2].strip()
                if len(secret) >= _SHORTEST:
                    yield secret


def _forms(secret: str) -> Iterator[bytes]:
    raw = secret.encode("latin-1", "replace")  # the bytes of the header
    text = raw.decode("utf-8", "replace")
    yield raw
    yield json.dumps(text)[1:-1].encode()
    yield json.dumps(text, ensure_ascii=False)[1:-1].encode()
    yield quote(raw, safe="").encode()
    for before in range(3):  # base64 depends on where in a group of three bytes the key begins
        whole = base64.b64encode(bytes(before) + raw)
        core = whole[(4 * before + 2) // 3 : 4 * ((before + len(raw)) // 3)]
        yield core
        yield core.translate(bytes.maketrans(b"+/", b"-_"))


def _joined_deltas(stream: bytes) -> bytes:
    """The text of the deltas of an event stream, put together."""
    pieces: dict[tuple[object, str], list[str]] = {}
    for line in stream.splitlines():
        if not line.startswith(b"data:") or b"_delta" not in line:
            continue
        try:
            event = json.loads(line[5:])
        except ValueError:
            continue
        delta = event.get("delta") if isinstance(event, dict) else None
        for name, value in delta.items() if isinstance(delta, dict) else ():
            if isinstance(value, str) and name != "type":
                pieces.setdefault((event.get("index"), name), []).append(value)
    return "\n".join("".join(parts) for parts in pieces.values()).encode("utf-8", "replace")
