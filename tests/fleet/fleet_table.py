"""Prints what becomes of 50 runs whose workers are killed, stopped or told to end: `make fleet N=20`.

N is how often a worker is killed, on one machine and on two; the other sizes follow it. What was wrong is printed, with
the folder of what workers told, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import logging
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fleet_rounds import Round, decide, kill, kill_twice, restart_database, stop_past_its_lease, terminate
from fleet_runs import Fleet, fleet

Play = Callable[[Fleet, random.Random], Round]
COLUMNS = ("runs", "held", "ended", "unknown", "effects", "again", "late", "given back", "decided")


def rounds(n: int) -> list[tuple[str, Play, int]]:
    """What is done, and how often."""
    few = max(n // 6, 1)
    return [
        ("killed (SIGKILL)", kill, n),
        ("both killed", partial(kill, both=True), few),
        ("both killed, twice", kill_twice, few),
        ("told to end (SIGTERM)", terminate, few),
        ("database away for 1 s", restart_database, few),
        ("database away for 20 s", partial(restart_database, seconds=20), few),
        ("killed, two machines", partial(kill, apart=True), n),
        ("decided, 3 kills each", decide, few),
        ("stopped past its lease", stop_past_its_lease, few),
    ]


def play(world: Fleet, name: str, one: Play, times: int, chance: random.Random) -> list[str]:
    """Plays rounds of one kind and prints their line; what was wrong."""
    counts, wrong, began = Counter[str](), [], time.monotonic()
    seconds: dict[str, list[float]] = {}
    for _ in range(times):
        try:
            done = one(world, chance)
        except AssertionError as error:
            wrong.append(f"{name}: {error}")
            world.kill()
            continue
        counts += done.counts
        for what, value in done.seconds.items():
            seconds.setdefault(what, []).append(value)
    each = (time.monotonic() - began) / times
    values = "".join(f"{counts[column]:11}" for column in COLUMNS)
    print(f"{name:24}{times:7}{values}{len(wrong):7}{each:8.0f}", flush=True)
    for what, found in seconds.items():
        p50, most = sorted(found)[(len(found) - 1) // 2], max(found)
        print(f"{'':31}{what} after {p50:.1f} s (p50), {most:.1f} s (max)", flush=True)
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("n", type=int, nargs="?", default=20, help="how often a worker is killed")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # the model says so when a client is gone
    folder = Path(tempfile.mkdtemp(prefix="fleet-"))
    chance = random.Random(options.seed)
    print(f"seed {options.seed}")
    print(f"{'':24}{'rounds':>7}" + "".join(f"{column:>11}" for column in COLUMNS) + f"{'wrong':>7}{'s each':>8}")
    with fleet(folder) as world:
        wrong = [text for name, one, times in rounds(options.n) for text in play(world, name, one, times, chance)]
    print("\n" + ("\n".join([*wrong, f"what workers told is in {folder}"]) if wrong else "nothing was wrong"))
    if not wrong:
        shutil.rmtree(folder)
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
