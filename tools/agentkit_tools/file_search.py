"""Finding files by a pattern of their paths, and lines by a regular expression that ends in linear time."""

from __future__ import annotations

import fnmatch
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from agentkit import ToolError
from agentkit_tools.file_text import MOST_BYTES, cut, is_binary
from agentkit_tools.rooted import Root, parts_of, shown

__all__ = ["SKIPPED", "Grep", "files_under", "matcher", "matches"]

SKIPPED = frozenset(
    {".git", ".hg", ".svn", ".venv", ".tox", ".nox", ".cache", "node_modules", "__pycache__"}
    | {".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis"}
)
"""Folders that a search does not enter, unless it begins in them."""

_LONGEST_LINE = 500
# About a second of the engine at its worst: 0.1 microseconds for each state and character.
_MOST_STATES = 300
_MOST_AT_ONCE = 32 * 1024
_TOKEN = re.compile(r"(\\.|\((?:\?[a-z-]*:|\?P?<\w+>)?|\[\^?\]?(?:\\.|[^\]\\])*\]|\{([0-9]*,?[0-9]*)\}|.)", re.DOTALL)


def files_under(root: Root, path: str, pattern: str) -> Iterator[str]:
    """The paths, from the root, of the files that match `pattern` under `path`, by name.

    Args:
        root: Where they are.
        path: A folder, or one file.
        pattern: As for `matches`, from `path` on.
    """
    begin = root.entry(path)
    if begin is not None and begin.kind == "file":
        yield begin.path
        return
    depth = len(parts_of(path))
    for entry in root.walk(path, SKIPPED):
        if entry.kind == "file" and matches(entry.path.split("/")[depth:], pattern):
            yield entry.path


def matches(parts: list[str], pattern: str) -> bool:
    """Whether a path, given as its names, matches a pattern: `*`, `?` and `[…]` in a name, `**` for any folders.

    A pattern without `/` is one of the name alone, in any folder. `{a,b}` is not known.
    """
    wanted = _pattern(pattern)
    states = {0}
    for part in parts:
        states = _with_skips(states, wanted)
        after = set()
        for state in states:
            if state < len(wanted):
                name = wanted[state]
                if name is None:
                    after.add(state)
                elif name.match(part):
                    after.add(state + 1)
        states = after
    return len(wanted) in _with_skips(states, wanted)


def _with_skips(states: set[int], wanted: list[re.Pattern[str] | None]) -> set[int]:
    """`**` may stand for no folder."""
    reached = set(states)
    for state in range(len(wanted)):
        if state in reached and wanted[state] is None:
            reached.add(state + 1)
    return reached


@lru_cache(maxsize=64)
def _pattern(pattern: str) -> list[re.Pattern[str] | None]:
    names = [name for name in pattern.split("/") if name not in ("", ".")]
    if ".." in names or pattern.startswith("/"):
        raise ToolError(
            "The pattern is one of paths inside the folder, such as src/**/*.py: it has no .. and no / first."
        )
    if not names or len(pattern) > 1000:
        raise ToolError("Give a pattern of paths, such as *.py or src/**/*.md.")
    if "/" not in pattern:
        names.insert(0, "**")
    try:
        return [None if name == "**" else re.compile(fnmatch.translate(name)) for name in names]
    except re.error as error:
        raise ToolError(f"The pattern can't be used: {error}.") from None


def matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a text has a match of a regular expression; its time grows with the text alone.

    Raises:
        ToolError: The pattern is none, or uses what takes more time: look-around and back-references.
    """
    # Python's own engine takes hours for (a+)+$, and holds the interpreter meanwhile. This one is Rust's.
    from pydantic_core import SchemaError, SchemaValidator, core_schema

    if _weight(pattern) > _MOST_STATES:
        raise ToolError("The pattern can't be used: it is too long, or repeats too much: search for a part of it.")
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex")).isinstance_python
    except SchemaError as error:
        why = str(error).strip().rpartition("\n")[2].rpartition("rror: ")[2]
        raise ToolError(
            f"The pattern can't be used: {why.rstrip('.')}. It is a regular expression without look-around and "
            "back-references; put \\ before a character that stands for itself, such as \\( or \\."
        ) from None


def _weight(pattern: str) -> int:
    """About how many states the engine keeps: repeats that are counted are written out, those within others too."""
    sums, last = [0], 0
    for part, count in _TOKEN.findall(pattern):
        if part.startswith("("):
            sums.append(0)
        elif part == ")" and len(sums) > 1:
            last = sums.pop()
            sums[-1] += last
        elif count:
            times = max([1, *map(int, re.findall(r"[0-9]+", count))])
            sums[-1] += last * (times - 1)
            last *= times
        elif part not in "*+?|":
            last = 1
            sums[-1] += 1
    return sum(sums)


@dataclass
class Grep:
    """A search for lines that goes on until it has enough, or no more time.

    Args:
        root: Where the files are.
        pattern: A regular expression, of one line.
        ignore_case: Whether capitals are not told from others.
        around: How many lines to show before and after each match.
        first: The number of the first match that is wanted, from 1.
        most: How many matches are wanted.
        seconds: After which it stops.
    """

    root: Root
    pattern: str
    ignore_case: bool
    around: int
    first: int
    most: int
    seconds: float
    searched: int = 0
    found: int = 0
    too_large: int = 0
    is_late: bool = False
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        flags = "i" if self.ignore_case else ""
        self._has_match = matcher(f"(?{flags}){self.pattern}" if flags else self.pattern)
        # Most files have no match: one look at many lines finds that out. Not where the pattern asks for an end of all.
        whole = r"\A" in self.pattern or r"\z" in self.pattern
        self._may_match = (lambda text: True) if whole else matcher(f"(?m{flags}){self.pattern}")

    def run(self, paths: Iterator[str], report: Callable[[str], None]) -> None:
        """Searches the files in order, and reports each second how far it is."""
        told = time.monotonic()
        self._ends = told + self.seconds
        for path in paths:
            self._search(path)
            if self.is_late or self.has_more:
                return
            if (now := time.monotonic()) - told >= 1:
                told = now
                report(f"searched {self.searched:,} files, {self.found:,} matches")

    @property
    def has_more(self) -> bool:
        """Whether there are more matches than wanted."""
        return self.found >= self.first + self.most

    def _search(self, path: str) -> None:
        self.searched += 1
        try:
            with self.root.open(path) as file:
                data = file.read(MOST_BYTES + 1)
        except (ToolError, OSError):  # it is gone, or not to be read
            return
        if len(data) > MOST_BYTES:
            self.too_large += 1
        elif not is_binary(data):
            lines = data.decode(errors="replace").replace("\r\n", "\n").removesuffix("\n").split("\n")
            self._take(path, lines, list(self._hits(lines)))

    def _hits(self, lines: list[str]) -> Iterator[int]:
        """The places of the lines that match. The engine holds the interpreter, so it gets a little at a time."""
        begin = 0
        while begin < len(lines):
            end, size = begin + 1, len(lines[begin])
            while end < len(lines) and size + len(lines[end]) < _MOST_AT_ONCE:
                size += len(lines[end]) + 1
                end += 1
            if size > _MOST_AT_ONCE or self._may_match("\n".join(lines[begin:end])):
                for at in range(begin, end):
                    if self._has_match(lines[at][:_MOST_AT_ONCE]):
                        yield at
            begin = end
            self.is_late = self.is_late or time.monotonic() > self._ends
            if self.is_late:
                return

    def _take(self, path: str, lines: list[str], hits: list[int]) -> None:
        before, self.found = self.found, self.found + len(hits)
        wanted = set(hits[max(0, self.first - 1 - before) : self.first - 1 + self.most - before])
        near = {it for at in wanted for it in range(max(0, at - self.around), min(len(lines), at + self.around + 1))}
        last = None
        for at in sorted(near):
            if self.around and self.lines and at - 1 != last:
                self.lines.append("--")
            self.lines.append(_line(path, at, lines[at], is_match=at in wanted))
            last = at


def _line(path: str, number: int, line: str, *, is_match: bool) -> str:
    mark = ":" if is_match else "-"
    return f"{shown(path)}{mark}{number + 1}{mark} {cut(line, _LONGEST_LINE)}"
