"""The blocks of docs/guides/postgres.md run, against the emulator and a PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_examples import CodeExample, EvalExample, find_examples

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "postgres.md"


@pytest.fixture
def _surroundings(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    emulator = pytest.importorskip("agentkit.emulator", exc_type=ImportError)
    with emulator.Emulator() as running:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", running.url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "emulator")
        monkeypatch.setenv("DATABASE_URL", database)
        yield


@pytest.mark.usefixtures("_surroundings")
@pytest.mark.parametrize("block", list(find_examples(PAGE)), ids=str)
def test_a_block_of_the_guide_runs(block: CodeExample, eval_example: EvalExample) -> None:
    eval_example.run(block)
