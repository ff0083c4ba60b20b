"""The journal's own tests, with PostgreSQL in place of SQLite."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import test_agent_session
import test_journal
import test_journal_changes
import test_journal_rescued
import test_lease_edges

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed", exc_type=ImportError)

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.usefixtures("_instead_of_sqlite")]
_MODULES = (test_journal, test_journal_changes, test_journal_rescued, test_lease_edges, test_agent_session)
path, clock, store = test_journal_changes.path, test_journal_rescued.clock, test_journal_rescued.store  # fixtures
_SQLITE_ALONE = {
    "test_the_home_of_the_environment",  # names a file
    "test_C18_a_write_that_hangs_is_not_waited_for",  # locks the file
    "test_C18_a_process_that_is_killed_while_it_waits",  # the same, in another process
    "test_digests_in_logs_stay_what_they_are",  # these need no store
    "test_fifty_runs_are_listed",
    "test_a_holder_is_dead_once_it_has_given_back",
    "test_which_holder_is_dead",
    "test_a_journal_is_a_path_or_a_store",
}


class Sqlite3:
    """What the tests look into the database by, and damage it: the same statements, asked of PostgreSQL."""

    def __init__(self, url: str) -> None:
        self._url = url

    def connect(self, file: object) -> Any:
        class Connection(psycopg.Connection[Any]):
            def execute(self, query: str, *values: Any) -> Any:
                return super().execute(query.replace("?", "%s").replace("rowid", "ctid").encode(), *values)

        return Connection.connect(self._url, options="-c search_path=agentkit")


@pytest.fixture
def _instead_of_sqlite(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from agentkit.integrations.postgres import PostgresStore

    opened: list[PostgresStore] = []

    def opens(file: object) -> PostgresStore:
        opened.append(PostgresStore(database))
        return opened[-1]

    for module in ("agentkit.journal", "journaled"):
        monkeypatch.setattr(f"{module}.SqliteStore", opens)
    for test_module in (test_journal, test_journal_changes):
        monkeypatch.setattr(test_module, "sqlite3", Sqlite3(database))
    monkeypatch.setattr(PostgresStore, "_beside", lambda store: tmp_path / "runs.db")  # where the tests look
    yield
    for one in opened:
        one.close()


def suites() -> dict[str, Any]:
    """The tests of a journal that has a store."""
    named = {name: test for module in _MODULES for name, test in vars(module).items() if name.startswith("test_")}
    return {name: test for name, test in named.items() if inspect.isfunction(test) and name not in _SQLITE_ALONE}


globals().update(suites())


def test_the_suites_are_there() -> None:
    assert len(suites()) > 40
    assert {name for module in _MODULES for name in vars(module)} >= _SQLITE_ALONE
