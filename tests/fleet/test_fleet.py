"""Workers that are killed, stopped and told to end for real, with 50 runs under way: see `Fleet.check`."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

pytest.importorskip("dbos", reason="dbos is not installed", exc_type=ImportError)

from fleet_rounds import decide, kill, restart_database, stop_past_its_lease, terminate
from fleet_runs import Fleet, fleet

pytestmark = pytest.mark.slow

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
SOON = 30  # seconds until the first run of a dead worker must go on


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("fleet")) as world:
        yield world


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(19 if LONG else 4))
def test_a_worker_is_killed_with_25_runs(world: Fleet, seed: int) -> None:
    assert kill(world, random.Random(seed)).seconds.get("first entry", 0) < SOON


@pytest.mark.slow
def test_a_database_that_is_gone_for_a_moment_ends_no_run(world: Fleet) -> None:
    assert restart_database(world, random.Random(1)).counts["ended"] == 50


@pytest.mark.slow
def test_a_worker_that_is_told_to_end_gives_its_runs_to_the_other(world: Fleet) -> None:
    done = terminate(world, random.Random(1))
    assert done.counts["given back"] > 0


@pytest.mark.slow
def test_a_worker_is_killed_on_another_machine(world: Fleet) -> None:
    """Where nobody sees that its process is gone, its lease has to run out."""
    done = kill(world, random.Random(4), apart=True)
    assert 10 < done.seconds["first taken"] < SOON


@pytest.mark.slow
def test_C15_a_worker_that_was_stopped_past_its_lease_does_nothing_to_its_runs(world: Fleet) -> None:
    assert stop_past_its_lease(world, random.Random(1)).counts["held"] > 0


@pytest.mark.slow
def test_what_parks_is_decided_once_while_workers_are_killed(world: Fleet) -> None:
    counts = decide(world, random.Random(1)).counts
    assert (counts["decided"], counts["ended"]) == (50, 50)
