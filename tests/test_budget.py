"""Budgets: what is reserved before a request, settled after it, and shared by a tree of runs."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs import asked, take
from scripted import text

from agentkit import Limits
from agentkit.budget import Budget
from agentkit.errors import ConfigurationError
from agentkit.request import Request
from agentkit.step import CallModel, Finish, next_step
from agentkit.transcript import Transcript

pytest.importorskip("genai_prices")
MODEL = "claude-sonnet-4-6"
REQUEST = Request(model=MODEL, max_tokens=1000)
PRICES = {"input_tokens": 3e-6, "output_tokens": 15e-6}


def named(run_id: str) -> Transcript:
    transcript = asked("Hi" * 300)
    transcript.run_id = run_id
    return transcript


def request_of(budget: Budget, transcript: Transcript) -> Request | Finish:
    """What the loop would send next."""
    step = next_step(transcript, budget.limits(), 0.0)
    return budget.fit(REQUEST, step.max_tokens) if isinstance(step, CallModel) else step  # type: ignore[return-value]


def spend(budget: Budget, transcript: Transcript, given: int, put_out: int) -> None:
    """A reply with these tokens."""
    cost = given * PRICES["input_tokens"] + put_out * PRICES["output_tokens"]
    usage = {"input_tokens": given, "output_tokens": put_out}
    take(transcript, text("So."), usage=usage)
    transcript.spending.cost = transcript.entries[-1]["cost"] = (transcript.spending.cost or 0.0) + cost
    budget.settle()


def test_without_limits_nothing_changes() -> None:
    budget = Budget(Limits(), asked(), "anthropic")
    assert budget.fit(REQUEST, None) is REQUEST
    assert not budget.counts_money


@pytest.mark.parametrize(("room", "sent"), [(None, 1000), (1000, 1000), (999, 999), (5, 5)])
def test_tokens_lower_max_tokens(room: int | None, sent: int) -> None:
    found = Budget(Limits(), asked(), "anthropic").fit(REQUEST, room)
    assert isinstance(found, Request)
    assert found.max_tokens == sent


def test_money_lowers_max_tokens_and_then_refuses() -> None:
    transcript = asked("Hi" * 300)
    given = transcript.history.tokens() * PRICES["input_tokens"]
    found = Budget(Limits(max_cost_usd=given + 100 * PRICES["output_tokens"]), transcript, "anthropic").fit(
        REQUEST, None
    )
    assert isinstance(found, Request)
    assert found.max_tokens in (99, 100)
    found = Budget(Limits(max_cost_usd=given), transcript, "anthropic").fit(REQUEST, None)
    assert isinstance(found, Finish)
    assert (found.reason, found.detail) == (
        "max_cost",
        "the next request needs more than the 0.0000 US dollars left",
    )


def test_what_is_cached_is_reserved_at_the_price_of_writing_it() -> None:
    transcript = asked("Hi" * 300)
    plain = Budget(Limits(max_cost_usd=0.0015), transcript, "anthropic")
    found, marked = plain.fit(REQUEST, None), plain.fit(Request(model=MODEL, max_tokens=1000, cache=_marks()), None)
    assert isinstance(found, Request)
    assert isinstance(marked, Request)
    assert marked.max_tokens < found.max_tokens < 1000


def _marks() -> object:
    from agentkit.request import Marks

    return Marks(room=4, newest="explicit", stable=(), long=False)


@pytest.mark.parametrize(
    ("limits", "reason"), [(Limits(), "max_total_tokens"), (Limits(max_cost_usd=0.0012), "max_cost")]
)
def test_less_than_the_thinking_budget_is_an_end(limits: Limits, reason: str) -> None:
    request = Request(model=MODEL, max_tokens=1000, params={"thinking": {"type": "enabled", "budget_tokens": 500}})
    found = Budget(limits, asked("Hi" * 300), "anthropic").fit(request, 400 if reason != "max_cost" else None)
    assert isinstance(found, Finish)
    assert found.reason == reason


def test_agents_within_agents_end_somewhere() -> None:
    budget = Budget(Limits(), named("0"), "anthropic")
    for at in range(1, 9):
        budget = Budget(Limits(), named(str(at)), "anthropic", budget)
    with pytest.raises(ConfigurationError, match="agents within agents, 9 deep"):
        Budget(Limits(), named("9"), "anthropic", budget)


def test_what_a_run_has_used_goes_into_the_log_above_it_once() -> None:
    above, below = named("above"), named("below")
    top = Budget(Limits(max_total_tokens=10_000, max_cost_usd=1.0), above, "anthropic")
    budget = Budget(Limits(), below, "anthropic", top)
    spend(budget, below, 100, 10)
    budget.close()
    assert [entry for entry in above.entries if entry["entry"] == "operation"] == [
        {
            "entry": "operation",
            "operation": "spend",
            "run": "below",
            "usage": below.spending.usage.as_dict(),
            "cost": below.spending.cost,
            "taint": [],
        }
    ]
    assert above.spending.usage == below.spending.usage
    again = Budget(Limits(), below, "anthropic", top)  # it went on, and used more
    spend(again, below, 200, 0)
    assert again.limits().max_total_tokens == 10_000
    again.close()
    again.close()
    assert above.spending.usage.total_tokens == 310
    assert above.spending.cost == pytest.approx(below.spending.cost)
    unused = Budget(Limits(), named("unused"), "anthropic", top)
    unused.close()
    assert sum(entry["entry"] == "operation" for entry in above.entries) == 2


def test_an_unknown_price_below_a_money_limit_leaves_nothing() -> None:
    top = Budget(Limits(max_cost_usd=1.0), named("above"), "anthropic")
    one, other = named("one"), named("other")
    Budget(Limits(), one, "anthropic", top)
    take(one, text("So."))
    assert one.spending.cost is None
    assert Budget(Limits(), other, "anthropic", top).limits().max_cost_usd == 0.0


@given(seed=st.integers(0, 2**32), money=st.booleans())
def test_a_tree_of_runs_spends_what_it_has_at_most(seed: int, money: bool) -> None:
    """Estimates that hold: no order of reserving, settling, beginning and ending spends more than the limit."""
    random = Random(seed)
    most = random.randrange(1, 20_000)
    limits = Limits(max_cost_usd=most * 5e-6) if money else Limits(max_total_tokens=most)
    root = named("root")
    runs: list[tuple[Budget, Transcript, list[int]]] = [(Budget(limits, root, "anthropic"), root, [])]
    under_way: dict[int, Request] = {}
    for at in range(60):
        which = random.randrange(len(runs))
        budget, transcript, below = runs[which]
        if which in under_way:
            sent = under_way.pop(which)
            spend(budget, transcript, transcript.history.tokens(), random.randrange(sent.max_tokens + 1))
            transcript.begin(transcript.run_id, None)
            transcript.waiting.append({"type": "text", "text": "On."})
            transcript.answer()
        elif below and random.random() < 0.5:
            last = below[-1]
            if last not in under_way and not runs[last][2]:
                runs[last][0].close()
                below.pop()
        elif random.random() < 0.4 and budget._depth < 5:
            twin = named(str(at))
            runs.append((Budget(Limits(), twin, "anthropic", budget), twin, []))
            below.append(len(runs) - 1)
        else:
            found = request_of(budget, transcript)
            if isinstance(found, Request):
                under_way[which] = found
    for which in sorted(range(1, len(runs)), reverse=True):
        runs[which][0].close()
    spent = root.spending
    if money:
        assert spent.cost is not None
        assert spent.cost <= most * 5e-6 * (1 + 1e-9)
    else:
        assert spent.usage.total_tokens <= most


def test_a_request_that_failed_reserves_nothing_any_more() -> None:
    above, below = named("above"), named("below")
    top = Budget(Limits(max_total_tokens=2000), above, "anthropic")
    budget = Budget(Limits(), below, "anthropic", top)
    first = budget.fit(REQUEST, None)
    assert isinstance(first, Request)
    lowered = budget.limits().max_total_tokens
    budget.settle()
    assert budget.limits().max_total_tokens == 2000
    assert lowered is not None
    assert lowered < 2000
