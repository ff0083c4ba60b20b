"""Thinking with the model, with sampling, with effort, and in the history."""

from __future__ import annotations

from typing import Any

import pytest
from bodies import EXTRA, HELLO, TOOL, Body, Case, body
from histories import ASK, Block, Message, assistant, call, result, search, text, user

from agentkit.rules import Problem, check_request

DOCS = "Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking"
CONSIDERATIONS = (
    "Please consult our documentation at https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking"
    "#important-considerations-when-using-extended-thinking"
)
FIRST = (
    "messages.{}.content.0: If an assistant message contains any thinking blocks, the first block must be `thinking` "
    "or `redacted_thinking`. Found `{}`."
)
EXPECTED = (
    "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{}`. When `thinking` is "
    "enabled, a final `assistant` message must start with a thinking block (preceeding the lastmost set of `tool_use` "
    "and `tool_result` blocks). We recommend you include thinking blocks from previous turns. To avoid this "
    f"requirement, disable `thinking`. {DOCS}"
)
FINAL = (
    "messages.1.content.1: When thinking is disabled, an `assistant` message in the final position cannot contain "
    "`thinking`. To use thinking blocks, enable `thinking` in your request."
)
UNSUPPORTED = '"thinking.type.{}" is not supported for this model.'
INSTEAD = ' Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.'
THOUGHT: Block = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
REDACTED: Block = {"type": "redacted_thinking", "data": "d"}
LOOP = [ASK, assistant(call("t1")), user(result("t1"))]


def enabled(model: str = "some-model", **fields: Any) -> Body:
    return body(model, thinking={"type": "enabled", "budget_tokens": 2048}, **fields)


def kind(kind: str, model: str, **fields: Any) -> Body:
    return body(model, thinking={"type": kind}, **fields)


def history(*messages: Message, model: str = "claude-sonnet-4-5") -> Body:
    return enabled(model, messages=list(messages))


REFUSED: list[Case] = [
    (
        "thinking_forced",
        "thinking",
        "Thinking may not be enabled when tool_choice forces tool use.",
        enabled(tools=[TOOL], tool_choice={"type": "tool", "name": "add"}),
    ),
    ("thinking_type", "thinking.type", UNSUPPORTED.format("enabled") + INSTEAD, enabled("claude-opus-4-7")),
    ("thinking_type", "thinking.type", UNSUPPORTED.format("disabled"), kind("disabled", "claude-sonnet-5-5")),
    ("thinking_type", "thinking.type", UNSUPPORTED.format("between_tools"), kind("between_tools", "claude-opus-5")),
    (
        "thinking_type",
        "thinking.type",
        "adaptive thinking is not supported on this model",
        kind("adaptive", "claude-haiku-4-5-20251001"),
    ),
    (
        "thinking_effort",
        "output_config.effort",
        "thinking of type disabled takes an effort of at most high, not max",
        kind("disabled", "claude-opus-5", output_config={"effort": "max"}),
    ),
    (
        "thinking_temperature",
        "temperature",
        f"`temperature` may only be set to 1 when thinking is enabled. {CONSIDERATIONS}",
        enabled(temperature=0.5),
    ),
    (
        "thinking_top_p",
        "top_p",
        f"`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled. {CONSIDERATIONS}",
        enabled(top_p=0.9),
    ),
    (
        "thinking_top_k",
        "top_k",
        f"`top_k` must be unset when thinking is enabled. {CONSIDERATIONS}",
        enabled(top_k=5),
    ),
    (
        "thinking_first",
        "messages.2.content.0",
        FIRST.format(1, "text"),
        history(ASK, ASK, assistant(text()), assistant(THOUGHT, text()), ASK),
    ),
    (
        "thinking_first",
        "messages.0.content.0",
        FIRST.format(1, "tool_use"),
        history(assistant(call("t1"), REDACTED), user(result("t1"))),
    ),
    ("thinking_expected", "messages.1.content.0", EXPECTED.format("tool_use"), history(*LOOP)),
    (
        "thinking_expected",
        "messages.1.content.0",
        EXPECTED.format("text"),
        history(ASK, assistant(text(), call("t1")), user(result("t1"), text()), model="claude-sonnet-4-6"),
    ),
    ("thinking_expected", "messages.1.content.0", EXPECTED.format("text"), history(ASK, assistant(text("The")))),
    (
        "thinking_final",
        "messages.1.content.1",
        FINAL,
        body("claude-haiku-4-5", messages=[ASK, assistant(text("a"), THOUGHT, text("b"))]),
    ),
]

SEARCH = {"type": "web_search_20250305", "name": "web_search"}
ACCEPTED = [
    kind("between_tools", "claude-sonnet-5-5"),
    kind("disabled", "claude-opus-5", output_config={"effort": "high"}),
    kind("adaptive", "claude-opus-4-6", tools=[TOOL], tool_choice={"type": "any"}, top_k=5, top_p=0.5),
    enabled("claude-sonnet-4-6", temperature=1, top_p=0.95),
    enabled("claude-sonnet-4-5", messages=[ASK, assistant(text()), ASK]),
    enabled("claude-sonnet-4-5", messages=[user(result("t1"))]) | {"messages": [ASK, ASK]},
    history(ASK, assistant(THOUGHT, call("t1")), user(result("t1"))),
    history(ASK, assistant(THOUGHT, text("The"))),
    history(ASK, assistant(search("s1"), THOUGHT, search("s2"))) | {"tools": [SEARCH]},
    history(ASK, assistant()),
    kind("adaptive", "claude-opus-4-6", messages=LOOP),
    kind("disabled", "claude-haiku-4-5", messages=[ASK, assistant(THOUGHT, text()), ASK]),
    body("claude-haiku-4-5", messages=[ASK, assistant(THOUGHT, search("s1"))], tools=[SEARCH]),
    body("claude-haiku-4-5", messages=[ASK, assistant(text("a"), REDACTED, text("b"))]),
    body("claude-opus-5", thinking={"type": "adaptive", "display": "updates", "block_binding": {}}),
]
SHAPES: list[Case] = [
    (
        "field_unknown",
        "thinking.adaptive.budget_tokens",
        EXTRA,
        body(thinking={"type": "adaptive", "budget_tokens": 2048}),
    ),
    ("field_unknown", "thinking.disabled.display", EXTRA, body(thinking={"type": "disabled", "display": "omitted"})),
    (
        "field_value",
        "thinking.adaptive.block_binding.prefix_mismatch_behavior",
        "Input should be 'error' or 'drop_block'",
        body(thinking={"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "later"}}),
    ),
]


@pytest.mark.parametrize(("rule", "path", "words", "request_body"), REFUSED, ids=[case[0] for case in REFUSED])
def test_each_rule_refuses_in_the_words_of_the_api(rule: str, path: str, words: str, request_body: Body) -> None:
    assert check_request(request_body) == [Problem(rule, path, words)]


@pytest.mark.parametrize(("rule", "path", "words", "request_body"), SHAPES, ids=[case[1] for case in SHAPES])
def test_each_shape_is_refused(rule: str, path: str, words: str, request_body: Body) -> None:
    assert check_request(request_body) == [Problem(rule, path, f"{path}: {words}")]


@pytest.mark.parametrize("request_body", ACCEPTED)
def test_what_fits_together_is_accepted(request_body: Body) -> None:
    assert check_request(request_body) == []


def test_the_budget_is_below_the_limit_unless_thinking_is_interleaved() -> None:
    words = f"`max_tokens` must be greater than `thinking.budget_tokens`. {DOCS}#max-tokens-and-context-window-size"
    for model, refused in (("claude-sonnet-4-5", True), ("some-model", True)):
        tight = enabled(model, max_tokens=2048)
        assert check_request(tight, betas=[]) == [Problem("thinking_budget", "max_tokens", words)] * refused
        assert check_request(tight) == check_request(tight, betas=["interleaved-thinking-2025-05-14"]) == []
        assert check_request(enabled(model, max_tokens=2049), betas=[]) == []
    # A model without such thinking says only that.
    assert [each.rule for each in check_request(enabled("claude-opus-5", max_tokens=9), betas=[])] == ["thinking_type"]


def test_nothing_was_thought_before_the_first_message() -> None:
    assert check_request(enabled(messages=[HELLO])) == []
    assert [each.rule for each in check_request(enabled(messages=[]))] == ["messages_empty"]
    assert [each.rule for each in check_request(body("claude-haiku-4-5", messages=[]))] == ["messages_empty"]
