"""Several who want one run: resumers that start at once, and a process that was stopped while another took over."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from chaos_runs import Case, Chaos, Workers, log_of

from agentkit import Journal

INTERRUPTED = ("after turn", "after intent", "effect pay", "after result pay", "parked", "effect refund")
STOPPED = (
    *("before turn", "after turn", "before intent", "after intent", "before turn#2", "before release parked"),
    *(
        "before intent refund",
        "after intent refund",
        "effect refund",
        "before result refund",
        "before turn#3",
        "before release ended",
    ),
)
# A tool that has been entered goes on, and no runtime can stop it: its effect comes late, and is unknown to the run.
STOPPED_IN_A_TOOL = "enter refund"
LATE = ("effect refund", "before result refund", STOPPED_IN_A_TOOL)
LEASE = 0.4


def race(chaos: Chaos, resumers: int, boundary: str, *, threads: bool = False) -> Counter[str]:
    """Resumers that start at once on a run that was killed: one goes on, the others hear that it does.

    Args:
        chaos: See `Chaos`.
        resumers: How many.
        boundary: Where the run was killed.
        threads: Whether they are threads of one process, each with a journal of its own.
    """
    with chaos.case(f"{resumers} resumers {boundary}") as case:
        (code,) = case.run(case.job(point=boundary))
        assert code == -signal.SIGKILL, f"{boundary} was not reached: {code}"
        case.look()
        jobs = [case.job() for _ in range(resumers)]
        for job in jobs:
            job["waits_for"] = [other["result"] for other in jobs if other is not job]
            job["start_at"] = time.monotonic() + 0.02
        assert not any(case.run({**jobs[0], "threads": jobs}) if threads else case.run(*jobs))
        said = [case.said(job) for job in jobs]
        winners = [one for one in said if "error" not in one]
        assert len(winners) == 1, [one.get("detail") for one in said]
        errors = Counter(one["error"] for one in said if "error" in one)
        # Who decides when the approved call has begun hears that it waits for no decision.
        expected = {"RunBusy", "ConfigurationError"} if boundary == "parked" else {"RunBusy"}
        assert set(errors) <= expected, [one.get("trace") for one in said]
        return Counter(kills=1, busy=errors.total()) + case.check(winners[0])


def stop_at(chaos: Chaos, boundary: str, *, meets: bool = False) -> Counter[str]:
    """Stops a process past its lease, lets another take over, and lets the first go on.

    Args:
        chaos: See `Chaos`.
        boundary: Where it is stopped.
        meets: Whether it goes on while the other is under way, and not after its end.
    """
    with chaos.case(f"stopped {boundary}") as case:
        with chaos.workers() as first, chaos.workers() as second:
            (pid,) = first.begin(stopped := case.job(point=boundary, signal="SIGSTOP", lease_seconds=LEASE))
            try:
                wait_until_stopped(pid)
                wait_until_free(case)
                case.look()
                effects = case.effects_of(pid)
                went_on = go_on(case, second, pid, stopped["result"] if meets else None)
            finally:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
                first.ended()
        late = case.said(stopped)
        assert late.get("error") == "LeaseLost", late
        with closing(Journal(case.folder / "runs.db")) as journal:
            (row,) = journal.runs()
            orphans = journal.orphans(row.run_id)
        assert (row.state, row.holder) == ("end_turn", None)
        late_results = [entry["call"] for entry in orphans if entry.get("outcome") == "done"]
        assert boundary not in LATE or late_results == ["2:toolu_refund"], "a late result is no orphan"
        counts = Counter(stops=1, orphans=len(orphans), late=case.effects_of(pid) - effects)
        assert not counts["late"] or boundary == STOPPED_IN_A_TOOL, "who had lost the run began an effect"
        return counts + case.check(case.said(went_on))


def go_on(case: Case, workers: Workers, pid: int, result: str | None) -> dict[str, Any]:
    """The process that takes over; with `result`, the stopped one goes on beside it, and says something there."""
    job = case.job(waits_for=[result] if result else [])
    workers.begin(job)
    if result:
        give_up = time.monotonic() + 20
        while not (case.folder / "going on").exists() and time.monotonic() < give_up:
            time.sleep(0.005)
        os.kill(pid, signal.SIGCONT)
        workers.ended()
        return job
    workers.ended()
    log = log_of(case.folder / "runs.db")
    os.kill(pid, signal.SIGCONT)
    give_up = time.monotonic() + 20
    while not (case.folder / "result 1.json").exists() and time.monotonic() < give_up:
        time.sleep(0.005)
    assert log_of(case.folder / "runs.db") == log, "who had lost the run has written to it"
    return job


def wait_until_stopped(pid: int) -> None:
    """The process has got its SIGSTOP."""
    give_up = time.monotonic() + 20
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < give_up, "it was not reached"
        time.sleep(0.005)


def wait_until_free(case: Case) -> None:
    """The lease of the stopped process is over."""
    with closing(Journal(case.folder / "runs.db")) as journal:
        while any(journal.is_live(row) for row in journal.runs()):
            time.sleep(0.01)
