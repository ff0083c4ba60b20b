"""Calls that go on later: held for a human, or left behind by a process that died."""

from __future__ import annotations

import sys
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from calls import UNKNOWN, World
from runs import until
from scripted import tool_use

from agentkit.events import ToolCall, ToolHeld
from agentkit.tools import tool
from agentkit.transcript import Decision

pytestmark = pytest.mark.anyio


def approved(verdict: Any) -> tuple[World, list[int]]:
    entered: list[int] = []

    @tool(needs_approval=verdict)
    async def pay(amount: int) -> str:
        """Pays."""
        entered.append(amount)
        return f"paid {amount}"

    return World([pay], [tool_use("pay", amount=5), tool_use("pay", id="toolu_2", amount=500)]), entered


async def _large_async(amount: int) -> bool:
    await checkpoint()
    return amount > 100


async def test_needs_approval_holds_and_siblings_go_on() -> None:
    for verdict, held in [
        (True, [5, 500]),
        (lambda amount: amount > 100, [500]),
        (_large_async, [500]),
        (lambda amount: 1 // 0, [5, 500]),
        (lambda amount: sys.exit(1), [5, 500]),
        (False, []),
    ]:
        world, entered = approved(verdict)
        world.commit()
        async with world.calls() as calls:
            await world.drain(calls)
        assert sorted(event.input["amount"] for event in world.of(ToolHeld)) == held
        assert sorted([*entered, *held]) == [5, 500]
        assert [call.block["input"]["amount"] for call in world.transcript.held()] == held


async def test_invalid_input_is_not_held() -> None:
    world, entered = approved(True)
    world.uses = [tool_use("pay", amount="much")]
    (result,) = await world.run()
    assert result["content"].startswith("amount:")
    assert entered == []


async def decided(decision: Decision) -> tuple[dict[str, Any], list[int], World]:
    world, entered = approved(True)
    world.uses = [tool_use("pay", amount=5)]
    world.commit()
    async with world.calls() as calls:
        await world.drain(calls)
        world.events.clear()
        world.transcript.decide("1:toolu_1", decision)
        await world.drain(calls)
    return world.answer()[0], entered, world


async def test_an_allowed_call_runs() -> None:
    result, entered, world = await decided(Decision("allow"))
    assert (result["content"], entered) == ("paid 5", [5])
    assert [event.type for event in world.events] == ["tool_call", "tool_result"]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("", "The user declined this call."), ("Too much.", "The user declined this call. Too much.")],
)
async def test_a_denied_call_does_not(reason: str, expected: str) -> None:
    result, entered, world = await decided(Decision("deny", reason))
    assert (result["content"], result["is_error"], entered) == (expected, True, [])
    assert world.outcomes == ["denied"]
    assert [event.type for event in world.events] == ["tool_result"]


async def test_an_edited_call_runs_with_the_other_input_and_the_model_is_told() -> None:
    result, entered, world = await decided(Decision("edit", input={"amount": 1}))
    assert entered == [1]
    assert result["content"] == [
        {"type": "text", "text": 'The user changed the input to {"amount":1}.'},
        {"type": "text", "text": "paid 1"},
    ]
    assert world.of(ToolCall)[0].input == {"amount": 1}


async def test_an_edited_input_is_validated() -> None:
    result, entered, _ = await decided(Decision("edit", input={"amount": "much"}))
    assert entered == []
    assert result["is_error"] is True
    assert result["content"][0]["text"] == 'The user changed the input to {"amount":"much"}.'
    assert result["content"][1]["text"].startswith("amount:")


@pytest.mark.parametrize("given_back", ["", "  \n", [{"type": "text", "text": "x"}]], ids=["empty", "blank", "blocks"])
async def test_what_is_sent_of_an_edited_call_has_no_blank_text(given_back: Any) -> None:
    @tool(needs_approval=True)
    async def act(at: int) -> Any:
        """Acts."""
        return given_back

    world = World([act], [tool_use("act", at=1)])
    world.commit()
    async with world.calls() as calls:
        await world.drain(calls)
        world.transcript.decide("1:toolu_1", Decision("edit", input={"at": 2}))
        await world.drain(calls)
    (result,) = world.answer()
    assert all(block["text"].strip() for block in result["content"])
    assert len(result["content"]) == (2 if isinstance(given_back, list) else 1)


async def test_a_call_whose_approval_is_over_while_it_waits_for_its_place_is_held_again() -> None:
    world, entered = approved(True)
    world.uses = [tool_use("pay", amount=5)]
    world.commit()
    now = [0.0]
    looks: list[float] = []

    def looked_at() -> float:
        looks.append(now[0])
        return now[0]

    async with world.calls() as calls:
        calls._now = looked_at  # type: ignore[method-assign]
        await world.drain(calls)
        world.transcript.decide("1:toolu_1", Decision("allow", until=50.0))
        for _ in range(world.limits.max_parallel_tools):
            calls._slots.acquire_nowait()
        async with anyio.create_task_group() as group:
            group.start_soon(world.drain, calls)
            await until(lambda: len(looks) == 2)
            now[0] = 51.0
            calls._slots.release()
        assert (entered, len(world.of(ToolHeld)), world.of(ToolCall)) == ([], 2, [])
        (call,) = world.transcript.held()
        assert (call.call_id, call.decision) == ("1:toolu_1", None)
        world.transcript.decide("1:toolu_1", Decision("allow", until=60.0))
        await world.drain(calls)
        assert entered == [5]


# Calls that an earlier process left


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ("unknown", f"The process stopped while this call ran. {UNKNOWN}")),
        ({"effect": "write"}, ("unknown", f"The process stopped while this call ran. {UNKNOWN}")),
        ({"effect": "read"}, ("done", "ran")),
        ({"idempotent": True}, ("done", "ran")),
    ],
    ids=["undeclared", "write", "read", "idempotent"],
)
async def test_C10_a_call_that_was_started_by_a_dead_run(options: dict[str, Any], expected: tuple[str, str]) -> None:
    @tool(**options)
    async def act() -> str:
        """Acts."""
        return "ran"

    world = World([act], [tool_use("act")])
    world.commit()
    world.transcript.start(world.transcript.unended()[0])
    async with world.calls() as calls:
        await world.drain(calls)
    (result,) = world.answer()
    assert (world.outcomes[0], result["content"]) == expected


async def test_a_call_of_a_dead_run_that_was_edited_and_is_unknown_keeps_the_plain_text() -> None:
    @tool(needs_approval=True)
    async def act(at: int) -> str:
        """Acts."""
        return "ran"

    world = World([act], [tool_use("act", at=1)])
    world.commit()
    (call,) = world.transcript.unended()
    world.transcript.hold(call)
    world.transcript.decide(call.call_id, Decision("edit", input={"at": 2}))
    world.transcript.start(world.transcript.unended()[0])
    async with world.calls() as calls:
        await world.drain(calls)
    assert world.answer()[0]["content"].startswith("The process stopped while this call ran.")


async def test_what_may_repeat_and_had_begun_in_time_goes_on_though_its_approval_is_over() -> None:
    @tool(needs_approval=True, idempotent=True)
    async def put(at: int) -> str:
        """Puts."""
        return "put"

    world = World([put], [tool_use("put", at=1)])
    world.commit()
    (call,) = world.transcript.unended()
    world.transcript.hold(call)
    world.transcript.decide(call.call_id, Decision("allow", until=0.0))
    world.transcript.start(world.transcript.unended()[0])
    await world.carry_out()
    assert (world.outcomes, world.of(ToolHeld)) == (["done"], [])
