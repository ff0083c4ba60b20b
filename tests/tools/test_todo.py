"""The list of tasks: shown as it is written, and harmless."""

from __future__ import annotations

from typing import Any

import pytest

from agentkit import Agent, RunContext
from agentkit.emulator import reply, tool_use
from agentkit.tools import InvalidInput
from agentkit_tools.todo import todo

TASKS = [
    {"text": "find the\nbug", "state": "done"},
    {"text": "mend it", "state": "in_progress"},
    {"text": "run the tests"},
]


def test_definition() -> None:
    tool = todo()
    assert tool.name == "todo"
    assert tool.is_read
    assert tool.input_schema["required"] == ["tasks"]
    for bad in (
        {},
        {"tasks": [{"text": ""}]},
        {"tasks": [{"text": "x", "state": "never"}]},
        {"tasks": [TASKS[0]] * 101},
    ):
        with pytest.raises(InvalidInput):
            tool.validate(bad)


def test_it_is_shown() -> None:
    shown: list[str] = []
    ctx: RunContext = RunContext(
        deps=None, run_id="r", call_id="c", tool_use_id="t", tool_name="todo", report=shown.append
    )
    tool = todo()
    assert tool(ctx, **tool.validate({"tasks": TASKS})) == "1 of 3 done. Now: mend it"
    assert shown == ["[x] find the bug\n[>] mend it\n[ ] run the tests"]


@pytest.mark.anyio
async def test_in_a_run(scripted: Any) -> None:
    api = scripted(reply(tool_use("todo", tasks=TASKS)), reply(tool_use("todo", tasks=[])), reply("Done."))
    async with Agent("claude-sonnet-4-6", tools=[todo()]) as agent:
        assert (await agent.run("Mend it.")).text == "Done."
    (first,), (second,) = (api.requests[at]["messages"][2 * at]["content"] for at in (1, 2))
    assert first["content"] == "1 of 3 done. Now: mend it"
    assert second["content"] == "0 of 0 done."
