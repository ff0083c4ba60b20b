"""The host as an attempt to escape finds it: servers, processes, secrets and files that it must not reach."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

__all__ = ["world"]

LIBC = ctypes.CDLL(None)
_ON_X86 = os.uname().machine == "x86_64"


@contextmanager
def world(folder: Path) -> Iterator[dict[str, Any]]:
    """What the attempts are told. The work folder is `folder / "work"`; the secret is in this process's environment."""
    name, secret = f"test-{uuid4().hex[:12]}", f"secret-{uuid4().hex}"
    root, outside = folder / "work", folder / "outside"
    with ExitStack() as stack:
        _files(root, outside, secret)
        in_tmp = stack.enter_context(tempfile.NamedTemporaryFile())
        os.environ["TEST_SECRET"] = secret
        stack.callback(os.environ.pop, "TEST_SECRET", None)
        for inherited in (os.open(outside / "secret", os.O_RDONLY), os.open(outside, os.O_PATH)):
            os.set_inheritable(inherited, True)
            stack.callback(os.close, inherited)
        victim = stack.enter_context(subprocess.Popen(["sleep", "1000"]))
        stack.callback(victim.kill)
        yield {
            "root": str(root),
            "outside": str(outside),
            "secret": secret,
            "name": name,
            "abstract": name,
            "home": str(Path.home()),
            "host": socket.gethostname(),
            "in_tmp": in_tmp.name,
            "parent": os.getpid(),
            "victim": victim.pid,
            "key": _shared(name, secret, stack),
            "tcp": _serve(stack, socket.AF_INET, ("127.0.0.1", 0)),
            "tcp6": _serve(stack, socket.AF_INET6, ("::1", 0)),
            "udp": _serve(stack, socket.AF_INET, ("127.0.0.1", 0), socket.SOCK_DGRAM),
            "unix": [_serve(stack, socket.AF_UNIX, _short(it / "host.sock")) for it in (root, outside)],
            "abstract_server": _serve(stack, socket.AF_UNIX, "\0" + name),
            "datagrams": _serve(stack, socket.AF_UNIX, _short(root / "datagrams"), socket.SOCK_DGRAM),
        }


def _files(root: Path, outside: Path, secret: str) -> None:
    outside.mkdir()
    (outside / "secret").write_text(secret)
    for path in (".git/config", ".git/hooks/pre-commit", ".env", ".bashrc", "sub/.git/config", ".vscode/tasks.json"):
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("# kept\n")
    (root / "link").symlink_to(outside)


def _short(path: Path) -> str:
    """A path that a unix socket can have: by a link, where it is too long."""
    return os.path.relpath(path)


def _serve(stack: ExitStack, family: int, address: Any, kind: int = socket.SOCK_STREAM) -> Any:
    """A server that answers ping with pong; its port."""
    try:
        server = stack.enter_context(socket.socket(family, kind))
        server.bind(address)
    except OSError:
        return None  # no IPv6 here
    if kind == socket.SOCK_STREAM:
        server.listen()
    threading.Thread(target=_answer, args=(server, kind), daemon=True).start()
    stack.callback(server.shutdown, socket.SHUT_RDWR) if kind == socket.SOCK_STREAM else None
    return server.getsockname()[1] if family != socket.AF_UNIX else None


def _answer(server: socket.socket, kind: int) -> None:
    with suppress(OSError):
        while True:
            if kind == socket.SOCK_STREAM:
                with server.accept()[0] as it:
                    it.recv(4)
                    it.send(b"pong")
            else:
                told, peer = server.recvfrom(1000)
                if peer:
                    server.sendto(b"pong", peer)
                else:  # by a pair, which has no name to answer to
                    Path(told.decode()).touch()


def _shared(name: str, secret: str, stack: ExitStack) -> int:
    """What System V, POSIX and the keyring share between processes; the key of the first."""
    key = int.from_bytes(os.urandom(3), "big") + 1
    memory = LIBC.shmget(key, 4096, 0o1600)
    semaphores = LIBC.semget(key, 1, 0o1600)
    queue = LIBC.msgget(key, 0o1600)
    stack.callback(LIBC.shmctl, memory, 0, None)
    stack.callback(LIBC.semctl, semaphores, 0, 0)
    stack.callback(LIBC.msgctl, queue, 0, None)
    file = Path("/dev/shm", name)
    file.write_text(secret)
    stack.callback(file.unlink)
    add, control = (248, 250) if _ON_X86 else (217, 219)
    data = secret.encode()
    serial = LIBC.syscall(add, b"user", name.encode(), data, len(data), ctypes.c_int(-3))  # of the session
    if serial > 0:
        stack.callback(LIBC.syscall, control, 9, serial, ctypes.c_int(-3))  # unlink
    return key
