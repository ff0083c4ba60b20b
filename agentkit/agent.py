"""`Agent`: a model, its tools and its settings; runs begin here."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, TypedDict, Unpack
from weakref import WeakKeyDictionary, WeakSet, finalize

from anyio import to_thread

from agentkit.blueprint import AnyTool, Blueprint
from agentkit.call import Approve, Decision
from agentkit.client import Client
from agentkit.errors import ConfigurationError, RunBusy
from agentkit.healing import ask
from agentkit.journal import Journal, question_of
from agentkit.loop import begin
from agentkit.messages import Block, Prompt, as_messages, encode
from agentkit.parameters import Parameters
from agentkit.prices import require_price
from agentkit.request import Request
from agentkit.result import RunResult
from agentkit.run import Run
from agentkit.settings import Limits
from agentkit.step import Finish, next_step
from agentkit.stream import parse_json
from agentkit.support import Provider
from agentkit.tools import Tool
from agentkit.transcript import Transcript

if TYPE_CHECKING:
    from agentkit.portal import Portal
    from agentkit.preview import Preview

__all__ = ["Agent", "RunOptions", "allow", "deny", "edit"]

Earlier: TypeAlias = "RunResult | Mapping[str, Any] | str"
"""What a run goes on from: a result, what its `dump()` gave, or the id of a run in the journal."""


class RunOptions(TypedDict, total=False):
    """What may differ from run to run. Agents are shared between tenants; keys, deps and budgets are not.

    Attributes:
        deps: For the tools: `ctx.deps`.
        client: In place of the agent's.
        limits: In place of the agent's.
        system: In place of the agent's.
        tools: In place of the agent's.
        approve: Decides on each call that needs an approval while the run goes on: a function of a `Pending` that
            returns `allow()`, `deny(…)` or `edit(…)`, async, or sync and then called in a thread. Without one they are
            held.
        run_id: Names the run. One that the journal knows is not begun twice: asked the same again, it goes on, or gives
            its answer again.
    """

    deps: Any
    client: Client
    limits: Limits
    system: str | Sequence[Block]
    tools: Iterable[AnyTool]
    approve: Approve
    run_id: str


def allow() -> Decision:
    """Lets a held call run."""
    return Decision("allow")


def deny(reason: str = "") -> Decision:
    """Refuses a held call; the model is told so, with the reason."""
    return Decision("deny", reason)


def edit(input: dict[str, Any]) -> Decision:  # noqa: A002
    """Lets a held call run with another input; the model is told so.

    Raises:
        ConfigurationError: It has something that JSON has not.
    """
    return Decision("edit", input=parse_json(encode(input)))


class Agent:
    """A model with tools. It never changes, so it can be shared; keys, deps and limits may differ from run to run.

    Args:
        model: Id of the model; by default `AGENTKIT_MODEL`.
        system: System prompt, text or text blocks. Keep it constant: a clock in it breaks the prompt cache.
        tools: Functions, `@tool`s, server tools such as `web_search()`, or definitions in wire shape.
        output_type: A pydantic model, dataclass, list, union or another type, or a JSON Schema: `result.output` is a
            value of it, which the API is asked for and which is checked here.
        max_tokens: Output tokens of one reply, thinking included.
        cache: `"auto"` places cache marks where the provider takes them, so that each turn reads those before it from
            the prompt cache, and says before a request what will not hold (`cache_miss` events).
        extra_body: More fields of the body, as they are.
        extra_headers: More headers.
        betas: Names for `anthropic-beta`.
        limits: What a run may use.
        client: The endpoint; without one a `Client()` is made at the first run, and closed by the agent.
        journal: Where runs are kept, so that they outlive the process: a `Journal`, or the path of its file. By default
            `runs.db` in the folder that `AGENTKIT_HOME` names; without that they are kept in memory.
        **parameters: Other fields of the body, such as `thinking`, `effort` and `tool_choice`: see `Parameters`.

    Raises:
        ConfigurationError: No model is named, two tools have one name, or model, provider, tools and parameters don't
            go together.
        ToolDefinitionError: A function can't be a tool.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        system: str | Sequence[Block] | None = None,
        tools: Iterable[AnyTool] = (),
        output_type: Any = None,
        max_tokens: int = 8192,
        cache: Literal["auto"] | None = None,
        extra_body: Mapping[str, Any] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        betas: Iterable[str] = (),
        limits: Limits | None = None,
        client: Client | None = None,
        journal: Journal | str | os.PathLike[str] | None = None,
        **parameters: Unpack[Parameters],
    ) -> None:
        self.limits = limits or Limits()
        self._client = client
        self._journal = _journal_of(journal)
        self._own: Client | None = None
        self._synced: WeakSet[Client] = WeakSet()  # those of `run_sync`
        self._blueprint = Blueprint(
            model,
            system=system,
            tools=tools,
            output_type=output_type,
            max_tokens=max_tokens,
            parameters=parameters,
            extra_body=extra_body,
            extra_headers=extra_headers,
            betas=betas,
            provider=_provider_of(client),
            cache=cache,
            known=client.known_model(model) if client and model else None,
        )
        self.model = self._blueprint.model

    def __repr__(self) -> str:
        return f"Agent({self.model!r}, tools={list(self._blueprint.tools)})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._own is not None:
            await self._own.aclose()

    async def run(self, prompt: Prompt, *, after: Earlier | None = None, **options: Unpack[RunOptions]) -> RunResult:
        """Runs to the end.

        Args:
            prompt: Text, content blocks, or messages in wire shape.
            after: The result (or its `dump()`, or the id of its run in the journal) that this run continues.
            **options: For this run alone: see `RunOptions`.

        Raises:
            APIError: The endpoint failed; its `.result` can be resumed.
            TranscriptError: The API would refuse the messages.
        """
        return await self._start(prompt, await self._loaded(after), {}, options, stream=None).drain()

    def stream(
        self,
        prompt: Prompt | None,
        *,
        after: Earlier | None = None,
        decisions: Mapping[str, Decision] | None = None,
        **options: Unpack[RunOptions],
    ) -> Run:
        """The run as a context manager to iterate over: `async with agent.stream("…") as run: async for event in run`.

        Without a prompt it resumes `after`, with `decisions` on its held calls. Else as `run`.
        """
        return self._start(prompt, after, decisions or {}, options, stream=True)

    async def resume(
        self, earlier: Earlier, *, decisions: Mapping[str, Decision] | None = None, **options: Unpack[RunOptions]
    ) -> RunResult:
        """Goes on with a run that was held, stopped by a limit, cancelled or cut off by an error.

        Args:
            earlier: Its result, what `dump()` gave, or its id in the journal.
            decisions: On held calls, by call id: `allow()`, `deny("why")` or `edit({...})`.
            **options: For this run alone: see `RunOptions`.

        Raises:
            ConfigurationError: A decision is on no held call.
            APIError: As for `run`.
        """
        loaded = await self._loaded(earlier)
        return await self._start(None, loaded, decisions or {}, options, stream=None).drain()

    async def compact(
        self, earlier: Earlier, *, instructions: str | None = None, **options: Unpack[RunOptions]
    ) -> RunResult:
        """The same conversation with a summary in the place of its messages, for the next `after=`.

        Args:
            earlier: A result that owes nothing, or what its `dump()` gave, or its id in the journal.
            instructions: What the summary is to keep, in place of the API's own instructions.
            **options: As for `run`; `limits` are of runs.

        Raises:
            ConfigurationError: The run has not come to its end.
            APIError: There is no summary; `earlier` is as it was.

        Source: messages-api.md section 18.3.
        """
        _refuse_unknown(options)
        client = options.get("client") or self._default_client()
        transcript = self._transcript_of(await self._loaded(earlier))
        ask(transcript, self.model, client.origin)
        request, _ = self._request_for(options, client, stream=None)
        from agentkit.compaction import compact

        await compact(transcript, client.send, request, instructions)
        finish = earlier.finish if isinstance(earlier, RunResult) else next_step(transcript, Limits(), 0.0)
        assert isinstance(finish, Finish)
        if self._journal:
            transcript.begin(os.urandom(16).hex(), None, asks=transcript.asked)
            await (await self._journal.take_up(transcript)).release(finish.reason, "compacted")
        return RunResult(transcript, finish, self._blueprint.output)

    def run_sync(self, prompt: Prompt, *, after: Earlier | None = None, **options: Unpack[RunOptions]) -> RunResult:
        """`run` for callers that are not async: a script, a notebook, a thread.

        Raises:
            ConfigurationError: The client has an HTTP client of the caller's, which belongs to another event loop.
        """
        client = options["client"] = options.get("client") or self._default_client()
        if client.http_client is not None:
            raise ConfigurationError("run_sync can't use an http_client of yours: use `await agent.run(…)`")
        self._synced.add(client)
        return _portal_of(client).call(lambda: self.run(prompt, after=after, **options))

    def close(self) -> None:
        """Ends what `run_sync` began: its thread and connections."""
        for client in list(self._synced):
            if portal := _portals.pop(client, None):
                portal.call(client.aclose)
                portal.close()

    def preview(self, prompt: Prompt, *, after: Earlier | None = None, **options: Unpack[RunOptions]) -> Preview:
        """The first request of a run, and what the API would refuse in it. Nothing is sent."""
        _refuse_unknown(options)
        client = options.get("client") or self._client or self._own
        transcript = self._transcript_of(after)
        begin(transcript, "preview", prompt, asks=(self.model, client.origin) if client else None)
        request, _ = self._request_for(options, client, stream=None)
        from agentkit.preview import preview_of

        return preview_of(transcript, request, options.get("limits") or self.limits, client)

    def _start(
        self,
        prompt: Prompt | None,
        after: Earlier | Transcript | None,
        decisions: Mapping[str, Decision],
        options: RunOptions,
        *,
        stream: bool | None,
    ) -> Run:
        if prompt is None and after is None:
            raise ConfigurationError("give a prompt, or with after= the run to resume")
        _refuse_unknown(options)
        client = options.get("client") or self._default_client()
        limits = options.get("limits") or self.limits
        if limits.max_cost_usd is not None:
            require_price(self.model, client.provider.name)
        run_id = options.get("run_id") or os.urandom(16).hex()
        if prompt is not None and (begun := self._begun(run_id, prompt)):
            prompt, after = None, begun
        transcript = self._transcript_of(after)
        if prompt is None:
            run_id = transcript.run_id
        lenient = client.provider.runs_at_end_turn
        request, tools = self._request_for(options, client, stream=stream)
        sends = request.kept() if self._journal else None
        begin(transcript, run_id, prompt, asks=(self.model, client.origin), runs_at_end_turn=lenient, sends=sends)
        for call_id, decision in decisions.items():
            transcript.decide(call_id, decision)
        return Run(
            transcript,
            send=client.send,
            request=request,
            limits=limits,
            tools=tools,
            tool_timeout=client.timeouts.tool,
            deps=options.get("deps"),
            output=self._blueprint.output,
            approve=options.get("approve"),
            journal=self._journal,
        )

    def _request_for(
        self, options: RunOptions, client: Client | None, *, stream: bool | None
    ) -> tuple[Request, Mapping[str, Tool]]:
        client = options.get("client") or client
        return self._blueprint.request(
            client.provider if client else None,
            tools=options.get("tools"),
            system=options.get("system"),
            stream=stream,
            known=client.known_model(self.model) if client else None,
        )

    def _begun(self, run_id: str, prompt: Prompt) -> str | None:
        """The run of this name, if the journal has it: a question that comes twice is asked once."""
        if self._journal is None or not self._journal.has(run_id):
            return None
        asked = question_of(self._journal.load(run_id))
        if encode(as_messages(prompt)) != encode(asked):
            raise ConfigurationError(f"run {run_id!r} has begun with another question: give this one another run_id")
        return run_id

    def _transcript_of(self, earlier: Earlier | Transcript | None) -> Transcript:
        if earlier is None:
            return Transcript()
        if isinstance(earlier, RunResult):
            return earlier.transcript()
        if isinstance(earlier, Transcript):
            return earlier
        if not isinstance(earlier, str):
            return Transcript.load(earlier)
        if self._journal is None:
            raise ConfigurationError("a run id needs a journal: Agent(journal=…), or AGENTKIT_HOME")
        transcript = self._journal.load(earlier)
        if self._journal.is_live(self._journal.run(earlier)):
            raise RunBusy(f"run {earlier} goes on in another place: wait for its end")
        return transcript

    async def _loaded(self, earlier: Earlier | None) -> Earlier | Transcript | None:
        """Reads a run's log in a thread, since a long one takes a while."""
        return await to_thread.run_sync(self._transcript_of, earlier) if isinstance(earlier, str) else earlier

    def _default_client(self) -> Client:
        if self._client is None and self._own is None:
            self._own = Client()
        return self._client or self._own  # type: ignore[return-value]


_portals: WeakKeyDictionary[Client, Portal] = WeakKeyDictionary()


def _provider_of(client: Client | None) -> Provider | None:
    """The provider of the client, or of the one that the environment would give now."""
    try:
        return (client or Client()).provider
    except ConfigurationError:
        return None


def _refuse_unknown(options: RunOptions) -> None:
    """A misspelt limit would be no limit."""
    if unknown := options.keys() - RunOptions.__annotations__.keys():
        known = ", ".join(RunOptions.__annotations__)
        raise ConfigurationError(f"a run has no option {min(unknown)!r}: there are after, {known}")
    if not isinstance(options.get("limits") or Limits(), Limits):
        raise ConfigurationError("limits must be Limits(…)")


def _portal_of(client: Client) -> Portal:
    from agentkit.portal import Portal

    if client not in _portals:
        portal = _portals[client] = Portal()
        # A client that nobody closes takes its thread and connections with it.
        finalize(client, portal.abandon, client.closing).atexit = False
    return _portals[client]


def _journal_of(given: Journal | str | os.PathLike[str] | None) -> Journal | None:
    if given is None and (home := os.environ.get("AGENTKIT_HOME")):
        os.makedirs(home, mode=0o700, exist_ok=True)
        given = os.path.join(home, "runs.db")
    return given if given is None or isinstance(given, Journal) else Journal(given)
