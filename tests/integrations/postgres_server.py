"""A real PostgreSQL of the tests' own, on a loopback port, in a folder that is gone afterwards."""

from __future__ import annotations

import os
import pwd
import random
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed", exc_type=ImportError)

__all__ = ["PostgresServer", "running"]

_SETTINGS = (
    "max_connections=60",
    "fsync=off",  # what is flushed is still counted
    "wal_writer_delay=10s",  # so that what is not synced stays so for a while
    "autovacuum=off",
    "listen_addresses=127.0.0.1",
    "lc_messages=C",
)


class PostgresServer:
    """A server that is running.

    Args:
        folder: Its own.
        programs: Where `initdb` and `pg_ctl` are.
    """

    def __init__(self, folder: Path, programs: Path) -> None:
        self._folder, self._programs = folder, programs
        self.port = _free_port()

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """Where to connect to."""
        return f"postgresql://{user}:pass-word@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, *values: Any) -> Any:
        """The first value that a statement gives, asked by a connection apart."""
        with psycopg.connect(self.url(), autocommit=True) as db:
            found = db.execute(statement, values or None)
            row = found.fetchone() if found.description else None
            return row and row[0]

    def end_connections(self) -> int:
        """Ends all that are a journal's, as an operator can."""
        of_ours = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'agentkit'"
        return int(self.execute(f"SELECT count(*) FROM ({of_ours}) AS ended"))

    def make(self) -> None:
        """Makes its files."""
        self._run("initdb", "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C")

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        options = " ".join(f"-c {setting}" for setting in _SETTINGS)
        options += f" -c unix_socket_directories={self._folder} -c port={self.port}"
        self._run("pg_ctl", "--wait", f"--log={self._folder}/log", f"--options={options}", "start")

    def stop(self, mode: str = "fast") -> None:
        """Stops it; `immediate` is as a crash."""
        self._run("pg_ctl", "--wait", f"--mode={mode}", "stop")

    def ended_with_us(self) -> subprocess.Popen[bytes]:
        """What stops it and removes its files when the pipe to it is closed, also by the death of this process."""
        stop = 'cat; "$1" --pgdata="$2/data" --wait --mode=immediate stop; rm -rf "$2"'
        command = ["sh", "-c", stop, "sh", str(self._programs / "pg_ctl"), str(self._folder)]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True, **self._as_user()
        )

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, f"--pgdata={self._folder}/data", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,  # a server would keep it open
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
            **self._as_user(),
        )
        assert done.returncode == 0, f"{program}: {done.stdout!r}"

    def _as_user(self) -> dict[str, Any]:
        user = _user()
        ids = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
        return {"cwd": self._folder, **ids}


@contextmanager
def running() -> Iterator[PostgresServer]:
    """A new server; the test is skipped where PostgreSQL is not installed."""
    programs = _programs()
    if programs is None:
        pytest.skip("there is no PostgreSQL: install Debian's package postgresql")
    folder = Path(tempfile.mkdtemp(prefix="agentkit-postgres-"))
    if user := _user():
        os.chown(folder, user.pw_uid, user.pw_gid)
    server = PostgresServer(folder, programs)
    with server.ended_with_us():  # closes the pipe, and waits
        server.make()
        server.start()
        yield server


def _free_port() -> int:
    """One that the system gives to nobody else, where it can be, so that it is still free after a stop."""
    given = Path("/proc/sys/net/ipv4/ip_local_port_range")
    below = range(10_000, int(given.read_text().split()[0]) if given.exists() else 32_768)
    drawn = random.SystemRandom().sample(below, min(50, len(below)))
    for port in (*drawn, 0):
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            return int(free.getsockname()[1])
    raise AssertionError("no port is free")


def _programs() -> Path | None:
    """The newest that are installed; Debian puts them outside of PATH."""
    there = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    named = shutil.which("initdb")
    folders = [Path(named).resolve().parent] if named else []
    return next((folder for folder in [*folders, *there] if (folder / "pg_ctl").exists()), None)


def _user() -> pwd.struct_passwd | None:
    """Who runs it: PostgreSQL refuses root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None
