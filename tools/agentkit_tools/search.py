"""Searches the texts of a folder, with results that Claude cites."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from agentkit import ConfigurationError, RunContext, Tool, tool
from agentkit_tools.cited import search_result
from agentkit_tools.search_index import Index

__all__ = ["search"]


def search(
    folder: str | os.PathLike[str], *, index: str | os.PathLike[str] | None = None, citations: bool = True
) -> list[Tool]:
    """`search_folder`: finds passages in the text files of a folder by their words, the best first.

    Before each search the index takes in what has changed, by time and size. Hidden files and folders, links, files
    over 2 MB and what is no UTF-8 text are left out; so is what comes after 20,000 files or 200 MB. Words are found in
    other forms too if they are English (`refund` finds `refunds`).

    Args:
        folder: The folder; nothing outside it is read.
        index: A SQLite file that keeps the index from process to process, made if it is missing; None is memory.
        citations: Whether results are `search_result` blocks that Claude cites; else they are text. The API has no
            citations together with an output type, and some endpoints don't know these blocks.

    Raises:
        ConfigurationError: It is no folder, or one that holds everything: `/` or the home folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ConfigurationError(f"search({str(folder)!r}): there is no such folder")
    whole = root.resolve()
    if whole == Path(whole.anchor) or Path.home().resolve().is_relative_to(whole):
        raise ConfigurationError(f"search({str(folder)!r}): give a folder of its own, not {whole}")
    indexed = Index(whole, Path(index) if index is not None else None)

    @tool(effect={"read", "private"}, timeout=600)
    def search_folder(ctx: RunContext[Any], query: Annotated[str, Field(min_length=1, max_length=500)]) -> Any:
        """Search the documents of a folder for passages, the best first.

        Args:
            query: Words that the passage should have; "in quotes" for words that follow each other.
        """
        note = indexed.refresh(ctx.progress)
        found = [
            search_result(passage.source, passage.title, passage.text, citations=citations)
            for passage in indexed.find(query)
        ]
        return [*found, *([note] if note else [])] if found else f"Nothing was found for: {query}. {note}".strip()

    return [search_folder]
