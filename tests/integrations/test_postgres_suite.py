"""PostgreSQL passes what every store must pass: the suite of tests/test_store.py."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

import pytest
import test_store

from agentkit.store import Store

postgres_integration = pytest.importorskip("agentkit.integrations.postgres", exc_type=ImportError)

pytestmark = pytest.mark.slow


@pytest.fixture
def make(database: str) -> Iterator[Callable[[], Store]]:
    """Opens the same store, as another process would."""
    opened: list[Store] = []

    def another() -> Store:
        opened.append(postgres_integration.PostgresStore(database))
        return opened[-1]

    yield another
    for store in opened:
        store.close()


@pytest.fixture
def store(make: Callable[[], Store]) -> Store:
    return make()


def suite() -> dict[str, object]:
    """The tests that are about any store: they are given one, or what makes one."""
    tests = {name: test for name, test in vars(test_store).items() if name.startswith("test_")}
    return {name: test for name, test in tests.items() if {"store", "make"} & set(inspect.signature(test).parameters)}


globals().update(suite())


def test_the_suite_is_there() -> None:
    assert len(suite()) > 12
