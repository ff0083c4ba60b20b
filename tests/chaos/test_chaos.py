"""Processes that are killed for real, with a real journal and real HTTP: what must hold is in `Case.check`."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from functools import partial

import pytest
from chaos_races import INTERRUPTED, STOPPED, STOPPED_IN_A_TOOL, race, stop_at
from chaos_runs import BOUNDARIES, Chaos, chaos, count_all, failures, kill_again_and_again, kill_at, kill_at_any_time

pytestmark = pytest.mark.slow

# From the claim to the end, with each policy of a call that was left behind.
OFTEN = (
    *("before claim", "within turn", "after turn", "before intent", "within intent", "after intent", "effect pay"),
    *("effect send", "effect book", "before result pay", "within result pay", "beside after send", "request 2"),
    *("within release parked", "effect refund", "before release ended"),
)
LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
RACES = [2 + at % 7 for at in range(50)] if LONG else [2, 3, 5, 8]  # resumers of each
PARTS, CANCELS = (10, 500) if LONG else (1, 50)  # of each event loop


def kills_at(boundary: str) -> int:
    return 200 if LONG else 5 if boundary in OFTEN else 1


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chaos]:
    with chaos(tmp_path_factory.mktemp("chaos")) as world:
        yield world


@pytest.mark.parametrize("boundary", ["effect pay", "within result send", "request 2"])
def test_a_run_whose_process_is_killed_goes_on_in_another(world: Chaos, boundary: str) -> None:
    assert kill_at(world, boundary)["ended"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_C7_to_C12_a_process_is_killed_at_every_boundary(world: Chaos, boundary: str) -> None:
    found = count_all([(boundary, partial(kill_at, world, boundary))] * kills_at(boundary))
    assert not failures(found)
    assert found[boundary]["kills"] == kills_at(boundary)


@pytest.mark.slow
def test_a_process_is_killed_at_any_time(world: Chaos) -> None:
    jobs = [("at any time", partial(kill_at_any_time, world, 0.025 * at)) for at in range(8)]
    assert not failures(count_all(jobs))


@pytest.mark.slow
def test_each_process_of_a_run_is_killed(world: Chaos) -> None:
    boundaries = ["after claim", "effect send", "after intent", "parked", "before result refund", "within turn#3"]
    assert kill_again_and_again(world, boundaries)["kills"] >= 5
    chance = random.Random(5)
    for _ in range(3):
        kill_again_and_again(world, sorted(chance.sample(BOUNDARIES, 5), key=BOUNDARIES.index))


@pytest.mark.slow
@pytest.mark.parametrize("threads", [False, True], ids=["processes", "threads"])
def test_C14_of_resumers_at_once_one_goes_on(world: Chaos, threads: bool) -> None:
    for at, resumers in enumerate(RACES):
        assert race(world, resumers, INTERRUPTED[at % len(INTERRUPTED)], threads=threads)["busy"] == resumers - 1


@pytest.mark.slow
@pytest.mark.parametrize("boundary", STOPPED)
def test_C15_a_process_that_was_stopped_past_its_lease_writes_nothing_and_begins_nothing(
    world: Chaos, boundary: str
) -> None:
    assert stop_at(world, boundary, meets=STOPPED.index(boundary) % 2 == 1)["late"] == 0


@pytest.mark.slow
def test_C15_the_effect_of_a_tool_that_was_stopped_comes_late_and_once(world: Chaos) -> None:
    counts = stop_at(world, STOPPED_IN_A_TOOL)
    assert (counts["late"], counts["unknown"]) == (1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("part", range(PARTS))
def test_cancels_at_random_points_leave_nothing_behind(world: Chaos, backend: str, part: int) -> None:
    with world.case(f"cancels on {backend}") as case:
        job = case.job(cancels=CANCELS, seed=7 + part, backend=backend, pause=0.01)
        assert case.run(job) == [0]
        said = case.said(job)
    assert not said["failures"]
    assert len(said["seconds"]) == CANCELS
    assert {name: said[name][1] - said[name][0] for name in ("threads", "files", "tasks")} == {
        "threads": 0,
        "files": 0,
        "tasks": 0,
    }
    assert sorted(said["seconds"])[CANCELS // 2] < 2  # a quiet machine: p99 under 0.25; `make chaos` prints it
