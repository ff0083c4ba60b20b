"""The dry run of a policy: a table of tools, and of calls, with what it says of each."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any, Protocol

from agentkit.errors import ConfigurationError
from agentkit.policy.asked import Asked, kinds_of
from agentkit.policy.rules import Rule, nearest
from agentkit.taint import TAINTS
from agentkit.tools import Tool

__all__ = ["explained"]

_HEAD = ("", "effect", "alone", "mixed", "why")


class _Judge(Protocol):
    """A `Policy`, which asks for this table itself."""

    @property
    def rules(self) -> list[Rule]: ...

    def judge(self, tool: Tool, input: Any, taint: Collection[str] = ()) -> Any: ...  # noqa: A002


def explained(policy: _Judge, tools: Sequence[Any], calls: Sequence[tuple[str, Any]]) -> str:
    """As `Policy.explain`. `mixed` is once untrusted text and private data are in a conversation."""
    known = {tool.name: tool for tool in tools if isinstance(tool, Tool)}
    rows: list[tuple[str, ...]] = []
    for item in tools:
        rows += _tool_rows(policy, item) if isinstance(item, Tool) else [_server_row(item)]
    for name, given in calls:
        if name not in known:
            raise ConfigurationError(f"there is no tool {name!r}{nearest(name, known) if known else ''}")
        said = json.dumps(given, ensure_ascii=True, default=repr)
        rows.append((f"{name} {said}"[:60], "", *_said(policy, known[name], given)))
    asked = [Asked(tool, {}) for tool in known.values()]
    idle = [rule for rule in policy.rules if not any(rule.is_about_tool(it) for it in asked)]
    return "\n".join([*_table(rows), *(f"No tool here is one of {rule}." for rule in idle)])


def _tool_rows(policy: _Judge, tool: Tool) -> list[tuple[str, ...]]:
    effect = " ".join(sorted(tool.effect)) or "none declared"
    asked = Asked(tool, {})
    more = [rule for rule in policy.rules if rule.is_about_tool(asked) and _may_matter(rule, tool, asked)]
    return [
        (tool.name, effect, *_said(policy, tool, {})),
        *(("", "", "", "", f"{rule.label} if {rule.input_conditions}") for rule in more),
    ]


def _may_matter(rule: Rule, tool: Tool, asked: Asked) -> bool:
    """Whether the rule is about arguments that the tool takes, by their names."""
    if rule.action == "allow" and not asked.acting:
        return False
    takes = frozenset[str]().union(*map(kinds_of, tool.input_schema.get("properties", ())))
    wants = {"path": rule.path, "address": rule.origin, "command": rule.argv}
    is_named = rule.action != "allow" and "command" in takes  # paths and hosts are looked for in commands too
    return rule.is_about_input and all(kind in takes or is_named for kind, wanted in wants.items() if wanted)


def _server_row(item: Any) -> tuple[str, ...]:
    name = item.get("name", item.get("type", "")) if isinstance(item, dict) else item.name
    return (str(name), "", "-", "-", "the API runs it, so no policy is asked")


def _said(policy: _Judge, tool: Tool, given: Any) -> tuple[str, str, str]:
    alone, mixed = policy.judge(tool, given), policy.judge(tool, given, TAINTS)
    return alone.action, mixed.action, alone.rule


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    all_rows = [_HEAD, *rows]
    widths = [max(len(row[column]) for row in all_rows) for column in range(4)]
    return ["  ".join([*map(str.ljust, row[:4], widths), row[4]]).rstrip() for row in all_rows]
