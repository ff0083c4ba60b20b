"""The table of runs, and what stands over and under the story of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from agentkit.cli.journals import shown_id
from agentkit.cli.phrases import counted, short
from agentkit.cli.problems import notice
from agentkit.cli.told import Teller, dollars, on_screen, when
from agentkit.terminal import safe_line

__all__ = ["ending", "show_head", "show_table"]

_STYLES = {"needs_approval": "yellow", "interrupted": "yellow", "running": "green", "error": "red", "damaged": "red"}


def show_table(runs: Sequence[dict[str, Any]]) -> None:
    """Prints a line for each run."""
    if not runs:
        notice("there is no such run")
        return
    console = on_screen()
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("run", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("written", no_wrap=True)
    table.add_column("turns", justify="right", no_wrap=True)
    table.add_column("tokens", justify="right", no_wrap=True)
    has_costs = any(run.get("cost") for run in runs)
    if has_costs:
        table.add_column("cost", justify="right", no_wrap=True)
    has_workers = any(run.get("queue") and run["holder"] for run in runs)
    if has_workers:
        table.add_column("worker, lease", no_wrap=True)
    table.add_column("asked")  # the only one that may shrink
    for run in runs:
        state = "damaged" if "damaged" in run else run["state"]
        spent = [short(run["turns"]), short(run["input_tokens"] + run["output_tokens"])] if "turns" in run else ["", ""]
        cost = [dollars(run["cost"]) if run.get("cost") else ""] if has_costs else []
        after = f" (after {shown_id(run['parent'])})" if run["parent"] else ""
        queue = (f" · {safe_line(run['queue'])}", "dim") if run.get("queue") else ""
        table.add_row(
            safe_line(shown_id(run["run_id"])),
            Text.assemble((state.replace("_", " "), _STYLES.get(state, "")), queue),
            when(run["updated"]),
            *spent,
            *cost,
            *([_worker(run)] if has_workers else []),
            Text.assemble(safe_line(run["title"]), (after, "dim"), no_wrap=True, overflow="ellipsis"),
        )
    console.print(table)


def _worker(run: dict[str, Any]) -> str:
    """Who has it, and for how long at least."""
    if not run["holder"]:
        return ""
    host, pid, _ = run["holder"].rsplit(":", 2)
    return safe_line(f"{host.partition('/')[0]}:{pid}, {run['lease']:.0f} s")


def show_head(teller: Teller, about: dict[str, Any]) -> None:
    """Prints what is known of a run at a glance."""
    teller.line(f"{about['run_id']}  {about['state'].replace('_', ' ')}", "bold")
    cost = dollars(about["cost"]) if about["cost"] else ""
    tokens = f"{short(about['input_tokens'])} tokens in, {short(about['output_tokens'])} out"
    parts = [about["model"], when(about["created"]), counted(about["turns"], "turn"), tokens, cost]
    teller.line(", ".join(filter(None, parts)), "dim")
    if about["parent"]:
        teller.line(f"its beginning is that of {shown_id(about['parent'])}", "dim")


def ending(about: dict[str, Any], resume: str) -> str:
    """How it ended, and what could be done next: the command to resume it."""
    state, detail = about["state"], f" ({about['detail']})" if about["detail"] else ""
    match state:
        case "running":
            return f"running ({about['holder']}, for another {about['lease']:.0f} s at least)"
        case "queued":
            return f"queued ({about['queue']}): a worker of this queue begins it"
        case "end_turn" | "stop_sequence":
            return f"ended: {state}"
        case "needs_approval":
            return "held: needs approval"
        case "scheduled":
            return "the question of a schedule: `agentkit schedules` says when it comes"
    return f"ended: {state}{detail}; to go on: {resume}" if state not in _AT_REST else f"{state}{detail}: {resume}"


_AT_REST = ("interrupted", "forked", "repaired")
