"""One mutant in an interpreter of its own: its module is changed before anything imports it."""

from __future__ import annotations

import importlib.abc
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds one module, with other source."""

    def __init__(self, name: str, source: str) -> None:
        self._name = name
        self._source = source

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if fullname != self._name:
            return None
        at = Path((path or [""])[0], f"{fullname.rpartition('.')[2]}.py")
        return importlib.util.spec_from_file_location(fullname, at, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._source, str(module.__file__), "exec", dont_inherit=True), module.__dict__)


class _Chosen:
    """Runs the tests that are named, in that order, and notes the first that fails."""

    def __init__(self, changed: _Changed, names: list[str], killer: Path) -> None:
        self._changed = changed
        self._places = {name: at for at, name in enumerate(names)}
        self._killer = killer

    @pytest.hookimpl(tryfirst=True)
    def pytest_load_initial_conftests(self) -> None:
        sys.meta_path.insert(0, self._changed)  # before what rewrites asserts: pytest finds plugins' modules itself

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (one for one in items if one.nodeid in self._places), key=lambda one: self._places[one.nodeid]
        )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self._killer.exists():
            self._killer.write_text(report.nodeid)


def main(folder: Path) -> int:
    given = json.loads((folder / "given.json").read_text())
    changed = _Changed(given["module"], given["source"])
    files = sorted({name.partition("::")[0] for name in given["tests"]})
    options = ["-x", "-p", "no:xdist", "-p", "no:cacheprovider"]
    return pytest.main([*options, *files], plugins=[_Chosen(changed, given["tests"], folder / "killer")])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
