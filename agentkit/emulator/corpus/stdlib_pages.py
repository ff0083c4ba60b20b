"""One page per public module of the running interpreter's standard library, made with pydoc.

Run as a program: importing modules has side effects, so this happens in a process of its own, and in an empty
environment, which pydoc would copy into the pages (it is the default of some parameters). It writes one JSON object
a line to standard output: `name`, `summary`, `description` and `text` of one module. It imports nothing of agentkit.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import json
import os
import pydoc
import re
import sys
import warnings
from collections.abc import Iterator

__all__ = ["main", "module_names", "page"]

# Importing these opens windows or browsers, prints, or brings test suites.
_SKIPPED = frozenset(["antigravity", "this", "idlelib", "turtledemo", "test", "lib2to3", "nturl2path", "pydoc_data"])
# The documented modules inside packages. Source: the library index of docs.python.org.
_INSIDE = re.findall(
    r"\S+",
    """
asyncio.subprocess collections.abc concurrent.futures curses.ascii curses.panel curses.textpad dbm.dumb dbm.gnu dbm.ndbm
email.charset email.contentmanager email.encoders email.errors email.generator email.header email.headerregistry
email.iterators email.message email.mime email.parser email.policy email.utils encodings.idna encodings.utf_8_sig
html.entities html.parser http.client http.cookiejar http.cookies http.server importlib.abc importlib.machinery
importlib.metadata importlib.resources importlib.resources.abc importlib.util json.tool logging.config logging.handlers
multiprocessing.managers multiprocessing.pool multiprocessing.shared_memory multiprocessing.sharedctypes os.path
tkinter.colorchooser tkinter.dnd tkinter.filedialog tkinter.font tkinter.messagebox tkinter.scrolledtext
tkinter.simpledialog tkinter.ttk unittest.mock urllib.error urllib.parse urllib.request urllib.response
urllib.robotparser wsgiref.handlers wsgiref.headers wsgiref.simple_server wsgiref.types wsgiref.util wsgiref.validate
xml.dom xml.dom.minidom xml.dom.pulldom xml.etree.ElementTree xml.parsers.expat xml.sax xml.sax.handler xml.sax.saxutils
xml.sax.xmlreader xmlrpc.client xmlrpc.server
""",
)
# Modules that don't say well in a line what they are for. Source: the titles of their pages on docs.python.org.
_SUMMARIES = {
    "collections.abc": "Abstract base classes for containers",
    "contextvars": "Context variables",
    "dataclasses": "Data classes",
    "email.contentmanager": "Managing MIME content",
    "email.mime": "Creating email and MIME objects from scratch",
    "ensurepip": "Bootstrapping the pip installer",
    "enum": "Support for enumerations",
    "graphlib": "Functionality to operate with graph-like structures",
    "http": "HTTP modules",
    "importlib.metadata": "Accessing package metadata",
    "importlib.resources.abc": "Abstract base classes for resources",
    "io": "Core tools for working with streams",
    "json": "JSON encoder and decoder",
    "logging": "Logging facility for Python",
    "math": "Mathematical functions",
    "mmap": "Memory-mapped file support",
    "pathlib": "Object-oriented filesystem paths",
    "resource": "Resource usage information",
    "secrets": "Generate secure random numbers for managing secrets",
    "signal": "Set handlers for asynchronous events",
    "socket": "Low-level networking interface",
    "sqlite3": "DB-API 2.0 interface for SQLite databases",
    "struct": "Interpret bytes as packed binary data",
    "syslog": "Unix syslog library routines",
    "tomllib": "Parse TOML files",
    "tracemalloc": "Trace memory allocations",
    "unittest": "Unit testing framework",
    "unittest.mock": "Mock object library",
    "urllib": "URL handling modules",
    "xml.dom.pulldom": "Support for building partial DOM trees",
    "zipapp": "Manage executable Python zip archives",
    "zlib": "Compression compatible with gzip",
    "zoneinfo": "IANA time zone support",
}
_MAX_TEXT = 60_000
_SECTION = re.compile(r"^([A-Z][A-Z ]+)$", re.MULTILINE)
# In a class, every line begins with a bar. What it inherits is on the page of the module that it comes from.
_NOISE = re.compile(
    r"^ \|  (?:"
    r"Method resolution order:\n(?: \|    .*\n)+"
    r"|[A-Z][a-z ]+ (?:inherited from .*|defined here:)\n(?:(?<!here:\n)(?: \|(?!  -{10}).*\n)+|)"
    r"|(?!__init__\()__\w+__.*\n(?: \|(?:   .*| *)\n)*"
    r"|-{10,}\n"
    r")",
    re.MULTILINE,
)
_BAR = re.compile(r"^ \|(?:  )?", re.MULTILINE)
_ADDRESS = re.compile(r" at 0x[0-9a-f.]+")
_MAX_SUMMARY = 100


def module_names() -> list[str]:
    """The public modules of the standard library of this interpreter, sorted."""
    top = {name for name in sys.stdlib_module_names if not name.startswith("_")}
    return sorted((top | set(_INSIDE)) - _SKIPPED)


def page(name: str) -> dict[str, str] | None:
    """The page of one module, None where this interpreter can't import it."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            module = importlib.import_module(name)
            written = pydoc.plain(pydoc.text.document(module, name))
    except (Exception, SystemExit):  # a module of another system, or one that needs a missing library
        return None
    sections = _sections(written)
    description = _dedent(sections.get("DESCRIPTION", ""))
    summary = _SUMMARIES.get(name) or _summary(name, sections["NAME"]) or _first_sentence(description)
    parts = [f"{name} - {summary}" if summary else name, description]
    # Other sections tell where the file is on this machine, or repeat what the documentation says elsewhere.
    parts += [f"{title.title()}\n\n{_tidy(sections[title])}" for title in ("FUNCTIONS", "CLASSES") if title in sections]
    text = _ADDRESS.sub("", "\n\n".join(part for part in parts if part))
    return {"name": name, "summary": summary, "description": description, "text": text[:_MAX_TEXT]}


def _sections(written: str) -> dict[str, str]:
    pieces = _SECTION.split(written)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def _summary(name: str, section: str) -> str:
    return re.sub(rf"^{re.escape(name)}( -)?( {re.escape(name)} module -)?", "", section.strip()).strip(" -.")


def _first_sentence(description: str) -> str:
    paragraph = " ".join(description.split("\n\n")[0].split())
    sentence = re.split(r"(?<=[.:])\s", paragraph)[0].rstrip(".:")
    return sentence if len(sentence) <= _MAX_SUMMARY else sentence[:_MAX_SUMMARY].rsplit(" ", 1)[0] + " …"


def _dedent(section: str) -> str:
    return _even("\n".join(line.removeprefix("    ") for line in section.splitlines()))


def _tidy(section: str) -> str:
    lines = "".join(line.removeprefix("    ") + "\n" for line in section.splitlines())
    return _even(_BAR.sub("    ", _NOISE.sub("", lines)).replace(sys.executable, "python"))


def _even(text: str) -> str:
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)).strip("\n")


def pages() -> Iterator[dict[str, str]]:
    """The page of every module that this interpreter can import."""
    for name in module_names():
        made = page(name)
        if made:
            yield made


def main() -> None:
    """Writes every page to standard output."""
    warnings.simplefilter("ignore")
    # Where a class or function has no docstring, pydoc looks for a comment, and parses the whole file for each: half of
    # all the time, for notes that were not written for readers.
    comments = inspect.getcomments
    inspect.getcomments = lambda object: comments(object) if inspect.ismodule(object) else None  # noqa: A006
    # Modules may write to the descriptor itself, so the pages go to a copy of it.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    with out:
        for made in pages():
            out.write(json.dumps(made) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
