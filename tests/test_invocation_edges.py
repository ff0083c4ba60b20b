"""What mutants of `agentkit.invocation` showed untested."""

from __future__ import annotations

from typing import Any

import pytest
from calls import World
from scripted import tool_use

from agentkit.errors import NotDone
from agentkit.tools import RunContext, Tool, tool

pytestmark = pytest.mark.anyio


def fails(*given: Any, **more: Any) -> Any:
    raise OSError("disk full")


def paid(**options: Any) -> Tool:
    @tool(**options)
    async def pay() -> str:
        """Pays."""
        if options.get("name") == "broken":
            fails()
        return "paid"

    return pay


async def verify(ctx: RunContext[None], arguments: dict[str, Any]) -> str:
    return str(fails())


@pytest.mark.parametrize(
    ("made", "started", "said"),
    [
        (paid(needs_approval=fails), False, "needs_approval of pay failed"),
        (paid(verify=verify), True, "verify of pay failed"),
        (paid(name="broken"), False, "tool broken failed: OSError"),
    ],
    ids=["needs_approval", "verify", "the tool"],
)
async def test_what_fails_in_the_users_own_code_is_logged(
    made: Tool, started: bool, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = World([made], [tool_use(made.name)])
    world.commit()
    if started:
        world.transcript.start(world.transcript.unended()[0], tool=made.digest)
    await world.carry_out()
    (record,) = [one for one in caplog.records if one.name == "agentkit.tools"]
    assert record.getMessage() == said
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], OSError)


@pytest.mark.parametrize(("attempts", "outcome"), [(1, "done"), (2, "done"), (3, "unknown")])
@pytest.mark.parametrize("declared", ["verify", "idempotent"])
async def test_what_was_not_done_runs_again_three_times_in_all(attempts: int, outcome: str, declared: str) -> None:
    async def not_done(ctx: RunContext[None], arguments: dict[str, Any]) -> str:
        raise NotDone

    made = paid(idempotent=True) if declared == "idempotent" else paid(verify=not_done)
    world = World([made], [tool_use("pay")])
    world.commit()
    for _ in range(attempts):
        world.transcript.start(world.transcript.unended()[0], tool=made.digest)
    await world.carry_out()
    assert world.outcomes == [outcome]


@pytest.mark.parametrize("read", [True, False])
async def test_a_tool_that_has_changed_since_does_not_run_again(read: bool) -> None:
    made = paid(effect="read") if read else paid(idempotent=True)
    for digest, outcome in [(made.digest, "done"), (None, "done"), ("another", "unknown")]:
        world = World([made], [tool_use("pay")])
        world.commit()
        world.transcript.start(world.transcript.unended()[0], **({"tool": digest} if digest else {}))
        await world.carry_out()
        assert world.outcomes == [outcome]
