"""What mutants of `agentkit.step` showed untested."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from logs import asked, take
from scripted import reply, tool_use

from agentkit.messages import as_messages
from agentkit.settings import Limits
from agentkit.step import Answer, CallModel, CallTools, Finish, next_step, reaction_to
from agentkit.transcript import Transcript

A = tool_use("add", id="toolu_a", x=1)


@pytest.mark.parametrize("step", [CallModel(3), CallTools(()), Answer(), Finish("refusal")])
def test_a_step_is_a_value(step: Any) -> None:
    assert not hasattr(step, "__dict__")
    with pytest.raises((FrozenInstanceError, TypeError)):  # TypeError: with slots, for what is no field
        step.reason = "another"
    assert type(step).__dataclass_params__.frozen


def test_money() -> None:
    limits = Limits(max_cost_usd=0.5)
    cases = [(0.49, None), (0.5, "0.5000 US dollars"), (0.51, "0.5100 US dollars"), (None, "a cost that is not known")]
    for cost, said in cases:
        transcript = asked()
        transcript.take_turn(reply(stop="pause_turn"), "req_1", 1.0, cost)
        expected = CallModel() if said is None else Finish("max_cost", f"{said} spent")
        assert next_step(transcript, limits, 0.0) == expected
        assert next_step(transcript, Limits(), 0.0) == CallModel()


@pytest.mark.parametrize("runs", [True, False])
def test_calls_of_a_server_that_never_says_tool_use(runs: bool) -> None:
    transcript = Transcript()
    transcript.begin("run_1", as_messages("Hi"), runs_at_end_turn=runs)
    transcript.answer()
    take(transcript, A, stop="end_turn")
    assert reaction_to(transcript) == ("run calls" if runs else "finish")
    step = next_step(transcript, Limits(), 0.0)
    assert step == (CallTools(tuple(transcript.unended())) if runs else Finish("end_turn"))


def test_a_stop_reason_of_calls_means_nothing_where_there_are_none() -> None:
    transcript = Transcript()
    transcript.begin("run_1", as_messages("Hi"), runs_at_end_turn=True)
    transcript.answer()
    take(transcript, stop="end_turn")
    assert reaction_to(transcript) == "finish"
    assert next_step(transcript, Limits(), 0.0) == Finish("end_turn")
