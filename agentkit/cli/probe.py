"""`agentkit doctor --probe`: some small requests, and what the replies say that an endpoint supports."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio

from agentkit.errors import AgentKitError, AuthenticationError, PaymentRequiredError, RateLimitError, status_error
from agentkit.support import SERVER_TOOLS
from agentkit.terminal import safe_line

if TYPE_CHECKING:
    from agentkit.client import Client
    from agentkit.endpoint import Endpoint

__all__ = ["UNCHECKED", "Finding", "Probe", "Question", "questions"]

_AT_ONCE = 4
_SECONDS = 60.0
_LONGEST_NOTE = 240
_TOKENS_FOR_CACHE = 4096  # the longest minimum of any model. Source: messages-api.md section 17
_LONG_TEXT = "".join(f"Line {number}: nothing in this line is of any use to anybody.\n" for number in range(420))
_PING = {
    "name": "ping",
    "description": "Answers pong. Call it whenever you are asked to ping.",
    "input_schema": {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]},
}
_SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "integer"}},
    "required": ["answer"],
    "additionalProperties": False,
}
UNCHECKED = "accepted, but so is one that does not exist"
_NONE = "-"  # the control of controls, which are not shown
_REQUEST_ID = re.compile(r" *\(request id: [^()]*\)")  # gateways put it into their texts
_SPENT = ("credit balance", "usage limits")

Verdict: TypeAlias = tuple[bool | None, str]
"""Whether it is supported, None where that is not known, and a note."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the reply to a question says.

    Attributes:
        feature: What was asked about.
        supported: None where it is not known: the request failed, or was answered without saying it.
        note: The endpoint's own words, or what is worth knowing.
    """

    feature: str
    supported: bool | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request; without a status nothing did, and `body` says why."""

    status: int | None
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def message(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    def blocks(self, kind: str) -> list[dict[str, Any]]:
        """Its content blocks of a type."""
        return [block for block in self.message["content"] if block["type"] == kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request whose reply says whether something is supported.

    Attributes:
        feature: What.
        look: Judges a reply with status 200.
        fields: Of the body, beside those that every request has.
        headers: As for `Endpoint.ask`.
        path: Where to.
        refusals: Statuses that mean no here, and elsewhere that something is wrong.
        control: The feature of a question that nobody can answer with yes: one that is accepted too proves that what
            only is accepted was not looked at.
    """

    feature: str
    look: Callable[[Answer], Verdict] = lambda answer: _accepted(answer)
    fields: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str | None] = field(default_factory=dict)
    path: str = "/v1/messages"
    refusals: tuple[int, ...] = ()
    control: str = ""

    def body(self, model: str) -> dict[str, Any] | None:
        """The body; None for a GET."""
        if self.path.startswith("/v1/models"):
            return None
        base = {"model": model, "max_tokens": 16, "messages": [{"role": "user", "content": "Say ok."}]}
        body = base | dict(self.fields)
        return {name: value for name, value in body.items() if value is not None}


class Probe:
    """The questions for one endpoint and model.

    Args:
        client: The way to the endpoint.
        model: Id of the model.
    """

    def __init__(self, client: Client, model: str) -> None:
        self._endpoint: Endpoint = client.endpoint
        self._model = model
        headers = self._endpoint.headers({}, ())
        self._secret = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
        self._headers: Mapping[str, str | None] = {}
        self.questions = list(questions(self._secret))

    def most_tokens(self) -> tuple[int, int]:
        """Input and output tokens of all requests, at most and roughly."""
        bodies = [body for each in self.questions if (body := each.body(self._model))]
        counted = [body for each, body in zip(self.questions, bodies, strict=False) if "count" not in each.path]
        return sum(len(json.dumps(body)) for body in counted) // 3, sum(body["max_tokens"] for body in counted)

    async def run(self, done: Callable[[int, int], object]) -> list[Finding]:
        """What the endpoint supports, in the order of the questions; where it answers nothing, only that.

        Args:
            done: Gets the number of findings so far and of all, after each.
        """
        first, *rest = self.questions
        answer = await self._asked(first)
        if answer.status in (401, 403):
            answer = await self._asked_otherwise(first, answer)
        findings = {first.feature: self._finding(first, answer)}
        if not findings[first.feature].supported:
            return [*findings.values()]
        limiter = anyio.CapacityLimiter(_AT_ONCE)

        async def ask(question: Question) -> None:
            async with limiter:
                found = self._finding(question, await self._asked(question))
            findings[question.feature] = found
            done(len(findings), len(self.questions))

        async with anyio.create_task_group() as group:
            for question in rest:
                group.start_soon(ask, question)
        number = answer.headers.get("request-id")
        in_order = [_controlled(question, findings) for question in self.questions if question.control != _NONE]
        return [*in_order, Finding("request-id header", bool(number), number or "")]

    async def _asked_otherwise(self, question: Question, before: Answer) -> Answer:
        """The answer with the key in the other header, where all questions then have it, if that helps."""
        for headers in _key_headers(self._secret).values():
            self._headers = headers
            answer = await self._asked(question)
            if answer.status == 200:
                return answer
        self._headers = {}
        return before

    async def _asked(self, question: Question) -> Answer:
        body = question.body(self._model)
        method = "GET" if body is None else "POST"
        how: Any = {"headers": {**self._headers, **question.headers}, "repeat": False, "any_status": True}
        try:
            with anyio.fail_after(_SECONDS):
                async with self._endpoint.open(method, question.path, body, **how) as reply:
                    return Answer(reply.status, await reply.body(_SECONDS), reply.headers)
        except TimeoutError:
            return Answer(None, f"no answer within {_SECONDS:g} seconds".encode())
        except AgentKitError as error:
            return Answer(None, str(error).encode())

    def _finding(self, question: Question, answer: Answer) -> Finding:
        supported, note = _judged(question, answer)
        if self._secret:
            note = note.replace(self._secret, "…")
        note = safe_line(_REQUEST_ID.sub("", note))
        return Finding(question.feature, supported, note if len(note) <= _LONGEST_NOTE else f"{note[:_LONGEST_NOTE]}…")


def _judged(question: Question, answer: Answer) -> Verdict:
    """A refusal is a fact, in the endpoint's words; a failure leaves it unknown."""
    if answer.status is None:
        return None, answer.body.decode()
    if answer.status == 200 or question.feature == "error shape":
        try:
            return question.look(answer)
        except (ValueError, TypeError, LookupError, AttributeError, AgentKitError):
            return None, "the reply has another shape than the API's"
    error = status_error(answer.status, _json_or_text(answer.body))
    if answer.status in question.refusals:
        return False, error.message
    failed = error.retryable or isinstance(error, AuthenticationError | PaymentRequiredError | RateLimitError)
    if failed or answer.status < 400 or any(text in error.message.lower() for text in _SPENT):
        return None, f"HTTP {answer.status}: {error.message}"
    return False, error.message


def _controlled(question: Question, findings: Mapping[str, Finding]) -> Finding:
    """A finding, which is none where the endpoint accepts what does not exist."""
    finding = findings[question.feature]
    shown = question.look is _thinks and not finding.note
    if finding.supported and not shown and question.control and findings[question.control].supported:
        return Finding(finding.feature, None, UNCHECKED)
    return finding


def _json_or_text(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")


# The questions, in the order in which they are shown


def questions(secret: str | None) -> Iterator[Question]:
    """What is asked.

    Args:
        secret: The key, which is tried in both headers; without one they are not asked about.
    """
    yield Question(feature="messages", look=_is_message)
    yield Question(feature="streaming", look=_is_stream, fields={"stream": True, "max_tokens": 32})
    yield from _tool_questions()
    yield from _thinking_questions()
    count = "/v1/messages/count_tokens"
    yield Question(feature="count_tokens", path=count, fields={"max_tokens": None}, look=_counts)
    yield Question(feature="models", path="/v1/models?limit=100", look=_lists)
    asked = [{"role": "user", "content": "What is 2 + 3? Answer as JSON."}]
    form = {"format": {"type": "json_schema", "schema": _SCHEMA}}
    fields = {"messages": asked, "output_config": form, "max_tokens": 256}
    yield Question(feature="structured output", look=_is_structured, fields=fields)
    user = {"role": "user", "content": "Say ok."}
    yield Question(feature="role system", fields={"messages": [user, {"role": "system", "content": "Be brief."}]})
    yield Question(feature="neighbours of one role", fields={"messages": [user, user]})
    for version, control in (("2026-10-21", "version 1999-01-01"), ("1999-01-01", _NONE)):
        yield Question(feature=f"version {version}", headers={"anthropic-version": version}, control=control)
    for feature, headers in _key_headers(secret).items():
        yield Question(feature=feature, headers=headers, refusals=(401, 403))
    yield Question(feature="error shape", fields={"messages": []}, look=_is_error)
    yield from _cache_questions()  # last: on a small machine their long texts keep the others waiting


def _key_headers(secret: str | None) -> dict[str, dict[str, str | None]]:
    """The headers with the key in one place alone; none without a key."""
    if not secret:
        return {}
    return {
        "key in x-api-key": {"x-api-key": secret, "authorization": None},
        "key as Bearer": {"x-api-key": None, "authorization": f"Bearer {secret}"},
    }


def _tool_questions() -> Iterator[Question]:
    asked = {"messages": [{"role": "user", "content": "Ping Bob with the tool."}], "tools": [_PING]}
    yield Question(feature="tool use", look=_calls, fields={**asked, "max_tokens": 400})
    forced = {**asked, "tool_choice": {"type": "any"}, "max_tokens": 200}
    yield Question(feature="forced tool_choice", look=_calls_when_forced, fields=forced)
    versions = SERVER_TOOLS["web_search"].dates
    for version in versions:
        tool: dict[str, Any] = {"type": f"web_search_{version}", "name": "web_search", "max_uses": 1}
        if version != versions[0]:
            tool["allowed_callers"] = ["direct"]
        yield Question(feature=tool["type"], fields={"tools": [tool]}, control="web_search_19990101")
    tool = {"type": "web_search_19990101", "name": "web_search"}
    yield Question(feature="web_search_19990101", fields={"tools": [tool]}, control=_NONE)


def _thinking_questions() -> Iterator[Question]:
    for kind in ("adaptive", "disabled", "between_tools", "enabled"):
        fields: dict[str, Any] = {"thinking": {"type": kind}, "max_tokens": 64}
        if kind == "enabled":
            fields = {"thinking": {"type": kind, "budget_tokens": 1024}, "max_tokens": 1100}
        look = _does_not_think if kind == "disabled" else _thinks
        yield Question(feature=f"thinking {kind}", look=look, fields=fields, control="thinking none")
    yield Question(feature="thinking none", fields={"thinking": {"type": "none"}}, control=_NONE)
    for level in ("low", "xhigh", "max", "none"):
        control = _NONE if level == "none" else "effort none"
        yield Question(feature=f"effort {level}", fields={"output_config": {"effort": level}}, control=control)


def _cache_questions() -> Iterator[Question]:
    mark = {"type": "ephemeral"}
    # Two texts, so that neither reads what the other has written.
    marked = [{"type": "text", "text": _LONG_TEXT, "cache_control": mark}]
    yield Question(feature="cache_control, block", look=_caches, fields={"system": marked})
    fields = {"system": f"Once more.\n{_LONG_TEXT}", "cache_control": mark}
    yield Question(feature="cache_control, top", look=_caches, fields=fields)


# What their replies say


def _accepted(answer: Answer) -> Verdict:
    return isinstance(answer.message["content"], list), ""


def _is_message(answer: Answer) -> Verdict:
    message = answer.message
    named = message.get("model") or "no model"
    return message["type"] == "message" and isinstance(message["content"], list), f"answered by {named}"


def _is_stream(answer: Answer) -> Verdict:
    from agentkit.stream import Decoder, Fold

    if not answer.headers.get("content-type", "").startswith("text/event-stream"):
        return False, "it answers in one piece"
    fold = Fold()
    for data in Decoder().feed(answer.body):
        fold.add(data)
    return fold.done, "" if fold.done else "the stream ends without message_stop"


def _calls(answer: Answer) -> Verdict:
    if not answer.blocks("tool_use"):
        return None, "accepted, but the model did not call the tool"
    stop = answer.message.get("stop_reason")
    return True, "" if stop == "tool_use" else f"its calls come with stop_reason {stop}"


def _calls_when_forced(answer: Answer) -> Verdict:
    called = bool(answer.blocks("tool_use"))
    return called, "" if called else "accepted, but ignored: the model did not call a tool"


def _thinks(answer: Answer) -> Verdict:
    return True, "" if answer.blocks("thinking") else "accepted; it did not think here"


def _does_not_think(answer: Answer) -> Verdict:
    thinks = bool(answer.blocks("thinking"))
    return not thinks, "accepted, but ignored: it thinks" if thinks else ""


def _caches(answer: Answer) -> Verdict:
    usage = answer.message.get("usage") or {}
    written, read = (int(usage.get(f"cache_{kind}_input_tokens") or 0) for kind in ("creation", "read"))
    if written or read:
        return True, f"{written or read} tokens {'written' if written else 'read'}"
    if int(usage.get("input_tokens") or 0) < _TOKENS_FOR_CACHE:
        return None, "accepted; usage does not show whether it caches"
    return False, "accepted, but ignored: usage shows nothing cached"


def _counts(answer: Answer) -> Verdict:
    tokens = answer.message["input_tokens"]
    return isinstance(tokens, int), f"{tokens} tokens"


def _lists(answer: Answer) -> Verdict:
    found: Sequence[Mapping[str, Any]] = answer.message["data"]
    says = any(model.get("capabilities") for model in found)
    shape = "the API's shape" if any(model.get("type") == "model" for model in found) else "OpenAI's shape"
    return True, f"{len(found)} in {shape}, {'with' if says else 'without'} capabilities"


def _is_structured(answer: Answer) -> Verdict:
    if answer.message.get("stop_reason") == "max_tokens":
        return None, "accepted; the answer was cut"
    text = "".join(block["text"] for block in answer.blocks("text"))
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    fits = isinstance(value, dict) and isinstance(value.get("answer"), int)
    return fits, "" if fits else "accepted, but ignored: the answer does not fit the schema"


def _is_error(answer: Answer) -> Verdict:
    body = _json_or_text(answer.body)
    if answer.status == 200:
        return False, "an empty list of messages is accepted"
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict) and body.get("type") == "error":
        return True, f"HTTP {answer.status}, {error.get('type')}: {error.get('message')}"
    return False, f"HTTP {answer.status}, {body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)}"
