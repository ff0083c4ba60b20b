"""Bytes → events: the decoder. The fold of events to a message is tested in `test_stream_fold.py`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.errors import ProtocolError
from agentkit.stream import Decoder, Fold, parse_json

BOM = b"\xef\xbb\xbf"


def decoded(*chunks: bytes, **caps: int) -> list[bytes]:
    decoder = Decoder(**caps)
    return [data for chunk in chunks for data in decoder.feed(chunk)]


def in_chunks(stream: bytes, size: int = 1) -> list[bytes]:
    return [stream[at : at + size] for at in range(0, len(stream), size)]


def reference(stream: bytes) -> list[bytes]:
    """The WHATWG's steps, one after the other, as naively as can be; events without data are left out."""
    text = stream.removeprefix(BOM).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    *lines, _incomplete = text.split(b"\n")
    events: list[bytes] = []
    data = b""
    for line in lines:
        if not line:
            events.append(data.removesuffix(b"\n"))
            data = b""
        field, _, value = line.partition(b":")
        if field == b"data" and line:
            data += value.removeprefix(b" ") + b"\n"
    return [event for event in events if event]


STREAMS = {
    "one event": (b"event: ping\ndata: a\n\n", [b"a"]),
    "two events": (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
    "no event name": (b"data: a\n\n", [b"a"]),
    "the name after the data": (b"data: a\nevent: x\n\n", [b"a"]),
    "no space after the colon": (b"data:a\n\n", [b"a"]),
    "only one space is cut off": (b"data:  a \n\n", [b" a "]),
    "a tab is no space": (b"data:\ta\n\n", [b"\ta"]),
    "several data lines": (b"data: a\ndata: b\ndata:c\n\n", [b"a\nb\nc"]),
    "an empty data line in between": (b"data: a\ndata:\ndata\ndata: b\n\n", [b"a\n\n\nb"]),
    "empty data": (b"data:\n\ndata: \n\ndata\n\n", []),
    "an event without data": (b"event: x\n\n", []),
    "comments": (b": keep-alive\n\n:\ndata: a\n: more\n\n", [b"a"]),
    "id and retry": (b"id: 7\nretry: 10\ndata: a\n\nretry: x\n\n", [b"a"]),
    "unknown fields": (b"datax: n\n data: n\nDATA: n\ndata: a\ndat: n\n\n", [b"a"]),
    "a colon in the data": (b'data: {"a": "b:c"}\n\n', [b'{"a": "b:c"}']),
    "CRLF": (b"event: x\r\ndata: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
    "several data lines with CRLF": (b"data: a\r\ndata: b\r\n\r\n", [b"a\nb"]),
    "CR": (b"event: x\rdata: a\r\rdata: b\r\r", [b"a", b"b"]),
    "mixed": (b"data: a\r\n\ndata: b\r\r\ndata: c\n\rdata: d\r\n\r", [b"a", b"b", b"c", b"d"]),
    "LF CR LF is two": (b"data: a\n\r\ndata: b\n\n", [b"a", b"b"]),
    "many empty lines": (b"\n\n\ndata: a\n\n\n\n\r\rdata: b\n\n\n", [b"a", b"b"]),
    "a byte order mark": (BOM + b"data: a\n\n", [b"a"]),
    "only the first byte order mark": (BOM + BOM + b"data: a\n\n" + BOM + b"data: b\n\n", []),
    "half a byte order mark": (BOM[:2] + b"data: a\n\ndata: b\n\n", [b"b"]),
    "line ends of other standards": (
        "data: a\u2028b\u0085c\x0bd\x0ce\x1cf\x00\n\n".encode(),
        ["a\u2028b\u0085c\x0bd\x0ce\x1cf\x00".encode()],
    ),
    "bytes that are no UTF-8": (b"data: \xff\xfe\n\n", [b"\xff\xfe"]),
    "an incomplete last event": (b"data: a\n\ndata: b\n", [b"a"]),
    "an incomplete last line": (b"data: a\n\ndata: b", [b"a"]),
    "nothing": (b"", []),
}


@pytest.mark.parametrize(("stream", "events"), STREAMS.values(), ids=STREAMS)
def test_decodes_as_the_whatwg_says(stream: bytes, events: list[bytes]) -> None:
    assert reference(stream) == events
    assert decoded(stream) == events
    for size in (1, 2, 3):
        assert decoded(*in_chunks(stream, size)) == events


TOKENS = [
    *(b"\n", b"\r", b"\r\n", b"\n\n", b"data", b":", b" ", b"a", b"event: x", BOM, b"\xef", b"\xe2\x80\xa8"),
    *(b"data: a", b"data: b\r\n", b"data: c\r", b"data: d\n"),
]
streams = st.one_of(
    st.lists(st.sampled_from(TOKENS), max_size=40).map(b"".join),
    st.binary(max_size=200),
)


@given(stream=streams, data=st.data())
def test_any_split_gives_the_same(stream: bytes, data: st.DataObject) -> None:
    """Invariant I20 of faults.md: empty chunks included, and as the reference has it."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert decoded(*chunks) == decoded(stream) == decoded(*in_chunks(stream)) == reference(stream)


def test_an_event_comes_with_its_last_byte() -> None:
    decoder = Decoder()
    *before, last = in_chunks(b"data: a\n\n")
    assert [decoder.feed(byte) for byte in before] == [[]] * len(before)
    assert decoder.feed(last) == [b"a"]


def test_an_event_ended_by_a_carriage_return_does_not_wait_for_the_next_byte() -> None:
    assert decoded(b"data: a\r\r") == [b"a"]


def outcome(chunks: list[bytes], **caps: int) -> Any:
    try:
        return decoded(*chunks, **caps)
    except ProtocolError as error:
        return f"{error}, retryable: {error.retryable}"


TOO_LONG = "an event is longer than 10 bytes, retryable: False"


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_an_event_that_is_too_long_is_refused_however_it_comes(size: int, end: bytes) -> None:
    fits, too_long = b"data: 4567" + end, b"data: 45678" + end
    assert outcome(in_chunks(b"data: 0\n\n" + fits, size), max_event_bytes=10) == [b"0", b"4567"]
    for stream in (b"data: 0\n\n" + too_long, too_long + fits):
        assert outcome(in_chunks(stream, size), max_event_bytes=10) == TOO_LONG


def test_an_event_that_is_too_long_is_refused_before_its_end() -> None:
    assert outcome(in_chunks(b"data: 456789"), max_event_bytes=10) == TOO_LONG


def test_a_stream_that_is_too_long_is_refused() -> None:
    stream = b"data: a\n\n" * 10
    assert len(decoded(*in_chunks(stream), max_bytes=len(stream))) == 10
    for size in (1, 7, 1000):
        assert outcome(in_chunks(stream, size), max_bytes=len(stream) - 1) == (
            f"the reply is longer than {len(stream) - 1} bytes, retryable: False"
        )


class Counted(Decoder):
    """Counts the bytes that joining touches."""

    joined = 0

    def _joined(self, last: bytes) -> bytes:
        line = super()._joined(last)
        self.joined += len(line)
        return line


@pytest.mark.parametrize("size", [1 << 20, 1 << 22])
def test_a_long_line_in_small_chunks_is_joined_once(size: int) -> None:
    """Linear by construction: what has come is kept in pieces, and joined when the event has ended."""
    decoder = Counted()
    for chunk in in_chunks(b"data: " + b"x" * size, 1024):
        assert decoder.feed(chunk) == []
    assert decoder.joined == 0
    assert sum(map(len, decoder._pieces)) == decoder._size == size + 6
    assert list(map(len, decoder.feed(b"\n\n"))) == [size]
    assert decoder.joined == size + 6


@pytest.mark.parametrize(
    ("kind", "key"), [("text_delta", "text"), ("signature_delta", "signature"), ("new_delta", "new")]
)
def test_deltas_are_joined_once(kind: str, key: str) -> None:
    """So a block of many small deltas is linear too, whatever they are."""
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": kind, key: "x" * 100}}
    start = {"type": "content_block_start", "index": 0, "content_block": {"type": "new", key: "a"}}
    fold = Fold()
    for event in ({"type": "message_start", "message": {}}, start, *[delta] * 1000):
        fold.add(json.dumps(event).encode())
    assert fold.blocks == [{"type": "new", key: "a"}]
    fold.add(b'{"type":"content_block_stop","index":0}')
    assert fold.blocks == [{"type": "new", key: "a" + "x" * 100_000}]


# JSON.


@given(value=st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_json_is_read_exactly(value: Any) -> None:
    assert parse_json(json.dumps(value)) == parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


def test_integers_are_exact() -> None:
    digits = "9" * 4000
    assert parse_json(digits) == int(digits)
    assert parse_json(b"[9007199254740993]") == [9007199254740993]


def test_lone_surrogates_survive() -> None:
    assert parse_json(b'"\\ud83d"') == "\ud83d"
    assert parse_json('["\\uDE00 \\ud83d\\ude00"]') == ["\ude00 \U0001f600"]
    assert parse_json(b'"\\\\ud800"') == "\\ud800"


DEEP = "[" * 300 + "%s" + "]" * 300


@pytest.mark.parametrize(
    "broken",
    [
        "", "x", "{", "[1,]", "{'a':1}", "NaN", "[Infinity]", "-Infinity", '{"a":NaN,"b":"\\ud800"}', '"\\ud800',
        "01", '"\n"', '"\ud800"', DEEP % "", DEEP % '"\\ud800"', "9" * 5000, b"\xff", b'"\xed\xa0\x80"',
        b'"\\ud800\xff"', "[" * 100_000 + '"\\ud800"',
    ],
)  # fmt: skip
def test_what_is_no_json_is_refused(broken: bytes | str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_json(broken)
