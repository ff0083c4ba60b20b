"""Agents on many machines: queues and workers on DBOS, beside a journal in PostgreSQL.

A run on a queue is one workflow of the engine, which hands it to a worker. What the run has done is in the journal, and
there alone: see docs/decisions/0008.
"""

from __future__ import annotations

try:
    import dbos as _dbos  # noqa: F401
except ImportError as error:
    raise ImportError("queues and workers need DBOS: pip install 'agentkit-loop[dbos]'") from error

from agentkit.integrations.durable.queue import Queue
from agentkit.integrations.durable.schedules import Schedule
from agentkit.integrations.durable.worker import Told, Worker

__all__ = ["Queue", "Schedule", "Told", "Worker"]
