"""The request of a turn that is long over, as far as the journal has it: for `agentkit runs show --turn N --curl`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from agentkit.cli.problems import notice
from agentkit.errors import ConfigurationError

if TYPE_CHECKING:
    from agentkit.client import Client
    from agentkit.transcript import Transcript

__all__ = ["show_request"]

_MAX_TOKENS = 8192


def show_request(transcript: Transcript, turn: int | None, base_url: str | None) -> None:
    """Prints the request to stdout, and to stderr what is not known of it.

    Args:
        transcript: The log.
        turn: Counted over the conversation; None is the last one.
        base_url: In place of the endpoint that was asked.

    Raises:
        ConfigurationError: There is no such turn.
    """
    from agentkit.journal import before_turn
    from agentkit.loop import sent_by
    from agentkit.messages import model_turns
    from agentkit.preview import preview_of
    from agentkit.request import Request
    from agentkit.settings import Limits
    from agentkit.transcript import Transcript

    at = before_turn(transcript, turn or len(model_turns(transcript.entries)) or 1)
    before = Transcript.load({**transcript.dump(), "entries": transcript.entries[:at]})
    model, asked = before.asked or ("", "")
    model = model or str(transcript.entries[at]["message"].get("model"))
    kept = sent_by(before)
    request = Request(model, max_tokens=_MAX_TOKENS) if kept is None else Request.recalled(model, kept)
    preview = preview_of(before, request, Limits(), _client(base_url, asked))
    typer.echo(preview.curl)
    if kept is not None:
        return
    notice(
        "this log has messages, model and endpoint, not the rest: if the run had a system prompt, tools, another "
        f"max_tokens than {_MAX_TOKENS} or other parameters, add them"
    )


def _client(base_url: str | None, asked: str) -> Client:
    """Whom to ask: the endpoint of the run, of which the journal keeps the name or the host."""
    from agentkit.client import Client
    from agentkit.support import PROVIDERS

    known = PROVIDERS[asked].base_url if asked in PROVIDERS else None
    base_url = base_url or known
    if base_url is None:
        try:
            client = Client()
        except ConfigurationError:
            client = None
        if client and client.origin == asked:
            return client
        raise ConfigurationError(f"this turn was asked of {asked or 'an unknown endpoint'}: give --base-url")
    return Client(base_url=base_url, api_key="to-come")
