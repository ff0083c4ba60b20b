"""What the API refuses about thinking: its type with the model and other parameters, and its place in the history.

Everything here may trust the shapes that `fields` has looked at.

Source: messages-api.md sections 3, 4, 9 and 14; api-errors.md B (antigravity2api#150, one-hub#529, mastra#7507,
pydantic-ai#2075, claude-code#20692). The words on `top_p`, `top_k` and effort are not recorded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from agentkit.rules.texts import Problem
from agentkit.rules.turns import Turn
from agentkit.support import model_of

__all__ = ["check_budget", "check_thinking", "check_thinking_blocks"]

_DOCS = "Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking"
_DOCS_2025 = (
    "Please consult our documentation at https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking"
)
_CONSIDERATIONS = f"{_DOCS_2025}#important-considerations-when-using-extended-thinking"
_INTERLEAVED = "interleaved-thinking-2025-05-14"
_KINDS = ("thinking", "redacted_thinking")
# What comes first where thinking is left out. Before it there may be what the API itself puts there.
_LATER = ("text", "tool_use")
_LEAST_TOP_P = 0.95

# The end of the second and third is not known.
_UNSUPPORTED = {
    "enabled": (
        '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and '
        '"output_config.effort" to control thinking behavior.'
    ),
    "disabled": '"thinking.type.disabled" is not supported for this model.',
    "between_tools": '"thinking.type.between_tools" is not supported for this model.',
    "adaptive": "adaptive thinking is not supported on this model",
}


def check_thinking(body: Mapping[str, Any]) -> Iterator[Problem]:
    """The problems of `thinking` with the model, `tool_choice`, effort and sampling parameters."""
    model, thinking = model_of(body["model"]), body.get("thinking", {})
    kind, effort = thinking.get("type"), body.get("output_config", {}).get("effort")
    forced = body.get("tool_choice", {}).get("type") in ("any", "tool")
    if forced and kind == "enabled":
        text = "Thinking may not be enabled when tool_choice forces tool use."
        yield Problem("thinking_forced", "thinking", text)
    if model and kind and kind not in model.thinking:
        yield Problem("thinking_type", "thinking.type", _UNSUPPORTED[kind])
    levels = model.unthinking_efforts if model and kind in ("disabled", "between_tools") else None
    if levels is not None and effort is not None and effort not in levels:
        text = f"thinking of type {kind} takes an effort of at most {levels[-1]}, not {effort}"
        yield Problem("thinking_effort", "output_config.effort", text)
    if kind == "enabled":
        yield from _sampling(body)


def _sampling(body: Mapping[str, Any]) -> Iterator[Problem]:
    if body.get("temperature", 1) != 1:
        text = f"`temperature` may only be set to 1 when thinking is enabled. {_CONSIDERATIONS}"
        yield Problem("thinking_temperature", "temperature", text)
    if body.get("top_p", 1) < _LEAST_TOP_P:
        text = f"`top_p` must be greater than or equal to {_LEAST_TOP_P} or unset when thinking is enabled."
        yield Problem("thinking_top_p", "top_p", f"{text} {_CONSIDERATIONS}")
    if "top_k" in body:
        text = f"`top_k` must be unset when thinking is enabled. {_CONSIDERATIONS}"
        yield Problem("thinking_top_k", "top_k", text)


def check_budget(body: Mapping[str, Any], betas: Collection[str] | None) -> Iterator[Problem]:
    """The budget with `max_tokens`, where thinking is known not to be interleaved."""
    thinking, model = body.get("thinking", {}), model_of(body["model"])
    if thinking.get("type") != "enabled" or betas is None or _INTERLEAVED in betas or not body["max_tokens"]:
        return
    if thinking["budget_tokens"] >= body["max_tokens"] and (model is None or "enabled" in model.thinking):
        text = f"`max_tokens` must be greater than `thinking.budget_tokens`. {_DOCS}#max-tokens-and-context-window-size"
        yield Problem("thinking_budget", "max_tokens", text)


def check_thinking_blocks(body: Mapping[str, Any], turns: list[Turn]) -> Iterator[Problem]:
    """The problems of `thinking` with the thinking blocks of the history."""
    kind = body.get("thinking", {}).get("type", "disabled")
    if kind == "enabled":
        for turn in turns:
            yield from _first(turn)
        yield from _expected(body["model"], turns)
    elif kind == "disabled":
        yield from _final(body["model"], turns)


def _first(turn: Turn) -> Iterator[Problem]:
    kinds = turn.kinds
    if turn.role == "assistant" and kinds and kinds[0] in _LATER and not set(_KINDS).isdisjoint(kinds):
        text = (
            f"messages.{turn.number}.content.0: If an assistant message contains any thinking blocks, the first block "
            f"must be `thinking` or `redacted_thinking`. Found `{kinds[0]}`."
        )
        yield Problem("thinking_first", turn.places[0], text)


def _expected(name: str, turns: list[Turn]) -> Iterator[Problem]:
    """The turn whose calls are being answered must show what it thought, and so must the beginning of an answer."""
    model = model_of(name)
    last = turns[-1] if turns else None
    if last and last.role == "user" and last.kinds and last.kinds[0] == "tool_result" and len(turns) > 1:
        last = turns[-2]
    elif model and not model.prefill:
        return
    if not last or last.role != "assistant" or not last.kinds or last.kinds[0] not in _LATER:
        return
    if set(_KINDS).isdisjoint(last.kinds):
        text = (
            f"messages.{last.number}.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
            f"`{last.kinds[0]}`. When `thinking` is enabled, a final `assistant` message must start with a thinking "
            "block (preceeding the lastmost set of `tool_use` and `tool_result` blocks). We recommend you include "
            "thinking blocks from previous turns. To avoid this requirement, disable `thinking`. "
            f"{_DOCS}"
        )
        yield Problem("thinking_expected", last.places[0], text)


def _final(name: str, turns: list[Turn]) -> Iterator[Problem]:
    """Of the old models, which think only when told to."""
    model, last = model_of(name), turns[-1] if turns else None
    if not model or not model.prefill or not last or last.role != "assistant" or last.waits:
        return
    if "thinking" in last.kinds:
        at = last.kinds.index("thinking")
        text = (
            f"messages.{last.number}.content.{at}: When thinking is disabled, an `assistant` message in the final "
            "position cannot contain `thinking`. To use thinking blocks, enable `thinking` in your request."
        )
        yield Problem("thinking_final", last.places[at], text)
