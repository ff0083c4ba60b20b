"""Message threads: the API keeps the messages, and a turn sends the new ones only. Best effort, on both sides.

Source: messages-api.md section 18.4.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from agentkit.errors import APIError
from agentkit.messages import encode
from agentkit.request import Request
from agentkit.transcript import Transcript

__all__ = ["continued", "is_lost", "thread_of"]

_LOST = {
    "thread_not_found",
    "thread_already_continued",
    "thread_continue_in_flight",
    "thread_fingerprint_mismatch",
}


def thread_of(transcript: Transcript, request: Request) -> str | None:
    """What a thread is kept for: model, endpoint, system prompt and tools, which a continuation leaves out.

    None for a request that wants no thread.
    """
    thread = request.params.get("thread")
    if not isinstance(thread, dict) or thread.get("type") != "create":
        return None
    return hashlib.sha256(encode([transcript.asked, request.model, request.system, request.tools])).hexdigest()[:16]


def continued(transcript: Transcript, request: Request) -> tuple[Request, list[bytes]] | None:
    """The request and messages that go on with a thread; None where the whole history has to be sent.

    Args:
        transcript: What was said so far.
        request: One with `thread: {"type": "create"}` in its parameters goes on with a thread wherever it can.
    """
    if transcript.thread_id is None or transcript.thread != thread_of(transcript, request):
        return None
    messages = transcript.history.body.parts_since_model()
    if messages is None:
        return None
    going_on = {"type": "continue", "previous_message_id": transcript.thread_id}
    return replace(request, system=None, tools=(), params={**request.params, "thread": going_on}), messages


def is_lost(error: APIError) -> bool:
    """Whether the API no longer has the thread, so that the whole history must be sent again."""
    return error.error_code in _LOST
