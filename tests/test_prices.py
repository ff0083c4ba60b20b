"""What replies cost: exact sums for known models, None where a price is not known."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from scripted import ScriptedServer, reply, text, tool_use

from agentkit import Agent, Client, ConfigurationError, Limits, tool
from agentkit.prices import _price, cost_of, require_price, why_no_price
from agentkit.support import MODELS, PROVIDERS, Provider

USAGE = {
    "input_tokens": 10,
    "output_tokens": 5,
    "cache_read_input_tokens": 2000,
    "cache_creation_input_tokens": 1000,
    "cache_creation": {"ephemeral_5m_input_tokens": 400, "ephemeral_1h_input_tokens": 600},
    "server_tool_use": {"web_search_requests": 3},
}
# 10 input at 3, 2000 read at 0.30, 400 written at 3.75, 600 at 6, 5 output at 15 dollars a million; 3 searches at 0.01.
TOKENS = (10 * 3 + 2000 * 0.30 + 400 * 3.75 + 600 * 6 + 5 * 15) / 1e6
EXACT = TOKENS + 0.03

# Dollars a million: input, output, read from the cache, written for 5 minutes, for an hour.
# Source: messages-api.md section 21.
PRICES = {
    ("claude-fable-5-2", "claude-mythos-5-2"): (8, 40, 0.20, 10, 16),
    ("claude-fable-5-1", "claude-mythos-5-1"): (10, 50, 0.25, 12.5, 20),
    ("claude-fable-5", "claude-mythos-5"): (10, 50, 1.00, 12.5, 20),
    ("claude-opus-5-5",): (4, 20, 0.20, 5, 8),
    ("claude-opus-5", "claude-opus-4-8", "claude-opus-4-7", "claude-opus-4-6"): (5, 25, 0.50, 6.25, 10),
    ("claude-opus-4-5", "claude-opus-4-5-20251101"): (5, 25, 0.50, 6.25, 10),
    ("claude-sonnet-5-5",): (2, 10, 0.10, 2.5, 4),
    ("claude-sonnet-5",): (2, 10, 0.20, 2.5, 4),
    ("claude-sonnet-4-6", "claude-sonnet-4-5", "claude-sonnet-4-5-20250929"): (3, 15, 0.30, 3.75, 6),
    ("claude-haiku-5-5",): (0.10, 0.50, 0.01, 0.125, 0.20),
    ("claude-haiku-4-5", "claude-haiku-4-5-20251001"): (1, 5, 0.10, 1.25, 2),
}
ROWS = [(model, prices) for models, prices in PRICES.items() for model in models]


def cost(usage: Any, model: str = "claude-sonnet-4-5", provider: str = "anthropic") -> float | None:
    return cost_of({"model": model, "usage": usage}, provider)


def test_a_reply_is_priced_with_cache_tiers_and_searches() -> None:
    assert cost(USAGE) == pytest.approx(EXACT)


@pytest.mark.parametrize(("model", "prices"), ROWS)
def test_each_model_has_its_prices(model: str, prices: tuple[float, ...]) -> None:
    written = {"cache_creation_input_tokens": 10_000}
    sorts: list[dict[str, Any]] = [
        {"input_tokens": 10_000},
        {"output_tokens": 10_000},
        {"cache_read_input_tokens": 10_000},
        {**written, "cache_creation": {"ephemeral_5m_input_tokens": 10_000, "ephemeral_1h_input_tokens": 0}},
        {**written, "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 10_000}},
    ]
    assert [cost(usage, model) for usage in sorts] == pytest.approx([price / 100 for price in prices])
    assert cost(written, model) == pytest.approx(prices[3] / 100)  # a gateway that leaves the tiers out


@pytest.mark.parametrize(("tokens", "price"), [(100_000, 0.10), (100_001, 0.50)])
def test_haiku_5_5_has_another_price_for_long_prompts(tokens: int, price: float) -> None:
    assert cost({"input_tokens": tokens}, "claude-haiku-5-5") == pytest.approx(tokens * price / 1e6)
    read = {"cache_read_input_tokens": tokens - 1, "input_tokens": 1}
    assert cost(read, "claude-haiku-5-5") == pytest.approx(((tokens - 1) * price / 10 + price) / 1e6)


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-sonnet-4-5-20250929", "claude-sonnet-4-6"])
def test_a_turn_of_many_server_calls_is_no_long_prompt(model: str) -> None:
    # Recorded: ten searches, each with a prompt of its own; together more than fits into one.
    usage = {"input_tokens": 401_468, "output_tokens": 792, "server_tool_use": {"web_search_requests": 10}}
    assert cost(usage, model) == pytest.approx((401_468 * 3 + 792 * 15) / 1e6 + 0.10)


def test_every_model_of_the_table_has_a_price() -> None:
    # Of the preview no price was published.
    assert {model for model in MODELS if why_no_price(model, "anthropic")} == {"claude-mythos-preview"}


@pytest.mark.parametrize(
    ("more", "factor"),
    [
        ({"service_tier": "batch"}, 0.5),
        ({"service_tier": "standard", "speed": "fast"}, 2.0),
        ({"inference_geo": "us", "speed": "standard"}, 1.1),
    ],
)
def test_what_multiplies_the_price_of_tokens_but_not_the_fees(more: dict[str, str], factor: float) -> None:
    assert cost(USAGE | more) == pytest.approx(TOKENS * factor + 0.03)


def test_null_counts_are_zero() -> None:
    nulls = dict.fromkeys(("output_tokens", "cache_creation", "cache_read_input_tokens", "server_tool_use"))
    assert cost({"input_tokens": 1_000_000, **nulls}) == pytest.approx(3.0)
    assert cost({}) == 0.0


def test_iterations_are_priced_by_their_own_model_and_the_totals_are_not() -> None:
    iterations = [
        {"type": "message", "model": "claude-fable-5", "input_tokens": 535, "output_tokens": 0},  # declined: not billed
        {"type": "fallback_message", "model": "claude-opus-4-8", "input_tokens": 412, "output_tokens": 264},
        {"type": "compaction", "input_tokens": 1000, "output_tokens": 0},
    ]
    known = (412 * 5 + 264 * 25 + 1000 * 3) / 1e6
    assert cost({"input_tokens": 9, "output_tokens": 9, "iterations": iterations}) == pytest.approx(known)
    assert cost({"iterations": [{"model": "claude-nope", "input_tokens": 1, "output_tokens": 1}]}) is None
    assert cost(USAGE | {"iterations": None}) == cost(USAGE | {"iterations": []}) == pytest.approx(EXACT)
    assert cost(USAGE | {"iterations": ["new"]}) == pytest.approx(EXACT)
    assert cost(USAGE | {"iterations": iterations}) == pytest.approx(known + 0.03)  # fees are in the totals alone


def test_an_advisor_is_priced_as_the_model_that_it_is() -> None:
    iterations = [  # recorded
        {"type": "message", "input_tokens": 1168, "output_tokens": 82},
        {"type": "advisor_message", "model": "claude-opus-4-8", "input_tokens": 2518, "output_tokens": 22},
        {"type": "message", "input_tokens": 1222, "output_tokens": 39},
    ]
    usage = {"input_tokens": 2390, "output_tokens": 121, "iterations": iterations}
    assert cost(usage, "claude-sonnet-5") == pytest.approx((2390 * 2 + 121 * 10 + 2518 * 5 + 22 * 25) / 1e6)


def test_a_chain_of_fallbacks_pays_for_the_one_that_answered() -> None:
    declined = [
        {"type": "message", "model": "claude-fable-5", "input_tokens": 535, "output_tokens": 0},
        {"type": "fallback_message", "model": "claude-opus-5", "input_tokens": 535, "output_tokens": 0},
    ]
    last = {"type": "fallback_message", "model": "claude-opus-4-8", "input_tokens": 412, "output_tokens": 264}
    assert cost({"iterations": [*declined, last]}) == pytest.approx((412 * 5 + 264 * 25) / 1e6)


@pytest.mark.parametrize(("content", "price"), [([], 0.0), ([text("I was go")], 412 * 3 / 1e6)])
def test_a_refusal_without_content_is_free(content: list[dict[str, Any]], price: float) -> None:
    usage = {"input_tokens": 412, "output_tokens": 0}
    message = {"model": "claude-sonnet-4-5", "content": content, "stop_reason": "refusal", "usage": usage}
    assert cost_of(message, "anthropic") == pytest.approx(price)


@pytest.mark.parametrize(
    ("usage", "model", "provider"),
    [
        (USAGE, "claude-nope", "anthropic"),
        (USAGE, "claude-sonnet-4-5", "cometapi"),
        (None, "claude-sonnet-4-5", "anthropic"),
        ({"input_tokens": "many"}, "claude-sonnet-4-5", "anthropic"),
    ],
)
def test_what_has_no_known_price_costs_none(usage: Any, model: str, provider: str) -> None:
    assert cost(usage, model, provider) is None


@pytest.fixture
def without_prices(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    _price.cache_clear()
    yield
    _price.cache_clear()


def test_without_the_extra_a_limit_names_it(without_prices: None) -> None:
    assert cost(USAGE) is None
    with pytest.raises(ConfigurationError, match=r"install agentkit-loop\[prices\]"):
        require_price("claude-sonnet-4-5", "anthropic")


@pytest.fixture
def as_anthropic(monkeypatch: pytest.MonkeyPatch) -> str:
    """A provider with Anthropic's prices and no address of its own."""
    monkeypatch.setitem(PROVIDERS, "anthropic", Provider(name="anthropic", base_url=None))
    return "anthropic"


@tool
def look() -> str:
    """Looks."""
    return "seen"


@pytest.mark.anyio
async def test_a_run_adds_up_its_replies_and_ends_at_its_limit(as_anthropic: str) -> None:
    usage = {"input_tokens": 1000, "output_tokens": 100}
    turns = [reply(tool_use("look", id=f"toolu_{at}"), usage=usage) for at in range(3)]
    each = (1000 * 3 + 100 * 15) / 1e6
    with ScriptedServer([*turns, reply(text("Done."), usage=usage)]) as server:
        async with Client(base_url=server.url, provider=as_anthropic) as client:
            agent = Agent("claude-sonnet-4-6", tools=[look], client=client)
            first = await agent.run("Look.", limits=Limits(max_cost_usd=2.5 * each))
            # A third one would need more than is left, so it is not sent.
            assert (first.finish.reason, first.turns) == ("max_cost", 2)
            assert first.cost == pytest.approx(2 * each)
            done = await agent.resume(first)
            assert done.text == "Done."
            assert done.cost == pytest.approx(4 * each)
            assert done.dump()["entries"][-1]["cost"] == pytest.approx(each)


@pytest.mark.anyio
async def test_a_money_limit_without_a_price_is_an_error_before_anything_is_sent() -> None:
    with ScriptedServer([]) as server:
        async with Client(base_url=server.url) as client:
            agent = Agent("claude-sonnet-4-6", client=client, limits=Limits(max_cost_usd=1))
            with pytest.raises(ConfigurationError, match="no price is known for claude-sonnet-4-6 at generic"):
                await agent.run("Hi.")


@pytest.mark.anyio
async def test_a_turn_without_a_price_leaves_the_cost_unknown() -> None:
    with ScriptedServer([reply(text("Done."))]) as server:
        async with Client(base_url=server.url) as client:
            result = await Agent("claude-sonnet-4-6", client=client).run("Hi.")
    assert result.cost is None
