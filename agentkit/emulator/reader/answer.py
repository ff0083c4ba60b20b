"""The answer: sentences of the pages, cited, and what the client tools gave."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from agentkit.emulator.corpus.stems import stem
from agentkit.emulator.corpus.words import sentences
from agentkit.emulator.messages.opaque import seal_citation
from agentkit.messages import Block

__all__ = ["Source", "cited", "see_also", "table", "tool_results"]

_MAX_CITED = 150  # of a search result. Source: messages-api.md section 5.3
_SENTENCES = 3
_READ = 30_000  # characters of a page that sentences are picked from
_MAX_RESULT = 600
_PROSE = re.compile(r"(?:[-*•] )?[A-Z\"'`*(]?[^\W\d_]")
_CODE = re.compile(r">>>|\bself\b|=|\w\(|[{}|<>\[\]]|::|#|--|_{2}")


@dataclass(frozen=True, slots=True)
class Source:
    """A page that the answer may quote.

    Attributes:
        url: Its address.
        title: Its title.
        text: Its text: that of the fetched document where there is one, which may be cut short.
        document_index: Which document of the request it is, where it may be cited as one.
        searched: Whether a search result shows it, so that it may be cited as one.
        summary: What it is about, in a line.
    """

    url: str
    title: str
    text: str
    document_index: int | None = None
    searched: bool = True
    summary: str = ""


def cited(source: Source, words: list[str], before: str = "") -> Iterator[Block]:
    """The text blocks that answer from a page.

    Args:
        source: The page that fits best.
        words: The words of the question that carry meaning.
        before: What parts it from the text before it. No block is blank: the API takes none back.
    """
    yield {"type": "text", "text": f"{before}The page that fits best is "}
    yield _named(source)
    picked = _pick(source.text, words)
    if picked:
        yield {"type": "text", "text": " It says:"}
        for start, end in picked:
            text = "\n\n" + " ".join(source.text[start:end].split())
            yield _with({"type": "text", "text": text}, _citation(source, start, end))


def see_also(sources: list[Source]) -> Iterator[Block]:
    """The text blocks that name other pages that fit."""
    for at, source in enumerate(sources):
        yield {"type": "text", "text": " and " if at else "\n\nSee also "}
        yield _named(source)


def table(sources: list[Source]) -> Iterator[Block]:
    """A Markdown table with one cited row for each page."""
    yield {"type": "text", "text": "| page | what it is about |\n|---|---|"}
    for source in sources:
        name, _, about = source.title.partition(" - ")
        cells = [f"[{name}]({source.url})", about or source.summary]
        row = " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells)
        yield _named(source, f"\n| {row} |")


def _named(source: Source, text: str = "") -> Block:
    start, end = next(sentences(source.text), (0, 0))
    block: Block = {"type": "text", "text": text or f"{source.title} ({source.url})."}
    return _with(block, _search_citation(source, start, end) or _citation(source, start, end))


def _citation(source: Source, start: int, end: int) -> dict[str, Any] | None:
    if source.document_index is None:
        return _search_citation(source, start, end)
    return {
        "type": "char_location",
        "cited_text": source.text[start:end],
        "document_index": source.document_index,
        "document_title": source.title,
        "start_char_index": start,
        "end_char_index": end,
    }


def _search_citation(source: Source, start: int, end: int) -> dict[str, Any] | None:
    if not source.searched:
        return None
    quoted = source.text[start : min(end, start + _MAX_CITED)]
    citation = {"type": "web_search_result_location", "cited_text": quoted, "url": source.url, "title": source.title}
    return citation | {"encrypted_index": seal_citation(citation)}


def _with(block: Block, citation: dict[str, Any] | None) -> Block:
    return block | {"citations": [citation]} if citation else block


def _pick(text: str, words: list[str]) -> list[tuple[int, int]]:
    """The sentences that say most about the words, in the order of the page."""
    stems = set(map(stem, words))
    scored: list[tuple[float, int, int]] = []
    for start, end in islice(sentences(text[:_READ]), 1, None):  # the first one, mostly the title, is cited already
        sentence = text[start:end]
        if 25 <= end - start <= 400 and _PROSE.match(sentence):
            said = set(map(stem, re.findall(r"\w+", sentence.lower())))
            code = min(2.0, 0.4 * len(_CODE.findall(sentence)))
            early = 1.0 if start < 1500 else 0.0
            unfinished = 0.0 if sentence[-1] in ".!?" else 0.7
            scored.append((len(stems & said) + early - code - unfinished, start, end))
    best = sorted(scored, key=lambda one: (-one[0], one[1]))[:_SENTENCES]
    return sorted((start, end) for score, start, end in best if score >= 1.0)


def tool_results(uses: list[tuple[Block, Block]]) -> str:
    """What the client tools gave, a line each.

    Args:
        uses: Each `tool_use` with its `tool_result`.
    """
    names = [use["name"] for use, _ in uses]
    lines = []
    for use, result in uses:
        given = ", ".join(str(value) for value in use["input"].values())
        label = f"{use['name']}({given})" if names.count(use["name"]) > 1 else use["name"]
        failed = " failed" if result.get("is_error") else ""
        lines.append(f"{label}{failed}: {_plain(result.get('content'))}")
    return "\n".join(lines)


def _plain(content: Any) -> str:
    if isinstance(content, list):
        content = " ".join(part.get("text") or f"[{part['type']}]" for part in content)
    text = (content or "").strip() or "(nothing)"
    return text if len(text) <= _MAX_RESULT else f"{text[:_MAX_RESULT]}…"
