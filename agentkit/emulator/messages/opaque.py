"""Fields that must come back as they were sent: strings whose check value says what they belong to.

The key is no secret: it is the same in every process, so that a conversation goes on with another emulator.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from typing import Any

from agentkit.messages import Block, encode

__all__ = ["altered", "seal_citation", "seal_result", "token", "unsealed"]

_KEY = b"agentkit emulator"
_MAC = 24  # bytes


def seal_result(result: dict[str, Any]) -> str:
    """`encrypted_content` of a `web_search_result`."""
    return _seal("content", result.get("url"), result.get("title"), result.get("page_age"))


def seal_citation(citation: dict[str, Any]) -> str:
    """`encrypted_index` of a `web_search_result_location`."""
    return _seal("index", citation.get("url"), citation.get("title"), citation.get("cited_text"))


def _seal(*parts: object) -> str:
    return "Eo" + b64encode(hmac.digest(_KEY, encode(parts), "sha384")).decode()


def token(facts: bytes) -> str:
    """An opaque string that holds facts, and shows that they are the emulator's."""
    return "Eq" + b64encode(facts + hmac.digest(_KEY, facts, "sha384")[:_MAC]).decode()


def unsealed(sealed: Any) -> bytes | None:
    """The facts in a `token`; None where it is none, or was changed."""
    try:
        held = b64decode(str(sealed)[2:], validate=True)
    except ValueError:
        return None
    facts = held[:-_MAC]
    return facts if sealed == token(facts) else None


def altered(messages: list[dict[str, Any]]) -> str | None:
    """What is wrong with the first opaque field that does not come back as it was sent, in the API's words.

    Source: messages-api.md section 5.3; the text for search results as recorded, that for citations after it.
    """
    for number, message in enumerate(messages):
        content = message.get("content")
        for place, block in enumerate(content if isinstance(content, list) else ()):
            field = _altered_field(block)
            if field:
                return f"messages.{number}.content.{place}: Invalid {field}"
    return None


def _altered_field(block: Block) -> str | None:
    if block.get("type") == "web_search_tool_result":
        results = block.get("content")
        for result in results if isinstance(results, list) else ():
            if result.get("encrypted_content") != seal_result(result):
                return "encrypted_content in search_result block"
    if block.get("type") == "text":
        for citation in block.get("citations") or ():
            located = citation.get("type") == "web_search_result_location"
            if located and citation.get("encrypted_index") != seal_citation(citation):
                return "encrypted_index in web_search_result_location citation"
    return None
