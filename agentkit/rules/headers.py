"""What the API refuses because of a header: fields that a version took away, and those that a beta must allow.

Without the header, a field of a beta is one that does not exist. Names of betas later than the list are not judged.

Source: messages-api.md sections 2.2, 2.5, 3 and 14; api-errors.md B (claude-code#53855, claude-code#14135,
copilot-api#145); names of betas also from recorded requests. The words on removed parameters are those of any unknown
field, those on citations are ours.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from agentkit.rules.cache import marks
from agentkit.rules.shapes import EXTRA, say
from agentkit.rules.texts import Problem

__all__ = ["check_betas", "check_gates"]

_WITHOUT_SAMPLING = "2026-10-21"
_LISTED_UNTIL = "2026-11-22"
_LISTED = {
    "advisor-tool-2026-03-01", "agent-memory-2026-07-22", "cache-diagnosis-2026-04-07", "code-execution-2025-05-22",
    "code-execution-2025-08-25", "compact-2026-01-12", "compact-2026-09-04", "computer-use-2024-10-22",
    "computer-use-2025-01-24", "computer-use-2025-11-24", "context-1m-2025-08-07", "context-management-2025-06-27",
    "dev-full-thinking-2025-05-14", "extended-cache-ttl-2025-04-11", "fallback-credit-2026-06-01",
    "fallback-credit-2026-07-01", "fast-mode-2026-02-01", "files-api-2025-04-14",
    "fine-grained-tool-streaming-2025-05-14", "inline-tools-2026-09-15", "interleaved-thinking-2025-05-14",
    "managed-agents-2026-04-01", "mcp-client-2025-04-04", "mcp-client-2025-11-20", "mcp-client-2026-09-15",
    "message-batches-2024-09-24", "message-threads-2026-08-12", "mid-conversation-output-config-2026-07-01",
    "mid-conversation-system-clear-at-2026-08-21", "mid-conversation-tool-changes-2026-07-01",
    "model-context-window-exceeded-2025-08-26", "output-128k-2025-02-19", "output-300k-2026-03-24", "pdfs-2024-09-25",
    "prompt-caching-2024-07-31", "server-side-fallback-2026-06-01", "server-side-fallback-2026-07-01",
    "skills-2025-10-02", "structured-outputs-2025-11-13", "structured-outputs-2025-12-15", "task-budgets-2026-03-13",
    "thinking-binding-controls-2026-08-01", "thinking-display-updates-2026-08-18", "thinking-token-count-2026-05-13",
    "token-counting-2024-11-01", "token-efficient-tools-2025-02-19", "tools-2024-04-04", "web-fetch-2025-09-10",
}  # fmt: skip
_FAMILIES = ("prompt-caching-scope-", "user-profiles-", "claude-code-", "oauth-")  # their dates are not listed
_DATED = re.compile(r".+-(\d{4})-?(\d{2})-?(\d{2})")

# Fields at the top level, and which betas allow each.
_GATED = {
    "compaction": ("compact-2026-09-04",),
    "context_management": ("context-management-2025-06-27", "compact-2026-01-12"),
    "fallback_credit_token": ("fallback-credit-2026-06-01", "fallback-credit-2026-07-01"),
    "fallbacks": ("server-side-fallback-2026-06-01", "server-side-fallback-2026-07-01"),
    "mcp_servers": ("mcp-client-2025-04-04", "mcp-client-2025-11-20", "mcp-client-2026-09-15"),
    "output_format": ("structured-outputs-2025-11-13", "structured-outputs-2025-12-15"),
    "speed": ("fast-mode-2026-02-01",),
    "thread": ("message-threads-2026-08-12",),
}
_COMPACT = "compact-2026-01-12"
_EDITS = "'clear_thinking_20251015', 'clear_tool_uses_20250919'"
_SCOPE = "prompt-caching-scope-"


def check_betas(betas: Collection[str] | None) -> Iterator[Problem]:
    """Names in the `anthropic-beta` header that there are not."""
    unknown = [name for name in betas or () if not _is_known(name)]
    if unknown:
        names = ", ".join(f"`{name}`" for name in unknown)
        text = (
            f"Unexpected value(s) {names} for the `anthropic-beta` header. Please consult our documentation at "
            "docs.anthropic.com or try again without the header."
        )
        yield Problem("beta_unknown", "anthropic-beta", text)


def _is_known(name: str) -> bool:
    dated = _DATED.fullmatch(name)
    later = dated is not None and "-".join(dated.groups()) > _LISTED_UNTIL
    return later or name in _LISTED or name.startswith(_FAMILIES)


def check_gates(body: Mapping[str, Any], version: str | None, betas: Collection[str] | None) -> Iterator[Problem]:
    """Fields that the version or the betas leave out; a version or betas that are not known leave nothing out.

    Args:
        body: A request whose fields are well-shaped.
        version: The `anthropic-version` header.
        betas: The names in the `anthropic-beta` header.
    """
    if version and version >= _WITHOUT_SAMPLING:
        yield from _removed(body)
    if betas is None:
        return
    for name, allowing in _GATED.items():
        if body.get(name) is not None and set(allowing).isdisjoint(betas):
            yield say("beta_missing", name, EXTRA)
    yield from _inside(body, betas)
    yield from _edits(body, betas)
    for path, block in marks(body) if not any(name.startswith(_SCOPE) for name in betas) else ():
        if "scope" in block["cache_control"]:
            where = path if path.startswith("system") else f"{path}.{block.get('type') or 'custom'}"
            yield say("beta_missing", f"{where}.cache_control.ephemeral.scope", EXTRA)


def _removed(body: Mapping[str, Any]) -> Iterator[Problem]:
    for name in ("temperature", "top_p", "top_k"):
        if name in body:
            yield say("version_sampling", name, EXTRA)
    for index, message in enumerate(body["messages"]):
        content = message["content"] if message["role"] == "user" and isinstance(message["content"], list) else []
        for at, block in enumerate(content):
            texts = block["content"] if block["type"] == "search_result" else [block]
            if any(text["type"] == "text" and text.get("citations") for text in texts):
                path = f"messages.{index}.content.{at}"
                yield say("version_citations", path, "a text block in a user message may not have citations")


def _inside(body: Mapping[str, Any], betas: Collection[str]) -> Iterator[Problem]:
    config, thinking = body.get("output_config", {}), body.get("thinking", {})
    kind = f"thinking.{thinking.get('type')}"
    if config.get("task_budget") is not None and "task-budgets-2026-03-13" not in betas:
        yield say("beta_missing", "output_config.task_budget", EXTRA)
    if thinking.get("block_binding") is not None and "thinking-binding-controls-2026-08-01" not in betas:
        yield say("beta_missing", f"{kind}.block_binding", EXTRA)
    if thinking.get("display") == "updates" and "thinking-display-updates-2026-08-18" not in betas:
        yield say("beta_missing", f"{kind}.display", "Input should be 'summarized', 'omitted'")
    for at, message in enumerate(body["messages"]):
        if "clear_at" in message and "mid-conversation-system-clear-at-2026-08-21" not in betas:
            yield say("beta_missing", f"messages.{at}.clear_at", EXTRA)
        if "output_config" in message and "mid-conversation-output-config-2026-07-01" not in betas:
            yield say("beta_missing", f"messages.{at}.output_config", EXTRA)


def _edits(body: Mapping[str, Any], betas: Collection[str]) -> Iterator[Problem]:
    """Source: the text is that of a live probe, published by several."""
    edits = (body.get("context_management") or {}).get("edits") or []
    for at, edit in enumerate(edits):
        if edit["type"] == "compact_20260112" and _COMPACT not in betas:
            words = f"Input tag '{edit['type']}' found using 'type' does not match any of the expected tags: {_EDITS}"
            yield say("beta_missing", f"context_management.edits.{at}", words)
