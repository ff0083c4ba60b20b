"""Where cache marks go, and what is known of a miss before sending."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scripted import server_tool_use, text, thinking, tool_use

from agentkit.cache import Prefix, _texts, misses, plan
from agentkit.messages import as_messages, encode
from agentkit.request import Marks, MessageBytes, Request, can_carry, marks_in
from agentkit.rules import check_request
from agentkit.support import ANTHROPIC, COMETAPI, GENERIC, LOCAL, Provider

MARK = {"type": "ephemeral"}
HOUR = {**MARK, "ttl": "1h"}
ADD = {"name": "add", "description": "Adds.", "input_schema": {"type": "object", "properties": {"a": {}}}}
LOOK = {"name": "look", "input_schema": {"type": "object"}}
DEFERRED = {**LOOK, "name": "later", "defer_loading": True}
TOOLSET = {"type": "mcp_toolset", "mcp_server_name": "docs", "default_config": {"defer_loading": True}}
REQUEST = Request("claude-sonnet-4-6", 100, system="Be brief.", tools=(ADD, LOOK))


def request(**fields: Any) -> Request:
    return replace(REQUEST, **fields)


# The plan.


@pytest.mark.parametrize(
    ("provider", "long", "marks"),
    [
        (ANTHROPIC, False, Marks(4, "automatic", (), long=True)),
        (ANTHROPIC, True, Marks(4, "automatic", (2,), long=True)),
        (COMETAPI, False, Marks(3, "explicit", (2, 1))),
        (COMETAPI, True, Marks(3, "explicit", (2, 1))),
        (GENERIC, True, Marks(2, "explicit", (2, 1))),
        (LOCAL, True, None),
    ],
)
def test_the_plan_for_a_provider(provider: Provider, long: bool, marks: Marks | None) -> None:
    assert plan(REQUEST, provider, long=long) == marks


@pytest.mark.parametrize(
    ("asked", "stable"),
    [
        (request(system=None), (1,)),
        (request(system=""), (1,)),
        (request(system="\n"), (1,)),
        (request(tools=()), (0,)),
        (request(tools=(), system=None), ()),
        (request(system=[text("a"), text("b"), text(" ")]), (3, 1)),
        (request(tools=(ADD, DEFERRED, TOOLSET)), (3, 0)),
        (request(tools=(DEFERRED,)), (1,)),
        (request(tools=(ADD, {**LOOK, "cache_control": MARK})), (2,)),
        (request(system=[text("a"), text("b", cache_control=MARK)]), (1,)),
        (request(system=[text("a", cache_control=MARK), text("b")]), (3, 1)),
        (request(system=[text("a", cache_control=HOUR), text("b")]), (3,)),
        (request(tools=({**ADD, "cache_control": HOUR}, LOOK)), (2, 1)),
        (request(params={"cache_control": MARK}), (2, 1)),
    ],
)
def test_what_else_is_marked_the_most_important_first(asked: Request, stable: tuple[int, ...]) -> None:
    marks = plan(asked, COMETAPI)
    assert marks is not None
    assert marks.stable == stable


@pytest.mark.parametrize(
    ("asked", "stable"),
    [
        (request(system=None), (1,)),
        (request(system=None, tools=(ADD, DEFERRED)), (0,)),
        (request(system=None, tools=()), ()),
        (request(system=[text("a", cache_control=HOUR), text("b")]), (3,)),
        (request(system=[text("a", cache_control=MARK), text("b")]), ()),
        (request(system=[text("a", cache_control=MARK)]), ()),
        (request(tools=(ADD, {**LOOK, "cache_control": MARK})), ()),
        (request(params={"cache_control": MARK}), (2,)),
    ],
)
def test_what_is_kept_for_an_hour(asked: Request, stable: tuple[int, ...]) -> None:
    """An hour's mark may not follow one for five minutes."""
    marks = plan(asked, ANTHROPIC, long=True)
    assert marks is not None
    assert marks.stable == stable


@pytest.mark.parametrize(
    ("asked", "room", "newest"),
    [
        (request(params={"cache_control": MARK}), 3, "user"),
        (request(params={"cache_control": None}), 4, "user"),
        (request(params={"cache_control": HOUR}), None, None),
        (request(params={"thread": {"type": "create"}}), None, None),
        (request(system=[text("a", cache_control=MARK)] * 3), 1, "automatic"),
        (request(system=[text("a", cache_control=MARK)] * 3, params={"cache_control": MARK}), None, None),
        (request(system=[text("a", cache_control=MARK)] * 5), None, None),
        (request(system=[text("a", cache_control=None)]), 4, "automatic"),
    ],
)
def test_marks_of_the_user_leave_less_room(asked: Request, room: int | None, newest: str | None) -> None:
    marks = plan(asked, ANTHROPIC)
    assert (marks and marks.room, marks and marks.newest) == (room, newest)


@pytest.mark.parametrize(
    ("block", "carries"),
    [
        (text("a"), True),
        (text(" \n"), False),
        ({"type": "text", "text": None}, False),
        ({"type": "text"}, False),
        (thinking("so"), False),
        ({"type": "redacted_thinking", "data": "x"}, False),
        ({"type": "image", "source": {}}, True),
        (tool_use("add"), True),
        ({"type": "tool_result", "tool_use_id": "x"}, True),
        ({"type": "web_search_tool_result", "tool_use_id": "x", "content": []}, True),
        ({"type": "hologram"}, False),
        ({}, False),
    ],
)
def test_what_can_carry_a_mark(block: dict[str, Any], carries: bool) -> None:
    assert can_carry(block) is carries


@pytest.mark.parametrize("system", [{"type": "text", "text": "a"}, ["a"], [None]])
def test_a_system_of_no_known_form_is_sent_as_it_is(system: Any) -> None:
    asked = request(system=system)
    ready = replace(asked, cache=plan(asked, COMETAPI))
    assert json.loads(b"".join(ready.body_parts(MessageBytes(), None)))["system"] == system
    assert misses(Prefix.of(asked), Prefix.of(asked)) == []


def test_marks_are_found_inside_results() -> None:
    inside = {"type": "tool_result", "tool_use_id": "x", "content": [text("a", cache_control=HOUR), text("b")]}
    assert [*marks_in([{**inside, "cache_control": MARK}, "text", text("c", cache_control=None)])] == [HOUR, MARK]
    assert [*marks_in("text")] == [*marks_in(None)] == []


# Bodies, whatever is in them.

USERS = st.sampled_from([None] * 30 + [MARK, MARK, HOUR, {**MARK, "ttl": "5m"}])


def marked(blocks: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Some of them marked by the user."""
    return st.builds(lambda block, mark: {**block, "cache_control": mark} if mark else block, blocks, USERS)


IMAGE = {"type": "image", "source": {"type": "url", "url": "u"}}
SAID = st.lists(marked(st.sampled_from([text("é"), text("Hi"), IMAGE])), min_size=1, max_size=3)
THOUGHT = st.sampled_from([thinking("so"), {"type": "redacted_thinking", "data": "x"}, {"type": "hologram"}])
SPOKEN = st.lists(THOUGHT | marked(st.just(text("ok"))), max_size=3)
RESULTS = marked(
    st.builds(
        lambda inner: {"type": "tool_result", "tool_use_id": "", "content": inner},
        st.just("3") | st.lists(marked(st.just(text("3"))), min_size=1, max_size=2),
    )
)
Turn = tuple[str, list[dict[str, Any]]]


@st.composite
def histories(draw: st.DrawFn) -> list[Turn]:
    """Runs that wait for the model: with pauses, calls, results and new input."""
    turns: list[Turn] = [("user", draw(SAID))]
    for at in range(draw(st.integers(0, 4))):
        spoken = draw(SPOKEN)
        if draw(st.booleans()):
            use = server_tool_use("web_search", id=f"srvtoolu_{at}", query="q")
            turns.append(("assistant", [*spoken, use]))
            if draw(st.booleans()):
                return turns
            found = {"type": "web_search_tool_result", "tool_use_id": use["id"], "content": []}
            turns += [("assistant", [found, *draw(SPOKEN), text("so")]), ("user", draw(SAID))]
        else:
            uses = [tool_use("add", id=f"toolu_{at}_{number}") for number in range(draw(st.sampled_from([1, 2, 12])))]
            results = [{**RESULT, "tool_use_id": use["id"]} for use in uses[1:]]
            first = {**draw(RESULTS), "tool_use_id": uses[0]["id"]}
            turns += [("assistant", [*spoken, *uses]), ("user", [*results, first, *draw(st.just([]) | SAID)])]
    return turns


RESULT = {"type": "tool_result", "content": "3"}
systems = st.sampled_from([None, "Be brief."]) | st.lists(
    marked(st.sampled_from([text("a"), text("b")])), min_size=1, max_size=3
)
tools = st.lists(st.sampled_from([0, 0, 0, 1]), max_size=3).flatmap(
    lambda deferred: st.tuples(
        *(
            st.just({**LOOK, "name": f"t{at}", "defer_loading": True})
            if later
            else marked(st.just({**LOOK, "name": f"t{at}"}))
            for at, later in enumerate([0, *deferred])
        )
    )
) | st.just(())
params = st.sampled_from([{}] * 5 + [{"cache_control": MARK}, {"cache_control": HOUR}])
providers = st.sampled_from([ANTHROPIC, COMETAPI, GENERIC, LOCAL])


def places(body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every block and tool of a body that could have a mark, by its place."""
    lists = {"tools": body.get("tools", []), "system": body.get("system", [])}
    lists |= {f"messages.{at}": message["content"] for at, message in enumerate(body["messages"])}
    for name, blocks in lists.items():
        for at, block in enumerate(blocks if isinstance(blocks, list) else []):
            yield f"{name}.{at}", block


def without_ours(body: dict[str, Any], bare: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The body without the marks that `bare` has not, and the blocks that had them."""
    users = {place for place, block in places(bare) if "cache_control" in block}
    ours = [block for place, block in places(body) if "cache_control" in block and place not in users]
    for block in ours:
        assert list(block)[-1] == "cache_control"
        assert block.pop("cache_control") in (MARK, HOUR)
    if "cache_control" in body and "cache_control" not in bare:
        assert body.pop("cache_control") == MARK
    return body, ours


@given(histories(), systems, tools, params, providers, st.booleans())
def test_every_marked_body_is_one_that_the_api_takes(
    history: list[Turn], system: Any, tools: Any, params: Any, provider: Provider, long: bool
) -> None:
    plain = request(system=system, tools=tools, params=params)
    messages = MessageBytes()
    for role, content in history:
        messages.add(role, content)
    bare = json.loads(b"".join(plain.body_parts(messages, None)))
    assume(not check_request(bare))
    ready = replace(plain, cache=plan(plain, provider, long=long))
    sent = b"".join(ready.body_parts(messages, None))
    body = json.loads(sent)
    assert check_request(body) == []
    theirs = sum(1 for _ in every_mark(bare))
    assert sum(1 for _ in every_mark(body)) <= max(provider.cache_marks, theirs)
    if "cache_control" in body and "cache_control" not in bare:
        assert provider.automatic_cache
        last = [block for message in bare["messages"] for block in message["content"] if can_carry(block)][-1]
        assert "cache_control" not in last, "the API refuses two lifetimes at one place"
    if isinstance(system, str) and isinstance(body["system"], list):
        bare["system"] = [text(system)]
    stripped, ours = without_ours(body, bare)
    assert all(can_carry(block) if "type" in block else not block.get("defer_loading") for block in ours)
    assert encode(stripped) == encode(bare)
    if provider is LOCAL:
        assert sent == b"".join(plain.body_parts(messages, None))


def every_mark(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    blocks = [*body.get("tools", []), *(body["system"] if isinstance(body.get("system"), list) else [])]
    yield from marks_in(blocks + [block for message in body["messages"] for block in message["content"]])
    yield from [body["cache_control"]] if body.get("cache_control") else []


@pytest.mark.recordings
@pytest.mark.parametrize("provider", [ANTHROPIC, COMETAPI, GENERIC])
def test_recorded_requests_can_be_marked(provider: Provider, recordings: ModuleType) -> None:
    bodies = [exchange["request_body"] for exchange in recordings.messages()[::9]]
    bodies = [body for body in bodies if isinstance(body, dict) and not check_request(body)]
    assert len(bodies) > 150
    marked = 0
    for sent in bodies:
        rest = {name: value for name, value in sent.items() if name not in {"messages", "model", "system", "tools"}}
        plain = Request(
            sent["model"],
            rest.pop("max_tokens"),
            system=sent.get("system"),
            tools=tuple(sent.get("tools", ())),
            stream=rest.pop("stream", False),
            params=rest,
        )
        messages = MessageBytes()
        for message in as_messages(sent["messages"]):
            messages.add(message["role"], message["content"])  # type: ignore[arg-type]
        bare = json.loads(b"".join(plain.body_parts(messages, None)))
        body = json.loads(b"".join(replace(plain, cache=plan(plain, provider, long=True)).body_parts(messages, None)))
        assert check_request(body) == check_request(bare)
        marked += body != bare
    assert marked > len(bodies) / 2


@pytest.mark.parametrize("provider", [ANTHROPIC, COMETAPI, GENERIC])
def test_the_bodies_of_a_run_begin_alike_but_for_our_marks(provider: Provider) -> None:
    ready = replace(REQUEST, cache=plan(REQUEST, provider, long=True))
    messages, before = MessageBytes(), b""
    messages.add("user", [text("Hi")])
    for turn in range(5):
        sent = b"".join(ready.body_parts(messages, None))
        assert b"cache_control" in sent
        for mark in (MARK, HOUR):
            sent = sent.replace(b',"cache_control":' + encode(mark), b"")
        start, end = sent.split(b"]}],")
        assert start.startswith(before)
        assert start != before
        assert end == b'"max_tokens":100,"stream":true}'
        before = start
        messages.add("assistant", [text("ok"), *(tool_use("add", id=f"toolu_{turn}_{at}") for at in range(9 * turn))])
        results = [{"type": "tool_result", "tool_use_id": f"toolu_{turn}_{at}"} for at in range(9 * turn)]
        messages.add("user", results or [text("on")])


# The ledger.


def before_and(now: Request, before: Request = REQUEST, **more: Any) -> list[str]:
    return misses(Prefix.of(before), Prefix.of(now), **more)


TWO = request(
    params={"output_config": {"effort": "low", "format": {"type": "json_schema"}}, "thinking": {"type": "adaptive"}}
)
SERVER = {"type": "url", "url": "https://a.test", "name": "docs", "authorization_token": "secret"}


@pytest.mark.parametrize(
    ("now", "reasons"),
    [
        (REQUEST, []),
        (
            request(
                max_tokens=5, stream=False, betas=("x",), headers={"x": "1"}, params={"metadata": {"user_id": "u"}}
            ),
            [],
        ),
        (request(model="claude-opus-4-6"), ["model changed"]),
        (request(system="Be brief, and kind."), ["system changed at byte 8"]),
        (request(system="Be brief. And kind."), ["system changed at byte 9"]),
        (request(system="Be"), ["system changed at byte 2"]),
        (request(system=None), ["system changed at byte 0"]),
        (request(system=[text("Be brief.")]), []),
        (request(system=[text("Be brief.", cache_control=HOUR)]), []),
        (request(system=[text("Be "), text("brief.")]), ["system changed"]),
        (request(tools=(LOOK, ADD)), ["tool order changed"]),
        (request(tools=(ADD, {**LOOK, "description": "Looks."})), ["tools changed: look"]),
        (request(tools=(ADD, {**LOOK, "cache_control": MARK})), []),
        (request(tools=(LOOK,)), ["tools changed: add"]),
        (
            request(tools=(LOOK, {**ADD, "strict": True}, {"type": "web_search_20250305", "name": "web_search"})),
            ["tools changed: add, web_search", "tool order changed"],
        ),
        (request(tools=(ADD, DEFERRED, LOOK, TOOLSET)), []),
        (request(tools=(ADD, LOOK, {**TOOLSET, "default_config": {}})), ["tools changed: docs"]),
        (request(params={"thinking": {"type": "adaptive"}}), ["thinking changed"]),
        (request(params={"output_config": {"effort": "low"}}), ["effort changed"]),
        (request(params={"output_config": {"effort": "high"}}), []),
        (request(params={"output_config": {"format": {"type": "json_schema"}}}), ["output_config.format changed"]),
        (request(params={"tool_choice": {"type": "auto"}}), []),
        (request(params={"tool_choice": {"type": "auto", "disable_parallel_tool_use": False}}), []),
        (request(params={"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}), ["tool_choice changed"]),
        (request(params={"tool_choice": {"type": "none"}}), ["tool_choice changed"]),
        (request(params={"speed": "fast", "inference_geo": "us"}), ["speed changed", "inference_geo changed"]),
        (request(params={"speed": "standard"}), []),
        (request(params={"mcp_servers": [SERVER]}), ["mcp_servers changed"]),
        (request(params={"cache_control": MARK}), []),
        (TWO, ["thinking changed", "effort changed", "output_config.format changed"]),
    ],
)
def test_what_breaks_the_cache(now: Request, reasons: list[str]) -> None:
    assert before_and(now) == reasons
    assert before_and(now, now) == []
    stored = Prefix.load(json.loads(json.dumps(Prefix.of(REQUEST).dump())))
    assert misses(stored, Prefix.of(now)) == reasons


def test_another_process_does_not_know_where_the_system_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = Prefix.of(REQUEST).dump()
    monkeypatch.setattr("agentkit.cache._texts", {})
    assert misses(Prefix.load(stored), Prefix.of(request(system="Be kind."))) == ["system changed"]


def test_few_system_prompts_are_remembered() -> None:
    for number in range(100):
        last = Prefix.of(request(system=f"Be {number}."))
    assert misses(Prefix.of(request(system="Be 0.")), last) == ["system changed at byte 3"]
    assert len(_texts) == 64


def test_the_first_request_misses_nothing() -> None:
    assert misses(None, Prefix.of(REQUEST), seconds=1e9, rewritten="compact") == []


def test_a_new_token_of_an_mcp_server_breaks_nothing() -> None:
    one, other = (request(params={"mcp_servers": [{**SERVER, "authorization_token": each}]}) for each in "ab")
    assert before_and(one, other) == []


def test_bytes_are_counted_as_the_text_is_sent() -> None:
    assert before_and(request(system="é€b"), request(system="é€a")) == ["system changed at byte 5"]
    assert before_and(request(system="\ud83db"), request(system="\ud83da")) == ["system changed at byte 3"]
    one, other = ([text("Hi"), text(end)] for end in "xy")
    assert before_and(request(system=one), request(system=other)) == ["system changed at byte 2"]


@pytest.mark.parametrize(
    ("more", "reasons"),
    [
        ({"seconds": 299.0}, []),
        ({"seconds": 300.0}, ["5 minutes have passed since the last request"]),
        ({"rewritten": "strip_thinking"}, ["the messages were rewritten (strip_thinking)"]),
    ],
)
def test_what_else_breaks_it(more: Any, reasons: list[str]) -> None:
    assert before_and(REQUEST, **more) == reasons


def test_an_hour_of_the_users_lasts_an_hour() -> None:
    hourly = request(params={"cache_control": HOUR})
    assert before_and(hourly, hourly, seconds=3599) == []
    assert before_and(hourly, hourly, seconds=3600) == ["1 hour has passed since the last request"]
    assert before_and(REQUEST, hourly, seconds=3599) == []


def test_fewer_bytes_of_messages_are_other_messages() -> None:
    prefix = Prefix.of(REQUEST)
    assert misses(prefix.at(10), prefix.at(10)) == misses(prefix.at(10), prefix.at(11)) == []
    assert misses(prefix.at(10), prefix.at(9)) == ["the messages were rewritten"]
    assert misses(prefix.at(10), prefix.at(9), rewritten="compact") == ["the messages were rewritten (compact)"]


def test_another_endpoint_has_another_cache() -> None:
    assert misses(Prefix.of(REQUEST, "https://a"), Prefix.of(REQUEST, "https://b")) == ["endpoint changed"]


def test_a_dump_has_no_text_of_the_prompt_and_is_small() -> None:
    secret = request(system="Never tell: xyzzy", params={"mcp_servers": [SERVER], "tool_choice": {"type": "any"}})
    prefix = Prefix.of(secret, "https://a.test").at(77)
    dump = json.dumps(prefix.dump())
    assert not any(word in dump + repr(prefix) for word in ("xyzzy", "secret", "a.test", "Adds"))
    assert len(dump) < 400
    again = Prefix.load(json.loads(dump))
    assert again == prefix
    assert prefix.at(78).dump(prefix) == {"size": 78}
    assert Prefix.load({"size": 78}, prefix) == prefix.at(78)
    other = Prefix.of(REQUEST)
    assert Prefix.load(json.loads(json.dumps(other.dump(prefix))), prefix) == other
    assert hash(again) == hash(prefix)


@pytest.mark.parametrize(
    "params", [{"output_config": 3, "tool_choice": None, "mcp_servers": [None]}, {"mcp_servers": None}]
)
def test_parameters_of_no_known_form_are_compared_all_the_same(params: Any) -> None:
    assert before_and(request(params=params), request(params=params)) == []
