"""The dry run of a policy: a table of tools, and of calls, with what it says of each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from agentkit.errors import ConfigurationError
from agentkit.policy.asked import Asked
from agentkit.tools import Tool

if TYPE_CHECKING:
    from agentkit.policy.policy import Policy, Verdict

__all__ = ["explained"]

_MIXED = ("untrusted", "private")
_HEAD = ("", "effect", "alone", "mixed", "why")


def explained(policy: Policy, tools: Sequence[Any], calls: Sequence[tuple[str, Any]]) -> str:
    """As `Policy.explain`. `mixed` is once untrusted text and private data are in a conversation."""
    known = {tool.name: tool for tool in tools if isinstance(tool, Tool)}
    rows: list[tuple[str, ...]] = []
    for item in tools:
        rows += _tool_rows(policy, item) if isinstance(item, Tool) else [_server_row(item)]
    for name, given in calls:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise ConfigurationError(f"there is no tool {name!r}{f': did you mean {near[0]}?' if near else ''}")
        said = json.dumps(given, ensure_ascii=True, default=repr)
        rows.append((f"{name} {said}"[:60], "", *_said(policy, known[name], given)))
    asked = [Asked(tool, {}) for tool in known.values()]
    idle = [rule for rule in policy.rules if not any(rule.is_about_tool(it) for it in asked)]
    return "\n".join([*_table(rows), *(f"No tool here is one of {rule}." for rule in idle)])


def _tool_rows(policy: Policy, tool: Tool) -> list[tuple[str, ...]]:
    effect = " ".join(sorted(tool.effect)) or "none declared"
    asked = Asked(tool, {})
    more = [rule for rule in policy.rules if rule.is_about_input and rule.is_about_tool(asked)]
    return [
        (tool.name, effect, *_said(policy, tool, {})),
        *(("", "", "", "", f"but {rule}") for rule in more),
    ]


def _server_row(item: Any) -> tuple[str, ...]:
    name = item.get("name", item.get("type", "")) if isinstance(item, dict) else item.name
    return (str(name), "", "-", "-", "the API runs it, so no policy is asked")


def _said(policy: Policy, tool: Tool, given: Any) -> tuple[str, str, str]:
    alone, mixed = policy.judge(tool, given), policy.judge(tool, given, _MIXED)
    return alone.action, mixed.action, _why(alone)


def _why(verdict: Verdict) -> str:
    return verdict.rule


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    all_rows = [_HEAD, *rows]
    widths = [max(len(row[column]) for row in all_rows) for column in range(4)]
    return ["  ".join([*map(str.ljust, row[:4], widths), row[4]]).rstrip() for row in all_rows]
