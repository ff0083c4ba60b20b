"""The page that shows what came and what was answered."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from talking import SEARCH, Talk

from agentkit.emulator import Emulator, error, reply, server_result, server_tool_use, text, thinking, tool_use
from agentkit.emulator.traffic.markup import Html, element, joined
from agentkit.emulator.traffic.shown import shown

BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>&amp;\"'</pre>"
LOOKUP = {"name": "lookup", "description": EVIL, "input_schema": {"type": "object"}}
# What a page of ours has; anything else came through from what was said.
ELEMENTS = {
    "html", "head", "meta", "link", "title", "style", "body", "header", "main", "section", "details", "summary", "div",
    "span", "p", "b", "h1", "h3", "h4", "pre", "dl", "dt", "dd", "small", "a", "script",
}  # fmt: skip


class Page(HTMLParser):
    """A page read as a browser does it."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "\n".join(self.texts)


def fetched(http: httpx.Client, url: str, **headers: str) -> tuple[httpx.Response, Page]:
    answer = http.get(url, headers={**BROWSER, **headers})
    return answer, Page(answer.text)


def says_all(body: dict[str, Any]) -> Any:
    if body["messages"][-1]["content"] == "fail":
        return error(529, "overloaded_error", EVIL)
    return reply(
        thinking(EVIL),
        EVIL,
        server_tool_use("web_search", query=EVIL),
        server_result([{"url": "https://a.test", "title": EVIL}]),
        tool_use("lookup", city=EVIL),
        {"type": EVIL, "depth": EVIL},
        **{EVIL: EVIL},
    )


@pytest.fixture(scope="module")
def busy(http: httpx.Client) -> Iterator[Emulator]:
    """One that was asked this and that."""
    with Emulator(script=says_all, pace=0) as emulator:
        talk = Talk(http, emulator.url, LOOKUP, SEARCH)
        talk.messages.append({"role": "user", "content": EVIL})
        first = talk.turn(system=EVIL, metadata={"user_id": EVIL})
        (use,) = [block for block in first["content"] if block["type"] == "tool_use"]
        result = {"type": "tool_result", "tool_use_id": use["id"], "content": [text(EVIL)], "is_error": True}
        talk.messages.append({"role": "user", "content": [result]})
        assert talk.post(stream=True).status_code == 200
        talk.messages = [{"role": "user", "content": "fail"}]
        assert talk.post().status_code == 529
        http.post(f"{emulator.url}/v1/messages", content=EVIL.encode())
        http.get(f"{emulator.url}/v1/models")
        http.get(f"{emulator.url}/<b>")
        yield emulator


@pytest.mark.parametrize("path", ["/", "/_emulator"])
def test_nothing_of_what_was_said_is_markup(busy: Emulator, http: httpx.Client, path: str) -> None:
    answer, page = fetched(http, busy.url + path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert set(page.tags) <= ELEMENTS
    assert page.tags.count("script") == 1
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert page.open == []
    assert page.text.count(EVIL) > 10


def test_what_the_page_tells(busy: Emulator, http: httpx.Client) -> None:
    _, page = fetched(http, busy.url)
    said = page.text
    assert "it plays a script, and is not a language model" in said
    assert f"ANTHROPIC_BASE_URL={busy.url}" in said
    for wanted in ("turn 1", "turn 2", "tool_use lookup", "tool_result is_error", "thinking", "stop_reason", "usage"):
        assert wanted in said
    assert "529 overloaded_error" in said
    numbers = [value for name, value in page.attributes if name == "id"]
    assert numbers == [f"exchange-{number}" for number in range(6, 0, -1)]


def test_the_page_needs_nothing_else(busy: Emulator, http: httpx.Client) -> None:
    answer, page = fetched(http, busy.url)
    sources = [value for name, value in page.attributes if name in ("src", "href")]
    assert sorted(map(str, sources)) == ["/_emulator/exchanges", "data:,"]
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-store"


def test_others_get_what_they_got(busy: Emulator, http: httpx.Client) -> None:
    plain = http.get(busy.url)
    assert plain.headers["content-type"].startswith("text/plain")
    assert http.head(busy.url).status_code == http.head(busy.url, headers=BROWSER).status_code == 200
    assert http.post(f"{busy.url}/_emulator").status_code == 404


def test_a_gateway_keeps_its_own_root(http: httpx.Client) -> None:
    with Emulator(script=[], dialect="cometapi") as emulator:
        assert "CometAPI" in http.get(emulator.url, headers=BROWSER).text
        assert "agentkit emulator" in http.get(f"{emulator.url}/_emulator").text


def test_exchanges_as_json(http: httpx.Client) -> None:
    with Emulator(script=[reply("a"), reply("b"), reply("c")], pace=0) as emulator:
        url = f"{emulator.url}/_emulator/exchanges"
        before = http.get(url).json()
        assert before["exchanges"] == []
        assert before["misfit"].startswith("3 of 3 steps of the script were not used")
        for _ in range(3):
            Talk(http, emulator.url).ask("Hello?")
        found = http.get(url, params={"since": 1}).json()
    assert [one["number"] for one in found["exchanges"]] == [2, 3]
    assert [one["reply"]["content"][0]["text"] for one in found["exchanges"]] == ["b", "c"]
    assert found["misfit"] is None
    assert found["revision"] > before["revision"]


@pytest.mark.parametrize("since", ["-1", "x", "²", ""])
def test_since_is_a_number(since: str, busy: Emulator, http: httpx.Client) -> None:
    assert http.get(f"{busy.url}/_emulator/exchanges", params={"since": since}).status_code == 400


def test_the_page_is_not_logged(http: httpx.Client) -> None:
    with Emulator(script=[], pace=0) as emulator:
        fetched(http, emulator.url)
        assert "No request has come yet." in fetched(http, f"{emulator.url}/_emulator")[1].text
        assert http.get(f"{emulator.url}/_emulator/exchanges").json()["exchanges"] == []


@pytest.mark.slow
def test_only_the_newest_are_on_the_page(http: httpx.Client) -> None:
    with Emulator(script=lambda body: reply("a"), pace=0) as emulator:
        for _ in range(53):
            http.get(f"{emulator.url}/v1/models")
        _, page = fetched(http, emulator.url)
    assert page.text.count("GET /v1/models") == 100  # in the line and in the request
    assert "53 requests, the newest 50 shown" in page.text


@pytest.mark.parametrize("host", ["evil.test", "evil.test:80", "127.0.0.1.evil.test", "192.0.2.1"])
@pytest.mark.parametrize("path", ["/", "/_emulator", "/_emulator/exchanges"])
def test_other_sites_can_not_read_it(host: str, path: str, busy: Emulator, http: httpx.Client) -> None:
    """A name of theirs that leads to this machine makes a browser send that name."""
    answer = http.get(busy.url + path, headers={**BROWSER, "host": host})
    assert answer.status_code == 403
    assert "exchange" not in answer.text


@pytest.mark.parametrize("host", ["[::1", "[", "", "<b>"])
def test_a_host_that_is_none(host: str, busy: Emulator, http: httpx.Client) -> None:
    """Browsers send no such thing."""
    answer, page = fetched(http, busy.url, host=host)
    assert answer.status_code in (200, 403)
    assert set(page.tags) <= ELEMENTS


def test_what_does_not_fit_is_on_the_page(http: httpx.Client) -> None:
    with pytest.raises(AssertionError), Emulator(script=[reply("a")], pace=0) as emulator:
        assert "1 of 1 step of the script were not used" in fetched(http, emulator.url)[1].text


def test_long_texts_are_cut(http: httpx.Client) -> None:
    with Emulator(script=[reply("a" * 30_000)], pace=0) as emulator:
        Talk(http, emulator.url).ask("Hello?")
        source = http.get(emulator.url, headers=BROWSER).text
    assert "(10,000 more characters)" in source
    assert len(source) < 60_000


# The parts.


def test_elements() -> None:
    assert element("p", "a<b", ["c", None, Html("<i>")], class_="x", hidden=True, title=None) == (
        '<p class="x" hidden>a&lt;bc<i></p>'
    )
    assert element("link", rel="icon", data_a='"') == '<link rel="icon" data-a="&quot;">'


@given(st.recursive(st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_parts_are_escaped(part: Any) -> None:
    assert not re.search("[<>\"']", joined(part))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "content", "messages", "error", "text", "name", "input", "usage", "tools", "system"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


MESSAGES = st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": VALUES}), max_size=3)
BODIES = VALUES | st.fixed_dictionaries({"messages": MESSAGES, "tools": VALUES, "system": VALUES})
ANSWERS = (
    VALUES | st.fixed_dictionaries({"content": VALUES, "usage": VALUES}) | st.fixed_dictionaries({"error": VALUES})
)


@given(BODIES, ANSWERS)
def test_anything_can_be_shown(request: Any, answer: Any) -> None:
    """Clients send what they like, and upstreams answer so."""
    exchange = {
        "number": 1, "turn": 1, "at": 0.0, "seconds": 0.1, "method": "POST", "path": "/", "status": 200, "headers": {},
        "request": request, "reply": answer, "problem": None,
    }  # fmt: skip
    assert Page(shown(json.loads(json.dumps(exchange)))).open == []
