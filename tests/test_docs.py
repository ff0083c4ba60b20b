"""The documentation is right: its Python runs (on the emulator), its commands parse, its links lead somewhere."""

from __future__ import annotations

import ast
import configparser
import gc
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import pytest
from pytest_examples import CodeExample, EvalExample, find_examples

from agentkit import redaction

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(?:console|bash|sh)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")


def python_blocks(*, run: bool) -> list[CodeExample]:
    found = find_examples(ROOT / "README.md", ROOT / "docs")
    return [block for block in found if (block.prefix_settings().get("test") != "skip") is run]


def marked(blocks: list[CodeExample]) -> list[Any]:
    """As parameters: ```python test="slow" starts programs, and takes seconds."""
    return [
        pytest.param(block, marks=pytest.mark.slow) if block.prefix_settings().get("test") == "slow" else block
        for block in blocks
    ]


def commands(page: str) -> list[str]:
    """The shell blocks and inline `make` commands of a page."""
    blocks = [_typed(block.splitlines()) for block in FENCE.findall(page)]
    return [*blocks, *re.findall(r"`(make [^`]+)`", page)]


def _typed(lines: list[str]) -> str:
    """What is typed in a shell block: where lines begin with `$ `, the others are output."""
    typed = [line[2:] for line in lines if line.startswith("$ ")]
    return "\n".join(typed or lines)


def unknown_targets(commands: str, makefile: str) -> list[str]:
    """What `make` is asked for and does not know."""
    known = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    return [target for target in re.findall(r"\bmake ([a-z]+)", commands) if target not in known]


def floors(contracts: str) -> list[set[str]]:
    """The floors of the import contract, from the ground up."""
    parser = configparser.ConfigParser()
    parser.read_string(contracts)
    layers = parser["importlinter:contract:floors"]["layers"].strip().splitlines()
    return [set(re.findall(r"\w+", layer)) for layer in reversed(layers)]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[None]:
    """The emulator, found through the environment as a user's endpoint would be."""
    emulator = pytest.importorskip("agentkit.emulator", reason="the examples need the emulator", exc_type=ImportError)
    with emulator.Emulator() as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANTHROPIC_BASE_URL", running.url)
        patch.setenv("ANTHROPIC_API_KEY", "emulator")
        patch.setenv("AGENTKIT_MODEL", "claude-sonnet-4-6")
        yield


@pytest.fixture
def forgotten() -> Iterator[None]:
    """What a block leaves in the process is gone after it: its module, variables of the environment, and secrets."""
    main, environment = sys.modules["__main__"], dict(os.environ)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "__main__", main)
        patch.setattr("agentkit.secrets._kept", set())
        patch.setattr(redaction, "_live", WeakValueDictionary())
        gc.freeze()  # what is there already need not be looked at below
        yield
        if (left := sys.modules["__main__"]) is not main:
            vars(left).clear()
    os.environ.update(environment)
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    gc.collect()  # sessions and programs end with what holds them
    gc.unfreeze()


@pytest.mark.usefixtures("endpoint", "forgotten")
@pytest.mark.parametrize("block", marked(python_blocks(run=True)), ids=str)
def test_python_runs(
    block: CodeExample, eval_example: EvalExample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (program := block.prefix_settings().get("needs")) and shutil.which(program) is None:
        pytest.skip(f"there is no {program}")
    monkeypatch.chdir(tmp_path)  # where files that it makes may stay
    found = eval_example.run(block)
    for name in [name for name in found if name.startswith("test_")]:
        found[name]()


@pytest.mark.parametrize("block", python_blocks(run=False), ids=str)
def test_python_parses(block: CodeExample) -> None:
    compile(block.source, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands(page: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    found = "\n".join(commands(page.read_text("utf-8")))
    subprocess.run([bash, "-n"], input=found, text=True, check=True)
    assert unknown_targets(found, (ROOT / "Makefile").read_text("utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page: Path) -> None:
    linked = LINK.findall(page.read_text("utf-8"))
    assert [link for link in linked if not (page.parent / link).exists()] == []


def test_floors_are_those_of_the_contract() -> None:
    rows = re.findall(r"^\| (\d+) \| (.*?) \|", (ROOT / "docs" / "architecture.md").read_text("utf-8"), re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
    described = [set(re.findall(r"`(\w+)`", modules)) for _, modules in rows]
    assert described == floors((ROOT / ".importlinter").read_text("utf-8"))


def test_the_checks_can_fail() -> None:
    assert commands("```console\n$ make demo\nout (put\n```\n```bash\nls\n```\n`make ci`") == [
        "make demo",
        "ls",
        "make ci",
    ]
    assert unknown_targets("make demo; make coffee", "demo: x\n") == ["coffee"]
    assert LINK.findall("[a](b.md#c) [d](https://e.f) [g](#h)") == ["b.md"]
    assert floors("[importlinter:contract:floors]\nlayers =\n    (b) | c\n    a\n") == [{"a"}, {"b", "c"}]
