"""Every exception that agentkit raises on purpose, by whose fault it is.

```
AgentKitError
├── ConfigurationError            the caller's: a missing key, a wrong argument
│   └── ToolDefinitionError       a function that can't be a tool
├── TranscriptError               the history is one that the API would refuse
├── RunUnfinished                 .text or .output of a run that did not reach its end
├── ToolError                     raised by a tool: its text is what the model sees
├── NotDone                       raised by a tool's `verify`: the effect has not happened
├── JournalError                  the journal can't be read or written, or is not ours to write
│   ├── RunBusy                   another process goes on with the run, or has gone on with it
│   └── LeaseLost                 another process took the run over while it went on here
└── APIError                      the endpoint's, or the way to it
    ├── APIConnectionError        no reply, or only a part of one
    │   ├── APITimeoutError       too slow
    │   └── StreamTruncated       the stream ended before `message_stop`
    ├── ProtocolError             a reply that is not a Messages reply
    └── APIStatusError            the API said no
        ├── BadRequestError (400)       ├── ContentTooLargeError (413)
        ├── AuthenticationError (401)   ├── UnprocessableEntityError (422)
        ├── PaymentRequiredError (402)  ├── RateLimitError (429)
        ├── PermissionDeniedError (403) ├── InternalServerError (500 and other 5xx)
        ├── NotFoundError (404)         ├── ServiceUnavailableError (503)
        ├── ConflictError (409)         ├── GatewayTimeoutError (504)
        └── OverloadedError (529)
```

The names of API errors are those of the official SDKs.
"""

from __future__ import annotations

import re
from typing import Any

from agentkit.redaction import redacted

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIStatusError",
    "APITimeoutError",
    "AgentKitError",
    "AuthenticationError",
    "BadRequestError",
    "ConfigurationError",
    "ConflictError",
    "ContentTooLargeError",
    "GatewayTimeoutError",
    "InternalServerError",
    "JournalError",
    "LeaseLost",
    "NotDone",
    "NotFoundError",
    "OverloadedError",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "ProtocolError",
    "RateLimitError",
    "RunBusy",
    "RunUnfinished",
    "ServiceUnavailableError",
    "StreamTruncated",
    "ToolDefinitionError",
    "ToolError",
    "TranscriptError",
    "UnprocessableEntityError",
    "status_error",
]


class AgentKitError(Exception):
    """Base of every exception that agentkit raises on purpose. Its text holds no live secret."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(redacted(arg) if isinstance(arg, str) else arg for arg in args))


class ConfigurationError(AgentKitError):
    """The caller asked for something that can't work; the text says what to do."""


class ToolDefinitionError(ConfigurationError):
    """A function or schema that can't be a tool; the text names the parameter."""


class TranscriptError(AgentKitError):
    """The history breaks a rule of the Messages API, so it was not sent.

    Attributes:
        result: The `RunResult` so far, when a run raises it.
    """

    result: Any = None


class RunUnfinished(AgentKitError):
    """The run has no answer to give: it ended for another reason than `end_turn`.

    Attributes:
        result: The `RunResult`; `result.finish.reason` says why, `result.partial_text` has what there is.
    """

    def __init__(self, message: str, result: Any) -> None:
        super().__init__(message)
        self.result = result


class ToolError(AgentKitError):
    """Raised by a tool to choose the text (or content blocks) that the model sees as the error.

    Args:
        content: Text, or a list of content blocks.
    """

    def __init__(self, content: str | list[dict[str, Any]]) -> None:
        super().__init__(content if isinstance(content, str) else "tool error")
        self.content = content


class NotDone(AgentKitError):
    """Raised by a tool's `verify`: the effect has not happened, so the call may run."""


class JournalError(AgentKitError):
    """The journal can't be read or written; nothing that it holds is lost.

    Attributes:
        result: The `RunResult` so far, when a run raises it. What of it is not in the journal can be kept by `dump()`.
        retryable: Whether it may pass: others write, or the disk is full.
    """

    result: Any = None
    retryable = False


class RunBusy(JournalError):
    """The run goes on in another process, or has gone on there since it was read."""


class LeaseLost(JournalError):
    """Another process took the run over while it went on here: nothing more of it is written here."""


class APIError(AgentKitError):
    """A request to the endpoint failed.

    Attributes:
        message: What went wrong, without secrets.
        type: The wire's `error.type`, where there was one.
        error_code: The wire's `error.details.error_code`, where there was one.
        status: The HTTP status, or None where there was no reply.
        request_id: The `request-id` of the reply, to quote to the provider.
        attempts: How many times the request was sent.
        retryable: Whether sending the same request again may help.
        retry_after: Seconds that the endpoint asked to wait, or None.
        result: The `RunResult` so far, from which the run can be resumed; set when a run raises.
    """

    retryable_default = False

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        type: str | None = None,  # noqa: A002
        request_id: str | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = redacted(message)
        self.status = status
        self.type = type
        self.error_code: str | None = None
        self.request_id = request_id
        self.retryable = self.retryable_default if retryable is None else retryable
        self.retry_after = retry_after
        self.attempts = 1
        self.result: Any = None

    def __str__(self) -> str:
        about = [f"HTTP {self.status}" if self.status else "", self.type or "", self.request_id or ""]
        tries = f"{self.attempts} attempts" if self.attempts > 1 else ""
        known = ", ".join(part for part in [*about, tries] if part)
        return redacted(f"{self.message} ({known})" if known else self.message)


class APIConnectionError(APIError):
    """No reply, or only a part of one."""

    retryable_default = True


class APITimeoutError(APIConnectionError):
    """The endpoint was too slow, or its stream made no progress."""


class StreamTruncated(APIConnectionError):
    """The stream ended before `message_stop`: what arrived is no answer."""


class ProtocolError(APIError):
    """The reply is not a Messages reply."""

    retryable_default = True


class APIStatusError(APIError):
    """The API refused the request, by status or by an `error` event in the stream."""


class BadRequestError(APIStatusError):
    """400: the request breaks a rule, or a spend limit is reached."""


class AuthenticationError(APIStatusError):
    """401: the key is missing or wrong."""


class PaymentRequiredError(APIStatusError):
    """402: billing."""


class PermissionDeniedError(APIStatusError):
    """403: the key may not do this."""


class NotFoundError(APIStatusError):
    """404: no such model, or a wrong path."""


class ConflictError(APIStatusError):
    """409."""

    retryable_default = True


class ContentTooLargeError(APIStatusError):
    """413: the request body is too large."""


class UnprocessableEntityError(APIStatusError):
    """422."""


class RateLimitError(APIStatusError):
    """429: too many requests or tokens, or a spend limit (then it is not retryable)."""

    retryable_default = True


class InternalServerError(APIStatusError):
    """500 and every other 5xx without a class of its own."""

    retryable_default = True


class ServiceUnavailableError(InternalServerError):
    """503."""


class GatewayTimeoutError(InternalServerError):
    """504, 524: the reply took too long."""


class OverloadedError(InternalServerError):
    """529: the API is overloaded."""


_BY_STATUS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: PaymentRequiredError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: GatewayTimeoutError,
    409: ConflictError,
    413: ContentTooLargeError,
    422: UnprocessableEntityError,
    429: RateLimitError,
    503: ServiceUnavailableError,
    504: GatewayTimeoutError,
    524: GatewayTimeoutError,
    529: OverloadedError,
}

# Source: messages-api.md section 16; an `error` event in a stream has HTTP status 200, so its type decides.
_BY_TYPE: dict[str, type[APIStatusError]] = {
    "invalid_request_error": BadRequestError,
    "authentication_error": AuthenticationError,
    "billing_error": PaymentRequiredError,
    "permission_error": PermissionDeniedError,
    "not_found_error": NotFoundError,
    "conflict_error": ConflictError,
    "request_too_large": ContentTooLargeError,
    "rate_limit_error": RateLimitError,
    "api_error": InternalServerError,
    "timeout_error": GatewayTimeoutError,
    "overloaded_error": OverloadedError,
}

_SPEND_CODES = {"enforced_spend_limit_reached", "contract_spend_limit_reached"}
_SPEND_TEXT = re.compile(
    r"reached your (specified |workspace )?API usage limits|credit balance is too low", re.IGNORECASE
)
# Each alternative stops at the next beginning of its kind, so that no page takes quadratic time.
_TAGS = re.compile(r"(?si)<(script|style)\b(?:(?!<\1\b).)*?</\1>|<[^<>]*>")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def status_error(
    status: int,
    body: Any,
    *,
    request_id: str | None = None,
    should_retry: bool | None = None,
    retry_after: float | None = None,
) -> APIStatusError:
    """The exception for an error reply, in any of the shapes that endpoints use.

    Args:
        status: The HTTP status; 200 for an `error` event inside a stream.
        body: The parsed JSON body, or the text where it was no JSON (a gateway's HTML page).
        request_id: The `request-id` header; the body's own `request_id` is used without it.
        should_retry: The `x-should-retry` header, which decides where it is present.
        retry_after: Seconds, from `retry-after-ms` or `retry-after`.

    Source: messages-api.md sections 16 and 22 (`comet_api_error`: 500 with `invalid_request` is permanent).
    """
    error = body.get("error") if isinstance(body, dict) else None
    details: dict[str, Any] = error if isinstance(error, dict) else {}
    kind = details.get("type") if isinstance(details.get("type"), str) else None
    message = details.get("message") or (error if isinstance(error, str) else None)
    if not isinstance(message, str) or not message:
        message = _plain(body) or f"the endpoint answered HTTP {status} without a message"
    if isinstance(body, dict) and isinstance(body.get("request_id"), str):
        request_id = request_id or body["request_id"]
    if status < 400:
        cls = _BY_TYPE.get(kind or "", APIStatusError)
    else:
        cls = _BY_STATUS.get(status) or (InternalServerError if status >= 500 else APIStatusError)
    more = details.get("details")
    code = more.get("error_code") if isinstance(more, dict) else None
    retryable = cls.retryable_default if should_retry is None else should_retry
    if _is_permanent(details, code, message):
        retryable = False
    failure = cls(
        message[:2000],
        status=status,
        type=kind,
        request_id=request_id,
        retryable=retryable,
        retry_after=retry_after,
    )
    failure.error_code = code if isinstance(code, str) else None
    return failure


def _is_permanent(error: dict[str, Any], code: Any, message: str) -> bool:
    """Whether no wait helps: a spend limit, or a gateway's 500 that means a bad request."""
    return str(code) in _SPEND_CODES or error.get("code") == "invalid_request" or bool(_SPEND_TEXT.search(message))


def _plain(body: Any) -> str:
    """A gateway's page as one short line without markup or control characters."""
    text = body if isinstance(body, str) else ("" if body is None else repr(body))
    return " ".join(_CONTROL.sub(" ", _TAGS.sub(" ", text[:20_000])).split())[:512]
