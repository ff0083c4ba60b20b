"""What docs/architecture.md promises about the code itself. Each check is shown to fail on a bad sample, at the end."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import grimp
import pytest

ROOT = Path(__file__).parents[1]
LONGEST_FILE = 400
LONGEST_FUNCTION = 60
MOST_NAMES = 30
LOADED_LATE = {"httpx", "pydantic", "tenacity", "docstring_parser"}
NAMES_EVENT_LOOPS = ("agentkit/background.py", "agentkit/emulator/", "agentkit/cli/", "agentkit/integrations/durable/")
NOT_OUR_WORDS = {"chain", "node", "manager", "handler", "helper", "util"}
# Cut in two, so that this file holds none of them.
ABSOLUTE = re.compile(r"(?<![\w.~-])/(?:wor" + r"k|roo" + r"t|hom" + r"e|User" + r"s)/\w")
REGISTRY = re.compile(
    r"pypi\.or" + r"g|pythonhosted\.or" + r"g|npmjs\.(?:or" + r"g|co" + r"m)|https?://\S+/(?:simple|packages)/"
)

Sources = dict[str, str]
"""Paths from the root of the repository, and the text of each file."""


# The checks: from sources to what is wrong with them.


def too_long(sources: Sources) -> Iterator[str]:
    for path, source in sources.items():
        lines = len(source.splitlines())
        if lines > LONGEST_FILE:
            yield f"{path}: {lines} lines"
        for part in ast.walk(ast.parse(source)):
            if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([part.lineno, *(decorator.lineno for decorator in part.decorator_list)])
                lines = (part.end_lineno or first) - first + 1
                if lines > LONGEST_FUNCTION:
                    yield f"{path}: {part.name}: {lines} lines"


def event_loops_named(sources: Sources) -> Iterator[str]:
    for path, source in sources.items():
        if path.startswith("agentkit/") and not path.startswith(NAMES_EVENT_LOOPS):
            named = {module.partition(".")[0] for module in imported(source)} & {"asyncio", "trio"}
            yield from (f"{path}: imports {module}" for module in sorted(named))


def imported(source: str) -> Iterator[str]:
    for part in ast.walk(ast.parse(source)):
        if isinstance(part, ast.Import):
            yield from (alias.name for alias in part.names)
        elif isinstance(part, ast.ImportFrom):
            yield part.module or ""


def foreign_words(sources: Sources) -> Iterator[str]:
    for path, source in sources.items():
        for name in {*Path(path).with_suffix("").parts, *defined(source)}:
            words = re.findall(r"[A-Z]*[a-z]+|[A-Z]+", name)
            if not_ours := {word.lower().removesuffix("s") for word in words} & NOT_OUR_WORDS:
                yield f"{path}: {name}: {', '.join(sorted(not_ours))}"


def defined(source: str) -> Iterator[str]:
    """The names that a module makes up; those of others that it only uses are not among them."""
    for part in ast.walk(ast.parse(source)):
        match part:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.arg(arg=name) | ast.alias(asname=str(name)) | ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield name


def places_named(sources: Sources) -> Iterator[str]:
    for path, text in sources.items():
        for number, line in enumerate(text.splitlines(), 1):
            if found := ABSOLUTE.search(line) or REGISTRY.search(line):
                yield f"{path}:{number}: {found[0]}"


def cycles(imports: dict[str, Iterable[str]]) -> Iterator[str]:
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        yield " -> ".join(error.args[1])


# The repository.


def tracked() -> list[Path]:
    """The files of the repository: those that git has, or would take."""
    git = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(git, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def python_files() -> Sources:
    found = {
        path.relative_to(ROOT).as_posix(): path
        for top in ("agentkit", "tools", "examples")
        for path in (ROOT / top).rglob("*.py")
    }
    return {name: path.read_text("utf-8") for name, path in sorted(found.items())}


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run([sys.executable, *command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("check", [too_long, event_loops_named, foreign_words])
def test_source(check: Any) -> None:
    sources = python_files()
    assert "agentkit/errors.py" in sources
    assert list(check(sources)) == []


def test_no_file_names_a_place() -> None:
    texts = {}
    for path in tracked():
        try:
            texts[path.relative_to(ROOT).as_posix()] = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
    assert "tests/test_architecture.py" in texts
    assert list(places_named(texts)) == []


def test_no_cycles() -> None:
    graph = grimp.build_graph("agentkit", cache_dir=None)
    assert "agentkit.errors" in graph.modules
    assert list(cycles({module: graph.find_modules_directly_imported_by(module) for module in graph.modules})) == []


def test_import_is_light() -> None:
    loaded = set(json.loads(run("-c", "import agentkit, sys, json; print(json.dumps(list(sys.modules)))")))
    assert "agentkit" in loaded
    assert loaded & LOADED_LATE == set()


def test_exported_names() -> None:
    script = "import agentkit as a, json; [getattr(a, name) for name in a.__all__]; print(json.dumps(a.__all__))"
    names = json.loads(run("-c", script))
    assert 1 <= len(set(names)) == len(names) <= MOST_NAMES


def test_wheel_holds_the_two_packages_only(tmp_path: Path) -> None:
    names = wheel_names(ROOT, tmp_path)
    tops = {re.sub(r"^agentkit_loop-.*\.dist-info$", "dist-info", name.partition("/")[0]) for name in names}
    assert tops == {"agentkit", "agentkit_tools", "dist-info"}
    assert "agentkit/py.typed" in names


def wheel_names(project: Path, into: Path) -> list[str]:
    """What is in the wheel, built offline as pip would build it."""
    script = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    wheel = run("-c", script, into, cwd=project).split()[-1]
    with zipfile.ZipFile(into / wheel) as archive:
        return archive.namelist()


# Each check on a sample that it must refuse, and on one that it must not.


@pytest.mark.parametrize(
    ("check", "path", "bad", "good"),
    [
        (too_long, "agentkit/a.py", "\n" * 401, "\n" * 400),
        (too_long, "agentkit/a.py", "def f():\n" + "    1\n" * 60, "def f():\n" + "    1\n" * 59),
        (too_long, "agentkit/a.py", "@d\nasync def f():\n" + "    1\n" * 59, "class A:\n" + "    1\n" * 80),
        (event_loops_named, "agentkit/a.py", "def f():\n    import asyncio.tasks", "import anyio"),
        (event_loops_named, "agentkit/run.py", "from trio import lowlevel", "from agentkit import trio"),
        (foreign_words, "agentkit/a.py", "class ToolHandler: ...", "from contextlib import asynccontextmanager"),
        (foreign_words, "agentkit/a.py", "def f(next_node): ...", "import ast\nx: ast.Node = itertools.chain()"),
        (foreign_words, "agentkit/a.py", "self.managers = 1", "self.unchained = logging.Handler()"),
        (foreign_words, "agentkit/a.py", "import x as helper", "keychain = 1"),
        (places_named, "README.md", "cd /hom" + "e/you", "GET /v1/work/2, ~/home/x, /tmp/x, ./root/x"),
        (places_named, "a.lock", "https://example.org/simpl" + "e/httpx", "a simple/plain sentence"),
        (places_named, "a.md", "see pypi.or" + "g", "see our site"),
    ],
)
def test_check_can_fail(check: Any, path: str, bad: str, good: str) -> None:
    assert len(list(check({path: bad}))) == 1
    assert list(check({path: good})) == []


def test_check_of_file_names_can_fail() -> None:
    assert list(foreign_words({"agentkit/utils/a.py": ""})) == ["agentkit/utils/a.py: utils: util"]


def test_check_of_cycles_can_fail() -> None:
    assert list(cycles({"a": ["b"], "b": ["c"], "c": ["a"]})) == ["a -> c -> b -> a"]
    assert list(cycles({"a": ["b", "c"], "b": ["c"]})) == []


def test_check_of_light_imports_can_fail() -> None:
    assert "httpx" in run("-c", "import httpx, sys; print(*sys.modules)").split()


def test_check_of_the_wheel_can_fail(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for package in ("agentkit", "tools/agentkit_tools", "stray"):
        (tmp_path / package).mkdir(parents=True)
        (tmp_path / package / "__init__.py").touch()
    pyproject = tmp_path / "pyproject.toml"
    pyproject.write_text(
        pyproject.read_text("utf-8").replace('"tools/agentkit_tools"]', '"tools/agentkit_tools", "stray"]')
    )
    assert "stray/__init__.py" in wheel_names(tmp_path, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "source", "broken"),
    [
        (
            "errors.py",
            "def f():\n    from agentkit.loop import x",
            "agentkit.errors is not allowed to import agentkit.loop",
        ),
        ("stream.py", "import agentkit.rules", "agentkit.stream is not allowed to import agentkit.rules"),
        ("stray.py", "", "agentkit.stray"),
        ("", "", ""),
    ],
)
def test_import_contracts_can_fail(tmp_path: Path, module: str, source: str, broken: str) -> None:
    shutil.copytree(ROOT / "agentkit", tmp_path / "agentkit", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tools" / "agentkit_tools", tmp_path / "agentkit_tools")
    shutil.copy(ROOT / ".importlinter", tmp_path)
    if module:
        (tmp_path / "agentkit" / module).write_text(source)
    lint = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"]
    done = subprocess.run(lint, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode != 0, broken in done.stdout) == (bool(module), True), done.stdout + done.stderr
