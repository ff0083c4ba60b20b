"""Connections that end, answers that are lost, servers that stop: nothing is lost or repeated."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from runs import agent_for
from scripted import reply, text, tool_use
from test_store import RUN, chain, line

from agentkit import Journal, tool
from agentkit.errors import JournalError
from agentkit.store import Lines

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed", exc_type=ImportError)

from agentkit.integrations.postgres import PostgresStore, connections  # noqa: E402

if TYPE_CHECKING:
    from postgres_server import PostgresServer

pytestmark = pytest.mark.slow

_WAITING = """
SELECT pid FROM pg_stat_activity
WHERE application_name = 'agentkit' AND wait_event_type = 'Lock' AND pid <> ALL(%s)
"""
PAYS = reply(tool_use("pay", id="toolu_a", amount=1))
DONE = reply(text("All done."))


@pytest.fixture
def store(database: str) -> Iterator[PostgresStore]:
    opened = PostgresStore(database)
    yield opened
    opened.close()


class LossyProxy:
    """A way to the server on which one answer is lost, with its connection.

    Attributes:
        lose: The answer to the first message that has this in it is lost.
        lost: How many were.
    """

    def __init__(self, port: int) -> None:
        self.lose, self.lost = b"", 0
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._pass_on, args=(client,)))
                self._threads[-1].start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._port)) as server, suppress(OSError):
            while sent := client.recv(1 << 20):
                server.sendall(sent)
                answer = self._answer(server)
                if self.lose and self.lose in sent:
                    self.lose, self.lost = b"", self.lost + 1
                    return  # it was done
                client.sendall(answer)

    def _answer(self, server: socket.socket) -> bytes:
        """Up to where the server waits for more: `ReadyForQuery`, or a question of the beginning."""
        answer = b""
        while not (answer.endswith((b"Z\0\0\0\5I", b"Z\0\0\0\5T", b"Z\0\0\0\5E")) or answer in (b"N", b"S")):
            part = server.recv(1 << 20)
            if not part:
                break
            answer += part
        return answer

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)


@pytest.fixture
def proxy(postgres: PostgresServer) -> Iterator[LossyProxy]:
    made = LossyProxy(postgres.port)
    yield made
    made.close()


@pytest.fixture
def lossy(database: str, proxy: LossyProxy) -> Iterator[PostgresStore]:
    """A store behind the proxy."""
    opened = PostgresStore(f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres?sslmode=disable&gssencmode=disable")
    yield opened
    opened.close()


@pytest.mark.parametrize("lost", [b"WITH held", b"COMMIT"])
def test_C21_a_claim_whose_answer_is_lost(lossy: PostgresStore, proxy: LossyProxy, lost: bytes) -> None:
    proxy.lose = lost
    assert lossy.claim(RUN, chain(0, 1)) == 1
    lossy.append(replace(RUN, length=2, holder=None), [], durable=True)
    proxy.lose = lost
    assert lossy.claim(replace(RUN, length=2, holder="there:2"), [line(2)]) == 2
    assert (lossy.lines("run_1", 0, 9), proxy.lost) == ([*chain(0, 1), line(2)], 2)


def test_C21_an_append_whose_answer_is_lost(lossy: PostgresStore, proxy: LossyProxy) -> None:
    lossy.claim(RUN, chain(0))
    proxy.lose = b"WITH held"
    lossy.append(replace(RUN, length=1), chain(0, 1, 2)[1:], durable=True)
    proxy.lose = b"WITH held"
    lossy.append(replace(RUN, length=3, updated=107.0), [], durable=True)
    assert (lossy.run("run_1"), proxy.lost) == (replace(RUN, length=3, updated=107.0), 2)
    assert lossy.lines("run_1", 0, 9) == chain(0, 1, 2)


@pytest.mark.parametrize("lost", [b"DELETE", b"COMMIT"])
def test_C21_a_cut_whose_answer_is_lost(lossy: PostgresStore, proxy: LossyProxy, lost: bytes) -> None:
    lossy.claim(RUN, chain(0, 1, 2))
    lossy.append(replace(RUN, length=3, holder=None), [], durable=True)
    proxy.lose = lost
    lossy.cut(replace(RUN, length=1, holder=None, state="repaired"), [line(9)])
    assert (lossy.lines("run_1", 0, 9), proxy.lost) == ([*chain(0), line(9)], 1)
    row = lossy.run("run_1")
    assert row is not None
    assert (row.epoch, row.length, row.state) == (2, 2, "repaired")


def test_C21_an_orphan_whose_answer_is_lost(lossy: PostgresStore, proxy: LossyProxy) -> None:
    proxy.lose = b"COMMIT"
    lossy.orphan(RUN, [line(1), line(2)])
    assert (lossy.orphans("run_1"), proxy.lost) == ([line(1)[0], line(2)[0]], 1)


@pytest.mark.parametrize(("lost", "happened"), [(b"COMMIT", True), (b"INSERT INTO paid", False)])
def test_C21_a_transaction_whose_answer_is_lost(
    lossy: PostgresStore, proxy: LossyProxy, postgres: PostgresServer, lost: bytes, happened: bool
) -> None:
    postgres.execute("DROP TABLE IF EXISTS paid")
    postgres.execute("CREATE TABLE paid (n integer)")
    lossy.claim(RUN, chain(0))
    entered: list[Any] = []

    def pays(db: Any) -> Lines:
        entered.append(db)
        db.execute("INSERT INTO paid VALUES (1)")
        return [line(1)]

    proxy.lose = lost
    row = replace(RUN, length=1)
    if happened:
        assert lossy.transact(row, pays) == [line(1)]
    else:
        with pytest.raises(JournalError) as caught:
            lossy.transact(row, pays)
        assert caught.value.retryable
    assert (len(entered), proxy.lost) == (1, 1)
    assert postgres.execute("SELECT count(*) FROM paid") == happened
    assert lossy.lines("run_1", 1, 9) == [line(1)] * happened


def test_a_transaction_that_is_ended_before_its_commit_has_not_happened(
    store: PostgresStore, postgres: PostgresServer
) -> None:
    store.claim(RUN, chain(0))

    def ended(db: Any) -> Lines:
        assert postgres.end_connections()
        return [line(1)]

    with pytest.raises(JournalError) as caught:
        store.transact(replace(RUN, length=1), ended)
    assert caught.value.retryable
    assert store.transact(replace(RUN, length=1), lambda _: [line(2)]) == [line(2)]
    assert store.lines("run_1", 0, 9) == [*chain(0), line(2)]


def test_connections_that_were_ended_between_calls(store: PostgresStore, postgres: PostgresServer) -> None:
    lines = chain(*range(4))
    calls: list[Callable[[], Any]] = [
        lambda: store.claim(RUN, lines[:1]),
        lambda: store.append(replace(RUN, length=1), lines[1:2], durable=True),
        lambda: store.append(replace(RUN, length=2), [], durable=False),
        lambda: store.transact(replace(RUN, length=2), lambda _: lines[2:3]),
        lambda: store.lines("run_1", 0, 9),
        lambda: store.orphan(RUN, lines[:1]),
        lambda: store.rescue(replace(RUN, length=3), lines[3:]),
        lambda: store.recover("run_1"),
        lambda: store.runs(9),
        lambda: store.cut(replace(RUN, length=4, holder=None), lines[:1], dead="here:1"),
    ]
    for call in calls:
        postgres.end_connections()
        call()
    assert (store.lines("run_1", 0, 9), store.orphans("run_1")) == ([*lines, lines[0]], [lines[0][0]])


def test_a_connection_that_is_ended_during_a_call(store: PostgresStore, postgres: PostgresServer) -> None:
    store.claim(RUN, chain(0))
    thread = threading.Thread(target=lambda: store.append(replace(RUN, length=1), chain(0, 1)[1:], durable=True))
    with psycopg.connect(postgres.url()) as other:
        other.execute("SELECT 1 FROM agentkit.runs FOR UPDATE")
        thread.start()
        ended: list[int] = []  # it takes a moment until they are gone
        for _ in range(3):
            while not (pid := postgres.execute(_WAITING, ended)):
                time.sleep(0.01)
            assert postgres.execute("SELECT pg_terminate_backend(%s)", pid)
            ended.append(pid)
    thread.join()
    assert store.lines("run_1", 0, 9) == chain(0, 1)


def test_a_lock_is_not_waited_for_without_end(
    database: str, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections._SETTINGS, "lock_timeout", "100ms")
    store = PostgresStore(database)
    store.claim(RUN, chain(0))
    with psycopg.connect(postgres.url()) as other:
        other.execute("SELECT 1 FROM agentkit.runs FOR UPDATE")
        with pytest.raises(JournalError, match="lock timeout") as caught:
            store.append(replace(RUN, length=1), [line(1)], durable=True)
        assert store.run("run_1")  # who reads does not wait
    assert caught.value.retryable
    store.append(replace(RUN, length=1), [line(1)], durable=True)
    store.close()


def test_a_server_that_can_only_be_read_any_more_is_left(store: PostgresStore) -> None:
    store.claim(RUN, chain(0))
    store._read("SELECT set_config('default_transaction_read_only', 'on', false)")  # as in what is a standby now
    store.append(replace(RUN, length=1), chain(0, 1)[1:], durable=True)
    assert store.lines("run_1", 0, 9) == chain(0, 1)


def test_who_finds_no_connection_free_does_not_wait_without_end(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_PATIENCE", 0.1)
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(store._connections._one())
        with pytest.raises(JournalError, match="others of this process wait for it too") as caught:
            store.runs(9)
    assert caught.value.retryable
    assert store.runs(9) == []


def test_a_frozen_connection_is_left(
    store: PostgresStore, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.claim(RUN, chain(0))
    monkeypatch.setattr(connections, "_ANSWER", 0.3)
    frozen = postgres.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'agentkit'")
    os.kill(frozen, signal.SIGSTOP)
    try:
        store.append(replace(RUN, length=1), chain(0, 1)[1:], durable=True)
    finally:
        os.kill(frozen, signal.SIGCONT)
    assert store.lines("run_1", 0, 9) == chain(0, 1)


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_server_that_restarts_in_mid_run(
    database: str, postgres: PostgresServer, mode: str, anyio_backend_name: str
) -> None:
    paid: list[int] = []

    @tool
    def pay(amount: int) -> str:
        """Pays."""
        paid.append(amount)
        postgres.stop(mode)
        starting.start()
        return f"paid {amount}"

    starting = threading.Timer(0.5, postgres.start)
    journal = Journal(PostgresStore(database))
    async with agent_for([PAYS, DONE], pay, journal=journal) as (agent, _):
        result = await agent.run("Pay.")
    await anyio.to_thread.run_sync(starting.join)
    assert (result.text, paid) == ("All done.", [1])
    assert journal.load(result.run_id).dump() == result.dump()
    journal.close()


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_server_that_stays_away(
    database: str, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_PATIENCE", 0.2)
    monkeypatch.setattr("agentkit.lease._PATIENCE", 0.5)
    paid: list[int] = []

    @tool
    def pay(amount: int) -> str:
        """Pays."""
        paid.append(amount)
        postgres.stop()
        return f"paid {amount}"

    journal = Journal(PostgresStore(database))
    async with agent_for([PAYS, DONE], pay, journal=journal) as (agent, _):
        try:
            with pytest.raises(JournalError, match=r"can't be used: .*; what has happened is kept in ") as caught:
                await agent.run("Pay.")
            assert "pass-word" not in str(caught.value)
        finally:
            postgres.start()
        result = await agent.resume(caught.value.result.run_id)
    assert (result.text, paid) == ("All done.", [1])
    assert [call.outcome for call in result.tool_calls] == ["done"]
    journal.close()
