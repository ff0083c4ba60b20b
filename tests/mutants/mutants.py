"""Mutation testing of the core: `python tests/mutants/mutants.py [module …]` prints a table, and what survived.

Exit code 1 where a mutant survives that `equivalent.txt` does not list, or where the list names one that is not there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mutant_runs import Runs, Verdict
from mutant_source import Mutant, mutants_of, read_equivalents

__all__ = ["main"]

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MODULES = ("step", "execute", "early", "transcript", "journal", "invocation", "lease", "jobs", "repeats", "history")
TESTS = """
test_step*.py test_execute*.py test_transcript*.py test_journal.py test_journal_*.py test_lease*.py test_store.py
test_loop.py test_run.py test_run_*.py test_agent*.py test_repeats*.py test_history*.py test_invocation*.py
test_compaction.py test_healing.py test_hard_turns.py test_programmatic_calls.py test_threads.py test_preview.py
test_server_tools.py test_streaming_response.py test_structured_output.py test_portal.py test_ledger.py test_budget.py
test_jobs.py test_early*.py test_transactional.py test_spending*.py test_follow*.py policy/test_policy.py
policy/test_policy_injection.py
"""
_LEFT_OUT = {"test_journal_killed.py"}
_MEMORY = ROOT / ".pytest_cache" / "mutants.json"
_KILLERS = HERE / "killers.txt"


def main(arguments: list[str] | None = None) -> int:
    """Runs the mutants."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", default=MODULES, help=f"of {', '.join(MODULES)}; all of them")
    parser.add_argument("-n", "--processes", type=int, default=2, help="how many at a time; 2")
    parser.add_argument("--seconds", type=float, default=10, help="of the processor for the tests of one mutant; 10")
    parser.add_argument("--match", default="", help="only mutants whose description has this text")
    parser.add_argument("--left", action="store_true", help="only mutants that no test has killed so far")
    parser.add_argument("--write", action="store_true", help="write into killers.txt which tests have killed one")
    given = parser.parse_args(arguments)
    began = time.monotonic()
    mutants = [mutant for module in given.modules for mutant in mutants_of(ROOT / "agentkit" / f"{module}.py")]
    listed = {one: why for one, why in read_equivalents(HERE / "equivalent.txt").items() if one.module in given.modules}
    gone = sorted(map(str, listed.keys() - set(mutants)))
    tried = [mutant for mutant in mutants if mutant not in listed and given.match in str(mutant)]
    if given.left:
        killed = _memory()["killers"]
        tried = [mutant for mutant in tried if str(mutant) not in killed]
    print(f"{len(mutants)} mutants, {len(listed)} of them listed as equivalent; {len(tried)} are tried", flush=True)
    verdicts = _run(tried, given.processes, given.seconds)
    _print_table(mutants, listed, verdicts)
    if given.write:
        _write_killers(
            verdicts, instead=len(tried) + len(listed) == len(mutants) and set(given.modules) == set(MODULES)
        )
    survived = [str(one.mutant) for one in verdicts if one.killer is None]
    for title, texts in (("survived", survived), ("listed as equivalent, and not there", gone)):
        if texts:
            print(f"\n{len(texts)} {title}:\n\n" + "\n\n".join(texts))
    used = os.times()
    print(f"\n{time.monotonic() - began:.0f} s; {sum(used[:4]):.0f} s of the processor")
    return 1 if survived or gone or len(verdicts) < len(tried) else 0


def _run(mutants: list[Mutant], processes: int, seconds: float) -> list[Verdict]:
    verdicts: list[Verdict] = []
    memory = _memory()

    def tell(verdict: Verdict) -> None:
        verdicts.append(verdict)
        if verdict.killer is None:
            memory["killers"].pop(str(verdict.mutant), None)  # of a test that was another then
            print(f"survived {verdict.tests} tests in {verdict.seconds:.1f} s: {verdict.mutant}", flush=True)
        elif "::" in verdict.killer:
            memory["killers"][str(verdict.mutant)] = verdict.killer
        if len(verdicts) % 50 == 0:
            print(f"{len(verdicts)} of {len(mutants)}", flush=True)
            keep()

    def keep() -> None:
        _MEMORY.parent.mkdir(exist_ok=True)
        _MEMORY.write_text(json.dumps(memory), "utf-8")

    for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
        del os.environ[name]  # what runs under coverage would be measured in every process
    files = sorted(
        {str(path) for glob in TESTS.split() for path in HERE.parent.glob(glob) if path.name not in _LEFT_OUT}
    )
    killers = _KILLERS.read_text("utf-8").splitlines()
    runs = Runs(mutants, MODULES, processes, tell, keep, seconds, killers, memory["killers"], memory["measured"])
    # Without pytest-timeout, which would put its own alarm in the place of the one that ends a mutant.
    options = ["-s", "-m", "not slow", "-p", "no:xdist", "-p", "no:cacheprovider", "-o", "timeout=0"]
    pytest.main([*options, f"--rootdir={ROOT}", *files], plugins=[runs])
    keep()
    return verdicts


def _memory() -> dict[str, dict[str, Any]]:
    """What is kept from run to run: which test killed each mutant last, and what each test takes and reaches."""
    if not _MEMORY.exists():
        return {"killers": {}, "measured": {}}
    memory: dict[str, dict[str, Any]] = json.loads(_MEMORY.read_text("utf-8"))
    return memory


def _write_killers(verdicts: list[Verdict], *, instead: bool) -> None:
    """Which tests have killed a mutant, in the place of those that are known or besides them."""
    killers = {one.killer for one in verdicts if one.killer and "::" in one.killer}
    known = set() if instead else set(_KILLERS.read_text("utf-8").splitlines())
    _KILLERS.write_text("".join(f"{name}\n" for name in sorted(killers | known)), "utf-8")


def _print_table(mutants: list[Mutant], listed: dict[Mutant, str], verdicts: list[Verdict]) -> None:
    columns = {
        "mutants": Counter(mutant.module for mutant in mutants),
        "equivalent": Counter(mutant.module for mutant in listed),
        "tried": Counter(verdict.mutant.module for verdict in verdicts),
        "killed": Counter(verdict.mutant.module for verdict in verdicts if verdict.killer),
        "survived": Counter(verdict.mutant.module for verdict in verdicts if verdict.killer is None),
    }
    print(f"\n{'module':12}" + "".join(f"{name:>12}" for name in columns))
    for module in dict.fromkeys(mutant.module for mutant in mutants):
        print(f"{module:12}" + "".join(f"{count[module]:12}" for count in columns.values()))
    print(f"{'all':12}" + "".join(f"{count.total():12}" for count in columns.values()))


if __name__ == "__main__":
    sys.exit(main())
