"""What is left out where a request goes on from an accepted one: no verdict changes by it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.emulator import Emulator, reply
from agentkit.emulator.checks.checking import Checks
from agentkit.emulator.checks.novelty import Novelty
from agentkit.emulator.clock import Clock
from agentkit.emulator.dialects.dialect import DIALECTS
from agentkit.emulator.refusal import Refused
from agentkit.emulator.resources.containers import Containers
from agentkit.emulator.resources.files import Files

HEADERS = {"anthropic-version": "2023-06-01"}
TOOL = {"name": "add", "description": "Adds.", "input_schema": {"type": "object", "properties": {}}}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
MARK = {"cache_control": {"type": "ephemeral"}}


def checks() -> Checks:
    clock = Clock()
    return Checks(DIALECTS["anthropic"], Containers(clock), Files(clock), Novelty())


def verdict(checked: Checks, body: dict[str, Any]) -> str:
    try:
        checked.check(body, HEADERS)
    except Refused as refused:
        return f"{refused.status} {refused.message}"
    return "accepted"


ids = st.sampled_from(["toolu_1", "toolu_2", "srvtoolu_1"])
texts = st.builds(
    lambda text, more: {"type": "text", "text": text, **more},
    st.sampled_from(["a", "", " "]),
    st.sampled_from([{}, MARK, {"citations": None}]),
)
uses = st.builds(lambda key: {"type": "tool_use", "id": key, "name": "add", "input": {}}, ids)
results = st.builds(
    lambda key, content: {"type": "tool_result", "tool_use_id": key, "content": content},
    ids,
    st.one_of(st.just("x"), st.just([]), st.lists(texts, max_size=2)),
)
served = st.just({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}})
found = st.just({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []})
odd = st.sampled_from(
    [
        {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "tool_reference", "tool_name": "nothing"},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}},
        {"type": "strange"},
        {"text": "no type"},
    ]
)
plain = st.one_of(st.just("Hello"), st.lists(st.one_of(texts, uses, results), max_size=3))
content = st.one_of(plain, st.lists(st.one_of(texts, uses, results, served, found, odd), max_size=4))
messages = st.builds(
    lambda role, said: {"role": role, "content": said}, st.sampled_from(["user", "assistant"]), content
)


def turn(key: str) -> list[dict[str, Any]]:
    return [
        {"role": "assistant", "content": [{"type": "tool_use", "id": key, "name": "add", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": key, "content": "x"}]},
    ]


def said(role: str, *blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


TEXT = {"type": "text", "text": "a"}
USE = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
CALL, RESULT = (message["content"][0] for message in turn("toolu_1"))
# Turns that are accepted one by one, most of them; together they may not be.
parts = st.one_of(
    ids.map(turn),
    ids.map(turn),
    messages.map(lambda message: [message]),
    st.sampled_from(
        [
            [said("assistant", TEXT), said("user", TEXT)],
            [said("assistant", TEXT), said("user", {**TEXT, **MARK})],
            [said("assistant", CALL), said("user", {**RESULT, "content": [{**TEXT, **MARK}]})],
            [said("assistant", USE, CALL), said("user", RESULT)],
            [said("assistant", FOUND, TEXT), said("user", TEXT)],
            [said("assistant", USE, FOUND, TEXT), said("user", TEXT)],
            [said("user", {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}})],
            [said("user", {**RESULT, "content": "again"})],
            [said("assistant", {**CALL, "id": "toolu_2"})],
        ]
    ),
)
histories = st.lists(parts, max_size=8).map(
    lambda found: [{"role": "user", "content": "Hello"}, *(message for part in found for message in part)]
)


@given(histories, st.sampled_from([{}, {"tools": [TOOL]}, {"tools": [TOOL, SEARCH]}, {"tools": [SEARCH], **MARK}]))
def test_turn_by_turn_the_verdict_is_that_of_the_whole(history: list[dict[str, Any]], fields: dict[str, Any]) -> None:
    going = checks()
    for end in range(1, len(history) + 1):
        body = {"model": "claude-sonnet-4-6", "max_tokens": 9, **fields, "messages": history[:end]}
        assert verdict(going, body) == verdict(checks(), body)


MARKED = [said("assistant", TEXT), said("user", {**TEXT, **MARK})]


@pytest.mark.parametrize(
    ("history", "refusal"),
    [
        (MARKED * 5, "400 A maximum of 4 blocks with cache_control may be provided. Found 5."),
        (
            [said("assistant", USE, CALL), said("user", RESULT), said("assistant", TEXT), said("user", TEXT)],
            "400 messages.1: `web_search` tool use with id `srvtoolu_1` was found without a corresponding",
        ),
    ],
)
def test_what_hangs_together_over_turns(history: list[dict[str, Any]], refusal: str) -> None:
    going, whole = checks(), [{"role": "user", "content": "Hello"}, *history]
    for end in range(1, len(whole) + 1, 2):
        body = {"model": "claude-sonnet-4-6", "max_tokens": 9, "tools": [SEARCH, TOOL], "messages": whole[:end]}
        last = verdict(going, body)
    assert last.startswith(refusal)


def loop(turns: int) -> list[dict[str, Any]]:
    return [{"role": "user", "content": "Hello"}, *(m for at in range(turns) for m in turn(f"toolu_{at}"))]


@pytest.mark.parametrize("fields", [{}, {"tools": [TOOL]}])
def test_the_last_turn_alone_is_looked_at(fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    going = checks()
    looked = going._look
    monkeypatch.setattr(
        going, "_look", lambda body, headers: (seen.append(len(body["messages"])), looked(body, headers))
    )
    for turns in range(4):
        body = {"model": "claude-sonnet-4-6", "max_tokens": 9, **fields, "messages": loop(turns)}
        assert verdict(going, body) == "accepted"
    assert seen == [1, 3, 3, 3]


@pytest.mark.parametrize(
    "changed",
    [
        {"system": "Other."},
        {"max_tokens": 10},
        {"tools": [{**TOOL, "description": "Other."}]},
        {"messages": [{"role": "user", "content": "Other"}, *loop(2)[1:]]},
        {"thread": {"type": "create"}},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_where_anything_else_differs_the_whole_is(changed: dict[str, Any]) -> None:
    going, body = checks(), {"model": "claude-sonnet-4-6", "max_tokens": 9, "tools": [TOOL]}
    going.check({**body, "messages": loop(1)}, HEADERS)
    assert going._accepted.rest({**body, "messages": loop(2)}, dict(_seen(HEADERS))) is not None
    assert going._accepted.rest({**body, "messages": loop(2), **changed}, dict(_seen(HEADERS))) is None
    assert going._accepted.rest({**body, "messages": loop(2)}, {**_seen(HEADERS), "anthropic-beta": "x"}) is None


def _seen(headers: dict[str, str]) -> dict[str, str | None]:
    return {name: headers.get(name) for name in ("anthropic-version", "anthropic-beta")}


def test_a_refusal_late_in_a_loop_counts_all_messages(http: httpx.Client) -> None:
    with Emulator(script=lambda body: reply("ok"), pace=0) as emulator:
        body = {"model": "claude-sonnet-4-6", "max_tokens": 9}
        for turns in range(4):
            assert http.post(f"{emulator.url}/v1/messages", json={**body, "messages": loop(turns)}).status_code == 200
        broken = [*loop(3), turn("toolu_9")[0], {"role": "user", "content": "And?"}]
        refused = http.post(f"{emulator.url}/v1/messages", json={**body, "messages": broken})
    assert refused.json()["error"]["message"].startswith("messages.7: `tool_use` ids were found without")
