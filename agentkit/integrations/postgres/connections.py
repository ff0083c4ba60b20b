"""Connections to one PostgreSQL database: few, kept, made anew when they are lost, and none waited for long."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from weakref import finalize

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import InsufficientPrivilege, UndefinedTable
from psycopg.pq import TransactionStatus

from agentkit.errors import AgentKitError, ConfigurationError, JournalError

__all__ = ["Connection", "Connections"]

T = TypeVar("T")

_MOST = 4  # connections; who needs another one waits
_PATIENCE = 15.0  # seconds in which a lost connection is made anew; a server restarts in less
_ANSWER = 12.0  # seconds that one statement may take; the server gives up before, where it can
_SETTINGS = {
    "statement_timeout": "10s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "60s",
    "default_transaction_isolation": "read committed",
}
# Those of the URL come first. With them a server that is gone without a word is noticed.
_DEFAULTS = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "target_session_attrs": "read-write",
    "application_name": "agentkit",
    "client_encoding": "utf8",
}
# SQLSTATEs, by their beginning: the connection has failed; it was ended from there; the server is a standby now.
_LOST = ("08", "57P", "25006")
_MISTAKES = (
    "does not exist",
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "permission denied",
    "not permitted to log in",
    "Name or service not known",
    "server does not support SSL",
    "certificate",
)
_FORM = "postgresql://user:password@host:5432/database, with % codes for special characters in the password"


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """One on which nothing is waited for without end, though the server may be frozen."""

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """As psycopg's, which waits for ever where it is given no time."""
        try:
            return super().wait(gen, interval=interval, timeout=_ANSWER if timeout is None else timeout)
        except psycopg.OperationalError as error:
            if error.sqlstate is None:  # no answer, or half of one: nothing more can be asked on it
                self.pgconn.finish()
            raise


class Connections:
    """Connections to one database; they may be used from any thread.

    Args:
        url: `postgresql://…`, or libpq's `key=value …`.

    Raises:
        ConfigurationError: It can't be read, or the server refuses this user or has no such database.
        JournalError: The server can't be reached.
    """

    def __init__(self, url: str) -> None:
        self._given = _parsed(url)
        named = (self._given.get(name) for name in ("host", "port", "dbname", "user"))
        host, port, database, user = (str(value) if value else "" for value in named)
        self.place = f"postgresql://{user and user + '@'}{host}{port and ':' + port}/{database}"
        self._idle: list[Connection] = []
        self._slots, self._apart = (threading.BoundedSemaphore(_MOST) for _ in range(2))
        self._pid = os.getpid()
        self._closing = finalize(self, _close, self._idle, self._pid)
        try:
            self._idle.append(self._connect())
        except psycopg.Error as error:
            raise self._failure(error, first=True) from error

    def attempt(self, work: Callable[[Connection, bool], T], *, first: bool = False) -> T:
        """Does something with a connection; once more with a new one where it was lost, for some seconds.

        Args:
            work: Is given a connection outside a transaction, and whether it may have been done before: the answer to
                it was lost.
            first: Whether this is a part of opening the journal, where more is the user's mistake.

        Raises:
            JournalError: The database can't be reached, or refuses.
            ConfigurationError: It refuses what opening needs.
        """

        def done(again: bool) -> T:
            with self._one() as connection:
                return work(connection, again)

        return self._patiently(done, first=first)

    @contextmanager
    def apart(self) -> Iterator[Connection]:
        """A new connection for one use alone. Errors of the database come out as those of a journal.

        Raises:
            JournalError: The database can't be reached.
        """
        self._check()
        with self._slot(self._apart):
            connection = self._patiently(lambda _: self._connect())
            try:
                yield connection
            except psycopg.Error as error:
                raise self._failure(error) from error
            finally:
                connection.close()

    def close(self) -> None:
        """Closes those that rest now, and the others when they come back."""
        self._closing()

    def _patiently(self, work: Callable[[bool], T], *, first: bool = False) -> T:
        give_up = time.monotonic() + _PATIENCE
        again, pause = False, 0.05
        while True:
            try:
                return work(again)
            except psycopg.Error as error:
                if not _is_lost(error) or time.monotonic() + pause > give_up:
                    raise self._failure(error, first=first) from error
            again = True
            time.sleep(pause)
            pause = min(2 * pause, 1.0)

    @contextmanager
    def _one(self) -> Iterator[Connection]:
        self._check()
        with self._slot(self._slots):
            connection = self._rested() or self._connect()
            try:
                yield connection
            except psycopg.Error as error:
                if _is_lost(error):
                    connection.close()
                    _close(self._idle, self._pid)  # they will be too
                raise
            finally:
                self._give_back(connection)

    @contextmanager
    def _slot(self, slots: threading.BoundedSemaphore) -> Iterator[None]:
        if not slots.acquire(timeout=_PATIENCE):
            raise _retryable(f"the journal {self.place} can't be used: others of this process wait for it too")
        try:
            yield
        finally:
            slots.release()

    def _rested(self) -> Connection | None:
        with suppress(IndexError):
            return self._idle.pop()
        return None

    def _give_back(self, connection: Connection) -> None:
        if connection.info.transaction_status is TransactionStatus.IDLE:
            self._idle.append(connection)
        else:
            connection.close()
        if not self._closing.alive:
            _close(self._idle, self._pid)

    def _connect(self) -> Connection:
        connection = Connection.connect(**{**_DEFAULTS, **self._given}, autocommit=True)
        try:
            values = [part for setting in _SETTINGS.items() for part in setting]
            connection.execute("SELECT " + ", ".join(["set_config(%s, %s, false)"] * len(_SETTINGS)), values)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check(self) -> None:
        if self._pid != os.getpid():
            raise JournalError("this process was forked from the one that opened the journal: make another Journal")
        if not self._closing.alive:
            raise JournalError(f"the journal {self.place} is closed")

    def _failure(self, error: psycopg.Error, *, first: bool = False) -> AgentKitError:
        text = " ".join(str(error).split()) or type(error).__name__
        text = f"the journal {self.place} can't be used: {text}"
        if first and (isinstance(error, InsufficientPrivilege) or _is_mistake(error)):
            return ConfigurationError(text)
        if isinstance(error, UndefinedTable):
            return JournalError(f"{text}; its tables were removed while it was in use")
        passes = isinstance(error, psycopg.OperationalError) or _is_lost(error)
        return _retryable(text) if passes else JournalError(text)


def _parsed(url: str) -> dict[str, Any]:
    """What a URL says; a text that can't be read may hold a password anywhere, so none of it is shown."""
    try:
        given = conninfo_to_dict(url)
    except (psycopg.Error, UnicodeError):
        given = {"port": "unreadable"}
    ports = str(given.get("port", "")).replace(",", "")
    places = f"{given.get('host', '')}{given.get('dbname', '')}"
    if (ports and not ports.isdigit()) or "@" in places:
        raise ConfigurationError(f"the URL of the journal can't be read: write {_FORM}")
    return given


def _is_lost(error: psycopg.Error) -> bool:
    """Whether the connection is gone, or can't be made now, so that a new one may do."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate.startswith(_LOST)


def _is_mistake(error: psycopg.Error) -> bool:
    # When it can't connect, libpq gives a text and no code.
    return error.sqlstate is None and any(text in str(error) for text in _MISTAKES)


def _retryable(text: str) -> JournalError:
    failure = JournalError(text)
    failure.retryable = True
    return failure


def _close(idle: list[Connection], pid: int) -> None:
    while idle:
        with suppress(IndexError):
            connection = idle.pop()
            if pid == os.getpid():  # in a fork they are still the other process's
                connection.close()
