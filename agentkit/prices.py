"""Money: what a reply cost, by genai-prices (extra `prices`), which is imported when the first reply is priced."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from math import isclose
from typing import Any

from agentkit.errors import ConfigurationError

__all__ = ["cost_of", "require_price", "why_no_price"]

# Where genai-prices differs from messages-api.md section 21: a model without its date, and one that has its price.
# It does not know the first two. For the last one it still has the surcharge on long prompts that ended in April 2026:
# what a turn of many server calls adds up to is far longer than any of its prompts.
_PRICED_AS = {
    "claude-mythos-5": "claude-fable-5",
    "claude-mythos-5-1": "claude-fable-5-1",
    "claude-sonnet-4-5": "claude-sonnet-4-6",
}
_DATE = re.compile(r"[-@]\d{8}$")

_FEES = {"web_search_requests": 0.01}
"""US dollars for a use of a server tool, whatever multiplies tokens. Source: messages-api.md sections 10.1 and 21."""


def cost_of(message: Mapping[str, Any], provider: str) -> float | None:
    """What a reply cost, in US dollars: its tokens, each sort at its own price, and the fees of server tools.

    A reply with `iterations` is priced by each of them with its own model: its totals leave some out. What a model
    declined before it put anything out is not billed.

    Args:
        message: The reply as it came, with `model` and `usage`.
        provider: Whose prices: `anthropic`. Gateways have prices of their own.

    Returns:
        None where the price is not known: another provider, a model without a price, or no genai-prices.

    Source: messages-api.md sections 6, 7.4 and 21.
    """
    usage = message.get("usage")
    price = _price() if provider == "anthropic" else None
    if price is None or not isinstance(usage, Mapping):
        return None
    costs = [price(str(entry.get("model") or message.get("model")), entry) for entry in _billed(message, usage)]
    if None in costs:
        return None
    return _factor(usage) * sum(cost for cost in costs if cost is not None) + _fees(usage)


def why_no_price(model: str, provider: str) -> str | None:
    """Why what `model` costs at `provider` is not known, in a few words; None if it is known."""
    if provider == "anthropic" and _price() is None:
        return "genai-prices is not installed: pip install agentkit-loop[prices]"
    if cost_of({"model": model, "usage": {"input_tokens": 1, "output_tokens": 1}}, provider) is None:
        return f"no price is known for {model} at {provider}"
    return None


def require_price(model: str, provider: str) -> None:
    """Makes sure that replies of `model` can be priced.

    Raises:
        ConfigurationError: They can't; the text says why.
    """
    if reason := why_no_price(model, provider):
        raise ConfigurationError(f"max_cost_usd needs a price, and {reason}; max_total_tokens needs none")


def _billed(message: Mapping[str, Any], usage: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The usage that is paid for, as one or more entries."""
    if message.get("stop_reason") == "refusal" and message.get("content") == []:
        return []
    entries = usage.get("iterations")
    entries = [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []
    if len(entries) < 2:
        return entries or [usage]
    return [entry for entry in entries if entry.get("output_tokens") or entry.get("type") not in _MAY_DECLINE]


_MAY_DECLINE = (None, "message", "fallback_message")
_COUNTED = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


@cache
def _price() -> Callable[[str, Mapping[str, Any]], float | None] | None:
    """Prices the tokens of one model; None without genai-prices, whose absence is found out once."""
    try:
        from genai_prices import extract_usage
    except ImportError:
        return None

    def asked(model: str, counts: list[int]) -> float | None:
        counted = {"model": model, "usage": _as_wire(*counts)}
        try:
            return float(extract_usage(counted, provider_id="anthropic").calc_price().total_price)
        except LookupError:  # an unknown model
            return None

    @cache
    def rates(model: str) -> list[float] | None:
        """Dollars for a token of each sort; nothing where they depend on how many there are, None for no price."""
        each = [asked(model, [10**6 * (sort == at) for sort in range(5)]) for at in range(5)]
        few = asked(model, [1000, 0, 0, 0, 0])
        if few is None or None in each:
            return None
        known = [price / 10**6 for price in each if price is not None]
        return known if isclose(few, 1000 * known[0]) else []

    def price(model: str, usage: Mapping[str, Any]) -> float | None:
        model = _PRICED_AS.get(_DATE.sub("", model), model)
        counts = _counts(usage)
        if counts is None:
            return None
        known = rates(model)
        if known == []:
            return asked(model, counts)  # which takes a millisecond, about what all else of a turn takes
        return None if known is None else sum(rate * count for rate, count in zip(known, counts, strict=True))

    return price


def _counts(usage: Mapping[str, Any]) -> list[int] | None:
    """Tokens of input, output, read from the cache, written to it for five minutes and for an hour.

    None where one of them is no number. What is written without a tier is for five minutes.
    """
    tiers = usage.get("cache_creation")
    hour = tiers.get("ephemeral_1h_input_tokens") if isinstance(tiers, Mapping) else 0
    counts = [*(usage.get(name) for name in _COUNTED), hour]
    if not all(isinstance(count, int | None) for count in counts):
        return None
    fresh, output, read, written, hour = (count or 0 for count in counts)
    return [fresh, output, read, max(written - hour, 0), hour]


def _as_wire(fresh: int, output: int, read: int, minutes: int, hour: int) -> dict[str, Any]:
    tiers = {"ephemeral_5m_input_tokens": minutes, "ephemeral_1h_input_tokens": hour}
    return {**dict(zip(_COUNTED, (fresh, output, read, minutes + hour), strict=True)), "cache_creation": tiers}


def _factor(usage: Mapping[str, Any]) -> float:
    """What token prices are multiplied with: batch is half, fast twice, inference inside the US a tenth more."""
    factor = {"batch": 0.5}.get(str(usage.get("service_tier")), 1.0)
    factor *= {"fast": 2.0}.get(str(usage.get("speed")), 1.0)
    return factor * {"us": 1.1}.get(str(usage.get("inference_geo")), 1.0)


def _fees(usage: Mapping[str, Any]) -> float:
    used = usage.get("server_tool_use")
    used = used if isinstance(used, Mapping) else {}
    return sum(fee * count for name, fee in _FEES.items() if isinstance(count := used.get(name), int))
