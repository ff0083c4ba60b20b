"""A PostgreSQL of `fleet.py`'s own, and what it counts: statements, WAL, synced writes, CPU, what is kept."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "integrations"))
import postgres_server

__all__ = ["Counted", "Database", "running"]

SETTINGS = (
    "listen_addresses=127.0.0.1",
    "lc_messages=C",
    "fsync=on",
    "shared_preload_libraries=pg_stat_statements",
    "pg_stat_statements.max=1000",
)
_STATEMENTS = """
SELECT query, calls::bigint FROM pg_stat_statements
JOIN pg_roles ON pg_roles.oid = userid WHERE rolname = 'agents' ORDER BY calls DESC
"""
_KEPT = """
SELECT schemaname, sum(n_live_tup)::bigint, sum(pg_total_relation_size(relid))::bigint
FROM pg_stat_user_tables WHERE schemaname IN ('agentkit', 'dbos') GROUP BY 1
"""
_CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'agents'"


@dataclass(frozen=True, slots=True)
class Counted:
    """What a database has done since it was asked last.

    Attributes:
        statements: Each is one round trip; by text.
        wal: Bytes.
        synced: Times that the log was synced.
        cpu: Seconds of all its processes.
    """

    statements: dict[str, int]
    wal: int
    synced: int
    cpu: float

    @property
    def total(self) -> int:
        """Of the statements."""
        return sum(self.statements.values())

    def by_part(self) -> Counter[str]:
        """Statements on the journal's tables, on those of the queue, and those that begin and end transactions."""
        found: Counter[str] = Counter()
        for query, calls in self.statements.items():
            part = "journal" if "agentkit." in query else "queue" if "dbos" in query else "transactions"
            found[part] += calls
        return found


class Database:
    """One that is running; whoever is measured connects as the user `agents`."""

    def __init__(self, server: postgres_server.PostgresServer) -> None:
        self.url = server.url(user="agents")
        self._db = psycopg.connect(server.url(), autocommit=True)
        self._db.execute("CREATE ROLE agents SUPERUSER LOGIN")
        self._db.execute("CREATE EXTENSION pg_stat_statements")
        self._before = (0, 0, 0.0)

    def renew(self) -> None:
        """Removes what runs have left."""
        self._db.execute("DROP SCHEMA IF EXISTS agentkit, dbos CASCADE")

    def begin(self) -> None:
        """Counts from here on."""
        self._db.execute("SELECT pg_stat_statements_reset()")
        self._before = self._totals()

    def counted(self) -> Counted:
        """What was counted."""
        statements: Counter[str] = Counter()
        for query, calls in self._db.execute(_STATEMENTS):
            statements[" ".join(query.split())] += calls
        wal, synced, cpu = (now - before for now, before in zip(self._totals(), self._before, strict=True))
        return Counted(statements, int(wal), int(synced), cpu)

    def version(self) -> str:
        """Of the server."""
        return str(self._value("SHOW server_version")).split()[0]

    def unended(self) -> int:
        """Runs that are queued, or go on."""
        return int(self._value("SELECT count(*) FROM agentkit.runs WHERE state IN ('queued', 'running')"))

    def connections(self) -> int:
        """Of those who are measured."""
        return int(self._value(_CONNECTIONS))

    def kept(self) -> dict[str, tuple[int, int]]:
        """Rows and bytes, indexes included, by schema."""
        self._db.execute("VACUUM ANALYZE")
        return {schema: (rows, size) for schema, rows, size in self._db.execute(_KEPT)}

    def _totals(self) -> tuple[int, int, float]:
        lsn = self._value("SELECT pg_current_wal_insert_lsn() - '0/0'")
        return int(lsn), int(self._value("SELECT wal_sync FROM pg_stat_wal")), self._cpu()

    def _value(self, query: str) -> Any:
        row = self._db.execute(query.encode()).fetchone()
        return row[0] if row else None

    def _cpu(self) -> float:
        """Seconds of the server: of itself, of those it has now, and of those that have ended."""
        first = int(str(self._value("SELECT pg_read_file('postmaster.pid')")).split()[0])
        ticks = 0
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(folder.name) == first:
                ticks += sum(int(field) for field in fields[11:15])
            elif int(fields[1]) == first:
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def running() -> Iterator[Database]:
    """A new server, which syncs what it says it does."""
    with patch.object(postgres_server, "_SETTINGS", SETTINGS), postgres_server.running() as server:
        yield Database(server)
