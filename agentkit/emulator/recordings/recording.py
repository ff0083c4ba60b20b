"""A recording: a file of exchanges with a Messages API, one JSON object a line."""

from __future__ import annotations

import base64
import binascii
import contextlib
import gzip
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from agentkit.errors import ConfigurationError

__all__ = ["Recorded", "Recording"]

_FORMAT = 1
_HEADER = "agentkit_recording"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One request and its response.

    Attributes:
        method: GET, POST, …
        path: From `/v1/` on, with the query.
        request_headers: `anthropic-version` and `anthropic-beta`, which are for information: no key depends on them.
        request: The body, as JSON without spaces if it is JSON.
        upstream: Who answered: scheme, host and port.
        status: The HTTP status.
        response_headers: Names in lower case.
        response: The body, byte for byte.
        cut_off: Whether the connection broke before the response was complete.
        line: Where it is in the file, from 1; 0 where it is in none yet.
        key: The same for requests that mean the same: method, path and the body, whatever the order of its fields.
    """

    method: str
    path: str
    request_headers: Mapping[str, str] = field(default_factory=dict)
    request: bytes = b""
    upstream: str = ""
    status: int
    response_headers: Mapping[str, str] = field(default_factory=dict)
    response: bytes = b""
    cut_off: bool = False
    line: int = 0
    key: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", _key(self.method, self.path, self.request))

    def written(self) -> bytes:
        """The line of the file."""
        line = {
            "method": self.method,
            "path": self.path,
            "request_headers": dict(self.request_headers),
            **_stored("request", self.request, exactly=False),
            "upstream": self.upstream,
            "status": self.status,
            "response_headers": dict(self.response_headers),
            **_stored("response", self.response, exactly=True),
            **({"cut_off": True} if self.cut_off else {}),
        }
        return _line(line)


class Recording:
    """A file of exchanges; compressed if its name ends in `.gz`.

    Args:
        path: The file.

    Attributes:
        name: Of the file.
        exchanges: What it holds, in the order of the file.

    Raises:
        ConfigurationError: There is no such file, or it is no recording, or one of another format, or a line is broken.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self.name = self._path.name
        self.exchanges = list(self._read())

    @classmethod
    def to_append(cls, path: str | os.PathLike[str]) -> Recording:
        """The recording at `path`, which is made if it is not there.

        Raises:
            ConfigurationError: It can't be written, or something else is there.
        """
        file = Path(path)
        try:
            with file.open("ab") as written:
                if not written.tell():
                    written.write(_packed(file, _line({_HEADER: _FORMAT})))
        except OSError as error:
            raise ConfigurationError(f"can't write the recording {file}: {error.strerror}") from None
        return cls(file)

    def append(self, exchange: Recorded) -> None:
        """Writes an exchange to the end of the file; raises `OSError` where that can't be."""
        with self._path.open("ab") as file:
            file.write(_packed(self._path, exchange.written()))
        self.exchanges.append(exchange)

    def _read(self) -> Iterator[Recorded]:
        number = 0
        try:
            with gzip.open(self._path) if self._path.suffix == ".gz" else self._path.open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    if number == 1:
                        self._check_header(line)
                    elif line.strip():
                        yield self._exchange(line, number)
        except FileNotFoundError:
            raise ConfigurationError(f"there is no recording {self._path}: record one first") from None
        except (OSError, EOFError, zlib.error) as error:
            raise ConfigurationError(f"can't read the recording {self._path} after line {number}: {error}") from None
        if not number:
            self._check_header(b"")

    def _check_header(self, line: bytes) -> None:
        try:
            header = json.loads(line)
        except ValueError:
            header = None
        version = header.get(_HEADER) if isinstance(header, dict) else None
        if version is None:
            raise ConfigurationError(f"{self._path} is no recording of agentkit: give another file")
        if version != _FORMAT:
            text = f"{self._path} is a recording of format {version!r}, and this agentkit knows format {_FORMAT}"
            raise ConfigurationError(f"{text}: record it anew, or use the agentkit that made it")

    def _exchange(self, line: bytes, number: int) -> Recorded:
        try:
            given = json.loads(line)
        except (ValueError, RecursionError) as error:
            self._raise_broken(number, f"it is no JSON: {error}")
        if not isinstance(given, dict):
            self._raise_broken(number, "it is no object")
        try:
            return Recorded(
                **{name: _field(given, name, kind) for name, kind in _KINDS.items() if name in given},
                request=_loaded(given, "request"),
                response=_loaded(given, "response"),
                line=number,
            )
        except (TypeError, ValueError) as error:
            missing = [name for name in ("method", "path", "status") if name not in given]
            self._raise_broken(number, f"`{missing[0]}` is missing" if missing else str(error))

    def _raise_broken(self, number: int, what: str) -> NoReturn:
        raise ConfigurationError(f"{self._path}, line {number}: {what}; take the line out, or record it anew") from None


_KINDS: dict[str, type] = {
    "method": str,
    "path": str,
    "request_headers": dict,
    "upstream": str,
    "status": int,
    "response_headers": dict,
    "cut_off": bool,
}


def _field(given: dict[str, Any], name: str, kind: type) -> Any:
    value: Any = given[name]
    if not isinstance(value, kind):
        raise TypeError(f"`{name}` must be of type {kind.__name__}")
    if isinstance(value, dict) and not all(isinstance(text, str) for text in value.values()):
        raise ValueError(f"the values of `{name}` must be strings")
    if isinstance(value, int) and name == "status" and not 200 <= value < 600:
        raise ValueError("`status` must be from 200 to 599")
    return value


def _stored(name: str, data: bytes, *, exactly: bool) -> dict[str, Any]:
    """A body as it is most readable: as JSON, as text, or in base64. `exactly` asks for every byte to come back."""
    if not data:
        return {}
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}
    try:
        value = json.loads(text)
        if value is not None and (not exactly or _compact(value) == data):
            return {f"{name}_body": value}
    except (ValueError, RecursionError):
        pass
    return {f"{name}_text": text}


def _loaded(given: dict[str, Any], name: str) -> bytes:
    if f"{name}_body" in given:
        return _compact(given[f"{name}_body"])
    if f"{name}_base64" in given:
        try:
            return base64.b64decode(_field(given, f"{name}_base64", str), validate=True)
        except binascii.Error:
            raise ValueError(f"`{name}_base64` is no base64") from None
    return _field({f"{name}_text": "", **given}, f"{name}_text", str).encode()  # type: ignore[no-any-return]


def _key(method: str, path: str, request: bytes) -> bytes:
    with contextlib.suppress(ValueError, RecursionError):
        request = json.dumps(json.loads(request), sort_keys=True).encode()
    return b"%b %b\n%b" % (method.encode(), path.encode(), request)


def _compact(value: Any) -> bytes:
    """JSON as the API writes it. Lone surrogates, which UTF-8 can't hold, stay escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def _line(value: Any) -> bytes:
    return _compact(value) + b"\n"


def _packed(path: Path, data: bytes) -> bytes:
    # A member of its own for each line: what is written can be read, however the process ends.
    return gzip.compress(data, mtime=0) if path.suffix == ".gz" else data
