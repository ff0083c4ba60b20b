"""The Messages API over HTTP, as an ASGI application."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentkit import encode as encoding
from agentkit.emulator.clock import Clock
from agentkit.emulator.code import check_results_for_code
from agentkit.emulator.cometapi import PAGE
from agentkit.emulator.compaction import asks_for_summary, check_compaction, summary
from agentkit.emulator.completion import completed
from agentkit.emulator.containers import Containers
from agentkit.emulator.corpus import Corpus
from agentkit.emulator.dialects import DIALECTS, Dialect
from agentkit.emulator.exchange import authenticate, json_body, json_response
from agentkit.emulator.message import Reply, message_of, tokens
from agentkit.emulator.models import model_item
from agentkit.emulator.novelty import Novelty
from agentkit.emulator.opaque import altered
from agentkit.emulator.prompt_cache import PromptCache
from agentkit.emulator.reader import ABOUT, read
from agentkit.emulator.refusal import Refused
from agentkit.emulator.replies import Events, ScriptedError, ScriptedReply
from agentkit.emulator.script import Player, Unforeseen
from agentkit.emulator.shapes import misshapen
from agentkit.emulator.stores import store_routes
from agentkit.emulator.thinking import CONTROLS, checked_thinking
from agentkit.emulator.threads import Threads
from agentkit.messages import encode
from agentkit.rules import check_request

__all__ = ["Api", "make_app"]

_MAX_WAIT = 0.02  # seconds between two events
# What a request for a summary is told later, with a code of its own, or not at all: it may end with the model's turn.
_LATE = {
    "prefill": "accepted",
    "prefill_whitespace": "accepted",
    "thinking_final": "accepted",
    "thinking_expected": "accepted",
    "tool_result_missing": "refused",
    "server_result_missing": "refused",
}


@dataclass(slots=True)
class Api:
    """What answers, and what it keeps.

    Attributes:
        corpus: What the reader's server tools search; None with a script.
        player: Plays the script; None for the reader.
        pause_after: Server calls in one reply of the reader, before it pauses.
        pace: Seconds that a streamed reply takes at most by waiting between events.
        on_request: Gets the body and the headers of each request for a message.
        dialect: The endpoint's ways.
        clock: The time.
    """

    corpus: Corpus | None = None
    player: Player | None = None
    pause_after: int = 3
    pace: float = 0.0
    on_request: Callable[[dict[str, Any], Mapping[str, str]], None] = lambda body, headers: None
    dialect: Dialect = DIALECTS["anthropic"]
    clock: Clock = field(default_factory=Clock)
    threads: Threads = field(init=False)
    containers: Containers = field(init=False)
    cache: PromptCache = field(init=False)
    novelty: Novelty = field(default_factory=Novelty, init=False)

    def __post_init__(self) -> None:
        self.threads = Threads(self.clock)
        self.containers = Containers(self.clock)
        self.cache = PromptCache(self.clock)

    @property
    def about(self) -> str:
        """What it says of itself."""
        if self.corpus is None:
            return "This is agentkit's emulator: it plays a script, and is not a language model.\n"
        return f"This is {ABOUT}.\nIt searches {self.corpus.about}.\n"

    async def answered(
        self, body: dict[str, Any], size: int, headers: Mapping[str, str]
    ) -> tuple[dict[str, Any], Events]:
        """The message that answers a request, and the events that stream it.

        Raises:
            Refused: The API refuses the request, or the script does not foresee it.
        """
        try:
            whole = self.threads.whole(body)
            size = size if whole is body else len(encode(whole))
            with self.threads.released(body):
                read_as, transformations = self.checked(whole, headers)
                reply, events = await self._reply(body, read_as, size)
                message = self._message(whole, size, reply, transformations)
                self.threads.keep(body, whole, message)
        except Refused as refused:
            if self.player and refused.rule not in ("script", "unforeseen"):
                self.player.refused(f"{refused.status} {refused.message}")
            raise
        except Exception as fault:
            if self.player:
                self.player.failures.append(f"the emulator itself failed: {fault!r}")
            raise
        message = self.dialect.message(message)
        made = [event for event in encoding.events(message) if self.dialect.pings or event["type"] != "ping"]
        return message, list(events(made)) if events else made

    def checked(
        self, body: dict[str, Any], headers: Mapping[str, str]
    ) -> tuple[dict[str, Any], list[dict[str, Any]] | None]:
        """The request as the model reads it, and the `input_transformations` where the request asks for them.

        Raises:
            Refused: It breaks a rule.
        """
        self.dialect.check(body)
        betas = _beta_names(headers)
        version = headers.get("anthropic-version")
        judged = betas if self.dialect.judges_betas else None
        known: dict[str, Any] | None = body
        while known is not None:
            problems = check_request(known, version=version, betas=judged)
            known = self.novelty.without(known, problems)
        late = [problem for problem in problems if asks_for_summary(body) and problem.rule in _LATE]
        for problem in problems:
            if problem not in late:
                raise Refused.by(problem)
        known_model(body["model"])
        wrong = misshapen(body) or altered(body["messages"])
        if wrong:
            raise Refused(400, wrong)
        check_compaction(body)
        for problem in late:
            if _LATE[problem.rule] == "refused":
                raise Refused.by(problem)
        check_results_for_code(body["messages"])
        self.containers.check(body)
        read_as, done = checked_thinking(body)
        return read_as, done if CONTROLS in betas else None

    async def _reply(
        self, body: dict[str, Any], whole: dict[str, Any], size: int
    ) -> tuple[Reply, Callable[[Events], Iterable[dict[str, Any]]] | None]:
        if self.player is not None:
            try:
                scripted = await self._scripted(self.player, body)
                reply = completed(scripted, whole, size)
                self.novelty.note(reply.content)
                return reply, scripted.events
            except ValueError as error:
                raise _unforeseen(self.player.misfit(str(error))) from None
            except Unforeseen as error:
                raise _unforeseen(error) from None
        if asks_for_summary(whole):
            return completed(summary(whole), whole, size), None
        assert self.corpus is not None
        return read(whole, self.corpus, self.pause_after), None

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

    def _message(
        self, body: dict[str, Any], size: int, reply: Reply, transformations: list[dict[str, Any]] | None
    ) -> dict[str, Any]:
        named = (reply.fields.get("container") or {}).get("id")
        if named:
            self.containers.keep(named)
        elif container := self.containers.of(body, reply.content):
            reply.fields["container"] = container
        if transformations is not None:
            reply.fields.setdefault("input_transformations", transformations)
        return message_of(body, size, reply, self.cache.counts(body))


def _beta_names(headers: Mapping[str, str]) -> list[str]:
    given = headers.get("anthropic-beta")
    return [] if given is None else [name.strip() for name in given.split(",")]


def _unforeseen(why: Unforeseen) -> Refused:
    return Refused(500, str(why), headers={"x-should-retry": "false"}, rule="unforeseen")


def known_model(model: str) -> None:
    """Raises `Refused` for a model of others."""
    if not model.startswith("claude-"):
        raise Refused(404, f"model: {model}", rule="model_unknown")


def make_app(api: Api) -> ASGIApp:
    """The application."""
    dialect = api.dialect

    async def messages(request: Request) -> Response:
        body, size = await json_body(request)
        api.on_request(body, request.headers)
        message, events = await api.answered(body, size, request.headers)
        if not body.get("stream"):
            return json_response(message)
        return StreamingResponse(_frames(events, api.pace), media_type="text/event-stream")

    async def count_tokens(request: Request) -> Response:
        body, size = await json_body(request)
        api.checked({**body, "max_tokens": 1}, request.headers)
        return json_response({"input_tokens": tokens(size)})

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
    if dialect.every_route:
        routes += [
            Route("/", root, methods=["GET"]),
            Route("/v1/messages/count_tokens", count_tokens, methods=["POST"]),
            Route("/v1/models/{model}", model, methods=["GET"]),
            *store_routes(api.answered, api.clock),
        ]
    else:
        routes.append(Route("/{path:path}", _lost, methods=["GET", "POST"]))
    app = Starlette(routes=routes, exception_handlers=_ON_ERROR)
    app.state.dialect = dialect
    app.router.redirect_slashes = False
    return _WithRequestId(app, dialect)


async def _lost(request: Request) -> Response:
    """A path that a gateway does not have. Source: messages-api.md section 22."""
    path = request.url.path
    if path.startswith("/v1/v1/"):
        return RedirectResponse(path.removeprefix("/v1"), 301)
    if path.startswith("/v1/"):
        raise Refused(404, f"Invalid URL ({request.method} {path})")
    return HTMLResponse(PAGE)


class _WithRequestId:
    """Gives every request an id, and every reply its `request-id` header where the dialect has one."""

    def __init__(self, app: ASGIApp, dialect: Dialect) -> None:
        self._app = app
        self._dialect = dialect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        number = f"req_01{uuid.uuid4().hex[:22]}"
        scope.setdefault("state", {})["request_id"] = number

        async def with_header(message: Message) -> None:
            if message["type"] == "http.response.start" and self._dialect.request_id:
                message["headers"] = [*message["headers"], (b"request-id", number.encode())]
            await send(message)

        await self._app(scope, receive, with_header)


async def _frames(events: Events, pace: float) -> AsyncIterator[bytes]:
    wait = min(_MAX_WAIT, pace / max(1, len(events)))
    for event in events:
        if wait:
            await anyio.sleep(wait)
        yield encoding.sse(event)


def _error(request: Request, refused: Refused) -> Response:
    status, body = request.app.state.dialect.error(refused, request.state.request_id)
    return json_response(body, status, refused.headers)


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
