"""What the API refuses about a request body as a whole: its tools, its model's switches, its cache marks, its end.

Everything here may trust the shapes that `fields` has looked at.

Source: messages-api.md sections 3, 4, 9, 10.4, 13 to 15, 17; recordings/api-errors.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agentkit.rules.texts import Problem
from agentkit.support import Model, model_of

__all__ = ["check_body"]


_DOCS = "Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking"
_DOCS_2025 = (
    "Please consult our documentation at https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking"
)
_STRICT_TOOLS = 20
_CACHE_MARKS = 4
_VALUES = {"enum", "const", "default", "examples"}  # what is in a schema and is no schema
# What a turn holds that the API paused, and so continues, or that waits for our results (a matter of the history).
_WAITS = {"server_tool_use", "mcp_tool_use", "compaction", "tool_use"}


def check_body(body: Mapping[str, Any]) -> Iterator[Problem]:
    """The problems of well-shaped fields with each other and with the model."""
    for look in _LOOKS:
        yield from look(body, model_of(body["model"]))


def _output_limit(body: Mapping[str, Any], model: Model | None) -> Iterator[Problem]:
    """Source: messages-api.md 15.12."""
    given = body["max_tokens"]
    if model and given > model.max_tokens:
        text = f"{given} > {model.max_tokens}, which is the maximum allowed number of output tokens for {body['model']}"
        yield Problem("max_tokens", "max_tokens", f"max_tokens: {text}")


def _tool_names(body: Mapping[str, Any], _: Model | None) -> Iterator[Problem]:
    """Source: api-errors.md B (claude-code#10687); messages-api.md section 9 (the texts on `tool_choice`: probe)."""
    names = [tool["name"] for tool in _tools(body) if isinstance(tool.get("name"), str)]
    if len(set(names)) < len(names):
        yield Problem("tool_name_duplicate", "tools", "tools: Tool names must be unique.")
    choice = body.get("tool_choice")
    if choice and not _tools(body):
        text = "tool_choice may only be specified while providing tools."
        yield Problem("tool_choice_without_tools", "tool_choice", text)
    elif choice and choice["type"] == "tool" and choice["name"] not in names:
        yield Problem("tool_choice_unknown", "tool_choice", f"Tool '{choice['name']}' not found in provided tools")


def _deferred(body: Mapping[str, Any], _: Model | None) -> Iterator[Problem]:
    """Source: api-errors.md B (ironclaw#7274); messages-api.md 10.4."""
    if _tools(body) and all(tool.get("defer_loading") for tool in _tools(body)):
        text = "At least one tool must have defer_loading=false. All tools cannot be deferred"
        yield Problem("tools_deferred", "tools", text)


def _strict(body: Mapping[str, Any], _: Model | None) -> Iterator[Problem]:
    """Source: api-errors.md A (rig)."""
    strict = sum(tool.get("strict") is True for tool in _tools(body))
    if strict > _STRICT_TOOLS:
        text = (
            f"Too many strict tools ({strict}). The maximum number of strict tools supported is {_STRICT_TOOLS}. "
            "Try reducing the number of tools marked as strict."
        )
        yield Problem("strict_tools", "tools", text)


def _closed(body: Mapping[str, Any], _: Model | None) -> Iterator[Problem]:
    """A grammar knows closed objects only. Source: messages-api.md section 13; api-errors.md parts A and B."""
    strict = [(f"tools.{at}.custom", tool) for at, tool in enumerate(_tools(body)) if tool.get("strict") is True]
    schemas = [(path, tool.get("input_schema")) for path, tool in strict]
    config, alias = body.get("output_config", {}).get("format"), body.get("output_format")
    schemas += [("output_config.format.schema", config["schema"])] if config else []
    schemas += [("output_format.schema", alias["schema"])] if alias else []
    for path, schema in schemas:
        if _has_open_object(schema):
            text = "For 'object' type, 'additionalProperties' must be explicitly set to false"
            yield Problem("schema_open", path, f"{path}: {text}")


def _has_open_object(schema: Any) -> bool:
    left = [schema]
    while left:
        part = left.pop()
        if isinstance(part, list):
            left += part
        elif isinstance(part, dict):
            if part.get("type") == "object" and part.get("additionalProperties") is not False:
                return True
            left += [value for key, value in part.items() if key not in _VALUES]
    return False


def _forced(body: Mapping[str, Any], model: Model | None) -> Iterator[Problem]:
    """Source: messages-api.md section 4; api-errors.md B (mastra#7507)."""
    if body.get("tool_choice", {}).get("type") not in ("any", "tool"):
        return
    if model and not model.forced:
        text = 'tool_choice: type "tool" and "any" are not supported for this model.'
        yield Problem("tool_choice_forced", "tool_choice", text)
    if body.get("thinking", {}).get("type") == "enabled":
        text = "Thinking may not be enabled when tool_choice forces tool use."
        yield Problem("thinking_forced", "thinking", text)


def _thinking(body: Mapping[str, Any], model: Model | None) -> Iterator[Problem]:
    """Source: messages-api.md sections 4 and 14; api-errors.md B (antigravity2api#150, one-hub#529)."""
    thinking = body.get("thinking", {})
    kind = thinking.get("type")
    if model and kind and kind not in model.thinking:
        yield Problem("thinking_type", "thinking.type", _UNSUPPORTED[kind])
    elif kind == "enabled" and thinking["budget_tokens"] >= body["max_tokens"]:
        text = f"`max_tokens` must be greater than `thinking.budget_tokens`. {_DOCS}#max-tokens-and-context-window-size"
        yield Problem("thinking_budget", "max_tokens", text)
    if kind == "enabled" and body.get("temperature", 1) != 1:
        text = "`temperature` may only be set to 1 when thinking is enabled."
        where = "#important-considerations-when-using-extended-thinking"
        yield Problem("thinking_temperature", "temperature", f"{text} {_DOCS_2025}{where}")


# Source: messages-api.md section 4; the end of the second is not known.
_UNSUPPORTED = {
    "enabled": (
        '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and '
        '"output_config.effort" to control thinking behavior.'
    ),
    "disabled": '"thinking.type.disabled" is not supported for this model.',
    "between_tools": '"thinking.type.between_tools" is not supported for this model.',
    "adaptive": "adaptive thinking is not supported on this model",
}


def _effort(body: Mapping[str, Any], model: Model | None) -> Iterator[Problem]:
    """Source: api-errors.md A (pydantic-ai); messages-api.md sections 3 and 4."""
    effort = body.get("output_config", {}).get("effort")
    if not model or not effort or effort in model.efforts:
        return
    text = f"This model does not support effort level '{effort}'. Supported levels: {', '.join(sorted(model.efforts))}."
    if not model.efforts:
        text = "This model does not support the effort parameter."
    yield Problem("effort", "output_config.effort", text)


def _sampling(body: Mapping[str, Any], model: Model | None) -> Iterator[Problem]:
    """Source: messages-api.md sections 3 and 4 (the text is a probe); api-errors.md B (otoroshi#140)."""
    for name, default in (("temperature", 1), ("top_p", 1), ("top_k", None)):
        if model and not model.sampling and body.get(name, default) != default:
            yield Problem("sampling", name, f"`{name}` is deprecated for this model.")
    if model and model.prefill and "temperature" in body and "top_p" in body:
        text = "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
        yield Problem("sampling_both", "temperature", text)


def _system_role(body: Mapping[str, Any], model: Model | None) -> Iterator[Problem]:
    """Source: messages-api.md section 3; api-errors.md B (ChainForge#271)."""
    if model and not model.system_role and any(message["role"] == "system" for message in body["messages"]):
        text = (
            'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter, '
            'not "system" as an input message role.'
        )
        yield Problem("system_role", "messages", text)


def _system_text(body: Mapping[str, Any], _: Model | None) -> Iterator[Problem]:
    """An empty string is no system prompt; everything else follows the rules of text (probe)."""
    system = body.get("system", "")
    texts = [system] if isinstance(system, str) else [block["text"] for block in system]
    if isinstance(system, list) and not all(texts):
        yield Problem("text_empty", "system", "system: text content blocks must be non-empty")
    elif any(texts) and not any(text.strip() for text in texts):
        yield Problem("text_blank", "system", "system: text content blocks must contain non-whitespace text")


def _last_turn(body: Mapping[str, Any], model: Model | None) -> Iterator[Problem]:
    """An assistant turn at the end is a prefill, unless it is empty or waits. Source: messages-api.md 15.8, 15.9."""
    blocks: list[Any] = []
    for message in reversed(body["messages"]):
        if message["role"] != "assistant":
            break
        content = message["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": content}] if content else []
        blocks = content + blocks
    kinds = {block["type"] for block in blocks}
    if not blocks or not kinds.isdisjoint(_WAITS) or any(kind.endswith("_tool_result") for kind in kinds):
        return
    if model and not model.prefill:
        text = "This model does not support assistant message prefill. The conversation must end with a user message."
        yield Problem("prefill", "messages", text)
    elif blocks[-1]["type"] == "text" and blocks[-1]["text"] != blocks[-1]["text"].rstrip():
        text = "messages: final assistant content cannot end with trailing whitespace"
        yield Problem("prefill_whitespace", "messages", text)


def _cache(body: Mapping[str, Any], _: Model | None) -> Iterator[Problem]:
    """Source: messages-api.md 15.10; api-errors.md B (Anthropic.SDK#50, claude-code-cache-fix#44)."""
    marks = list(_marks(body))
    automatic = isinstance(body.get("cache_control"), dict)
    if len(marks) + automatic > _CACHE_MARKS:
        text = f"A maximum of {_CACHE_MARKS} blocks with cache_control may be provided. Found {len(marks) + automatic}."
        yield Problem("cache_marks", "cache_control", text)
    short = False
    for path, block in marks:
        ttl = block["cache_control"].get("ttl") or "5m"
        if block.get("text") == "":
            yield Problem("cache_empty", path, f"{path}.text: cache_control cannot be set for empty text blocks")
        if short and ttl == "1h":
            text = (
                "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. Note that blocks "
                "are processed in the following order: `tools`, `system`, `messages`."
            )
            yield Problem("cache_order", f"{path}.cache_control.ttl", f"{path}.cache_control.ttl: {text}")
        short = short or ttl == "5m"


def _marks(body: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every block that has a cache mark, in the order of the prompt."""
    yield from _marked("tools", _tools(body))
    yield from _marked("system", body.get("system"))
    for at, message in enumerate(body["messages"]):
        yield from _marked(f"messages.{at}.content", message["content"])


def _marked(path: str, blocks: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for at, block in enumerate(blocks) if isinstance(blocks, list) else ():
        if isinstance(block, dict):
            if block.get("type") == "tool_result":
                yield from _marked(f"{path}.{at}.tool_result.content", block.get("content"))
            if isinstance(block.get("cache_control"), dict):
                yield f"{path}.{at}", block


def _tools(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    tools: list[dict[str, Any]] = body.get("tools", [])
    return tools


_LOOKS = (
    _tool_names,
    _deferred,
    _strict,
    _closed,
    _forced,
    _output_limit,
    _thinking,
    _effort,
    _sampling,
    _cache,
    _system_role,
    _system_text,
    _last_turn,
)
