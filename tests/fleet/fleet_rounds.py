"""What is done to a fleet: workers are killed, stopped and told to end under load, and its database is restarted."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
from fleet_runs import ASKED, ASKS, PATIENCE, RUNS, Fleet, WorkerProcess, until

from agentkit import ConfigurationError, allow, deny, edit
from agentkit.call import Decision
from agentkit.errors import RunBusy

SPAN = 4.0  # seconds in which about all runs are still under way


@dataclass
class Round:
    """What one round gave.

    Attributes:
        counts: For the table.
        seconds: How long it was until something, by what.
    """

    counts: Counter[str]
    seconds: dict[str, float] = field(default_factory=dict)


def kill(fleet: Fleet, chance: random.Random, *, apart: bool = False, both: bool = False) -> Round:
    """Kills one of two workers with 25 runs each, or both, and starts others in their place.

    Args:
        fleet: The fleet.
        chance: Draws which and when.
        apart: Whether each worker is to be on a machine of its own.
        both: Whether both are killed.
    """
    run_ids = _in_flight(fleet, apart=apart)
    time.sleep(chance.uniform(0, SPAN))
    victims = fleet.workers[:] if both else [fleet.workers[chance.randrange(2)]]
    at = min([victim.kill() for victim in victims])
    fleet.workers = [worker for worker in fleet.workers if worker not in victims]
    rows = {id_: row for victim in victims for id_, row in fleet.held_by(victim, run_ids).items()}
    known = fleet.logs(rows)
    fleet.start(2, apart=apart)
    fleet.ended(run_ids)
    counts = fleet.check(run_ids, known) + Counter(held=len(rows))
    return Round(counts, _takeover(fleet, at, rows))


def kill_twice(fleet: Fleet, chance: random.Random) -> Round:
    """Kills both workers, then both of those that are started in their place."""
    run_ids = _in_flight(fleet)
    killed: list[float] = []
    for _ in range(2):
        time.sleep(chance.uniform(0, SPAN / 4))
        workers = fleet.workers[:]
        killed.append(time.time())
        fleet.kill()
        rows = {id_: row for worker in workers for id_, row in fleet.held_by(worker, run_ids).items()}
        known = fleet.logs(rows)
        fleet.start(2)
        fleet.serving()
        until(partial(_has_begun, fleet, killed[-1], len(rows) // 4), "some are begun again")
    fleet.ended(run_ids)
    return Round(fleet.check(run_ids, known) + Counter(held=len(rows)), {"all ended": time.time() - killed[-1]})


def decide(fleet: Fleet, chance: random.Random) -> Round:
    """Each run parks for an approval, and two people decide on it at once, while workers are killed three times."""
    run_ids = _in_flight(fleet, prompt=ASKS)
    counts = Counter[str]()
    kills = sorted(time.monotonic() + chance.uniform(0, 3 * SPAN) for _ in range(3))
    give_up = time.monotonic() + PATIENCE
    states: Counter[str] = Counter()
    while states["end_turn"] < RUNS:
        rows = fleet.rows(run_ids)
        states = Counter(row["state"] for row in rows.values())
        assert time.monotonic() < give_up, f"after {PATIENCE:.0f} seconds: {states}"
        if kills and time.monotonic() > kills[0]:
            kills.pop(0)
            fleet.workers.pop(chance.randrange(2)).kill()
            fleet.start(2)
        for run_id, row in rows.items():
            if row["state"] == "needs_approval":
                counts["parked"] += 1
                counts["decided"] += _decide(fleet, run_id, chance)
        time.sleep(0.05)
    fleet.ended(run_ids)
    assert counts["decided"] == RUNS, f"{counts['decided']} decisions were taken of {RUNS} runs"
    return Round(fleet.check(run_ids, {}) + counts)


def _decide(fleet: Fleet, run_id: str, chance: random.Random) -> int:
    """Two decisions at once; how many of them were taken."""

    def takes(decision: Decision) -> bool:
        try:
            anyio.run(fleet.queue.go_on, run_id, {ASKED: decision})
        except (RunBusy, ConfigurationError):
            return False
        return True

    decisions = [allow(), deny("No."), edit({"amount": 7})]
    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(takes, chance.sample(decisions, 2)))


def _has_begun(fleet: Fleet, since: float, runs: int) -> bool:
    return len({told["run_id"] for told in fleet.told("began", since)}) >= runs


def _in_flight(fleet: Fleet, *, apart: bool = False, concurrency: int = RUNS // 2, prompt: str = "Do it.") -> list[str]:
    """Two workers, and runs that both of them have begun."""
    fleet.start(2, apart=apart, concurrency=concurrency)
    fleet.serving()
    run_ids = fleet.submit(prompt=prompt)
    begun = set(run_ids)
    until(lambda: begun <= {told["run_id"] for told in fleet.told("began")}, "all runs are begun", seconds=60)
    return run_ids


def _takeover(fleet: Fleet, at: float, rows: dict[str, dict[str, Any]]) -> dict[str, float]:
    if not rows:  # they had all ended
        return {}
    taken = sorted(told["at"] - at for told in fleet.told("taken_over", at) if told["run_id"] in rows)
    entries = fleet.first_entries(at, rows)
    assert taken, "nothing was taken over"
    assert len(entries) == len(rows), "a run has ended without an entry"
    return {"first taken": taken[0], "first entry": entries[0], "last entry": entries[-1]}


def stop_past_its_lease(fleet: Fleet, chance: random.Random) -> Round:
    """Stops one of two workers until the other has ended its runs, then lets it go on; it is to do nothing to them."""
    run_ids = _in_flight(fleet, apart=True)
    time.sleep(chance.uniform(0, SPAN))
    stopped = fleet.workers[chance.randrange(2)]
    at = stopped.send(signal.SIGSTOP)
    time.sleep(0.3)  # what it had sent is there
    rows = fleet.held_by(stopped, run_ids)
    known, before = fleet.logs(rows), fleet.marks()
    fleet.ended(run_ids)
    done = fleet.rows(run_ids)
    stopped.send(signal.SIGCONT)
    time.sleep(4)
    assert fleet.rows(run_ids) == done, "who had lost the runs has written to them"
    after = fleet.marks()[len(before) :]
    late = [mark for mark in after if mark["pid"] == stopped.pid and mark["what"] == "effect"]
    begun = _entered(stopped, after) - (_confirmed(stopped, before) - _entered(stopped, before))
    assert not begun, f"who had lost the runs has begun calls, in {set(begun)}"
    counts = fleet.check(run_ids, known, late=rows) + Counter(held=len(rows), late=len(late))
    seconds = _takeover(fleet, at, rows)
    _serves_alone(fleet, stopped)
    return Round(counts, seconds)


def _confirmed(worker: WorkerProcess, marks: list[dict[str, Any]]) -> Counter[str]:
    """Calls of each run that a worker was free to begin."""
    return Counter(mark["run"] for mark in marks if mark["pid"] == worker.pid and mark["what"] == "confirm")


def _entered(worker: WorkerProcess, marks: list[dict[str, Any]]) -> Counter[str]:
    """Calls of each run that a worker has begun."""
    return Counter(mark["run"] for mark in marks if mark["pid"] == worker.pid and mark["what"] == "enter")


def _serves_alone(fleet: Fleet, worker: WorkerProcess) -> None:
    """All other workers are ended, and this one serves new runs."""
    others = [other for other in fleet.workers if other is not worker]
    fleet.workers = [worker]
    for other in others:
        other.kill()
    more = fleet.submit(10)
    fleet.ended(more)
    fleet.check(more, {})
    assert {told["pid"] for told in fleet.told("began") if told["run_id"] in more} == {worker.pid}


def restart_database(fleet: Fleet, chance: random.Random, *, seconds: float = 1.0) -> Round:
    """Ends the database as a crash would, with all runs under way, and starts it again.

    Args:
        fleet: The fleet.
        chance: Draws when.
        seconds: How long it is away.
    """
    run_ids = _in_flight(fleet)
    time.sleep(chance.uniform(0, SPAN))
    at = time.time()
    fleet.postgres.stop("immediate")
    time.sleep(seconds)
    fleet.postgres.start()
    back = time.time() - at
    fleet.ended(run_ids)
    ended = time.time() - at
    counts = fleet.check(run_ids, {})
    assert [worker.process.poll() for worker in fleet.workers] == [None, None], "a worker has ended"
    return Round(counts, {"away": back, "all ended": ended})


def terminate(fleet: Fleet, chance: random.Random) -> Round:
    """Tells one of two workers to end, with 25 runs each; the other one ends them all."""
    run_ids = _in_flight(fleet)
    time.sleep(chance.uniform(0, SPAN))
    leaves = fleet.workers.pop(chance.randrange(2))
    at = leaves.send(signal.SIGTERM)
    rows = fleet.held_by(leaves, run_ids)
    code = leaves.wait()
    ended = time.time() - at
    assert code == 0, f"exit code {code}"
    assert not fleet.held_by(leaves, run_ids), "it has ended, and has runs"
    fleet.ended(run_ids)
    counts = fleet.check(run_ids, {}) + Counter(held=len(rows))
    assert not counts["unknown"], "the outcome of a call is unknown that had time to end"
    assert not counts["again"], "a call that had time to end was made again"
    given_back = sum(row["epoch"] > rows[run_id]["epoch"] for run_id, row in fleet.rows(rows).items())
    told = {told["what"]: told["at"] - at for told in fleet.told("", at) if told["pid"] == leaves.pid}
    seconds = {"draining": told["draining"], "stopped": told["stopped"], "exit": ended}
    return Round(counts + Counter({"given back": given_back}), seconds)
