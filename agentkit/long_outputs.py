"""Tool results that are too long for the model: kept whole in a folder, and read back by a tool."""

from __future__ import annotations

import os
import re
import tempfile
from base64 import b32encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Annotated, NamedTuple, TextIO

from pydantic import Field

from agentkit.errors import ConfigurationError, ToolError
from agentkit.tool_results import KEPT_FROM
from agentkit.tools import tool

__all__ = ["Outputs"]

_NAME = re.compile(r"[a-z2-7]{24}")
_PAGE = KEPT_FROM - 1024  # bytes of text in one answer: with the line above it, it is not too long itself
_PIECE = 1000  # characters of a long line that are searched and shown together
_SECONDS = 5.0  # that one search may take


class Outputs:
    """A folder with the outputs that were too long, one file each, which only its owner can read.

    The name of an output is a digest of the run's id and the text. So the same text has the same name each time it
    comes in a run, and nobody can name what no result has named to them: any run may read by name, in this process or
    another.

    Args:
        folder: Made where there is none; the folder that it is in must exist.

    Raises:
        ConfigurationError: It can't be made.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            why = f"the folder of outputs {self.folder} can't be made: {error.strerror}"
            raise ConfigurationError(f"{why}; name another one (outputs=…)") from None
        self.tool = tool(effect={"read", "private"})(self.read_output)

    def keep(self, run_id: str, text: str) -> str:
        """Keeps `text` and gives its name. What has a name is on the disk, all of it.

        Raises:
            OSError: It can't be written.
        """
        data = text.encode()
        key = blake2b(run_id.encode(errors="surrogatepass")).digest()
        name = b32encode(blake2b(data, digest_size=15, key=key).digest()).decode().lower()
        try:
            os.utime(self._path(name))  # kept already: it counts as new
        except FileNotFoundError:
            self._write(name, data)
        return name

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.txt"

    def _write(self, name: str, data: bytes) -> None:
        opened, part = tempfile.mkstemp(suffix=".part", dir=self.folder)  # which others can't read
        try:
            with open(opened, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(opened)  # the journal may have the name for years
            os.replace(part, self._path(name))
        except BaseException:
            with suppress(OSError):
                os.unlink(part)
            raise

    def read_output(
        self,
        output: str,
        start_line: Annotated[int, Field(ge=1)] = 1,
        start_column: Annotated[int, Field(ge=1)] = 1,
        lines: Annotated[int, Field(ge=1, le=10_000)] = 200,
        pattern: Annotated[str, Field(max_length=1000)] = "",
    ) -> str:
        """Read on in a result that was too long to show, or search in it.

        Args:
            output: The name that the result gave.
            start_line: The line to begin with.
            start_column: The character of that line to begin with.
            lines: How many lines at most; with a pattern, how many places that match.
            pattern: A regular expression, such as "(?i)error": only lines that match are shown, each with its number.
                In lines of more than 1000 characters, only what is around a match. It knows no look-around and no
                back references.
        """
        with self._opened(output) as file:
            start = _place(file, start_line, start_column)
            if pattern:
                return _search(file, start, lines, _matcher(pattern))
            return _page(file, start, lines)

    def _opened(self, name: str) -> TextIO:
        if _NAME.fullmatch(name):  # so it is a file of this folder
            try:
                return open(os.open(self._path(name), os.O_RDONLY | os.O_NOFOLLOW), encoding="utf-8", newline="\n")
            except FileNotFoundError:
                pass
            except OSError as error:
                raise ToolError(f"The output {name} can't be read: {error.strerror}.") from error
        raise ToolError(
            f"There is no output {name[:40]!r}. Give the name as the result says it; if it is right, the output was "
            "removed since: call the tool again."
        )


class _Start(NamedTuple):
    line: int
    column: int
    total: int  # lines in the file


def _place(file: TextIO, line: int, column: int) -> _Start:
    total, last = 0, b"\n"
    while data := file.buffer.read(1 << 20):
        total, last = total + data.count(b"\n"), data[-1:]
    file.seek(0)
    total += last != b"\n"
    if line > total:
        raise ToolError(f"The output has {total} lines: begin with one of them.")
    return _Start(line, column, total)


def _from(file: TextIO, start: _Start) -> Iterator[tuple[int, int, str]]:
    """Line number, column and text of the lines from a place on."""
    column = start.column
    for number, line in enumerate(islice(file, start.line - 1, None), start.line):
        if column > len(line):
            raise ToolError(f"Line {number} has {len(line)} characters: begin with one of them.")
        yield number, column, line[column - 1 :]
        column = 1


def _page(file: TextIO, start: _Start, most: int) -> str:
    """The lines from a place on, as they are; of a line that has no room only what has, if it is the first."""
    taken: list[str] = []
    left, after = _PAGE, (0, 0)
    for number, column, line in _from(file, start):
        size = len(line.encode())
        if len(taken) == most or (taken and size > left):
            after = number, 1
            break
        if size > left:
            line = line.encode()[:left].decode(errors="ignore")
            taken.append(line)
            after = number, column + len(line)
            break
        taken.append(line)
        left -= size
    shown = f"lines {start.line} to {start.line + len(taken) - 1} of {start.total}"
    return f"[{shown}; {_next(after, 'reads on')}]\n" + "".join(taken)


def _next(after: tuple[int, int], what: str) -> str:
    line, column = after
    if not line:
        return "this is the end"
    return f"start_line={line}" + (f", start_column={column}" if column > 1 else "") + f" {what}"


def _search(file: TextIO, start: _Start, most: int, matches: Callable[[str], bool]) -> str:
    """The places from one on that match."""
    found: list[str] = []
    left, after, give_up = _PAGE, (0, 0), monotonic() + _SECONDS
    seen = (0, 0)  # where the last place ends
    for number, column, piece, is_long in _pieces(file, start):
        place = ""
        known = max(seen[1] - column, 0) if seen[0] == number else 0
        if matches(piece) and (not known or matches(piece[known:]) or not matches(piece[:known])):
            where = f"{number}:{column + known}" if is_long else f"{number}"
            place = f"{where}: {piece[known:]}\n"
        left -= len(place.encode())
        if (place and (left < 0 or len(found) == most)) or monotonic() > give_up:
            after = number, column
            break
        if place:
            found.append(place)
            seen = number, column + len(piece)
    shown = f"{len(found)} places match from line {start.line} of {start.total} on"
    return f"[{shown}; {_next(after, 'searches on')}]\n" + "".join(found)


def _pieces(file: TextIO, start: _Start) -> Iterator[tuple[int, int, str, bool]]:
    """What is searched: lines, and of long ones pieces that overlap by half, so that no match is cut in two."""
    for number, column, line in _from(file, start):
        text = line.rstrip("\r\n")
        if column == 1 and len(text) <= _PIECE:
            yield number, 1, text, False
            continue
        for at in range(0, max(len(text) - _PIECE // 2, 1), _PIECE // 2):
            yield number, column + at, text[at : at + _PIECE], True


def _matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a text has a match for `pattern`.

    Python's `re` can take years for a short text, and holds the interpreter all the while, so no thread or clock can
    stop it. This is the regular expression of pydantic, whose time grows with the length of the text alone.
    """
    from pydantic_core import SchemaError, SchemaValidator, core_schema

    try:
        validator = SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except SchemaError as error:
        why = str(error).rpartition("rror: ")[2].splitlines()[-1]
        raise ToolError(f"The pattern can't be used: {why}") from None
    return validator.isinstance_python
