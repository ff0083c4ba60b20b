"""`Asked`: a call as the rules of a policy look at it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any

from agentkit.policy.argv import pieces, plain_words
from agentkit.policy.origins import is_address
from agentkit.policy.paths import LONGEST, is_certain
from agentkit.tools import Tool

__all__ = ["ACTING", "UNDECLARED", "Asked", "kinds_of"]

ACTING = frozenset({"write", "net", "exec"})
"""Effects that are more than to look."""

UNDECLARED = frozenset({"write", "net", "untrusted"})
"""What a tool that declares nothing counts as. Source: faults.md section 5."""

_PATH_KEY = re.compile(
    r"(?:.*[_-])?(?i:path|file|filename|filepath|dir|directory|folder|root|repo|source|destination|target|cwd)s?"
    r"|.*(?:Path|File|Dir|Directory|Folder)s?"
)
_ADDRESS_KEY = re.compile(r"(?:.*[_-])?(?i:url|uri|href|link|endpoint|origin)s?|.*(?:Url|URL|Uri|URI)s?")
_COMMAND_KEYS = {"command", "commands", "cmd", "argv", "args"}


class Asked:
    """A call. Whatever is in its input, it can be looked at.

    Attributes:
        tool: Name of the tool.
        effects: What the tool may do.
        arguments: The input, if it is an object.
        paths: What arguments are paths by their names.
        addresses: What arguments are addresses by their names, or look like one.
        words: What is part of a command.
        is_shell_line: Whether it gives a line to a shell. Tools that declare what they do without `exec` have other
            commands, such as `view`.
    """

    def __init__(self, tool: Tool, input: Any) -> None:  # noqa: A002
        self.tool = tool.name
        self.effects = tool.effect or UNDECLARED
        may_run = "exec" in self.effects or self.effects >= UNDECLARED
        self.arguments: Mapping[str, Any] = input if isinstance(input, dict) else {}
        self.paths: list[Any] = []
        self.addresses: list[Any] = []
        self.words: list[str] = []
        self.is_shell_line = False
        self._texts: list[str] = []
        left: list[tuple[frozenset[str], Any]] = [(frozenset(), input)]
        while left:  # it may be too deep to recurse
            kinds, value = left.pop()
            if isinstance(value, dict):
                for key, item in reversed(value.items()):
                    self.is_shell_line |= may_run and _is_line(key, item)
                    left.append((kinds | kinds_of(str(key)), item))
            elif isinstance(value, list):
                left += [(kinds, item) for item in reversed(value)]
            elif value is not None:
                self._add(kinds, value)

    def _add(self, kinds: frozenset[str], value: Any) -> None:
        is_text = isinstance(value, str)
        if "path" in kinds:
            self.paths.append(value)
        if "address" in kinds or (is_text and is_address(value)):
            self.addresses.append(value)
        if is_text and "command" in kinds:
            self.words.append(value)
        if is_text and len(value) <= LONGEST and "\n" not in value.strip():
            self._texts.append(value)

    @property
    def acting(self) -> frozenset[str]:
        """What the tool may do besides looking."""
        return self.effects & ACTING

    @cached_property
    def argv(self) -> list[str] | None:
        """Its command as a program and arguments, if that is known for certain."""
        given = [value for key, value in self.arguments.items() if key in _COMMAND_KEYS]
        argv, line = self.arguments.get("argv"), self.arguments.get("command")
        if len(given) != 1:
            return None
        if isinstance(argv, list) and all(isinstance(word, str) for word in argv):
            return argv
        return plain_words(line) if isinstance(line, str) else None

    @cached_property
    def places(self) -> list[str]:
        """Every text that could be a path, and the words of commands, alone and from the folder they start in."""
        found, cwd = pieces(self.words), self.arguments.get("cwd")
        return [*self._texts, *found, *([f"{cwd}/{piece}" for piece in found] if isinstance(cwd, str) else [])]

    @cached_property
    def odd_path(self) -> str | None:
        """A path that could be read in more than one way."""
        return next((text for text in self.paths if isinstance(text, str) and text and not is_certain(text)), None)


def _is_line(key: str, value: Any) -> bool:
    return (key in ("command", "cmd") and isinstance(value, str)) or key == "commands"


@lru_cache(1024)
def kinds_of(key: str) -> frozenset[str]:
    """What an argument of this name holds, of path, address and command."""
    kinds = {"path": _PATH_KEY.fullmatch(key), "address": _ADDRESS_KEY.fullmatch(key), "command": key in _COMMAND_KEYS}
    return frozenset(kind for kind, is_one in kinds.items() if is_one)
