"""Addresses that a fetch must not reach, in all the ways that they can be written, and a hundred that it must."""

from __future__ import annotations

from ipaddress import IPv4Address
from urllib.parse import quote

PUBLIC = "93.184.216.34"
_INSIDE = """
127.0.0.1 127.8.8.8 0.0.0.0 10.0.0.1 172.16.0.1 172.31.255.254 192.168.1.1 169.254.169.254 169.254.170.2 100.64.0.1
100.100.100.200 168.63.129.16 192.0.0.192 192.0.2.1 192.88.99.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.251
240.0.0.1 255.255.255.255
"""
_INSIDE6 = """
::1 :: fe80::1 fec0::1 fc00::1 fd00:ec2::254 fd12:3456:789a::1 ff02::1 100::1 2001:db8::1 2001:10::1 2001:20::1
3fff::1 64:ff9b:1::1 5f00::1 2001:470:1f0b:1::5efe:7f00:1 4000::1 0:0:0:0:0:0:0:1
"""
_NAMES = """
localhost LOCALHOST localhost. localhost.localdomain foo.localhost ip6-localhost metadata metadata.google.internal
METADATA.google.internal. metadata.goog instance-data instance-data.ec2.internal kubernetes.default.svc.cluster.local
host.docker.internal gateway.docker.internal router.lan nas.home printer.local intranet wiki.corp db.private
x.home.arpa a.intranet b.internal c.localdomain hidden.onion d.alt kubernetes vault consul
"""
INSIDE, INSIDE6, NAMES = _INSIDE.split(), _INSIDE6.split(), _NAMES.split()
"""One of each kind of place that is not the public internet: addresses, and names."""
_NARROW = ["127.0.0.1", "0.0.0.0", "10.0.0.1", "192.168.1.1", "169.254.169.254", "168.63.129.16"]
_GOOD_HOSTS = """
100.63.0.1 100.128.0.1 169.253.1.1 172.15.0.1 172.32.0.1 192.167.1.1 192.169.1.1 198.17.0.1 198.20.0.1 168.63.129.15
168.63.129.17 [2606:2800:220:1::1] [2a00:1450:4001::200e] [2400:cb00::1] [2620:fe::fe] example.com EXAMPLE.com
example.com. www.example.co.uk a-b.example.com a_b.example.com xn--bcher-kva.example 1.example.com
127.0.0.1.nip.example 10.example.com localhost.example.com metadata.google.example.com internal.example.com
corp.example local.example a.b.c.d.e.example x1.example 0x7f.example.com 1e100.example
"""


def octal(address: str) -> str:
    return ".".join(f"0{int(part):o}" for part in address.split("."))


def forms(address: str) -> list[str]:
    """Ways to write an IPv4 address in a URL."""
    number = int(IPv4Address(address))
    a, b, c, d = address.split(".")
    high, low = number >> 16, number & 0xFFFF
    teredo = f"2001:0:4136:e378:8000:63bf:{high ^ 0xFFFF:x}:{low ^ 0xFFFF:x}"
    hosts = [
        f"{number}",
        f"{number + 2**32}",
        f"0x{number:x}",
        f"0x{number:X}",
        f"0{number:o}",
        ".".join(hex(int(part)) for part in address.split(".")),
        octal(address),
        f"00{octal(address)}",
        f"{a}.{int(b) << 16 | int(c) << 8 | int(d)}",
        f"{a}.{b}.{int(c) << 8 | int(d)}",
        f"0x{int(a):x}.0{int(b):o}.{c}.{d}",
        f"{a}.{b}.{c}.0{int(d):o}",
        f"{address}.",
        f"[::ffff:{address}]",
        f"[::ffff:{high:x}:{low:x}]",
        f"[0:0:0:0:0:ffff:{high:x}:{low:x}]",
        f"[::{address}]",
        f"[::ffff:0:{address}]",
        f"[64:ff9b::{address}]",
        f"[64:ff9b::{high:x}:{low:x}]",
        f"[2002:{high:x}:{low:x}::1]",
        f"[{teredo}]",
        f"[2607:f8b0::5efe:{high:x}:{low:x}]",
        f"[2607:f8b0::200:5efe:{high:x}:{low:x}]",
        "[fe80::1%25eth0]",
        address.translate(str.maketrans("0123456789", "０１２３４５６７８９")),
        address.replace(".", "。"),
        "".join(f"%{ord(letter):02x}" for letter in address),
        quote(address).replace(".", "%2e"),
        f"{address}%00.example.com",
        f"example.com@{address}",
        f"example.com:80@{address}",
        f"example.com%40{address}",
        f"{address}%2f@example.com",
        f"{address}\\@example.com",
        f"example.com\\@{address}",
        f"{address}\t",
        f"\r\n{address}",
        f"{address}#@example.com/",
        f"{address}?@example.com/",
        f"{address}:80",
        f"{address}:080",
        f"{address}:",
    ]
    return [f"http://{host}/" for host in hosts]


def schemes(address: str) -> list[str]:
    return [
        f"https:{address}/",
        f"http:/{address}/",
        f"http:///{address}/",
        f"//{address}/",
        f" http://{address}/",
        f"hTTp://{address}/",
        f"http\t://{address}/",
        f"httpſ://{address}/",
        f"ftp://{address}/",
        f"gopher://{address}:80/_x",
        f"file://{address}/etc/passwd",
        f"dict://{address}:80/",
        f"jar:http://{address}!/",
        f"data:text/html,{address}",
        f"http://{address}:22/",
        f"http://{address}:6379/",
        f"http://{address}:0/",
        f"http://{address}:65616/",  # 80, in 16 bits
    ]


def forbidden() -> list[str]:
    urls = [f"http://{address}/latest/meta-data/" for address in INSIDE]
    urls += [f"http://[{address}]/" for address in INSIDE6]
    urls += [f"http://{name}/" for name in NAMES]
    urls += [url for address in _NARROW for url in forms(address)]
    urls += schemes("127.0.0.1")
    return list(dict.fromkeys(urls))


def good() -> list[str]:
    hosts = [
        f"{first}.{second}.3.4"
        for first in (1, 8, 9, 11, 52, 93, 104, 151, 172, 185, 193, 223)
        for second in (1, 9, 50, 200)
    ]
    hosts += _GOOD_HOSTS.split()
    paths = [
        "/",
        "",
        "?q=1",
        "/?q=a%20b",
        "/a/b.html",
        "/a;p=1,2",
        "/a@b",
        "/%2e%2e/x",
        "/ä?ö=ü",
        "/#top",
        "/a:b",
        "/~u/(x)",
    ]
    paths += ["/?url=http://127.0.0.1/", "/http://10.0.0.1/", "/[x]", "/'\"<>", "/{x}|y", "/very/" + "long/" * 200]
    urls = [f"http://{host}/" for host in hosts] + [f"http://example.com{path}" for path in paths]
    return [*urls, "HTTP://example.com/", *(f"http://example.com:80/{n}" for n in range(3))]
