"""Where the secrets of a simulation may be, and where they must not: I16 and I17."""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    import httpx
    from simulated_process import Process

__all__ = ["ADDRESSES", "ELSEWHERE", "KEYS", "TOKEN", "LogWatch", "look_at_request", "shown_in", "texts_of"]

ADDRESSES = ("https://api.anthropic.com", "https://gateway.example")
ELSEWHERE = "https://elsewhere.example"
KEYS = ("sk-ant-api03-Canary/1+bird=", "sk-gateway-Canary/2+bird=")  # of each address
TOKEN = "tk-Canary/3+bird="  # of the tools, which is in the text of what they raise


def _forms(secret: str) -> Iterator[bytes]:
    """A secret as it is, and as it looks in URLs, in JSON and in base64, wherever it begins there."""
    yield secret.encode()
    yield quote(secret, safe="").encode()
    yield secret.replace("/", "\\/").encode()
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + secret.encode())
        yield whole[(0, 2, 3)[before] : len(whole) - 4]


_ANY = {secret: re.compile(b"|".join(map(re.escape, _forms(secret)))) for secret in (*KEYS, TOKEN)}


def shown_in(data: str | bytes, secrets: tuple[str, ...] = (*KEYS, TOKEN)) -> bool:
    """Whether a secret can be read in a text."""
    found = data.encode("utf-8", "replace") if isinstance(data, str) else data
    return any(_ANY[secret].search(found) for secret in secrets)


def look_at_request(process: Process, request: httpx.Request, content: bytes) -> None:
    """What a process sends goes to where it was told to send, with the key of that place and no other secret."""
    world, url = process.world, str(request.url)
    own = ADDRESSES[process.address]
    world.check(url.startswith(f"{own}/"), "I16", lambda: f"a request goes to {url}, not to {own}")
    sent = b"\n".join([url.encode(), content, *(value for _, value in request.headers.raw)])
    allowed = KEYS[process.address] if url.startswith(f"{own}/") else None
    others = tuple(secret for secret in _ANY if secret != allowed)
    world.check(not shown_in(sent, others), "I16", lambda: f"a secret of another place goes to {url}")


def texts_of(error: BaseException | None) -> Iterator[str]:
    """All that an exception says, and those that it comes from."""
    while error is not None:
        yield f"{error} {error!r} {vars(error)}"
        if isinstance(error, BaseExceptionGroup):
            for one in error.exceptions:
                yield from texts_of(one)
        error = error.__cause__ or error.__context__


class LogWatch(logging.Handler):
    """Looks for keys in what is logged. The token is the tools' own: agentkit logs what they raise, with its text."""

    def __init__(self, fail: Callable[[str, str], Any]) -> None:
        super().__init__()
        self._fail = fail

    def emit(self, record: logging.LogRecord) -> None:
        """Looks at one record."""
        said = [record.getMessage(), *texts_of(record.exc_info[1] if record.exc_info else None)]
        if any(shown_in(text, KEYS) for text in said):
            self._fail("I17", f"a key is logged: {record.getMessage()[:80]}")
