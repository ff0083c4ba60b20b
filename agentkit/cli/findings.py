"""What a probe has found: what it means for `Client(…)`, as a table and as JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from agentkit.cli.probe import UNCHECKED
from agentkit.support import GENERIC, PROVIDERS, SERVER_TOOLS, provider_of
from agentkit.terminal import safe_line

if TYPE_CHECKING:
    from agentkit.cli.probe import Finding

__all__ = ["as_dict", "show", "suggested", "to_set"]

_WORDS = {True: ("yes", "green"), False: ("no", "red"), None: ("not known", "yellow")}


def as_dict(findings: Sequence[Finding], base_url: str, model: str) -> dict[str, Any]:
    """All of it, as JSON."""
    answers = bool(findings[0].supported)
    return {
        "url": base_url,
        "model": model,
        "usable": answers,
        "findings": [asdict(finding) for finding in findings],
        "client": suggested(findings, base_url) if answers else None,
        "set": list(to_set(findings)) if answers else [],
    }


def show(found: Mapping[str, Any]) -> None:
    """Prints the table, and what to set."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(force_terminal=sys.stdout.isatty(), highlight=False, markup=False, emoji=False)
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in found["findings"]:
        word, style = _WORDS[finding["supported"]]
        table.add_row(finding["feature"], Text(word, style), Text(finding["note"]))
    console.print(table)
    if not found["usable"]:
        return
    console.print()
    console.print(safe_line(found["client"]), style="bold", soft_wrap=True)
    for line in found["set"]:
        console.print(f"  {safe_line(line)}")


def suggested(findings: Sequence[Finding], base_url: str) -> str:
    """The `Client(…)` that fits."""
    known = provider_of(base_url)
    parts = [] if known.base_url else [f'base_url="{base_url}"']
    parts.append(f'provider="{known.name if known is not GENERIC else _provider(_by_feature(findings))}"')
    if _of(findings, "key in x-api-key") is False and _of(findings, "key as Bearer"):
        parts.append("auth_token=…")
    return f"Client({', '.join(parts)})"


def _provider(found: Mapping[str, Finding]) -> str:
    """The preset for an address that is none of those that are known."""
    searches = [found[f"web_search_{date}"] for date in SERVER_TOOLS["web_search"].dates]
    lenient = found["error shape"].supported is False
    versions = [False if lenient and search.note == UNCHECKED else search.supported for search in searches]
    if versions[-1] and found["cache_control, top"].supported:
        return "anthropic"
    calls = found["tool use"]
    if not any(versions) and (False in versions or "stop_reason" in calls.note):
        return "local"
    return GENERIC.name


def to_set(findings: Sequence[Finding]) -> Iterator[str]:
    """What to do, or leave alone, because of what was found; a line each."""
    found = _by_feature(findings)
    if _of(findings, "key in x-api-key") is False and _of(findings, "key as Bearer"):
        yield "Give the key as auth_token=, or in ANTHROPIC_AUTH_TOKEN: it is read as Bearer only."
    if found["streaming"].supported is False:
        yield "Use run, not stream, and keep max_tokens at 21,333 or less: longer replies are streamed."
    if "stop_reason" in found["tool use"].note and not PROVIDERS[_provider(found)].runs_at_end_turn:
        yield 'Its calls come without stop_reason tool_use: with provider="local" they run all the same.'
    if found["tool use"].supported is False:
        yield "Give no tools."
    if found["forced tool_choice"].supported is False:
        yield "Leave tool_choice out: it can't force a call."
    thinking = [kind for kind in _THINKING if found[f"thinking {kind}"].supported]
    if thinking:
        yield f"thinking may be {', '.join(thinking)}."
    elif not any(found[f"thinking {kind}"].supported is None for kind in _THINKING):
        yield "Leave thinking out."
    levels = [level for level in ("low", "xhigh", "max") if found[f"effort {level}"].supported is False]
    if len(levels) == 3:
        yield "Leave effort out."
    elif levels:
        yield f"effort may not be {', '.join(levels)}."
    if found["structured output"].supported is False:
        yield "Leave output_type out: ask for JSON in words, and check it."
    marks = [found[f"cache_control, {place}"].supported for place in ("top", "block")]
    if marks == [False, False]:
        yield "cache_control has no effect here."
    elif marks[0] is False:
        yield "Put cache_control on blocks, not at the top level."


_THINKING = ("adaptive", "enabled", "between_tools", "disabled")


def _by_feature(findings: Sequence[Finding]) -> dict[str, Finding]:
    return {finding.feature: finding for finding in findings}


def _of(findings: Sequence[Finding], feature: str) -> bool | None:
    return next((finding.supported for finding in findings if finding.feature == feature), None)
