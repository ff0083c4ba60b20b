"""How the story of a run looks: its turns, calls and decisions, for a terminal of any width, or for a pipe."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from agentkit.cli.journals import shown_id
from agentkit.cli.phrases import asked, counted, short, took
from agentkit.messages import Usage
from agentkit.terminal import safe, safe_line

if TYPE_CHECKING:
    from agentkit.call import Pending
    from agentkit.cli.story import Step

__all__ = ["Teller", "dollars", "on_screen", "when"]

_WIDEST = 100
_LABELS = {"web_search": "search", "web_fetch": "fetch"}
_STYLES = {"done": "dim", "denied": "red", "failed": "red", "unknown": "red", "timed_out": "red"}


def on_screen() -> Console:
    """Where to: with colours on a terminal, plain and as wide as it needs in a pipe."""
    is_terminal = sys.stdout.isatty()
    console = Console(force_terminal=is_terminal, highlight=False, markup=False, emoji=False)
    console.width = min(console.width, _WIDEST) if is_terminal else 1000
    return console


class Teller:
    """Tells the steps of a run.

    Args:
        console: Where to.
        whole: Whether inputs and results are shown in full.
    """

    def __init__(self, console: Console, *, whole: bool = False) -> None:
        self._console = console
        self._whole = whole

    def tell(self, steps: Iterable[Step]) -> None:
        """Shows steps in order."""
        for step in steps:
            match step["step"]:
                case "asked":
                    self._said(step["text"])
                case "turn":
                    self._turn(step)
                case "held":
                    self._line(step["name"], asked(step["input"]), "held", "yellow")
                    if self._whole:
                        self._block(json.dumps(step["input"], ensure_ascii=False, indent=2), 4)
                case "call":
                    self._call(step)
                case "decision":
                    self._remark(_decided(step))
                case "judgement":
                    if step["action"] != "allow":
                        self._line(step["name"], step["rule"], step["action"], "yellow")
                case "agent":
                    used = Usage(**{**step["usage"], "cache_miss_reasons": ()}).total_tokens
                    self._remark(f"an agent within this run used {used:,} tokens: run {shown_id(step['run'])}")
                case "operation":
                    self._remark(": ".join(filter(None, [step["operation"].replace("_", " "), step["why"]])))
                case kind:
                    self._remark(kind)

    def pending(self, held: Sequence[Pending], resume: str) -> None:
        """Shows the calls that wait for a decision, with exactly what they would run with, and how to decide.

        Args:
            held: The calls.
            resume: The command that resumes the run.
        """
        self.head("Waits for your decision", "bold yellow")
        for call in held:
            self._console.print(Text(f"  {safe_line(call.name)}  ({safe_line(call.call_id)})", "cyan"))
            self._block(json.dumps(call.input, ensure_ascii=False, indent=2), 4)
        one = shlex.quote(safe_line(held[0].call_id))
        self._console.print(Text("  To decide (with the --tool of the run, or its --agent):", "dim"))
        for how in ("", f" --allow {one}", f" --deny {one}='not now'", f" --edit {one}='{{…}}'"):
            self._console.print(Text(f"    {resume}{how}"), soft_wrap=True)

    def orphans(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Shows results that came when another process had the run."""
        self.head("Came too late, and is in no turn", "bold red")
        for entry in entries:
            result = entry.get("result") or {}
            about = f"{entry.get('call')}  {entry.get('outcome') or entry.get('state')}  {result.get('content', '')}"
            self._fitted(f"  {safe_line(about)}", "")

    def head(self, text: str, style: str = "bold") -> None:
        """Begins a part."""
        self._console.print()
        self._console.print(Text(safe_line(text), style), soft_wrap=True)

    def line(self, text: str, style: str = "") -> None:
        """Shows one line of the command's own."""
        self._console.print(Text(safe_line(text), style))

    def _said(self, text: str) -> None:
        self.head("asked")
        self._block(text, 2)

    def _turn(self, step: Step) -> None:
        usage = Usage.from_wire(step["usage"])
        tokens = f"{short(usage.total_tokens - usage.output_tokens)} tokens in, {short(usage.output_tokens)} out"
        about = [took(step["seconds"]), tokens, "" if step["cost"] is None else dollars(step["cost"])]
        if step["stop_reason"] not in ("end_turn", "tool_use"):
            about.append(f"stopped by {step['stop_reason']}")
        self._console.print()
        right = ", ".join(filter(None, about))
        self._console.print(Text.assemble((f"turn {step['turn']}", "bold"), (f"  {safe_line(right)}", "dim")))
        for block in step["content"]:
            if block["type"] == "text":
                self._block(block["text"], 2)
            elif block["type"] == "server_call":
                outcome = block["error"] or (counted(block["results"], "result") if block["ended"] else "not ended")
                self._line(block["name"], asked(block["input"]), outcome, "red" if block["error"] else "dim")

    def _call(self, step: Step) -> None:
        seconds = "" if step["seconds"] is None else took(step["seconds"])
        outcome, style = step["outcome"].replace("_", " "), _STYLES.get(step["outcome"], "yellow")
        self._line(step["name"], asked(step["input"]), outcome, style, seconds)
        if self._whole:
            self._block(json.dumps(step["input"], ensure_ascii=False, indent=2), 4)
            self._block(step["result"], 4)
        elif step["result"].strip():
            self._fitted(f"    {safe_line(step['result'])}", "dim")

    def _line(self, name: str, given: str, outcome: str, style: str, seconds: str = "") -> None:
        label = Text(f"  {safe_line(_LABELS.get(name, name))}", "cyan")
        label.truncate(24, overflow="ellipsis")
        label.pad_right(max(14 - label.cell_len, 0) + 2)
        middle, right = Text(safe_line(given)), f"{safe_line(outcome):>12} {seconds:>8}"
        room = self._console.width - label.cell_len - len(right) - 2
        if self._console.is_terminal:
            middle.truncate(max(room, 6), overflow="ellipsis", pad=True)
        else:
            middle.pad_right(max(50 - middle.cell_len, 0))
        self._console.print(Text.assemble(label, middle, "  ", (right.rstrip(), style)), soft_wrap=True)

    def _remark(self, text: str) -> None:
        self._fitted(f"  {safe_line(text)}", "yellow")

    def _fitted(self, text: str, style: str) -> None:
        line = Text(text, style)
        line.truncate(self._console.width if self._console.is_terminal else 200, overflow="ellipsis")
        self._console.print(line, soft_wrap=True)

    def _block(self, text: str, indent: int) -> None:
        if self._console.is_terminal:
            self._console.print(Padding(Text(safe(text.strip())), (0, 0, 0, indent)))
            return
        for line in safe(text.strip()).split("\n"):
            self._console.print(Text((" " * indent + line).rstrip()), soft_wrap=True)


def when(seconds: float) -> str:
    """A time in this zone; of the last twelve hours the time of day alone."""
    is_recent = time.time() - seconds < 12 * 3600
    return time.strftime("%H:%M:%S" if is_recent else "%Y-%m-%d %H:%M", time.localtime(seconds))


def dollars(cost: float) -> str:
    """A cost, to a hundredth of a cent."""
    return f"${cost:.4f}"


def _decided(step: Step) -> str:
    match step["action"]:
        case "edit":
            return f"{step['name']} may run, with {json.dumps(step['input'], ensure_ascii=False)} in place of that"
        case "deny":
            return f"{step['name']} may not run" + (f": {step['reason']}" if step["reason"] else "")
    return f"{step['name']} may run"
