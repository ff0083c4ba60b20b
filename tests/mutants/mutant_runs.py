"""A pytest plugin that runs tests against mutants: it collects them once, and gives each mutant a process by fork.

In the process the code of the one function that differs is put in place, and then only the tests that reach the changed
lines run, those that found other mutants of the function first, until one fails. What differs outside of functions
(defaults, constants, decorators) needs modules that are imported anew: such a mutant gets a new interpreter.

The tests that are known to find mutants run first, for all of them: what each of the others reaches is measured only if
a mutant is left.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import coverage
import pytest
from mutant_source import Mutant

__all__ = ["Runs", "Verdict"]

_SLOWEST = 1.0  # seconds of the processor for a test that takes part
_ENDS_PYTEST = ("raised KeyboardInterrupt", "raised SystemExit", "raised Exit")  # by the mutant; else it is our mistake


@dataclass
class Verdict:
    """What became of a mutant.

    Attributes:
        mutant: The mutant.
        killer: The test that failed, or why there was none; None if it has survived.
        seconds: How long it took.
        tests: How many tests reach it.
    """

    mutant: Mutant
    killer: str | None
    seconds: float
    tests: int


@dataclass
class Runs:
    """The plugin.

    Args:
        mutants: Those to run.
        modules: All that are measured.
        processes: How many at a time.
        tell: Called with each verdict.
        keep: Called when the tests are measured.
        longest: Seconds of the processor that the tests of one mutant may take, as they are without it.
        killers: Tests that have killed many mutants before.
        known: Which test has killed a mutant before.
        measured: What is known of the tests, for each state of their file and of the modules; it is brought up to date.
    """

    mutants: Sequence[Mutant]
    modules: Sequence[str]
    processes: int
    tell: Callable[[Verdict], None]
    keep: Callable[[], None]
    longest: float = 10.0
    killers: Sequence[str] = ()
    known: dict[str, str] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)
    items: dict[str, pytest.Item] = field(default_factory=dict, init=False)
    seconds: dict[str, float] = field(default_factory=dict, init=False)
    work: dict[str, float] = field(default_factory=dict, init=False)  # seconds of the processor
    failed: set[str] = field(default_factory=set, init=False)
    reached: dict[str, dict[int, set[str]]] = field(default_factory=dict, init=False)
    found: dict[tuple[str, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter), init=False)
    last_failed: bool = field(default=False, init=False)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notes a failure."""
        self.last_failed = self.last_failed or report.failed

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Runs the tests once as they are, and then for the mutants."""
        self.items = {item.nodeid: item for item in session.items}
        for module in {mutant.module for mutant in self.mutants}:
            _program_of(module)  # once, and not in each process
        gc.freeze()  # no collector of theirs has to look at what is here
        known = set(map(_on_any_loop, self.killers))
        killers = [name for name in self.items if _on_any_loop(name) in known]
        left: Sequence[Mutant] = self.mutants
        for names in filter(None, (killers, list(self.items))):
            if not left:
                break
            began = time.monotonic()
            self._measure(names)
            print(f"{len(names)} tests, measured in {time.monotonic() - began:.0f} s", flush=True)
            self.keep()
            if self.failed:
                print(f"left out, as they fail without a mutant: {', '.join(sorted(self.failed))}", flush=True)
            left = self._run_all(left, is_last=names is not killers)
        return True

    def _measure(self, names: Sequence[str]) -> None:
        """How long each test takes, and which lines it reaches: anew where something has changed."""
        state = f"{_digest(*sorted(Path(_path('step')).parent.rglob('*.py')))} {len(self.modules)}"
        files = {name: name.partition("::")[0] for name in self.items}
        states = {file: f"{state} {_digest(Path(file))}" for file in set(files.values())}
        for file in [one for one, known in self.measured.items() if known["state"] != states.get(one)]:
            del self.measured[file]
        names = [name for name in names if name not in self.measured.get(files[name], {"tests": {}})["tests"]]
        found: dict[str, Any] = {}
        for _ in range(2):  # who fails is asked again: the machine may have been busy
            left = [name for name in names if name not in found or found[name]["failed"]]
            shares = [left[at :: self.processes] for at in range(self.processes)]
            for work in _forked([_Work(self._measured, share) for share in shares if share], self.processes):
                if work.answer is None or "error" in work.answer:
                    raise RuntimeError(f"the tests as they are: {work.status}, {(work.answer or {}).get('error')}")
                found |= work.answer["tests"]
                _import_all(work.answer["modules"])
        for name, about in found.items():
            file = files[name]
            self.measured.setdefault(file, {"state": states[file], "tests": {}})["tests"][name] = about
        for known in self.measured.values():
            for name, about in known["tests"].items():
                self._take_in(name, **about)

    def _take_in(self, name: str, seconds: float, work: float, failed: bool, lines: dict[str, list[int]]) -> None:
        self.seconds[name], self.work[name] = seconds, work
        self.failed |= {name} if failed else set()
        for module, reached in lines.items():
            for line in reached:
                self.reached.setdefault(module, {}).setdefault(line, set()).add(name)

    def _measured(self, names: Sequence[str]) -> dict[str, Any]:
        paths = {module: _path(module) for module in self.modules}
        measure = coverage.Coverage(data_file=None, include=[*paths.values()], messages=False, config_file=False)
        found: dict[str, Any] = {}
        before = set(sys.modules)
        measure.start()
        for name in names:
            measure.switch_context(name)
            began, worked, self.last_failed = time.perf_counter(), time.process_time(), False
            self._run_test(name)
            times = {"seconds": time.perf_counter() - began, "work": time.process_time() - worked}
            found[name] = {**times, "failed": self.last_failed, "lines": {}}
        measure.stop()
        with warnings.catch_warnings(action="ignore"):  # that they reach nothing
            data = measure.get_data()
        for module, path in paths.items():
            for line, tests in data.contexts_by_lineno(path).items():
                for name in filter(None, tests):
                    found[name]["lines"].setdefault(module, []).append(line)
        return {"tests": found, "modules": [name for name in sys.modules if name not in before]}

    def _run_all(self, mutants: Sequence[Mutant], *, is_last: bool) -> list[Mutant]:
        """Tells of each that is killed, of those that survive in the last round alone; gives these."""
        survived = []
        works = [_Work(self._killer, mutant) for mutant in mutants]
        for work in _forked(works, self.processes):
            mutant, answer = work.given, work.answer or {}
            killer = answer.get("killer")
            if "error" in answer and killer not in _ENDS_PYTEST:
                raise RuntimeError(f"{mutant}: {answer['error']}")
            if work.answer is None:
                killer = "time limit" if work.status == -signal.SIGALRM else f"status {work.status}"
            elif killer in self.items:
                self.found[mutant.module, mutant.function][killer] += 1
            survived += [mutant] if killer is None else []
            if killer or is_last:
                self.tell(Verdict(mutant, killer, work.seconds, len(self._tests(mutant))))
        return survived

    def _killer(self, mutant: Mutant) -> dict[str, str | None]:
        """Runs in a process of its own."""
        names = self._tests(mutant)
        if not _put_in_place(mutant):
            first = [name for name in names if name.startswith(_mirrors(mutant)) or name == self.known.get(str(mutant))]
            rest = [name for name in names if name not in first]  # most of the time goes into collecting them
            longest = 60.0 + 8 * sum(self.seconds[name] for name in names)
            return {"killer": _killer_alone(mutant, first, longest) or _killer_alone(mutant, rest, longest)}
        for name in names:
            signal.setitimer(signal.ITIMER_REAL, 5.0 + 10 * self.seconds[name])
            self._run_test(name)
            if self.last_failed:
                return {"killer": name}
        signal.setitimer(signal.ITIMER_REAL, 0)
        return {"killer": None}

    def _tests(self, mutant: Mutant) -> list[str]:
        """Those that reach the change, as far as there is time: the best first."""
        reached = self.reached.get(mutant.module, {})
        tests = {name for line in range(mutant.first, mutant.last + 1) for name in reached.get(line, ())}
        left = self.longest
        tests = tests or set(self.seconds)
        found, known, mirrors = (
            self.found[mutant.module, mutant.function],
            self.known.get(str(mutant)),
            _mirrors(mutant),
        )
        able = [name for name in tests if self.work[name] < _SLOWEST and name not in self.failed]
        seconds = self.seconds
        able.sort(key=lambda name: (name != known, -found[name], not name.startswith(mirrors), seconds[name], name))
        chosen = []
        for name in able:
            left -= self.work[name]
            if left < 0:
                break
            chosen.append(name)
        return chosen

    def _run_test(self, name: str) -> None:
        item = self.items[name]
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)


@dataclass
class _Work:
    call: Callable[[Any], dict[str, Any]]
    given: Any
    answer: dict[str, Any] | None = None
    status: int = 0
    seconds: float = 0.0


def _forked(works: Iterable[_Work], processes: int) -> Iterator[_Work]:
    """Does each in a process of its own, some at a time; they come back in the order of their ends."""
    running: dict[int, tuple[_Work, float, str]] = {}
    waiting = iter(works)
    while True:
        while len(running) < processes and (work := next(waiting, None)):
            folder = tempfile.mkdtemp(prefix="mutant-")
            sys.stdout.flush()
            if not (pid := os.fork()):
                _do(work, folder)
            running[pid] = work, time.perf_counter(), folder
        if not running:
            return
        pid, status = os.wait()
        if pid not in running:
            continue
        work, began, folder = running.pop(pid)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)  # what its tests have started
        answer = Path(folder, "answer.json")
        work.answer = json.loads(answer.read_text()) if answer.exists() else None
        work.status, work.seconds = os.waitstatus_to_exitcode(status), time.perf_counter() - began
        shutil.rmtree(folder, ignore_errors=True)
        yield work


def _import_all(names: Iterable[str]) -> None:
    """What tests have imported late, so that not each mutant's process has to."""
    for name in names:
        with suppress(Exception):  # one that a test has made
            import_module(name)


def _do(work: _Work, folder: str) -> None:
    os.setsid()
    os.environ["PYTEST_DEBUG_TEMPROOT"] = os.environ["TMPDIR"] = tempfile.tempdir = folder
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    nowhere = os.open(os.path.join(folder, "output"), os.O_WRONLY | os.O_CREAT)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        answer = work.call(work.given)
    except BaseException as error:
        answer = {"killer": f"raised {type(error).__name__}", "error": traceback.format_exc()}
    try:
        Path(folder, "answer").write_text(json.dumps(answer))
        os.rename(Path(folder, "answer"), Path(folder, "answer.json"))
    finally:
        os._exit(0)


def _on_any_loop(name: str) -> str:
    """A test's name, whichever of the event loops is not slow."""
    return name.replace("[trio", "[asyncio")


def _mirrors(mutant: Mutant) -> tuple[str, str]:
    return f"tests/test_{mutant.module}.py", f"tests/test_{mutant.module}_"


def _digest(*files: Path) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


@cache
def _path(module: str) -> str:
    spec = find_spec(f"agentkit.{module}")
    return str(spec and spec.origin)


@cache
def _program_of(module: str) -> tuple[CodeType, list[FunctionType]]:
    """A module as it is compiled, and its functions as they are in this process."""
    path = _path(module)
    code = compile(Path(path).read_text("utf-8"), path, "exec", dont_inherit=True)
    return code, [one for one in gc.get_objects() if isinstance(one, FunctionType) and one.__code__.co_filename == path]


def _put_in_place(mutant: Mutant) -> bool:
    """Gives the changed function its new code; False if what differs is not in one."""
    old, functions = _program_of(mutant.module)
    new = compile(mutant.source, _path(mutant.module), "exec", dont_inherit=True)
    if _bare(old) != _bare(new):
        return False
    changed = []
    for before, after in zip(_functions(old), _functions(new), strict=True):
        if _shape(before) != _shape(after):
            changed.append((before, after))
    places = {(before.co_qualname, before.co_firstlineno): after for before, after in changed}
    put = 0
    for function in functions:
        after = places.get((function.__code__.co_qualname, function.__code__.co_firstlineno))
        if after is not None:
            try:
                function.__code__ = after
            except ValueError:  # another closure
                return False
            put += 1
    return bool(changed) and put >= len(changed)


def _functions(code: CodeType) -> Iterator[CodeType]:
    for part in code.co_consts:
        if isinstance(part, CodeType):
            if part.co_flags & 0x01:  # CO_OPTIMIZED: a function
                yield part
            else:
                yield from _functions(part)


def _bare(code: CodeType) -> Any:
    """The body of a module or a class, without its functions and line numbers."""
    consts = [
        ("function", part.co_name) if part.co_flags & 0x01 else _bare(part)
        for part in code.co_consts
        if isinstance(part, CodeType)
    ]
    values = [part for part in code.co_consts if not isinstance(part, CodeType)]
    return code.co_code, code.co_names, consts, list(map(repr, values))


def _shape(code: CodeType) -> Any:
    """A function without its line numbers."""
    consts = [_shape(part) if isinstance(part, CodeType) else repr(part) for part in code.co_consts]
    return code.co_code, code.co_names, code.co_varnames, code.co_flags, code.co_exceptiontable, consts


def _killer_alone(mutant: Mutant, names: Sequence[str], longest: float) -> str | None:
    """Runs the tests in a new interpreter."""
    if not names:
        return None
    folder = Path(tempfile.mkdtemp())
    given = {"module": f"agentkit.{mutant.module}", "source": mutant.source, "tests": names}
    (folder / "given.json").write_text(json.dumps(given))
    command = [sys.executable, str(Path(__file__).with_name("mutant_alone.py")), str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=longest, check=False)
    except subprocess.TimeoutExpired:
        return "time limit"
    if done.returncode == 0:
        return None
    if done.returncode in (4, 5):  # of pytest: a file or a test is not there
        raise RuntimeError(f"the tests were not run: {done.stdout.decode()[-1000:]}")
    killer = folder / "killer"
    return killer.read_text() if killer.exists() else f"exit {done.returncode}"
