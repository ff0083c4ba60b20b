"""What a run may still spend: reserved before each request, shared with the agents that its tools run."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING, Any

from agentkit.call import Approve
from agentkit.errors import ConfigurationError
from agentkit.messages import encode
from agentkit.prices import cost_of
from agentkit.request import Request
from agentkit.settings import Limits
from agentkit.step import Finish
from agentkit.transcript import Transcript

if TYPE_CHECKING:
    from agentkit.client import Client
    from agentkit.journal import Journal
    from agentkit.policy import Policy

__all__ = ["Budget", "Shared"]

_DEEPEST = 8  # agents within agents


class Budget:
    """The limits of one run in tokens and money, and of the runs that it is a part of.

    A run that a tool began has spent, in the eyes of the run above it, what it has used and what its request under way
    may use. So however many of them go on at once, all together overshoot by one request at most.

    Args:
        limits: Of the run.
        transcript: Its log.
        provider: Whose prices.
        above: Of the run whose tool began this one.

    Raises:
        ConfigurationError: There are too many agents within agents.
    """

    def __init__(self, limits: Limits, transcript: Transcript, provider: str, above: Budget | None = None) -> None:
        self._limits = limits
        self._transcript = transcript
        self._provider = provider
        self._above = above
        self._below: dict[str, Budget] = {}
        self._reserved = (0, 0.0)
        self._depth: int = above._depth + 1 if above else 0
        if self._depth > _DEEPEST:
            raise ConfigurationError(f"agents within agents, {self._depth} deep: something calls itself")
        if above:
            above._below[transcript.run_id] = self

    @property
    def counts_money(self) -> bool:
        """Whether this run or one above it has a limit in money."""
        return self._limits.max_cost_usd is not None or bool(self._above and self._above.counts_money)

    def limits(self) -> Limits:
        """Those of the run, lowered to what the runs above it and below it have left."""
        if self._above is None and not self._below:
            return self._limits
        tokens, cost = self._left()
        spent, lowered = self._transcript.spending, self._limits
        if tokens < inf:
            lowered = replace(lowered, max_total_tokens=max(int(spent.usage.total_tokens + tokens), 0))
        if cost < inf:  # minus infinity once a cost is not known
            lowered = replace(lowered, max_cost_usd=max((spent.cost or 0.0) + cost, 0.0))
        return lowered

    def fit(self, request: Request, room: int | None) -> Request | Finish:
        """The request with no more `max_tokens` than can be paid, and reserves them; or why it can't be sent.

        Args:
            request: As it would be sent.
            room: Output tokens that fit into the limits in tokens; None: any number.
        """
        limits, asked = self.limits(), self._input_tokens(request)
        reason, detail = "max_total_tokens", f"{room} tokens are left, fewer than the model may think"
        if limits.max_cost_usd is not None:
            left = limits.max_cost_usd - (self._transcript.spending.cost or 0.0) - self._price(request, asked, 0)
            paid = int(left / self._price(request, 0, 10**6) * 10**6) if left > 0 else 0
            if paid < 1:
                return Finish("max_cost", f"the next request needs more than the {max(left, 0):.4f} US dollars left")
            if room is None or paid < room:
                room, reason, detail = paid, "max_cost", "what is left pays for less than the model may think"
        if not _has_room_to_think(request, room):
            return Finish(reason, detail)
        if room is not None and room < request.max_tokens:
            request = replace(request, max_tokens=room)
        cost = self._price(request, asked, request.max_tokens) if self.counts_money else 0.0
        self._reserved = (asked + request.max_tokens, cost)
        return request

    def settle(self) -> None:
        """The reply is there: what it has used is in the log."""
        self._reserved = (0, 0.0)

    def close(self) -> None:
        """The run has come to its end, and what it has used goes into the log of the run above it."""
        if self._above is None or self._above._below.get(self._transcript.run_id) is not self:
            return
        del self._above._below[self._transcript.run_id]
        spent, run_id = self._transcript.spending, self._transcript.run_id
        if (spent.usage, spent.cost) != self._above._transcript.spending.of(run_id):
            usage = spent.usage.as_dict()
            taint = sorted(self._transcript.taint.all)
            self._above._transcript.operate("spend", run=run_id, usage=usage, cost=spent.cost, taint=taint)

    def _input_tokens(self, request: Request) -> int:
        """Roughly: what the API has counted, and a third of the bytes that it has not."""
        history = self._transcript.history
        if history.is_counted:
            return history.tokens()
        return history.tokens() + len(encode([request.tools, request.system])) // 3

    def _left(self) -> tuple[float, float]:
        """Tokens and US dollars that no run of the tree has used or reserved."""
        tokens, cost = self._claimed()
        above = self._above._left() if self._above else (inf, inf)
        mine = _rest(self._limits.max_total_tokens, tokens), _rest(self._limits.max_cost_usd, cost)
        return min(mine[0], above[0]), min(mine[1], above[1])

    def _claimed(self) -> tuple[int, float]:
        known, (tokens, cost) = self._transcript.spending, self._reserved
        tokens, cost = tokens + known.usage.total_tokens, cost + (inf if known.cost is None else known.cost)
        for run_id, run in self._below.items():
            usage, paid = known.of(run_id)
            more, costs = run._claimed()
            tokens, cost = tokens + more - usage.total_tokens, cost + costs - (paid or 0.0)
        return tokens, cost

    def _price(self, request: Request, given: int, output: int) -> float:
        """At most, but for fees of server tools: input that is written to the cache costs the most."""
        sort = "cache_creation_input_tokens" if request.cache else "input_tokens"
        counts = {"input_tokens": 0, sort: given, "output_tokens": output}
        multiplied = {name: request.params.get(name) for name in ("speed", "inference_geo")}
        cost = cost_of({"model": request.model, "usage": {**counts, **multiplied}}, self._provider)
        return inf if cost is None else cost


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What the agents that a tool runs have in common with the run of the tool.

    Attributes:
        client: Whom they ask, unless they have a client of their own.
        journal: Where they are kept, unless they have one of their own.
        approve: Who decides on their calls.
        budget: Of the run.
        policies: What may run there.
        taint: What the run has seen.
        asked: What was asked in this call, and how many times.
    """

    client: Client
    journal: Journal | None
    approve: Approve | None
    budget: Budget
    policies: Sequence[Policy] = ()
    taint: frozenset[str] = frozenset()
    asked: Counter[str] = field(default_factory=Counter)

    def run_id(self, key: str, question: Any) -> str:
        """Names a run that a call begins: the same when the call runs again.

        Args:
            key: The idempotency key of the call.
            question: What is asked, and nothing of who is asked: an agent that was changed since goes on with its run.
        """
        digest = hashlib.sha256(encode([key, question])).hexdigest()
        self.asked[digest] += 1
        return hashlib.sha256(f"{digest} {self.asked[digest]}".encode()).hexdigest()[:32]


def _rest(limit: float | None, used: float) -> float:
    return inf if limit is None else limit - used


def _has_room_to_think(request: Request, room: int | None) -> bool:
    """Whether `max_tokens` stays above the thinking budget, as the API demands. Source: messages-api.md section 14."""
    thinking = request.params.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, Mapping) else None
    return room is None or not isinstance(budget, int) or not room <= budget < request.max_tokens
