"""No spelling of an address gets past a rule that denies its host, and none is allowed that could lead elsewhere."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_tools import TOOLS

from agentkit.policy import Policy
from agentkit.policy.origins import Origin, origin_of

ALLOWS = Policy(
    allow=[{"tool": "web_fetch", "origin": ["https://docs.a.test", "https://*.b.test:8443", "http://[2001:db8::1]"]}]
)
DENIES = Policy(
    deny=[{"origin": ["https://evil.test", "https://*.bad.test", "http://127.0.0.1"]}], allow=[{"tool": "*"}]
)


def action(policy: Policy, url: Any, key: str = "url") -> str:
    return policy.judge(TOOLS["web_fetch"], {key: url}).action


@pytest.mark.parametrize(
    "url",
    [
        "https://docs.a.test",
        "https://docs.a.test/x?y=https://evil.test#z",
        "HTTPS://DOCS.A.TEST:443/",
        "https://docs.a.test./x",
        "https://x.b.test:8443/",
        "https://x.y.b.test:8443/",
        "http://[2001:0db8::0001]/",
    ],
)
def test_an_address_of_an_allowed_origin(url: str) -> None:
    assert action(ALLOWS, url) == "allow"


@pytest.mark.parametrize(
    "url",
    [
        "http://docs.a.test/",
        "https://docs.a.test:8443/",
        "http://docs.a.test:443/",
        "https://docs.a.test.evil.test/",
        "https://evil.test/docs.a.test",
        "https://docs.a.test@evil.test/",
        "https://docs.a.test:pw@evil.test/",
        "https://evil.test#@docs.a.test/",
        "https://evil.test\\@docs.a.test/",
        "https://docs.a.test\\@evil.test/",
        "https://docs.a.test\\.evil.test/",
        "https://docs.a.test%2f@evil.test/",
        "https://docs.a.test%00.evil.test/",
        "https:/docs.a.test/",
        "https:docs.a.test",
        "//docs.a.test/",
        "docs.a.test",
        "/x",
        "https://docs.a.test\t/",
        "https://docs.a.test/ x",
        "https://docs.a.test/\nx",
        " https://docs.a.test/",
        "https://docs。a。test/",
        "https://ｄocs.a.test/",
        "https://docs.a.test:99999/",
        "https://docs.a.test:４４３/",
        "https://docs..a.test/",
        "https://x..b.test:8443/",
        "https://b.test:8443/",
        "https://xb.test:8443/",
        "https://x.b.test/",
        "javascript:alert(1)//https://docs.a.test",
        "file:///etc/passwd",
        "ftp://docs.a.test/",
        "http://2001:db8::1/",
        "http://[2001:db8::1%25eth0]/",
        "https://docs.a.test/" + "a" * 5000,
        "",
        17,
        None,
        ["https://docs.a.test/", "https://evil.test/"],
        {"href": "https://evil.test/"},
    ],
)
def test_an_address_that_could_lead_elsewhere(url: Any) -> None:
    assert action(ALLOWS, url) == "ask"


def test_every_address_of_a_call_counts() -> None:
    call = {"url": "https://docs.a.test/", "proxy": "http://evil.test"}
    assert ALLOWS.judge(TOOLS["web_fetch"], call).action == "ask"
    assert ALLOWS.judge(TOOLS["web_fetch"], {"url": "https://docs.a.test/", "callbackUrl": "evil.test"}).action == "ask"
    assert (
        ALLOWS.judge(TOOLS["web_fetch"], {"urls": ["https://docs.a.test/a", "https://docs.a.test/b"]}).action == "allow"
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.test",
        "http://evil.test:8080/x",
        "wss://EVIL.test./",
        "https://user@evil.test/",
        "https://evil.test\\@docs.a.test",
        "ht\ntps://evil.test",
        "https:/evil.test",
        "https://ｅvil.test",
        "evil.test",
        "//evil.test/x",
        "https://bad.test",
        "https://a.bad.test",
        "http://127.0.0.1:8080",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        17,
    ],
)
def test_an_address_of_a_denied_host_or_one_that_could_be(url: Any) -> None:
    assert action(DENIES, url) == "deny"
    assert action(DENIES, [{"to": url}], "urls") == "deny"


def test_another_host_is_not_denied() -> None:
    for url in ("https://docs.a.test/evil.test", "https://notevil.test/", "http://127.0.0.2/", "https://xbad.test"):
        assert action(DENIES, url) == "allow"
    assert action(DENIES, "we met evil.test people", "content") == "allow"


def test_what_is_denied_is_so_in_every_argument_that_looks_like_an_address_and_in_commands() -> None:
    assert action(DENIES, "https://evil.test/x", "content") == "deny"
    assert action(DENIES, " HT TPS:\\\\evil.test", "x") == "deny"
    for call in (
        {"argv": ["curl", "https://evil.test/x"]},
        {"argv": ["curl", "EVIL.test/x"]},
        {"argv": ["nc", "--to=evil.test"]},
    ):
        assert DENIES.judge(TOOLS["run"], call).action == "deny"


HOSTS = st.sampled_from(["docs.a.test", "evil.test", "a.test", "docs", "127.0.0.1", "[::1]", "docs.a.test.evil.test"])
PIECES = st.lists(
    HOSTS
    | st.sampled_from(["https://", "http://", "@", ":", "/", "\\", "#", "?", "%2f", "\t", " ", ".", "443", "//", "ｅ"]),
    max_size=7,
)


@given(PIECES)
def test_what_is_allowed_has_the_allowed_host_for_other_parsers_too(pieces: list[str]) -> None:
    import httpx

    url = "".join(pieces)
    if action(ALLOWS, url) == "allow":
        assert urlsplit(url).hostname in ("docs.a.test", "docs.a.test.")
        assert urlsplit(url.replace("\\", "/")).hostname in ("docs.a.test", "docs.a.test.")
        assert httpx.URL(url).host in ("docs.a.test", "docs.a.test.")


@given(PIECES)
def test_what_other_parsers_take_for_a_denied_host_is_denied(pieces: list[str]) -> None:
    import httpx

    url = "https://" + "".join(pieces)
    hosts = set()
    for parse in (
        lambda: httpx.URL(url).host,
        lambda: urlsplit(url).hostname,
        lambda: urlsplit(url.replace("\\", "/")).hostname,
    ):
        try:
            hosts.add((parse() or "").rstrip(".").lower())
        except (httpx.InvalidURL, ValueError, UnicodeError):
            continue
    if "evil.test" in hosts:
        assert action(DENIES, url) == "deny"


def test_an_origin() -> None:
    assert origin_of("HTTPS://A.Test.:8443/x") == Origin("https", "a.test", 8443)
    assert origin_of("ws://a.test") == Origin("ws", "a.test", 80)
    assert origin_of("postgres://a.test/x") == Origin("postgres", "a.test", 0)
