"""What was fetched, as the model gets it: readable Markdown, text as it is, images and PDFs as blocks."""

from __future__ import annotations

import codecs
import re
from typing import Any

from agentkit import ConfigurationError, ToolError, document, image
from agentkit_tools.cited import search_result
from agentkit_tools.web_transport import Page

__all__ = ["shown"]

_PAGE = 30_000  # characters of one result
# Bytes of HTML, and tags. Beyond them trafilatura would take many seconds: its time grows with the square of the tags.
_MOST_HTML, _MOST_TAGS = 500_000, 15_000
_HTML = {"text/html", "application/xhtml+xml"}
_TEXT = re.compile(r"text/[\w.+-]+|application/([\w.-]+\+)?(json|xml|yaml|x-yaml|toml|javascript|x-ndjson|sql)|.*\+xml")
_IMAGES = {"image/png", "image/jpeg", "image/gif", "image/webp"}
_BINARY = {"", "application/octet-stream", "binary/octet-stream"}
_MAGIC = {b"%PDF-": "application/pdf", b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}


def shown(page: Page, start: int, *, citations: bool) -> Any:
    """A page as content of a result; of long text the part from character `start` on.

    Raises:
        ToolError: It is of a type that a model can't read, or has no text there.
    """
    media_type = page.content_type.partition(";")[0].strip()
    if media_type in _BINARY:
        media_type = _guessed(page.data)
    try:
        if media_type in _IMAGES:
            return image(page.data)
        if media_type == "application/pdf":
            return document(page.data, media_type=media_type)
    except ConfigurationError as error:
        raise ToolError(f"The file can't be shown: {error}.") from None
    if media_type in _HTML:
        title, text = _readable(page)
    elif _TEXT.fullmatch(media_type):
        title, text = "", _decoded(page)
    else:
        raise ToolError(f"That is {media_type}, which can't be read: only pages, text, JSON, PDFs and images can.")
    return search_result(str(page.address), title, _part(text, start), citations=citations)


def _guessed(data: bytes) -> str:
    """The media type of a file whose server names none."""
    for magic, media_type in _MAGIC.items():
        if data.startswith(magic):
            return media_type
    if b"\0" in data[:4096]:
        return "application/octet-stream"
    begins = data[:1024].lstrip().lower()
    return "text/html" if begins.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) else "text/plain"


def _decoded(page: Page) -> str:
    found = re.search(r"charset=[\"']?([\w.:-]+)", page.content_type)
    charset = found[1] if found else "utf-8"
    try:
        codecs.lookup(charset)
        return page.data.decode(charset, "replace").removeprefix("\ufeff")
    except (LookupError, ValueError, AttributeError):  # one that Python has not, or that is none for text
        return page.data.decode("utf-8", "replace").removeprefix("\ufeff")


def _readable(page: Page) -> tuple[str, str]:
    """Title and text of a page, without menus and footers."""
    try:
        import trafilatura
    except ImportError:
        raise ToolError("Web pages can't be read here: pip install 'agentkit-loop[web]'") from None

    html: Any = _decoded(page) if "charset=" in page.content_type else page.data
    if len(page.data) > _MOST_HTML or page.data.count(b"<") > _MOST_TAGS:
        title = re.search(rb"<title[^>]*>([^<]*)", page.data[:_MOST_HTML], re.IGNORECASE)
        return title[1].decode("utf-8", "replace") if title else "", trafilatura.html2txt(html)
    url = str(page.address)
    metadata = trafilatura.extract_metadata(html, default_url=url) if page.data.strip() else None
    text = trafilatura.extract(html, url=url, output_format="markdown", include_links=True, include_comments=False)
    return (metadata and metadata.title) or "", text or trafilatura.html2txt(html)


def _part(text: str, start: int) -> str:
    if not text.strip():
        raise ToolError("The page has no text: what it shows may be made by scripts, which are not run.")
    if start >= len(text):
        raise ToolError(f"The text has {len(text):,} characters: start must be less.")
    end = start + _PAGE
    if end < len(text):
        # Not in the middle of a line, if there is an end of one in the last third.
        end = text.rfind("\n", start + _PAGE * 2 // 3, end) + 1 or end
        return f"{text[start:end].rstrip()}\n\n[… {len(text):,} characters in all; for more: start={end} …]"
    return text[start:]
