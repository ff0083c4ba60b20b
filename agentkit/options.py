"""`RunOptions`: what may differ from run to run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypedDict

from agentkit.blueprint import AnyTool
from agentkit.call import Approve
from agentkit.client import Client
from agentkit.errors import ConfigurationError
from agentkit.messages import Block
from agentkit.settings import Limits
from agentkit.tools import RunContext

__all__ = ["RunOptions", "refuse_unknown"]


class RunOptions(TypedDict, total=False):
    """What may differ from run to run. Agents are shared between tenants; keys, deps and budgets are not.

    Attributes:
        deps: For the tools: `ctx.deps`.
        client: In place of the agent's.
        limits: In place of the agent's.
        system: In place of the agent's.
        tools: In place of the agent's.
        approve: Decides on each call that needs an approval while the run goes on: a function of a `Pending` that
            returns `allow()`, `deny(…)` or `edit(…)`, async, or sync and then called in a thread. Without one they are
            held.
        run_id: Names the run. One that the journal knows is not begun twice: asked the same again, it goes on, or gives
            its answer again.
        session: Names a conversation in the journal: a run goes on where its last one has ended, one run at a time.
        within: The call of a tool that this run is a part of. It shares budget and deadline of the run above it, and
            unless it has its own also client, journal, `deps` and `approve`. When the call runs again after its process
            died, the run goes on: it is named after the call and the question. Agents that are asked the same at once
            need a `run_id` each, such as `f"{ctx.idempotency_key}-poet"`.
    """

    deps: Any
    client: Client
    limits: Limits
    system: str | Sequence[Block]
    tools: Iterable[AnyTool]
    approve: Approve
    run_id: str
    session: str
    within: RunContext[Any]


def refuse_unknown(options: RunOptions) -> None:
    """A misspelt limit would be no limit.

    Raises:
        ConfigurationError: There is no such option, or it is of another kind.
    """
    if unknown := options.keys() - RunOptions.__annotations__.keys():
        known = ", ".join(RunOptions.__annotations__)
        raise ConfigurationError(f"a run has no option {min(unknown)!r}: there are after, {known}")
    if not isinstance(options.get("limits") or Limits(), Limits):
        raise ConfigurationError("limits must be Limits(…)")
    within = options.get("within")
    if within is not None and getattr(within, "shared", None) is None:
        raise ConfigurationError("within must be the RunContext that a tool was given by a run")
