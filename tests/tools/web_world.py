"""An internet on loopback: names, addresses, public servers, and a canary that no fetch should ever reach."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any

import httpcore

Answer = tuple[int, Mapping[str, str], bytes]


class Server(ThreadingHTTPServer):
    """Real HTTP on loopback; it counts its connections and keeps what it was asked."""

    daemon_threads = True

    def __init__(self, answer: Callable[[str, Mapping[str, str]], Answer]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.connections = 0
        self.asked: list[tuple[str, Mapping[str, str]]] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def get_request(self) -> Any:
        self.connections += 1
        return super().get_request()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who breaks a connection off is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append((self.path, headers))
        status, said, body = self.server.answer(self.path, headers)
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **said}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(answer: Callable[[str, Mapping[str, str]], Answer], tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """A server that runs while the block does."""
    with Server(answer) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@dataclass
class World(httpcore.AsyncNetworkBackend):
    """A network where every address answers: `public` ones a server of the test's, all others the canary.

    Attributes:
        server: Behind the public addresses.
        canary: Behind all others.
        public: Addresses of the public internet.
        names: Addresses of each name; a list of lists is what one lookup after the other gives.
        reached: The addresses that were connected to.
    """

    server: Server
    canary: Server
    public: set[str] = field(default_factory=set)
    names: dict[str, Any] = field(default_factory=dict)
    reached: list[str] = field(default_factory=list)

    async def resolve(self, host: str, port: int) -> list[str]:
        """As a C library would: names, and every form of an IPv4 address."""
        known = self.names.get(host.lower().rstrip("."))
        if known and isinstance(known[0], list):
            return list(known.pop(0) if len(known) > 1 else known[0])
        if known:
            return list(known)
        for literal in (host.strip("[]"), host.strip("[]").partition("%")[0]):
            try:
                return [str(ip_address(literal))]
            except ValueError:
                pass
        try:
            return [socket.inet_ntoa(socket.inet_aton(host))]
        except OSError:
            return []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        address = (await self.resolve(host, port) or [""])[0]
        if not address:
            raise httpcore.ConnectError(f"no host {host}")
        self.reached.append(address)
        server = self.server if address in self.public else self.canary
        return await httpcore.AnyIOBackend().connect_tcp("127.0.0.1", server.port, timeout=timeout)
