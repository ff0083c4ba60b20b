"""What people say when they mean a module of the standard library: the index at the back of the book.

A page made with pydoc says what its functions do, in the words of those who wrote them. Somebody who asks has other
words: "command line flags" is argparse. The phrases of `subjects.txt` are a field of the page, as its title is.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["SUBJECTS", "SUPERSEDED"]


def _subjects() -> dict[str, str]:
    text = Path(__file__).with_name("subjects.txt").read_text("utf-8")
    lines = [line for line in text.replace("\n ", "").splitlines() if not line.startswith("#")]
    return dict(line.split(": ", 1) for line in lines)


SUBJECTS: dict[str, str] = _subjects()

# Superseded or on the way out. Source: PEP 594, PEP 632, and the notes on their own pages of docs.python.org.
_OLD = """
aifc asynchat asyncore audioop cgi cgitb chunk crypt distutils getopt imghdr imp mailcap msilib nis nntplib optparse
ossaudiodev pipes smtpd sndhdr spwd sre_compile sre_constants sre_parse sunau telnetlib uu xdrlib
"""
SUPERSEDED = frozenset(_OLD.split())
