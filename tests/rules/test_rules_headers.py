"""What the version takes away, what a beta must allow, and betas that there are not."""

from __future__ import annotations

import pytest
from bodies import EXTRA, HELLO, MARK, TOOL, Body, body, said, tools

from agentkit.rules import Problem, check_request

NEW = "2026-10-21"
CITED = {"type": "text", "text": "a", "citations": [{"type": "char_location"}]}
SCOPED = MARK | {"scope": "global"}
EDITS = "'clear_thinking_20251015', 'clear_tool_uses_20250919'"

# rule, path, what follows it, request, a beta that allows it
GATED: list[tuple[str, str, Body, str]] = [
    ("compaction", EXTRA, body(compaction={"type": "summarize"}), "compact-2026-09-04"),
    ("context_management", EXTRA, body(context_management={}), "context-management-2025-06-27"),
    ("fallback_credit_token", EXTRA, body(fallback_credit_token="t"), "fallback-credit-2026-07-01"),
    ("fallbacks", EXTRA, body(fallbacks="default"), "server-side-fallback-2026-07-01"),
    ("mcp_servers", EXTRA, body(mcp_servers=[]), "mcp-client-2025-11-20"),
    ("output_format", EXTRA, body(output_format={"schema": {}}), "structured-outputs-2025-11-13"),
    ("speed", EXTRA, body(speed="fast"), "fast-mode-2026-02-01"),
    ("thread", EXTRA, body(thread={"type": "create"}), "message-threads-2026-08-12"),
    (
        "output_config.task_budget",
        EXTRA,
        body(output_config={"task_budget": {"type": "tokens", "total": 20_000}}),
        "task-budgets-2026-03-13",
    ),
    (
        "thinking.adaptive.block_binding",
        EXTRA,
        body(thinking={"type": "adaptive", "block_binding": {}}),
        "thinking-binding-controls-2026-08-01",
    ),
    (
        "thinking.adaptive.display",
        "Input should be 'summarized', 'omitted'",
        body(thinking={"type": "adaptive", "display": "updates"}),
        "thinking-display-updates-2026-08-18",
    ),
    (
        "messages.0.clear_at",
        EXTRA,
        body(messages=[HELLO | {"clear_at": "never"}]),
        "mid-conversation-system-clear-at-2026-08-21",
    ),
    (
        "messages.0.output_config",
        EXTRA,
        body(messages=[HELLO | {"output_config": {"effort": "low"}}]),
        "mid-conversation-output-config-2026-07-01",
    ),
    (
        "system.0.cache_control.ephemeral.scope",
        EXTRA,
        body(system=[{"type": "text", "text": "a", "cache_control": SCOPED}]),
        "prompt-caching-scope-2026-01-05",
    ),
    (
        "tools.0.custom.cache_control.ephemeral.scope",
        EXTRA,
        tools(TOOL | {"cache_control": SCOPED}),
        "prompt-caching-scope-2026-01-05",
    ),
    (
        "messages.0.content.0.text.cache_control.ephemeral.scope",
        EXTRA,
        said({"type": "text", "text": "a", "cache_control": SCOPED}),
        "prompt-caching-scope-2026-01-05",
    ),
]


@pytest.mark.parametrize(("path", "words", "request_body", "beta"), GATED, ids=[case[0] for case in GATED])
def test_a_field_of_a_beta_needs_its_header(path: str, words: str, request_body: Body, beta: str) -> None:
    assert check_request(request_body, betas=["pdfs-2024-09-25"]) == [Problem("beta_missing", path, f"{path}: {words}")]
    assert check_request(request_body, betas=[beta]) == check_request(request_body) == []


def test_an_edit_that_compacts_needs_a_beta_of_its_own() -> None:
    compacting = body(context_management={"edits": [{"type": "compact_20260112"}, {"type": "later"}]})
    path = "context_management.edits.0"
    words = f"Input tag 'compact_20260112' found using 'type' does not match any of the expected tags: {EDITS}"
    assert check_request(compacting, betas=["context-management-2025-06-27"]) == [
        Problem("beta_missing", path, f"{path}: {words}")
    ]
    assert check_request(compacting, betas=["compact-2026-01-12"]) == []


@pytest.mark.parametrize(
    ("names", "unknown"),
    [
        (["effort-2025-11-24"], "`effort-2025-11-24`"),
        (["pdfs-2024-09-25", "", "pdfs"], "``, `pdfs`"),
        (["claude-code-20250219", "compact-2026-09-04", "later-2099-12-31", "user-profiles-2026-03-24"], ""),
        ([], ""),
    ],
)
def test_betas_that_there_are_not(names: list[str], unknown: str) -> None:
    words = (
        f"Unexpected value(s) {unknown} for the `anthropic-beta` header. Please consult our documentation at "
        "docs.anthropic.com or try again without the header."
    )
    refused = [Problem("beta_unknown", "anthropic-beta", words)] if unknown else []
    assert check_request(body(), betas=names) == refused


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
def test_the_newest_version_has_no_sampling(name: str) -> None:
    given = body(**{name: 1})
    assert check_request(given, version=NEW) == [Problem("version_sampling", name, f"{name}: {EXTRA}")]
    assert check_request(given, version="2023-06-01") == check_request(given) == []


def test_the_newest_version_takes_no_citations_from_the_user() -> None:
    found = {"type": "search_result", "source": "a", "title": "b", "content": [CITED]}
    plain = {"type": "text", "text": "a", "citations": []}
    given = body(
        messages=[
            {"role": "user", "content": [plain, CITED, found]},
            {"role": "assistant", "content": [CITED]},
            HELLO,
        ]
    )
    assert [(each.rule, each.path) for each in check_request(given, version=NEW)] == [
        ("version_citations", "messages.0.content.1"),
        ("version_citations", "messages.0.content.2"),
    ]
    assert check_request(given, version="2023-06-01") == []


def test_headers_are_looked_at_in_the_order_of_the_api() -> None:
    wrong = body(speed="fast", temperature=9)
    assert [each.rule for each in check_request(wrong, version=NEW, betas=["pdfs"])] == ["beta_unknown", "field_range"]
    assert [each.rule for each in check_request(body(speed="fast", messages=[]), betas=[])] == ["beta_missing"]
