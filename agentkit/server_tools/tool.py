"""What a server tool is, and how it gets into a request."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypedDict

from agentkit.errors import ConfigurationError
from agentkit.messages import encode
from agentkit.request import Request
from agentkit.rules.combination import check_combination, way_out
from agentkit.rules.tools import check_tool
from agentkit.secrets import Secret
from agentkit.support import SERVER_TOOLS, Model, Provider, model_of

__all__ = ["McpServer", "ServerTool", "ToolOptions", "server_tool", "versioned_tool", "with_tools"]

_PROBE: list[bytes] = [encode([{"role": "user", "content": "-"}])]


class ToolOptions(TypedDict, total=False):
    """What every server tool takes.

    Attributes:
        allowed_callers: Who may call it: `direct` for the model, `code_execution_20260120` for code that it runs.
        defer_loading: Whether the model sees it only once a tool search has found it.
        strict: Whether the API constrains the input to the schema.
        cache_control: A cache mark in wire shape, such as `{"type": "ephemeral", "ttl": "1h"}`.
    """

    allowed_callers: Iterable[str]
    defer_loading: bool
    strict: bool
    cache_control: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class McpServer:
    """A remote MCP server that the API itself connects to. Its address and token do not show.

    Attributes:
        name: What a toolset calls it.
        url: Where it is; a key may be part of it.
        authorization_token: Sent to it by the API.
    """

    name: str
    url: Secret = field(repr=False)
    authorization_token: Secret | None = field(repr=False)

    @property
    def definition(self) -> dict[str, Any]:
        """The server as it is sent in `mcp_servers`: with its secrets."""
        definition = {"type": "url", "url": self.url.reveal(), "name": self.name}
        if self.authorization_token is not None:
            definition["authorization_token"] = self.authorization_token.reveal()
        return definition


@dataclass(frozen=True, slots=True, init=False)
class ServerTool:
    """A tool that the API runs; its results come in the same turn.

    Args:
        definition: The wire's definition, with a `type` and, but for toolsets, a `name`.
        betas: Names that it needs in `anthropic-beta`.
        mcp_server: For `mcp_servers`, where it is the toolset of a server.
        versions: The versions that it may have, oldest first, where model and provider decide; the definition has the
            first.
    """

    name: str
    betas: tuple[str, ...]
    mcp_server: McpServer | None
    _versions: tuple[str, ...]
    _encoded: bytes

    def __init__(
        self,
        definition: Mapping[str, Any],
        *,
        betas: Iterable[str] = (),
        mcp_server: McpServer | None = None,
        versions: Iterable[str] = (),
    ) -> None:
        name = definition.get("name") or f"{definition['type']} {definition.get('mcp_server_name')}"
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "betas", tuple(betas))
        object.__setattr__(self, "mcp_server", mcp_server)
        object.__setattr__(self, "_versions", tuple(versions))
        object.__setattr__(self, "_encoded", encode(dict(definition)))

    @property
    def definition(self) -> dict[str, Any]:
        """The tool as it is sent, as a copy; the oldest version that will do where none was asked for."""
        definition: dict[str, Any] = json.loads(self._encoded)
        return definition

    def __repr__(self) -> str:
        return f"ServerTool({self.definition!r})"

    def settled(self, model: Model | None, provider: Provider | None) -> ServerTool:
        """This tool in the newest version that model and provider are known to support.

        A version that was asked for stays; where model or provider are not known, the oldest that will do stays.
        """
        if len(self._versions) < 2 or model is None or provider is None or provider.server_tools != "all":
            return self
        definition = self.definition
        since = SERVER_TOOLS[self.name].programmatic
        # What code calls does for a model without programmatic tool calling too, once that is ruled out.
        any_will_do = since is None or model.programmatic or definition.get("allowed_callers") == ["direct"]
        fit = [version for version in self._versions if any_will_do or version < str(since)]
        definition["type"] = f"{self.name}_{(fit or self._versions)[-1]}"
        return ServerTool(definition)


class Defined(Protocol):
    """Anything that knows its definition in wire shape."""

    @property
    def definition(self) -> dict[str, Any]: ...


def with_tools(request: Request, tools: Iterable[Defined | dict[str, Any]], provider: Provider | None) -> Request:
    """The request with these tools: their definitions, and what they need elsewhere in it.

    Args:
        request: A request without tools.
        tools: In the order in which they are sent.
        provider: Of the endpoint, where it is known.

    Raises:
        ConfigurationError: Model, provider, tools and parameters don't go together.
    """
    definitions: list[dict[str, Any]] = []
    betas, servers = list(request.betas), []
    for tool in tools:
        if isinstance(tool, ServerTool):
            tool = tool.settled(model_of(request.model), provider)
            betas += tool.betas
            servers += [tool.mcp_server.definition] if tool.mcp_server else []
        definitions.append(tool if isinstance(tool, dict) else tool.definition)
    params = dict(request.params)
    if servers:
        params["mcp_servers"] = [*params.get("mcp_servers", ()), *servers]
    betas = list(dict.fromkeys(betas))
    request = replace(request, tools=tuple(definitions), betas=tuple(betas), params=params)
    headers = {name.lower(): value for name, value in request.headers.items()}
    named = {*betas, *headers.get("anthropic-beta", "").replace(" ", "").split(",")}
    check_combination(json.loads(b"".join(request.body_parts(_PROBE, None))), provider, named)
    return request


def versioned_tool(name: str, version: str | None, given: Mapping[str, Any], options: ToolOptions) -> ServerTool:
    """A tool that has versions; without one it is settled later, among those that take what is given."""
    kinds = SERVER_TOOLS[name]
    later = [kinds.since[key] for key, value in given.items() if value is not None and key in kinds.since]
    needed = max(later, default="")
    versions = [version] if version else [date for date in kinds.dates if date >= needed]
    return server_tool(f"{name}_{versions[0]}", name, given, options, versions=versions)


def server_tool(
    kind: str,
    name: str,
    given: Mapping[str, Any],
    options: ToolOptions,
    *,
    betas: Iterable[str] = (),
    versions: Iterable[str] = (),
) -> ServerTool:
    """The tool of a constructor; what is None is left out.

    Raises:
        ConfigurationError: The API would refuse it.
        TypeError: There is no such option.
    """
    if unknown := sorted(options.keys() - ToolOptions.__annotations__.keys()):
        raise TypeError(f"{name}() has no option {unknown[0]!r}")
    callers = options.get("allowed_callers")
    definition = {
        "type": kind,
        "name": name,
        **given,
        **options,
        "allowed_callers": [callers] if isinstance(callers, str) else callers and list(callers),
    }
    definition = {key: value for key, value in definition.items() if value is not None}
    for problem in check_tool(definition, name):
        raise ConfigurationError(f"{problem.path}: {way_out(problem)}")
    return ServerTool(definition, betas=betas, versions=versions)
