"""The Messages API over HTTP, as an ASGI application."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import anyio
from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from agentkit.emulator.checks.checking import Checks, check_window, known_model
from agentkit.emulator.checks.novelty import Novelty
from agentkit.emulator.clock import Clock
from agentkit.emulator.corpus.corpus import Corpus
from agentkit.emulator.dialects.cometapi import PAGE
from agentkit.emulator.dialects.dialect import DIALECTS, Dialect
from agentkit.emulator.exchange import authenticate, json_body, json_response
from agentkit.emulator.limits import RateLimits
from agentkit.emulator.messages.compaction import asks_for_summary, compacted, due_compaction, summary
from agentkit.emulator.messages.diagnostics import Diagnostics
from agentkit.emulator.messages.editing import after_compaction, edited
from agentkit.emulator.messages.message import CHARACTERS_A_TOKEN, Reply, message_of, prompt_size, tokens
from agentkit.emulator.messages.prompt_cache import NOT_CACHED, PromptCache
from agentkit.emulator.reader.reader import ABOUT, read
from agentkit.emulator.refusal import Refused
from agentkit.emulator.replies import Events, ScriptedError, ScriptedReply
from agentkit.emulator.resources.batches import batch_routes
from agentkit.emulator.resources.containers import Containers
from agentkit.emulator.resources.files import Files, file_routes
from agentkit.emulator.resources.models import model_item
from agentkit.emulator.resources.threads import Threads
from agentkit.emulator.scripts.completion import completed
from agentkit.emulator.scripts.script import Player, Unforeseen
from agentkit.emulator.sending import WithHeaders, event_stream

__all__ = ["Api", "make_app"]

Change: TypeAlias = Callable[[Events], Iterable[dict[str, Any]]]


@dataclass(slots=True)
class Api:
    """What answers, and what it keeps.

    Attributes:
        corpus: What the reader's server tools search; None with a script.
        player: Plays the script; None for the reader.
        pause_after: Server calls in one reply of the reader, before it pauses.
        pace: Seconds that a streamed reply takes at most by waiting between events.
        dialect: The endpoint's ways.
        clock: The time.
    """

    corpus: Corpus | None = None
    player: Player | None = None
    pause_after: int = 3
    pace: float = 0.0
    dialect: Dialect = DIALECTS["anthropic"]
    clock: Clock = field(default_factory=Clock)
    threads: Threads = field(init=False)
    containers: Containers = field(init=False)
    cache: PromptCache = field(init=False)
    files: Files = field(init=False)
    limits: RateLimits = field(init=False)
    diagnostics: Diagnostics = field(default_factory=Diagnostics, init=False)
    novelty: Novelty = field(default_factory=Novelty, init=False)
    checks: Checks = field(init=False)

    def __post_init__(self) -> None:
        self.threads = Threads(self.clock)
        self.containers = Containers(self.clock)
        self.cache = PromptCache(self.clock)
        self.files = Files(self.clock)
        self.limits = RateLimits(self.clock)
        self.checks = Checks(self.dialect, self.containers, self.files, self.novelty)

    @property
    def about(self) -> str:
        """What it says of itself."""
        if self.corpus is None:
            return "This is agentkit's emulator: it plays a script, and is not a language model.\n"
        return f"This is {ABOUT}.\nIt searches {self.corpus.about}.\n"

    async def answered(
        self, body: dict[str, Any], raw: bytes, headers: Mapping[str, str]
    ) -> tuple[dict[str, Any], Events]:
        """The message that answers a request, and the events that stream it.

        Args:
            body: The request.
            raw: The same as bytes.
            headers: Its headers.

        Raises:
            Refused: The API refuses the request, or the script does not foresee it.
        """
        try:
            whole = self.threads.whole(body)
            raw = raw if whole is body else to_json(whole)
            with self.threads.released(body):
                read_as, transformations = self.checks.check(whole, headers)
                message, change = await self._answer(body, read_as, raw)
                if transformations is not None:
                    message.setdefault("input_transformations", transformations)
                self.threads.keep(body, whole, message)
        except Refused as refused:
            if self.player and refused.rule not in ("script", "unforeseen"):
                self.player.refused(f"{refused.status} {refused.message}")
            raise
        except Exception as fault:
            if self.player:
                self.player.failures.append(f"the emulator itself failed: {fault!r}")
            raise
        sent = self.dialect.message(message)
        made = list(self.dialect.events(sent)) if body.get("stream") else []
        return sent, list(change(made)) if change else made

    def count(self, body: dict[str, Any], raw: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
        """What `/v1/messages/count_tokens` says of a request; raises `Refused`."""
        read_as, _ = self.checks.check({**body, "max_tokens": 1}, headers)
        size = prompt_size(read_as, raw)
        _, done = edited(read_as, size)
        left = tokens(size) - sum(edit["cleared_input_tokens"] for edit in done or ())
        context = {} if done is None else {"context_management": {"original_input_tokens": tokens(size)}}
        return {"input_tokens": max(0, left), **context}

    async def _answer(
        self, body: dict[str, Any], whole: dict[str, Any], raw: bytes
    ) -> tuple[dict[str, Any], Change | None]:
        """The message that answers what was checked, and how the script changes its events.

        Args:
            body: The request.
            whole: The request with its whole history, as the model reads it.
            raw: The same as bytes.
        """
        seen = after_compaction(whole) if b'"compaction"' in raw else whole
        size = prompt_size(seen, raw if seen is whole else to_json(seen))
        seen, edits = edited(seen, size)
        size -= CHARACTERS_A_TOKEN * sum(edit["cleared_input_tokens"] for edit in edits or ())
        if not self.dialect.lenient:
            check_window(seen, size)
        reply, change = await self._reply(body, whole, seen, size)
        named = (reply.fields.get("container") or {}).get("id")
        if named:
            self.containers.keep(named)
        elif container := self.containers.of(whole, reply.content):
            reply.fields["container"] = container
        if edits is not None:
            reply.fields.setdefault("context_management", {"applied_edits": edits})
        why = self.diagnostics.of(whole)
        if why is not None:
            reply.fields.setdefault("diagnostics", why)
        counts = self.cache.counts(seen) if b'"cache_control"' in raw else NOT_CACHED
        message = message_of(whole, size, reply, counts)
        if why is not None:
            self.diagnostics.keep(whole, message["id"])
        return message, change

    async def _reply(
        self, body: dict[str, Any], whole: dict[str, Any], seen: dict[str, Any], size: int
    ) -> tuple[Reply, Change | None]:
        if self.player is not None:
            try:
                scripted = await self._scripted(self.player, body)
                reply = completed(scripted, whole, size)
            except ValueError as error:
                raise _unforeseen(self.player.misfit(str(error))) from None
            except Unforeseen as error:
                raise _unforeseen(error) from None
            self.novelty.note(reply.content)
            self.files.note(reply.content)
            return reply, scripted.events
        if asks_for_summary(whole):
            return completed(summary(whole), whole, size), None
        assert self.corpus is not None
        edit = due_compaction(seen, size)
        return compacted(read(seen, self.corpus, self.pause_after), seen, size, edit), None

    async def _scripted(self, player: Player, body: dict[str, Any]) -> ScriptedReply:
        step = player.next(body)
        # A function of the script may wait for something.
        said = (
            await anyio.to_thread.run_sync(player.played, step, body) if callable(step) else player.played(step, body)
        )
        if isinstance(said, ScriptedError):
            raise Refused(said.status, said.message, said.type, headers=said.headers, rule="script")
        if said.events and not body.get("stream"):
            raise ValueError("it changes the events of a stream, and the request asks for none")
        if asks_for_summary(body) and [block["type"] for block in said.blocks] != ["compaction"]:
            raise ValueError("the request asks for a compaction block and nothing else")
        return said


def _unforeseen(why: Unforeseen) -> Refused:
    return Refused(500, str(why), headers={"x-should-retry": "false"}, rule="unforeseen")


def make_app(api: Api) -> ASGIApp:
    """The application."""
    dialect = api.dialect

    async def messages(request: Request) -> Response:
        body, raw = await json_body(request)
        message, events = await api.answered(body, raw, request.headers)
        limits = api.limits.headers(body["model"], message["usage"]) if dialect.own_headers else None
        if body.get("stream"):
            return event_stream(events, api.pace, limits)
        return json_response(message, headers=limits)

    async def count_tokens(request: Request) -> Response:
        body, raw = await json_body(request)
        return json_response(api.count(body, raw, request.headers))

    async def models(request: Request) -> Response:
        authenticate(request)
        return json_response(dialect.models(request.query_params))

    async def model(request: Request) -> Response:
        authenticate(request)
        name = request.path_params["model"]
        known_model(name)
        return json_response(model_item(name))

    async def root(request: Request) -> Response:
        return PlainTextResponse(f"{api.about}POST /v1/messages\n")

    routes = [
        Route("/v1/messages", messages, methods=["POST"]),
        Route("/v1/models", models, methods=["GET"]),
    ]
    if dialect.routes == "gateway":
        routes.append(Route("/{path:path}", _lost, methods=["GET", "POST"]))
    else:
        routes.append(Route("/", root, methods=["GET"]))
        routes.append(Route("/v1/messages/count_tokens", count_tokens, methods=["POST"]))
    if dialect.routes == "local":
        routes.append(Route("/health", _healthy, methods=["GET"]))
    if dialect.routes == "all":
        routes.append(Route("/v1/models/{model}", model, methods=["GET"]))
        routes += [*batch_routes(api.answered, api.clock), *file_routes(api.files)]
    app = Starlette(routes=routes, exception_handlers=_ON_ERROR)
    app.state.dialect = dialect
    app.router.redirect_slashes = False
    return WithHeaders(app, dialect.own_headers)


async def _healthy(request: Request) -> Response:
    return json_response({"status": "ok"})


async def _lost(request: Request) -> Response:
    """A path that a gateway does not have. Source: messages-api.md section 22."""
    path = request.url.path
    if path.startswith("/v1/v1/"):
        return RedirectResponse(path.removeprefix("/v1"), 301)
    if path.startswith("/v1/"):
        raise Refused(404, f"Invalid URL ({request.method} {path})")
    return HTMLResponse(PAGE)


def _error(request: Request, refused: Refused) -> Response:
    dialect = request.app.state.dialect
    status, body = dialect.error(refused, request.state.request_id)
    retry = {"x-should-retry": "true" if refused.may_pass else "false"} if dialect.own_headers else {}
    return json_response(body, status, {**retry, **refused.headers})


async def _on_refused(request: Request, refused: Exception) -> Response:
    assert isinstance(refused, Refused)
    return _error(request, refused)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = None if error.status_code == 404 else "invalid_request_error"
    return _error(request, Refused(error.status_code, error.detail, kind))


async def _on_gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)


async def _on_fault(request: Request, error: Exception) -> Response:
    return _error(request, Refused(500, "Internal server error"))


_ON_ERROR: dict[Any, Any] = {
    Refused: _on_refused,
    HTTPException: _on_http,
    ClientDisconnect: _on_gone,
    Exception: _on_fault,
}
