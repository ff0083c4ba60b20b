"""Counts the instructions of a streamed event and of a turn with a tool call: bare httpx, agentkit, the SDK's runner.

Instructions repeat where seconds do not. They are those that callgrind (of valgrind) sees in the client's process; the
API that answers runs in another. Exits with 1 where agentkit takes more than its limit, and with 0 where there is no
valgrind, saying so.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from clients import BEGIN, END

__all__ = ["main"]

HERE = Path(__file__).parent
SHORTER = {"events": 20, "turns": 5}
"""What a count is subtracted from: a longer run less this one is what one more event or turn costs."""
NAMES = {"events": "one streamed text event", "turns": "one turn with a tool call"}
CLIENTS = {"httpx": "bare httpx", "agentkit": "agentkit", "sdk": "SDK's runner"}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=500, help="how many events the longer stream has more")
    parser.add_argument("--turns", type=int, default=20, help="how many turns the longer run has more")
    parser.add_argument("--event-limit", type=float, default=1.15, help="times bare httpx (docs/decisions/0004)")
    parser.add_argument("--turn-limit", type=float, default=1.35, help="times bare httpx")
    parser.add_argument("--sdk", metavar="PYTHON", help="also count the runner of the anthropic package of this python")
    parser.add_argument("--json", action="store_true", help="print numbers, not a table")
    options = parser.parse_args()
    if options.events < 1 or options.turns < 1:
        parser.error("--events and --turns must be at least 1")
    return options


@contextmanager
def api() -> Iterator[str]:
    """The address of the API, while it runs."""
    process = subprocess.Popen([sys.executable, HERE / "api.py"], stdout=subprocess.PIPE, text=True)
    with process:
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}" if process.stdout else ""
        finally:
            process.terminate()


def jobs_of(longer: dict[str, int]) -> list[str]:
    """For each sort of work a short run and one that is so much longer."""
    return [f"{work}={number}" for work, more in longer.items() for number in (SHORTER[work], SHORTER[work] + more)]


def count(command: list[str], longer: dict[str, int]) -> dict[str, int]:
    """Instructions of one more event and of one more turn, for the client that `command` runs."""
    with tempfile.TemporaryDirectory() as folder:
        counted = ["valgrind", "-q", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/job"]
        run([*counted, f"--zero-before={BEGIN}", f"--dump-before={END}", *command], COUNTED="1")
        sizes = [instructions(Path(folder, f"job.{number}")) for number in range(1, 2 * len(longer) + 1)]
    return {work: round((sizes[2 * at + 1] - sizes[2 * at]) / more) for at, (work, more) in enumerate(longer.items())}


def run(command: list[str], **variables: str) -> None:
    # No proxy or other setting of the machine's reaches the clients, and what is hashed has the same order each time.
    kept = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "HOME", "TMPDIR")
    environment = {name: os.environ[name] for name in kept if name in os.environ} | {"PYTHONHASHSEED": "0", **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\nfailed with {done.returncode}: {done.stdout}{done.stderr}".strip())


def instructions(dump: Path) -> int:
    total = re.search(r"^totals: (\d+)", dump.read_text(errors="replace"), re.MULTILINE) if dump.exists() else None
    if not total:
        sys.exit("valgrind has counted nothing: does its command vgdb reach a process here?")
    return int(total[1])


def table(counts: dict[str, dict[str, int]], limits: dict[str, float]) -> Iterator[str]:
    yield f"| instructions | {' | '.join(CLIENTS[name] for name in counts)} | agentkit / httpx | limit |"
    yield f"|---|{'--:|' * (len(counts) + 2)}"
    for work, limit in limits.items():
        numbers = " | ".join(f"{counts[name][work]:,}" for name in counts)
        yield f"| {NAMES[work]} | {numbers} | {ratio(counts, work):.3f} | {limit:g} |"


def ratio(counts: dict[str, dict[str, int]], work: str) -> float:
    return counts["agentkit"][work] / counts["httpx"][work]


def main() -> int:
    options = arguments()
    if missing := [command for command in ("valgrind", "vgdb") if not shutil.which(command)]:
        print(f"instructions: skipped, {missing[0]} is not there (on Debian: apt install valgrind)")
        return 0
    longer = {"events": options.events, "turns": options.turns}
    limits = {"events": options.event_limit, "turns": options.turn_limit}
    pythons = {"httpx": sys.executable, "agentkit": sys.executable, **({"sdk": options.sdk} if options.sdk else {})}
    with api() as server, ThreadPoolExecutor() as pool:
        jobs, clients = jobs_of(longer), str(HERE / "clients.py")
        commands = {name: [python, clients, name, server, *jobs] for name, python in pythons.items()}
        for command in commands.values():  # compiles byte code, and shows in seconds what does not work
            run(command)
        counting = {name: pool.submit(count, command, longer) for name, command in commands.items()}
        counts = {name: future.result() for name, future in counting.items()}
    ratios = {work: ratio(counts, work) for work in limits}
    if options.json:
        print(json.dumps({"instructions": counts, "ratios": ratios, "limits": limits}))
    else:
        print(*table(counts, limits), sep="\n")
    over = [work for work in limits if ratios[work] > limits[work]]
    for work in over:
        print(
            f"{NAMES[work]} takes {ratios[work]:.3f} times what bare httpx does: more than {limits[work]:g}",
            file=sys.stderr,
        )
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
