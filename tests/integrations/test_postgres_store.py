"""What is PostgreSQL's alone: opening, the user's mistakes, secrets, syncs, transactions, connections."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from runs import agent_for
from scripted import reply, text, tool_use
from test_store import RUN, line

from agentkit import ConfigurationError, Journal, RunContext, tool
from agentkit.cli.journals import command_on
from agentkit.errors import JournalError, LeaseLost, RunBusy

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed", exc_type=ImportError)

from agentkit.integrations.postgres import PostgresStore, connections, schema  # noqa: E402

if TYPE_CHECKING:
    from postgres_server import PostgresServer

pytestmark = pytest.mark.slow


@pytest.fixture
def store(database: str) -> Iterator[PostgresStore]:
    opened = PostgresStore(database)
    yield opened
    opened.close()


def at_once(number: int, work: Callable[[int], None]) -> None:
    """In as many threads."""
    gate = threading.Barrier(number)

    def begin(at: int) -> None:
        gate.wait()
        work(at)

    threads = [threading.Thread(target=begin, args=(at,)) for at in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_many_open_a_new_journal_at_once(database: str) -> None:
    opened: list[PostgresStore] = []
    at_once(6, lambda _: opened.append(PostgresStore(database)))
    assert len({store._identity for store in opened}) == 1
    opened[0].claim(RUN, [line(0)])
    assert [store.lines("run_1", 0, 9) for store in opened] == [[line(0)]] * 6
    for store in opened:
        store.close()


def test_a_newer_journal_is_refused(database: str, postgres: PostgresServer) -> None:
    PostgresStore(database).close()
    postgres.execute("UPDATE agentkit.journal SET format = 7")
    with pytest.raises(ConfigurationError, match="has format 7, and this agentkit writes 1: update agentkit"):
        PostgresStore(database)
    assert postgres.execute("SELECT format FROM agentkit.journal") == 7


def test_C20_an_older_journal_is_brought_up_to_date(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    PostgresStore(database).close()
    monkeypatch.setattr(schema, "FORMAT", 2)
    monkeypatch.setattr(schema, "_MIGRATIONS", {1: ("CREATE TABLE agentkit.more (n integer)",)})
    opened: list[PostgresStore] = []
    at_once(4, lambda _: opened.append(PostgresStore(database)))
    assert len(opened) == 4
    for store in opened:
        store.close()
    monkeypatch.setattr(schema, "FORMAT", 1)
    with pytest.raises(ConfigurationError, match="has format 2"):
        PostgresStore(database)


def test_what_is_another_programs(database: str, postgres: PostgresServer) -> None:
    postgres.execute("CREATE SCHEMA agentkit")
    postgres.execute("CREATE TABLE agentkit.mine (n integer)")
    with pytest.raises(ConfigurationError, match=r"the schema agentkit in .* is another program's"):
        PostgresStore(database)
    postgres.execute("DROP TABLE agentkit.mine")
    PostgresStore(database).close()  # an empty one may have been made for us


def test_who_may_not_make_a_schema_is_told_so(database: str, postgres: PostgresServer) -> None:
    postgres.execute("DROP ROLE IF EXISTS clerk")
    postgres.execute("CREATE ROLE clerk LOGIN")
    with pytest.raises(ConfigurationError, match="permission denied for database postgres"):
        PostgresStore(postgres.url(user="clerk"))
    PostgresStore(database).close()
    with pytest.raises(ConfigurationError, match="permission denied"):
        PostgresStore(postgres.url(user="clerk"))


@pytest.mark.parametrize(
    ("database", "user", "told"),
    [("nowhere", "postgres", 'database "nowhere" does not exist'), ("postgres", "eve", 'role "eve" does not exist')],
)
def test_what_is_not_there(postgres: PostgresServer, database: str, user: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        PostgresStore(postgres.url(database, user))
    assert "pass-word" not in f"{caught.value!r} {caught.value.__cause__!r}"


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_can_not_hold_every_text(postgres: PostgresServer, encoding: str) -> None:
    postgres.execute(f"CREATE DATABASE narrow TEMPLATE template0 ENCODING '{encoding}'")
    try:
        with pytest.raises(ConfigurationError, match="is not in UTF-8: make one with ENCODING 'UTF8'"):
            PostgresStore(postgres.url("narrow"))
    finally:
        postgres.execute("DROP DATABASE narrow WITH (FORCE)")


def test_nobody_is_there() -> None:
    with pytest.raises(JournalError, match=r"postgresql://ada@127\.0\.0\.1:1/db can't be used: .*refused") as caught:
        PostgresStore("postgresql://ada:hunter2@127.0.0.1:1/db")
    assert caught.value.retryable
    assert "hunter2" not in f"{caught.value!r} {caught.value.__cause__!r}"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:hun@ter2@localhost/db",
        "postgresql://ada:hun/ter2@localhost/db",
        "postgresql://ada:hun%zter2@localhost/db",
        "postgresql://ada:hunter2@localhost:54x/db",
        "postgresql://ada:hunter2@localhost/db?passwd=hunter2",
        "postgresql://ada:hunter2@[::1/db",
        "host=localhost password='hunter2",
        "runs.db",
    ],
)
def test_a_url_that_can_not_be_read_is_not_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match="the URL of the journal can't be read: write postgresql://") as caught:
        PostgresStore(url)
    chain = f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__suppress_context__}"
    assert "hun" not in chain
    assert "ter2" not in chain


def test_the_password_is_not_shown(store: PostgresStore, postgres: PostgresServer) -> None:
    assert repr(store) == f"PostgresStore('postgresql://postgres@127.0.0.1:{postgres.port}/postgres')"
    postgres.execute("DROP SCHEMA agentkit CASCADE")
    with pytest.raises(JournalError, match="its tables were removed while it was in use") as caught:
        store.claim(RUN, [])
    assert not caught.value.retryable
    assert "pass-word" not in str(caught.value)


@pytest.mark.parametrize("durable", [True, False])
def test_what_is_durable_is_synced_and_nothing_else(
    store: PostgresStore, postgres: PostgresServer, durable: bool
) -> None:
    store.claim(RUN, [line(0)])

    def is_synced(length: int) -> Any:
        postgres.execute("SELECT pg_logical_emit_message(true, 'all', 'before')")  # its commit flushes that
        store.append(replace(RUN, length=length), [line(length)], durable=durable)
        return postgres.execute("SELECT pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn()")

    # The server may write something of its own in between, or sync what there is.
    assert any(is_synced(length) is durable for length in (1, 2, 3))
    (mode,) = store._read("SHOW synchronous_commit")
    assert mode == ("on",)


def test_no_text_with_a_nul_stops_a_run(store: PostgresStore) -> None:
    entry = b'{"text": "\\u0000"}', b"\0digest"
    store.claim(replace(RUN, title="a\0b", detail="c\0"), [entry])
    row = store.run("run_1")
    assert row is not None
    assert (row.title, row.detail, store.lines("run_1", 0, 1)) == ("a\N{REPLACEMENT CHARACTER}b", "c\ufffd", [entry])
    with pytest.raises(JournalError, match="NUL"):
        store.claim(replace(RUN, run_id="a\0"), [entry])


def test_a_forked_process_opens_its_own(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store._connections, "_pid", os.getpid() + 1)
    with pytest.raises(JournalError, match="forked"):
        store.runs(1)


def test_what_is_closed_says_so(store: PostgresStore) -> None:
    store.close()
    store.close()
    for use in (lambda: store.runs(1), lambda: store.transact(RUN, lambda _: [])):
        with pytest.raises(JournalError, match="is closed"):
            use()


def test_many_threads_share_few_connections(database: str, postgres: PostgresServer) -> None:
    store = PostgresStore(f"{database}?application_name=threads")
    rows = [replace(RUN, run_id=f"run_{at}", holder=f"here:{at}") for at in range(16)]

    def append(at: int) -> None:
        store.claim(rows[at], [line(0)])
        for length in range(1, 6):
            store.append(replace(rows[at], length=length), [line(length)], durable=length % 2 == 0)

    at_once(16, append)
    assert [store.lines(row.run_id, 0, 9) for row in rows] == [[line(n) for n in range(6)]] * 16
    ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'threads'"
    assert 1 <= postgres.execute(ours) <= 4
    store.close()


def test_C16_one_of_many_begins_a_session(database: str) -> None:
    stores = [PostgresStore(database) for _ in range(6)]
    won: list[int] = []
    busy: list[RunBusy] = []

    def claim(at: int) -> None:
        row = replace(RUN, run_id=f"run_{at}", holder=f"here:{at}", session="ada")
        try:
            won.append(stores[at].claim(row, [line(at)]))
        except RunBusy as error:
            busy.append(error)

    at_once(6, claim)
    assert (won, len(busy), len(stores[0].runs(9))) == ([1], 5, 1)
    for store in stores:
        store.close()


# Transactions


def test_work_and_its_lines_are_one_transaction(store: PostgresStore, postgres: PostgresServer) -> None:
    postgres.execute("DROP TABLE IF EXISTS paid")
    postgres.execute("CREATE TABLE paid (n integer)")
    store.claim(RUN, [line(0)])
    row = replace(RUN, length=1)

    def pays(db: Any) -> list[tuple[bytes, bytes]]:
        db.execute("INSERT INTO paid VALUES (1)")
        db.execute("SET search_path = nowhere")
        return [line(1)]

    def fails(db: Any) -> list[tuple[bytes, bytes]]:
        pays(db)
        raise ZeroDivisionError

    def ends(db: Any) -> list[tuple[bytes, bytes]]:
        db.execute("ROLLBACK")
        return [line(1)]

    def stumbles(db: Any) -> list[tuple[bytes, bytes]]:
        with pytest.raises(psycopg.Error):
            db.execute("SELECT 1 / 0")
        return [line(1)]

    with pytest.raises(ZeroDivisionError):
        store.transact(row, fails)
    with pytest.raises(JournalError, match="must not end the transaction itself"):
        store.transact(row, ends)
    with pytest.raises(JournalError, match="current transaction is aborted"):
        store.transact(row, stumbles)
    assert (postgres.execute("SELECT count(*) FROM paid"), store.lines("run_1", 1, 9)) == (0, [])
    assert store.transact(row, pays) == [line(1)]
    assert (postgres.execute("SELECT count(*) FROM paid"), store.lines("run_1", 1, 9)) == (1, [line(1)])
    with pytest.raises(LeaseLost):
        store.transact(row, pays)
    assert postgres.execute("SELECT count(*) FROM paid") == 1
    assert store._read("SHOW search_path") == [('"$user", public',)]


@pytest.mark.anyio
async def test_a_transactional_tool_pays_by_the_same_transaction(database: str, postgres: PostgresServer) -> None:
    postgres.execute("DROP TABLE IF EXISTS credits")
    postgres.execute("CREATE TABLE credits (key text, amount integer CHECK (amount > 0))")

    @tool(transactional=True)
    def credit(ctx: RunContext[Any], amount: int) -> str:
        """Credits an account."""
        ctx.transaction.execute("INSERT INTO credits VALUES (%s, %s)", (ctx.idempotency_key, amount))
        return f"credited {amount}"

    journal = Journal(PostgresStore(database))
    calls = [tool_use("credit", id=f"toolu_{amount}", amount=amount) for amount in (1, 0)]
    async with agent_for([reply(*calls), reply(text("Done."))], credit, journal=journal) as (agent, _):
        result = await agent.run("Credit.")
    assert [call.outcome for call in result.tool_calls] == ["done", "failed"]
    assert postgres.execute("SELECT count(*) FROM credits") == 1
    assert journal.load(result.run_id).dump() == result.dump()
    journal.close()


# Where rescued results go


def test_a_rescued_result_goes_to_the_home_of_agentkit(
    store: PostgresStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.rescue(RUN, [line(0)]).startswith(str(tmp_path / "state" / "agentkit" / f"postgres-{store._identity}"))
    monkeypatch.setenv("AGENTKIT_HOME", str(tmp_path / "home"))
    store.recover("run_1")
    assert Path(store.rescue(RUN, [line(0)])).parent == tmp_path / "home"
    (tmp_path / "file").touch()
    monkeypatch.setenv("AGENTKIT_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(JournalError, match=r"nor can the folder .* be made: .*; set AGENTKIT_HOME"):
        store.rescue(RUN, [line(0)])


def test_what_others_open_by_another_url_is_the_same_journal(store: PostgresStore, postgres: PostgresServer) -> None:
    other = PostgresStore(f"host=localhost port={postgres.port} user=postgres dbname=postgres")
    assert other._beside() == store._beside()
    other.close()


def test_the_settings_hold_in_every_connection(store: PostgresStore) -> None:
    for name, value in connections._SETTINGS.items():
        (shown,) = store._read("SELECT current_setting(%s)", name)
        assert shown == (value.replace("60s", "1min"),)


@pytest.mark.anyio
async def test_an_agent_takes_its_url(database: str) -> None:
    async with agent_for([reply(text("Done."))], journal=database) as (agent, _):
        result = await agent.run("Hello.")
        assert agent.journal is not None
        assert agent.journal.load(result.run_id).dump() == result.dump()
        agent.journal.close()


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for name in [name for name in sys.modules if name.startswith("agentkit.integrations.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ConfigurationError, match=r"agentkit-loop\[postgres\]"):
        Journal("postgresql://localhost/x")


def test_the_command_names_no_password() -> None:
    assert command_on("12345678", "postgresql://ada:s3cret@db/x") == (
        "agentkit runs resume 12345678 --journal postgresql://ada@db/x"
    )
