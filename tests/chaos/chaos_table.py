"""Prints what becomes of runs that are killed, raced for, stopped and cancelled: `make chaos N=5`.

N is how often a run is killed at each boundary; the other sizes follow it. What was wrong is printed, with the folder
of its journal, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import logging
import random
import shutil
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from chaos_races import INTERRUPTED, STOPPED, STOPPED_IN_A_TOOL, race, stop_at
from chaos_runs import BOUNDARIES, Chaos, chaos, count_all, failures, kill_again_and_again, kill_at, kill_at_any_time


def kills(world: Chaos, n: int, chance: random.Random) -> dict[str, Counter[str]]:
    """Kills at every boundary, at any time, and again and again."""
    jobs = [(boundary, partial(kill_at, world, boundary)) for boundary in BOUNDARIES for _ in range(n)]
    jobs += [("at any time", partial(kill_at_any_time, world, chance.uniform(0, 0.5))) for _ in range(10 * n)]
    for _ in range(4 * n):
        boundaries = sorted(chance.sample(BOUNDARIES, 5), key=BOUNDARIES.index)
        jobs.append(("up to 5 times", partial(kill_again_and_again, world, boundaries)))
    return count_all(jobs)


def races(world: Chaos, n: int) -> dict[str, Counter[str]]:
    """Two to eight resumers on one run, 20 times N, and 100 times at most."""
    jobs = []
    for at in range(min(20 * n, 100)):
        resumers, boundary, threads = 2 + at % 7, INTERRUPTED[at % len(INTERRUPTED)], at % 4 == 3
        kind = "threads" if threads else "processes"
        jobs.append((f"{resumers} {kind}", partial(race, world, resumers, boundary, threads=threads)))
    return dict(sorted(count_all(jobs, at_once=1).items()))


def stops(world: Chaos) -> dict[str, Counter[str]]:
    """Processes that are stopped past their lease, and go on after the end of the next one, or beside it."""
    jobs = []
    for boundary in (*STOPPED, STOPPED_IN_A_TOOL):
        jobs.append((boundary, partial(stop_at, world, boundary)))
        jobs.append((f"{boundary}, beside", partial(stop_at, world, boundary, meets=True)))
    return count_all(jobs, at_once=1)


def cancels(world: Chaos, n: int) -> list[str]:
    """Cancels at random points, on both event loops: prints how long they took; what was wrong."""
    wrong = []
    for backend in ("asyncio", "trio"):
        with world.case(f"cancels on {backend}") as case:
            case.run(job := case.job(cancels=25 * n, seed=random.randrange(2**32), backend=backend, pause=0.01))
            said = case.said(job)
        seconds = sorted(said.pop("seconds"))
        p50, p99 = (1000 * seconds[int(share * (len(seconds) - 1))] for share in (0.5, 0.99))
        print(f"\n{len(seconds)} cancels on {backend}: return after {p50:.0f} ms (p50), {p99:.0f} ms (p99)")
        print("  " + ", ".join(f"{name}: {count}" for name, count in said["counts"].items()))
        print("  " + ", ".join(f"{name} {said[name][0]} → {said[name][1]}" for name in ("threads", "files", "tasks")))
        wrong += [f"cancels on {backend}: {text}" for text in said["failures"]]
        wrong += [
            f"cancels on {backend}: {it} left" for it in ("threads", "files", "tasks") if said[it][0] < said[it][1]
        ]
    return wrong


def show(title: str, found: dict[str, Counter[str]], *columns: str) -> list[str]:
    """Prints a table; what was wrong."""
    print(f"\n{title:30}" + "".join(f"{column:>10}" for column in (*columns, "wrong", "ms each")), flush=True)
    for name, counts in found.items():
        wrong = sum(count for text, count in counts.items() if text.startswith("FAILED"))
        rounds = counts["ended"] + wrong
        values: list[Any] = [*(counts[column] for column in columns), wrong, counts["ms"] // max(rounds, 1)]
        print(f"{name:30}" + "".join(f"{value:10}" for value in values), flush=True)
    total = sum(found.values(), Counter[str]())
    print(f"{'all':30}" + "".join(f"{total[column]:10}" for column in columns))
    return failures(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("n", type=int, nargs="?", default=5, help="how often a run is killed at each boundary")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # the server says so when a client is gone
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    print(f"seed {options.seed}")
    random.seed(options.seed)
    with chaos(folder) as world:
        killed = kills(world, options.n, random.Random(options.seed))
        wrong = show("killed (SIGKILL)", killed, "kills", "ended", "unknown", "again")
        wrong += show("resumers at once", races(world, options.n), "kills", "ended", "busy", "unknown", "again")
        wrong += show("stopped past its lease", stops(world), "stops", "ended", "orphans", "unknown", "late")
        wrong += cancels(world, options.n)
    print("\n" + ("\n".join([*wrong, f"the journals are in {folder}"]) if wrong else "nothing was wrong"))
    if not wrong:
        shutil.rmtree(folder)
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
