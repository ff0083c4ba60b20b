"""`web_search` and `web_fetch` over a corpus: what the API would answer, errors included."""

from __future__ import annotations

import re
from datetime import date
from typing import Any
from urllib.parse import urlsplit

from agentkit.emulator.corpus.corpus import Corpus, Found
from agentkit.emulator.corpus.pages import Page
from agentkit.emulator.messages.opaque import seal_result
from agentkit.messages import Block

__all__ = ["Web"]

_MAX_URL = 250
_MAX_QUERY = 500
_RESULTS = 5
_BUILT = "2026-01-01T00:00:00+00:00"  # the same request gives the same reply, so no clock


class Web:
    """The server tools of one request.

    Args:
        corpus: What is searched instead of the web.
        tools: The `tools` of the request.

    Source: messages-api.md sections 10.1 and 10.2.
    """

    def __init__(self, corpus: Corpus, tools: list[dict[str, Any]]) -> None:
        self._corpus = corpus
        self._tools = {tool["name"]: tool for tool in tools if _is_web(tool)}

    def __contains__(self, name: str) -> bool:
        return name in self._tools

    def found(self, query: str) -> list[Found]:
        """The pages that a search finds, without those of domains that are not allowed."""
        tool = self._tools.get("web_search", {})
        found = self._corpus.search(query, 4 * _RESULTS)
        return [one for one in found if _allowed(one.page.url, tool, paths=True)][:_RESULTS]

    def result(self, use: Block, calls_before: int, known_urls: set[str]) -> Block:
        """The result block of a `server_tool_use`.

        Args:
            use: The block.
            calls_before: Calls of the same tool since the question.
            known_urls: Addresses that occur in the conversation: no others can be fetched.

        A server tool that the request has not, or that the emulator lacks, is `unavailable`.
        """
        name = use["name"]
        limit = self._tools.get(name, {}).get("max_uses")
        if name not in self._tools:
            content: Any = _error(name, "unavailable")
        elif limit is not None and calls_before >= limit:
            content = _error(name, "max_uses_exceeded")
        elif name == "web_search":
            content = self._search(use["input"])
        else:
            content = self._fetch(use["input"], known_urls)
        return {"type": f"{name}_tool_result", "tool_use_id": use["id"], "content": content}

    def _search(self, given: dict[str, Any]) -> Any:
        query = given.get("query")
        if not isinstance(query, str) or not query.strip():
            return _error("web_search", "invalid_tool_input")
        if len(query) > _MAX_QUERY:
            return _error("web_search", "query_too_long")
        return [_search_result(one.page) for one in self.found(query)]

    def _fetch(self, given: dict[str, Any], known_urls: set[str]) -> Any:
        url = given.get("url")
        if not isinstance(url, str) or not urlsplit(url).netloc:
            return _error("web_fetch", "invalid_tool_input")
        if len(url) > _MAX_URL:
            return _error("web_fetch", "url_too_long")
        if url not in known_urls:
            return _error("web_fetch", "url_not_in_prior_context")
        tool = self._tools["web_fetch"]
        if not _allowed(url, tool, paths=False):
            return _error("web_fetch", "url_not_allowed")
        page = self._corpus.page(url)
        if page is None:
            return _error("web_fetch", "url_not_accessible")
        return _fetch_result(url, page, tool)


def _is_web(tool: dict[str, Any]) -> bool:
    name = tool.get("name")
    return name in ("web_search", "web_fetch") and str(tool.get("type")).startswith(f"{name}_")


def _error(name: str, code: str) -> dict[str, str]:
    return {"type": f"{name}_tool_result_error", "error_code": code}


def _search_result(page: Page) -> dict[str, Any]:
    age = f"{date.fromisoformat(page.changed):%B %d, %Y}" if page.changed else None
    result = {"type": "web_search_result", "url": page.url, "title": page.title, "page_age": age}
    return result | {"encrypted_content": seal_result(result)}


def _fetch_result(url: str, page: Page, tool: dict[str, Any]) -> dict[str, Any]:
    limit = tool.get("max_content_tokens")
    text = page.text if limit is None else page.text[: 4 * limit]
    document: dict[str, Any] = {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": text},
        "title": page.title,
    }
    if tool.get("citations") is not None:
        document["citations"] = tool["citations"]
    changed = f"{page.changed}T00:00:00+00:00" if page.changed else _BUILT
    return {"type": "web_fetch_result", "url": url, "retrieved_at": changed, "content": document}


def _allowed(url: str, tool: dict[str, Any], *, paths: bool) -> bool:
    if tool.get("allowed_domains"):
        return any(_in_domain(url, domain, paths) for domain in tool["allowed_domains"])
    return not any(_in_domain(url, domain, paths) for domain in tool.get("blocked_domains") or ())


def _in_domain(url: str, domain: str, paths: bool) -> bool:
    """Whether a URL lies in a domain of a list: subdomains are covered, a path counts for searches only."""
    host, _, path = domain.lower().partition("/")
    parts = urlsplit(url.lower())
    inside = parts.hostname == host or (parts.hostname or "").endswith(f".{host}")
    pattern = re.escape(f"/{path}").replace(r"\*", ".*")
    return inside and (not paths or not path or re.match(pattern, parts.path) is not None)
