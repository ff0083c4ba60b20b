"""The fields of a request beside model, messages, system prompt and tools: typed, and with the betas they need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypedDict

from agentkit.errors import ConfigurationError

__all__ = ["Parameters", "betas_of", "parameters_of"]


class Parameters(TypedDict, total=False):
    """Fields of the body in wire shape. What is None is left out. Source: messages-api.md section 3.

    What needs a name in the `anthropic-beta` header brings it along; fields that are not here go into `extra_body`.

    Attributes:
        thinking: `{"type": "adaptive"}`, `{"type": "enabled", "budget_tokens": 2048}`, `{"type": "disabled"}` or
            `{"type": "between_tools"}`, with `display` `summarized` or `omitted`.
        effort: low, medium, high, xhigh or max, as far as the model has it: `output_config.effort`.
        task_budget: Tokens that the model is told it may use in all, 20,000 or more: `output_config.task_budget`.
        tool_choice: `{"type": "auto"}`, `any`, `none` or `{"type": "tool", "name": "lookup"}`, and
            `"disable_parallel_tool_use": True` for one call at a time.
        stop_sequences: Texts that end a reply.
        cache_control: `{"type": "ephemeral", "ttl": "1h"}`: the API's automatic caching.
        metadata: `{"user_id": "an opaque id"}`.
        service_tier: auto or standard_only.
        speed: standard or fast.
        inference_geo: global or us.
        container: Id of a container, or `{"skills": [{"type": "anthropic", "skill_id": "xlsx", "version": "latest"}]}`.
        context_management: `{"edits": [{"type": "clear_tool_uses_20250919"}]}`: what the API leaves out by itself.
        mcp_servers: In wire shape; `mcp_toolset(mcp_server(…))` brings its own.
        fallbacks: `"default"`, or up to three models that are asked after a refusal: `[{"model": "claude-opus-4-8"}]`.
        fallback_credit_token: Of the refusal that is asked again.
        thread: `{"type": "create"}`: turns after the first send new messages only, as long as the API keeps the thread.
        diagnostics: `{"previous_message_id": None}`: the API says why its cache missed.
        temperature: 0 to 1, for models that still take it.
        top_p: 0 to 1, for models that still take it.
        top_k: 0 or more, for models that still take it.
    """

    thinking: Mapping[str, Any] | None
    effort: str | None
    task_budget: int | Mapping[str, Any] | None
    tool_choice: Mapping[str, Any] | None
    stop_sequences: Sequence[str] | None
    cache_control: Mapping[str, Any] | None
    metadata: Mapping[str, Any] | None
    service_tier: str | None
    speed: str | None
    inference_geo: str | None
    container: str | Mapping[str, Any] | None
    context_management: Mapping[str, Any] | None
    mcp_servers: Sequence[Mapping[str, Any]] | None
    fallbacks: Literal["default"] | Sequence[Mapping[str, Any]] | None
    fallback_credit_token: str | Mapping[str, Any] | None
    thread: Mapping[str, Any] | None
    diagnostics: Mapping[str, Any] | None
    temperature: float | None
    top_p: float | None
    top_k: int | None


_OURS = {"model", "max_tokens", "messages", "system", "tools", "stream"}


def parameters_of(
    given: Parameters, extra_body: Mapping[str, Any] | None, output_format: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The fields of the body, in wire shape.

    Args:
        given: What has a name of its own; `extra_body` beats it.
        extra_body: More fields, as they are.
        output_format: Of `output_config`.

    Raises:
        ConfigurationError: There is no such parameter, or `extra_body` holds a field of another argument.
    """
    extra = dict(extra_body or {})
    if own := _OURS & extra.keys():
        raise ConfigurationError(f"extra_body can't hold {min(own)}: Agent and run have an argument for it")
    if unknown := given.keys() - Parameters.__annotations__.keys():
        raise ConfigurationError(
            f"an Agent has no parameter {min(unknown)!r}; a new field of the API goes in extra_body"
        )
    params: dict[str, Any] = {**given}
    budget = params.pop("task_budget", None)
    config = {
        "effort": params.pop("effort", None),
        "format": output_format,
        "task_budget": {"type": "tokens", "total": budget} if isinstance(budget, int) else budget,
        **(extra.pop("output_config", None) or {}),
    }
    params["output_config"] = {name: value for name, value in config.items() if value is not None} or None
    return {name: value for name, value in {**params, **extra}.items() if value is not None}


# The beta that a field needs. Source: messages-api.md sections 2.5, 3 and 18.
_BETAS = {
    "context_management": "context-management-2025-06-27",
    "compaction": "compact-2026-09-04",
    "fallbacks": "server-side-fallback-2026-07-01",
    "fallback_credit_token": "fallback-credit-2026-07-01",
    "thread": "message-threads-2026-08-12",
    "diagnostics": "cache-diagnosis-2026-04-07",
    "mcp_servers": "mcp-client-2025-11-20",
}


def betas_of(params: Mapping[str, Any], named: Sequence[str]) -> tuple[str, ...]:
    """The names for the `anthropic-beta` header: those that were named, then those that fields need besides.

    A version of the same beta that was named stays alone.
    """
    families = {_family(name) for name in named}
    needed = [name for name in _needed(params) if _family(name) not in families]
    return tuple(dict.fromkeys([*named, *needed]))


def _needed(params: Mapping[str, Any]) -> Iterator[str]:
    yield from (beta for field, beta in _BETAS.items() if params.get(field) is not None)
    edits = (params.get("context_management") or {}).get("edits") or ()
    if any(edit.get("type") == "compact_20260112" for edit in edits):
        yield "compact-2026-01-12"
    if params.get("speed") == "fast":
        yield "fast-mode-2026-02-01"
    if (params.get("output_config") or {}).get("task_budget"):
        yield "task-budgets-2026-03-13"
    thinking = params.get("thinking") or {}
    if thinking.get("block_binding"):
        yield "thinking-binding-controls-2026-08-01"
    if thinking.get("display") == "updates":
        yield "thinking-display-updates-2026-08-18"


def _family(beta: str) -> str:
    """A beta without its date; the two ways of compaction are two betas, and share a name."""
    return beta if beta.startswith("compact-") else beta.rstrip("-0123456789")
