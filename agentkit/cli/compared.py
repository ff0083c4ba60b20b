"""Where two runs part: for `agentkit runs diff`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agentkit.cli.phrases import counted
from agentkit.cli.story import digest_of, parts_of, story_of
from agentkit.cli.told import Teller, on_screen

if TYPE_CHECKING:
    from agentkit.transcript import Transcript

__all__ = ["compare", "show_difference"]


def compare(first: Transcript, second: Transcript) -> dict[str, Any]:
    """What two conversations have in common from their beginning on, and what each did after that."""
    one, other = (parts_of(story_of(transcript)) for transcript in (first, second))
    common = 0
    for left, right in zip(one, other, strict=False):
        if digest_of(left) != digest_of(right):
            break
        common += 1
    asked, turns = (sum(part[0]["step"] == kind for part in one[:common]) for kind in ("asked", "turn"))
    rest = [[step for part in parts[common:] for step in part] for parts in (one, other)]
    return {
        "equal": not (rest[0] or rest[1]),
        "common_questions": asked,
        "common_turns": turns,
        "runs": [
            {"run_id": transcript.run_id, "steps": steps}
            for transcript, steps in zip((first, second), rest, strict=True)
        ],
    }


def show_difference(difference: dict[str, Any], names: Sequence[str]) -> None:
    """Prints it: what is the same in a word, then what each did."""
    teller = Teller(on_screen())
    questions, turns = difference["common_questions"], difference["common_turns"]
    shared = f"{counted(questions, 'question')} and {counted(turns, 'turn')}"
    if difference["equal"]:
        teller.line(f"The runs are equal: {shared}.")
        return
    teller.line(f"The same in both: {shared}." if questions or turns else "Nothing is the same in both.")
    for name, run in zip(names, difference["runs"], strict=True):
        teller.head(f"── {name}")
        if run["steps"]:
            teller.tell(run["steps"])
        else:
            teller.line("nothing more", "dim")
