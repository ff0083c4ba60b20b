"""What the API refuses about a request as a whole: fields with each other and with the model, and how it ends.

What is a subject of its own has a module: `schemas`, `thinking`, `cache`, `content`, `context`, `tools`, `history`.
Everything here may trust the shapes that `fields` has looked at.

Source: messages-api.md sections 3, 4, 9, 10.4, 14, 15; recordings/api-errors.md. The words on `max_tokens: 0` are ours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from agentkit.rules.cache import check_marks
from agentkit.rules.content import check_content
from agentkit.rules.context import check_context
from agentkit.rules.history import check_history
from agentkit.rules.schemas import check_schemas
from agentkit.rules.texts import Problem
from agentkit.rules.thinking import check_budget, check_thinking, check_thinking_blocks
from agentkit.rules.tools import check_tools, is_server_tool
from agentkit.rules.turns import Turn, turns
from agentkit.support import Model, model_of

__all__ = ["check_body"]


def check_body(body: Mapping[str, Any], betas: Collection[str] | None) -> list[Problem]:
    """The problems of well-shaped fields with each other, with the model and with the history.

    The rest of a thread that goes on is with the API, so nothing can be said about it.
    """
    if (body.get("thread") or {}).get("type") == "continue":
        return []
    said = turns(body["messages"])
    tools: list[Mapping[str, Any]] = body.get("tools", [])
    return [
        *_tool_names(body, tools),
        *check_tools(body, betas),
        *check_schemas(body),
        *_forced(body),
        *_output_limit(body),
        *check_thinking(body),
        *check_budget(body, betas),
        *_effort(body),
        *_sampling(body),
        *_geo(body),
        *_speed(body),
        *check_context(body),
        *check_marks(body),
        *_system_role(body),
        *_system_text(body),
        *check_content(body, said),
        *_last_turn(body["model"], said),
        *check_thinking_blocks(body, said),
        *check_history(body["messages"], container=bool(body.get("container")), server_tools=_server_tools(tools)),
    ]


def _server_tools(tools: list[Mapping[str, Any]]) -> set[str]:
    return {str(tool.get("name")) for tool in tools if is_server_tool(tool)}


def _tool_names(body: Mapping[str, Any], tools: list[Mapping[str, Any]]) -> Iterator[Problem]:
    """Source: sections 9, 10.4; api-errors.md B (claude-code#10687, ironclaw#7274); texts on `tool_choice`: probe."""
    names = [tool["name"] for tool in tools if isinstance(tool.get("name"), str)]
    if len(set(names)) < len(names):
        yield Problem("tool_name_duplicate", "tools", "tools: Tool names must be unique.")
    choice = body.get("tool_choice")
    if choice and not tools:
        text = "tool_choice may only be specified while providing tools."
        yield Problem("tool_choice_without_tools", "tool_choice", text)
    elif choice and choice["type"] == "tool" and choice["name"] not in names:
        yield Problem("tool_choice_unknown", "tool_choice", f"Tool '{choice['name']}' not found in provided tools")
    if tools and all(tool.get("defer_loading") for tool in tools):
        text = "At least one tool must have defer_loading=false. All tools cannot be deferred"
        yield Problem("tools_deferred", "tools", text)


def _forced(body: Mapping[str, Any]) -> Iterator[Problem]:
    """Source: section 4."""
    model = model_of(body["model"])
    if model and not model.forced and _is_forced(body):
        text = 'tool_choice: type "tool" and "any" are not supported for this model.'
        yield Problem("tool_choice_forced", "tool_choice", text)


def _is_forced(body: Mapping[str, Any]) -> bool:
    return body.get("tool_choice", {}).get("type") in ("any", "tool")


def _output_limit(body: Mapping[str, Any]) -> Iterator[Problem]:
    """Source: sections 3 and 15.12."""
    given, model = body["max_tokens"], model_of(body["model"])
    if model and given > model.max_tokens:
        text = f"{given} > {model.max_tokens}, which is the maximum allowed number of output tokens for {body['model']}"
        yield Problem("max_tokens", "max_tokens", f"max_tokens: {text}")
    if given:
        return
    others = {
        "stream": body.get("stream"),
        "thinking": body.get("thinking", {}).get("type") == "enabled",
        "output_config.format": body.get("output_config", {}).get("format") or body.get("output_format"),
        "tool_choice": _is_forced(body),
    }
    for name, value in others.items():
        if value:
            yield Problem("max_tokens_zero", "max_tokens", f"max_tokens: 0 cannot be used with {name}")


def _effort(body: Mapping[str, Any]) -> Iterator[Problem]:
    """Source: api-errors.md A (pydantic-ai); sections 3 and 4."""
    effort, model = body.get("output_config", {}).get("effort"), model_of(body["model"])
    if not model or not effort or effort in model.efforts:
        return
    text = f"This model does not support effort level '{effort}'. Supported levels: {', '.join(sorted(model.efforts))}."
    if not model.efforts:
        text = "This model does not support the effort parameter."
    yield Problem("effort", "output_config.effort", text)


def _sampling(body: Mapping[str, Any]) -> Iterator[Problem]:
    """Source: sections 3 and 4 (the text is a probe); api-errors.md B (otoroshi#140)."""
    model = model_of(body["model"])
    for name, default in (("temperature", 1), ("top_p", 1), ("top_k", None)):
        if model and not model.sampling and body.get(name, default) != default:
            yield Problem("sampling", name, f"`{name}` is deprecated for this model.")
    if _is_4_5(model) and "temperature" in body and "top_p" in body:
        text = "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
        yield Problem("sampling_both", "temperature", text)


def _geo(body: Mapping[str, Any]) -> Iterator[Problem]:
    """Source: section 3; the text was seen live by several."""
    if body.get("inference_geo") is not None and _is_4_5(model_of(body["model"])):
        text = f"'{body['model']}' does not support inference_geo."
        yield Problem("geo_model", "inference_geo", text)


def _speed(body: Mapping[str, Any]) -> Iterator[Problem]:
    """Source: section 3; the words are ours."""
    if body.get("speed") == "fast" and body["model"].startswith("claude-opus-4-7"):
        yield Problem("speed_model", "speed", "speed: 'fast' is not supported for this model")


def _is_4_5(model: Model | None) -> bool:
    """Whether it is of the oldest family in the table, the only one with prefill."""
    return model is not None and model.prefill


def _system_role(body: Mapping[str, Any]) -> Iterator[Problem]:
    """Source: section 3; api-errors.md B (ChainForge#271)."""
    model = model_of(body["model"])
    if model and not model.system_role and any(message["role"] == "system" for message in body["messages"]):
        text = (
            'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter, '
            'not "system" as an input message role.'
        )
        yield Problem("system_role", "messages", text)


def _system_text(body: Mapping[str, Any]) -> Iterator[Problem]:
    """An empty string is no system prompt; everything else follows the rules of text (probe)."""
    system = body.get("system", "")
    texts = [system] if isinstance(system, str) else [block["text"] for block in system]
    if isinstance(system, list) and not all(texts):
        yield Problem("text_empty", "system", "system: text content blocks must be non-empty")
    elif any(texts) and not any(text.strip() for text in texts):
        yield Problem("text_blank", "system", "system: text content blocks must contain non-whitespace text")


def _last_turn(name: str, said: list[Turn]) -> Iterator[Problem]:
    """An assistant turn at the end is a prefill, unless it is empty or waits. Source: 15.8, 15.9."""
    last, model = said[-1] if said else None, model_of(name)
    if not last or last.role != "assistant" or not last.blocks or last.waits:
        return
    if model and not model.prefill:
        text = "This model does not support assistant message prefill. The conversation must end with a user message."
        yield Problem("prefill", "messages", text)
    elif last.kinds[-1] == "text" and last.blocks[-1]["text"] != last.blocks[-1]["text"].rstrip():
        text = "messages: final assistant content cannot end with trailing whitespace"
        yield Problem("prefill_whitespace", "messages", text)
