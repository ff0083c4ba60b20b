"""Every shape of an error reply, and what becomes of it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit import errors
from agentkit.errors import (
    AgentKitError,
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    BadRequestError,
    ConfigurationError,
    InternalServerError,
    OverloadedError,
    ProtocolError,
    RateLimitError,
    RunUnfinished,
    StreamTruncated,
    ToolDefinitionError,
    ToolError,
    status_error,
)

STATUSES = {
    400: (errors.BadRequestError, False),
    401: (errors.AuthenticationError, False),
    402: (errors.PaymentRequiredError, False),
    403: (errors.PermissionDeniedError, False),
    404: (errors.NotFoundError, False),
    405: (errors.APIStatusError, False),
    408: (errors.GatewayTimeoutError, True),
    409: (errors.ConflictError, True),
    413: (errors.ContentTooLargeError, False),
    418: (errors.APIStatusError, False),
    422: (errors.UnprocessableEntityError, False),
    429: (errors.RateLimitError, True),
    500: (errors.InternalServerError, True),
    502: (errors.InternalServerError, True),
    503: (errors.ServiceUnavailableError, True),
    504: (errors.GatewayTimeoutError, True),
    520: (errors.InternalServerError, True),
    524: (errors.GatewayTimeoutError, True),
    529: (errors.OverloadedError, True),
}


def anthropic(type: str = "api_error", message: str = "No.", **more: Any) -> dict[str, Any]:  # noqa: A002
    return {"type": "error", "error": {"type": type, "message": message, **more}, "request_id": "req_7"}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("body", [anthropic(), anthropic("some_new_error"), "<h1>No.</h1>", None])
def test_the_status_decides(status: int, body: Any) -> None:
    error = status_error(status, body)
    assert (type(error), error.retryable) == STATUSES[status]
    assert error.status == status
    assert "No." in error.message or body is None


def test_the_tree() -> None:
    raised = [getattr(errors, name) for name in errors.__all__ if isinstance(getattr(errors, name), type)]
    assert len(raised) == 29
    assert all(issubclass(cls, AgentKitError) for cls in raised)
    assert all(cls.__name__ in (errors.__doc__ or "") for cls in raised)
    assert all(cls.__doc__ for cls in raised)
    for cls in (APITimeoutError, StreamTruncated):
        assert issubclass(cls, APIConnectionError)
        assert cls("x").retryable
    assert not APIError("x").retryable
    assert ProtocolError("x").retryable
    assert not ProtocolError("x", retryable=False).retryable
    assert issubclass(OverloadedError, InternalServerError)
    assert issubclass(ToolDefinitionError, ConfigurationError)


SHAPES: dict[str, tuple[Any, str, str | None]] = {
    "Anthropic": (anthropic("api_error", "Internal server error"), "Internal server error", "api_error"),
    "CometAPI": (
        {"error": {"code": "", "message": "no channel (request id: 2026)", "type": "comet_api_error", "param": ""}},
        "no channel (request id: 2026)",
        "comet_api_error",
    ),
    "a relative of it": ({"error": {"type": "<nil>", "message": "bad (id 1)"}, "type": "error"}, "bad (id 1)", "<nil>"),
    "OpenAI": ({"error": {"message": "No.", "type": None, "code": None, "param": None}}, "No.", None),
    "llama.cpp": ({"error": {"code": 500, "message": "No.", "type": "server_error"}}, "No.", "server_error"),
    "a text": ({"error": "No."}, "No.", None),
    "an empty text": ({"error": ""}, "{'error': ''}", None),
    "FastAPI": ({"detail": "Not Found"}, "{'detail': 'Not Found'}", None),
    "a message that is no text": ({"error": {"message": ["No."]}}, "{'error': {'message': ['No.']}}", None),
    "a type that is no text": ({"error": {"message": "No.", "type": 7}}, "No.", None),
    "an empty message": ({"error": {"message": ""}}, "{'error': {'message': ''}}", None),
    "a list": ([1], "[1]", None),
    "an empty object": ({}, "{}", None),
    "plain text": ("upstream\r\n\tconnect\x1b[31m error\x00", "upstream connect [31m error", None),
    "a page": (
        "<head><title>502 Bad</title><style>a{}</style><SCRIPT x=1>if (a<b) x()</SCRIPT></head>\n<p>cloud<br>flare",
        "502 Bad cloud flare",
        None,
    ),
    "a page without text": ("<html></html>", "the endpoint answered HTTP 500 without a message", None),
    "nothing": ("", "the endpoint answered HTTP 500 without a message", None),
    "null": (None, "the endpoint answered HTTP 500 without a message", None),
}  # fmt: skip


@pytest.mark.parametrize(("body", "message", "kind"), SHAPES.values(), ids=SHAPES)
def test_every_shape_has_a_message(body: Any, message: str, kind: str | None) -> None:
    error = status_error(500, body)
    assert (error.message, error.type) == (message, kind)
    assert type(error) is InternalServerError


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, anthropic("rate_limit_error", "x", details={"error_code": "enforced_spend_limit_reached"})),
        (429, anthropic("rate_limit_error", "x", details={"error_code": "contract_spend_limit_reached"})),
        (429, anthropic("rate_limit_error", "You have reached your specified API usage limits. …")),
        (429, anthropic("rate_limit_error", "You have reached your API usage limits: …")),
        (400, anthropic("invalid_request_error", "You have reached your workspace API usage limits.")),
        (529, anthropic("overloaded_error", "Your credit balance is too low to access the Anthropic API.")),
        (500, {"error": {"code": "invalid_request", "message": "x", "type": "comet_api_error", "param": ""}}),
    ],
)
def test_no_wait_helps_where_money_or_the_request_is_the_reason(status: int, body: Any) -> None:
    assert not status_error(status, body).retryable
    assert not status_error(status, body, should_retry=True).retryable


@pytest.mark.parametrize(
    "details", [None, "ramp_limit_exceeded", {"error_code": "ramp_limit_exceeded"}, {"error_code": []}, []]
)
def test_other_rate_limits_are_retryable(details: Any) -> None:
    error = status_error(429, anthropic("rate_limit_error", "slow down", details=details), retry_after=12.0)
    assert type(error) is RateLimitError
    assert (error.retryable, error.retry_after) == (True, 12.0)


def test_the_header_decides_where_it_is_there() -> None:
    assert status_error(400, anthropic(), should_retry=True).retryable
    assert not status_error(529, anthropic(), should_retry=False).retryable


def test_the_request_id_is_that_of_the_header_or_else_of_the_body() -> None:
    assert status_error(500, anthropic()).request_id == "req_7"
    assert status_error(500, anthropic(), request_id="req_8").request_id == "req_8"
    assert status_error(500, {"error": {}, "request_id": None}).request_id is None
    assert status_error(500, "text", request_id="req_8").request_id == "req_8"


def test_the_text_says_all_that_is_known() -> None:
    error = status_error(529, anthropic("overloaded_error", "Overloaded"))
    assert str(error) == "Overloaded (HTTP 529, overloaded_error, req_7)"
    error.attempts = 4
    assert str(error) == "Overloaded (HTTP 529, overloaded_error, req_7, 4 attempts)"
    assert str(APIError("no reply")) == "no reply"
    assert error.result is None


def test_long_messages_are_cut() -> None:
    assert len(status_error(500, anthropic(message="x" * 5000)).message) == 2000
    assert len(status_error(500, "x" * 5000).message) == 512


@pytest.mark.parametrize("piece", ["<", "<script", "<style>", "<a ", "</script>", "<script></"])
def test_no_page_takes_long(piece: str) -> None:
    """200,000 characters of any of these took half a minute when tags were matched to their far end."""
    began = time.process_time()
    status_error(502, piece * (200_000 // len(piece)))
    assert time.process_time() - began < 5


@given(
    status=st.integers(100, 599),
    body=st.recursive(
        st.none() | st.integers() | st.text(max_size=20),
        lambda some: (
            st.lists(some, max_size=2)
            | st.dictionaries(
                st.sampled_from(["type", "error", "message", "details", "error_code", "request_id"]), some
            )
        ),
        max_leaves=5,
    ),
)
def test_any_reply_is_an_error_with_a_message(status: int, body: Any) -> None:
    error = status_error(status, body)
    assert isinstance(error, APIStatusError)
    assert error.message
    assert isinstance(error.retryable, bool)
    assert error.type is None or isinstance(error.type, str)
    assert error.request_id is None or isinstance(error.request_id, str)


def test_a_run_that_is_not_finished_carries_its_result() -> None:
    error = RunUnfinished("it ended with max_turns", "the result")
    assert (str(error), error.result) == ("it ended with max_turns", "the result")


def test_a_tool_error_carries_text_or_blocks() -> None:
    assert (ToolError("No.").content, str(ToolError("No."))) == ("No.", "No.")
    blocks = [{"type": "text", "text": "No."}]
    assert (ToolError(blocks).content, str(ToolError(blocks))) == (blocks, "tool error")


def test_a_bad_request_is_not_sent_again() -> None:
    assert not BadRequestError("x").retryable
