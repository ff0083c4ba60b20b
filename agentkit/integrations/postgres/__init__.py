"""Runs in PostgreSQL, for the processes of many machines: `Agent(journal="postgresql://…")`."""

from __future__ import annotations

try:
    import psycopg as _psycopg  # noqa: F401
except ImportError:
    raise ImportError(
        "agentkit.integrations.postgres needs another package: pip install 'agentkit-loop[postgres]'"
    ) from None

from agentkit.integrations.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
