"""Addresses: hundreds that must not be reached, a hundred that must, and a naive guard to show that the table bites."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import quote, urlsplit

import httpcore
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from web_table import INSIDE, INSIDE6, NAMES, PUBLIC, forbidden, good, schemes
from web_world import Answer, World, serving

from agentkit import ConfigurationError, ToolError
from agentkit_tools.web_address import Address, Guard, is_public, parse_address
from agentkit_tools.web_transport import get


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """`http://go.example/?…` redirects to what follows."""

    def answer(path: str, headers: Mapping[str, str]) -> Answer:
        if headers["host"] == "go.example":
            return 302, {"location": path.partition("?")[2]}, b""
        return 200, {"content-type": "text/plain"}, b"hello"

    def secret(path: str, headers: Mapping[str, str]) -> Answer:
        return 200, {"content-type": "text/plain"}, b"secret"

    with serving(answer) as server, serving(secret) as canary:
        yield World(server, canary)


@pytest.fixture
def net(world: World) -> World:
    """The same servers, with nothing reached yet and names of the test's own."""
    world.canary.connections = 0
    names: dict[str, object] = {host.lower().rstrip("."): ["169.254.169.254"] for host in NAMES}
    names["go.example"] = names["example.com"] = [PUBLIC]
    return World(world.server, world.canary, {PUBLIC}, names)


async def naive(url: str, net: World) -> None:
    """What is often written: look at the host, then let the library fetch, redirects and all."""
    host = urlsplit(url).hostname or ""
    if host in ("localhost", "127.0.0.1", "169.254.169.254", "::1") or host.startswith(("10.", "192.168.")):
        raise ToolError("no")
    transport = httpx.AsyncHTTPTransport()
    transport._pool = httpcore.AsyncConnectionPool(network_backend=net)
    async with httpx.AsyncClient(transport=transport, follow_redirects=True, trust_env=False) as client:
        await client.get(url)


async def refused(url: str, net: World) -> None:
    with pytest.raises(ToolError) as caught:
        await get(parse_address(url), Guard(resolve=net.resolve), network=net)
    if "169.254" not in url:  # what a name leads to inside is not for the model
        assert "169.254" not in str(caught.value)


@pytest.mark.anyio
async def test_none_of_the_forbidden_is_reached(net: World) -> None:
    urls = forbidden()
    assert len(urls) >= 300
    for url in urls:
        await refused(url, net)
    assert (net.reached, net.canary.connections) == ([], 0)


@pytest.mark.slow
@pytest.mark.anyio
async def test_no_redirect_leads_inside(net: World) -> None:
    urls = forbidden()[:160] + schemes("127.0.0.1")
    for url in urls:
        raw = url.encode().decode("latin-1")
        if any(letter in raw for letter in " \t\r\n#"):  # no header can have them
            continue
        start = parse_address("http://go.example/")
        hop = Address("http", "go.example", 80, f"/?{quote(url, safe='%/?:@!$&()*+,;=-._~[]')}")
        assert hop.origin == start.origin
        with pytest.raises(ToolError):
            await get(hop, Guard(resolve=net.resolve), network=net)
    assert set(net.reached) == {PUBLIC}
    assert net.canary.connections == 0


@pytest.mark.anyio
@pytest.mark.parametrize(
    "address", [*INSIDE, *INSIDE6, "::ffff:127.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::1", "fe80::1%eth0"]
)
async def test_answers_of_dns(address: str, net: World) -> None:
    """Alone, behind a good one, and after a good one: an attacker's server may answer as it likes."""
    net.names |= {"alone.example": [address], "mixed.example": [PUBLIC, address]}
    net.names["rebinding.example"] = [[PUBLIC], [address]]
    await refused("http://alone.example/", net)
    await refused("http://mixed.example/", net)
    assert net.reached == []
    page = await get(parse_address("http://rebinding.example/"), Guard(resolve=net.resolve), network=net)
    assert (page.data, net.reached) == (b"hello", [PUBLIC])  # looked up once, connected to what was checked
    await refused("http://rebinding.example/", net)
    assert net.canary.connections == 0


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_hundred_good_ones_pass(net: World) -> None:
    urls = good()
    assert len(urls) >= 100
    for number, url in enumerate(urls):
        address = parse_address(url)
        ip = address.host if address.host[-1].isdigit() or ":" in address.host else f"93.184.217.{number}"
        net.names.setdefault(address.host, [ip])
        net.public.update(net.names[address.host])
        page = await get(address, Guard(resolve=net.resolve), network=net)
        assert page.data == b"hello", url
    assert len(net.reached) == len(urls)
    assert net.canary.connections == 0


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_naive_guard_lets_many_through(net: World) -> None:
    for url in forbidden():
        try:
            await naive(url, net)
        except (ToolError, httpx.HTTPError, httpx.InvalidURL, ValueError, UnicodeError):
            continue
    assert net.canary.connections > 100


@given(st.integers(0, 2**32 - 1).map(IPv4Address) | st.integers(0, 2**128 - 1).map(IPv6Address))
def test_public_is_never_what_python_calls_private(address: IPv4Address | IPv6Address) -> None:
    if is_public(address):
        assert address.is_global
        assert not any([address.is_multicast, address.is_reserved, address.is_loopback, address.is_link_local])


@given(
    st.text(st.characters(codec="utf-8"), max_size=30),
    st.sampled_from(["http://", "https://", "http://a@", "HTTP://1."]),
)
def test_one_parser(text: str, scheme: str) -> None:
    """What it lets pass has one reading: it parses itself alike, and the standard library agrees on the host."""
    try:
        address = parse_address(scheme + text)
    except ToolError:
        return
    assert parse_address(str(address)) == address
    assert str(address).isascii()
    parts = urlsplit(str(address))
    assert (parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}[parts.scheme]) == (
        address.scheme,
        address.host,
        address.port,
    )


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("HTTPS://Docs.Example.COM:443", "https://docs.example.com/"),
        ("http://example.com.:8080/x?y#z", "http://example.com:8080/x?y"),
        ("http://example.com?q=ä b".replace(" ", "%20"), "http://example.com/?q=%C3%A4%20b"),
        ("http://[2606:2800:0220:0001::1]/", "http://[2606:2800:220:1::1]/"),
    ],
)
def test_parsed(url: str, parsed: str) -> None:
    assert str(parse_address(url)) == parsed


@pytest.mark.parametrize(
    "host", ["1572395042", "0x5db8d822", "0135.184.216.34", "93.184.55330", "93.184.216.0x22", "93.184.216.34."]
)
def test_odd_forms_of_public_addresses_are_refused_too(host: str) -> None:
    with pytest.raises(ToolError, match="an IP address of an unusual form"):
        parse_address(f"http://{host}/")


@pytest.mark.anyio
async def test_names_for_the_inside_are_refused_wherever_they_lead(net: World) -> None:
    for name in NAMES:
        host = parse_address(f"http://{name}/").host
        net.names[host] = [PUBLIC]
        with pytest.raises(ToolError, match="not on the public internet"):
            await Guard(resolve=net.resolve).addresses(host, 80)


@pytest.mark.anyio
async def test_networks_that_the_host_adds(net: World) -> None:
    net.names["wiki.corp"] = ["10.1.2.3"]
    guard = Guard(networks=["10.1.0.0/16"], resolve=net.resolve)
    assert await guard.addresses("wiki.corp", 80) == ["10.1.2.3"]
    assert await guard.addresses("10.1.0.1", 80) == ["10.1.0.1"]
    assert await guard.addresses("example.com", 443) == [PUBLIC]
    for host in ("10.2.0.1", "127.0.0.1", "metadata.google.internal", "localhost"):
        with pytest.raises(ToolError, match="not on the public internet"):
            await guard.addresses(host, 80)
    wide = Guard(networks=["169.0.0.0/8"], resolve=net.resolve)
    assert await wide.addresses("169.254.1.1", 80)
    with pytest.raises(ToolError):
        await wide.addresses("metadata.google.internal", 80)
    with pytest.raises(ToolError):
        await Guard(resolve=net.resolve).addresses("no.example", 80)


def test_origins() -> None:
    guard = Guard(["https://docs.example.com", "http://Example.com:8080/"])
    guard.check(parse_address("https://docs.example.com/x"))
    guard.check(parse_address("http://example.com:8080/x"))
    for url in (
        "http://docs.example.com/",
        "https://example.com/",
        "https://docs.example.com:8443/",
        "https://x.docs.example.com",
    ):
        with pytest.raises(ToolError, match=r"may not be fetched, only these: http://example.com:8080, https://docs"):
            guard.check(parse_address(url))
    with pytest.raises(ToolError, match="Port 8080 may not be connected to"):
        Guard().check(parse_address("http://example.com:8080/"))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"origins": "https://a.example"}, "must be a list"),
        ({"origins": ["docs.example.com"]}, "is none: That is no address"),
        ({"origins": ["https://a.example/path"]}, "has a path"),
        ({"networks": ["0.0.0.0/0"]}, "too large"),
        ({"networks": ["::/0"]}, "too large"),
        ({"networks": "10.0.0.0/8"}, "must be a list"),
        ({"networks": ["10.0.0.1/8"]}, "no IP network"),
        ({"networks": ["intranet"]}, "no IP network"),
    ],
)
def test_what_the_host_can_not_mean(arguments: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        Guard(**arguments)  # type: ignore[arg-type]


def test_the_table_is_about_what_it_says() -> None:
    assert not any(is_public(ip_address(address)) for address in [*INSIDE, *INSIDE6])
    assert is_public(ip_address(PUBLIC))
