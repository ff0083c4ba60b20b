"""Money: what a reply cost, by genai-prices (extra `prices`), which is imported when the first reply is priced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from agentkit.errors import ConfigurationError

__all__ = ["cost_of", "require_price"]


def cost_of(message: Mapping[str, Any], provider: str) -> float | None:
    """What a reply cost, in US dollars.

    A reply with `iterations` is priced by each of them with its own model: its totals leave some out. What a model
    declined before it put anything out is not billed.

    Args:
        message: The reply as it came, with `model` and `usage`.
        provider: Whose prices: `anthropic`. Gateways have prices of their own.

    Returns:
        None where the price is not known: another provider, a model without a price, or no genai-prices.

    Source: messages-api.md sections 6 and 21.
    """
    usage = message.get("usage")
    price = _price() if provider == "anthropic" else None
    if price is None or not isinstance(usage, Mapping):
        return None
    iterations = usage.get("iterations")
    if not isinstance(iterations, list) or not iterations:
        iterations = [usage]
    costs = [
        price(str(entry.get("model") or message.get("model")), entry)
        for entry in iterations
        if entry.get("output_tokens") or entry.get("type", "message") != "message" or len(iterations) == 1
    ]
    return None if None in costs else _factor(usage) * sum(cost for cost in costs if cost is not None)


def require_price(model: str, provider: str) -> None:
    """Makes sure that replies of `model` can be priced.

    Raises:
        ConfigurationError: They can't; the text says why.
    """
    if provider == "anthropic" and _price() is None:
        raise ConfigurationError("max_cost_usd needs prices: install agentkit-loop[prices]")
    if cost_of({"model": model, "usage": {"input_tokens": 1, "output_tokens": 1}}, provider) is None:
        raise ConfigurationError(
            f"max_cost_usd needs a price, and none is known for {model} at {provider}: use max_total_tokens"
        )


@cache
def _price() -> Callable[[str, Mapping[str, Any]], float | None] | None:
    """Prices the usage of one model; None without genai-prices, whose absence is found out once."""
    try:
        from genai_prices import extract_usage
    except ImportError:
        return None

    def price(model: str, usage: Mapping[str, Any]) -> float | None:
        try:
            known = {name: value for name, value in usage.items() if value is not None}
            counted = {"input_tokens": 0, "output_tokens": 0, **known}
            extracted = extract_usage({"model": model, "usage": counted}, provider_id="anthropic")
            return float(extracted.calc_price().total_price)
        except (LookupError, ValueError, TypeError, AttributeError):  # an unknown model, or usage of another shape
            return None

    return price


def _factor(usage: Mapping[str, Any]) -> float:
    """What prices are multiplied with: batch is half, fast twice, inference inside the US a tenth more."""
    factor = {"batch": 0.5}.get(str(usage.get("service_tier")), 1.0)
    factor *= {"fast": 2.0}.get(str(usage.get("speed")), 1.0)
    return factor * {"us": 1.1}.get(str(usage.get("inference_geo")), 1.0)
