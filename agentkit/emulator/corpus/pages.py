"""What a corpus is made of: pages of the standard library, of this project, of the user's folder."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

from agentkit.emulator.corpus.subjects import SUBJECTS, SUPERSEDED
from agentkit.errors import ConfigurationError

__all__ = ["Page", "folder_pages", "project_pages", "stdlib_pages"]

SUFFIXES = (".md", ".markdown", ".txt", ".text", ".rst", ".html", ".htm")
_CHILD = Path(__file__).with_name("stdlib_pages.py")
_CHILD_SECONDS = 120.0
# How likely it is that somebody means such a page, other things being equal.
_SUPERSEDED = 0.3
_SELDOM = 0.6
_PROJECT = 0.5
_CODE_BLOCK = re.compile(r"^```.*?^```\n?", re.DOTALL | re.MULTILINE)
_MAX_FILE_BYTES = 5_000_000


@dataclass(frozen=True, slots=True)
class Page:
    """One document of a corpus.

    Attributes:
        url: Its address: what is cited and fetched.
        name: What it is called in short: a module or file name.
        title: Its title.
        summary: One line.
        lead: What it says first; counts more than the rest in a search.
        text: The whole plain text.
        changed: When it was last changed, as an ISO date, where that is known.
        subjects: Other words for what it is about.
        weight: How likely it is what somebody means, other things being equal: 0 to 1.
    """

    url: str
    name: str
    title: str
    summary: str
    lead: str
    text: str
    changed: str | None = None
    subjects: str = ""
    weight: float = 1.0


def stdlib_pages(progress: Callable[[str], None]) -> Iterator[Page]:
    """One page per public module of the running interpreter's standard library.

    Args:
        progress: Gets a line of text now and then: making them takes some seconds.

    Raises:
        ConfigurationError: The process that makes them failed, or took longer than two minutes.
    """
    # pydoc prints defaults, and os.environ is one: an empty environment keeps keys out of the pages.
    command = [sys.executable, "-I", "-X", "utf8", "-W", "ignore", str(_CHILD)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={}) as child:  # noqa: S603
        timer = threading.Timer(_CHILD_SECONDS, child.kill)
        timer.start()
        try:
            yield from _from_child(child.stdout or (), progress)
            child.wait()
        finally:
            timer.cancel()
            child.kill()
    if child.returncode:
        raise ConfigurationError("the standard library's pages could not be made; give a folder with --corpus DIR")


def _from_child(lines: Iterable[bytes], progress: Callable[[str], None]) -> Iterator[Page]:
    for count, line in enumerate(lines, 1):
        made = json.loads(line)
        url = f"https://docs.python.org/3/library/{made['name']}.html"
        title = f"{made['name']} - {made['summary']}" if made["summary"] else made["name"]
        name = made["name"]
        subjects = SUBJECTS.get(name) or title
        weight = _SUPERSEDED if name in SUPERSEDED else 1.0 if name in SUBJECTS else _SELDOM
        yield Page(url, name, title, made["summary"], made["description"], made["text"], None, subjects, weight)
        if count % 50 == 0:
            progress(f"{count} modules read")


def project_pages() -> Iterator[Page]:
    """This project's own documents, where the package runs from a checkout."""
    root = Path(__file__).parents[3]
    if not (root / "pyproject.toml").exists():
        return
    for path in [root / "README.md", *sorted((root / "docs").rglob("*.md"))]:
        if path.exists():
            relative = path.relative_to(root).as_posix()
            text = _CODE_BLOCK.sub("", path.read_text("utf-8"))  # examples repeat what people ask about other things
            if text.strip():
                yield replace(_page(f"https://agentkit.local/{relative}", relative, text, None), weight=_PROJECT)


def folder_pages(folder: Path, warn: Callable[[str], None]) -> Iterator[Page]:
    """The Markdown, text and HTML files of a folder and its subfolders. Hidden files and folders are left out.

    Args:
        folder: The folder.
        warn: Gets one line for each file that can't be read; the others are read all the same.
    """
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.suffix.lower() not in SUFFIXES or any(part.startswith(".") for part in relative.parts):
            continue
        try:
            page = _file_page(path, relative.as_posix())
        except UnicodeDecodeError as error:
            warn(f"left out {relative}: byte {error.start} is not UTF-8; save the file as UTF-8 to have it searched")
        except OSError as error:
            warn(f"left out {relative}: {error.strerror or error}")
        else:
            if page:
                yield page


def _file_page(path: Path, relative: str) -> Page | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        text = file.read(_MAX_FILE_BYTES).decode("utf-8-sig")
    title = None
    if path.suffix.lower() in (".html", ".htm"):
        text, title = _from_html(text)
    changed = datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()
    text = text.replace("\r\n", "\n").replace("\0", "")
    return _page(f"https://corpus.local/{quote(relative)}", relative, text, title, changed) if text.strip() else None


def _page(url: str, relative: str, text: str, title: str | None, changed: str | None = None) -> Page:
    name = relative.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    heading = re.search(r"^#+ +(.+?)#*$", text, re.MULTILINE)
    prose = [line.strip() for line in text.splitlines() if re.match(r"\s*[^\W_]", line)]
    summary = prose[0][:150] if prose else ""
    return Page(url, name, title or (heading[1].strip() if heading else name), summary, text[:1500], text, changed)


class _Text(HTMLParser):
    """The text of an HTML page, one paragraph for each block element."""

    _hidden = frozenset(["script", "style", "template", "noscript", "title"])
    _blocks = re.compile(r"p|div|li|ul|ol|h[1-6]|tr|table|section|article|header|footer|pre|br|dt|dd|body")

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self.title = ""
        self._inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self._hidden:
            self._inside.append(tag)
        elif self._blocks.fullmatch(tag):
            self.pieces.append("\n\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._inside:
            del self._inside[self._inside.index(tag) :]
        elif self._blocks.fullmatch(tag):
            self.pieces.append("\n\n")

    def handle_data(self, data: str) -> None:
        if self._inside[-1:] == ["title"]:
            self.title += data
        elif not self._inside:
            self.pieces.append(re.sub(r"\s+", " ", data))


def _from_html(markup: str) -> tuple[str, str | None]:
    parser = _Text()
    parser.feed(markup)
    parser.close()
    text = re.sub(r" *\n[\s]*", "\n\n", "".join(parser.pieces)).strip()
    return text, " ".join(parser.title.split()) or None
