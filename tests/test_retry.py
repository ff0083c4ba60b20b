"""Failure → wait: the retry policy RP of faults.md section 3."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    BadRequestError,
    ConflictError,
    InternalServerError,
    OverloadedError,
    ProtocolError,
    RateLimitError,
    StreamTruncated,
    status_error,
)
from agentkit.retry import RetryBudget, parse_retry_after, wait_before_retry
from agentkit.settings import RetryPolicy

POLICY = RetryPolicy()


def attempts_of(error: APIError, policy: RetryPolicy = POLICY) -> int:
    attempt = 1
    while wait_before_retry(error, attempt, 0.0, policy) is not None:
        attempt += 1
    return attempt


@pytest.mark.parametrize(
    ("make", "attempts"),
    [
        (InternalServerError, 4), (OverloadedError, 4), (RateLimitError, 4), (APIConnectionError, 4),
        (APITimeoutError, 4), (StreamTruncated, 4), (ConflictError, 3), (ProtocolError, 2), (BadRequestError, 1),
    ],
)  # fmt: skip
def test_how_often_each_failure_is_sent(make: Callable[[str], APIError], attempts: int) -> None:
    assert attempts_of(make("x")) == attempts
    assert attempts_of(make("x"), RetryPolicy(max_attempts=1)) == 1
    assert attempts_of(make("x"), RetryPolicy(max_attempts=2)) == min(attempts, 2)


def test_the_header_of_the_reply_decides() -> None:
    assert attempts_of(status_error(400, None, should_retry=True)) == 4
    assert attempts_of(status_error(529, None, should_retry=False)) == 1


@given(
    attempt=st.integers(1, 30),
    base=st.floats(0, 5),
    cap=st.floats(0.1, 60),
    overloaded=st.booleans(),
)
def test_the_wait_is_drawn_from_zero_to_the_exponential(
    attempt: int, base: float, cap: float, overloaded: bool
) -> None:
    policy = RetryPolicy(max_attempts=99, base=base, cap=cap)
    error = OverloadedError("x") if overloaded else InternalServerError("x")
    wait = wait_before_retry(error, attempt, 0.0, policy)
    assert wait is not None
    assert 0 <= wait <= min(cap, base * (4 if overloaded else 1) * 2 ** (attempt - 1))


def test_the_wait_is_random_over_the_whole_range() -> None:
    waits = [wait_before_retry(InternalServerError("x"), 3, 0.0, POLICY) or 0.0 for _ in range(500)]
    assert min(waits) < 0.1
    assert 1.9 < max(waits) <= 2.0
    first = [wait_before_retry(OverloadedError("x"), 1, 0.0, POLICY) or 0.0 for _ in range(500)]
    assert 1.9 < max(first) <= 2.0, "the base is longer when the API is overloaded"


@given(seconds=st.floats(0.001, 60), attempt=st.integers(1, 3))
def test_never_before_the_time_that_was_asked_for(seconds: float, attempt: int) -> None:
    wait = wait_before_retry(RateLimitError("x", retry_after=seconds), attempt, 0.0, POLICY)
    assert wait is not None
    assert seconds <= wait <= seconds * 1.1


@pytest.mark.parametrize("seconds", [60.001, 3600.0, 302_400.0])
def test_a_longer_wait_than_the_cap_is_raised_at_once(seconds: float) -> None:
    assert wait_before_retry(RateLimitError("x", retry_after=seconds), 1, 0.0, POLICY) is None
    patient = RetryPolicy(retry_after_cap=1e9, total=1e9)
    assert wait_before_retry(RateLimitError("x", retry_after=seconds), 1, 0.0, patient) is not None
    assert wait_before_retry(RateLimitError("x", retry_after=59.0), 1, 0.0, POLICY) is not None


def test_zero_seconds_is_no_wish() -> None:
    waits = [wait_before_retry(RateLimitError("x", retry_after=0.0), 1, 0.0, POLICY) or 0.0 for _ in range(100)]
    assert 0.3 < max(waits) <= 0.5


def test_all_waits_of_a_turn_are_bounded() -> None:
    error = RateLimitError("x", retry_after=50.0)
    assert wait_before_retry(error, 2, 65.0, POLICY) is not None
    assert wait_before_retry(error, 2, 70.001, POLICY) is None
    assert wait_before_retry(InternalServerError("x"), 1, 120.0, RetryPolicy(base=0.0)) == 0.0
    assert wait_before_retry(InternalServerError("x"), 1, 120.001, RetryPolicy(base=0.0)) is None


NOW = 1_790_000_000.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "12"}, 12.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after": "3600"}, 3600.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "12"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "12"}, 12.0),
        ({"retry-after-ms": "-1", "retry-after": "12"}, 12.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e999"}, None),
        ({"retry-after": formatdate(NOW + 30, usegmt=True)}, 30.0),
        ({"retry-after": formatdate(NOW - 30, usegmt=True)}, 0.0),
        ({"retry-after": "Wed, 99 Foo 2026 99:99:99 GMT"}, None),
        ({"retry-after": "Mon, 01 Jan 99999 00:00:00 GMT"}, None),
    ],
)
def test_the_wish_of_a_reply(headers: dict[str, str], seconds: float | None) -> None:
    assert parse_retry_after(headers, NOW) == seconds


dates = st.lists(st.sampled_from([*"0123456789:,-+ ", "Mon", "Jan", "GMT", "UT", "PM", "(", ")", "20"])).map("".join)


@given(value=st.text(max_size=30) | dates)
def test_no_header_raises(value: str) -> None:
    seconds = parse_retry_after({"retry-after": value, "retry-after-ms": value}, NOW)
    assert seconds is None or 0 <= seconds < float("inf")


def test_the_budget_keeps_retries_to_a_tenth() -> None:
    budget = RetryBudget()
    assert [budget.spend() for _ in range(11)] == [True] * 10 + [False]
    for _ in range(9):
        budget.earn()
    assert not budget.spend()
    for _ in range(3):
        budget.earn()
    assert budget.spend()
    assert not budget.spend()
    for _ in range(5000):
        budget.earn()
    assert sum(budget.spend() for _ in range(500)) <= 100


@given(outcomes=st.lists(st.booleans(), max_size=300))
def test_the_budget_never_gives_more(outcomes: list[bool]) -> None:
    budget = RetryBudget()
    retries: Any = 0
    for good in outcomes:
        if good:
            budget.earn()
        else:
            retries += budget.spend()
    assert retries <= 10 + sum(outcomes) * 0.1 + 1e-6
