"""The web: pages by address, and a search with an engine of the host's choice."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Annotated, Any, TypeAlias

import anyio
from pydantic import Field

from agentkit import ConfigurationError, Tool, ToolError, tool
from agentkit_tools.cited import search_result
from agentkit_tools.web_address import Guard, parse_address

__all__ = ["Engine", "searxng", "web"]

Engine: TypeAlias = "Callable[[str], Awaitable[Iterable[tuple[str, str, str]]]]"
"""Query → title, address and text of each result, the best first."""

_MOST_RESULTS, _LONGEST_TEXT = 10, 4000


def web(
    engine: Engine | None = None,
    *,
    origins: Iterable[str] | None = None,
    allow_addresses: Iterable[str] = (),
    citations: bool = True,
) -> list[Tool]:
    """`web_fetch`, which reads pages, and with an engine `web_search`: for endpoints that have no server tools.

    They have the names of the API's own, so an agent has the ones or the others. This process fetches the pages: from
    addresses of the public internet only, which are checked when they are connected to, on ports 80 and 443, at most
    10 MB within 30 seconds. No proxy of the environment is used.

    Args:
        engine: An async function: query → a list of (title, address, text). `searxng(url)` makes one.
        origins: If any, only these are fetched, such as `https://docs.example.com` or `https://example.com:8443`.
        allow_addresses: IP networks of an intranet that may be reached too, such as `10.1.0.0/16`.
        citations: Whether results are `search_result` blocks that Claude cites; else they are text. The API has no
            citations together with an output type, and some endpoints don't know these blocks.

    Raises:
        ConfigurationError: An argument can't be meant.
    """
    guard = Guard(origins, allow_addresses)

    @tool(effect={"read", "net", "untrusted"}, idempotent=True, timeout=60)
    async def web_fetch(url: str, start: Annotated[int, Field(ge=0)] = 0) -> Any:
        """Read a page of the web as Markdown, or a text, a PDF or an image.

        Args:
            url: Its address: http or https.
            start: Of a long text, the character to read on from; the end of the part before names it.
        """
        return await _fetched(url, start, guard, citations)

    if engine is None:
        return [web_fetch]
    if not callable(engine) or (inspect.isroutine(engine) and not inspect.iscoroutinefunction(engine)):
        raise ConfigurationError("web(engine): give an async function: query → a list of (title, address, text)")

    @tool(effect={"read", "net", "untrusted"}, idempotent=True, timeout=60)
    async def web_search(query: Annotated[str, Field(min_length=1, max_length=500)]) -> Any:
        """Search the web.

        Args:
            query: What to look for, in a few words.
        """
        found = list(await engine(query))[:_MOST_RESULTS]
        results = [
            search_result(str(url), str(title), str(text)[:_LONGEST_TEXT], citations=citations)
            for title, url, text in found
            if url
        ]
        return results or f"Nothing was found for: {query}"

    return [web_search, web_fetch]


async def _fetched(url: str, start: int, guard: Guard, citations: bool) -> Any:
    # Here, because httpcore and what shows a page take time to load.
    from agentkit_tools.web_pages import shown
    from agentkit_tools.web_transport import get

    page = await get(parse_address(url), guard)
    show = partial(shown, page, start, citations=citations)
    return await anyio.to_thread.run_sync(show, abandon_on_cancel=True)


def searxng(url: str) -> Engine:
    """An engine that asks a SearXNG instance: it needs no key, and `json` among the `formats` of its settings.

    Args:
        url: Of the instance, such as `http://localhost:8080`. It is yours, so it is not guarded.

    Source: SearXNG's documentation, “Search API”.
    """

    async def search(query: str) -> list[tuple[str, str, str]]:
        import httpx

        try:
            async with httpx.AsyncClient(timeout=15, trust_env=False) as client:
                answer = await client.get(f"{url.rstrip('/')}/search", params={"q": query, "format": "json"})
            if answer.status_code == 403:
                raise ToolError("The search engine gives no JSON: `formats` in its settings must have json.")
            found = answer.raise_for_status().json()["results"]
            return [(str(it["title"]), str(it["url"]), str(it.get("content") or "")) for it in found]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise ToolError(f"The search engine can't be asked ({type(error).__name__}): try again later.") from error

    return search
