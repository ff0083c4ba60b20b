"""Prints what a number of simulations come to: `make simulate N=200 SEED=1`; with BUGS=1 which bugs they find."""

from __future__ import annotations

import sys
import time
from collections import Counter

from invariants import INVARIANTS
from planted import BUGS
from simulation import KINDS, Outcome, Schedule, drawn, found, simulate, told


def main(first: int, count: int, *, bugs: bool) -> int:
    """Runs the seeds from `first` on; 1 if something was violated, or a bug not found."""
    return _bugs(first, count) if bugs else _seeds(first, count)


def _seeds(first: int, count: int) -> int:
    began, bad = time.process_time(), []
    faults, ends, checks = Counter[str](), Counter[str](), Counter[str]()
    runs = effects = 0
    for seed in range(first, first + count):
        schedule, unfaulted = drawn(seed)
        outcome = simulate(schedule, unfaulted)
        runs += len(outcome.results)
        effects += sum(entered.is_done for entered in outcome.world.entered)
        faults.update(line.split()[2] for line in outcome.trace if " at " in line and line.split()[2] in KINDS)
        ends.update(line.split()[-1] for line in outcome.trace if " ends with " in line)
        checks += outcome.world.checks
        if unfaulted.violations or outcome.violations:
            bad.append(seed)
            print(told(schedule, unfaulted), flush=True)
        elif count == 1:
            print("\n".join([*outcome.trace, "", str(schedule)]))
    seconds = time.process_time() - began
    print(f"| schedules | {count}, seeds {first} to {first + count - 1} |")
    print(f"| runs, effects | {runs}, {effects} |")
    print(f"| faults that struck | {_counted(faults)} |")
    print(f"| ends of processes | {_counted(ends)} |")
    print(f"| schedules a second of CPU | {count / seconds:.1f} |")
    print(f"| violations | {len(bad)}{f' (seeds {bad})' if bad else ''} |")
    print("\n| invariant | looked at | where |")
    for name, where in INVARIANTS.items():
        print(f"| {name} | {checks[name]:,} | {where} |")
    return bool(bad)


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common())


def _bugs(first: int, count: int) -> int:
    known: dict[int, tuple[Schedule, Outcome]] = {}
    by: Counter[str] = Counter()
    missed = 0
    print("| planted bug | seeds needed | found by |")
    for name, patch in BUGS.items():
        for seed in range(first, first + count):
            if seed not in known:
                known[seed] = drawn(seed)
            if violations := found(*known[seed], patch):
                by[violations[0].partition(":")[0]] += 1
                print(f"| {name} | {seed - first + 1} | {violations[0][:100]} |", flush=True)
                break
        else:
            missed += 1
            print(f"| {name} | not found in {count} | |", flush=True)
    print(f"| {len(BUGS)} bugs | {missed} not found | {_counted(by)} |")
    return bool(missed)


if __name__ == "__main__":
    start, many, planted = (int(given) for given in sys.argv[1:])
    sys.exit(main(start, many, bugs=bool(planted)))
