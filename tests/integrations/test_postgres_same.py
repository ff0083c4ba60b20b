"""Whatever is asked of them, in whatever order, the store on PostgreSQL answers as the one on SQLite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_store import RUN, line

from agentkit.errors import JournalError
from agentkit.sqlite_store import SqliteStore
from agentkit.store import RunRow, Store, digest_of

postgres_integration = pytest.importorskip("agentkit.integrations.postgres", exc_type=ImportError)

pytestmark = pytest.mark.slow
_number = count()
_some = st.integers(0, 3)
rows = st.builds(
    lambda **changed: replace(RUN, **changed),
    run_id=st.sampled_from("abc"),
    parent=st.sampled_from([None, "a", "b"]),
    length=_some,
    epoch=st.integers(1, 3),
    holder=st.sampled_from([None, "here:1", "there:2"]),
    updated=st.sampled_from([100.0, 105.0, 125.0, 150.0]),
    state=st.sampled_from(["running", "end_turn"]),
    session=st.sampled_from([None, None, "ada"]),
)
# Of a row as it is stored, so that more than refusals is seen.
steps = st.lists(
    st.tuples(
        st.sampled_from(["claim", "claim", "append", "append", "transact", "cut", "orphan", "rescue", "recover"]),
        rows,
        st.booleans(),
        _some,
        st.sampled_from([None, "here:1"]),
    ),
    max_size=14,
)


@pytest.fixture
def both(database: str, tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    stores = SqliteStore(tmp_path / "runs.db"), postgres_integration.PostgresStore(database)
    yield stores
    for store in stores:
        store.close()


def answer(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except JournalError as error:
        return type(error), str(error)


def do(store: Store, what: str, row: RunRow, size: int, dead: str | None) -> Any:
    lines, digest = [], (store.lines(row.run_id, row.length - 1, row.length) or [(b"", b"")])[-1][1]
    for number in range(size):
        digest = digest_of(digest, line(number)[0])
        lines.append((line(number)[0], digest))
    match what:
        case "claim":
            return store.claim(row, lines, dead=dead)
        case "append":
            return store.append(row, lines, durable=size > 1)
        case "transact":
            return store.transact(row, lambda _: lines)
        case "cut":
            return store.cut(row, lines, dead=dead)
        case "orphan":
            return store.orphan(row, lines)
        case "rescue":
            return bool(lines and row.length) and bool(store.rescue(row, lines))
        case _:
            return store.recover(row.run_id)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=steps)
def test_both_stores_answer_the_same(both: tuple[Store, Store], steps: list[Any]) -> None:
    example = next(_number)

    def named(name: str | None) -> str | None:
        return name and f"{name}{example}"

    for what, row, as_stored, size, dead in steps:
        row = replace(row, run_id=named(row.run_id), parent=named(row.parent), session=named(row.session))
        if as_stored and (known := both[0].run(row.run_id)):
            row = replace(row, length=known.length, epoch=known.epoch)
        first, second = (answer(lambda: do(store, what, row, size, dead)) for store in both)  # noqa: B023
        assert first == second, what
    for name in "abc":
        first, second = (
            (store.run(f"{name}{example}"), store.lines(f"{name}{example}", 0, 99), store.orphans(f"{name}{example}"))
            for store in both
        )
        assert first == second
    assert both[0].last(f"ada{example}") == both[1].last(f"ada{example}")
    assert both[0].runs(9) == both[1].runs(9)
