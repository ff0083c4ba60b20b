"""`RunResult`: the view that a run ends with."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from agentkit.call import Pending
from agentkit.errors import RunUnfinished
from agentkit.messages import (
    Block,
    Citation,
    Message,
    Usage,
    citations_of,
    fetched_pages,
    final_text,
    model_turns,
    sent_content,
    text_of,
)
from agentkit.step import Finish
from agentkit.transcript import Transcript

if TYPE_CHECKING:
    from agentkit.output import Output
    from agentkit.record import CallRecord, Search

__all__ = ["Pending", "RunResult"]


class RunResult:
    """How a run ended, and all that led to it. It never changes: a run that goes on from it gets a log of its own.

    Attributes:
        finish: Why the run ended.
        run_id: Of the run.
    """

    def __init__(
        self, transcript: Transcript, finish: Finish, output: Output[Any] | None = None, seconds: float = 0.0
    ) -> None:
        self._transcript = transcript
        self._seconds = seconds
        self._output = output
        self.finish = finish
        self.run_id = transcript.run_id

    def __repr__(self) -> str:
        return f"RunResult({self.finish.reason!r}, turns={self.turns}, run_id={self.run_id!r})"

    @property
    def text(self) -> str:
        """The text of the answer.

        Raises:
            RunUnfinished: The run ended for another reason than `end_turn` or `stop_sequence`.
        """
        if self.finish.reason not in ("end_turn", "stop_sequence"):
            detail = f" ({self.finish.detail})" if self.finish.detail else ""
            message = (
                f"the run ended with {self.finish.reason}{detail}, so it has no answer; .partial_text has what there is"
            )
            raise RunUnfinished(message, self)
        return self.partial_text

    @cached_property
    def output(self) -> Any:
        """The output of the run: a value of the agent's `output_type`, or without one the text.

        Raises:
            RunUnfinished: As `text`; a run whose answer is no such value ends with `invalid_output`.
        """
        text = self.text
        if self._output is None or self._transcript.last is None:
            return text
        return self._output.parse(final_text(sent_content(self._transcript.last)))

    @cached_property
    def partial_text(self) -> str:
        """The text of the last reply, whether or not it is an answer; a chain of paused turns is one reply."""
        return text_of(self._answer)

    @property
    def citations(self) -> list[Citation]:
        """What the last reply cites, in order."""
        turns = model_turns(self._transcript.entries)
        pages = fetched_pages(block for message in turns for block in message.get("content") or ())
        return list(citations_of(self._answer, pages))

    @property
    def searches(self) -> list[Search]:
        """What the API ran itself in this run, in order: searches, fetches, code, tool searches, advisors, MCP tools.

        One that failed has the wire's error code as its `error`.
        """
        from agentkit.record import searches_of

        return searches_of(self._transcript.entries, self._transcript.run_from)

    @property
    def tool_calls(self) -> list[CallRecord]:
        """The calls of your tools in this run, in order, with how each ended."""
        from agentkit.record import tool_calls_of

        return tool_calls_of(self._transcript.entries, self._transcript.run_from)

    @cached_property
    def messages(self) -> list[Message]:
        """The conversation in wire shape, as it is sent; calls without a result are shown closed."""
        return self._transcript.messages()

    @property
    def usage(self) -> Usage:
        """Tokens of the run, resumes included."""
        return self._transcript.spending.usage

    @property
    def cost(self) -> float | None:
        """US dollars of the run, resumes included, by Anthropic's price list.

        None, never 0, where the price of a turn is not known: another provider (gateways have prices of their own), a
        model that genai-prices does not know, or no genai-prices (extra `prices`). `Preview.cost_unknown` says which.
        """
        return self._transcript.spending.cost

    @property
    def turns(self) -> int:
        """Model turns of the run, resumes included."""
        return self._transcript.turns

    @property
    def seconds(self) -> float:
        """Active seconds of the run, resumes included."""
        return max(self._seconds, self._transcript.elapsed)

    @property
    def pending(self) -> list[Pending]:
        """Calls that wait for an approval."""
        return [call.pending() for call in self._transcript.held()]

    def dump(self) -> dict[str, Any]:
        """The log as JSON: keep it where you like; `after=` and `resume` take it."""
        return self._transcript.dump()

    def transcript(self) -> Transcript:
        """A log that begins with this one, for a run that goes on from here."""
        return self._transcript.branch()

    @property
    def _answer(self) -> list[Block]:
        start = max(self._transcript.answer_from, self._transcript.run_from)
        turns = model_turns(self._transcript.entries[start:])
        return [block for message in turns for block in sent_content(message)]
