"""Servers that the tests of integrations share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from postgres_server import PostgresServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL of this test run."""
    from postgres_server import running

    with running() as server:
        yield server


@pytest.fixture
def database(postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a database without a journal."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))  # where rescued results go
    postgres.execute("DROP SCHEMA IF EXISTS agentkit CASCADE")
    return postgres.url()
