"""What a run would send first: the body, what it would cost, what the API would refuse in it, and a curl line."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentkit.budget import Budget
from agentkit.client import Client
from agentkit.errors import ConfigurationError
from agentkit.loop import request_now
from agentkit.messages import Usage, copy_json, encode
from agentkit.prices import cost_of, why_no_price
from agentkit.request import Request
from agentkit.rules import Problem, check_request
from agentkit.settings import Limits
from agentkit.step import Answer, CallModel, Finish, next_step
from agentkit.stream import parse_json
from agentkit.support import ANTHROPIC, COMETAPI, Provider
from agentkit.transcript import Transcript

__all__ = ["Preview", "preview_of"]

# Of one image at most, and what comes with tools before any definition. Source: messages-api.md sections 19 and 9.
_IMAGE_TOKENS = 4784
_TOOL_TOKENS = 804

_LONGEST_ARGUMENT = 100_000  # bytes; Linux takes 128 KiB in one argument
_SHOWN = re.compile(r"anthropic-[a-z-]+|content-type|user-agent|accept")
_NAME = re.compile(r"[a-z_][a-z0-9_-]*")
_OTHER = re.compile(r"[^\x20-\x7e]")


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run would send first.

    Attributes:
        body: The request body.
        problems: What the API would refuse in it.
        size: Of the body in bytes.
        input_tokens: An estimate, mostly above what the API will count. What is not in the body, such as a file by id,
            is not counted; `await client.count_tokens(preview.body)` asks the API.
        cost: US dollars at most, but for that estimate: the input at the plain price, and as much output as
            `max_tokens` allows. Writing to the cache costs up to twice as much, reading from it far less, and server
            tools have fees of their own. None where the price is not known.
        cost_unknown: Why it is not known, None where it is.
        url: Where the request goes.
        headers: Its headers. In place of keys, and of your own headers' values, are the names of variables: `$NAME`.
    """

    body: dict[str, Any]
    problems: list[Problem]
    size: int
    input_tokens: int
    cost: float | None
    cost_unknown: str | None
    url: str
    headers: dict[str, str] = field(repr=False)

    @property
    def curl(self) -> str:
        """The request as a command for a shell: no key is in it, nor the address and token of an MCP server.

        What is left out of the headers is taken from the environment; what is left out of the body stands in <…>.
        """
        given = [f"-H {_quoted(name, value)}" for name, value in self.headers.items()]
        body = _OTHER.sub(_escaped, encode(_without_secrets(self.body)).decode())
        flags = ["--no-buffer"] if self.body.get("stream") else []
        command = " ".join(["curl", *flags, shlex.quote(self.url), *given])
        if len(body.encode()) > _LONGEST_ARGUMENT:
            return f"{command} --data-binary @- <<'JSON'\n{body}\nJSON"
        return f"{command} --data {shlex.quote(body)}"


def preview_of(transcript: Transcript, request: Request, limits: Limits, client: Client | None) -> Preview:
    """What would be sent next.

    Args:
        transcript: A run that has begun; it is changed.
        request: Of the run.
        limits: Of the run.
        client: Who would send it; without one, whom the environment names, else the Claude API.
    """
    client = client or _client_of_environment()
    if isinstance(step := next_step(transcript, limits, 0.0), Answer):
        transcript.answer()
        step = next_step(transcript, limits, 0.0)
    if isinstance(step, CallModel):
        budget = Budget(limits, transcript, client.provider.name)
        fitted = budget.fit(request_now(request, transcript), step.max_tokens)
        request = request if isinstance(fitted, Finish) else fitted
    sent = b"".join(request.body_parts(transcript.history.body, transcript.container))
    body = parse_json(sent)
    tokens = _input_tokens(transcript, body, len(sent))
    headers = client.headers_for(request)
    betas = [name.strip() for name in headers.get("anthropic-beta", "").split(",") if name.strip()]
    return Preview(
        body=body,
        problems=check_request(body, version=headers["anthropic-version"], betas=betas),
        size=len(sent),
        input_tokens=tokens,
        cost=_cost(body, tokens, client.provider),
        cost_unknown=why_no_price(request.model, client.provider.name),
        url=f"{client.base_url}/v1/messages",
        headers=_without_keys(headers, client.provider),
    )


def _client_of_environment() -> Client:
    try:
        return Client()
    except ConfigurationError:  # no key: there is one to come, then
        return Client(api_key="to-come", base_url=ANTHROPIC.base_url)


def _input_tokens(transcript: Transcript, body: dict[str, Any], size: int) -> int:
    """What the API has counted of the messages before, and else a third of the bytes."""
    if Usage.from_wire((transcript.last or {}).get("usage")).total_tokens:
        return transcript.history.tokens()
    images = [_base64_of(block) for block in _images(body)]
    return (size - sum(map(len, images))) // 3 + _IMAGE_TOKENS * len(images) + _TOOL_TOKENS * bool(body.get("tools"))


def _images(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict) and value.get("type") == "image":
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _images(part)


def _base64_of(image: dict[str, Any]) -> str:
    source = image.get("source")
    return str(source.get("data") or "") if isinstance(source, dict) else ""


def _cost(body: Mapping[str, Any], tokens: int, provider: Provider) -> float | None:
    usage = {"input_tokens": tokens, "output_tokens": body["max_tokens"]}
    multiplied = {name: body.get(name) for name in ("speed", "inference_geo")}
    return cost_of({"model": body["model"], "usage": {**usage, **multiplied}}, provider.name)


def _without_keys(headers: Mapping[str, str], provider: Provider) -> dict[str, str]:
    """The headers, with the name of a variable in place of what may be secret."""
    key = "$COMETAPI_KEY" if provider.name == COMETAPI.name else "$ANTHROPIC_API_KEY"
    bearer = key if "x-api-key" in headers else "$ANTHROPIC_AUTH_TOKEN"
    shown = {}
    for name, value in headers.items():
        if name == "x-api-key":
            shown[name] = key
        elif name == "authorization" and value.startswith("Bearer "):
            shown[name] = f"Bearer {bearer}"
        else:
            shown[name] = value if _SHOWN.fullmatch(name) else "$" + re.sub(r"\W", "_", name).upper()
    return shown


def _without_secrets(body: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(body.get("mcp_servers"), list):
        return body
    shown: dict[str, Any] = copy_json(body)
    for server in shown["mcp_servers"]:
        if isinstance(server, dict):
            server.update({name: f"<{name}>" for name in ("url", "authorization_token") if name in server})
    return shown


def _escaped(found: re.Match[str]) -> str:
    """A letter as it is; as JSON escapes, what a terminal might obey."""
    return found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1]


def _quoted(name: str, value: str) -> str:
    """A header as one word of a shell, in which the variables of `_without_keys` are still variables."""
    is_variable = _NAME.fullmatch(name) and not _SHOWN.fullmatch(name)
    return f'"{name}: {value}"' if is_variable else shlex.quote(f"{name}: {value}")
