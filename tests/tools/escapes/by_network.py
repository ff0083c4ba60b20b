"""Attempts to reach something by a socket."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

from escaping import W, attempt


def answers(family: int, address: Any, kind: int = socket.SOCK_STREAM) -> bool:
    with socket.socket(family, kind) as it:
        it.settimeout(2)
        it.connect(address)
        it.send(b"ping")
        return it.recv(4) == b"pong"


@attempt
def tcp() -> bool:
    return answers(socket.AF_INET, ("127.0.0.1", W["tcp"]))


@attempt
def tcp_v6() -> bool:
    return answers(socket.AF_INET6, ("::1", W["tcp6"]))


@attempt
def udp() -> bool:
    return answers(socket.AF_INET, ("127.0.0.1", W["udp"]), socket.SOCK_DGRAM)


@attempt
def a_route_to_anywhere() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as it:
        it.connect(("192.0.2.1", 9))  # sends nothing
        return True


@attempt
def other_interfaces() -> bool:
    return {name for _, name in socket.if_nameindex()} > {"lo"}


@attempt
def unix_socket_in_the_work_folder() -> bool:
    os.chdir(W["root"])
    return answers(socket.AF_UNIX, "host.sock")


@attempt
def unix_socket_outside() -> bool:
    os.chdir(W["outside"])
    return answers(socket.AF_UNIX, "host.sock")


@attempt
def unix_datagram_by_a_pair() -> bool:
    """One of a pair is connected already, and can send elsewhere all the same."""
    os.chdir(W["root"])
    arrived = Path(W["root"], "arrived")
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        one.sendto(str(arrived).encode(), "datagrams")
        for _ in range(100):
            if arrived.exists():
                arrived.unlink()
                return True
            time.sleep(0.02)
    return False


@attempt
def abstract_socket() -> bool:
    return answers(socket.AF_UNIX, "\0" + W["abstract"])


@attempt
def vsock() -> bool:
    return bool(socket.socket(40, socket.SOCK_STREAM))


@attempt
def kernel_crypto_socket() -> bool:
    return bool(socket.socket(38, socket.SOCK_SEQPACKET))


@attempt
def raw_socket() -> bool:
    return bool(socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))


@attempt
def packet_socket() -> bool:
    return bool(socket.socket(17, socket.SOCK_RAW, 3))


@attempt
def privileged_port() -> bool:
    with socket.socket() as it:
        it.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        it.bind(("127.0.0.1", 861))
        return not in_own_network()


def in_own_network() -> bool:
    return {name for _, name in socket.if_nameindex()} <= {"lo"}
