"""What docs/guides/cost-at-scale.md clears, in a real PostgreSQL: what is old and has ended, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from pytest_examples import CodeExample, EvalExample, find_examples

from agentkit.loop import begin

pytest.importorskip("dbos", reason="DBOS is not installed", exc_type=ImportError)

from agentkit.integrations.durable import Queue

if TYPE_CHECKING:
    from postgres_server import PostgresServer

pytestmark = pytest.mark.slow

(BLOCK,) = find_examples(Path(__file__).parents[2] / "docs" / "guides" / "cost-at-scale.md")


@pytest.fixture
def queue(postgres: PostgresServer, database: str) -> Iterator[Queue]:
    postgres.execute("DROP SCHEMA IF EXISTS dbos CASCADE")
    queue = Queue("research", database)
    yield queue
    queue.close()


def go_on(queue: Queue, name: str, after: str) -> None:
    """A run that continues another one."""
    transcript = queue.journal.load(after)
    begin(transcript, name, "And then?", asks=transcript.asked)
    queue.journal.enqueue(transcript, "elsewhere")


async def prepare(queue: Queue) -> None:
    for name in ("old", "new", "waits", "continued", "continued-long-ago"):
        await queue.submit("Who maintains CPython?", run_id=name)
    for name in ("said", "said-later"):
        await queue.submit("My name is Ada.", run_id=name, session="ada")
        await queue.cancel(name)
    for name in ("old", "new", "continued", "continued-long-ago"):
        await queue.cancel(name)
    go_on(queue, "next", "continued")
    go_on(queue, "next-long-ago", "continued-long-ago")
    queue.journal.cancel("next-long-ago")
    await queue.schedule("yearly", "0 9 1 12 *", "What a year?")


def test_what_is_old_and_ended_is_cleared(
    queue: Queue,
    postgres: PostgresServer,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
    eval_example: EvalExample,
) -> None:
    anyio.run(prepare, queue)
    (yearly,) = queue.schedules()
    old = ["old", "waits", "continued", "continued-long-ago", "next-long-ago", "said", yearly.run_id]
    month = 31 * 24 * 3600
    postgres.execute("UPDATE agentkit.runs SET updated = updated - %s WHERE run_id = ANY (%s)", month, old)
    jobs = [f"{run_id}-1" for run_id in old]
    aged = "UPDATE dbos.workflow_status SET completed_at = completed_at - %s WHERE workflow_uuid = ANY (%s)"
    postgres.execute(aged, 1000 * month, jobs)

    monkeypatch.setenv("DATABASE_URL", database)
    block: CodeExample = BLOCK
    eval_example.run(block)

    kept = {row.run_id for row in queue.journal.runs()}
    assert kept == {"new", "waits", "continued", "next", "said", "said-later", yearly.run_id}
    assert {job.run_id for job in queue.engine.jobs_of(kept | set(old))} == {"new", "waits", "said-later"}
    entries = "SELECT count(*) FROM agentkit.entries WHERE NOT run_id = ANY (%s)"
    assert postgres.execute(entries, list(kept)) == 0
    assert [entry["entry"] for entry in queue.journal.load("next").entries].count("run") >= 1
