"""How a run comes onto a queue: into the journal first, then to the engine. Done twice, it is there once."""

from __future__ import annotations

from agentkit.errors import RunBusy
from agentkit.integrations.durable.engine import Engine
from agentkit.journal import GOES_ON, Journal
from agentkit.loop import begin
from agentkit.messages import Prompt
from agentkit.recall import has_begun
from agentkit.transcript import Transcript

__all__ = ["resumed", "submit"]


def submit(
    engine: Engine,
    journal: Journal,
    queue: str,
    run_id: str,
    prompt: Prompt,
    session: str | None,
    *,
    delay: float = 0.0,
) -> None:
    """Stores a run, and puts it on a queue: see `Queue.submit`.

    Args:
        engine: The queues.
        journal: The runs.
        queue: The name of the queue.
        run_id: Names the run.
        prompt: What it is asked.
        session: The conversation that it goes on with.
        delay: Seconds until a worker may begin it.

    Raises:
        ConfigurationError: The prompt has no known shape, or the name is another run's.
        RunBusy: The session has a run that has not ended.
        JournalError: The database can't be reached.
    """
    if not has_begun(run_id, prompt, journal):
        try:
            _store(journal, queue, run_id, prompt, session)
        except RunBusy:
            if not has_begun(run_id, prompt, journal):
                raise
            # Another one has submitted it meanwhile.
    row = journal.run(run_id)
    if row.state == "running" and not journal.is_live(row):
        row = journal.run(run_id)  # it may just have been left
        if row.state == "running" and row.detail is None:
            journal.enqueue(resumed(journal, run_id), queue)  # who stored it died over it
            row = journal.run(run_id)
    if row.state == "queued":
        engine.enqueue(row.detail or queue, run_id, row.epoch, delay=delay)


def resumed(journal: Journal, run_id: str) -> Transcript:
    """The log of a run that is to go on."""
    transcript = journal.load(run_id)
    begin(transcript, run_id, None, asks=transcript.asked)
    return transcript


def _store(journal: Journal, queue: str, run_id: str, prompt: Prompt, session: str | None) -> None:
    last = journal.last(session) if session else None
    if last and last.state in GOES_ON:
        raise RunBusy(f"session {session!r} has a run that has not ended ({last.run_id}): wait for it, or cancel it")
    transcript = journal.load(last.run_id) if last else Transcript()
    begin(transcript, run_id, prompt, asks=transcript.asked)
    journal.enqueue(transcript, queue, session)
