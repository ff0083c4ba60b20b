"""A list of tasks that the model keeps while it works."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from agentkit import RunContext, Tool, tool

__all__ = ["todo"]

_MARKS = {"pending": "[ ]", "in_progress": "[>]", "done": "[x]"}


class Task(BaseModel):
    """One task: what is to be done, and how far it is."""

    text: Annotated[str, Field(min_length=1, max_length=500)]
    state: Literal["pending", "in_progress", "done"] = "pending"


def todo() -> Tool:
    """A tool `todo`: the model writes its whole list of tasks, each time it changes; who watches the run sees it.

    The list lives in the conversation alone. It is `read`, for it changes nothing.
    """

    @tool(effect="read", idempotent=True)
    def todo(ctx: RunContext, tasks: Annotated[list[Task], Field(max_length=100)]) -> str:
        """Write down the steps of a longer work and how far each is; do so again whenever that changes.

        Args:
            tasks: The whole list, in order. It takes the place of the last one.
        """
        ctx.progress("\n".join(f"{_MARKS[task.state]} {' '.join(task.text.split())}" for task in tasks))
        done = sum(task.state == "done" for task in tasks)
        now = [" ".join(task.text.split()) for task in tasks if task.state == "in_progress"]
        return f"{done} of {len(tasks)} done." + (f" Now: {'; '.join(now)}" if now else "")

    return todo
