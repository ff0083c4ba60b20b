"""A red run is red again: what Hypothesis draws is the same each time."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.skipif(not settings().derandomize, reason="this profile draws anew each time")
def test_what_is_drawn_does_not_depend_on_what_was_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn() -> list[int]:
        found = []

        @settings(max_examples=200, derandomize=True)
        @given(st.integers())
        def draw(number: int) -> None:
            found.append(number)

        draw()
        return found

    before = drawn()
    (tmp_path / "of_the_project.py").write_text(f"NUMBERS = {list(range(7000, 7300))}")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("of_the_project")
    assert drawn() == before
