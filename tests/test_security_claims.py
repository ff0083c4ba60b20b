"""Every claim of the security guide names a test that is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "guides" / "security.md"


def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {function.name for function in functions}


def rows() -> list[list[str]]:
    lines = [line for line in GUIDE.read_text("utf-8").splitlines() if line.startswith("| ")]
    return [re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", line.rsplit(" | ", 1)[-1]) for line in lines[1:]]


def test_every_claim_names_a_test() -> None:
    assert len(rows()) > 15
    assert all(rows())


def test_the_tests_are_there() -> None:
    named = {test for row in rows() for test in row}
    assert [test for test in sorted(named) if test[1] not in functions_of(ROOT / test[0])] == []
