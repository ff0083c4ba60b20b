"""Images and documents as content blocks."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.errors import ConfigurationError
from agentkit.media import document, image, media_type_of

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 8
PDF = b"%PDF-1.7 ..."
KINDS = {
    PNG: "image/png",
    b"\xff\xd8\xff\xe0rest": "image/jpeg",
    b"GIF87a..": "image/gif",
    b"GIF89a..": "image/gif",
    b"RIFF\x01\0\0\0WEBPVP8 ": "image/webp",
}
MIB = 1024 * 1024


def base64_source(data: bytes, media_type: str) -> dict[str, Any]:
    return {"type": "base64", "media_type": media_type, "data": base64.b64encode(data).decode()}


@pytest.mark.parametrize(("data", "media_type"), KINDS.items())
def test_images(tmp_path: Path, data: bytes, media_type: str) -> None:
    path = tmp_path / "photo"
    path.write_bytes(data)
    block = {"type": "image", "source": base64_source(data, media_type)}
    assert image(path) == image(str(path)) == image(data) == block
    assert media_type_of(data) == media_type


def test_a_media_type_that_is_given_wins() -> None:
    assert image(b"odd", media_type="image/png")["source"] == base64_source(b"odd", "image/png")
    assert document(b"junk %PDF-", media_type="application/pdf")["source"] == base64_source(
        b"junk %PDF-", "application/pdf"
    )
    assert document(PDF, media_type="text/plain")["source"]["data"] == PDF.decode()


@pytest.mark.parametrize("address", ["https://example.com/a.png", "HTTPS://example.com/a.png?b=c"])
def test_addresses(address: str) -> None:
    assert image(address) == {"type": "image", "source": {"type": "url", "url": address}}
    assert document(address) == {"type": "document", "source": {"type": "url", "url": address}}


def test_uploaded_files() -> None:
    source = {"type": "file", "file_id": "file_1"}
    assert image(file_id="file_1") == {"type": "image", "source": source}
    assert document(file_id="file_1", title="T") == {"type": "document", "source": source, "title": "T"}


def test_documents(tmp_path: Path) -> None:
    path = tmp_path / "paper.pdf"
    path.write_bytes(PDF)
    assert document(path) == {"type": "document", "source": base64_source(PDF, "application/pdf")}
    text = {"type": "text", "media_type": "text/plain", "data": "Grüße\n"}
    assert document("\ufeffGrüße\n".encode(), title="T", context="C", citations=True) == {
        "type": "document",
        "source": text,
        "title": "T",
        "context": "C",
        "citations": {"enabled": True},
    }


@given(text=st.text(st.characters(codec="utf-8")))
def test_any_text_stays_as_it_is(text: str) -> None:
    if not text.strip() or "\0" in text:
        with pytest.raises(ConfigurationError):
            document(text.encode())
    elif media_type_of(text.encode()) is None:
        assert document(text.encode())["source"]["data"] == text.removeprefix("\ufeff")


@pytest.mark.parametrize(
    ("make", "arguments", "text"),
    [
        (image, {}, "image: give either a path, bytes or an https address, or file_id="),
        (document, {"source": PDF, "file_id": "file_1"}, "document: give either a path"),
        (image, {"source": 3}, "image: give a path, bytes or an https address, not int"),
        (image, {"source": "http://a.b/c.png"}, "image http://a.b/c.png: the API fetches https addresses only"),
        (image, {"source": "https://a.b/c", "media_type": "image/png"}, "image https://a.b/c: media_type= is for"),
        (image, {"file_id": "file_1", "media_type": "image/png"}, "image file_1: media_type= is for paths and bytes"),
        (image, {"source": PDF}, r"image \(bytes\) is a PDF: use document\(…\)"),
        (image, {"source": b"BM.."}, r"image \(bytes\) is no PNG, JPEG, GIF or WebP: convert it, or give media_type="),
        (image, {"source": b""}, r"image \(bytes\) is empty"),
        (document, {"source": PNG}, r"document \(bytes\) is an image: use image\(…\)"),
        (document, {"source": b"\xff\xfe"}, r"document \(bytes\) is neither a PDF nor text in UTF-8"),
        (document, {"source": b"a\0b"}, r"document \(bytes\) is neither a PDF nor text in UTF-8"),
        (document, {"source": b" \n"}, r"document \(bytes\) is empty"),
        (image, {"source": "a\0b"}, "image .* can't be read: .*null"),
        (image, {"source": "x" * 5000}, r"^image 'x{99}… can't be read: File name too long$"),
        (image, {"source": PNG + b"\0" * 10 * MIB}, r"image \(bytes\) has 10,485,776 bytes, and at most 7,864,320 can"),
        (document, {"source": PDF + b"\0" * 24 * MIB}, r"has 25,165,836 bytes, and at most 25,165,824 can be sent"),
        (document, {"source": b"x" * (32 * MIB + 1)}, r"has 33,554,433 bytes, and at most 33,554,432 can be sent"),
    ],
    ids=lambda value: None if isinstance(value, str) else "",
)
def test_what_is_refused(make: Any, arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text) as caught:
        make(**arguments)
    assert "\n" not in str(caught.value)


def test_files_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"image '.*none\.png' can't be read: No such file"):
        image(tmp_path / "none.png")
    with pytest.raises(ConfigurationError, match="can't be read: Is a directory"):
        document(tmp_path)
    large = tmp_path / "large.png"
    large.touch()
    os.truncate(large, 1 << 40)  # it has no blocks on the disk, and it is not read
    with pytest.raises(ConfigurationError, match=r"large\.png' has 1,099,511,627,776 bytes, and at most"):
        image(large)


def test_the_largest_that_fits() -> None:
    assert len(image(PNG + b"\0" * (10 * MIB * 3 // 4 - len(PNG)))["source"]["data"]) == 10 * MIB
    assert len(document(PDF + b"\0" * (24 * MIB - len(PDF)))["source"]["data"]) == 32 * MIB
