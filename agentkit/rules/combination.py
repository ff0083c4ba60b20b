"""Whether what an agent is made of goes together: said before anything is sent, with the way out.

Source: messages-api.md sections 4, 9 to 14.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from agentkit.errors import ConfigurationError
from agentkit.rules.fields import check_request
from agentkit.rules.texts import Problem
from agentkit.rules.thinking import check_budget
from agentkit.rules.tools import check_tools, is_server_tool
from agentkit.support import Provider, model_of

__all__ = ["check_combination", "way_out"]

# The rules that refuse a combination, and what to do then. All other rules are left to the API.
_WAYS = {
    "cache_empty": "take the mark off",
    "cache_marks": "take marks off",
    "cache_order": "put the longer ttl first, or use one ttl",
    "deferred_cached": "leave one of the two out",
    "domains": "leave one of the two out",
    "effort": "leave effort out, or use one that the model has",
    "max_tokens": "lower max_tokens",
    "mcp_server_unknown": "give the toolset its server: mcp_toolset(mcp_server(url, name))",
    "mcp_server_unused": "add mcp_toolset(name) to tools, or leave the server out",
    "mcp_toolset_twice": "put both into one mcp_toolset",
    "option_version": "leave it out, or use a later version of the tool",
    "programmatic_forced": 'add "direct" to its allowed_callers, or use tool_choice of type auto',
    "programmatic_mcp": "leave allowed_callers out",
    "programmatic_model": 'set allowed_callers=["direct"], or use another model',
    "programmatic_parallel": 'leave it out, or set allowed_callers=["direct"] on the tools',
    "programmatic_recursive": 'write the schema without recursion, or set allowed_callers=["direct"]',
    "programmatic_strict": 'leave strict out, or set allowed_callers=["direct"]',
    "sampling": "leave it out, and say in the prompt what you want",
    "sampling_both": "leave one of the two out",
    "schema_open": "set additionalProperties to false in each object of the schema, or leave strict out",
    "server_tools": "leave it out, or give a tool of your own",
    "strict_tools": "leave strict out on some",
    "thinking_budget": "give budget_tokens from 1024 to max_tokens - 1",
    "thinking_effort": "lower the effort, or use thinking of type adaptive",
    "thinking_forced": "use tool_choice of type auto, or leave thinking out",
    "thinking_temperature": "leave temperature out, or thinking",
    "thinking_type": "leave thinking out, or use a type that the model has: {types}",
    "tool_choice_forced": "use tool_choice of type auto, and ask for the tool in the prompt",
    "tool_choice_unknown": "name one of the tools",
    "tool_choice_without_tools": "give tools, or leave tool_choice out",
    "tool_name_duplicate": "rename one of them",
    "tool_search_deferred": "leave defer_loading out",
    "tools_deferred": "leave defer_loading out on at least one, such as tool_search()",
}


def check_combination(body: Mapping[str, Any], provider: Provider | None, betas: Collection[str] = ()) -> None:
    """Refuses what can't work together in a request body.

    Args:
        body: The JSON of a `POST /v1/messages`, with any messages that the API accepts.
        provider: Of the endpoint, where it is known.
        betas: Names in the `anthropic-beta` header.

    Raises:
        ConfigurationError: Model, provider, tools and parameters don't go together. The text names the parameter, the
            model and the way out. Models, fields, tools and versions that are not known are not refused.
    """
    for problem in _problems(body, provider, betas):
        if problem.rule in _WAYS and not _is_accepted(problem, body):
            where = f"{_parameter(problem, body)} with {body['model']}"
            raise ConfigurationError(f"{where}: {way_out(problem, body['model'])}")


def way_out(problem: Problem, model: str = "") -> str:
    """What is wrong, in the words of the API, and what to do."""
    known = model_of(model)
    types = " or ".join(sorted(known.thinking)) if known else ""
    text = problem.message.removeprefix(f"{problem.path}: ").removesuffix(".")
    return f"{text}; {_WAYS[problem.rule].replace('{types}', types)}"


def _problems(body: Mapping[str, Any], provider: Provider | None, betas: Collection[str]) -> Iterator[Problem]:
    """A field of a shape that these rules don't know may be right in future: what depends on it is not looked at."""
    found = check_request(body)
    yield from found
    strange = {problem.path.partition(".")[0] for problem in found if problem.rule not in _WAYS}
    if "tools" in strange:
        strange.add("tool_choice")
    if "model" in strange:
        return
    known = {key: value for key, value in body.items() if key not in strange}
    again = check_request(known) if strange else []
    for problem in (*again, *_server_tools(known, provider), *_with_betas(known, betas)):
        if "mcp_servers" not in strange or not problem.rule.startswith("mcp_server"):
            yield problem


def _with_betas(body: Mapping[str, Any], betas: Collection[str]) -> Iterator[Problem]:
    """What a beta allows. More are sent than are known here, so that no field is refused for lack of one."""
    yield from check_tools(body, betas)
    if "max_tokens" in body:
        yield from check_budget(body, betas)


def _server_tools(body: Mapping[str, Any], provider: Provider | None) -> Iterator[Problem]:
    """Source: messages-api.md sections 10.6 and 23."""
    if provider is None or provider.server_tools != "none":
        return
    for at, tool in enumerate(body.get("tools", [])):
        if is_server_tool(tool):
            yield Problem("server_tools", f"tools.{at}", f"The provider {provider.name!r} runs no server tools.")


def _is_accepted(problem: Problem, body: Mapping[str, Any]) -> bool:
    """A case that the rule does not see: the tool may be of a toolset. Source: messages-api.md section 9."""
    return problem.rule == "tool_choice_unknown" and any("name" not in tool for tool in body["tools"])


def _parameter(problem: Problem, body: Mapping[str, Any]) -> str:
    """The path, with the name of the tool that it leads to."""
    field, _, rest = problem.path.partition(".")
    at = rest.partition(".")[0]
    if field != "tools" or not at:
        return problem.path
    tool = body["tools"][int(at)]
    return f"{problem.path} ({tool.get('name') or tool.get('mcp_server_name')})"
