"""The sync door: async functions for callers that are not async, also inside a running event loop."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest
from runs import portals

from agentkit.errors import ConfigurationError
from agentkit.portal import Portal

of_others: list[threading.Thread] = []


def portal_threads() -> list[threading.Thread]:
    return [thread for thread in portals() if thread not in of_others]


@pytest.fixture
def portal() -> Portal:
    return Portal()


@pytest.fixture(autouse=True)
def _no_thread_is_left(portal: Portal) -> object:
    of_others[:] = portals()
    yield
    portal.close()
    assert portal_threads() == []


async def double(number: int) -> int:
    await anyio.sleep(0.001)
    return 2 * number


def test_no_thread_before_the_first_call(portal: Portal) -> None:
    assert portal_threads() == []
    portal.close()


def test_calls_share_one_thread(portal: Portal) -> None:
    assert [portal.call(lambda n=n: double(n)) for n in range(3)] == [0, 2, 4]
    assert len(portal_threads()) == 1
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda n: portal.call(lambda: double(n)), range(20))) == [2 * n for n in range(20)]
    assert len(portal_threads()) == 1


def test_it_opens_again_after_it_was_closed(portal: Portal) -> None:
    portal.call(lambda: double(1))
    portal.close()
    portal.close()
    assert portal.call(lambda: double(2)) == 4


def test_what_the_function_raised_is_raised(portal: Portal) -> None:
    async def fail() -> None:
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        portal.call(fail)
    assert portal.call(lambda: double(1)) == 2


@pytest.mark.anyio
async def test_inside_a_running_event_loop(portal: Portal) -> None:
    assert portal.call(lambda: double(21)) == 42


def test_on_its_own_event_loop_it_says_so_instead_of_waiting_for_itself(portal: Portal) -> None:
    async def outer() -> int:
        return portal.call(lambda: double(1))

    with pytest.raises(ConfigurationError, match=r"await agent\.run"):
        portal.call(outer)


def test_ctrl_c_cancels_the_function_and_waits_for_its_cleanup(portal: Portal) -> None:
    steps: list[str] = []

    async def work() -> None:
        try:
            steps.append("began")
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.1)
            steps.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        portal.call(work)
    assert steps == ["began", "cleaned up"]
    assert portal.call(lambda: double(1)) == 2


def test_ctrl_c_after_the_end_of_the_function(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures import Future

    result = Future.result

    def interrupted(future: Future[int], timeout: float | None = None) -> int:
        value = result(future, timeout)
        if value == 42:
            raise KeyboardInterrupt
        return value

    monkeypatch.setattr(Future, "result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        portal.call(lambda: double(21))
