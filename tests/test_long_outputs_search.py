"""Searching in what was kept whole: lines, places in long lines, patterns that would take for ever."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from agentkit import long_outputs
from agentkit.errors import ToolError
from agentkit.long_outputs import Outputs
from agentkit.tool_results import KEPT_FROM

pytestmark = pytest.mark.slow

LOG = "".join(f"line {at}: nothing to see here\n" for at in range(1, 5001))


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    return Outputs(tmp_path / "outputs")


def test_search(outputs: Outputs) -> None:
    name = outputs.keep("r", LOG)
    assert (
        outputs.read_output(name, pattern="^LINE 77:") == "[0 places match from line 1 of 5000 on; this is the end]\n"
    )
    assert outputs.read_output(name, pattern="(?i)^LINE 77:.*here$") == (
        "[1 places match from line 1 of 5000 on; this is the end]\n77: line 77: nothing to see here\n"
    )
    found = outputs.read_output(name, 78, lines=2, pattern=r"line \d*77:")
    assert found.startswith("[2 places match from line 78 of 5000 on; start_line=377 searches on]\n177: ")
    many = outputs.read_output(name, lines=10_000, pattern="nothing")
    assert KEPT_FROM - 1200 < len(many) <= KEPT_FROM
    at = re.search(r"start_line=(\d+) searches on", many)
    assert at
    assert f"\n{int(at[1]) - 1}: line {int(at[1]) - 1}:" in many


def test_search_in_a_long_line(outputs: Outputs) -> None:
    text = "x" * 900 + "needle" + "x" * 597 + "needle" + "y" * 3000 + "é" * 9000 + "needle\nneedle"
    name = outputs.keep("r", text)
    header, *places, last = outputs.read_output(name, pattern="needle").splitlines()
    assert header == "[4 places match from line 1 of 2 on; this is the end]"
    shown = {int(place.split(":")[1]): place.partition(": ")[2] for place in places}
    assert all(text[at - 1 :].startswith(piece) for at, piece in shown.items())
    assert list(shown) == [1, 1001, 13001]  # the second goes on where the first ends
    assert last == "2: needle"
    again = outputs.read_output(name, 1, 1001, lines=1, pattern="needle")
    assert again.splitlines()[1].startswith("1:1001: ")
    assert "start_line=1, start_column=13001 searches on" in again
    assert "\n1:13001: é" in outputs.read_output(name, 1, 13001, pattern="needle")  # the rest of a long line is short


def test_a_match_across_the_end_of_a_place_is_one_more(outputs: Outputs) -> None:
    name = outputs.keep("r", "x" * 100 + "needle" + "x" * 891 + "needle" + "x" * 2000)
    first, second = outputs.read_output(name, pattern="needle").splitlines()[1:]
    assert first.endswith("xnee")
    assert second.startswith("1:1001: dlex")


@pytest.mark.parametrize("gap", [0, 1, 493, 494, 499, 500, 994, 995, 1000, 1494])
def test_no_match_is_cut_in_two(outputs: Outputs, gap: int) -> None:
    name = outputs.keep("r", "x" * gap + "needle" + "x" * 2000)
    assert "needle" in outputs.read_output(name, pattern="needle")


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(", "unclosed group"),
        ("(?=x)", "look-around, including look-ahead and look-behind, is not supported"),
        (r"(a)\1", "backreferences are not supported"),
        ("(a{1000}){1000}", "Compiled regex exceeds size limit"),
    ],
)
def test_patterns_that_cannot_be_used(outputs: Outputs, pattern: str, why: str) -> None:
    name = outputs.keep("r", "x")
    with pytest.raises(ToolError, match=f"The pattern can't be used: {why}"):
        outputs.read_output(name, pattern=pattern)


def test_a_pattern_that_re_would_try_for_years(outputs: Outputs) -> None:
    name = outputs.keep("r", ("a" * 900 + "!\n") * 1000)
    began = time.monotonic()
    assert outputs.read_output(name, pattern="^(a+)+$").startswith("[0 places")
    assert time.monotonic() - began < 30


def test_a_search_stops_after_a_while(outputs: Outputs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_outputs, "_SECONDS", -1.0)
    found = outputs.read_output(outputs.keep("r", LOG), 7, pattern="nothing")
    assert found == "[0 places match from line 7 of 5000 on; start_line=7 searches on]\n"
