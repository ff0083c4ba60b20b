"""`Agent`: a model, its tools and its settings; runs begin here."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack
from weakref import WeakKeyDictionary, WeakSet, finalize

from anyio import to_thread

from agentkit.blueprint import AnyTool, Blueprint
from agentkit.call import Decision
from agentkit.client import Client
from agentkit.errors import ConfigurationError
from agentkit.healing import ask
from agentkit.journal import Journal
from agentkit.loop import begin
from agentkit.messages import Block, Prompt, as_messages
from agentkit.options import RunOptions, refuse_unknown
from agentkit.parameters import Parameters
from agentkit.recall import Earlier, has_begun, last_of, reread, transcript_of
from agentkit.request import Request
from agentkit.result import RunResult
from agentkit.run import Run
from agentkit.settings import Limits
from agentkit.step import Finish, next_step
from agentkit.support import Provider
from agentkit.tools import RunContext, Tool
from agentkit.transcript import Transcript

if TYPE_CHECKING:
    from agentkit.long_outputs import Outputs
    from agentkit.policy import Policy
    from agentkit.portal import Portal
    from agentkit.preview import Preview

__all__ = ["Agent"]


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
        outputs: A folder for results of tools that are longer than 32 KB. The model gets head and tail, and reads the
            rest with `read_output`, a tool that the agent then has too. Without one, what is over 256 KB is cut.
        policy: What the tools may do, and what a human is asked about: a `Policy`, the path of a TOML file, or several
            of these, of which each can only forbid more. Without one, every tool that is given may run.
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
        outputs: str | os.PathLike[str] | None = None,
        policy: Policy | str | os.PathLike[str] | Sequence[Policy | str | os.PathLike[str]] | None = None,
        **parameters: Unpack[Parameters],
    ) -> None:
        self.limits = limits or Limits()
        self._client = client
        self.journal = _journal_of(journal)
        self._outputs = None if outputs is None else _outputs_in(outputs)
        self._policy = _policy_of(policy)
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
            own=[self._outputs.tool] if self._outputs else [],
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
        return await self._start(prompt, await self._loaded(after, options), {}, options, stream=None).drain()

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
            RunBusy: Another process goes on with the run, or has gone on with it since the result was made.
            APIError: As for `run`.
        """

        async def go_on(loaded: Earlier | Transcript | None) -> RunResult:
            return await self._start(None, loaded, decisions or {}, options, stream=None).drain()

        if isinstance(earlier, str):
            return await reread(partial(self._loaded, earlier), go_on)
        return await go_on(earlier)

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
        refuse_unknown(options)
        client = options.get("client") or self._default_client()
        transcript = transcript_of(await self._loaded(earlier), self.journal)
        ask(transcript, self.model, client.origin)
        request, _ = self._request_for(options, client, stream=None)
        from agentkit.compaction import compact

        await compact(transcript, client.send, request, instructions)
        finish = earlier.finish if isinstance(earlier, RunResult) else next_step(transcript, Limits(), 0.0)
        assert isinstance(finish, Finish)
        if self.journal:
            row = self.journal.run(transcript.run_id) if self.journal.has(transcript.run_id) else None
            transcript.begin(os.urandom(16).hex(), None, asks=transcript.asked)
            lease = await self.journal.take_up(transcript, row.session if row else None)
            await lease.release(finish.reason, "compacted")
        return RunResult(transcript, finish, self._blueprint.output)

    def run_sync(self, prompt: Prompt, *, after: Earlier | None = None, **options: Unpack[RunOptions]) -> RunResult:
        """`run` for callers that are not async: a script, a notebook, a thread.

        Raises:
            ConfigurationError: The client has an HTTP client of the caller's, which belongs to another event loop.
        """
        if "within" in options:
            raise ConfigurationError("run_sync can't be part of a call: use `await agent.run(…, within=ctx)`")
        client = options["client"] = options.get("client") or self._default_client()
        if client.http_client is not None:
            raise ConfigurationError("run_sync can't use an http_client of yours: use `await agent.run(…)`")
        self._synced.add(client)
        return _portal_of(client).call(lambda: self.run(prompt, after=after, **options))

    def as_tool(self, name: str, description: str) -> Tool:
        """This agent as a tool of another one: `Agent(…, tools=[researcher.as_tool("research", "Finds sources.")])`.

        It gets a text, sees nothing else of the conversation, and its answer is the result. It shares the budget of the
        run that calls it, and unless it has its own also client, journal, `deps` and `approve`. A call that needs an
        approval which nobody gives ends it without an answer. For more than a text, write a tool that runs the agent
        with `within=ctx`.

        Args:
            name: Of the tool.
            description: What the agent is good for: the model that calls it reads this.
        """
        from agentkit.subagent import agent_tool, effects_of

        effect = effects_of(self._blueprint.tools.values())
        return agent_tool(
            lambda prompt, ctx: self.stream(prompt, within=ctx), name=name, description=description, effect=effect
        )

    def close(self) -> None:
        """Ends what `run_sync` began: its thread and connections."""
        for client in list(self._synced):
            if portal := _portals.pop(client, None):
                portal.call(client.aclose)
                portal.close()

    def preview(self, prompt: Prompt, *, after: Earlier | None = None, **options: Unpack[RunOptions]) -> Preview:
        """The first request of a run, and what the API would refuse in it. Nothing is sent."""
        refuse_unknown(options)
        client = options.get("client") or self._client or self._own
        transcript = transcript_of(after, self.journal)
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
        if prompt is None and after is None and "session" not in options:
            raise ConfigurationError("give a prompt, or with after= the run to resume")
        refuse_unknown(options)
        within = options.get("within")
        client, journal = self._client_for(options), self.journal or (within.shared.journal if within else None)
        session = options.get("session")
        if session and after is None:
            after = last_of(session, journal)
            if prompt is None and after is None:
                raise ConfigurationError(f"session {session!r} has no run yet that could go on")
        run_id = options.get("run_id") or self._new_run_id(prompt, within)
        if prompt is not None and has_begun(run_id, prompt, journal):
            prompt, after = None, run_id
        transcript = transcript_of(after, journal)
        if prompt is None:
            run_id = transcript.run_id
        lenient = client.provider.runs_at_end_turn
        request, tools = self._request_for(options, client, stream=stream)
        sends = request.kept() if journal else None
        asks: dict[str, Any] = {"asks": (self.model, client.origin), "runs_at_end_turn": lenient, "sends": sends}
        if within:
            asks |= {"taint": within.shared.taint, "within": (within.run_id, within.call_id)}
        begin(transcript, run_id, prompt, **asks)
        for call_id, decision in decisions.items():
            transcript.decide(call_id, decision)
        return Run(
            transcript,
            client=client,
            request=request,
            limits=options.get("limits") or self.limits,
            tools=tools,
            deps=options.get("deps", within and within.deps),
            output=self._blueprint.output,
            approve=options.get("approve") or (within.shared.approve if within else None),
            journal=journal,
            keep=partial(self._outputs.keep, run_id) if self._outputs else None,
            session=session,
            policies=[*([self._policy] if self._policy else []), *(within.shared.policies if within else ())],
            within=within,
        )

    def _new_run_id(self, prompt: Prompt | None, within: RunContext[Any] | None) -> str:
        if within is None or prompt is None:
            return os.urandom(16).hex()
        run_id: str = within.shared.run_id(within.idempotency_key, as_messages(prompt))
        return run_id

    def _client_for(self, options: RunOptions) -> Client:
        """That of the run, of the agent, of the run above it, or one for the agent alone."""
        if client := options.get("client") or self._client:
            return client
        within = options.get("within")
        shared: Client | None = within.shared.client if within else None
        return shared or self._default_client()

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

    async def _loaded(self, earlier: Earlier | None, options: RunOptions | None = None) -> Earlier | Transcript | None:
        """Reads a run's log in a thread, since a long one takes a while."""
        session = (options or {}).get("session")
        if earlier is None and session:
            earlier = await to_thread.run_sync(last_of, session, self.journal)
        if not isinstance(earlier, str):
            return earlier
        return await to_thread.run_sync(transcript_of, earlier, self.journal)

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


def _portal_of(client: Client) -> Portal:
    from agentkit.portal import Portal

    if client not in _portals:
        portal = _portals[client] = Portal()
        # A client that nobody closes takes its thread and connections with it.
        finalize(client, portal.abandon, client.closing).atexit = False
    return _portals[client]


def _outputs_in(folder: str | os.PathLike[str]) -> Outputs:
    from agentkit.long_outputs import Outputs

    return Outputs(folder)


def _policy_of(given: Any) -> Policy | None:
    if given is None:
        return None
    from agentkit.policy import policy_of

    return policy_of(given)


def _journal_of(given: Journal | str | os.PathLike[str] | None) -> Journal | None:
    if given is None and (home := os.environ.get("AGENTKIT_HOME")):
        os.makedirs(home, mode=0o700, exist_ok=True)
        given = os.path.join(home, "runs.db")
    return given if given is None or isinstance(given, Journal) else Journal(given)
