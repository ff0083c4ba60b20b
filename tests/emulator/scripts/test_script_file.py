"""Scripts as files: what they may hold, what they say, and one line for what is wrong with one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from talking import SEARCH, Talk

from agentkit.emulator import (
    Emulator,
    ScriptError,
    compaction,
    fallback,
    from_code,
    redacted_thinking,
    server_result,
    server_tool_use,
    text,
    thinking,
    tool_use,
)
from agentkit.emulator.replies import ScriptedError, ScriptedReply
from agentkit.emulator.scripts.file import read_script
from agentkit.emulator.scripts.yaml_text import parse_yaml
from agentkit.errors import ConfigurationError

LOOKUP = {"name": "lookup", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}

Written = Callable[..., Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Writes a script."""

    def write(content: str | bytes, name: str = "script.yaml") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def said(path: Path) -> list[Any]:
    steps, endless = read_script(path)
    assert endless == []
    return steps


# What it says.


def test_a_conversation_from_a_file(written: Written, http: httpx.Client) -> None:
    script = written(
        """
        - expect: {tools: lookup, text: Rome}
          reply: ["Let me look.", {tool_use: lookup, input: {city: Rome}}]
        - expect: {tool_result: {equals: sunny}, messages: 3}
          reply: It is sunny.
          usage: {output_tokens: 7}
        """
    )
    with Emulator(script=script, pace=0) as emulator:
        answer = Talk(http, emulator.url, LOOKUP).ask("How is Rome?", {"lookup": "sunny"})
    assert (answer["content"], answer["usage"]["output_tokens"]) == ([text("It is sunny.")], 7)


@pytest.mark.parametrize(
    ("short", "whole"),
    [
        ("Hello.", text("Hello.")),
        ("{text: a, citations: [{type: char_location}]}", text("a", citations=[{"type": "char_location"}])),
        ("{tool_use: lookup, input: {city: Rome}}", tool_use("lookup", city="Rome")),
        ("{tool_use: lookup, id: toolu_1}", tool_use("lookup", id="toolu_1")),
        ("{tool_use: lookup, from_code: true}", from_code(tool_use("lookup"))),
        ("{tool_use: lookup, input: '{broken'}", {**tool_use("lookup"), "input": "{broken"}),
        ("{server_tool_use: web_search, input: {query: a}}", server_tool_use("web_search", query="a")),
        ("{server_result: [{url: a}], id: srvtoolu_1}", server_result([{"url": "a"}], id="srvtoolu_1")),
        ("{thinking: Hm.}", thinking("Hm.")),
        ("{redacted_thinking: }", redacted_thinking()),
        ("{redacted_thinking: abc}", redacted_thinking(data="abc")),
        ("{compaction: So far.}", compaction("So far.")),
        ("{compaction: null}", compaction(None)),
        ("{fallback: {from: a, to: b}}", fallback("a", "b")),
        ("{type: hologram, depth: 1}", {"type": "hologram", "depth": 1}),
    ],
)
def test_short_forms_are_those_of_python(short: str, whole: dict[str, Any], written: Written) -> None:
    assert said(written(f"- reply: [{short}]")) == [ScriptedReply((whole,))]


def test_a_reply_of_one_block_needs_no_list(written: Written) -> None:
    assert said(written("- reply: {tool_use: lookup}")) == [ScriptedReply((tool_use("lookup"),))]
    assert said(written("- reply: []")) == [ScriptedReply(())]


def test_stop_usage_and_other_fields(written: Written) -> None:
    step = "- {reply: a, stop: refusal, usage: {output_tokens: 0}, fields: {stop_details: {type: refusal}}}"
    (reply,) = said(written(step))
    assert reply == ScriptedReply(
        (text("a"),), "refusal", {"output_tokens": 0}, None, {"stop_details": {"type": "refusal"}}
    )


def test_errors(written: Written) -> None:
    found = said(written("- error: 529\n- error: {status: 429, type: odd, message: Slow down., retry_after: 0.5}"))
    assert found == [
        ScriptedError(529, "overloaded_error", "The script says so."),
        ScriptedError(429, "odd", "Slow down.", {"retry-after": "0.5"}),
    ]


def test_repetition(written: Written) -> None:
    steps, endless = read_script(
        written(
            """
            steps:
            - {error: 529, repeat: 2}
            - repeat: 2
              steps: [{reply: a}, {reply: b}]
            - {reply: c, repeat: always}
            """
        )
    )
    texts = [step.message if isinstance(step, ScriptedError) else step.blocks[0]["text"] for step in steps]
    assert texts == ["The script says so."] * 2 + ["a", "b", "a", "b"]
    assert endless == [ScriptedReply((text("c"),))]
    assert read_script(written("{repeat: always, steps: [{reply: a}, {reply: b}]}")) == (
        [],
        [ScriptedReply((text("a"),)), ScriptedReply((text("b"),))],
    )


def test_an_endless_script_may_be_used_any_number_of_times(written: Written, http: httpx.Client) -> None:
    script = written("{repeat: always, steps: [{reply: a}, {reply: b}]}")
    with Emulator(script=script, pace=0) as emulator:
        texts = [Talk(http, emulator.url).ask("Hello?")["content"][0]["text"] for _ in range(5)]
    assert texts == ["a", "b", "a", "b", "a"]
    with Emulator(script=script):
        pass


def test_json_needs_no_yaml(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    script = json.dumps({"steps": [{"reply": ["a", {"tool_use": "lookup"}]}]})
    assert said(written(script, "script.json")) == [ScriptedReply((text("a"), tool_use("lookup")))]
    with pytest.raises(ConfigurationError, match=r"pip install 'agentkit-loop\[emulator\]', or write it as JSON"):
        read_script(written(script, "script.yml"))


def test_yaml_scalars_are_those_of_json(written: Written) -> None:
    script = "- reply: {tool_use: a, input: {b: no, c: 2026-01-01, d: 010, e: 12:30, f: 1.5e3, g: true, h: , i: -2}}"
    (reply,) = said(written(script))
    assert reply.blocks[0]["input"] == {
        "b": "no",
        "c": "2026-01-01",
        "d": "010",
        "e": "12:30",
        "f": 1500.0,
        "g": True,
        "h": None,
        "i": -2,
    }


def test_a_byte_order_mark_is_no_fault(written: Written) -> None:
    assert said(written(b"\xef\xbb\xbf- reply: a")) == [ScriptedReply((text("a"),))]


# Conditions.


def branch_taken(written: Written, when: str, body: dict[str, Any]) -> bool:
    (step,) = said(written(f"- branches: [{{when: {when}, reply: 'yes'}}, {{reply: 'no'}}]"))
    reply = step({"model": "claude-sonnet-4-6", "messages": [{"role": "user", "content": "Hello, Rome?"}], **body})
    return bool(reply.blocks[0]["text"] == "yes")


RESULTS = [
    {"role": "user", "content": "Hello, Rome?"},
    {"role": "assistant", "content": []},
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "a", "content": "sunny"},
            {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "no"}], "is_error": True},
            {"type": "text", "text": "Well?"},
        ],
    },
    {"role": "system", "content": "Be brief."},
]


@pytest.mark.parametrize(
    ("when", "body", "expected"),
    [
        ("{text: Rome}", {}, True),
        ("{text: Oslo}", {}, False),
        ("{text: {equals: Rome}}", {}, False),
        ("{text: {matches: 'R.me.$'}}", {}, True),
        ("{text: {contains: Rome, equals: x}}", {}, False),
        ("{text: Well}", {"messages": RESULTS}, True),
        ("{messages: 1}", {}, True),
        ("{messages: 2}", {}, False),
        ("{tool_result: sun}", {"messages": RESULTS}, True),
        ("{tool_result: {equals: 'no'}}", {"messages": RESULTS}, True),
        ("{tool_result: rain}", {"messages": RESULTS}, False),
        ("{tool_result: ''}", {}, False),
        ("{is_error: true}", {"messages": RESULTS}, True),
        ("{is_error: false}", {}, True),
        ("{is_error: true}", {}, False),
        ("{tools: lookup}", {"tools": [LOOKUP, SEARCH]}, True),
        ("{tools: [lookup, web_search]}", {"tools": [LOOKUP, SEARCH]}, True),
        ("{tools: [lookup, web_search]}", {"tools": [LOOKUP]}, False),
        ("{model: sonnet}", {}, True),
        ("{model: opus}", {}, False),
        ("{system: brief}", {"system": [{"type": "text", "text": "Be brief."}]}, True),
        ("{system: brief}", {}, False),
        ("{fields: {temperature: 0.5}}", {"temperature": 0.5}, True),
        ("{fields: {temperature: 0.5}}", {}, False),
        ("{text: Rome, model: opus}", {}, False),
    ],
)
def test_conditions(when: str, body: dict[str, Any], expected: bool, written: Written) -> None:
    assert branch_taken(written, when, body) is expected


def misfit(script: Path, http: httpx.Client) -> str:
    """What leaving the emulator says after one request."""

    def refused() -> None:
        with Emulator(script=script, pace=0) as emulator:
            talk = Talk(http, emulator.url, LOOKUP)
            talk.messages.append({"role": "user", "content": "Hello?"})
            assert talk.post().status_code == 500

    with pytest.raises(ScriptError) as raised:
        refused()
    return str(raised.value)


def test_what_is_not_as_expected_is_told(written: Written, http: httpx.Client) -> None:
    script = written(
        "- expect: {messages: 2, text: {equals: Bye}, tool_result: a, is_error: true, tools: f, model: {matches: x},"
        " system: brief, fields: {top_k: 1}}\n  reply: a"
    )
    assert misfit(script, http).splitlines() == [
        "request 1 is not what steps.0 expects",
        "  messages: expected 2 of them, got 1",
        "  text: expected 'Bye', got 'Hello?'",
        "  tool_result: expected a text that contains 'a', got none",
        "  is_error: expected true, got false",
        "  tools: expected f among them, got lookup",
        "  model: expected a text that matches 'x', got 'claude-sonnet-4-6'",
        "  system: expected a text that contains 'brief', got ''",
        "  top_k: expected 1, got null",
    ]


def test_no_branch_fits(written: Written, http: httpx.Client) -> None:
    script = written("- branches: [{when: {text: Rome}, reply: a}, {when: {messages: 3}, error: 500}]\n- reply: b")
    assert misfit(script, http).splitlines() == [
        "request 1 fits no branch of steps.0",
        "  branches.0 text: expected a text that contains 'Rome', got 'Hello?'",
        "  branches.1 messages: expected 3 of them, got 1",
        "1 of 2 steps of the script were not used, after 1 request:",
        "  reply: text b",
    ]


def test_steps_that_are_left_are_told_by_their_place(written: Written) -> None:
    script = written("- {expect: {messages: 1}, reply: a}\n- branches: [{reply: b}]\n- error: 500")
    with pytest.raises(ScriptError) as raised, Emulator(script=script):
        pass
    assert str(raised.value).splitlines()[1:] == [
        "  steps.0: reply: text a",
        "  steps.1: branches",
        "  error 500 api_error: The script says so.",
    ]


# What is wrong with a file.


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ("", "give a mapping with steps, repeat"),
        ("a: b", "unknown key 'a': there are steps, repeat"),
        ("[", "no YAML: line 1, column 2: expected the node content, but found '<stream end>'"),
        ("- reply: a\x00", "no YAML: unacceptable character #x0000"),
        ("- {reply: a, reply: b}", "no YAML: line 1, column 14: the key 'reply' comes twice"),
        ("- !!python/object:os.system {}", "no YAML: line 1, column 3: could not determine a constructor"),
        (b"- reply: \xff", "byte 9 is not UTF-8; save the file as UTF-8"),
        ("[" * 1000, "it is nested too deeply"),
        ("- Hello", "steps.0: give a mapping with reply, stop,"),
        ("- rply: a", "steps.0: unknown key 'rply': there are reply, stop,"),
        ("- {reply: a, error: 500}", "steps.0: give reply or error or branches or steps, and one of them only"),
        ("- expect: {messages: 1}", "steps.0: give reply or error or branches or steps, and one of them only"),
        ("- reply: a\n- reply: [1]", "steps.1.reply.0: no block: give a text, or a mapping with one of text, tool_use"),
        ("- reply: [{tol_use: a}]", "steps.0.reply.0: no block"),
        ("- reply:", "steps.0.reply.0: no block"),
        ("- reply: [a, {tool_use: a, inputs: {}}]", "steps.0.reply.1: unknown key 'inputs': there are tool_use, input"),
        ("- reply: {tool_use: 1}", "steps.0.reply.0.tool_use: Input should be a valid string"),
        ("- reply: {type: tool_use, name: a}", "steps.0.reply.0: a block of type tool_use needs input"),
        ("- {error: 529, stop: a}", "steps.0: stop goes with reply, not with error"),
        ("- error: 200", "steps.0.error.status: Input should be greater than or equal to 400"),
        ("- {reply: a, repeat: 0}", "steps.0.repeat: give a number of 1 or more, or always"),
        ("- {reply: a, repeat: 1000000}", "more than 100000 steps; an endless one has repeat: always"),
        ("- {reply: a, repeat: always}\n- reply: b", "what comes after steps.0 never comes"),
        ("{repeat: always, steps: [{reply: a, repeat: always}]}", "what comes after steps.0 never comes"),
        ("{repeat: always, steps: []}", "repeat: always needs a step"),
        ("- steps: [{reply: a, repeat: always}]", "steps.0: repeat: always goes with the file or with its last step"),
        ("- {steps: [{reply: a}], expect: {messages: 1}}", "steps.0: expect goes with one request, not with steps"),
        ("- branches: []", "steps.0.branches: List should have at least 1 item"),
        ("- branches: [{reply: a, expect: {}}]", "steps.0.branches.0: unknown key 'expect'"),
        ("- {expect: {text: {contain: a}}, reply: a}", "steps.0.expect.text: unknown key 'contain'"),
        ("- {expect: {text: {}}, reply: a}", "steps.0.expect.text: give contains, equals or matches"),
        ("- {expect: {text: {matches: (}}, reply: a}", "steps.0.expect.text.matches: no regular expression: missing )"),
        ("- {expect: {messages: '1'}, reply: a}", "steps.0.expect.messages: Input should be a valid integer"),
    ],
)
def test_one_line_says_what_is_wrong(content: str | bytes, wrong: str, written: Written) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Emulator(script=written(content))
    assert str(raised.value).startswith(f"script.yaml: {wrong}")
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no script '.*nowhere\.yaml'"):
        Emulator(script=str(tmp_path / "nowhere.yaml"))
    with pytest.raises(ConfigurationError, match="can't read the script"):
        Emulator(script=tmp_path)


def test_broken_json(written: Written) -> None:
    with pytest.raises(ConfigurationError, match=r"script\.json: no JSON: EOF .* line 1 column 5"):
        read_script(written('{"a":', "script.json"))


TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
NAMES = ["steps", "reply", "error", "branches", "when", "expect", "repeat", "text", "tool_use", "type", "status"]
SCRIPTS = st.recursive(
    JSON, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
)


@given(JSON)
def test_yaml_reads_json(value: Any) -> None:
    assert parse_yaml(json.dumps(value)) == value


@given(SCRIPTS)
def test_any_value_is_a_script_or_gets_one_line(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "drawn.json"
    path.write_text(json.dumps(value), "utf-8")
    steps, endless, wrong = [], [], ""
    try:
        steps, endless = read_script(path)
    except ConfigurationError as error:
        wrong = str(error)
    assert "\n" not in wrong
    assert all(isinstance(step, ScriptedReply | ScriptedError) or callable(step) for step in [*steps, *endless])
