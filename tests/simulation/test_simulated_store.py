"""The store of the simulation keeps what every store must; and what a loss of power takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from simulated_store import Disk, SimulatedStore
from test_store import RUN, line, store  # noqa: F401
from test_store import test_a_holder_that_is_known_to_be_dead_is_not_waited_for as test_a_dead_holder  # noqa: F401
from test_store import test_a_new_run_is_there_with_its_lines as test_a_new_run  # noqa: F401
from test_store import test_a_run_that_another_holds_is_busy_until_its_time_is_up as test_a_busy_run  # noqa: F401
from test_store import test_a_run_that_rests_can_be_taken_up_at_once_but_only_as_it_is as test_a_rest  # noqa: F401
from test_store import test_C18_nothing_is_taken_into_a_run_that_another_goes_on_with as test_C18_taken_up  # noqa: F401
from test_store import test_C18_what_does_not_go_on_from_the_end_is_kept_beside_the_run as test_C18_no_end  # noqa: F401
from test_store import test_C18_what_is_there_is_not_taken_in_again as test_C18_is_there  # noqa: F401
from test_store import test_C18_what_was_rescued_is_taken_in as test_C18_taken_in  # noqa: F401
from test_store import test_C18_what_was_rescued_of_a_run_that_is_not_there_is_left as test_C18_no_run  # noqa: F401
from test_store import (  # noqa: F401
    test_C18_what_was_rescued_of_a_run_that_others_have_taken_up_is_kept_beside_it as test_C18_lost,
)
from test_store import test_lines_are_appended_and_the_row_follows as test_lines  # noqa: F401
from test_store import test_one_of_many_at_once_gets_the_run as test_one_of_many  # noqa: F401
from test_store import test_the_newest_runs_come_first as test_the_newest  # noqa: F401
from test_store import test_who_has_lost_a_run_writes_nothing_more as test_who_has_lost  # noqa: F401

from agentkit.errors import JournalError
from agentkit.store import Store


@pytest.fixture
def make() -> Callable[[], Store]:
    """Opens the same store, as another process would."""
    disk = Disk()
    return lambda: SimulatedStore(disk)


def test_a_loss_of_power_takes_the_last_commits_that_were_not_synced() -> None:
    disk = Disk()
    one = SimulatedStore(disk)
    one.claim(RUN, [line(0)])
    one.append(replace(RUN, length=1), [line(1)], durable=True)
    one.append(replace(RUN, length=2, updated=101.0), [line(2)], durable=False)
    one.append(replace(RUN, length=3, updated=102.0), [line(3)], durable=False)
    assert disk.synced == {"run_1": 2}
    disk.lose(1)
    assert one.run("run_1") == replace(RUN, length=3, updated=101.0)
    one.append(replace(RUN, length=3), [line(3)], durable=False)
    disk.lose(9)
    assert one.lines("run_1", 0, 9) == [line(0), line(1), line(2)]
    one.claim(replace(RUN, run_id="run_2"), [line(0)])
    disk.lose(1)
    assert one.run("run_2") is None


def test_what_is_closed_says_so_here_too() -> None:
    one = SimulatedStore(Disk())
    one.close()
    with pytest.raises(JournalError, match="closed"):
        one.runs(1)
