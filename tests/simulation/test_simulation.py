"""Durable runs under drawn faults: nothing is lost, nothing happens twice, every run ends."""

from __future__ import annotations

import os
import re
from functools import cache

import pytest
from invariants import INVARIANTS
from planted import BUGS
from simulation import Outcome, Schedule, drawn, found, simulate, told

# Of `make test`, of `make ci`, of `make long`; and the first ones, in which the bugs are looked for.
FAST, MANY, LONG, MOST = 20, 2_000, 10_000, 400
PART = 198
SLOW = LONG if os.environ.get("HYPOTHESIS_PROFILE") == "long" else MANY
QUICK = ("the intent is not written", "a held run is taken up", "results come in the order of their ends")

known = cache(drawn)


def holds(first: int, stop: int) -> None:
    for seed in range(first, stop):
        schedule, unfaulted = drawn(seed)
        assert not unfaulted.violations, (seed, unfaulted.violations)
        if simulate(schedule, unfaulted).violations:
            pytest.fail(told(schedule, unfaulted))


def same(first: int, stop: int) -> None:
    for seed in range(first, stop):
        schedule, unfaulted = known(seed)
        again, unfaulted_again = drawn(seed)
        assert again == schedule
        assert unfaulted_again.trace == unfaulted.trace
        assert simulate(schedule).trace == simulate(schedule).trace


def test_the_invariants_hold() -> None:
    holds(0, FAST)


def test_a_seed_gives_the_same_trace_again() -> None:
    same(0, 4)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(FAST, SLOW, PART))
def test_the_invariants_hold_in_many_schedules(first: int) -> None:
    holds(first, min(first + PART, SLOW))


@pytest.mark.slow
def test_fifty_seeds_give_the_same_traces_again() -> None:
    same(4, 54)


def first_found(name: str) -> tuple[Schedule, Outcome, list[str]]:
    for seed in range(MOST):
        schedule, unfaulted = known(seed)
        if violations := found(schedule, unfaulted, BUGS[name]):
            return schedule, unfaulted, violations
    pytest.fail(f"{MOST} seeds do not find it")


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in BUGS])
def test_a_planted_bug_is_found(name: str) -> None:
    schedule, unfaulted, violations = first_found(name)
    named = re.match(r"(I\d+): ", violations[0])
    assert named, violations
    assert named[1] in INVARIANTS
    assert "never ends" not in violations[0]
    assert not simulate(schedule, unfaulted).violations  # without the bug


def test_every_invariant_is_looked_at() -> None:
    looked_at = {name for seed in range(FAST) for name in known(seed)[1].world.checks}
    assert looked_at >= INVARIANTS.keys() - {"I10", "I19"}  # where two are compared; the policy's


def test_what_is_violated_is_told_with_its_seed() -> None:
    schedule, unfaulted, _ = first_found("the intent is not written")
    assert told(schedule, unfaulted).endswith(f"replay: make simulate SEED={schedule.seed} N=1")
