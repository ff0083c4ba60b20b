"""Commands against patterns: known-safe shapes where a rule allows, else words wherever they are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from agentkit.policy.paths import PathPattern, fold

__all__ = ["ArgvPattern", "pieces", "plain_words"]

# No quotes, expansions, globs, redirections, comments or line ends: these words are the arguments.
_PLAIN = re.compile(r"[A-Za-z0-9_./:=@%+, -]+")
_BETWEEN = re.compile(r"[^\w./\\~%*?+-]+")
_MORE = re.compile(r"(?<!\S)\[([^\s\]]+)\](?!\S)")
_QUOTES = re.compile(r"[\"'\\]")


def plain_words(line: str) -> list[str] | None:
    """The arguments of a line for a shell, if it has nothing that a shell reads as more. Source: faults.md, P12."""
    return line.split() if _PLAIN.fullmatch(line) else None


def pieces(words: Sequence[str]) -> list[str]:
    """All in these words that could be a path or a program: also the `.env` of `--file=.env` and `-f.env`."""
    found: list[str] = []
    for word in map(fold, words):
        for text in dict.fromkeys((word, _QUOTES.sub("", word))):
            for piece in filter(None, _BETWEEN.split(text)):
                found.append(piece)
                if re.match(r"-\w.", piece):
                    found.append(piece[2:])
    return found


@dataclass(frozen=True)
class ArgvPattern:
    """A command as a manual shows it: `pytest [-q] [--maxfail=*] [tests/**]`.

    Its words come first, as they are; each further word of a call must be one of those in brackets: a flag, as it is or
    with the pattern of a path after `=`, or the pattern of a path. Where a rule asks or denies, there are no brackets.

    Attributes:
        text: As it was written.
    """

    text: str

    def problem(self, *, allows: bool) -> str | None:
        """Why it is no pattern."""
        if not self._fixed:
            return 'begin with the program, such as "git status"'
        if odd := [word for word in self._fixed if re.search(r"[\[\]*?]", word)]:
            return f'"{odd[0]}" must be a plain word: put what may follow in brackets, such as "pytest [-q] [tests/**]"'
        if not allows and self._more:
            return "only an allow rule has brackets: the words alone count, wherever they are"
        for word in self._more:
            flag, _, value = word.partition("=") if word.startswith("-") else ("", "", word)
            if "*" in flag or "?" in flag:
                return f'"[{word}]": the name of a flag has no * or ?'
            if problem := value and PathPattern(value).problem():
                return f'"[{word}]": {problem}'
        return None

    def covers(self, argv: Sequence[str]) -> bool:
        """Whether the call has this shape, and nothing else."""
        first = len(self._fixed)
        return list(argv[:first]) == self._fixed and all(map(self._may_follow, argv[first:]))

    def touches(self, words: Sequence[str]) -> bool:
        """Whether these words are in the call in this order, whatever comes before, between or after them."""
        called = map(_program, pieces(words))  # used up as far as it was looked at
        return all(word in called for word in map(_program, self._fixed))

    def _may_follow(self, word: str) -> bool:
        if not word.startswith("-"):
            return any(pattern.covers(word) for pattern in self._operands)
        flag, _, value = word.partition("=")
        return word in self._flags or any(flag == name and it.covers(value) for name, it in self._values)

    @cached_property
    def _fixed(self) -> list[str]:
        return _MORE.sub(" ", self.text).split()

    @cached_property
    def _more(self) -> list[str]:
        return _MORE.findall(self.text)

    @cached_property
    def _flags(self) -> list[str]:
        return [word for word in self._more if word.startswith("-")]

    @cached_property
    def _values(self) -> list[tuple[str, PathPattern]]:
        """Flags that have a value, and what it may be."""
        parted = [flag.partition("=") for flag in self._flags]
        return [(name, PathPattern(value)) for name, _, value in parted if value]

    @cached_property
    def _operands(self) -> list[PathPattern]:
        return [PathPattern(word) for word in self._more if not word.startswith("-")]


def _program(word: str) -> str:
    return fold(word).replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".exe")
