"""One rule of a policy: what it says, and whether it is about a call."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, Literal

from agentkit.errors import ConfigurationError
from agentkit.policy.argv import ArgvPattern
from agentkit.policy.asked import Asked
from agentkit.policy.origins import OriginPattern, origin_of
from agentkit.policy.paths import PathPattern
from agentkit.tools import EFFECTS

__all__ = ["Action", "Rule", "check_globs", "nearest", "rule_of"]

Action = Literal["allow", "ask", "deny"]

_KEYS = ("tool", "effect", "origin", "path", "argv")
_BESIDE_ARGV = {"argv", "command", "cwd", "timeout"}


@dataclass(frozen=True)
class Rule:
    """Says of some calls that they are allowed, asked about or denied: of those that all its keys are about.

    Attributes:
        action: What it says.
        label: Which one it is, for people.
        tool: Patterns of names.
        effect: Effects.
        origin: Patterns of origins.
        path: Patterns of paths.
        argv: Patterns of commands.
    """

    action: Action
    label: str
    tool: tuple[str, ...] = ()
    effect: frozenset[str] = frozenset()
    origin: tuple[OriginPattern, ...] = ()
    path: tuple[PathPattern, ...] = ()
    argv: tuple[ArgvPattern, ...] = ()

    def __str__(self) -> str:
        return f"{self.label} ({self.conditions})"

    @property
    def conditions(self) -> str:
        """What it is about, in words."""
        of_tool = {"tool": self.tool, "effect": sorted(self.effect)}
        return ", ".join(filter(None, (_in_words(of_tool), self.input_conditions)))

    @property
    def input_conditions(self) -> str:
        """What it wants of the input, in words."""
        return _in_words({key: [it.text for it in getattr(self, key)] for key in ("origin", "path", "argv")})

    @property
    def is_about_input(self) -> bool:
        """Whether it takes more than the tool to know."""
        return bool(self.origin or self.path or self.argv)

    def is_about_tool(self, asked: Asked) -> bool:
        """Whether tool and effect are those of the rule."""
        if self.tool and not any(fnmatchcase(asked.tool, name) for name in self.tool):
            return False
        if self.action == "allow":  # of all that it may do
            return not self.effect or asked.acting <= self.effect
        return not self.effect or bool(asked.effects & self.effect)

    def matches(self, asked: Asked) -> bool:
        """Whether it is about this call.

        What a rule allows, it allows where there is no doubt: each argument of the kind is covered. What it asks about
        or denies, it does so wherever there could be one.
        """
        return self.is_about_tool(asked) and (self._covers(asked) if self.action == "allow" else self._touches(asked))

    def _covers(self, asked: Asked) -> bool:
        if asked.is_shell_line and not self.argv:
            return False
        if self.argv and not self._covers_command(asked):
            return False
        is_covered = bool(self.argv) or _all_covered(self.path, asked.paths)
        return is_covered and _all_covered(self.origin, asked.addresses)

    def _covers_command(self, asked: Asked) -> bool:
        argv, cwd = asked.argv, asked.arguments.get("cwd")
        if argv is None or any(value for key, value in asked.arguments.items() if key not in _BESIDE_ARGV):
            return False
        is_at_home = cwd in (None, "", ".") or (bool(self.path) and _all_covered(self.path, [cwd]))
        return is_at_home and any(pattern.covers(argv) for pattern in self.argv)

    def _touches(self, asked: Asked) -> bool:
        return (
            (not self.argv or any(pattern.touches(asked.words) for pattern in self.argv))
            and (not self.path or self._touches_path(asked))
            and (not self.origin or self._touches_origin(asked))
        )

    def _touches_path(self, asked: Asked) -> bool:
        may_change = not asked.acting.isdisjoint({"write", "exec"})
        named = (it.touches(text, may_change=may_change) for it in self.path for text in asked.places)
        return asked.odd_path is not None or any(named)

    def _touches_origin(self, asked: Asked) -> bool:
        addressed = (it.touches(str(text)) for it in self.origin for text in asked.addresses)
        return any(addressed) or any(it.is_named_in(word) for it in self.origin for word in asked.words)

    def doubt(self, asked: Asked) -> str | None:
        """What could not be read with certainty, so that the rule is about the call: for the model."""
        if self.path and asked.odd_path is not None:
            return f"the path {asked.odd_path[:200]!r} can be read in several ways: write it without .., ~, % and \\"
        odd = [str(text) for text in asked.addresses if origin_of(str(text)) is None]
        if self.origin and odd:
            return f"the address {odd[0][:200]!r} can be read in several ways: write it as https://host/path"
        return None


def _in_words(wanted: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{key} {' or '.join(values)}" for key, values in wanted.items() if values)


def _all_covered(patterns: tuple[Any, ...], texts: list[Any]) -> bool:
    covered = all(isinstance(text, str) and any(it.covers(text) for it in patterns) for text in texts)
    return not patterns or (bool(texts) and covered)


def rule_of(action: Action, given: Any, label: str) -> Rule:
    """The rule that a table of a policy is.

    Args:
        action: The name of its list.
        given: Keys and values: a text, or a list of which one is enough.
        label: Which one it is.

    Raises:
        ConfigurationError: It can't be meant; the text names the key.
    """
    if not isinstance(given, Mapping):
        raise ConfigurationError(f'{label}: a rule is a table such as {{tool = "send_mail"}}, not {given!r}')
    for key in given:
        if key == "declassify":
            raise ConfigurationError(f"{label}: declassify belongs above the first [[…]] of the file")
        if key not in _KEYS:
            raise ConfigurationError(f"{label}: there is no key {key!r}{nearest(key, _KEYS)}")
    if not given:
        raise ConfigurationError(f"{label}: a rule needs at least one of {', '.join(_KEYS)}")
    if action == "allow" and not given.keys() & {"tool", "effect", "argv"}:
        raise ConfigurationError(f'{label}: say which tools may do so: add tool = "…", or effect = "…"')
    values = {key: _listed(value, f"{label}, {key}") for key, value in given.items()}
    check_globs(values.get("tool", ()), f"{label}, tool")
    for word in values.get("effect", ()):
        if word not in EFFECTS:
            raise ConfigurationError(f"{label}, effect: there is no effect {word!r}{nearest(word, EFFECTS)}")
    return Rule(
        action,
        label,
        values.get("tool", ()),
        frozenset(values.get("effect", ())),
        _patterns(OriginPattern, values.get("origin", ()), OriginPattern.problem, f"{label}, origin"),
        _patterns(PathPattern, values.get("path", ()), PathPattern.problem, f"{label}, path"),
        _patterns(
            ArgvPattern, values.get("argv", ()), lambda it: it.problem(allows=action == "allow"), f"{label}, argv"
        ),
    )


def _patterns(kind: Any, texts: tuple[str, ...], problem: Callable[[Any], str | None], at: str) -> tuple[Any, ...]:
    patterns = tuple(map(kind, texts))
    for pattern in patterns:
        if said := problem(pattern):
            raise ConfigurationError(f'{at}: "{pattern.text}" is none: {said}')
    return patterns


def _listed(value: Any, at: str) -> tuple[str, ...]:
    values = (value,) if isinstance(value, str) else sorted(value) if isinstance(value, set | frozenset) else value
    if not isinstance(values, list | tuple) or not values or not all(it and isinstance(it, str) for it in values):
        raise ConfigurationError(f"{at}: give a text, or a list of texts, not {value!r}")
    return tuple(values)


def check_globs(names: tuple[str, ...], at: str) -> None:
    """Refuses what can be no pattern of names of tools."""
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9_*?-]+", name):
            raise ConfigurationError(f"{at}: no tool can have the name {name!r}: use letters, digits, _, -, * and ?")


def nearest(word: Any, words: Any) -> str:
    """The end of a complaint: the word that was meant, or all there are."""
    near = get_close_matches(str(word), sorted(words), n=1, cutoff=0.5)
    return f": did you mean {near[0]}?" if near else f": there are {', '.join(sorted(words))}"
