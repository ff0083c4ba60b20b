"""The rows H: statuses, error pages and replies that are no message."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from agentkit.emulator.dialects import cometapi
from agentkit.emulator.faults.delivery import Delivery
from agentkit.emulator.faults.row import Answered, Asked, Damaged, Place, Row
from agentkit.emulator.refusal import Refused
from agentkit.messages import encode

__all__ = ["ROWS", "plain", "refusal"]

_PAGE = b"<html><head><style>p {}</style></head><body><p>Bad\0 gateway\x1b[31m</p>" + b"x" * 2000 + b"</body></html>"
_HTML = {"content-type": "text/html"}
_TEXT = {"content-type": "text/plain"}
_LATE = "Fri, 31 Dec 2199 23:59:59 GMT"
_EARLY = "Fri, 31 Dec 1999 23:59:59 GMT"


def refusal(status: int, message: str, kind: str | None = None, *, code: str | None = None, **headers: str) -> Any:
    """An error reply in the endpoint's shape. Source: messages-api.md section 16."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda asked: _refused(Refused(status, message, kind, code=code, headers=named, rule="script"), asked)


def plain(status: int, headers: Mapping[str, str], body: bytes = b"") -> Callable[[Asked], Delivery]:
    """Any reply."""
    sized = {**headers, "content-length": str(len(body))} if status not in (204, 304) else headers
    return lambda asked: Delivery(status=status, headers=_encoded(sized), pieces=(body,))


def _refused(refused: Refused, asked: Asked) -> Delivery:
    status, body = asked.dialect.error(refused, asked.request_id)
    named = {"request-id": asked.request_id} if asked.dialect.own_headers else {}
    return plain(status, {"content-type": "application/json", **named, **refused.headers}, encode(body))(asked)


def _json(value: Any, status: int = 200) -> Callable[[Asked], Delivery]:
    return plain(status, {"content-type": "application/json"}, encode(value))


def _encoded(headers: Mapping[str, str]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.encode(), value.encode()) for name, value in headers.items())


def _redirect(status: int, location: str | None = "http://elsewhere.invalid/v1/messages") -> Any:
    return plain(status, {"location": location} if location else {})


def _invalid_at_gateway(asked: Asked) -> Delivery:
    status, body = cometapi.error(Refused(400, "bad field"), asked.request_id)
    return _json(body, status)(asked)


def _cut(asked: Asked) -> Delivery:
    whole = refusal(503, "Service unavailable")(asked)
    return Delivery(status=whole.status, headers=whole.headers, pieces=(whole.body[:20],), end="close")


def _status(status: int) -> Callable[[Delivery, Place], Delivery]:
    return lambda reply, place: _with(reply, status=status)


def _with(reply: Delivery, **fields: Any) -> Delivery:
    return Delivery(**{"headers": reply.headers, "pieces": reply.pieces, "status": reply.status, **fields})


def _as_text(reply: Delivery, place: Place) -> Delivery:
    kept = tuple(header for header in reply.headers if header[0] != b"content-type")
    return _with(reply, headers=((b"content-type", b"text/plain"), *kept))


def _row(
    name: str, make: Callable[[Asked], Delivery | None], about: str, alias: str = "", *, passing: bool = False
) -> Answered:
    return Answered(name=name, alias=alias, about=about, passing=passing, make=make)


_LIMIT = "This request would exceed your organization's rate limit"


def _limited(**options: str) -> Any:
    return refusal(429, _LIMIT, **options)


_REFUSED: tuple[Row, ...] = (
    _row("H1", refusal(400, "messages.0: bad"), "400 for a bad request", "invalid_request"),
    _row("H1-credit", refusal(400, "Your credit balance is too low"), "400: there is no credit left"),
    _row("H1-402", refusal(402, "Payment required"), "402: the bill is not paid"),
    _row("H1-422", refusal(422, "Unprocessable"), "422, as some gateways send for 400"),
    _row("H2", refusal(401, "invalid x-api-key"), "401: the key is wrong", "unauthorized"),
    _row("H3", refusal(403, "Not allowed"), "403: the key may not do this", "forbidden"),
    _row("H4", refusal(404, "model: claude-none"), "404: there is no such model", "not_found"),
    _row("H4-html", plain(404, _HTML, b"<h1>404 page not found</h1>"), "404 with a page of HTML: a wrong path"),
    _row("H5", refusal(408, "Request timeout", "timeout_error"), "408", "request_timeout", passing=True),
    _row("H6", refusal(409, "Conflict"), "409", "conflict", passing=True),
    _row("H7", refusal(413, "Request exceeds the maximum size"), "413", "too_large"),
    _row("H7-html", plain(413, _HTML, b"<h1>too large</h1>"), "413 with a page of HTML, by a proxy"),
)
_RATES: tuple[Row, ...] = (
    _row("H8", _limited(), "429 that does not say how long to wait", "rate_limited", passing=True),
    _row("H8-spend", _limited(code="enforced_spend_limit_reached"), "429 for a limit of spend: waiting is no use"),
    _row("H8-contract", _limited(code="contract_spend_limit_reached"), "the same for a contract's limit"),
    _row("H8-ramp", _limited(code="ramp_limit_exceeded"), "429: traffic grew too fast", passing=True),
    _row("H9", _limited(retry_after="0.05"), "429 with a short retry-after", "retry_after", passing=True),
    _row("H9-ms", _limited(retry_after_ms="50"), "429 with a short retry-after-ms", passing=True),
    _row("H10", _limited(retry_after="3600"), "429 with a retry-after of an hour", "long_retry_after"),
    _row("H10-days", _limited(retry_after="302400"), "429 with a retry-after of days"),
    _row("H10-negative", _limited(retry_after="-5"), "429 with a negative retry-after", passing=True),
    _row("H10-garbage", _limited(retry_after="soon"), "429 with a retry-after that is no number", passing=True),
    _row("H10-date", _limited(retry_after=_LATE), "429 with a date far ahead as retry-after"),
    _row("H10-past", _limited(retry_after=_EARLY), "429 with a date gone by as retry-after", passing=True),
)
_BROKEN: tuple[Row, ...] = (
    _row("H11", refusal(500, "Internal server error"), "500", "server_error", passing=True),
    _row("H11-invalid", _invalid_at_gateway, "500 `invalid_request`: a gateway's word for a bad request"),
    _row("H11-told-not", refusal(500, "No", x_should_retry="false"), "500 that says not to ask again"),
    _row("H11-told", refusal(400, "Yes", "api_error", x_should_retry="true"), "400 that says to ask again"),
    _row("H12", plain(502, _HTML, _PAGE), "502 with a page of HTML", "bad_gateway", passing=True),
    _row("H12-504", plain(504, _HTML, _PAGE), "504 with a page of HTML", passing=True),
    _row("H12-524", plain(524, _HTML, _PAGE), "524 with a page of HTML", passing=True),
    _row("H12-empty", plain(503, {}), "503 with nothing in it", passing=True),
    _row("H12-huge", plain(502, _HTML, b"y" * (3 << 20)), "502 with a page of 3 MB"),
    _row("H12-cut", _cut, "503 whose body breaks off", passing=True),
    _row("H12-gzip", plain(502, {"content-encoding": "gzip"}, b"no gzip"), "502 that says it is gzip, and is not"),
    _row("H13", refusal(529, "Overloaded"), "529", "overloaded", passing=True),
)
_NO_MESSAGE: tuple[Row, ...] = (
    _row("H14", plain(200, _HTML, _PAGE), "200 with a page of HTML", "html", passing=True),
    _row("H14-text", plain(200, _TEXT, b"hello"), "200 with plain text", passing=True),
    _row("H14-no-type", plain(200, {}), "200 without content-type or body", passing=True),
    _row("H14-empty", _json({}), "200 with {}", passing=True),
    _row("H14-no-content", _json({"type": "message", "role": "assistant"}), "200: no content", passing=True),
    _row("H14-list", _json([1]), "200 with a list", passing=True),
    _row("H14-null", _json(None), "200 with null", passing=True),
    _row("H14-no-blocks", _json({"type": "message", "content": ["hello"]}), "200: blocks that are none", passing=True),
    Damaged(name="H14-type", about="the right reply as text/plain", make=_as_text, lost=False),
    _row("H15", _redirect(307), "307 to another host", "redirect"),
    *(_row(f"H15-{status}", _redirect(status), f"{status} to another host") for status in (301, 302, 303, 308)),
    _row("H15-304", _redirect(304, None), "304"),
    _row("H15-same", _redirect(307, "/v1/v1/messages"), "307 to another path of the same host"),
    _row("H16", plain(204, {}), "204", "no_content", passing=True),
    Damaged(name="H16-202", about="the right reply with status 202", make=_status(202), passing=True),
    Damaged(name="H16-206", about="the right reply with status 206", make=_status(206), passing=True),
    Damaged(
        name="H16-103",
        about="103 early hints before the right reply",
        make=lambda reply, place: _with(reply, raw=b"HTTP/1.1 103 Early Hints\r\nlink: </>\r\n\r\n"),
        lost=False,
    ),
)
ROWS = (*_REFUSED, *_RATES, *_BROKEN, *_NO_MESSAGE)
