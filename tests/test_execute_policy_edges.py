"""What mutants of `agentkit.execute` showed untested of policies: what they are asked, what follows, what is kept."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from calls import UNKNOWN, World
from scripted import tool_use

from agentkit.call import Decision
from agentkit.events import ToolHeld, ToolJudged
from agentkit.policy import Policy
from agentkit.tools import Tool, tool

pytestmark = pytest.mark.anyio

DENY, ASK = Policy(deny=[{"tool": "pay"}]), Policy(ask=[{"tool": "pay"}])
ALLOW = Policy(allow=[{"tool": "pay"}])
BY_POLICY = "Not executed: the policy of this application denies this call: deny 1 (tool pay)."
NOBODY = "Not executed: a human must approve this call, and nobody can be asked in this run: ask 1 (tool pay)."


def pay(**options: Any) -> Tool:
    @tool(effect="write", **options)
    async def pay(to: str = "Ann") -> str:
        """Pays."""
        return f"paid {to}"

    return pay


async def judged(world: World, *policies: Policy, approve: Any = None) -> None:
    world.commit()
    async with world.calls() as calls:
        calls._policies, calls._approve = policies, approve
        with anyio.fail_after(30):
            await world.drain(calls)


@pytest.mark.parametrize(
    ("policies", "action", "rule", "outcome", "said"),
    [
        ([ALLOW], "allow", "allow 1 (tool pay)", "done", "paid Ann"),
        ([DENY], "deny", "deny 1 (tool pay)", "denied", BY_POLICY),
        ([ASK], "ask", "ask 1 (tool pay)", "denied", NOBODY),
        ([ALLOW, ASK], "ask", "ask 1 (tool pay)", "denied", NOBODY),
        ([ASK, DENY, ALLOW], "deny", "deny 1 (tool pay)", "denied", BY_POLICY),
    ],
    ids=["allow", "deny", "ask", "allow and ask", "all three"],
)
async def test_what_a_policy_says_is_done_and_written_down_and_shown(
    policies: list[Policy], action: str, rule: str, outcome: str, said: str
) -> None:
    world = World([pay()], [tool_use("pay")])
    world.transcript.taint.gain(["private"])
    await judged(world, *policies)
    (judgement,) = (entry for entry in world.transcript.entries if entry["entry"] == "judgement")
    about = {"call": "1:toolu_1", "name": "pay", "action": action, "rule": rule, "taint": ["private"]}
    assert judgement == {"entry": "judgement", **about}
    assert world.events[0] == ToolJudged("1:toolu_1", "pay", action, rule, ("private",))
    assert len(world.of(ToolJudged)) == 1
    assert (world.outcomes, world.answer()[0]["content"]) == ([outcome], said)


async def test_without_a_policy_nothing_is_judged() -> None:
    world = World([pay()], [tool_use("pay")])
    await judged(world)
    assert (world.of(ToolJudged), world.outcomes) == ([], ["done"])


@pytest.mark.parametrize(("action", "outcome"), [("allow", "done"), ("deny", "denied")])
@pytest.mark.parametrize("options", [{}, {"needs_approval": True}], ids=["the policy asks", "both ask"])
async def test_the_approver_is_asked_once(action: Any, outcome: str, options: dict[str, Any]) -> None:
    asked: list[str] = []

    async def approve(pending: Any) -> Decision:
        asked.append(pending.call_id)
        return Decision(action)

    world = World([pay(**options)], [tool_use("pay")])
    await judged(world, ASK, approve=approve)
    assert (asked, world.outcomes) == (["1:toolu_1"], [outcome])


async def test_what_is_allowed_is_not_asked_about() -> None:
    async def approve(pending: Any) -> Decision:
        raise AssertionError

    world = World([pay()], [tool_use("pay")])
    await judged(world, ALLOW, approve=approve)
    assert world.outcomes == ["done"]


async def test_what_is_denied_is_not_asked_about() -> None:
    async def approve(pending: Any) -> Decision:
        raise AssertionError

    for options in ({}, {"needs_approval": True}):
        world = World([pay(**options)], [tool_use("pay")])
        await judged(world, DENY, approve=approve)
        assert (world.outcomes, world.answer()[0]["content"]) == (["denied"], BY_POLICY)


@pytest.mark.parametrize("policy", [ALLOW, ASK], ids=["allow", "ask"])
async def test_a_call_that_its_tool_holds_waits_though_nobody_can_be_asked_for_the_policy(policy: Policy) -> None:
    world = World([pay(needs_approval=True)], [tool_use("pay")])
    await judged(world, policy)
    assert (world.outcomes, world.of(ToolHeld)) == ([], [ToolHeld("1:toolu_1", "pay", {})])
    world.transcript.decide("1:toolu_1", Decision("allow"))
    async with world.calls() as calls:
        calls._policies = [policy]
        await world.drain(calls)
    assert world.outcomes == ["done"]


async def test_a_call_is_judged_with_the_input_that_a_human_gave_it() -> None:
    policy = Policy(allow=[{"tool": "pay"}], deny=[{"path": "secret"}])

    @tool(effect="write", needs_approval=True)
    async def pay(path: str) -> str:
        """Pays."""
        return path

    for given, edited, outcome in [("open", "secret", "denied"), ("open", "public", "done")]:
        world = World([pay], [tool_use("pay", path=given)])
        world.commit()
        (call,) = world.transcript.unended()
        world.transcript.hold(call, tool=pay.digest)
        world.transcript.decide(call.call_id, Decision("edit", input={"path": edited}))
        async with world.calls() as calls:
            calls._policies = [policy]
            await world.drain(calls)
        assert world.outcomes == [outcome]


@pytest.mark.parametrize(
    ("policies", "path", "runs"),
    [
        ([], "secret", True),
        ([Policy()], "open", True),
        ([Policy(deny=[{"path": "secret"}])], "open", True),
        ([Policy(deny=[{"path": "secret"}])], "secret", False),
        ([Policy(ask=[{"path": "secret"}])], "secret", False),
        ([Policy(), Policy(ask=[{"path": "secret"}])], "secret", False),
    ],
    ids=["none", "allow", "deny another", "deny", "ask", "allow and ask"],
)
async def test_only_what_every_policy_allows_runs_early(policies: list[Policy], path: str, runs: bool) -> None:
    entered: list[str] = []

    @tool(effect="read")
    async def look(path: str) -> str:
        """Looks."""
        entered.append(path)
        return "saw"

    world = World([look], [tool_use("look", path=path)])
    async with world.calls() as calls:
        calls._policies = policies
        calls.offer(world.uses[0])
        await anyio.wait_all_tasks_blocked()
    assert entered == ([path] if runs else [])


async def test_what_may_not_send_after_mixed_data_does_not_run_early_either() -> None:
    entered: list[str] = []

    @tool(effect="read")
    async def look(at: str) -> str:
        """Looks."""
        entered.append(at)
        return "saw"

    @tool(effect={"read", "net"})
    async def fetch(at: str) -> str:
        """Fetches."""
        entered.append(at)
        return "saw"

    world = World([look, fetch], [tool_use("look", at="look"), tool_use("fetch", id="toolu_2", at="fetch")])
    async with world.calls() as calls:
        calls._policies = [Policy(allow=[{"tool": "*"}])]
        for use in world.uses:
            calls.offer(use)
        await anyio.wait_all_tasks_blocked()
    assert entered == ["look"]


@pytest.mark.parametrize(
    ("effect", "enters", "taint"),
    [
        ({"read", "private"}, True, ["private"]),
        ({"read"}, True, []),
        (set(), True, ["untrusted"]),
        ({"read", "private"}, False, []),
    ],
    ids=["private", "plain", "undeclared", "not entered"],
)
async def test_a_result_brings_in_what_its_tool_declares_if_it_was_entered(
    effect: set[str], enters: bool, taint: list[str]
) -> None:
    @tool(effect=effect)
    async def look() -> str:
        """Looks."""
        return "saw"

    world = World([look], [tool_use("look") if enters else {**tool_use("look"), "input": {"wrong": 1}}])
    await world.run()
    (ended,) = (entry for entry in world.transcript.entries if entry.get("state") == "ended")
    assert ended.get("taint", []) == taint
    assert ("taint" in ended) == bool(taint)
    assert world.transcript.taint.all == set(taint)


async def test_a_call_of_no_tool_brings_nothing_in() -> None:
    world = World([], [tool_use("look")])
    await world.run()
    (ended,) = (entry for entry in world.transcript.entries if entry.get("state") == "ended")
    assert (ended["outcome"], "taint" in ended) == ("failed", False)


@pytest.mark.parametrize(
    ("policies", "outcome"),
    [([ALLOW], "done"), ([DENY], "unknown"), ([ASK], "unknown")],
    ids=["allow", "deny", "ask"],
)
async def test_what_a_dead_run_had_begun_is_not_said_to_be_denied(policies: list[Policy], outcome: str) -> None:
    made = pay(idempotent=True)
    world = World([made], [tool_use("pay")])
    world.commit()
    (call,) = world.transcript.unended()
    world.transcript.start(call, tool=made.digest)
    async with world.calls() as calls:
        calls._policies = policies
        await world.drain(calls)
    assert world.outcomes == [outcome]
    if outcome == "unknown":
        assert world.answer()[0]["content"] == f"The process stopped while this call ran. {UNKNOWN}"
