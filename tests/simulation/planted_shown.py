"""Planted bugs of what is shown, to whom, and how it is read: events, secrets, origins, streams."""

from __future__ import annotations

import logging
from typing import Any

import httpx
from planting import Patch, bug, nothing

from agentkit import client, errors, invocation, run, transport
from agentkit.client import Client
from agentkit.errors import APIConnectionError, ToolError
from agentkit.events import Retry, ToolCall
from agentkit.execute import Calls
from agentkit.jobs import Jobs
from agentkit.lease import Lease
from agentkit.stream import Decoder
from agentkit.transport import Reply


@bug
def nobody_is_told_that_a_turn_begins_again(patch: Patch) -> None:
    patch.setattr(client, "TurnRestarted", lambda attempt, reason: Retry(attempt, 0.0, reason))


@bug
def a_turn_is_shown_before_it_is_stored(patch: Patch) -> None:
    commit = Lease.commit

    async def later(lease: Lease, durable: bool) -> None:
        if durable:
            await commit(lease, durable)

    patch.setattr(Lease, "commit", later)


@bug
def a_result_is_shown_before_it_is_stored(patch: Patch) -> None:
    patch.setattr(Lease, "commit_result", nothing)


@bug
def a_call_that_is_given_up_is_shown_before_it_is_stored(patch: Patch) -> None:
    show = Calls._show

    async def shown(calls: Calls, tool: Any, event: Any) -> None:
        if "did not stop then" in str(event.block):
            calls._jobs.emit(event)
        else:
            await show(calls, tool, event)

    patch.setattr(Calls, "_show", shown)


@bug
def the_end_is_shown_before_it_is_stored(patch: Patch) -> None:
    patch.setattr(Lease, "release", nothing)


@bug
def an_event_is_lost_where_another_waits(patch: Patch) -> None:
    emit = Jobs.emit

    def emitted(jobs: Jobs, event: Any) -> None:
        if not (jobs._events and isinstance(event, ToolCall)):
            emit(jobs, event)

    patch.setattr(Jobs, "emit", emitted)


@bug
def an_event_comes_twice(patch: Patch) -> None:
    emit = Jobs.emit

    def emitted(jobs: Jobs, event: Any) -> None:
        emit(jobs, event)
        if isinstance(event, ToolCall) and len(jobs._events) > 1:
            emit(jobs, event)

    patch.setattr(Jobs, "emit", emitted)


@bug
def redirects_are_followed(patch: Patch) -> None:
    send = httpx.AsyncClient.send

    async def followed(http: httpx.AsyncClient, request: httpx.Request, **how: Any) -> httpx.Response:
        return await send(http, request, **{**how, "follow_redirects": True})

    patch.setattr(httpx.AsyncClient, "send", followed)


@bug
def clients_share_their_headers(patch: Patch) -> None:
    shared: dict[str, dict[str, str]] = {}

    def kept(ours: Client, request: Any) -> dict[str, str]:
        return shared.setdefault("headers", ours.headers_for(request))

    patch.setattr(Client, "_kept_headers", kept)


@bug
def the_key_is_in_the_name_of_the_endpoint(patch: Patch) -> None:
    def origin(ours: Client) -> str:
        return f"{ours._key.reveal() if ours._key else ''}@{ours.provider.name}"

    patch.setattr(Client, "origin", property(origin))


@bug
def what_a_tool_raises_is_told_to_the_model(patch: Patch) -> None:
    async def entered(tool: Any, ctx: Any, given: Any, threads: Any, available: Any, *, whole: bool) -> Any:
        try:
            return invocation.Ended("done", await tool.run(ctx, given, threads=threads, whole=whole))
        except ToolError as error:
            return invocation.Ended("failed", error.content)
        except Exception as error:
            return invocation.Ended("failed", f"The tool failed with {error}.")

    patch.setattr(invocation, "_enter", entered)


@bug
def a_failed_connection_is_told_with_its_request(patch: Patch) -> None:
    translated = transport._translated

    def told(error: Any, *, reading: bool) -> Exception:
        if isinstance(error, httpx.ConnectError):
            return APIConnectionError(f"{error} ({dict(error.request.headers)})")
        return translated(error, reading=reading)

    patch.setattr(transport, "_translated", told)
    for sink in (errors, run):  # which would redact the key
        patch.setattr(sink, "redacted", lambda text: text)


@bug
def each_request_is_logged_with_its_headers(patch: Patch) -> None:
    exchange = client.exchange

    def logged(http: Any, method: str, url: Any, headers: Any, *given: Any) -> Any:
        logging.getLogger("agentkit.client").warning("%s %s %s", method, url, headers)
        return exchange(http, method, url, headers, *given)

    patch.setattr(client, "exchange", logged)


@bug
def a_character_that_is_cut_is_lost(patch: Patch) -> None:
    feed = Decoder.feed

    def fed(decoder: Decoder, chunk: bytes) -> list[bytes]:
        return feed(decoder, chunk.decode("utf-8", "ignore").encode())

    patch.setattr(Decoder, "feed", fed)


@bug
def a_reply_is_not_closed(patch: Patch) -> None:
    patch.setattr(Reply, "close", nothing)
