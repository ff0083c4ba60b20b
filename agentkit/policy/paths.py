"""Paths of calls against patterns: narrowly where a rule allows, widely where one asks or denies."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property
from itertools import takewhile
from urllib.parse import unquote

__all__ = ["LONGEST", "PathPattern", "fold", "is_certain"]

LONGEST = 4096
"""Characters of a path or an address; what is longer is taken for neither."""

_UNCERTAIN = re.compile(r"[\x00-\x1f\x7f\\%]|^~|^.:|(?:^|/)\.\.(?:/|$)|[. ](?:/|$)")
_HERE = re.compile(r"(?:^|(?<=/))\.(?:/|$)")


def is_certain(path: str) -> bool:
    """Whether every program reads this path in the same way: no `..`, `~`, backslash, `%`, drive or control character.

    Source: faults.md, P8.
    """
    if not 0 < len(path) <= LONGEST:
        return False
    without_dots = _HERE.sub("", unicodedata.normalize("NFKC", path))
    if without_dots != unicodedata.normalize("NFKC", _HERE.sub("", path)):  # a wide dot is one to some
        return False
    return not _UNCERTAIN.search(without_dots)


def fold(text: str) -> str:
    """What file systems and hosts may take for the same: case, composed letters, wide forms, invisible characters."""
    shown = "".join(char for char in text if unicodedata.category(char) != "Cf")
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", shown).casefold())


@dataclass(frozen=True)
class PathPattern:
    """A pattern such as `src/**` or `**/.env*`: `*` and `?` are within a name, `**` is any folders between.

    Attributes:
        text: As it was written.
    """

    text: str

    def problem(self) -> str | None:
        """Why it is no pattern."""
        if not is_certain(self.text.replace("*", "x").replace("?", "x")):
            return "write it from the folder of the tools, with / between the names, without .., ~ or \\"
        if self.text.endswith("/"):
            return f'write "{self.text}**" for all in that folder'
        if any("**" in part and part != "**" for part in self._parts):
            return "** stands alone between two /"
        return None

    def covers(self, path: str) -> bool:
        """Whether this is, without any doubt, a path of the pattern; what `src/**` allows is in `src`, not `src`."""
        if not is_certain(path) or path.startswith("/") != self._is_absolute:
            return False
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if self._parts[-1] == "**" and len(parts) < len(self._parts):
            return False
        return _matches(self._exact, parts)

    def touches(self, path: str, *, may_change: bool) -> bool:
        """Whether this could be a path of the pattern, in any spelling and below any folder.

        Args:
            path: As it came.
            may_change: Whether a folder above counts too: what moves or deletes it does so to all that is in it.
        """
        for parts, is_absolute in _spellings(path):
            if self._is_absolute and not is_absolute:
                continue
            if _matches(self._wide, parts):
                return True
            if may_change and parts and is_absolute == self._is_absolute and self._begin[: len(parts)] == parts:
                return True
        return False

    @property
    def _is_absolute(self) -> bool:
        return self.text.startswith("/")

    @cached_property
    def _parts(self) -> list[str]:
        return [part for part in self.text.split("/") if part not in ("", ".")]

    @cached_property
    def _exact(self) -> list[re.Pattern[str] | None]:
        return [_regex(part) for part in self._parts]

    @cached_property
    def _wide(self) -> list[re.Pattern[str] | None]:
        below = [] if self._is_absolute else [None]
        return [*below, *(_regex(fold(part)) for part in self._parts)]

    @cached_property
    def _begin(self) -> list[str]:
        """The names before the first that could be several."""
        return [fold(part) for part in takewhile(lambda part: "*" not in part and "?" not in part, self._parts)]


def _regex(part: str) -> re.Pattern[str] | None:
    return None if part == "**" else re.compile(translate(part.replace("[", "[[]")))


def _matches(pattern: list[re.Pattern[str] | None], parts: list[str]) -> bool:
    at = _skipped({0}, pattern)
    for part in parts:
        after = set()
        for place in at:
            if place == len(pattern):
                continue
            regex = pattern[place]
            if regex is None:
                after.add(place)
            elif regex.match(part):
                after.add(place + 1)
        at = _skipped(after, pattern)
    return len(pattern) in at


def _skipped(places: set[int], pattern: list[re.Pattern[str] | None]) -> set[int]:
    """With the places after a `**` that stands for nothing."""
    for place in sorted(places):
        while place < len(pattern) and pattern[place] is None:
            place += 1
            places.add(place)
    return places


def _spellings(path: str) -> list[tuple[list[str], bool]]:
    """What a path may mean: names in folded form, and whether it is absolute."""
    found = []
    for text in {path, unquote(path)}:
        folded = fold(text).replace("\\", "/").strip()
        folded = re.sub(r"^file:/*", "/", folded)
        folded = re.sub(r"^[a-z]:", "", folded)
        forms = {folded, re.sub(r":[^/]*", "", folded)}  # the second without a stream of a file, on Windows
        found += [(_names(form), form.startswith(("/", "~"))) for form in forms]
    return found


def _names(path: str) -> list[str]:
    names: list[str] = []
    for name in path.split("/"):
        if name == "..":
            names[-1:] = []
        elif plain := name.rstrip(". \0"):
            names.append(plain)
    return names
