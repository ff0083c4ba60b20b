"""The constructors of server tools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Unpack

from agentkit.errors import ConfigurationError
from agentkit.secrets import Secret
from agentkit.server_tools.tool import McpServer, ServerTool, ToolOptions, server_tool, versioned_tool

__all__ = ["advisor", "code_execution", "mcp_server", "mcp_toolset", "tool_search", "web_fetch", "web_search"]


def web_search(
    *,
    max_uses: int | None = None,
    allowed_domains: Iterable[str] | None = None,
    blocked_domains: Iterable[str] | None = None,
    user_location: Mapping[str, str] | None = None,
    response_inclusion: str | None = None,
    version: str | None = None,
    **options: Unpack[ToolOptions],
) -> ServerTool:
    """Searches the web.

    Args:
        max_uses: Searches in one request, 1 or more; None is no limit of ours.
        allowed_domains: Only these, without scheme; subdomains are covered.
        blocked_domains: All but these; not together with `allowed_domains`.
        user_location: Where the user is: `city`, `region`, `country` (two letters), `timezone` (as `Europe/Rome`).
        response_inclusion: `full` or `excluded`: whether results that only code read are in the reply.
        version: The date of the tool's version: `20250305`, `20260209`, `20260318`, or one to come; by default the
            newest that model and provider support.
        **options: As for every server tool: see `ToolOptions`. From `20260209` on it is called from code alone, unless
            `allowed_callers` says otherwise.

    Raises:
        ConfigurationError: Both lists are given, or an option is one that the API refuses.

    Source: messages-api.md section 10.1.
    """
    given: dict[str, Any] = {
        **_limits("web_search", max_uses, allowed_domains, blocked_domains),
        "user_location": None if user_location is None else {"type": "approximate", **user_location},
        "response_inclusion": response_inclusion,
    }
    return versioned_tool("web_search", version, given, options)


def web_fetch(
    *,
    max_uses: int | None = None,
    allowed_domains: Iterable[str] | None = None,
    blocked_domains: Iterable[str] | None = None,
    citations: bool = False,
    max_content_tokens: int | None = None,
    use_cache: bool | None = None,
    response_inclusion: str | None = None,
    url_sources: Mapping[str, Any] | None = None,
    version: str | None = None,
    **options: Unpack[ToolOptions],
) -> ServerTool:
    """Reads pages and PDFs whose address is already in the conversation.

    Args:
        max_uses: Fetches in one request, 1 or more; None is no limit of ours.
        allowed_domains: Only these, without scheme; subdomains are covered.
        blocked_domains: All but these; not together with `allowed_domains`.
        citations: Whether the answer cites passages of what was read.
        max_content_tokens: Tokens of a page that are read, about, 1 or more.
        use_cache: Whether a cached copy will do.
        response_inclusion: `full` or `excluded`: whether results that only code read are in the reply.
        url_sources: In wire shape: whose addresses may be fetched (`user_input`, `client_tool_results`,
            `server_tool_results`), such as `{"user_input": {"type": "all"}, "client_tool_results": {"type": "none"}}`.
        version: The date of the tool's version: `20250910`, `20260209`, `20260309`, `20260318`, or one to come; by
            default the newest that model and provider support.
        **options: As for every server tool: see `ToolOptions`. From `20260209` on it is called from code alone, unless
            `allowed_callers` says otherwise.

    Raises:
        ConfigurationError: Both lists are given, or an option is one that the API refuses.

    Source: messages-api.md section 10.2.
    """
    given: dict[str, Any] = {
        **_limits("web_fetch", max_uses, allowed_domains, blocked_domains),
        "citations": {"enabled": True} if citations else None,
        "max_content_tokens": _at_least("web_fetch", "max_content_tokens", max_content_tokens, 1),
        "use_cache": use_cache,
        "response_inclusion": response_inclusion,
        "url_sources": url_sources,
    }
    return versioned_tool("web_fetch", version, given, options)


def code_execution(*, version: str | None = None, **options: Unpack[ToolOptions]) -> ServerTool:
    """Runs code that the model writes, in a container of the API without network.

    Args:
        version: `20250522` (Python alone), `20250825` (shell and files), `20260120` (keeps state, and the code may call
            tools whose `allowed_callers` say so), `20260521` (the same, and the model knows the time limit of 90 s), or
            one to come; by default the newest that model and provider support.
        **options: As for every server tool: see `ToolOptions`.

    Raises:
        ConfigurationError: An option is one that the API refuses.

    Source: messages-api.md section 10.3.
    """
    return versioned_tool("code_execution", version, {}, options)


def tool_search(
    kind: Literal["regex", "bm25"] = "regex", *, version: str = "20251119", **options: Unpack[ToolOptions]
) -> ServerTool:
    """Finds tools that have `defer_loading`, by name and description.

    Args:
        kind: How the model searches: with a regular expression, or with words.
        version: The date of the tool's version.
        **options: As for every server tool: see `ToolOptions`; `defer_loading` is not for the search itself.

    Raises:
        ConfigurationError: There is no such kind, or an option is one that the API refuses.

    Source: messages-api.md section 10.4.
    """
    if kind not in ("regex", "bm25"):
        raise ConfigurationError(f"tool_search: there are regex and bm25, not {kind!r}")
    name = f"tool_search_tool_{kind}"
    return server_tool(f"{name}_{version}", name, {}, options)


def advisor(
    model: str,
    *,
    max_uses: int | None = None,
    max_tokens: int | None = None,
    caching: Mapping[str, Any] | None = None,
    version: str = "20260301",
    **options: Unpack[ToolOptions],
) -> ServerTool:
    """A second model that the first may ask for advice. It is paid for at its own price.

    Args:
        model: Id of the adviser, as strong as the model of the agent or stronger.
        max_uses: Times it is asked in one request, 1 or more; None is no limit of ours.
        max_tokens: Of one piece of advice, thinking included: 1024 or more.
        caching: Whether what it reads is cached, in wire shape: `{"type": "ephemeral", "ttl": "5m"}`.
        version: The date of the tool's version.
        **options: As for every server tool: see `ToolOptions`.

    Raises:
        ConfigurationError: An option is one that the API refuses.

    Source: messages-api.md section 10.5.
    """
    given = {
        "model": model,
        "max_uses": _at_least("advisor", "max_uses", max_uses, 1),
        "max_tokens": _at_least("advisor", "max_tokens", max_tokens, 1024),
        "caching": caching,
    }
    return server_tool(f"advisor_{version}", "advisor", given, options, betas=["advisor-tool-2026-03-01"])


def mcp_server(url: str, name: str, *, authorization_token: str | None = None) -> McpServer:
    """A remote MCP server, for `mcp_toolset`.

    Args:
        url: Where it is: streamable HTTP or SSE.
        name: What results and errors call it.
        authorization_token: Sent to it by the API, as a bearer token.

    Raises:
        ConfigurationError: It is no server that the API can reach.

    Source: messages-api.md section 12.
    """
    if not url.startswith(("https://", "http://")):
        raise ConfigurationError(f"mcp_server {name!r}: the API reaches servers at an https:// address only")
    return McpServer(name, Secret(url), Secret(authorization_token) if authorization_token else None)


def mcp_toolset(
    server: McpServer | str,
    *,
    default_config: Mapping[str, Any] | None = None,
    configs: Mapping[str, Mapping[str, Any]] | None = None,
    cache_control: Mapping[str, Any] | None = None,
    version: str = "2025-11-20",
) -> ServerTool:
    """The tools of a remote MCP server, called by the API itself.

    Args:
        server: What `mcp_server` gave, or the name of one in `extra_body={"mcp_servers": …}`.
        default_config: Of each tool, in wire shape: `{"enabled": True, "defer_loading": False}`.
        configs: Of single tools, by name: `{"delete": {"enabled": False}}`.
        cache_control: A cache mark in wire shape.
        version: The date in the name of the connector's beta: `2025-11-20`, `2026-09-15`, or one to come.

    Source: messages-api.md section 12.
    """
    known = server if isinstance(server, McpServer) else None
    definition = {
        "type": "mcp_toolset",
        "mcp_server_name": server if isinstance(server, str) else server.name,
        "default_config": default_config,
        "configs": configs,
        "cache_control": cache_control,
    }
    given = {key: value for key, value in definition.items() if value is not None}
    return ServerTool(given, betas=[f"mcp-client-{version}"], mcp_server=known)


def _limits(
    name: str, max_uses: int | None, allowed: Iterable[str] | None, blocked: Iterable[str] | None
) -> dict[str, Any]:
    return {
        "max_uses": _at_least(name, "max_uses", max_uses, 1),
        "allowed_domains": _domains(name, "allowed_domains", allowed),
        "blocked_domains": _domains(name, "blocked_domains", blocked),
    }


def _at_least(name: str, option: str, number: int | None, least: int) -> int | None:
    if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < least):
        raise ConfigurationError(f"{name}: {option} must be a whole number of {least} or more, not {number!r}")
    return number


def _domains(name: str, option: str, domains: Iterable[str] | None) -> list[str] | None:
    if domains is None:
        return None
    listed = [domains] if isinstance(domains, str) else list(domains)
    if schemed := [domain for domain in listed if "://" in domain]:
        raise ConfigurationError(f"{name}: {option} are without a scheme, as example.com, not {schemed[0]!r}")
    return listed
