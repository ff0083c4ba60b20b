"""Servers that the tests of integrations share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from postgres_server import PostgresServer

    from agentkit.integrations.durable import Queue


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


@pytest.fixture
def queue(place: str) -> Iterator[Queue]:
    """A queue at the test's own `place`."""
    from durable_runs import open_queue

    with open_queue(place) as opened:
        yield opened


@pytest.fixture
def url() -> Iterator[str]:
    """An endpoint whose model does what the question says."""
    from durable_runs import answer
    from scripted import ScriptedServer

    with ScriptedServer(answer) as server:
        yield server.url
