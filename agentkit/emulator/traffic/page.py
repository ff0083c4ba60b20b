"""A page that shows what came and what was answered, and the same as JSON."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
from collections.abc import Callable
from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from agentkit.emulator.traffic.markup import Html, Part, element
from agentkit.emulator.traffic.shown import shown
from agentkit.emulator.traffic.traffic import Traffic, told
from agentkit.messages import encode

__all__ = ["WithPage"]

_PAGE = "/_emulator"
_EXCHANGES = "/_emulator/exchanges"
_SHOWN = 50


class WithPage:
    """Serves the page at `/_emulator`, and at `/` to browsers; all else is for `app`.

    Args:
        app: The application.
        traffic: What the page shows.
        about: What answers, in words.
        dialect: Its name.
        misfit: Says what does not fit the script, the recording or the faults so far.
        at_root: Whether the page is at `/` too.
    """

    def __init__(
        self,
        app: ASGIApp,
        traffic: Traffic,
        *,
        about: str,
        dialect: str,
        misfit: Callable[[], str | None],
        at_root: bool,
    ) -> None:
        self._app = app
        self._traffic = traffic
        self._about = about
        self._dialect = dialect
        self._misfit = misfit
        self._at_root = at_root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD"):
            request = Request(scope)
            answer = self._answer(request)
            if answer is not None:
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _answer(self, request: Request) -> Response | None:
        path = request.scope["path"]
        wants_page = self._at_root and path == "/" and "text/html" in request.headers.get("accept", "")
        if not wants_page and path not in (_PAGE, _EXCHANGES):
            return None
        if not _is_local(request):
            # A site whose name leads to this machine could read what was said.
            return PlainTextResponse("The page is for this machine only: use its loopback address.\n", 403)
        return self._exchanges(request) if path == _EXCHANGES else self._page(request)

    def _exchanges(self, request: Request) -> Response:
        since = request.query_params.get("since", "0")
        if not since.isascii() or not since.isdigit():
            return PlainTextResponse("since must be the number of an exchange\n", 400)
        found = [told(one) for one in list(self._traffic.exchanges) if one.number > int(since[:18])]
        value = {"revision": self._traffic.revision, "misfit": self._misfit(), "exchanges": found}
        return Response(encode(value), media_type="application/json", headers={"cache-control": "no-store"})

    def _page(self, request: Request) -> Response:
        style, script = _asset("page.css"), _asset("page.js")
        headers = {
            "cache-control": "no-store",
            "content-security-policy": f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
            "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
        }
        page = self._html(f"http://{request.url.netloc}", style, script)
        return Response(page.encode("utf-8", "replace"), media_type="text/html; charset=utf-8", headers=headers)

    def _html(self, url: str, style: str, script: str) -> str:
        revision = self._traffic.revision  # before the list is made: what comes meanwhile is fetched next
        head = element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("link", rel="icon", href="data:,"),
            element("title", "agentkit emulator"),
            element("style", Html(style)),
        )
        listed = element("main", self._list(), data_revision=str(revision))
        body = element("body", self._header(url), listed, element("script", Html(script)))
        return f"<!doctype html>{element('html', head, body, lang='en')}"

    def _header(self, url: str) -> Html:
        misfit = self._misfit()
        point = f"ANTHROPIC_BASE_URL={url}\nANTHROPIC_API_KEY=any"
        return element(
            "header",
            element("h1", "agentkit emulator"),
            element("p", self._about.strip()),
            element("p", "Dialect: ", element("b", self._dialect), ". Point any client of the Messages API at it:"),
            element("pre", point),
            element(
                "div",
                element("b", "If it ended now, it would fail", class_="role"),
                element("pre", misfit),
                class_="message wrong",
            )
            if misfit
            else None,
        )

    def _list(self) -> Part:
        kept = list(self._traffic.exchanges)
        if not kept:
            return element("p", "No request has come yet.", class_="empty")
        newest = [shown(told(one)) for one in reversed(kept[-_SHOWN:])]
        count = f"{len(kept)} request{'' if len(kept) == 1 else 's'}"
        more = f", the newest {_SHOWN} shown; all are at " if len(kept) > _SHOWN else ", the newest first; as JSON at "
        return [element("p", count, more, element("a", _EXCHANGES, href=_EXCHANGES), class_="count"), newest]


def _is_local(request: Request) -> bool:
    try:
        host = request.url.hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@cache
def _asset(name: str) -> str:
    return files("agentkit.emulator.traffic").joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
