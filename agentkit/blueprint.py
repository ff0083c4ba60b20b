"""What an agent is made of, and the request that comes of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from agentkit.cache import plan
from agentkit.errors import ConfigurationError
from agentkit.messages import Block, encode
from agentkit.parameters import Parameters, betas_of, parameters_of
from agentkit.request import Request
from agentkit.server_tools import ServerTool, with_tools
from agentkit.stream import parse_json
from agentkit.support import GENERIC, Model, Provider, model_of, told
from agentkit.tools import Tool, tool

if TYPE_CHECKING:
    from agentkit.output import Output

__all__ = ["AnyTool", "Blueprint"]

AnyTool: TypeAlias = "Tool | ServerTool | Callable[..., Any] | dict[str, Any]"
_Named: TypeAlias = "dict[str, Tool | ServerTool | dict[str, Any]]"


class Blueprint:
    """What every run of an agent begins with. It never changes.

    Args:
        model: Id of the model; None is `AGENTKIT_MODEL`.
        system: Text or text blocks.
        tools: Of any kind.
        output_type: What the answer is to be a value of.
        max_tokens: Of one reply.
        parameters: Other fields of the body that have a name.
        extra_body: More fields of the body.
        extra_headers: More headers.
        betas: Names for `anthropic-beta`.
        provider: Where it is known now.
        cache: `auto` places cache marks; None places none.
        known: What the endpoint has said that the model takes, if it has.
        own: Tools of the agent's own, that every run has after the others.

    Attributes:
        model: Id of the model.
        output: What the answer is to be a value of, None for text.

    Raises:
        ConfigurationError: No model is named, two tools have one name, or things don't go together.
        ToolDefinitionError: A function can't be a tool.
    """

    def __init__(
        self,
        model: str | None,
        *,
        system: str | Sequence[Block] | None,
        tools: Iterable[AnyTool],
        output_type: Any,
        max_tokens: int,
        parameters: Parameters,
        extra_body: Mapping[str, Any] | None,
        extra_headers: Mapping[str, str] | None,
        betas: Iterable[str],
        provider: Provider | None,
        cache: str | None,
        known: Model | None = None,
        own: Sequence[Tool] = (),
    ) -> None:
        if cache not in ("auto", None):
            raise ConfigurationError(f"cache is 'auto' or None, not {cache!r}; marks of your own go with it or without")
        named = model or os.environ.get("AGENTKIT_MODEL")
        if not named:
            raise ConfigurationError('name a model: Agent("claude-sonnet-4-6"), or set AGENTKIT_MODEL')
        self.model = named
        self.output: Output[Any] | None = _output_of(output_type)
        self._own = own
        self.tools = _by_name(tools, own)
        params = parameters_of(parameters, extra_body, self.output.format if self.output else None)
        self._bare = Request(
            model=named,
            max_tokens=max_tokens,
            system=parse_json(encode(system)),
            params=parse_json(encode(params)),
            betas=betas_of(params, tuple(betas)),
            headers=dict(extra_headers or {}),
        )
        self._provider = provider
        self._is_cached = cache == "auto"
        self._known = known
        self._request = self._with(self.tools, provider, known)
        self._unstreamed = replace(self._request, stream=False)

    def request(
        self,
        provider: Provider | None,
        *,
        tools: Iterable[AnyTool] | None = None,
        system: str | Sequence[Block] | None = None,
        stream: bool | None = None,
        known: Model | None = None,
    ) -> tuple[Request, Mapping[str, Tool]]:
        """The request of a run, and its client tools by name.

        Args:
            provider: Whom it goes to, where that is known.
            tools: In place of the blueprint's.
            system: In place of the blueprint's.
            stream: Whether it is streamed; None is whether it has to be.
            known: What the endpoint has said that the model takes, if it has.
        """
        # Source: messages-api.md section 16.1: what may take longer than ten minutes has to be streamed.
        fits = 3600 * self._request.max_tokens / 128_000 <= 600
        request = self._unstreamed if stream is None and fits else self._request
        by_name = self.tools if tools is None else _by_name(tools, self._own)
        is_news = known not in (None, self._known, model_of(self.model))
        if tools is not None or provider not in (None, self._provider) or is_news:
            request = replace(self._with(by_name, provider or self._provider, known), stream=request.stream)
        if system is not None:
            request = replace(request, system=system)
        ours = {name: item for name, item in by_name.items() if isinstance(item, Tool)}
        if self._is_cached:
            waits = any(item.needs_approval for item in ours.values())
            request = replace(request, cache=plan(request, provider or self._provider or GENERIC, long=waits))
        return request, ours

    def _with(self, tools: _Named, provider: Provider | None, known: Model | None) -> Request:
        with told(self.model, known):
            request = with_tools(self._bare, tools.values(), provider)
        if self.output:
            _refuse_citations(request.tools)
        return request


def _output_of(output_type: Any) -> Output[Any] | None:
    if output_type is None:
        return None
    from agentkit.output import Output

    return Output(output_type)


def _refuse_citations(tools: Iterable[Mapping[str, Any]]) -> None:
    """Source: messages-api.md section 13: structured outputs don't go with citations."""
    for definition in tools:
        citations = definition.get("citations")
        if isinstance(citations, Mapping) and citations.get("enabled"):
            name = definition.get("name")
            raise ConfigurationError(f"output_type can't go with citations: make {name} without citations=True")


def _by_name(tools: Iterable[AnyTool], own: Sequence[Tool]) -> _Named:
    found: _Named = {}
    if not isinstance(tools, Iterable):
        raise ConfigurationError("tools must be a list of functions, tools or definitions")
    for at, item in enumerate([*tools, *own]):
        if isinstance(item, Mapping):
            item = parse_json(encode(dict(item)))
        elif not isinstance(item, Tool | ServerTool):
            if not callable(item):
                raise ConfigurationError(
                    f"tools[{at}] is of type {type(item).__name__}: give a function, a Tool or a definition"
                )
            item = tool(item)
        # Toolsets and MCP connectors have no name of their own.
        name = item.get("name") or f"{item.get('type')} {at}" if isinstance(item, dict) else item.name
        if name in found:
            raise ConfigurationError(f"two tools have the name {name!r}: rename one with @tool(name=…)")
        found[name] = item
    return found
