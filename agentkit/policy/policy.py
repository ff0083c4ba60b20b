"""`Policy`: may this call run? Pure: tool, input and what the model has read decide, and nothing else."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import reduce
from itertools import chain
from operator import or_
from pathlib import Path
from typing import Any

from agentkit.errors import ConfigurationError
from agentkit.policy.asked import Asked
from agentkit.policy.rules import Action, Rule, check_globs, nearest, rule_of
from agentkit.taint import TAINTS
from agentkit.tools import Tool

__all__ = ["Policy", "Verdict", "policy_of", "stricter"]

RuleTable = Mapping[str, "str | Iterable[str]"]

_LISTS: tuple[Action, ...] = ("deny", "ask", "allow")
_DOES = {"write": "change things", "net": "send data out", "exec": "run code"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a policy says of a call.

    Attributes:
        action: allow, ask (a human decides) or deny.
        rule: Which rule or default says so, in words.
    """

    action: Action
    rule: str

    @property
    def refusal(self) -> str:
        """What the model is told of a call that is denied, or that nobody is there to ask about."""
        if self.action == "deny":
            return f"Not executed: the policy of this application denies this call: {self.rule}."
        return f"Not executed: a human must approve this call, and nobody can be asked in this run: {self.rule}."


class Policy:
    """Rules for calls of tools. What they don't say: what only reads is allowed, all else is asked about.

    A rule is a table of `tool`, `effect`, `origin`, `path` and `argv`, each a text or a list of which one is enough; it
    is about the calls that all its keys are about. Denying goes before asking, and asking before allowing.

    Once a conversation has read `untrusted` text and `private` data, whatever may write, send or run code is asked
    about, whatever is allowed.

    Args:
        deny: Rules for calls that never run.
        ask: Rules for calls that a human decides.
        allow: Rules for calls that run.
        declassify: Tools that untrusted text together with private data does not hold up; `*` is any letters.

    Raises:
        ConfigurationError: A rule can't be meant.
    """

    def __init__(
        self,
        *,
        deny: Iterable[RuleTable] = (),
        ask: Iterable[RuleTable] = (),
        allow: Iterable[RuleTable] = (),
        declassify: Iterable[str] = (),
    ) -> None:
        self._set({"deny": deny, "ask": ask, "allow": allow, "declassify": declassify}, "")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Policy:
        """The policy of a TOML file, with `[[deny]]`, `[[ask]]` and `[[allow]]` tables and a list `declassify`.

        Raises:
            ConfigurationError: It can't be read, or has what can't be meant; the text says where.
        """
        try:
            tables = tomllib.loads(Path(path).read_text("utf-8-sig"))
        except OSError as error:
            raise ConfigurationError(f"the policy {os.fspath(path)!r} can't be read: {error.strerror}") from None
        except ValueError as error:
            raise ConfigurationError(f"the policy {os.fspath(path)!r} is no TOML: {error}") from None
        policy = cls.__new__(cls)
        policy._set(tables, Path(path).name)
        return policy

    def _set(self, tables: Mapping[str, Any], file: str) -> None:
        known = (*_LISTS, "declassify")
        at = f"{file}: " if file else ""
        for key in tables:
            if key not in known:
                raise ConfigurationError(f"{at}there is no table {key!r}{nearest(key, known)}")
        of = f" of {file}" if file else ""
        self._rules: dict[Action, tuple[Rule, ...]] = {}
        for action in _LISTS:
            rules = tables.get(action, ())
            if isinstance(rules, str | Mapping) or not isinstance(rules, Iterable):
                raise ConfigurationError(f"{at}{action} is a list of tables: write [[{action}]] above each")
            self._rules[action] = tuple(rule_of(action, rule, f"{action} {n}{of}") for n, rule in enumerate(rules, 1))
        names = tables.get("declassify", ())
        is_list = isinstance(names, Iterable) and not isinstance(names, str | Mapping)
        self._declassify = tuple(names) if is_list else ()
        if not is_list or not all(isinstance(name, str) for name in self._declassify):
            raise ConfigurationError(f'{at}declassify is a list of names of tools, such as ["send_report"]')
        check_globs(self._declassify, f"{at}declassify")

    def __or__(self, other: Policy) -> Policy:
        """Both at once: their rules add up, so that what one denies or asks about, the other can't allow.

        `declassify` is that of the first.
        """
        if not isinstance(other, Policy):
            return NotImplemented
        both = Policy()
        both._rules = {action: (*self._rules[action], *other._rules[action]) for action in _LISTS}
        both._declassify = self._declassify
        return both

    def __repr__(self) -> str:
        return f"Policy({', '.join(f'{len(rules)} {action}' for action, rules in self._rules.items())})"

    @property
    def rules(self) -> list[Rule]:
        """All, in the order in which they count."""
        return list(chain.from_iterable(self._rules.values()))

    def judge(self, tool: Tool, input: Any, taint: Collection[str] = ()) -> Verdict:  # noqa: A002
        """Whether a call may run.

        Args:
            tool: The tool.
            input: What it would run with.
            taint: What the model has read when it wrote the call: `untrusted`, `private`.
        """
        asked = Asked(tool, input)
        if denied := self._first("deny", asked):
            return denied
        if set(taint) >= TAINTS and asked.acting and not self._is_declassified(tool.name):
            met = "untrusted text and private data are in this conversation"
            return Verdict("ask", f"{met}, and {tool.name} may {_words(asked)}")
        if decided := self._first("ask", asked) or self._first("allow", asked):
            return decided
        if not asked.acting:
            return Verdict("allow", "it only reads")
        if asked.is_shell_line:
            return Verdict("ask", "it is a line for a shell, and no allow rule with argv is about it")
        says = "it may" if tool.effect else "it declares no effect, so it may"
        return Verdict("ask", f"{says} {_words(asked)}, and no allow rule is about this call")

    def explain(self, tools: Iterable[Any], calls: Iterable[tuple[str, Any]] = ()) -> str:
        """A dry run, as text: what would be allowed, asked about and denied. Nothing is called.

        Args:
            tools: Those of an agent.
            calls: Names of tools with an input each.

        Raises:
            ConfigurationError: A call is one of no tool.
        """
        from agentkit.policy.explained import explained

        return explained(self, list(tools), list(calls))

    def _first(self, action: Action, asked: Asked) -> Verdict | None:
        for rule in self._rules[action]:
            if rule.matches(asked):
                doubt = None if action == "allow" else rule.doubt(asked)
                return Verdict(action, f"{rule}: {doubt}" if doubt else str(rule))
        return None

    def _is_declassified(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self._declassify)


def _words(asked: Asked) -> str:
    return " and ".join(words for effect, words in _DOES.items() if effect in asked.acting)


def stricter(*verdicts: Verdict) -> Verdict:
    """The first of the strictest: for a call that several policies judge."""
    return min(verdicts, key=lambda verdict: _LISTS.index(verdict.action))


def policy_of(given: Policy | str | os.PathLike[str] | Iterable[Any] | None) -> Policy | None:
    """The policy that an agent was given: one, the path of its file, or several that add up.

    Raises:
        ConfigurationError: It is none.
    """
    if given is None or isinstance(given, Policy):
        return given
    if isinstance(given, str | os.PathLike):
        return Policy.load(given)
    layers = [] if isinstance(given, Mapping) or not isinstance(given, Iterable) else list(given)
    if not layers or not all(isinstance(layer, Policy | str | os.PathLike) for layer in layers):
        raise ConfigurationError(f"policy must be a Policy, the path of a TOML file, or a list of these, not {given!r}")
    return reduce(or_, map(policy_of, layers))
