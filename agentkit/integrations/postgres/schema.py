"""The tables of a journal in PostgreSQL: made where there are none, brought up to date, refused when newer."""

from __future__ import annotations

import os

from agentkit.errors import ConfigurationError
from agentkit.integrations.postgres.connections import Connection

__all__ = ["FORMAT", "prepare"]

FORMAT = 1
_LOCK = 0x61676B31  # "agk1": who makes the tables lets others wait by this
_SCHEMA = """
CREATE TABLE agentkit.runs (
  run_id text PRIMARY KEY, parent text, parent_length bigint NOT NULL, model text NOT NULL, title text NOT NULL,
  state text NOT NULL, detail text, created float8 NOT NULL, updated float8 NOT NULL, length bigint NOT NULL,
  epoch bigint NOT NULL, holder text, expires float8 NOT NULL, session text,
  number bigint GENERATED ALWAYS AS IDENTITY
);
CREATE INDEX runs_updated ON agentkit.runs (updated, number);
CREATE INDEX runs_running ON agentkit.runs (updated, number) WHERE state = 'running';
CREATE INDEX runs_queued ON agentkit.runs (updated, number) WHERE state = 'queued';
CREATE INDEX runs_scheduled ON agentkit.runs (updated, number) WHERE state = 'scheduled';
CREATE INDEX runs_session ON agentkit.runs (session, number) WHERE session IS NOT NULL;
CREATE TABLE agentkit.entries (
  run_id text, seq bigint, entry bytea NOT NULL, digest bytea NOT NULL, written float8 NOT NULL,
  PRIMARY KEY (run_id, seq)
);
CREATE TABLE agentkit.orphans (
  run_id text NOT NULL, epoch bigint NOT NULL, entry bytea NOT NULL, written float8 NOT NULL,
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY
);
CREATE INDEX orphans_run ON agentkit.orphans (run_id);
CREATE TABLE agentkit.journal (format integer NOT NULL, identity text NOT NULL);
"""
_TABLE = """
SELECT 1 FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = 'agentkit' AND relname = 'journal'
"""
# What makes of the tables of each older format those of the next.
_MIGRATIONS: dict[int, tuple[str, ...]] = {}


def prepare(db: Connection, place: str) -> str:
    """Makes sure that the tables are there, and as this agentkit writes them.

    Args:
        db: A connection outside a transaction.
        place: Names the database in an error.

    Returns:
        The identity of the journal: the same for all who open it, by whatever URL.

    Raises:
        ConfigurationError: A newer agentkit made them, another program did, or the database is not in UTF-8.
    """
    if db.info.parameter_status("server_encoding") != "UTF8":
        raise ConfigurationError(f"the database of {place} is not in UTF-8: make one with ENCODING 'UTF8'")
    known = _known(db)
    if known is None or known[0] != FORMAT:
        with db.transaction():
            db.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            known = _brought_up_to_date(db, _known(db), place)
    return known[1]


def _known(db: Connection) -> tuple[int, str] | None:
    """The format and the identity of the journal that is there."""
    # `to_regclass` may answer from before the lock was ours.
    if not db.execute(_TABLE).fetchone():
        return None
    found = db.execute("SELECT format, identity FROM agentkit.journal").fetchone()
    return (found[0], found[1]) if found else None


def _brought_up_to_date(db: Connection, known: tuple[int, str] | None, place: str) -> tuple[int, str]:
    if known is None:
        return _made(db, place)
    version, identity = known
    if version > FORMAT:
        text = f"the journal {place} has format {version}, and this agentkit writes {FORMAT}"
        raise ConfigurationError(f"{text}: update agentkit, or use another database")
    for older in range(version, FORMAT):
        for statement in _MIGRATIONS[older]:
            db.execute(statement)
    db.execute("UPDATE agentkit.journal SET format = %s", (FORMAT,))
    return FORMAT, identity


def _made(db: Connection, place: str) -> tuple[int, str]:
    # Who may not make schemas may still have been given an empty one.
    there = db.execute("SELECT oid FROM pg_namespace WHERE nspname = 'agentkit'").fetchone()
    if there and db.execute("SELECT 1 FROM pg_class WHERE relnamespace = %s LIMIT 1", there).fetchone():
        raise ConfigurationError(f"the schema agentkit in {place} is another program's: use another database")
    if not there:
        db.execute("CREATE SCHEMA agentkit")
    for statement in _SCHEMA.split(";"):
        if statement.strip():
            db.execute(statement)
    identity = os.urandom(8).hex()
    db.execute("INSERT INTO agentkit.journal VALUES (%s, %s)", (FORMAT, identity))
    return FORMAT, identity
