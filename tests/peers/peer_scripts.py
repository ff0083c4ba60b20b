"""What the emulator says to the peers, and the corpus that its reader searches for them."""

from __future__ import annotations

from pathlib import Path

from agentkit.emulator import Emulator, error, reply, server_result, server_tool_use, text, tool_use
from agentkit.emulator.replies import ScriptedError, ScriptedReply

__all__ = ["ERRORS", "PAGE", "QUESTION", "failures", "paused", "reader", "straight"]

QUESTION = 'How is the weather in "Rome"?'
PAGE = "https://docs.test/rome"

# Source: messages-api.md section 16.
ERRORS = (
    (400, "invalid_request_error"),
    (401, "authentication_error"),
    (402, "billing_error"),
    (403, "permission_error"),
    (404, "not_found_error"),
    (409, "conflict_error"),
    (413, "request_too_large"),
    (422, "invalid_request_error"),
    (429, "rate_limit_error"),
    (500, "api_error"),
    (503, "api_error"),
    (504, "timeout_error"),
    (529, "overloaded_error"),
)

_SEARCH = server_tool_use("web_search", query="weather Rome")
_CITATION = {"type": "web_search_result_location", "url": PAGE, "title": "Rome", "cited_text": "Rome is warm."}
_FOUND = (
    server_result([{"url": PAGE, "title": "Rome"}]),
    text("Rome is warm.", citations=[_CITATION]),
    tool_use("weather", city="Rome"),
)
_ANSWER = reply("It is sunny in Rome.")


def paused() -> list[ScriptedReply]:
    """A search that pauses the turn; its result with a call of the tool; the answer."""
    return [reply("Let me look.", _SEARCH), reply(*_FOUND), _ANSWER]


def straight() -> list[ScriptedReply]:
    """The same without the pause."""
    return [reply("Let me look.", _SEARCH, *_FOUND), _ANSWER]


def failures() -> list[ScriptedError]:
    """Each error of the API, once."""
    return [error(status, kind, f"status {status}") for status, kind in ERRORS]


def reader(folder: Path, pause_after: int) -> Emulator:
    """The reader over a page of two sentences."""
    corpus = folder / "corpus"
    corpus.mkdir()
    (corpus / "rome.md").write_text("# Rome\n\nThe weather in Rome is mild. Summers in Rome are hot.\n", "utf-8")
    return Emulator(corpus=corpus, pause_after=pause_after, pace=0)
