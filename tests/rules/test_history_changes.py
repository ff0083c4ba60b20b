"""The history rules: what one change makes of recorded histories, generated ones, any JSON, and what a turn costs."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from histories import ASK, IMAGE, SIGNED, Block, Message, assistant, call, found, result, rules, search, text, user
from hypothesis import given
from hypothesis import strategies as st

from agentkit.messages import client_calls, sent_content
from agentkit.rules import Check, Problem, check_history
from agentkit.stream import Decoder, Fold, parse_message

# Recordings


def histories(recordings: ModuleType) -> list[tuple[list[Message], bool]]:
    """The messages of every request that the API accepted, and whether it named a container."""
    bodies = [each["request_body"] for each in recordings.messages() if isinstance(each["request_body"], dict)]
    return [(body["messages"], bool(body.get("container"))) for body in bodies]


@pytest.mark.recordings
def test_every_accepted_recording_is_accepted(recordings: ModuleType) -> None:
    accepted = histories(recordings)
    assert len(accepted) > 1500
    assert [
        problem for messages, container in accepted for problem in check_history(messages, container=container)
    ] == []


Edit = Callable[[list[Message], list[Block], int], object]
"""Changes one place of a history: the block at a position of a message's content."""


def swap(**fields: Any) -> Edit:
    def edit(_: list[Message], content: list[Block], at: int) -> None:
        content[at] = content[at] | fields

    return edit


def insert(block: Block, after: int = 0) -> Edit:
    return lambda _, content, at: content.insert(at + after, block)


def replace_by(block: Block) -> Edit:
    return lambda _, content, at: content.__setitem__(at, block)


def repeat(_: list[Message], content: list[Block], at: int) -> None:
    content.insert(at, content[at])


def drop_and_go_on(messages: list[Message], content: list[Block], at: int) -> None:
    del content[at]
    messages.append(user(text("And then?")))


def drop_its_use(messages: list[Message], content: list[Block], at: int) -> None:
    key = content[at]["tool_use_id"]
    for message in messages:
        message["content"][:] = [block for block in message["content"] if block.get("id") != key]


def leave_only_blanks(_: list[Message], content: list[Block], at: int) -> None:
    content[:] = [text(" \n")]


# What is changed, where, and which rules that must trip: no others.
EDITS: dict[str, tuple[str, str, Edit, set[str]]] = {
    "no result": ("user", "tool_result", replace_by(text()), {"tool_result_missing"}),
    "a result twice": ("user", "tool_result", repeat, {"tool_result_duplicate"}),
    "a foreign result": ("user", "tool_result", insert(result("toolu_9")), {"tool_result_unexpected"}),
    "another id": ("user", "tool_result", swap(tool_use_id="t_9"), {"tool_result_missing", "tool_result_unexpected"}),
    "text before results": ("user", "tool_result", insert(text()), {"tool_result_missing"}),
    "a call of the user": ("user", "tool_result", insert(call("t_9")), {"block_role"}),
    "text after a call": ("assistant", "tool_use", insert(text(), after=1), {"tool_result_missing"}),
    "a result of the assistant": ("assistant", "tool_use", insert(result("t_9")), {"block_role"}),
    "a call twice": ("assistant", "tool_use", repeat, {"tool_use_duplicate"}),
    "a call renamed": ("assistant", "tool_use", swap(id="t_9"), {"tool_result_missing", "tool_result_unexpected"}),
    "input as text": ("assistant", "tool_use", swap(input="{}"), {"tool_use_input"}),
    "a long name": ("assistant", "tool_use", swap(name="a" * 201), {"tool_use_name"}),
    "empty text": ("assistant", "text", swap(text=""), {"text_empty"}),
    "empty text of the user": ("user", "text", swap(text=""), {"text_empty"}),
    "an image of the assistant": ("assistant", "text", insert(IMAGE), {"media_role"}),
    "thinking of the user": ("user", "text", insert({"type": "thinking"}, after=1), {"thinking_role"}),
    "a signed compaction": ("assistant", "text", insert(SIGNED, after=1), {"compaction_misplaced"}),
    "no server result": ("assistant", "server result", drop_and_go_on, {"server_result_missing"}),
    "no server tool use": ("assistant", "server result", drop_its_use, {"server_result_unexpected"}),
    "a server result twice": ("assistant", "server result", repeat, {"tool_result_duplicate"}),
    "a server tool use of the user": ("user", "text", insert(search("s_9")), {"block_role"}),
}


# Text among the results of a mixed turn is wrong twice: it ends the wait for the server's results too.
CLOSING = {"no result", "text before results"}


def is_mixed(message: Message) -> bool:
    content = fresh([message])[0]["content"]
    results = {block.get("tool_use_id") for block in content}
    return any(block["type"] == "server_tool_use" and block["id"] not in results for block in content)


def fresh(messages: list[Message]) -> list[Message]:
    """The messages, with lists of their own; strings as blocks."""
    contents = [message["content"] for message in messages]
    blocks = [[text(content)] if isinstance(content, str) else list(content) for content in contents]
    return [message | {"content": content} for message, content in zip(messages, blocks, strict=True)]


def places(messages: list[Message], role: str, kind: str) -> list[tuple[int, int]]:
    wanted = "_tool_result" if kind == "server result" else kind
    return [
        (number, at)
        for number, message in enumerate(fresh(messages))
        if message["role"] == role
        for at, block in enumerate(message["content"])
        if block["type"] == wanted or (kind == "server result" and block["type"].endswith(wanted))
    ]


@pytest.mark.recordings
@pytest.mark.parametrize("name", EDITS)
def test_one_change_of_an_accepted_history_trips_the_intended_rule(name: str, recordings: ModuleType) -> None:
    role, kind, edit, intended = EDITS[name]
    tried = 0
    for messages, container in histories(recordings):
        for number, at in places(messages, role, kind):
            changed = fresh(messages)
            edit(changed, changed[number]["content"], at)
            also = {"server_result_missing"} if name in CLOSING and is_mixed(messages[number - 1]) else set()
            assert rules(check_history(changed, container=container)) == intended | also
            tried += 1
    assert tried >= 16


@pytest.mark.recordings
def test_an_open_end_of_a_recorded_history_is_refused(recordings: ModuleType) -> None:
    paused, coded, called = 0, 0, 0
    for messages, container in histories(recordings):
        kinds = [block["type"] for block in fresh(messages)[-1]["content"]]
        if kinds[-1] == "server_tool_use":
            paused += 1
            assert rules(check_history([*messages, ASK])) == {"server_result_missing"}
        if container and not check_history(messages) and check_history(messages, container=False):
            coded += 1
            assert rules(check_history(messages, container=False)) == {"container_required"}
        if kinds == ["tool_result"] * len(kinds):
            called += 1
            assert rules(check_history(messages[:-1])) == {"tool_result_missing"}
    assert (paused, coded) == (1, 1)
    assert called > 100


@pytest.mark.recordings
def test_every_recorded_reply_may_go_back_with_its_results(recordings: ModuleType) -> None:
    replied = 0
    for exchange in recordings.messages():
        if isinstance(exchange["request_body"], dict):
            reply = sent_content(reply_of(exchange))
            answer = [result(block["id"]) for block in client_calls(reply)]
            history = [*exchange["request_body"]["messages"], assistant(*reply)]
            assert check_history([*history, user(*answer)] if answer else history) == []
            replied += 1
    assert replied > 1500


def reply_of(exchange: dict[str, Any]) -> dict[str, Any]:
    if not exchange["response_sse"]:
        return parse_message(json.dumps(exchange["response_body"]).encode())
    fold = Fold()
    for event in Decoder().feed(exchange["response_sse"].encode()):
        fold.add(event)
    return fold.message


# Generated histories


@st.composite
def valid(draw: st.DrawFn) -> list[Message]:
    """A history as an agent makes it: parallel calls, mixed turns, chains of pauses, split answers."""
    messages: list[Message] = [user(text())]
    ids = iter(range(1000))
    waiting: list[str] = []
    for _ in range(draw(st.integers(0, 6))):
        blocks = [found(key) for key in waiting]
        waiting, calls = [], []
        for shape in draw(st.lists(st.sampled_from(["text", "thinking", "pair", "later"]), max_size=3)):
            key = f"srvtoolu_{next(ids)}"
            pair = [search(key), found(key)]
            blocks += {
                "text": [text()],
                "thinking": [{"type": "thinking"}],
                "pair": pair,
                "later": [{"type": "later"}],
            }[shape]
        waiting = [f"srvtoolu_{next(ids)}" for _ in range(draw(st.integers(0, 2)))]
        calls = [f"toolu_{next(ids)}" for _ in range(draw(st.integers(0, 3)))]
        blocks += [search(key) for key in waiting] + [call(key) for key in calls]
        messages.append(assistant(*(blocks or [text("done")])))
        cut = draw(st.integers(0, len(calls)))
        answered = draw(st.permutations([result(key) for key in calls]))
        messages += [user(*part) for part in (answered[:cut], answered[cut:]) if part]
        if not waiting:
            messages.append(user(text()))
    return messages


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.just("tool_use") | st.just("t1"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
KINDS = st.sampled_from(
    [
        "text",
        "tool_use",
        "tool_result",
        "server_tool_use",
        "mcp_tool_use",
        "compaction",
        "image",
        "web_search_tool_result",
    ]
)
GARBAGE_BLOCK = JSON | st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("id", "tool_use_id", "name", "input", "text", "caller", "signature"), JSON)
    | {"type": JSON | KINDS},
)
GARBAGE = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["user", "assistant", "system"]) | JSON,
        "content": st.lists(GARBAGE_BLOCK, max_size=4) | JSON,
    },
)


@given(valid())
def test_what_an_agent_makes_is_accepted(messages: list[Message]) -> None:
    assert check_history(messages) == []


@given(st.lists(GARBAGE | JSON, max_size=6), st.integers(0, 6))
def test_any_branch_goes_on_as_the_whole_and_nothing_raises(messages: list[Any], cut: int) -> None:
    trunk = Check()
    first = [problem for message in messages[:cut] for problem in add(trunk, message)]
    branch, ends = trunk.copy(), trunk.end()
    rest = [problem for message in messages[cut:] for problem in add(branch, message)]
    assert first + rest + branch.end() == check_history(messages, container=False)
    assert trunk.end() == ends
    again = [problem for message in messages[cut:] for problem in add(trunk, message)]
    assert again == rest


def add(check: Check, message: Any) -> list[Problem]:
    given = message if isinstance(message, dict) else {}
    return check.add(given.get("role", ""), given.get("content", ""))


# What it costs


class Watched(dict[str, Any]):
    """A block that counts how often it is looked at."""

    looks = 0

    def get(self, key: str, default: Any = None) -> Any:
        Watched.looks += 1
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        Watched.looks += 1
        return super().__getitem__(key)


def test_a_turn_costs_the_same_however_long_the_history_is() -> None:
    check = Check()
    costs = []
    for turn in range(200):
        before = Watched.looks
        problems = check.add("user", [Watched(text())] if not turn else [Watched(result(f"t{turn - 1}"))])
        problems += check.add(
            "assistant", [Watched(search(f"s{turn}")), Watched(found(f"s{turn}")), Watched(call(f"t{turn}"))]
        )
        costs.append(Watched.looks - before)
        assert problems == []
    assert len(set(costs[1:])) == 1
    assert len(held(check)) == len(held(check.copy())) == 2


def held(check: Check) -> list[str]:
    """The tool uses that a check still knows."""
    return [key for uses in (check._calls, check._served) for key in (*uses.open, *uses.closed)]
