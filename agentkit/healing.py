"""What can be done about a history that the API will not take, written down as an operation."""

from __future__ import annotations

import re

from agentkit.errors import APIError, BadRequestError
from agentkit.request import Request
from agentkit.transcript import Transcript

__all__ = ["ask", "heal"]

# Source: messages-api.md section 14 and recordings/api-errors.md part B.
_THINKING = re.compile(
    r"Invalid `(signature|data)` in `(redacted_)?thinking` block"
    r"|`thinking` or `redacted_thinking` blocks"
    r"|bound to a different conversation"
)
_CONTAINER = re.compile(r"\bcontainer\b.*(expired|not found|does not exist|no longer)", re.IGNORECASE | re.DOTALL)


def ask(transcript: Transcript, model: str, endpoint: str) -> None:
    """Strips thinking that this model at this endpoint could not read, if another one was asked before it."""
    if transcript.asked in (None, (model, endpoint)):
        return
    if transcript.drops_blocks or transcript.history.has_thinking():
        transcript.operate(
            "strip_thinking", why=f"{model} at {endpoint} is asked after {' at '.join(transcript.asked)}"
        )


def heal(transcript: Transcript, error: APIError, request: Request) -> bool:
    """Whether something was done that lets the request be sent again: for thinking once in a run.

    Thinking that the API refuses is left to it to drop, where its answer says that it can, and else stripped; a
    container that has expired is left away, with the code in it that waits for results.
    """
    if not isinstance(error, BadRequestError):
        return False
    why = error.message
    if _THINKING.search(why):
        if transcript.operations & {"drop_block", "strip_thinking"} or not transcript.history.has_thinking():
            return False
        thinks = (request.params.get("thinking") or {}).get("type") != "disabled"
        can_drop = thinks and '"drop_block"' in why and not transcript.drops_blocks
        transcript.operate("drop_block" if can_drop else "strip_thinking", why=why)
        return True
    if _CONTAINER.search(why) and transcript.container is not None:
        transcript.operate("drop_container", why=why)
        return True
    return False
