"""What every test gets: both event loops, a clean environment, and Hypothesis the same way each time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import ModuleType

import pytest
import recordings as recorded
from hypothesis import HealthCheck, settings

from agentkit.retry import RetryBudget

# The default is fast and draws the same examples each time, so that a red run is red again.
settings.register_profile(
    "fast",
    max_examples=100,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("ci", settings.get_profile("fast"), max_examples=500)
settings.register_profile("long", settings.get_profile("fast"), max_examples=5000, derandomize=False, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `recordings` skip, saying so, where there are none."""
    if not recorded.PATH.exists():
        for item in items:
            if item.get_closest_marker("recordings"):
                item.add_marker(pytest.mark.skip(reason=recorded.MISSING))
