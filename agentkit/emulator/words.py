"""What the reader knows about words: which carry meaning, which go together, where sentences end."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["SUPERSEDED", "content_words", "related", "sentences", "split_identifiers"]

_WORD = re.compile(r"[^\W_]+")
_DOTTED = re.compile(r"\w+(?:\.\w+)*")
_CAMEL = re.compile(r"[A-ZÀ-Þ]+(?![a-zß-ÿ])|[A-ZÀ-Þ]?[a-zß-ÿ]+|\d+|[^\W\d_]+")

_GRAMMAR = _WORD.findall("""
a about all also an and any are as at be been but by can could did do does doing done each for from get gets give given
had has have having he her here hers him his how i if in into is it its just kind let like may me might mine more most
much must my need needs no not of off on one only or other our out over own please shall she should show so some such
tell than that the their them then there these they thing things this those through to too up us use used useful user
using very want wants was way we well were what when where which while who whom whose why will with work works would
you your hi hello hey thanks thank explain find know look learn make makes sort list help me one s t don doesn isn
""")  # fmt: skip
_OF_THE_CORPUS = _WORD.findall(
    "python module modules library libraries standard stdlib function functions class classes package"
)
_STOP_WORDS = frozenset([*_GRAMMAR, *_OF_THE_CORPUS])

# What people call a thing, and what its page is called. The longest phrase that fits a place counts.
_RELATED = {
    "abstract base class": "abc",
    "annotation": "typing",
    "archive": "tarfile zipfile shutil",
    "argument": "argparse",
    "async": "asyncio",
    "audio": "wave",
    "base64": "base64",
    "benchmark": "timeit",
    "binary data": "struct",
    "binary search": "bisect",
    "bytecode": "dis",
    "c library": "ctypes",
    "cache": "functools",
    "checksum": "hashlib zlib",
    "clock": "time",
    "colour": "colorsys",
    "combination": "itertools",
    "command line": "argparse",
    "compress": "gzip zlib bz2 lzma",
    "compression": "gzip zlib bz2 lzma",
    "config file": "configparser",
    "configuration file": "configparser",
    "coroutine": "asyncio",
    "counter": "collections",
    "cryptographic": "hashlib hmac secrets",
    "csv": "csv",
    "data class": "dataclasses",
    "date time": "datetime",
    "date": "datetime",
    "debug": "pdb",
    "debugger": "pdb",
    "decimal": "decimal",
    "delete folder": "shutil",
    "deque": "collections",
    "difference": "difflib",
    "directory": "os pathlib shutil",
    "disassemble": "dis",
    "download": "urllib.request",
    "email": "email smtplib",
    "encrypted connection": "ssl",
    "enumeration": "enum",
    "environment variable": "os",
    "escape html": "html",
    "event loop": "asyncio",
    "file path": "pathlib os.path",
    "file system path": "pathlib",
    "folder": "os pathlib shutil",
    "foreign function": "ctypes",
    "fraction": "fractions",
    "ftp": "ftplib",
    "garbage collector": "gc",
    "graphical": "tkinter",
    "gui": "tkinter",
    "gzip": "gzip",
    "hash": "hashlib",
    "heap": "heapq",
    "html": "html.parser html",
    "http client": "http.client urllib.request",
    "http request": "urllib.request http.client",
    "http server": "http.server",
    "imap": "imaplib",
    "import": "importlib",
    "ini": "configparser",
    "insertion point": "bisect",
    "ip address": "ipaddress",
    "iterator": "itertools",
    "json": "json",
    "log": "logging",
    "logging": "logging",
    "mail": "smtplib email",
    "memory allocation": "tracemalloc",
    "mock": "unittest.mock",
    "object persistent": "pickle shelve",
    "ordered dictionary": "collections",
    "parallel": "concurrent.futures multiprocessing",
    "password": "getpass secrets",
    "path": "pathlib os.path",
    "permutation": "itertools",
    "pool of threads": "concurrent.futures",
    "pretty print": "pprint",
    "priority queue": "heapq queue",
    "process": "subprocess multiprocessing",
    "profile": "cProfile profile",
    "random token": "secrets",
    "random": "random",
    "regex": "re",
    "regular expression": "re",
    "run command": "subprocess",
    "run time of": "timeit",
    "secure token": "secrets",
    "secure": "secrets ssl",
    "serialise": "pickle json",
    "serialize": "pickle json",
    "shared library": "ctypes",
    "shell command": "subprocess",
    "socket": "socket",
    "sorted list": "bisect",
    "sql": "sqlite3",
    "sqlite": "sqlite3",
    "standard deviation": "statistics",
    "statistic": "statistics",
    "syntax tree": "ast",
    "tar": "tarfile",
    "temporary directory": "tempfile",
    "temporary file": "tempfile",
    "temporary": "tempfile",
    "terminal": "curses",
    "thread pool": "concurrent.futures",
    "thread": "threading",
    "time zone": "zoneinfo",
    "timezone": "zoneinfo",
    "tls": "ssl",
    "toml": "tomllib",
    "translate": "gettext locale",
    "type hint": "typing",
    "unit test": "unittest",
    "url": "urllib.parse",
    "uuid": "uuid",
    "virtual environment": "venv",
    "wav": "wave",
    "weak reference": "weakref",
    "web browser": "webbrowser",
    "web server": "http.server",
    "wildcard": "glob fnmatch",
    "working directory": "os",
    "xml": "xml.etree.ElementTree",
    "zip archive": "zipfile",
    "zip": "zipfile",
}
_LONGEST = max(len(phrase.split()) for phrase in _RELATED)


# Superseded or on the way out. Source: PEP 594, PEP 632, and the notes on their own pages of docs.python.org.
SUPERSEDED = frozenset(
    re.findall(
        r"\S+",
        """
aifc asynchat asyncore audioop cgi cgitb chunk crypt distutils getopt imghdr imp mailcap msilib nis nntplib optparse
ossaudiodev pipes smtpd sndhdr spwd sre_compile sre_constants sre_parse sunau telnetlib uu xdrlib
""",
    )
)


def content_words(text: str) -> list[str]:
    """The words of `text` that carry meaning, in lower case, each once, in order."""
    words = [word.lower() for word in _WORD.findall(f"{text} {split_identifiers(text)}")]
    return list(dict.fromkeys(word for word in words if word not in _STOP_WORDS and len(word) > 1))


def related(text: str) -> list[str]:
    """Names of pages that `text` calls otherwise: "command line" is argparse."""
    words = [_singular(word.lower()) for word in _WORD.findall(text)]
    words = [word for word in words if word not in _GRAMMAR]
    found: list[str] = []
    at = 0
    while at < len(words):
        for length in range(min(_LONGEST, len(words) - at), 0, -1):
            names = _RELATED.get(" ".join(words[at : at + length]))
            if names:
                found += names.split()
                break
        at += length
    return list(dict.fromkeys(found))


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3 else word


def split_identifiers(text: str) -> str:
    """The words of the identifiers in `text`: `ArgumentParser`, `parse_args` and `os.path` give argument, parser, …"""
    found = (match[0] for match in _DOTTED.finditer(text))
    parts = (part for name in found if len(parts := _CAMEL.findall(name)) > 1 for part in parts)
    return " ".join(dict.fromkeys(part.lower() for part in parts))


_BLANK_LINES = re.compile(r"\n[ \t]*\n\s*")
_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[A-Z0-9\"'(`*>-])|(?<=[:;])[ \t]*\n[ \t]*(?=[-*•])")


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Where the sentences of `text` are: (start, end) in characters, without the white space around them."""
    start = 0
    for end in [*(match.end() for match in _BLANK_LINES.finditer(text)), len(text)]:
        yield from _in_paragraph(text, start, end)
        start = end


def _in_paragraph(text: str, start: int, paragraph_end: int) -> Iterator[tuple[int, int]]:
    for end in [*(match.end() for match in _END.finditer(text, start, paragraph_end)), paragraph_end]:
        piece = text[start:end]
        if piece.strip():
            yield start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())
        start = end
