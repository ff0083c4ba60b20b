"""One page over real HTTP and TLS on loopback: redirects, caps, time, and what broken servers do."""

from __future__ import annotations

import gzip
import itertools
import socket
import ssl
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import httpcore
import pytest
from web_table import PUBLIC
from web_world import Answer, World, serving

from agentkit import ToolError
from agentkit_tools.web_address import Guard, parse_address
from agentkit_tools.web_transport import Page, get

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
MB = 1024 * 1024
LETTERS = b"The quick brown fox jumps over the lazy dog. " * 50


@contextmanager
def raw(serve: Callable[[socket.socket], None]) -> Iterator[Any]:
    """A server that does to each connection what `serve` does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def loop() -> None:
            with suppress(OSError):
                while True:
                    opened, _ = listener.accept()
                    with opened, suppress(OSError):
                        opened.recv(65536)
                        serve(opened)

        thread = threading.Thread(target=loop, daemon=True)
        thread.start()
        yield SimpleNamespace(port=listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def world_of(server: Any) -> World:
    return World(server, server, {PUBLIC}, {"example.com": [PUBLIC], "other.example": [PUBLIC]})


async def fetch(net: World, path: str = "/", **options: Any) -> Page:
    return await get(parse_address(f"http://example.com{path}"), Guard(resolve=net.resolve), network=net, **options)


async def answered(status: int, headers: Mapping[str, str], body: bytes) -> Page:
    with serving(lambda path, asked: (status, headers, body)) as server:
        return await fetch(world_of(server))


async def fails(text: str, status: int = 200, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
    with pytest.raises(ToolError, match=text):
        await answered(status, headers or {}, body)


async def sent(body: bytes, encoding: str) -> bytes:
    return (await answered(200, {"content-encoding": encoding}, body)).data


@pytest.mark.parametrize(
    "target", ["/9", "9", "//example.com/9", "http://example.com/9", "?9", "http://other.example/9"]
)
async def test_redirects(target: str) -> None:
    def answer(path: str, headers: Mapping[str, str]) -> Answer:
        return (302, {"location": target, "set-cookie": "a=1"}, b"") if path == "/" else (200, {}, path.encode())

    with serving(answer) as server:
        page = await fetch(world_of(server))
    assert page.data == (b"/?9" if target == "?9" else b"/9")
    assert page.address.host == ("other.example" if "other" in target else "example.com")
    assert all(not asked.keys() & {"cookie", "authorization", "referer"} for _, asked in server.asked)


async def test_a_redirect_in_utf8() -> None:
    def answer(path: str, headers: Mapping[str, str]) -> Answer:
        return (302, {"location": "/ä".encode().decode("latin-1")}, b"") if path == "/" else (200, {}, path.encode())

    with serving(answer) as server:
        assert (await fetch(world_of(server))).data == b"/%C3%A4"


async def test_at_most_five_redirects() -> None:
    def answer(path: str, headers: Mapping[str, str]) -> Answer:
        left = int(path[1:])
        return (301, {"location": f"/{left - 1}"}, b"") if left else (200, {}, b"there")

    with serving(answer) as server:
        assert (await fetch(world_of(server), "/5")).data == b"there"
        with pytest.raises(ToolError, match="redirects more than 5 times"):
            await fetch(world_of(server), "/6")


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://example.com/", "http://example.com:22/", "http://a@b/", "/\\x"]
)
async def test_redirects_that_are_not_followed(target: str) -> None:
    with serving(lambda path, asked: (302, {"location": target}, b"")) as server, pytest.raises(ToolError):
        await fetch(world_of(server))
    assert server.connections == 1


async def test_origins_hold_for_redirects() -> None:
    with serving(lambda path, asked: (302, {"location": "http://other.example/"}, b"")) as server:
        net = world_of(server)
        guard = Guard(["http://example.com"], resolve=net.resolve)
        with pytest.raises(
            ToolError, match=r"http://other\.example may not be fetched, only these: http://example\.com"
        ):
            await get(parse_address("http://example.com"), guard, network=net)
    assert server.connections == 1


@pytest.mark.parametrize("status", [404, 500, 204 + 100, 302, 799])
async def test_statuses(status: int) -> None:
    await fails(f"example.com answered {status}", status)


async def test_packed_bodies() -> None:
    assert await sent(gzip.compress(LETTERS, mtime=0), "gzip") == LETTERS
    assert await sent(gzip.compress(LETTERS, mtime=0), "X-GZIP") == LETTERS
    assert await sent(zlib.compress(LETTERS), "deflate") == LETTERS
    bare = zlib.compressobj(wbits=-15)
    assert await sent(bare.compress(LETTERS) + bare.flush(), "deflate") == LETTERS
    assert await sent(LETTERS, "identity") == LETTERS
    assert await sent(b"", "gzip") == b""


BOMBS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "zeros": ("gzip", lambda: gzip.compress(bytes(5 * MB)), "unpacks to more than 100 times"),
    "many": ("gzip", lambda: gzip.compress(bytes(100 * MB), 1), "unpacks to more than 100 times|larger than 10 MB"),
    "deflate": ("deflate", lambda: zlib.compress(bytes(50 * MB), 9), "unpacks to more than 100 times"),
    "large": ("gzip", lambda: gzip.compress(b"".join(b"%d " % n for n in range(2 * MB)), 1), "larger than 10 MB"),
    "short": ("gzip", lambda: gzip.compress(LETTERS)[:-9], "its end is missing"),
    "none": ("gzip", lambda: b"no gzip at all", "damaged"),
    "twice": ("gzip, gzip", lambda: gzip.compress(gzip.compress(bytes(MB))), "not supported"),
    "brotli": ("br", lambda: b"x", "not supported"),
    "plain": ("identity", lambda: bytes(11 * MB), "larger than 10 MB"),
}


@pytest.mark.parametrize("bomb", BOMBS)
async def test_bombs(bomb: str) -> None:
    encoding, body, text = BOMBS[bomb]
    await fails(text, 200, {"content-encoding": encoding}, body())


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def endless(opened: socket.socket) -> None:
    opened.sendall(CHUNKED)
    for _ in itertools.count():
        opened.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")


def drips(opened: socket.socket) -> None:
    opened.sendall(CHUNKED)
    while True:
        opened.sendall(b"1\r\nx\r\n")
        threading.Event().wait(0.02)


def waits(opened: socket.socket) -> None:
    opened.recv(1)


@pytest.mark.parametrize(
    ("serve", "text"),
    [
        (endless, "larger than 10 MB"),
        (drips, "did not send the page within 0.6 seconds"),
        (waits, "did not send the page within 0.6 seconds"),
        (lambda opened: opened.sendall(b"SSH-2.0-OpenSSH\r\n"), "speaks no HTTP"),
        (lambda opened: opened.sendall(CHUNKED + b"10\r\nhalf"), "broke the connection off"),
        (lambda opened: opened.sendall(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000), "speaks no HTTP"),
        (lambda opened: opened.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 50_000), "broke the connection off|within"),
        (lambda opened: None, "broke the connection off"),
    ],
)
async def test_servers_that_misbehave(serve: Callable[[socket.socket], None], text: str) -> None:
    with raw(serve) as server, pytest.raises(ToolError, match=text):
        await fetch(world_of(server), seconds=0.6 if "0.6" in text else 30)


async def test_all_of_an_address_are_tried_and_dead_ones_are_said_so() -> None:
    class Dead(World):
        async def connect_tcp(self, host: str, *args: Any, **options: Any) -> httpcore.AsyncNetworkStream:
            if host != PUBLIC:
                raise httpcore.ConnectError("refused")
            return await super().connect_tcp(host, *args, **options)

    with serving(lambda path, asked: (200, {}, b"hello")) as server:
        net = Dead(server, server, {PUBLIC}, {"example.com": ["8.8.4.4", "2620:fe::fe", PUBLIC]})
        assert (await fetch(net)).data == b"hello"
        net.names["example.com"] = ["8.8.4.4"]
        with pytest.raises(ToolError, match=r"example\.com can't be reached"):
            await fetch(net)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Of example.com, signed by itself, and its key."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-days", "2", "-subj", "/CN=example.com", "-addext", "subjectAltName=DNS:example.com"]
    try:
        subprocess.run([*command, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no openssl to make a certificate with")
    return certificate, key


async def test_the_name_is_kept_for_tls_and_host(certificate: tuple[Path, Path]) -> None:
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.sni_callback = lambda sock, name, context: asked.append(name)  # type: ignore[assignment]
    trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusted.load_verify_locations(certificate[0])
    with serving(lambda path, headers: (200, {}, headers["host"].encode()), tls=context) as server:
        net = world_of(server)
        guard = Guard(resolve=net.resolve)
        page = await get(parse_address("https://example.com/"), guard, network=net, tls=trusted)
        assert (page.data, asked, net.reached) == (b"example.com", ["example.com"], [PUBLIC])
        for url, tls in (("https://other.example/", trusted), ("https://example.com/", None)):
            with pytest.raises(ToolError, match="no valid certificate"):
                await get(parse_address(url), guard, network=net, tls=tls)


async def test_no_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        serving(lambda path, asked: (200, {}, b"proxied")) as proxy,
        serving(lambda path, asked: (200, {}, b"hello")) as it,
    ):
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert (await fetch(world_of(it))).data == b"hello"
    assert proxy.connections == 0


async def test_cancelled() -> None:
    with raw(drips) as server:
        with anyio.move_on_after(0.2) as scope:
            await fetch(world_of(server))
        assert scope.cancelled_caught
