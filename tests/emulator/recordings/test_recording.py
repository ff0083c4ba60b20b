"""The file of a recording, what is kept out of it, differences in words, and forks: no server."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.emulator.recordings.difference import first_difference
from agentkit.emulator.recordings.fork import forked_request
from agentkit.emulator.recordings.recording import Recorded, Recording
from agentkit.emulator.recordings.redaction import Redaction
from agentkit.emulator.recordings.replay import frames
from agentkit.encode import sse
from agentkit.errors import ConfigurationError

KEY = "sk-ant-Zm9v+/~Y29mZmVl_1"
HEADER = b'{"agentkit_recording":1}\n'
LINE = b'{"method":"GET","path":"/v1/models","status":200,"response_body":{}}\n'

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def exchange(request: Any = None, response: bytes = b"{}", **fields: Any) -> Recorded:
    body = b"" if request is None else json.dumps(request).encode()
    return Recorded(method="POST", path="/v1/messages", request=body, status=200, response=response, **fields)


def written(path: Path, *exchanges: Recorded) -> Recording:
    recording = Recording.to_append(path)
    for one in exchanges:
        recording.append(one)
    return Recording(path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
@settings(max_examples=40)
@given(body=st.binary() | json_values.map(lambda value: json.dumps(value, indent=1).encode()), cut_off=st.booleans())
def test_every_response_comes_back_byte_for_byte(
    name: str, tmp_path_factory: pytest.TempPathFactory, body: bytes, cut_off: bool
) -> None:
    path = tmp_path_factory.mktemp("recording") / name
    one = exchange({"model": "claude-x"}, body, cut_off=cut_off, response_headers={"content-type": "x"})
    (back,) = written(path, one).exchanges
    assert (back.response, back.cut_off, back.key, back.line) == (body, cut_off, one.key, 2)
    assert back.response_headers == {"content-type": "x"}


@given(json_values)
def test_a_key_depends_on_values_and_not_on_the_order_of_fields(value: Any) -> None:
    def key(body: str) -> bytes:
        return Recorded(method="POST", path="/v1/messages", request=body.encode(), status=200).key

    assert key(json.dumps({"a": value, "b": 1})) == key(json.dumps({"b": 1, "a": value}, indent=2))
    assert key(json.dumps({"a": value})) != key(json.dumps({"a": [value]}))


def test_what_is_there_is_added_to(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.jsonl.gz"):
        written(tmp_path / name, exchange({"model": "a"}))
        assert len(written(tmp_path / name, exchange({"model": "b"})).exchanges) == 2
    assert gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()) == (tmp_path / "a.jsonl").read_bytes()


def test_a_recording_is_readable(tmp_path: Path) -> None:
    stream = sse({"type": "ping"})
    written(tmp_path / "a", exchange({"model": "é"}, stream), exchange({"model": "b"}, b'{"id":"1"}'))
    header, first, second = map(json.loads, (tmp_path / "a").read_text("utf-8").splitlines())
    assert header == {"agentkit_recording": 1}
    assert (first["request_body"], first["response_text"]) == ({"model": "é"}, stream.decode())
    assert second["response_body"] == {"id": "1"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is no recording of agentkit: give another file"),
        (b"notes\n", "is no recording of agentkit: give another file"),
        (b'{"a":1}\n', "is no recording of agentkit: give another file"),
        (b'{"agentkit_recording":2}\n', "is a recording of format 2, and this agentkit knows format 1: record it anew"),
        (HEADER + LINE + b"{", "line 3: it is no JSON: .*; take the line out, or record it anew"),
        (HEADER + b"[]", "line 2: it is no object"),
        (HEADER + b'{"method":"GET","status":200}', "line 2: `path` is missing"),
        (HEADER + LINE.replace(b"200", b'"200"'), "line 2: `status` must be of type int"),
        (HEADER + LINE.replace(b"200", b"100"), "line 2: `status` must be from 200 to 599"),
        (HEADER + LINE.replace(b'_body":{}', b'_base64":"?"'), "line 2: `response_base64` is no base64"),
        (HEADER + LINE.replace(b'_body":{}', b'_text":1'), "line 2: `response_text` must be of type str"),
        (HEADER + LINE.replace(b'_body":{}', b'_headers":{"a":1}'), "line 2: the values of `response_headers`"),
    ],
)
def test_a_file_that_is_no_recording(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ConfigurationError, match=expected) as caught:
        Recording(tmp_path / "a")
    assert "\n" not in str(caught.value)


def test_a_file_that_can_not_be_used(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no recording .*a: record one first"):
        Recording(tmp_path / "a")
    with pytest.raises(ConfigurationError, match=r"can't write the recording .*: No such file or directory"):
        Recording.to_append(tmp_path / "missing" / "a")
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(ConfigurationError, match="is no recording of agentkit"):
        Recording.to_append(tmp_path / "notes")
    assert (tmp_path / "notes").read_text() == "mine"
    written(tmp_path / "a.gz", exchange({"model": "a"}))
    (tmp_path / "a.gz").write_bytes((tmp_path / "a.gz").read_bytes()[:-5])
    with pytest.raises(ConfigurationError, match=r"can't read the recording .*a\.gz after line"):
        Recording(tmp_path / "a.gz")


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": KEY},
        {"authorization": f"Bearer {KEY}"},
        {"Authorization": KEY},
        {"cookie": f"a=1; session={KEY}"},
        {"x-my-token": KEY},
    ],
)
def test_a_key_is_taken_out_in_every_form(headers: dict[str, str]) -> None:
    redaction = Redaction(headers)
    forms = [KEY, json.dumps(KEY), quote(KEY, safe="")]
    forms += [base64.b64encode(f"{before}{KEY}:".encode()).decode() for before in ("", "u", "us", "use")]
    forms += [base64.urlsafe_b64encode(f"{before}{KEY}".encode()).decode() for before in ("", "u", "us", "use")]
    for form in forms:
        assert redaction.finds(form.encode())
        assert not redaction.finds(redaction(f"<{form}>".encode()))
        assert b"[redacted]" in redaction(f"<{form}>".encode())


def test_short_values_and_other_headers_are_no_keys() -> None:
    text = b"any key of application/json-and-more"
    for headers in ({}, {"x-api-key": "any"}, {"accept": "application/json-and-more"}, {"authorization": "Bearer any"}):
        assert Redaction(headers)(text) == text
        assert not Redaction(headers).finds(text)


@given(st.text(st.characters(codec="latin-1", exclude_categories=["Cc", "Zs"]), min_size=12, max_size=60))
def test_any_key_is_taken_out(key: str) -> None:
    redaction = Redaction({"x-api-key": key})
    raw = key.encode("latin-1")
    assert not redaction.finds(redaction(b"a" + raw + b"b" + base64.b64encode(b"x" + raw)))


def test_a_key_that_a_stream_brings_in_pieces_is_found() -> None:
    pieces = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}} for text in KEY
    ]
    stream = b"".join(map(sse, pieces))
    assert KEY.encode() not in stream
    assert Redaction({"x-api-key": KEY}).finds(stream)
    assert not Redaction({"x-api-key": KEY[::-1]}).finds(stream + b"data: {_delta\n")


@pytest.mark.parametrize(
    ("recorded", "sent", "expected"),
    [
        ({"model": "a", "max_tokens": 1}, {"max_tokens": 2, "model": "b"}, 'model: recorded "a", sent "b"'),
        ({"messages": [], "stream": True}, {"messages": []}, "stream: recorded true, sent nothing"),
        ({"messages": [{"role": "user"}]}, {"messages": []}, 'messages.0: recorded {"role": "user"}, sent nothing'),
        ({"a": [1, {"b": "x"}]}, {"a": [1, {"b": "y"}]}, 'a.1.b: recorded "x", sent "y"'),
        ({"temperature": 1}, {"temperature": True}, "temperature: recorded 1, sent true"),
        ({"temperature": 0.0}, {"temperature": -0.0}, "temperature: recorded 0.0, sent -0.0"),
        ({"messages": 1, "system": "a"}, {"messages": 2, "system": "b"}, 'system: recorded "a", sent "b"'),
        ("a", "b", 'the body: recorded "a", sent "b"'),
    ],
)
def test_the_first_difference(recorded: Any, sent: Any, expected: str) -> None:
    found = first_difference(recorded, sent)
    assert found is not None
    assert found.text == expected


def test_long_texts_are_shown_from_where_they_differ() -> None:
    found = first_difference({"system": "a" * 5000 + "b"}, {"system": "a" * 5000 + "c" * 5000})
    assert found is not None
    assert found.text.startswith('system: recorded "aaa')
    assert 'ab", sent "aaa' in found.text
    assert found.text.endswith("… (from character 4970 on)")
    assert len(found.text) < 300


@given(json_values, json_values)
def test_there_is_a_difference_exactly_where_keys_differ(one: Any, other: Any) -> None:
    assert first_difference(one, one) is None
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (first_difference(one, other) is None) == same


@given(st.lists(st.sampled_from([b"data: {}", b"\n", b"\r\n", b"\r", b": x", b"\n\n", b""])).map(b"".join))
def test_frames_are_the_stream_in_pieces(stream: bytes) -> None:
    assert b"".join(frames(stream)) == stream


def test_a_frame_ends_with_an_empty_line() -> None:
    events = [sse({"type": "ping"}), b"data: 1\r\n\r\n", b"data: 2\r\r", b": cut"]
    assert frames(b"".join(events)) == events


THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "s"}
CALL = {"type": "tool_use", "id": "t1", "name": "add", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "5"}


def conversation(*later: dict[str, Any]) -> list[Recorded]:
    """Two turns with a tool, and the requests that follow."""
    first = {"model": "claude-a", "max_tokens": 9, "messages": [{"role": "user", "content": "2+3?"}]}
    second = {
        **first,
        "messages": [
            *first["messages"],  # type: ignore[misc]
            {"role": "assistant", "content": [THOUGHT, CALL]},
            {"role": "user", "content": [RESULT, {"type": "text", "text": "Go on."}]},
        ],
    }
    return [exchange(first), exchange(second), exchange(second), *map(exchange, later)]


def test_a_fork(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    written(path, *conversation({"model": "claude-b", "messages": [{"role": "user", "content": "Other"}]}))
    same = forked_request(path, 2)
    assert same["messages"][1]["content"] == [THOUGHT, CALL]
    assert forked_request(path, 1, prompt="3+4?")["messages"][0]["content"] == [{"type": "text", "text": "3+4?"}]
    told = forked_request(path, 2, prompt="Stop.")
    assert told["messages"][2]["content"] == [RESULT, {"type": "text", "text": "Stop."}]
    assert told["messages"][:2] == same["messages"][:2]
    for changed in ({"model": "claude-c"}, {"system": "Be terse."}):
        fork = forked_request(path, 2, **changed)  # type: ignore[arg-type]
        assert fork["messages"][1]["content"] == [CALL]
        assert fork | {"messages": 0} == same | changed | {"messages": 0}
    assert forked_request(path, 1, conversation=2)["model"] == "claude-b"


def test_a_fork_of_what_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    written(path, *conversation(), Recorded(method="GET", path="/v1/models", status=200))
    with pytest.raises(ConfigurationError, match="there is no turn 3 in conversation 1: it has 2"):
        forked_request(path, 3)
    with pytest.raises(ConfigurationError, match="there is no turn 0"):
        forked_request(path, 0)
    with pytest.raises(ConfigurationError, match=r"there is no conversation 2 in .*a\.jsonl: it has 1"):
        forked_request(path, 1, conversation=2)


def test_turns_that_pause_or_mark_the_cache_are_one_conversation(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    marked = {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}
    plain = {"type": "text", "text": "Hi"}
    use = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}
    bodies = [
        {"model": "m", "messages": [{"role": "user", "content": [marked]}]},
        {"model": "m", "messages": [{"role": "user", "content": [plain]}, {"role": "assistant", "content": [use]}]},
        {
            "model": "m",
            "messages": [{"role": "user", "content": [plain]}, {"role": "assistant", "content": [use, use]}],
        },
    ]
    written(path, *map(exchange, bodies))
    assert forked_request(path, 3)["messages"] == bodies[2]["messages"]
