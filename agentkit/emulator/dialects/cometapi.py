"""CometAPI as it is documented: the subset that it takes, its errors, its list of models.

Source: messages-api.md section 22, and sections 26.5 and 15.2; words that are in none of them are marked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from agentkit import encode as encoding
from agentkit.emulator.refusal import Refused
from agentkit.emulator.resources.models import MODELS

__all__ = ["PAGE", "error", "events", "message", "models", "read"]

PAGE = "<!doctype html><html><head><title>CometAPI</title></head><body><div id=root></div></body></html>"

_FIELDS = {
    "model", "messages", "max_tokens", "system", "temperature", "top_p", "top_k", "stream", "stop_sequences",
    "thinking", "tools", "tool_choice", "metadata", "output_config", "service_tier",
}  # fmt: skip
_SERVER_TOOLS = ("web_search_20250305", "web_fetch_20250910", "code_execution_20250522")
_OTHERS = ("web_search_", "web_fetch_", "code_execution_", "tool_search_tool_", "advisor_", "mcp_toolset")
_MARKS = 4  # the upstream's limit; the gateway sets one itself
_OWN_MARKS = 1
# What the gateway sees by itself; the rest comes from its upstream.
_BY_GATEWAY = {
    "field_required", "field_type", "field_value", "field_range", "field_unknown", "json", "messages_empty", "version",
}  # fmt: skip
_BLOCKED = "blocked"
_USAGE = (
    "input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "cache_creation", "output_tokens",
    "service_tier", "server_tool_use",
)  # fmt: skip


def read(body: dict[str, Any]) -> dict[str, Any]:
    """The body as it is.

    Raises:
        Refused: It has what is not in the documented subset, or what its upstream refuses by then.
    """
    for field in _blocked(body):
        raise Refused(403, f"The field '{field}' is not allowed", rule=_BLOCKED)  # words of ours
    messages = body.get("messages")
    if isinstance(messages, list):
        _check_alternation([m.get("role") for m in messages if isinstance(m, dict)])
        found = _count_marks(body)
        if found + _OWN_MARKS > _MARKS:
            text = f"A maximum of {_MARKS} blocks with cache_control may be provided. Found {found + _OWN_MARKS}."
            raise Refused(400, text, rule="cache_marks")
    return body


def _blocked(body: dict[str, Any]) -> Iterator[str]:
    for field in body:
        if field not in _FIELDS:
            yield field
    config = body.get("output_config")
    for field in config if isinstance(config, dict) else ():
        if field != "effort":
            yield f"output_config.{field}"
    tools = body.get("tools")
    for at, tool in enumerate(tools if isinstance(tools, list) else ()):
        kind = str(tool.get("type")) if isinstance(tool, dict) else ""
        if kind.startswith(_OTHERS) and kind not in _SERVER_TOOLS:
            yield f"tools.{at}.type"


def _check_alternation(roles: list[Any]) -> None:
    if roles and roles[0] == "assistant":
        raise Refused(400, 'messages: first message must use the "user" role', rule="alternation")
    if "system" in roles:
        text = (
            'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter, not "system" '
            "as an input message role."
        )
        raise Refused(400, text, rule="alternation")
    for one, other in pairwise(roles):
        if one == other:
            text = f'but found multiple "{one}" roles in a row'
            text = f'messages: roles must alternate between "user" and "assistant", {text}'
            raise Refused(400, text, rule="alternation")


def _count_marks(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(_count_marks, value.values())) + isinstance(value.get("cache_control"), dict)
    return sum(map(_count_marks, value)) if isinstance(value, list) else 0


def error(refused: Refused, request_id: str) -> tuple[int, dict[str, Any]]:
    """The gateway's own shape; what its upstream refuses is a 500 with the code `invalid_request`."""
    status, code, text = refused.status, "", refused.message
    if status == 400 and refused.rule not in {*_BY_GATEWAY, "script"}:
        status, code = 500, "invalid_request"
    elif status == 404 and refused.rule == "model_unknown":  # words of ours
        status, code = 503, "model_not_found"
        text = f"No available channel for {text.replace(': ', ' ')}"
    elif refused.kind == "invalid_request":
        code = refused.kind
    elif status == 401:
        text = "invalid token"  # words of ours
    shown = {"code": code, "message": f"{text} (request id: {request_id})", "type": "comet_api_error", "param": ""}
    return status, {"error": shown}


def models(query: Mapping[str, str]) -> dict[str, Any]:
    """`/v1/models` in the shape of OpenAI's list."""
    data = [{"id": name, "object": "model", "created": 1_767_225_600, "owned_by": "anthropic"} for name in MODELS]
    return {"object": "list", "data": data}


def message(whole: dict[str, Any]) -> dict[str, Any]:
    """A message with the documented fields alone, and what a script added."""
    usage = {name: value for name, value in whole["usage"].items() if name in _USAGE}
    fields = {name: value for name, value in whole.items() if name != "stop_details" or value is not None}
    return {**fields, "usage": usage}


def events(whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The stream is documented without pings."""
    return (event for event in encoding.events(whole) if event["type"] != "ping")
