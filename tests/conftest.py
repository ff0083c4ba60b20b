"""What every test gets: both event loops, a clean environment, and Hypothesis the same way each time."""

from __future__ import annotations

import os
import signal
import ssl
from collections import Counter
from collections.abc import Iterator
from functools import cache
from types import ModuleType

import pytest
import recordings as recorded
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

from agentkit.retry import RetryBudget

# The default is fast and draws the same examples each time, so that a red run is red again.
settings.register_profile(
    "fast",
    max_examples=25,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("ci", settings.get_profile("fast"), max_examples=500)
settings.register_profile("long", settings.get_profile("fast"), max_examples=5000, derandomize=False, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))
if settings().derandomize:
    # Hypothesis also draws the constants of each module that is imported so far: with xdist, others each time.
    providers.is_local_module_file = lambda path: False  # type: ignore[assignment]

_OURS = ("ANTHROPIC_", "AGENTKIT_", "COMETAPI_")


@pytest.fixture(params=["asyncio", "trio"], scope="module")
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The event loop of a test marked `anyio`: it runs once on each."""
    return str(request.param)


@pytest.fixture(autouse=True, scope="session")
def _clean_environment() -> Iterator[None]:
    """No key, endpoint or proxy of the machine reaches a test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.upper().startswith(_OURS) or name.upper().endswith("_PROXY"):
                patch.delenv(name)
        yield


@pytest.fixture(autouse=True, scope="session")
def _one_tls_context() -> Iterator[None]:
    """Making one takes longer than most tests, and none of them changes it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", cache(ssl.create_default_context))
        yield


@pytest.fixture(autouse=True, scope="session")
def _interruptible() -> Iterator[None]:
    """Ctrl-C reaches the tests and their processes, also where they run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _own_retry_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """The budget of retries is the process's: a test must not live off another's."""
    monkeypatch.setattr("agentkit.client._budget", RetryBudget())


@pytest.fixture(scope="session")
def recordings() -> ModuleType:
    """The module `recordings`; the test skips where there are none."""
    if not recorded.PATH.exists():
        pytest.skip(recorded.MISSING)
    return recorded


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out what is slow
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `recordings` skip, saying so, where there are none; what runs on both event loops is fast on one."""
    if not recorded.PATH.exists():
        for item in items:
            if item.get_closest_marker("recordings"):
                item.add_marker(pytest.mark.skip(reason=recorded.MISSING))
    _mark_one_event_loop_slow(items)


def _mark_one_event_loop_slow(items: list[pytest.Item]) -> None:
    """Of each test on both event loops one is slow: the tests of a file take turns, and so do the cases of a test.

    The turns of the cases are those of Thue and Morse: in a matrix, no value is always on the same event loop.
    """
    named = {item.nodeid: item for item in items}
    tests: dict[str, list[str]] = {}
    cases: Counter[str] = Counter()
    for name, on_asyncio in named.items():
        test, _, case = name.partition("[asyncio")
        if on_trio := named.get(f"{test}[trio{case}"):
            if test not in (of_file := tests.setdefault(test.partition("::")[0], [])):
                of_file.append(test)
            turn = of_file.index(test) + cases[test].bit_count()
            (on_trio, on_asyncio)[turn % 2].add_marker(pytest.mark.slow)
            cases[test] += 1
