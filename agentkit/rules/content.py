"""What the API refuses about content as a whole: how many images, citations, references to tools.

Source: messages-api.md 5.1, 10.4, 10.5, 13 and 19; api-errors.md B (claude-code#4778, claude-code#9375);
anthropics/claude-code#24541 (the text on the number of images). The words on citations and on the advisor are not
known: they are ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agentkit.image_size import sides
from agentkit.rules.texts import Problem
from agentkit.rules.turns import Turn
from agentkit.support import model_of

__all__ = ["check_content"]

_LARGE_WINDOW = 1_000_000
_IMAGES, _IMAGES_OF_SMALL = 600, 100
_LONGEST_SIDE, _LONGEST_OF_MANY, _MANY = 8000, 2000, 20  # pixels, pixels, images
_CITED = ("document", "search_result")


def check_content(body: Mapping[str, Any], turns: list[Turn]) -> Iterator[Problem]:
    """The problems of the blocks of a request with each other, with its tools and with its output format."""
    blocks = [(path, block) for turn in turns for path, block in _blocks(turn)]
    yield from _media(body["model"], blocks)
    yield from _citations(body, blocks)
    yield from _references(body.get("tools", []), blocks)
    yield from _advisor(body.get("tools", []), turns)


def _blocks(turn: Turn) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The blocks of a turn, and those in its results."""
    for path, block in zip(turn.places, turn.blocks, strict=True):
        yield path, block
        content = block.get("content")
        if block["type"] == "tool_result" and isinstance(content, list):
            yield from ((f"{path}.tool_result.content.{at}", part) for at, part in enumerate(content))


def _media(name: str, blocks: list[tuple[str, Mapping[str, Any]]]) -> Iterator[Problem]:
    model = model_of(name)
    images, documents = (sum(block["type"] == kind for _, block in blocks) for kind in ("image", "document"))
    most = _IMAGES if model is None or model.context_window >= _LARGE_WINDOW else _IMAGES_OF_SMALL
    if images > most:
        text = f"too many images and documents: {images} + {documents} > {most}"
        yield Problem("images", "messages", text)
    many = images > _MANY
    for path, block in blocks:
        source = block["source"] if block["type"] == "image" else {}
        pixels = max(sides(source["data"]) or (0,)) if source.get("type") == "base64" else 0
        if pixels > (_LONGEST_OF_MANY if many else _LONGEST_SIDE):
            limit = f"for many-image requests: {_LONGEST_OF_MANY}" if many else f": {_LONGEST_SIDE}"
            words = f"At least one of the image dimensions exceed max allowed size{' ' * many}{limit} pixels"
            where = f"{path}.image.source.base64.data"
            yield Problem("image_size", where, f"{where}: {words}")


def _citations(body: Mapping[str, Any], blocks: list[tuple[str, Mapping[str, Any]]]) -> Iterator[Problem]:
    cited = False
    for kind in _CITED:
        ways = {bool((block.get("citations") or {}).get("enabled")) for _, block in blocks if block["type"] == kind}
        cited = cited or True in ways
        if len(ways) > 1:
            text = f"messages: citations must be enabled on all `{kind}` blocks or on none"
            yield Problem("citations_mixed", "messages", text)
    if cited and (body.get("output_config", {}).get("format") or body.get("output_format")):
        yield Problem("citations_format", "messages", "citations cannot be used with an output format")


def _references(tools: list[Mapping[str, Any]], blocks: list[tuple[str, Mapping[str, Any]]]) -> Iterator[Problem]:
    """A toolset or an MCP server has names that are not in the request."""
    if not all(isinstance(tool.get("name"), str) for tool in tools):
        return
    known = {tool["name"] for tool in tools}
    for path, block in blocks:
        if block["type"] == "tool_reference" and block["tool_name"] not in known:
            text = f"Tool reference '{block['tool_name']}' not found in available tools"
            yield Problem("tool_reference_unknown", path, text)


def _advisor(tools: list[Mapping[str, Any]], turns: list[Turn]) -> Iterator[Problem]:
    used = any("advisor_tool_result" in turn.kinds for turn in turns)
    if used and not any(str(tool.get("type")).startswith("advisor_") for tool in tools):
        text = "the history has `advisor_tool_result` blocks, but no `advisor` tool was provided"
        yield Problem("advisor_missing", "tools", text)
