"""The history rules: a case for each, with the API's words, and what the API takes."""

from __future__ import annotations

import pytest
from histories import (
    ASK,
    IMAGE,
    SIGNED,
    Message,
    assistant,
    by_code,
    call,
    found,
    mcp,
    result,
    rules,
    search,
    system,
    text,
    user,
)

from agentkit.rules import Problem, check_history
from agentkit.rules.texts import TEXTS

MISSING = (
    "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: {}. "
    "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
)
UNEXPECTED = (
    "messages.{}: unexpected `tool_use_id` found in `{}` blocks: {}. "
    "Each `{}` block must have a corresponding `{}` block {}."
)
ORPHAN = UNEXPECTED.format("{}", "tool_result", "t9", "tool_result", "tool_use", "in the previous message")
UNPAIRED = "messages.1: `{}` tool use with id `{}` was found without a corresponding `{}` block"
ANYWHERE = "; the directive-only form (content: [] with output_config) is accepted at any position"
FOLLOW = (
    f"role 'system' must follow a 'user' message or an 'assistant' message ending in a server tool result{ANYWHERE}"
)
PRECEDE = "role 'system' must precede an 'assistant' message or end the array"
CONTENT = "all messages must have non-empty content except for the optional final assistant message"

# rule, path as the caller counts, text as the API words it, history
Case = tuple[str, str, str, list[Message]]
REFUSED: list[Case] = [
    ("messages_empty", "messages", "messages: at least one message is required", []),
    (
        "role_unknown",
        "messages.1",
        'messages: Unexpected role "tool". Allowed roles are "user" or "assistant"',
        [ASK, {"role": "tool", "content": "1"}],
    ),
    ("content_empty", "messages.0", f"messages.0: {CONTENT}", [{"role": "user", "content": ""}]),
    ("content_empty", "messages.2", f"messages.2: {CONTENT}", [ASK, assistant(text()), user(), user()]),
    ("content_empty", "messages.1", f"messages.1: {CONTENT}", [ASK, assistant(), ASK]),
    ("content_empty", "messages.0", f"messages.0: {CONTENT}", [{"role": "user"}, assistant(text())]),
    (
        "text_empty",
        "messages.1.content.0",
        "messages: text content blocks must be non-empty",
        [ASK, assistant(text(""), call("t1")), user(result("t1"))],
    ),
    (
        "text_blank",
        "messages.0",
        "messages: text content blocks must contain non-whitespace text",
        [{"role": "user", "content": "\n"}],
    ),
    (
        "block_role",
        "messages.1.content.0",
        "messages.1: `tool_result` blocks can only be in `user` messages",
        [ASK, assistant(result("t1"))],
    ),
    (
        "block_role",
        "messages.0.content.1",
        "messages.0: `tool_use` blocks can only be in `assistant` messages",
        [user(text(), call("t1"))],
    ),
    (
        "block_role",
        "messages.0.content.0",
        "messages.0: `web_search_tool_result` blocks can only be in `assistant` messages",
        [user(found("s1"))],
    ),
    (
        "media_role",
        "messages.1.content.1",
        "messages.1.content: 'image' blocks are not permitted within assistant turns",
        [ASK, assistant(text(), IMAGE)],
    ),
    (
        "thinking_role",
        "messages.0.content.0",
        "messages.0.content: thinking blocks may only be in `assistant` messages",
        [user({"type": "thinking", "thinking": "", "signature": "x"})],
    ),
    (
        "tool_use_id",
        "messages.1.content.0",
        "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'",
        [ASK, assistant(call("functions.add:0")), user(result("functions.add:0"))],
    ),
    (
        "tool_use_name",
        "messages.1.content.0",
        "messages.1.content.0.tool_use.name: String should have at most 200 characters",
        [ASK, assistant(call("t1", name="a" * 201)), user(result("t1"))],
    ),
    (
        "tool_use_input",
        "messages.1.content.0",
        "messages.1.content.0.tool_use.input: Input should be a valid dictionary",
        [ASK, assistant(call("t1", input='{"a": 1}')), user(result("t1"))],
    ),
    (
        "tool_use_input",
        "messages.1.content.0",
        "messages.1.content.0.server_tool_use.input: Input should be a valid dictionary",
        [ASK, assistant(search("s1") | {"input": None}, found("s1"))],
    ),
    (
        "tool_use_duplicate",
        "messages.2.content.0",
        "messages.1.content.1: `tool_use` ids must be unique",
        [ASK, assistant(call("t1")), assistant(call("t1")), user(result("t1"))],
    ),
    ("tool_result_missing", "messages.1", MISSING.format("t1, t2"), [ASK, assistant(call("t1"), call("t2"))]),
    ("tool_result_missing", "messages.1", MISSING.format("t1"), [ASK, assistant(call("t1")), ASK]),
    (
        "tool_result_missing",
        "messages.1",
        MISSING.format("t2"),
        [ASK, assistant(call("t1"), call("t2")), user(result("t1")), user(text(), result("t2"))],
    ),
    (
        "tool_result_missing",
        "messages.1",
        MISSING.format("t2"),
        [ASK, assistant(call("t1"), call("t2")), user(result("t1")), assistant(text())],
    ),
    (
        "tool_result_missing",
        "messages.1",
        MISSING.format("t2"),
        [ASK, assistant(call("t1"), call("t2")), user(result("t1")), system(text())],
    ),
    (
        "tool_result_missing",  # recorded: opencode, rejects-malformed-assistant-tool-order-without-patch
        "messages.0",
        MISSING.format("t1"),
        [assistant(call("t1"), text()), user(result("t1")), ASK],
    ),
    (
        "tool_result_missing",  # vercel/ai#13013
        "messages.1",
        MISSING.format("t1"),
        [ASK, assistant(search("s1"), call("t1"), found("s1")), user(result("t1"))],
    ),
    (
        "tool_result_unexpected",  # recorded: anthropic-sdk-python
        "messages.1.content.0",
        ORPHAN.format("0.content.1"),
        [{"role": "user", "content": "What's the weather?"}, user(result("t9"))],
    ),
    (
        "tool_result_unexpected",
        "messages.2.content.1",
        ORPHAN.format("2.content.1"),
        [ASK, assistant(call("t1")), user(result("t1"), result("t9"))],
    ),
    (
        "tool_result_duplicate",
        "messages.3.content.0",
        "messages.2.content.1: each tool_use must have a single result. "
        "Found multiple `tool_result` blocks with id: t1",
        [ASK, assistant(call("t1")), user(result("t1")), user(result("t1"))],
    ),
    (
        "tool_result_duplicate",
        "messages.1.content.2",
        "messages.1.content.2: each tool_use must have a single result. "
        "Found multiple `web_search_tool_result` blocks with id: s1",
        [ASK, assistant(search("s1"), found("s1"), found("s1"))],
    ),
    (
        "server_result_missing",  # a paused turn that was not resumed
        "messages.1",
        UNPAIRED.format("web_search", "s1", "web_search_tool_result"),
        [ASK, assistant(search("s1")), user(text("go on")), assistant(found("s1"), text())],
    ),
    (
        "server_result_missing",  # a mixed turn takes results only
        "messages.1",
        UNPAIRED.format("tool_search_tool_bm25", "s1", "tool_search_tool_result"),
        [ASK, assistant(search("s1", "tool_search_tool_bm25"), call("t1")), user(result("t1"), text())],
    ),
    (
        "server_result_missing",
        "messages.1",
        UNPAIRED.format("ask", "m1", "mcp_tool_result"),
        [ASK, assistant(mcp("m1")), ASK],
    ),
    (
        "server_result_unexpected",
        "messages.1.content.0",
        UNEXPECTED.format(
            "1.content.0", "advisor_tool_result", "s1", "advisor_tool_result", "server_tool_use", "before it"
        ),
        [ASK, assistant(found("s1", "advisor_tool_result"))],
    ),
    (
        "server_result_unexpected",
        "messages.1.content.0",
        UNEXPECTED.format("1.content.0", "mcp_tool_result", "m1", "mcp_tool_result", "mcp_tool_use", "before it"),
        [ASK, assistant(found("m1", "mcp_tool_result"))],
    ),
    (
        "server_result_unexpected",  # its turn is over
        "messages.3.content.0",
        UNEXPECTED.format(
            "3.content.0", "web_search_tool_result", "s1", "web_search_tool_result", "server_tool_use", "before it"
        ),
        [ASK, assistant(search("s1"), found("s1")), ASK, assistant(found("s1"))],
    ),
    (
        "container_required",
        "container",
        "container_id is required when there are pending tool uses generated by code execution with tools.",
        [ASK, assistant(search("s1", "code_execution"), by_code("t1", "s1")), user(result("t1"))],
    ),
    (
        "compaction_misplaced",
        "messages.1.content.0",
        "`compaction` block must be sent first, in place of the messages it summarizes; remove those messages",
        [ASK, assistant(SIGNED), ASK],
    ),
    (
        "compaction_misplaced",
        "messages.0.content.1",
        "`compaction` block must be sent first, in place of the messages it summarizes; remove those messages",
        [user(text(), SIGNED)],
    ),
    ("system_empty", "messages.1", "messages.1: system content must contain at least one block", [ASK, system()]),
    (
        "system_blocks",
        "messages.1",
        "messages.1: role 'system' supports text, tool_addition, and tool_removal blocks only",
        [ASK, system(text(), IMAGE)],
    ),
    (
        "system_first",
        "messages.0",
        f"messages.0: use the top-level 'system' parameter for the initial system prompt{ANYWHERE}",
        [system(text()), system(text()), ASK],
    ),
    ("system_after", "messages.2", f"messages.2: {FOLLOW}", [ASK, assistant(text()), system(text()), ASK]),
    (
        "system_after",
        "messages.3",
        f"messages.3: {FOLLOW}",
        [ASK, ASK, assistant(text()), system(text()), system(text()), assistant(text())],
    ),
    (
        "system_after",
        "messages.2",
        f"messages.2: {FOLLOW}",
        [ASK, assistant(call("t1")), system(text()), user(result("t1"))],
    ),
    ("system_before", "messages.2", f"messages.2: {PRECEDE}", [ASK, system(text()), system(text()), ASK]),
    (
        "system_blank",
        "messages.1",
        "messages.1: system text blocks must contain non-whitespace text",
        [ASK, system(text(), text(" "))],
    ),
    (
        "text_empty",
        "messages.1.content.0",
        "messages: text content blocks must be non-empty",
        [ASK, system(text(""))],
    ),
]

ACCEPTED: list[list[Message]] = [
    [{"role": "user", "content": "hello"}],
    [user(), ASK, assistant(text()), ASK, user()],
    [ASK, assistant()],
    [ASK, assistant(text("\n\n"), call("t1")), user(result("t1", content=""))],
    [ASK, assistant(text(" "), text("ok"))],
    [ASK, assistant(call("t1"), call("t2")), user(result("t2")), user(result("t1"), text("and?"), IMAGE)],
    [ASK, assistant(call("t1")), assistant(call("t2")), user(result("t1"), result("t2"))],
    [assistant(call("t1")), user(result("t1"))],
    [ASK, assistant(call("t1")), user(result("t1")), assistant(call("t1")), user(result("t1"))],
    [ASK, assistant(search("s1"), call("t1")), user(result("t1")), assistant(found("s1"), text()), ASK],
    [ASK, assistant(search("s1")), assistant(found("s1"), search("s2")), assistant(found("s2"), text()), ASK],
    [ASK, assistant(mcp("m1"), found("m1", "mcp_tool_result"), text())],
    [ASK, assistant({"type": "thinking", "thinking": "", "signature": "x"}, {"type": "later", "new": 1}, text())],
    [ASK, system({"type": "tool_addition", "tool": {}}), system(text()), assistant(text()), ASK],
    [ASK, assistant(call("t1")), user(result("t1")), system(text()), assistant(text())],
    [ASK, assistant(search("s1"), found("s1")), system(text())],
    [assistant(SIGNED), user(text("next"))],
    [user(SIGNED, text("next"))],
    [ASK, assistant({"type": "compaction", "content": "summary"}, text()), ASK],
    [ASK, assistant(call("t1", caller={"type": "direct"}, later="field")), user(result("t1", later="field"))],
]


@pytest.mark.parametrize(("rule", "path", "words", "messages"), REFUSED, ids=[case[0] for case in REFUSED])
def test_each_rule_refuses_in_the_words_of_the_api(rule: str, path: str, words: str, messages: list[Message]) -> None:
    assert check_history(messages, container=False) == [Problem(rule, path, words)]


def test_every_rule_has_a_case() -> None:
    assert {case[0] for case in REFUSED} == set(TEXTS) - {"server_tool_missing"}  # that needs the tools


@pytest.mark.parametrize("messages", ACCEPTED)
def test_what_the_api_takes_is_accepted(messages: list[Message]) -> None:
    assert check_history(messages) == []


def test_a_container_is_required_only_while_code_waits() -> None:
    waiting = [ASK, assistant(search("s1", "code_execution"), by_code("t1", "s1")), user(result("t1"))]
    ended = [*waiting, assistant(found("s1", "code_execution_tool_result"), text())]
    foreign = [ASK, assistant(by_code("t1", "s9")), user(result("t1"))]
    assert check_history(waiting, container=True) == []
    assert check_history(ended, container=False) == check_history(foreign, container=False) == []
    more = [*waiting, assistant(by_code("t2", "s1")), user(result("t2"))]
    assert rules(check_history(more, container=False)) == {"container_required"}


def test_a_server_tool_stays_while_it_is_waited_for() -> None:
    paused = [ASK, assistant(search("s1"), mcp("m1"), search("s2", "code_execution"), by_code("t1", "s2"))]
    words = f"{UNPAIRED.format('web_search', 's1', 'web_search_tool_result')}, but no `web_search` tool was provided"
    missing = [Problem("server_tool_missing", "messages.1", words)]
    answered = [*paused, user(result("t1"))]
    assert check_history(answered, server_tools=["code_execution"]) == missing
    assert check_history(answered, server_tools=["web_search"]) == check_history(answered) == []


def test_a_renamed_result_is_unexpected_first_and_then_missing() -> None:
    problems = check_history([ASK, assistant(call("t1")), user(result("t9"))])
    assert [problem.rule for problem in problems] == ["tool_result_unexpected", "tool_result_missing"]
