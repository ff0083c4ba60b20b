"""What mutants of `agentkit.step` showed untested: values that can't change, and what a cost limit says."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from agentkit.step import Answer, CallModel, CallTools, Finish


@pytest.mark.parametrize("step", [CallModel(3), CallTools(()), Answer(), Finish("refusal")])
def test_a_step_is_a_value(step: Any) -> None:
    assert not hasattr(step, "__dict__")
    for name in step.__slots__:
        with pytest.raises(FrozenInstanceError):
            setattr(step, name, None)
    assert type(step).__dataclass_params__.frozen
    assert hash(step) == hash(type(step)(*(getattr(step, name) for name in step.__slots__)))
