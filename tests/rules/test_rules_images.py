"""How large images are, and which are too large."""

from __future__ import annotations

import base64
import struct
from types import ModuleType
from typing import Any

import pytest
from bodies import Body, said
from histories import call, result

from agentkit.image_size import sides
from agentkit.rules import Problem, check_request

HARD = "At least one of the image dimensions exceed max allowed size: 8000 pixels"
MANY = "At least one of the image dimensions exceed max allowed size for many-image requests: 2000 pixels"


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + bytes(9)


def jpeg(width: int, height: int) -> bytes:
    app = b"\xff\xe0\0\x04ab"
    table = b"\xff\xc4\0\x05abc"
    return b"\xff\xd8" + app + table + b"\xff\xc2\0\x11\x08" + struct.pack(">HH", height, width) + bytes(9)


def webp(kind: bytes, rest: bytes) -> bytes:
    return b"RIFF\0\0\0\0WEBP" + kind + b"\0\0\0\0" + rest + bytes(9)


def image(data: bytes, kind: str = "image/png") -> Body:
    source = {"type": "base64", "media_type": kind, "data": base64.b64encode(data).decode()}
    return {"type": "image", "source": source}


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (png(3, 9000), (3, 9000)),
        (jpeg(640, 480), (640, 480)),
        (b"GIF89a" + struct.pack("<HH", 7, 5) + bytes(9), (7, 5)),
        (webp(b"VP8X", bytes(4) + b"\x0f\0\0\x1f\0\0"), (16, 32)),
        (webp(b"VP8L", b"\x2f" + struct.pack("<I", 15 | 31 << 14)), (16, 32)),
        (webp(b"VP8 ", bytes(6) + struct.pack("<HH", 16, 32)), (16, 32)),
        (webp(b"LATE", b""), None),
        (b"\xff\xd8\xff\xe0\0\x04ab", None),
        (b"\xff\xd8nothing that it knows", None),
        (b"\x89PNG", None),
        (b"", None),
        (b"BM of another format", None),
    ],
)
def test_the_size_is_in_the_first_bytes(data: bytes, size: tuple[int, int] | None) -> None:
    assert sides(base64.b64encode(data).decode()) == size


def test_what_is_no_base64_has_no_size() -> None:
    assert sides("=a==") is sides("é" * 8) is None


def test_an_image_has_at_most_so_many_pixels() -> None:
    path = "messages.0.content.1.image.source.base64.data"
    wide = said(image(png(8000, 1)), image(jpeg(8001, 1), "image/jpeg"))
    assert check_request(wide) == [Problem("image_size", path, f"{path}: {HARD}")]


def test_of_many_each_has_fewer() -> None:
    inside = result("t1", content=[image(png(2001, 1))])
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": [image(png(2000, 2000))] * 19},
        {"role": "assistant", "content": [call("t1")]},
        {"role": "user", "content": [inside]},
    ]
    assert check_request({"model": "m", "max_tokens": 1, "messages": messages}) == []
    messages[2]["content"].append({"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}})
    path = "messages.2.content.0.tool_result.content.0.image.source.base64.data"
    problems = check_request({"model": "m", "max_tokens": 1, "messages": messages})
    assert problems == [Problem("image_size", path, f"{path}: {MANY}")]


@pytest.mark.recordings
def test_recorded_images_have_a_size(recordings: ModuleType) -> None:
    seen = [
        sides(block["source"]["data"])
        for exchange in recordings.messages()
        if isinstance(exchange["request_body"], dict)
        for message in exchange["request_body"]["messages"]
        for block in (message["content"] if isinstance(message["content"], list) else [])
        if block["type"] == "image" and block["source"]["type"] == "base64"
    ]
    assert len(seen) > 50
    assert sum(size is not None for size in seen) > 50
