"""What a tool returned → text or content blocks."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import enum
import hashlib
import itertools
import json
import pathlib
import uuid
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from agentkit.errors import ToolError
from agentkit.messages import encode
from agentkit.tool_results import HARD_CAP, KEPT_FROM, TEXT_CAP, Pieces, as_content, fitted, is_long, to_content

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 8
TEXT = {"type": "text", "text": "hello"}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
DOCUMENT = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}, "title": "T"}
SEARCH = {"type": "search_result", "source": "s", "title": "T", "content": [TEXT], "citations": {"enabled": True}}
REFERENCE = {"type": "tool_reference", "tool_name": "lookup"}


class Colour(enum.Enum):
    RED = "red"


class Shade(enum.StrEnum):
    DARK = "dark"


class Model(BaseModel):
    city: str
    when: datetime.date
    share: float = float("nan")


@dataclasses.dataclass
class Point:
    x: int


class Pair(NamedTuple):
    left: int
    right: str


class Named(str):
    def __str__(self) -> str:
        return "another text"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", ""),
        ("text", "text"),
        (Named("text"), "text"),
        (Shade.DARK, "dark"),
        (None, ""),
        (True, "true"),
        (3, "3"),
        (2.5, "2.5"),
        (float("nan"), "null"),
        (float("-inf"), "null"),
        (decimal.Decimal("1.50"), '"1.50"'),
        (datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC), '"2026-01-02T03:04:05Z"'),
        (datetime.timedelta(hours=2), '"PT2H"'),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (pathlib.Path("a/b"), '"a/b"'),
        (Colour.RED, '"red"'),
        ({1}, "[1]"),
        ([], "[]"),
        ({}, "{}"),
        (["a", "b"], '["a","b"]'),
        ((1, None), "[1,null]"),
        ({"a": {1: [float("inf")]}}, '{"a":{"1":[null]}}'),
        (Model(city="é", when=datetime.date(2026, 1, 2)), '{"city":"é","when":"2026-01-02","share":null}'),
        ([Point(1)], '[{"x":1}]'),
        (Pair(1, "a"), '[1,"a"]'),
        ({"type": "text"}, '{"type":"text"}'),
        ({"type": "text", "text": 5}, '{"type":"text","text":5}'),
        ({"type": "document", "id": 7}, '{"type":"document","id":7}'),
        ({"type": ["text"], "": 1}, '{"type":["text"],"":1}'),
        (b"plain", f"5 bytes, sha256 {hashlib.sha256(b'plain').hexdigest()}"),
        (b"", f"0 bytes, sha256 {hashlib.sha256(b'').hexdigest()}"),
        (bytearray(b"ab"), f"2 bytes, sha256 {hashlib.sha256(b'ab').hexdigest()}"),
        (memoryview(b"ab"), f"2 bytes, sha256 {hashlib.sha256(b'ab').hexdigest()}"),
        ("a\0b", "a\ufffdb"),
        ("a\ud800b", "a\ufffdb"),
        ("\ud83d\ude42 \udc00", "🙂 \ufffd"),
        ({"k\ud800": ["\udfff", ("x",), {1}]}, '{"k\ufffd":["\ufffd",["x"],[1]]}'),
    ],
)
def test_text(value: Any, expected: str) -> None:
    assert as_content(value) == expected


@pytest.mark.parametrize("block", [TEXT, IMAGE, DOCUMENT, SEARCH, REFERENCE], ids=lambda block: block["type"])
def test_blocks_pass(block: dict[str, Any]) -> None:
    assert as_content(block) == as_content([block]) == as_content((block,)) == [block]
    [passed] = as_content([block])
    assert isinstance(passed, dict)
    assert passed is not block


@pytest.mark.parametrize(
    ("data", "type_", "media_type"),
    [
        (PNG, "image", "image/png"),
        (b"\xff\xd8\xff\xe0rest", "image", "image/jpeg"),
        (b"GIF87a..", "image", "image/gif"),
        (b"GIF89a..", "image", "image/gif"),
        (b"RIFF\x01\0\0\0WEBPVP8 ", "image", "image/webp"),
        (b"%PDF-1.7 ...", "document", "application/pdf"),
    ],
)
def test_bytes_by_their_magic(data: bytes, type_: str, media_type: str) -> None:
    source = {"type": "base64", "media_type": media_type, "data": base64.b64encode(data).decode()}
    for value in (data, bytearray(data), memoryview(data), [data]):
        assert as_content(value) == [{"type": type_, "source": source}]


def test_a_riff_that_is_no_webp() -> None:
    assert str(as_content(b"RIFF\x01\0\0\0WAVEfmt ")).startswith("16 bytes")


def test_mixed_list() -> None:
    content = as_content(["before", PNG, {"a": 1}, TEXT, " \n", "", b"raw", None, 3])
    assert isinstance(content, list)
    assert [block.get("text", block["type"]) for block in content] == [
        "before",
        "image",
        '{"a":1}',
        "hello",
        f"3 bytes, sha256 {hashlib.sha256(b'raw').hexdigest()}",
        "null",
        "3",
    ]


def test_blocks_are_made_fit_to_send() -> None:
    dirty = {"type": "text", "text": "a\ud800\0", "when": datetime.date(2026, 1, 2), "much": float("inf")}
    content = as_content([dirty])
    assert content == [{"type": "text", "text": "a\ufffd\ufffd", "when": "2026-01-02", "much": None}]
    encode(content)


@pytest.mark.parametrize("value", [object(), [object()], {"a": print}, ValueError("secret"), type, range(3), str.upper])
def test_what_json_has_not(value: Any) -> None:
    with pytest.raises(ToolError) as caught:
        as_content(value)
    assert str(caught.value).startswith(f"The tool returned {type(value).__qualname__}, which can't be sent (")
    assert "0x" not in str(caught.value)


def test_more_that_json_has_not() -> None:
    ring: list[Any] = []
    ring.append(ring)
    with pytest.raises(ToolError, match="The tool returned list"):
        as_content(ring)
    with pytest.raises(ToolError, match="The tool returned dict"):
        as_content({"type": "text", "text": "x", "extra": object()})
    with pytest.raises(ToolError, match="The tool returned dict"):
        as_content({"raw": b"\xff"})


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (PNG + b"\0" * 5 * 1024 * 1024, "image/png of 5,242,896 bytes; at most 5,242,880 can be sent"),
        (b"%PDF-" + b"\0" * 12 * 1024 * 1024, "application/pdf of 12,582,917 bytes; at most 12,582,912"),
    ],
)
def test_too_many_bytes(data: bytes, text: str) -> None:
    with pytest.raises(ToolError, match=text):
        as_content(data)


def test_too_many_blocks() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * (HARD_CAP // 2)}}
    assert as_content([image]) == [image]
    with pytest.raises(ToolError, match=r"content blocks of 16,777,\d\d\d characters"):
        as_content([image, image])


@pytest.mark.parametrize("letter", ["a", "é", "🙂"])
def test_long_text_is_cut_in_the_middle(letter: str) -> None:
    size = len(letter.encode())
    fits = letter * (TEXT_CAP // size)
    assert as_content(fits) == fits
    content = as_content(f"HEAD{letter * TEXT_CAP}TAIL")
    assert isinstance(content, str)
    assert content.startswith("HEAD" + letter)
    assert content.endswith(letter + "TAIL")
    head, note, tail = content.split("\n")
    total = 8 + size * TEXT_CAP
    missing = total - len(head.encode()) - len(tail.encode())
    assert note == f"[… {missing:,} of {total:,} bytes left out …]"
    assert TEXT_CAP - 6 <= len(head.encode()) + len(tail.encode()) <= TEXT_CAP


def test_long_json_is_cut_too() -> None:
    content = as_content(list(range(10**5)))
    assert isinstance(content, str)
    assert content.startswith("[0,1,2,")
    assert content.endswith(",99998,99999]")
    assert len(content) < TEXT_CAP + 100


def test_texts_of_blocks_share_the_cap() -> None:
    short, long = {"type": "text", "text": "x"}, {"type": "text", "text": "y" * TEXT_CAP}
    content = as_content([short, long, IMAGE, long])
    assert isinstance(content, list)
    assert content[0] == short
    assert content[2] == IMAGE
    for block in (content[1], content[3]):
        assert TEXT_CAP // 3 - 1 <= block["text"].count("y") <= TEXT_CAP // 3


@given(text=st.text(st.characters(codec=None)))
def test_any_text_can_be_sent(text: str) -> None:
    for content in (as_content(text), as_content([text, TEXT]), as_content({"x": text})):
        encode(content).decode()
        assert "\0" not in json.dumps(content, ensure_ascii=False)


@pytest.mark.parametrize("letter", ["a", "é", "🙂"])
def test_what_is_long(letter: str) -> None:
    fits = letter * (KEPT_FROM // len(letter.encode()))
    assert not is_long(fits)
    assert is_long(fits + letter)
    assert not is_long([{"type": "text", "text": fits}, IMAGE])
    assert is_long([{"type": "text", "text": fits}, IMAGE, {"type": "text", "text": letter}])
    lines = [{"type": "text", "text": "x" * (KEPT_FROM // 2)}, {"type": "text", "text": "x" * (KEPT_FROM // 2 - 1)}]
    assert not is_long(lines)
    assert is_long([*lines, {"type": "text", "text": ""}])  # between two there is a line break
    assert not is_long([])


def test_what_is_whole_is_refused_or_as_it_is() -> None:
    long = "x" * HARD_CAP
    assert fitted(long, whole=True) is long
    assert fitted(to_content([long[:-100], IMAGE])) != to_content([long[:-100], IMAGE])
    assert fitted(to_content([long[:-1000], IMAGE]), whole=True) == to_content([long[:-1000], IMAGE])
    for value in (f"{long}x", "é" * (HARD_CAP // 2 + 1), [long, IMAGE]):
        with pytest.raises(ToolError, match="at most 16,777,216 can be sent"):
            fitted(to_content(value), whole=True)


# What a generator yields.


def content_of(*values: Any) -> tuple[list[str], Any]:
    pieces = Pieces()
    shown = [pieces.add(value) for value in values]
    assert not pieces.are_enough
    return shown, pieces.content()


@pytest.mark.parametrize(
    ("values", "shown", "content"),
    [
        ([], [], ""),
        (["a", "b\n", "c"], ["a", "b\n", "c"], "ab\nc"),
        ([{"n": 1}, {"n": 2}], ['{"n":1}\n', '{"n":2}\n'], '{"n":1}\n{"n":2}\n'),
        (["a", 1, None, "b"], ["a", "1\n", "null\n", "b"], "a1\nnull\nb"),
        (["\ud800", Shade.DARK], ["\ufffd", "dark"], "\ufffddark"),
        ([IMAGE], [""], [IMAGE]),
        (
            ["a", "b", IMAGE, TEXT, "c"],
            ["a", "b", "", "", "c"],
            [{"type": "text", "text": "ab"}, IMAGE, TEXT, {"type": "text", "text": "c"}],
        ),
        ([b"ab"], [""], [{"type": "text", "text": f"2 bytes, sha256 {hashlib.sha256(b'ab').hexdigest()}"}]),
    ],
)
def test_pieces(values: list[Any], shown: list[str], content: Any) -> None:
    assert content_of(*values) == (shown, content)


def test_a_piece_that_cannot_be_sent() -> None:
    with pytest.raises(ToolError, match="The tool returned object"):
        Pieces().add(object())


@pytest.mark.parametrize("piece", ["x" * 1_000_000, {"type": "text", "text": "x" * 1_000_000}])
def test_pieces_are_enough_at_the_cap(piece: Any) -> None:
    pieces = Pieces()
    added = 0
    for item in itertools.repeat(piece):
        pieces.add(item)
        added += 1
        if pieces.are_enough:
            break
    assert added == 17
    content = fitted(pieces.content())
    text = content if isinstance(content, str) else content[-1]["text"]
    assert text.endswith("[… stopped after 16,777,216 bytes …]")
    assert len(json.dumps(content)) < TEXT_CAP + 5000


@pytest.mark.parametrize(("side", "fits"), [(8000, True), (8001, False)])
def test_X10_an_image_that_the_api_would_refuse_is_told(side: int, fits: bool) -> None:
    data = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + side.to_bytes(4, "big") + (1).to_bytes(4, "big") + b"\x08" * 9
    if fits:
        assert as_content(data)[0]["type"] == "image"  # type: ignore[index]
    else:
        with pytest.raises(ToolError, match="more than 8,000 pixels on a side"):
            as_content(data)
