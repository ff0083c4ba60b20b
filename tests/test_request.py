"""One request body."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs import asked, end, take
from scripted import server_tool_use, text, thinking, tool_use

from agentkit.request import Marks, MessageBytes, Request

TOOLS = ({"name": "add", "input_schema": {"type": "object"}}, {"type": "web_search_20250305", "name": "web_search"})
REQUEST = Request("claude-sonnet-4-6", 100, system="Be brief.", tools=TOOLS, params={"thinking": {"type": "adaptive"}})


def body(request: Request, container: str | None = None) -> bytes:
    return b"".join(request.body_parts(asked().history.body.parts(), container))


def test_the_order_keeps_the_beginning() -> None:
    sent: dict[str, Any] = json.loads(body(REQUEST, "c_1"))
    assert list(sent) == ["model", "tools", "system", "messages", "max_tokens", "container", "stream", "thinking"]
    assert sent == {
        "model": "claude-sonnet-4-6",
        "tools": list(TOOLS),
        "system": "Be brief.",
        "messages": [{"role": "user", "content": [text("Hi")]}],
        "max_tokens": 100,
        "container": "c_1",
        "stream": True,
        "thinking": {"type": "adaptive"},
    }


def test_what_is_not_there_is_not_sent() -> None:
    sent = json.loads(body(Request("m", 1, stream=False)))
    assert sent == {"model": "m", "messages": [{"role": "user", "content": [text("Hi")]}], "max_tokens": 1}


def test_params_win() -> None:
    params = {"container": {"id": "mine", "skills": []}, "max_tokens": 7}
    sent = json.loads(body(Request("m", 1, params=params), "c_1"))
    assert (sent["container"], sent["max_tokens"]) == ({"id": "mine", "skills": []}, 7)


def test_the_next_body_begins_as_the_one_before() -> None:
    transcript = asked()
    before = b"".join(REQUEST.body_parts(transcript.history.body.parts(), None))
    take(transcript, text("é"), tool_use("add", x=1))
    end(transcript).answer()
    wrapped = replace(REQUEST, max_tokens=50, headers={"x": "1"})
    after = b"".join(wrapped.body_parts(transcript.history.body.parts(), "c_1"))
    shared = before[: before.rindex(b"]}],")]
    assert shared.endswith(b'"Hi"}')
    assert after.startswith(shared)
    assert json.loads(after)["max_tokens"] == 50


# Messages as bytes.


def messages_of(*turns: tuple[str, list[dict[str, Any]]]) -> MessageBytes:
    messages = MessageBytes()
    for role, content in turns:
        messages.add(role, content)
    return messages


def joined(messages: MessageBytes) -> Any:
    return json.loads(b"".join(messages.parts()))


def result(id_: str = "toolu_1", **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id_, "content": "3", **fields}


HOUR = {"type": "ephemeral", "ttl": "1h"}
MARK = {"type": "ephemeral"}
BLOCKS = st.sampled_from(
    [
        text("é\u2028"),
        text("\ud83d"),
        text(" "),
        thinking("so"),
        tool_use("add", x=1),
        result(),
        result(content=[text("a", cache_control=MARK)]),
        {"type": "hologram", "x": [1.5, None]},
        text("mine", cache_control=HOUR),
        text("null", cache_control=None),
    ]
)
TURNS = st.lists(
    st.tuples(st.sampled_from(["user", "assistant", "system"]), st.lists(BLOCKS, min_size=1, max_size=4)), max_size=8
)


def merged(turns: list[tuple[str, list[dict[str, Any]]]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for role, content in turns:
        if found and found[-1]["role"] == role:
            found[-1]["content"] += content
        else:
            found.append({"role": role, "content": list(content)})
    return found


@given(turns=TURNS, slab=st.sampled_from([1, 64, 500, 1 << 20]))
def test_messages_are_one_json_array_however_they_are_cut(turns: Any, slab: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agentkit.request._SLAB_BYTES", slab)
        messages, before = MessageBytes(), b"["
        for number, (role, content) in enumerate(turns, 1):
            messages.add(role, content)
            whole = b"".join(messages.parts())
            assert json.loads(whole) == merged(turns[:number])
            assert whole.startswith(before), "the bytes only grow"
            before = whole.removesuffix(b"]}]")
            assert messages.size == len(before)
            assert messages.blocks == sum(len(content) for _, content in turns[:number])
            for place in {messages.newest, messages.before} - {None}:
                marked = b"".join(messages.parts([place.offset]))
                assert marked == whole[: place.offset] + SPLICE + whole[place.offset :]
                assert "cache_control" in [*flat(json.loads(marked))][place.blocks - 1]
            after = merged(turns[:number])
            while any(message["role"] == "assistant" for message in after):
                after.pop(0)
            since = messages.parts_since_model()
            assert (json.loads(b"".join(since)) if since else []) == after


SPLICE = b',"cache_control":{"type":"ephemeral"}'


def flat(messages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for message in messages:
        yield from message["content"]


def marked_at(request: Request, messages: MessageBytes) -> list[int]:
    """Which content blocks have a mark, counted from 0; -1 is the field of the body."""
    sent = json.loads(b"".join(request.body_parts(messages, None)))
    found = [at for at, block in enumerate(flat(sent["messages"])) if block.get("cache_control")]
    return [*found, -1] if sent.get("cache_control") else found


@pytest.mark.parametrize(
    ("turns", "marked"),
    [
        ([], []),
        ([("user", [text("Hi"), text("you")])], [1]),
        ([("user", [text("Hi"), text(" ")])], [0]),
        ([("user", [text("Hi"), {"type": "hologram"}])], [0]),
        ([("user", [{"type": "hologram"}])], []),
        ([("user", [text("Hi")]), ("assistant", [text("a")]), ("user", [result(), text("on")])], [3]),
        ([("user", [text("Hi")]), ("assistant", [text("a")]), ("user", [result()]), ("user", [text("on")])], [3]),
        ([("user", [text("Hi")]), ("assistant", [text("a"), server_tool_use("s")])], [2]),
        ([("user", [text("Hi")]), ("assistant", [server_tool_use("s"), thinking("so")])], [0]),
        ([("user", [text("Hi")]), ("assistant", [server_tool_use("s")]), ("assistant", [thinking("so")])], [1]),
        ([("user", [text("Hi", cache_control=MARK)])], [0]),
        ([("user", [text("Hi", cache_control=HOUR)]), ("user", [text("you")])], [0, 1]),
        ([("user", [text("Hi")]), ("assistant", [thinking("so")]), ("system", [text("now")])], [2]),
        ([("user", [text("Hi"), {"type": "image", "source": {}}])], [1]),
        ([("user", [result(content=[text("a")])])], [0]),
    ],
)
def test_the_newest_turn_is_marked(turns: Any, marked: list[int]) -> None:
    assert marked_at(replace(REQUEST, cache=Marks(2, "explicit")), messages_of(*turns)) == marked


@pytest.mark.parametrize(
    ("cache", "content", "marked"),
    [
        (Marks(2, "automatic"), [text("a")], [-1]),
        (Marks(2, "automatic"), [text("a", cache_control=MARK)], [0]),
        (Marks(2, "automatic"), [text("a", cache_control=HOUR), text("b")], [0, -1]),
        (Marks(1, "automatic"), [text("a", cache_control=MARK), text("b")], [0]),
        (Marks(2, "user"), [text("a")], []),
        (Marks(1, "explicit"), [text("a", cache_control=MARK), text("b")], [0]),
        (Marks(1, "explicit"), [result(content=[text("a", cache_control=MARK)]), text("b")], []),
        (Marks(2, "explicit"), [result(content=[text("a", cache_control=MARK)]), text("b")], [1]),
        (None, [text("a")], []),
    ],
)
def test_marks_of_the_user_count(cache: Marks | None, content: Any, marked: list[int]) -> None:
    assert marked_at(replace(REQUEST, cache=cache), messages_of(("user", content))) == marked


@pytest.mark.parametrize(("calls", "again"), [(9, False), (10, True)])
@pytest.mark.parametrize("newest", ["automatic", "explicit"])
def test_what_was_marked_is_marked_again_where_the_api_would_not_look_back(
    newest: Any, calls: int, again: bool
) -> None:
    """It looks at 20 blocks, the marked one included: 19 more than the old place has may come, not 20."""
    messages = messages_of(
        ("user", [text("Hi")]),
        ("assistant", [tool_use("add", id=f"toolu_{at}") for at in range(calls)]),
        ("user", [result(f"toolu_{at}") for at in range(calls)]),
    )
    assert messages.blocks - 1 == 2 * calls
    end = [-1] if newest == "automatic" else [messages.blocks - 1]
    assert marked_at(replace(REQUEST, cache=Marks(2, newest)), messages) == ([0] if again else []) + end
    assert marked_at(replace(REQUEST, cache=Marks(1, newest)), messages) == end
    assert marked_at(replace(REQUEST, cache=Marks(2, "user")), messages) == ([0] if again else [])


@pytest.mark.parametrize(
    ("first", "last", "marked"),
    [
        (text("Hi"), result("toolu_9"), [0, 20]),
        (text("Hi"), result("toolu_9", cache_control=MARK), [0, 20]),
        (text("Hi"), result("toolu_9", cache_control=HOUR), [20]),
        (text("Hi", cache_control=MARK), result("toolu_9"), [0, 20]),
        (text("Hi", cache_control=HOUR), result("toolu_9"), [0, 20]),
    ],
)
def test_the_older_mark_goes_with_those_of_the_user(first: Any, last: Any, marked: list[int]) -> None:
    uses = [tool_use("add", id=f"toolu_{at}") for at in range(10)]
    messages = messages_of(
        ("user", [first]), ("assistant", uses), ("user", [*(result(use["id"]) for use in uses[:-1]), last])
    )
    request = replace(REQUEST, cache=Marks(4, "explicit"))
    assert marked_at(request, messages) == marked
    assert b"".join(request.body_parts(messages, None)).count(b"cache_control") == len(marked), "no block has two"


def test_no_mark_of_ours_comes_before_an_hour_of_the_users() -> None:
    hour = text("a", cache_control=HOUR)
    messages = messages_of(("user", [text("Hi")]), ("assistant", [hour, thinking("so")]))
    assert marked_at(replace(REQUEST, cache=Marks(3, "explicit")), messages) == [1]
    for newest, long, system in (("explicit", False, None), ("automatic", True, HOUR)):
        request = replace(REQUEST, cache=Marks(3, newest, (2,), long))  # type: ignore[arg-type]
        sent = json.loads(b"".join(request.body_parts(messages_of(("user", [hour, text("b")])), None)))
        assert sent["system"][0].get("cache_control") == system


def test_a_place_in_an_old_slab_is_marked_again() -> None:
    messages = messages_of(("user", [text("Hi")]))
    uses = [tool_use("add", id=f"toolu_{at}") for at in range(15)]
    messages.add("assistant", uses)
    for use in uses:
        messages.add("user", [result(use["id"], content="x" * 300_000)])
    plain = messages.parts()
    assert len(plain) > 2
    assert marked_at(replace(REQUEST, cache=Marks(2, "explicit")), messages) == [0, 30]
    spliced = messages.parts([messages.before.offset, messages.newest.offset])  # type: ignore[union-attr]
    assert b"".join(spliced).replace(SPLICE, b"") == b"".join(plain)
    assert all(any(part is slab for part in spliced) for slab in plain[:-1]), "no slab is copied"


def test_branches_are_marked_by_themselves() -> None:
    trunk = messages_of(("user", [text("Hi")]))
    request = replace(REQUEST, cache=Marks(2, "explicit"))
    one, two = trunk.branch(), trunk.branch()
    one.add("user", [text("a", cache_control=HOUR), text("b")])
    two.add("assistant", [tool_use("add", id=f"toolu_{at}") for at in range(30)])
    assert (trunk.marks, trunk.long_until, trunk.blocks, trunk.before) == (0, 0, 1, None)
    assert [marked_at(request, each) for each in (trunk, one, two)] == [[0], [1, 2], [0, 30]]
    assert joined(trunk) == [{"role": "user", "content": [text("Hi")]}]


def test_what_is_joined_for_a_request_stays_small() -> None:
    """The tail is joined for each request, the slabs never again; but what is marked stays outside of them."""
    messages = messages_of(("user", [text("Hi")]))
    sealed: list[bytes] = []
    for number in range(200):
        messages.add("assistant", [text("ok"), tool_use("add", id=f"toolu_{number}")])
        messages.add("user", [result(f"toolu_{number}", content="x" * 50_000)])
        *slabs, tail = messages.parts()
        assert all(one is other for one, other in zip(slabs, sealed, strict=False))
        assert len(tail) < (1 << 20) + 150_000
        sealed = slabs
    assert len(sealed) == 9
    assert all(1 << 20 <= len(slab) < (1 << 20) + 51_000 for slab in sealed)


def test_messages_since_the_model_spoke() -> None:
    messages = messages_of(("user", [text("Hi")]))
    assert messages.parts_since_model() == messages.parts()
    messages.add("assistant", [text("Hello")])
    assert messages.parts_since_model() is None
    messages.add("user", [result()])
    messages.add("user", [text("on")])
    messages.add("system", [text("now")])
    since = [{"role": "user", "content": [result(), text("on")]}, {"role": "system", "content": [text("now")]}]
    assert json.loads(b"".join(messages.parts_since_model() or [])) == since
    for _ in range(3):
        messages.add("system", [text("x" * 600_000)])
    assert json.loads(b"".join(messages.parts_since_model() or [])) == joined(messages)[2:]


# Marks before and after the messages.


def test_a_text_becomes_blocks_where_it_may_be_marked() -> None:
    hi = messages_of(("user", [text("Hi")]))
    body = [
        json.loads(b"".join(replace(REQUEST, cache=c).body_parts(hi, None)))
        for c in (
            Marks(3, "explicit", (2, 1)),
            Marks(2, "explicit", (2, 1)),
            Marks(1, "explicit", (2, 1)),
            Marks(3, "explicit"),
        )
    ]
    assert [each["system"] for each in body] == [
        [text("Be brief.", cache_control=MARK)],
        [text("Be brief.", cache_control=MARK)],
        [text("Be brief.")],
        "Be brief.",
    ]
    assert [["cache_control" in tool for tool in each["tools"]] for each in body] == [
        [False, True],
        [False, False],
        [False, False],
        [False, False],
    ]


def test_the_field_follows_the_messages_and_params_win() -> None:
    hi = messages_of(("user", [text("Hi")]))
    request = replace(REQUEST, cache=Marks(4, "automatic", (2,), long=True))
    sent = json.loads(b"".join(request.body_parts(hi, "c_1")))
    assert list(sent)[:4] == ["model", "tools", "system", "messages"]
    assert (sent["cache_control"], sent["system"][0]["cache_control"]) == (MARK, HOUR)
    assert request.body_parts(hi, "c_1")[0] is request.body_parts(hi, "c_1")[0], "it is encoded once"
    assert sent == json.loads(b"".join(request.body_parts(hi, "c_1")))


def test_parts_of_messages_get_no_marks() -> None:
    request = replace(REQUEST, cache=Marks(4, "automatic"))
    assert b"cache_control" not in body(request)
