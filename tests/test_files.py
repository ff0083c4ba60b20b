"""Files: uploads that stream from the disk, downloads that stream to the caller, and the blocks that name a file."""

from __future__ import annotations

import os
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from scripted import Json, Raw, Request, ScriptedServer, error
from sending import HTTP, client_for

from agentkit.errors import BadRequestError, ConfigurationError, InternalServerError, ProtocolError, StreamTruncated
from agentkit.files import File

pytestmark = pytest.mark.anyio
http_kinds = pytest.mark.parametrize("kind", HTTP)
PDF = b"%PDF-1.7\r\n\x00\xff ... the end\r\n"
FILE = {
    "id": "file_1",
    "type": "file",
    "filename": "a.pdf",
    "mime_type": "application/pdf",
    "size_bytes": 1000,
    "created_at": "2026-11-22T10:00:00Z",
    "downloadable": False,
    "expires_at": None,
    "scope": "later",
}


def part(request: Request) -> tuple[dict[str, str], bytes]:
    """Headers and content of the one part of a form."""
    boundary = request.headers["content-type"].partition("boundary=")[2].encode()
    _, found, rest = request.body.split(b"--" + boundary)
    assert rest == b"--\r\n"
    head, content = found.removeprefix(b"\r\n").removesuffix(b"\r\n").split(b"\r\n\r\n", 1)
    return dict(line.split(": ", 1) for line in head.decode().lower().splitlines()), content


# Uploads


@http_kinds
@pytest.mark.parametrize("as_path", [True, False])
async def test_upload(kind: str, as_path: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(PDF)
    with ScriptedServer([Json(FILE)]) as server:
        async with client_for(kind, server.url) as client:
            made = await (client.files.upload(path) if as_path else client.files.upload(PDF, filename="a.pdf"))
    assert made == File.from_wire(FILE)
    assert (made.id, made.filename, made.mime_type, made.size_bytes) == ("file_1", "a.pdf", "application/pdf", 1000)
    assert (made.downloadable, made.created_at, made.expires_at) == (False, FILE["created_at"], None)
    assert made.raw["scope"] == "later"
    request = server.requests[0]
    assert (request.method, request.path) == ("POST", "/v1/files")
    assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert int(request.headers["content-length"]) == len(request.body)
    headers, content = part(request)
    assert content == PDF
    assert headers == {
        "content-disposition": 'form-data; name="file"; filename="a.pdf"',
        "content-type": "application/pdf",
    }


@pytest.mark.parametrize(
    ("data", "filename", "media_type", "expected"),
    [
        (b"a,b\n", "t.csv", None, "text/csv"),
        (b"hello", "t.txt", None, "text/plain"),
        (b"hello", "t", None, "application/octet-stream"),
        (b"\x89PNG\r\n\x1a\nrest", "t.txt", None, "image/png"),
        (b"hello", "t.txt", "x/y", "x/y"),
    ],
)
async def test_media_types(data: bytes, filename: str, media_type: str | None, expected: str) -> None:
    with ScriptedServer([Json(FILE)]) as server:
        async with client_for("own", server.url) as client:
            await client.files.upload(data, filename=filename, media_type=media_type)
    assert part(server.requests[0])[0]["content-type"] == expected


async def test_a_path_is_not_loaded_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hole of 200 MiB in a file costs no memory; what is read at a time is small."""
    path = tmp_path / "large.bin"
    path.touch()
    os.truncate(path, 200 << 20)
    sizes: list[int] = []

    async def ask(self: Any, method: str, path: str, body: Any = None, **how: Any) -> Any:
        content = how["files"]["file"][1]
        sizes.append(len(content.read(10)))
        assert (content.tell(), os.fstat(content.fileno()).st_size) == (10, 200 << 20)
        return FILE

    monkeypatch.setattr("agentkit.endpoint.Endpoint.ask", ask)
    async with client_for("own", "http://127.0.0.1:9") as client:
        await client.files.upload(path, filename="b.bin")
    assert sizes == [10]


@http_kinds
async def test_a_large_upload(kind: str, tmp_path: Path) -> None:
    data = os.urandom(1 << 20) * 4
    path = tmp_path / "large.bin"
    path.write_bytes(data)
    with ScriptedServer([Json(FILE)]) as server:
        async with client_for(kind, server.url) as client:
            await client.files.upload(str(path))
    headers, content = part(server.requests[0])
    assert content == data
    assert 'filename="large.bin"' in headers["content-disposition"]


async def test_an_upload_is_not_sent_again() -> None:
    with ScriptedServer([error(500, "api_error", request_id="req_3")]) as server:
        async with client_for("own", server.url) as client:
            with pytest.raises(InternalServerError) as caught:
                await client.files.upload(PDF, filename="a.pdf")
        server.assert_done()
    assert caught.value.request_id == "req_3"


async def test_what_is_refused_before_sending(tmp_path: Path) -> None:
    empty, large = tmp_path / "empty", tmp_path / "large"
    empty.touch()
    large.touch()
    os.truncate(large, (500 << 20) + 1)
    cases: list[tuple[Any, dict[str, str], str]] = [
        (PDF, {}, "upload of bytes: give filename="),
        (b"", {"filename": "a"}, "upload of 'a': it is empty"),
        (empty, {}, "upload of 'empty': it is empty"),
        (large, {}, "it has 524,288,001 bytes, and at most 524,288,000 can be"),
        (tmp_path / "none", {}, "it can't be read: No such file or directory"),
        (tmp_path, {}, "it can't be read: Is a directory"),
        ("a\0b", {}, "it can't be read: .*null"),
        (3, {}, "upload: give a path or bytes, not int"),
    ]
    async with client_for("own", "http://127.0.0.1:9") as client:
        for source, options, text in cases:
            with pytest.raises(ConfigurationError, match=text) as caught:
                await client.files.upload(source, **options)
            assert "\n" not in str(caught.value)


async def test_names_that_would_break_the_form() -> None:
    with ScriptedServer([Json(FILE)]) as server:
        async with client_for("own", server.url) as client:
            await client.files.upload(PDF, filename='a"\r\nX-Evil: 1\r\n\r\nü.pdf')
    headers, content = part(server.requests[0])
    assert content == PDF
    assert "x-evil" not in headers


# The others


async def test_list_get_delete() -> None:
    pages = [{"data": [FILE], "next_page": "page_2"}, {"data": [{**FILE, "id": "file_2"}], "next_page": None}]
    deleted = {"id": "file_1", "type": "file_deleted"}
    with ScriptedServer([*map(Json, pages), Json(FILE), Json(deleted), Json([])]) as server:
        async with client_for("own", server.url) as client:
            assert [file.id async for file in client.files.list()] == ["file_1", "file_2"]
            assert (await client.files.get("file_1")).filename == "a.pdf"
            await client.files.delete("file_1")
            with pytest.raises(ProtocolError, match="no file"):
                await client.files.get("file_1")
    shown = [(request.method, request.path) for request in server.requests[:4]]
    assert shown == [
        ("GET", "/v1/files?limit=100"),
        ("GET", "/v1/files?limit=100&page=page_2"),
        ("GET", "/v1/files/file_1"),
        ("DELETE", "/v1/files/file_1"),
    ]


@http_kinds
async def test_download(kind: str) -> None:
    data = os.urandom(200_000)
    with ScriptedServer([Raw(200, {}, data, chunk=10_000)]) as server:
        async with client_for(kind, server.url) as client:
            chunks = [chunk async for chunk in client.files.download("file_1")]
    assert b"".join(chunks) == data
    assert len(chunks) > 1
    assert server.requests[0].path == "/v1/files/file_1/content"


async def test_downloads_that_fail() -> None:
    refused = error(400, "invalid_request_error", "File is not downloadable", request_id="req_4")
    with ScriptedServer(
        [refused, Raw(200, {}, b"abc", cut=1, end="close"), Raw(200, {}, b"abc", cut=1, end="stall")]
    ) as server:
        async with client_for("own", server.url) as client:
            with pytest.raises(BadRequestError, match="not downloadable") as caught:
                await anext(client.files.download("file_1"))
            with pytest.raises(StreamTruncated):
                [chunk async for chunk in client.files.download("file_1")]
            async with aclosing(client.files.download("file_1")) as chunks:
                assert await anext(chunks) == b"a"
    assert caught.value.request_id == "req_4"


def test_blocks() -> None:
    file = File(id="file_1")
    source = {"type": "file", "file_id": "file_1"}
    assert file.document() == {"type": "document", "source": source}
    assert file.document(title="T", context="C", citations=True) == {
        "type": "document",
        "source": source,
        "title": "T",
        "context": "C",
        "citations": {"enabled": True},
    }
    assert file.image() == {"type": "image", "source": source}
    assert file.container_upload() == {"type": "container_upload", "file_id": "file_1"}
