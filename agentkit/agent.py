"""`Agent`: a model, its tools and its settings; runs begin here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypedDict, Unpack
from weakref import WeakKeyDictionary, WeakSet

from agentkit.client import Client
from agentkit.errors import ConfigurationError
from agentkit.loop import begin, within
from agentkit.messages import Block, Prompt, encode
from agentkit.prices import require_price
from agentkit.request import Request
from agentkit.result import RunResult
from agentkit.rules import Problem, check_request
from agentkit.run import Run
from agentkit.server_tools import ServerTool, with_tools
from agentkit.settings import Limits
from agentkit.step import Answer, CallModel, next_step
from agentkit.stream import parse_json
from agentkit.support import Provider
from agentkit.tools import Tool, tool
from agentkit.transcript import Decision, Transcript

if TYPE_CHECKING:
    from agentkit.output import Output
    from agentkit.portal import Portal

__all__ = ["Agent", "Preview", "RunOptions", "allow", "deny", "edit"]

AnyTool: TypeAlias = "Tool | ServerTool | Callable[..., Any] | dict[str, Any]"
Earlier: TypeAlias = "RunResult | Mapping[str, Any]"
"""What a run goes on from: a result, or what its `dump()` gave."""


class RunOptions(TypedDict, total=False):
    """What may differ from run to run. Agents are shared between tenants; keys, deps and budgets are not.

    Attributes:
        deps: For the tools: `ctx.deps`.
        client: In place of the agent's.
        limits: In place of the agent's.
        system: In place of the agent's.
        tools: In place of the agent's.
    """

    deps: Any
    client: Client
    limits: Limits
    system: str | Sequence[Block]
    tools: Iterable[AnyTool]


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


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run would send first.

    Attributes:
        body: The request body.
        problems: What the API would refuse in it.
        size: Of the body in bytes.
    """

    body: dict[str, Any]
    problems: list[Problem]
    size: int


class Agent:
    """A model with tools. It never changes, so it can be shared; keys, deps and limits may differ from run to run.

    Args:
        model: Id of the model; by default `AGENTKIT_MODEL`.
        system: System prompt, text or text blocks. Keep it constant: a clock in it breaks the prompt cache.
        tools: Functions, `@tool`s, server tools such as `web_search()`, or definitions in wire shape.
        output_type: A pydantic model, dataclass, list, union or another type, or a JSON Schema: `result.output` is a
            value of it, which the API is asked for and which is checked here.
        max_tokens: Output tokens of one reply, thinking included.
        thinking: In wire shape, such as `{"type": "adaptive"}`.
        effort: low, medium, high, xhigh or max, as far as the model has it.
        tool_choice: In wire shape.
        stop_sequences: Texts that end a reply.
        metadata: In wire shape.
        service_tier: auto or standard_only.
        extra_body: More fields of the body, as they are.
        extra_headers: More headers.
        betas: Names for `anthropic-beta`.
        limits: What a run may use.
        client: The endpoint; without one a `Client()` is made at the first run, and closed by the agent.

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
        thinking: Mapping[str, Any] | None = None,
        effort: str | None = None,
        tool_choice: Mapping[str, Any] | None = None,
        stop_sequences: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        service_tier: str | None = None,
        extra_body: Mapping[str, Any] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        betas: Iterable[str] = (),
        limits: Limits | None = None,
        client: Client | None = None,
    ) -> None:
        model = model or os.environ.get("AGENTKIT_MODEL")
        if not model:
            raise ConfigurationError('name a model: Agent("claude-sonnet-4-6"), or set AGENTKIT_MODEL')
        self.model = model
        self.limits = limits or Limits()
        self._client = client
        self._own: Client | None = None
        self._synced: WeakSet[Client] = WeakSet()  # those of `run_sync`
        self._tools = _by_name(tools)
        if own := {"model", "max_tokens", "messages", "system", "tools", "stream"} & set(extra_body or ()):
            raise ConfigurationError(f"extra_body can't hold {min(own)}: Agent and run have an argument for it")
        self._output = _output_of(output_type)
        params = {
            "thinking": thinking,
            "output_config": _output_config(effort, self._output, extra_body or {}),
            "tool_choice": tool_choice,
            "stop_sequences": stop_sequences,
            "metadata": metadata,
            "service_tier": service_tier,
            **{name: value for name, value in (extra_body or {}).items() if name != "output_config"},
        }
        self._bare = Request(
            model=model,
            max_tokens=max_tokens,
            system=parse_json(encode(system)),
            params=parse_json(encode({name: value for name, value in params.items() if value is not None})),
            betas=tuple(betas),
            headers=dict(extra_headers or {}),
        )
        self._provider = _provider_of(client)
        self._request = with_tools(self._bare, self._tools.values(), self._provider)
        self._unstreamed = replace(self._request, stream=False)
        if self._output:
            _refuse_citations(self._request.tools)

    def __repr__(self) -> str:
        return f"Agent({self.model!r}, tools={list(self._tools)})"

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
            after: The result (or its `dump()`) that this run continues.
            **options: For this run alone: see `RunOptions`.

        Raises:
            APIError: The endpoint failed; its `.result` can be resumed.
            TranscriptError: The API would refuse the messages.
        """
        return await self._start(prompt, after, {}, options, stream=None).drain()

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
            earlier: Its result, or what `dump()` gave.
            decisions: On held calls, by call id: `allow()`, `deny("why")` or `edit({...})`.
            **options: For this run alone: see `RunOptions`.

        Raises:
            ConfigurationError: A decision is on no held call.
            APIError: As for `run`.
        """
        return await self._start(None, earlier, decisions or {}, options, stream=None).drain()

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
        transcript = _transcript_of(after)
        begin(transcript, "preview", prompt)
        request, _ = self._request_for(options, stream=None)
        limits = options.get("limits") or self.limits
        if isinstance(step := next_step(transcript, limits, 0.0), Answer):
            transcript.answer()
            step = next_step(transcript, limits, 0.0)
        if isinstance(step, CallModel):
            request = within(request, step.max_tokens)
        body = b"".join(request.body_parts(transcript.message_parts(), transcript.container))
        parsed = parse_json(body)
        return Preview(parsed, check_request(parsed), len(body))

    def _start(
        self,
        prompt: Prompt | None,
        after: Earlier | None,
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
        transcript = _transcript_of(after)
        begin(transcript, transcript.run_id if prompt is None else os.urandom(16).hex(), prompt)
        for call_id, decision in decisions.items():
            transcript.decide(call_id, decision)
        request, tools = self._request_for(options, stream=stream)
        return Run(
            transcript,
            send=client.send,
            request=request,
            limits=limits,
            tools={name: item for name, item in tools.items() if isinstance(item, Tool)},
            tool_timeout=client.timeouts.tool,
            deps=options.get("deps"),
            output=self._output,
        )

    def _request_for(self, options: RunOptions, *, stream: bool | None) -> tuple[Request, Mapping[str, AnyTool]]:
        # Source: messages-api.md section 16.1: what may take longer than ten minutes has to be streamed.
        fits = 3600 * self._request.max_tokens / 128_000 <= 600
        request = self._unstreamed if stream is None and fits else self._request
        client = options.get("client") or self._client or self._own
        provider = client.provider if client else self._provider
        tools = _by_name(options["tools"]) if "tools" in options else self._tools
        if "tools" in options or provider != self._provider:
            request = replace(with_tools(self._bare, tools.values(), provider), stream=request.stream)
            if self._output:
                _refuse_citations(request.tools)
        if "system" in options:
            request = replace(request, system=options["system"])
        return request, tools

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

    return _portals.setdefault(client, Portal())


def _output_of(output_type: Any) -> Output[Any] | None:
    if output_type is None:
        return None
    from agentkit.output import Output

    return Output(output_type)


def _output_config(
    effort: str | None, output: Output[Any] | None, extra_body: Mapping[str, Any]
) -> dict[str, Any] | None:
    config = {"effort": effort, "format": output.format if output else None}
    known = {name: value for name, value in config.items() if value is not None}
    return {**known, **(extra_body.get("output_config") or {})} or None


def _refuse_citations(tools: Iterable[Mapping[str, Any]]) -> None:
    """Source: messages-api.md section 13: structured outputs don't go with citations."""
    for definition in tools:
        citations = definition.get("citations")
        if isinstance(citations, Mapping) and citations.get("enabled"):
            name = definition.get("name")
            raise ConfigurationError(f"output_type can't go with citations: make {name} without citations=True")


def _transcript_of(earlier: Earlier | None) -> Transcript:
    if earlier is None:
        return Transcript()
    if isinstance(earlier, RunResult):
        return earlier.transcript()
    if isinstance(earlier, str):
        raise ConfigurationError("a run id needs a journal, which this version has not: give the result or its dump()")
    return Transcript.load(earlier)


def _by_name(tools: Iterable[AnyTool]) -> dict[str, Tool | ServerTool | dict[str, Any]]:
    found: dict[str, Tool | ServerTool | dict[str, Any]] = {}
    if not isinstance(tools, Iterable):
        raise ConfigurationError("tools must be a list of functions, tools or definitions")
    for at, item in enumerate(tools):
        if isinstance(item, Mapping):
            item = parse_json(encode(dict(item)))
        elif not isinstance(item, Tool | ServerTool):
            if not callable(item):
                raise ConfigurationError(
                    f"tools[{at}] is of type {type(item).__name__}: give a function, a Tool or a definition"
                )
            item = tool(item)
        # Toolsets and MCP connectors have no name of their own.
        name = item.get("name") or f"{item.get('type')} {at}" if isinstance(item, dict) else item.name
        if name in found:
            raise ConfigurationError(f"two tools have the name {name!r}: rename one with @tool(name=…)")
        found[name] = item
    return found
