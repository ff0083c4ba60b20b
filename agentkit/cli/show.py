"""What a run looks like: one line for each search, fetch and call; the text as it comes; sources and a summary."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.text import Text

from agentkit.cli.flow import Flow
from agentkit.cli.phrases import amount, asked, counted, short, took
from agentkit.cli.problems import notice
from agentkit.events import (
    ContentBlockStop,
    Event,
    InputDelta,
    Retry,
    ServerToolCall,
    ServerToolResult,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolHeld,
    ToolJudged,
    ToolProgress,
    ToolResult,
    TurnEnd,
    TurnRestarted,
    TurnStart,
)
from agentkit.messages import Block, citations_of, fetched_pages, text_of
from agentkit.terminal import safe_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

    from agentkit.result import RunResult

__all__ = ["Screen"]

_LABELS = {"web_search": "search", "web_fetch": "fetch"}
_WAITING = "waiting for the model"
_WIDEST = 100
_NARROW = 50
_SPARE = 3  # columns that stay free, so that the "^C" of an interrupt does not break a line that moves
_LONGEST_LABEL = 20
_SHORT_RESULT = 12


@dataclass(slots=True)
class _Going:
    """A call that has not ended."""

    label: str
    asked: str
    began: float = field(default_factory=time.monotonic)
    progress: str = ""


class Screen:
    """Shows a run to a person: with colours and a moving line on a terminal, as plain lines elsewhere.

    Args:
        console: Where to.
        tools: Names of the tools that the run has.
        earlier: Content blocks of the conversation so far, whose calls may end and be cited in this run.
        is_retold: Whether the events are those of a log: it knows neither how long the API took for a call, nor how
            many requests were sent again.
    """

    def __init__(
        self,
        console: Console,
        tools: Iterable[str] = (),
        earlier: Iterable[Block] = (),
        *,
        is_retold: bool = False,
    ) -> None:
        content = list(earlier)
        self._console = console
        self._is_retold = is_retold
        self._is_live = console.is_terminal and not console.is_dumb_terminal
        self._width = min(console.width - _SPARE, _WIDEST) if console.is_terminal else None
        self._label_width = max([8, *(len(_LABELS.get(name, name)) for name in tools)])
        self._label_width = min(self._label_width, _LONGEST_LABEL)
        self._flow = Flow(self._write, self._width)
        self._live: Live | None = None
        self._going: dict[str, _Going] = {}
        self._inputs = {str(block["id"]): block.get("input") for block in content if "input" in block}
        self._doing = _WAITING
        self._doing_since = time.monotonic()
        self._sources: dict[str, str] = {}
        self._sources_before: dict[str, str] = {}
        self._fetched = fetched_pages(content)
        self._shown = False  # some of this turn's text
        self._paused_after: int | None = None
        self._server_calls = 0
        self._part = ""
        self._requests = 0
        self._counts: dict[str, int] = {}

    def event(self, event: Event) -> None:
        """Shows one event."""
        match event:
            case TextDelta(text=text):
                self._text(text)
            case ContentBlockStop(block=block) if block.get("type") == "text":
                self._mark(block)
            case TurnStart():
                self._turn_start()
            case ThinkingDelta() if not self._flow.begun:
                self._doing = "thinking"
                self._move()
            case InputDelta():
                self._flow.end()
                self._doing = "writing a call"
                self._move()
            case ServerToolCall(id=id_, name=name, input=given):
                self._server_calls += 1
                self._begin(id_, name, given)
            case ServerToolResult():
                self._server_result(event)
            case ToolCall(call_id=call_id, name=name, input=given):
                self._begin(call_id, name, given)
            case ToolProgress(call_id=call_id, text=text) if call_id in self._going:
                self._going[call_id].progress = safe_line(text)
            case ToolHeld(name=name, input=given):
                self._line(name, asked(given), "held", style="yellow")
            case ToolJudged(name=name, action=action, rule=rule) if action != "allow":
                self._line(name, rule, action, style="yellow" if action == "ask" else "red")
            case ToolResult():
                self._tool_result(event)
            case Retry(wait=wait, reason=reason):
                self._requests += 1
                self._remark(f"the request failed, again in {wait:.1f} s: {reason}")
            case TurnRestarted():
                self._restart()
            case TurnEnd():
                self._turn_end(event)

    def note(self, text: str) -> None:
        """Shows a line about the run itself."""
        self._calm()
        self._begin_part("note")
        self._console.print(Text(safe_line(text), "dim"), soft_wrap=True)

    def progress(self, text: str) -> None:
        """Shows what goes on before the run: a line that changes on a terminal, lines beside the output elsewhere."""
        if self._is_live:
            self._doing = f"building the search index: {safe_line(text)}"
            self._move()
        else:
            notice(text)

    def finish(self, result: RunResult) -> None:
        """Shows the sources and the summary."""
        self._calm()
        for going in list(self._going.values()):
            self._ended(going, "cut off", time.monotonic() - going.began)
        if result.finish.reason == "end_turn" and not result.partial_text:
            self._remark("the reply has no text")
        if self._sources:
            self._begin_part("sources")
            self._console.print(Text("Sources", "bold"))
            for number, (key, title) in enumerate(self._sources.items(), 1):
                self._console.print(Text.assemble((f"{f'[{number}]':>5} ", "cyan"), title or key), soft_wrap=True)
                if title and title != key:
                    self._console.print(Text(f"      {key}", "dim"), soft_wrap=True)
        self._begin_part("summary")
        self._console.print(Text(self._summary(result), "dim"), soft_wrap=True)

    def close(self) -> None:
        """Leaves the screen as it should be, wherever the run ended."""
        self._calm()

    def _text(self, text: str) -> None:
        if not self._flow.begun and not text.strip():
            return
        self._stop_moving()
        self._begin_part("text")
        self._shown = True
        self._flow.feed(text)

    def _mark(self, block: dict[str, Any]) -> None:
        numbers: dict[int, None] = {}
        for citation in citations_of([block], self._fetched):
            title = citation.title or ""
            key = safe_line(citation.url or title or "a document")
            self._sources.setdefault(key, safe_line(title))
            numbers[list(self._sources).index(key) + 1] = None
        for number in numbers:
            self._flow.mark(number)

    def _turn_start(self) -> None:
        self._requests += 1
        if self._paused_after is not None:
            self._remark(f"paused by the API after {counted(self._paused_after, 'server call')}, resumed")
        if self._part == "text":
            self._part = "text before"
        self._paused_after = None
        self._server_calls = 0
        self._shown = False
        self._sources_before = dict(self._sources)
        self._wait()
        self._move()

    def _restart(self) -> None:
        self._going.clear()
        self._sources = dict(self._sources_before)
        self._server_calls = 0
        self._shown = False
        self._remark("the reply broke off: what was shown of it is void, it comes again")

    def _turn_end(self, event: TurnEnd) -> None:
        content = [block for block in event.message.get("content") or () if isinstance(block, dict)]
        if not self._shown:  # the endpoint does not stream
            for block in content:
                self._text(text_of([block]))
                self._mark(block)
        self._inputs = {str(block["id"]): block.get("input") for block in content if block.get("type") == "tool_use"}
        if event.stop_reason == "pause_turn":
            self._paused_after = self._server_calls
        self._flow.end()

    def _begin(self, call_id: str, name: str, given: Any) -> None:
        self._counts[name] = self._counts.get(name, 0) + 1
        self._flow.end()
        self._going[call_id] = _Going(name, asked(given))
        self._move()

    def _server_result(self, event: ServerToolResult) -> None:
        going = self._going.pop(event.id, None) or _Going(event.name, asked(self._inputs.get(event.id, "")))
        content = event.block.get("content")
        self._fetched.update(fetched_pages([event.block]))
        size = counted(len(content), "result") if isinstance(content, list) else amount(event.size)
        seconds = None if self._is_retold else time.monotonic() - going.began
        self._ended(going, "error" if event.error else size, seconds, event.error)

    def _tool_result(self, event: ToolResult) -> None:
        given = self._inputs.get(str(event.block.get("tool_use_id")))
        going = self._going.pop(event.call_id, None) or _Going(event.name, asked(given))
        content = event.block.get("content")
        text = content if isinstance(content, str) else text_of(content or ())
        if event.outcome != "done":
            self._ended(going, event.outcome.replace("_", " "), event.seconds, text)
        else:
            line = safe_line(text)
            is_short = 0 < len(line) <= _SHORT_RESULT
            self._ended(going, line if is_short else amount(event.size), event.seconds)

    def _ended(self, going: _Going, size: str, seconds: float | None, problem: str | None = None) -> None:
        self._line(going.label, going.asked, size, seconds, "yellow" if problem else "")
        if problem:
            indent = " " * (self._label_width + 4)
            self._console.print(self._fitted(f"{indent}{safe_line(problem)}", "dim"), soft_wrap=True)
        self._wait()

    def _line(self, name: str, given: str, size: str, seconds: float | None = None, style: str = "") -> None:
        self._flow.end()
        self._begin_part("calls")
        time_taken = "" if seconds is None else took(seconds)
        self._console.print(self._columns(name, given, f"{safe_line(size):>10} {time_taken:>8}", style), soft_wrap=True)

    def _columns(self, name: str, given: str, right: str, style: str = "") -> Text:
        label = Text(f"  {safe_line(_LABELS.get(name, name))}", "cyan")
        label.truncate(self._label_width + 4, overflow="ellipsis", pad=True)
        middle = Text(safe_line(given))
        if self._width:
            if self._width < _NARROW:
                right = " ".join(right.split())
            middle.truncate(max(self._width - len(label) - len(right) - 2, 6), overflow="ellipsis", pad=True)
        else:
            middle.pad_right(max(50 - len(given), 0))
        return Text.assemble(label, middle, "  ", (right, style or "dim"))

    def _fitted(self, text: str, style: str) -> Text:
        line = Text(text, style)
        if self._width:
            line.truncate(self._width, overflow="ellipsis")
        return line

    def _remark(self, text: str) -> None:
        self._flow.end()
        self._begin_part("calls")
        self._console.print(Text(f"  {safe_line(text)}", "yellow"), soft_wrap=True)

    def _begin_part(self, part: str) -> None:
        if self._part and self._part != part:
            self._console.print()
        self._part = part

    def _write(self, text: str) -> None:
        self._console.file.write(text)
        self._console.file.flush()

    def _wait(self) -> None:
        self._doing, self._doing_since = _WAITING, time.monotonic()

    def _move(self) -> None:
        if self._is_live and self._live is None:
            from rich.live import Live

            self._live = Live(get_renderable=self._moving, console=self._console, transient=True, refresh_per_second=8)
            self._live.start()

    def _moving(self) -> RenderableType:
        now = time.monotonic()
        dot = "·•"[int(now * 2) % 2] if (self._console.encoding or "").startswith("utf") else "."
        going = list(self._going.values())
        if not going:
            return self._fitted(f"{dot} {self._doing} {now - self._doing_since:.0f} s", "dim")
        lines = [
            self._columns(one.label, " - ".join(filter(None, [one.asked, one.progress])), f"{now - one.began:.1f} s")
            for one in going
        ]
        for line in lines:
            line.plain = dot + line.plain[1:]
        return Text("\n").join(lines)

    def _stop_moving(self) -> None:
        if self._live:
            live, self._live = self._live, None
            live.stop()

    def _calm(self) -> None:
        self._stop_moving()
        self._flow.end()

    def _summary(self, result: RunResult) -> str:
        usage = result.usage
        given = usage.total_tokens - usage.output_tokens
        searches, fetches = (self._counts.get(name, 0) for name in ("web_search", "web_fetch"))
        calls = sum(self._counts.values()) - searches - fetches
        parts = [
            counted(result.turns, "turn"),
            counted(0 if self._is_retold else self._requests, "request"),
            f"{short(given)} tokens in, {short(usage.output_tokens)} out",
            counted(searches, "search", "searches"),
            counted(fetches, "fetch", "fetches"),
            counted(calls, "call"),
            took(result.seconds),
        ]
        # A part is not broken over two lines.
        whole = ", ".join(part.replace(" ", "\u00a0") for part in parts if not part.startswith("0 "))
        return (textwrap.fill(whole, self._console.width) if self._width else whole).replace("\u00a0", " ")
