"""Compaction on demand: the API's summary of a conversation takes the place of its messages.

Source: messages-api.md section 18.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from agentkit.errors import APIError, ConfigurationError, ProtocolError
from agentkit.events import TurnEnd
from agentkit.healing import heal
from agentkit.loop import Send, request_now
from agentkit.parameters import betas_of
from agentkit.request import Request
from agentkit.step import reaction_to
from agentkit.transcript import Transcript

__all__ = ["compact"]


async def compact(transcript: Transcript, send: Send, request: Request, instructions: str | None) -> None:
    """Asks for a summary and writes the operation that puts it in the place of the messages.

    Args:
        transcript: A conversation that owes nothing.
        send: Asks for a model turn.
        request: As a run would send it.
        instructions: What the summary is to keep, in place of the API's own instructions.

    Raises:
        ConfigurationError: A call or an answer is still owed.
        APIError: There is no summary.
    """
    owes = transcript.calls or transcript.waiting or transcript.server_open
    if not transcript.at_model_turn or owes or reaction_to(transcript) == "resend":
        raise ConfigurationError("only a conversation that has come to its end can be compacted: resume it first")
    asking = _asking(request, instructions)
    end = await _turn_end(transcript, send, asking)
    blocks = [block for block in end.message.get("content") or () if block.get("type") == "compaction"]
    if len(blocks) != 1 or not blocks[0].get("content"):
        raise ProtocolError("the reply has no summary", request_id=end.request_id, retryable=False)
    transcript.operate("compact", message=end.message, request_id=end.request_id, cost=end.cost)


async def _turn_end(transcript: Transcript, send: Send, request: Request) -> TurnEnd:
    while True:
        try:
            async with aclosing(send(transcript, request_now(request, transcript))) as events:
                return [event async for event in events if isinstance(event, TurnEnd)][-1]
        except APIError as error:
            if not heal(transcript, error, request):
                raise


def _asking(request: Request, instructions: str | None) -> Request:
    """The request without what does not go with a compaction."""
    left_out = ("stop_sequences", "context_management", "thread")
    params: dict[str, Any] = {name: value for name, value in request.params.items() if name not in left_out}
    if (params.get("tool_choice") or {}).get("type") in ("any", "tool"):
        del params["tool_choice"]
    config = {name: value for name, value in (params.pop("output_config", None) or {}).items() if name != "format"}
    if isinstance(budget := config.get("task_budget"), Mapping):
        config["task_budget"] = {name: value for name, value in budget.items() if name != "remaining"}
    if config:
        params["output_config"] = config
    params["compaction"] = {"type": "summarize", **({"instructions": instructions} if instructions else {})}
    return replace(request, params=params, betas=betas_of(params, request.betas))
