"""Pages as a model gets them, paging, and a search with an engine of the host's."""

from __future__ import annotations

import base64
import json
import struct
import sys
import time
import zlib
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpcore
import pytest
from web_table import PUBLIC
from web_world import Answer, Server, World, serving

from agentkit import Agent, Client, ConfigurationError, ToolError
from agentkit.emulator import Emulator, reply, text, tool_use
from agentkit.tools import InvalidInput
from agentkit_tools.cited import paragraphs, search_result
from agentkit_tools.web import searxng, web

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

PARAGRAPH = "Lighthouses of the north coast were lit with oil until the winter of 1911, as the keepers' books say. "
HTML = f"""<!doctype html><html><head><title>Lighthouses</title><meta charset=utf-8></head><body>
<nav><a href="/">Home</a> <a href="/login">Log in</a></nav>
<article><h1>Lighthouses</h1><p>{PARAGRAPH * 3}</p><p>{PARAGRAPH * 2} See <a href="/keepers">the keepers</a>.</p>
<table><tr><th>Name</th><th>Metres</th></tr><tr><td>Skerry</td><td>42</td></tr></table></article>
<script>alert(1)</script><footer>Imprint and cookies</footer></body></html>"""


def png(width: int = 2, height: int = 2) -> bytes:
    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"".join(b"\0" + bytes(3 * width) for _ in range(height)))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", rows) + part(b"IEND", b"")


PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n%%EOF"
LONG = "".join(f"Line {number} of a long text.\n" for number in range(5000))
FILES: dict[str, tuple[str, bytes]] = {
    "/page": ("text/html; charset=utf-8", HTML.encode()),
    "/sniffed": ("", HTML.encode()),
    "/latin": ("text/html; charset=iso-8859-1", HTML.replace("oil", "Öl").encode("latin-1")),
    "/odd-charset": ("text/plain; charset=hex", "Grüße".encode()),
    "/json": ("application/json", b'{"a": [1, 2]}'),
    "/text": ("text/plain", "Grüße".encode()),
    "/long": ("text/plain", LONG.encode()),
    "/png": ("image/png", png()),
    "/pdf": ("application/octet-stream", PDF),
    "/no-png": ("image/png", b"hello"),
    "/zip": ("application/zip", b"PK\3\4"),
    "/binary": ("", b"\x7fELF\0\0"),
    "/empty": ("text/html", b""),
    "/script": ("text/html", b"<html><body><script>render()</script></body></html>"),
    "/slow": ("text/html", b"<html><head><title>Slow</title></head><body>" + b"<p>a line" * 50_000),
    "/huge": ("text/html", b"<html><head><title>Huge</title></head><body>" + b"<p>One more line.</p>" * 40_000),
}


def answer(path: str, headers: Mapping[str, str]) -> Answer:
    content_type, body = FILES.get(path, ("", None)) if path in FILES else ("", None)
    return (404, {}, b"") if body is None else (200, {"content-type": content_type} if content_type else {}, body)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(answer) as running:
        yield running


async def fetch(server: Server, path: str, *, start: int = 0, **options: Any) -> Any:
    """The tool itself, over real sockets: the host has allowed loopback."""
    origin = f"http://127.0.0.1:{server.port}"
    (tool,) = web(origins=[origin], allow_addresses=["127.0.0.0/8"], **options)
    return await tool(f"{origin}{path}", start)


async def markdown(server: Server, path: str, **options: Any) -> str:
    block = await fetch(server, path, **options)
    return "\n\n".join(part["text"] for part in block["content"])


async def test_a_page_is_readable_markdown_that_is_cited(server: Server) -> None:
    block = await fetch(server, "/page")
    assert (block["type"], block["title"], block["citations"]) == ("search_result", "Lighthouses", {"enabled": True})
    assert block["source"] == f"http://127.0.0.1:{server.port}/page"
    whole = "\n\n".join(part["text"] for part in block["content"])
    assert whole.startswith("# Lighthouses\n")
    assert f"[the keepers](http://127.0.0.1:{server.port}/keepers)" in whole
    assert "| Skerry | 42 |" in whole
    assert not [word for word in ("Log in", "cookies", "alert") if word in whole]


async def test_without_citations_it_is_text(server: Server) -> None:
    block = await fetch(server, "/page", citations=False)
    assert block["type"] == "text"
    assert block["text"].startswith(f"# Lighthouses\nhttp://127.0.0.1:{server.port}/page\n\n# Lighthouses\n")


async def test_other_types(server: Server) -> None:
    assert "Skerry" in await markdown(server, "/sniffed")
    assert "with Öl until" in await markdown(server, "/latin")
    assert await markdown(server, "/json") == '{"a": [1, 2]}'
    assert await markdown(server, "/text") == "Grüße"
    assert await markdown(server, "/odd-charset") == "Grüße"
    huge = await fetch(server, "/huge")
    assert (huge["title"], huge["content"][0]["text"][:14]) == ("Huge", "One more line.")
    image, document = await fetch(server, "/png"), await fetch(server, "/pdf")
    assert (image["type"], base64.b64decode(image["source"]["data"])) == ("image", png())
    assert (document["type"], document["source"]["media_type"]) == ("document", "application/pdf")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/zip", "That is application/zip, which can't be read"),
        ("/binary", "That is application/octet-stream, which can't be read"),
        ("/no-png", "The file can't be shown"),
        ("/empty", "The page has no text"),
        ("/script", "made by scripts"),
        ("/missing", r"127\.0\.0\.1 answered 404 \(Not Found\)"),
    ],
)
async def test_what_can_not_be_shown(path: str, told: str, server: Server) -> None:
    with pytest.raises(ToolError, match=told):
        await fetch(server, path)


async def test_a_long_text_comes_in_parts(server: Server) -> None:
    found, start = "", 0
    for _ in range(10):
        part = (await fetch(server, "/long", start=start, citations=False))["text"].partition("\n\n")[2]
        shown, _, more = part.partition("\n\n[… ")
        found += shown.rstrip("\n") + "\n"
        if not more:
            break
        start = int(more.partition("start=")[2].partition(" ")[0])
    assert found == LONG
    with pytest.raises(ToolError, match="start must be less"):
        await fetch(server, "/long", start=len(LONG))


async def test_loopback_is_refused_unless_the_host_allows_it(server: Server) -> None:
    (tool,) = web(origins=[f"http://127.0.0.1:{server.port}"])
    before = server.connections
    with pytest.raises(ToolError, match=r"127\.0\.0\.1 is not on the public internet"):
        await tool(f"http://127.0.0.1:{server.port}/text")
    assert server.connections == before


async def test_a_page_made_to_be_slow_is_not(server: Server) -> None:
    began = time.monotonic()
    block = await fetch(server, "/slow")
    assert (block["title"], block["content"][0]["text"][:6]) == ("Slow", "a line")
    assert time.monotonic() - began < 10


async def test_without_trafilatura(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trafilatura", None)
    with pytest.raises(ToolError, match=r"agentkit-loop\[web\]"):
        await fetch(server, "/page")
    assert await markdown(server, "/text") == "Grüße"


def test_definitions() -> None:
    async def engine(query: str) -> list[tuple[str, str, str]]:
        return []

    search, fetch = web(engine)
    assert (search.name, fetch.name) == ("web_search", "web_fetch")
    assert search.effect == fetch.effect == {"read", "net", "untrusted"}
    assert not fetch.is_read  # what others wrote does not come in early
    assert all(it["description"] for one in (search, fetch) for it in one.input_schema["properties"].values())
    with pytest.raises(InvalidInput):
        fetch.validate({"url": "https://example.com", "start": -1})
    with pytest.raises(ConfigurationError, match="give an async function"):
        web(lambda query: [])  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigurationError, match="too large"):
        web(allow_addresses=["0.0.0.0/0"])


async def test_search() -> None:
    async def engine(query: str) -> list[tuple[str, str, str]]:
        return [(f"Result {n}", f"https://example.com/{n}", f"About {query}. " * 1000) for n in range(30)]

    blocks = await web(engine)[0]("oil lamps")
    assert len(blocks) == 10
    assert (blocks[0]["type"], blocks[0]["source"]) == ("search_result", "https://example.com/0")
    assert sum(len(part["text"]) for part in blocks[0]["content"]) <= 4000
    assert (await web(engine, citations=False)[0]("oil"))[9]["text"].startswith("# Result 9\nhttps://example.com/9\n\n")

    async def nothing(query: str) -> list[tuple[str, str, str]]:
        return []

    assert await web(nothing)[0]("oil") == "Nothing was found for: oil"


async def test_searxng() -> None:
    def answer(path: str, headers: Mapping[str, str]) -> Answer:
        asked = parse_qs(urlsplit(path).query)
        if asked["q"] == ["forbidden"]:
            return 403, {}, b""
        if asked["q"] == ["broken"]:
            return 200, {}, b"<html>"
        found = [
            {"title": "Lamps", "url": "https://example.com/", "content": "Oil.", "score": 1},
            {"title": "B", "url": "b:"},
        ]
        return (
            200,
            {},
            json.dumps({"query": asked["q"][0], "results": found if asked["format"] == ["json"] else []}).encode(),
        )

    with serving(answer) as instance:
        engine = searxng(f"http://127.0.0.1:{instance.port}/")
        assert list(await engine("oil & lamps")) == [("Lamps", "https://example.com/", "Oil."), ("B", "b:", "")]
        search = web(engine)[0]
        assert [block["content"][0]["text"] for block in await search("oil")] == ["Oil.", "B"]
        with pytest.raises(ToolError, match="`formats` in its settings"):
            await search("forbidden")
        with pytest.raises(ToolError, match="can't be asked"):
            await search("broken")
    with pytest.raises(ToolError, match="can't be asked"):
        await search("oil")


async def test_an_agent_searches_fetches_and_cites(server: Server) -> None:
    """The blocks are what the API takes: the emulator checks every request by its rules."""
    page = f"http://127.0.0.1:{server.port}/page"

    async def engine(query: str) -> list[tuple[str, str, str]]:
        return [("Lighthouses", page, "About lighthouses.")]

    cited = {"type": "search_result_location", "source": page, "title": "Lighthouses", "cited_text": "Skerry"}
    cited |= {"search_result_index": 1, "start_block_index": 0, "end_block_index": 1}
    script = [
        reply(tool_use("web_search", query="lighthouses")),
        reply(tool_use("web_fetch", url=page), tool_use("web_fetch", url=page.replace("page", "pdf"))),
        reply({**text("It is 42 metres high."), "citations": [cited]}),
    ]
    tools = web(engine, origins=[page.removesuffix("/page")], allow_addresses=["127.0.0.0/8"])
    with Emulator(script=script) as emulator:
        async with Client(base_url=emulator.url, api_key="any") as client:
            result = await Agent("claude-sonnet-4-6", tools=tools, client=client).run("How high is Skerry?")
    assert [call.outcome for call in result.tool_calls] == ["done"] * 3
    assert [(citation.url, citation.title) for citation in result.citations] == [(page, "Lighthouses")]
    sent = emulator.requests[2]["messages"][-1]["content"]
    assert [block["content"][0]["type"] for block in sent] == ["search_result", "document"]


def test_paragraphs() -> None:
    assert paragraphs("") == paragraphs(" \n\n ") == []
    whole = "\n\n".join(f"{number} " + "word " * 60 for number in range(30))
    parts = paragraphs(whole)
    assert all(part.strip() and len(part) <= 1200 for part in parts)
    assert "".join("".join(parts).split()) == "".join(whole.split())
    assert [len(part) for part in paragraphs("x" * 3000)] == [1200, 1200, 600]
    assert search_result("s", " \n", "", citations=True)["content"] == [{"type": "text", "text": "s"}]


async def test_the_world_of_these_tests_is_real(server: Server) -> None:
    net = World(server, server, {PUBLIC}, {"example.com": [PUBLIC]})
    async with httpcore.AsyncConnectionPool(network_backend=net) as pool:
        answered = await pool.request("GET", "http://example.com/text")
    assert (answered.status, net.reached) == (200, [PUBLIC])
