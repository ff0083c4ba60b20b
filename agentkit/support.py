"""What providers need: data only."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ANTHROPIC", "COMETAPI", "GENERIC", "PROVIDERS", "Provider", "provider_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """How an endpoint wants to be spoken to.

    Attributes:
        name: What `Client(provider=…)` calls it.
        base_url: Where it is; None where only the user knows. `/v1/messages` is added to it.
        key_header: The header of an API key: `x-api-key`, or `authorization` for `Bearer`.
        version: The `anthropic-version` header.
    """

    name: str
    base_url: str | None
    key_header: str = "x-api-key"
    version: str = "2023-06-01"


# Source: messages-api.md sections 2 and 22; gateways know 2023-06-01 only.
ANTHROPIC = Provider(name="anthropic", base_url="https://api.anthropic.com")
COMETAPI = Provider(name="cometapi", base_url="https://api.cometapi.com")
GENERIC = Provider(name="generic", base_url=None)
PROVIDERS = {provider.name: provider for provider in (ANTHROPIC, COMETAPI, GENERIC)}


def provider_of(base_url: str) -> Provider:
    """The provider at an address."""
    for provider in PROVIDERS.values():
        if provider.base_url and f"{base_url}/".startswith(f"{provider.base_url}/"):
            return provider
    return GENERIC
