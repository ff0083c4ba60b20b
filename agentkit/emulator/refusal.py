"""`Refused`: a request that gets an error reply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentkit.rules import Problem

__all__ = ["Refused"]

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}  # Source: messages-api.md section 16
_CODES = {"compaction_misplaced": "compaction_block_misplaced"}


class Refused(Exception):
    """A request that gets an error reply; a dialect puts it into its own shape.

    Args:
        status: The HTTP status.
        message: What is wrong, in the API's words.
        kind: The wire's `error.type`; by default the one of the status.
        code: `details.error_code`.
        details: More of `details`.
        headers: Of the reply.
        rule: The id of the rule in `agentkit.rules` that is broken, where there is one.
    """

    def __init__(
        self,
        status: int,
        message: str,
        kind: str | None = None,
        *,
        code: str | None = None,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        rule: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind or _TYPES.get(status, "invalid_request_error")
        self.code = code
        self.details = {**({"error_code": code} if code else {}), **(details or {})}
        self.headers = dict(headers or {})
        self.rule = rule

    @classmethod
    def by(cls, problem: Problem) -> Refused:
        """The refusal of what breaks a rule."""
        code = _CODES.get(problem.rule)
        return cls(problem.status, problem.message, problem.type, code=code, rule=problem.rule)

    @property
    def may_pass(self) -> bool:
        """Whether the same request may be answered later, as the API says in `x-should-retry`."""
        return self.status in (408, 409, 429) or self.status >= 500
