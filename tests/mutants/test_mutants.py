"""The mutation tester itself, and all mutants."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("cosmic_ray", reason="needs cosmic-ray, which the extra `mutants` has: make mutants")

from cosmic_ray.mutating import mutate_code
from mutant_operators import OPERATORS
from mutant_source import mutants_of, read_equivalents

HERE = Path(__file__).parent

SOURCE = '''"""A module."""
from a import b

__all__ = ["f"]


@dataclass(slots=True)
class A:
    async def f(self, x: int | None = None) -> int | None:
        """Does it."""
        async with self.lock:
            await one()
            await two()
        if x or y and "held" not in z:
            x += 1
        return x
'''


OURS = [one for one in OPERATORS if type(one).__module__ == "mutant_operators"]


@pytest.mark.parametrize("operator", OURS, ids=[type(one).__name__ for one in OURS])
def test_an_operator_does_what_its_example_says(operator: object) -> None:
    for example in type(operator).examples():  # type: ignore[attr-defined]
        assert mutate_code(example.pre_mutation_code, operator, example.occurrence) == example.post_mutation_code


def written(folder: Path, source: str) -> Path:
    path = folder / "step.py"
    path.write_text(source, "utf-8")
    return path


def test_what_is_changed(tmp_path: Path) -> None:
    found = mutants_of(written(tmp_path, SOURCE))
    assert {(one.function, one.kind, one.new) for one in found} == {
        ("-", "RemoveDecorator", ""),
        ("A.f", "UnwrapWith", "if True:"),
        ("A.f", "DeleteStatement", "pass"),
        ("A.f", "SwapCalls", "await two()\nawait one()"),
        ("A.f", "NegateCondition", 'if not (x or y and "held" not in z):'),
        ("A.f", "OrWithAnd", 'if x and y and "held" not in z:'),
        ("A.f", "AndWithOr", 'if x or y or "held" not in z:'),
        ("A.f", "Membership", 'if x or y and "held" in z:'),
        ("A.f", "Word", 'if x or y and "held_" not in z:'),
        ("A.f", "NumberReplacer", "x += 2"),
        ("A.f", "NumberReplacer", "x += 0"),
    }
    assert [one.old for one in found if one.kind == "DeleteStatement"] == [
        "await one()",
        "await two()",
        "x += 1",
        "return x",
    ]
    for mutant in found:
        compile(mutant.source, "mutant", "exec")
        changed = mutant.source.splitlines()
        assert len(changed) in (len(SOURCE.splitlines()), len(SOURCE.splitlines()) - 1)
        assert SOURCE.splitlines()[mutant.first - 1].strip() == mutant.old.splitlines()[0]


def test_a_name_outlives_edits_of_other_lines(tmp_path: Path) -> None:
    before = mutants_of(written(tmp_path, SOURCE))
    after = mutants_of(written(tmp_path, SOURCE.replace("from a", "import c\n\n\nfrom a").replace("x += 1", "x -= 7")))
    assert len(set(before)) == len(before)
    assert {one for one in before if "x += 1" not in one.old} == {one for one in after if "x -= 7" not in one.old}


def test_equal_changes_of_a_function_are_counted(tmp_path: Path) -> None:
    found = mutants_of(written(tmp_path, "def f():\n    g()\n    h = 0\n    g()\n"))
    assert [str(one) for one in found if one.kind == "DeleteStatement" and one.old == "g()"] == [
        "step f DeleteStatement\n- g()\n+ pass",
        "step f DeleteStatement #2\n- g()\n+ pass",
    ]


def test_the_list_of_equivalent_ones(tmp_path: Path) -> None:
    found = mutants_of(written(tmp_path, SOURCE))
    listed = tmp_path / "equivalent.txt"
    listed.write_text("# A remark.\n\n" + "\n\n".join(f"{one}\n= It is so." for one in found))
    assert read_equivalents(listed) == dict.fromkeys(found, "It is so.")
    listed.write_text(str(found[0]))
    with pytest.raises(ValueError, match="no reason"):
        read_equivalents(listed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_mutant_is_killed() -> None:
    """All are found or listed as equivalent, and the list names none that is not there.

    It takes ten minutes, and an hour where no test of `killers.txt` finds a mutant any more.
    """
    command = [sys.executable, str(HERE / "mutants.py"), "-n", "4"]  # many only wait for their time limit
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "PYTEST_"))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=HERE.parents[1], check=False)
    assert done.returncode == 0, done.stdout + done.stderr
