"""`WithFaults`: an application around another that lets faults happen to its replies."""

from __future__ import annotations

import hashlib
import uuid
from collections import OrderedDict
from typing import Any

from agentkit.emulator.dialects.dialect import DIALECTS, Dialect
from agentkit.emulator.faults.delivery import App, Delivery, Receive, Scope, Send, collected, deliver, resent
from agentkit.emulator.faults.messages import rewritten, without_ours
from agentkit.emulator.faults.plan import Fault, Faults, Plan
from agentkit.emulator.faults.row import Answered, Asked, Damaged, Place, Rewritten
from agentkit.emulator.scripts.script import ScriptError
from agentkit.messages import encode
from agentkit.stream import parse_json

__all__ = ["WithFaults"]

_MOST_HELD = 100  # replies that got lost


class WithFaults:
    """Lets faults happen to the requests for a message that an ASGI application answers.

    The application knows nothing of them. A reply that gets lost is kept: the same request gets it again, so that a
    step of a script is used once. What breaks a connection needs the server's `OpenProtocol`.

    Args:
        app: The application.
        faults: See `Plan`.
        dialect: The endpoint's ways, for the shape of errors.

    Attributes:
        plan: What happens, and what has happened.
    """

    def __init__(self, app: App, faults: Faults, *, dialect: Dialect = DIALECTS["anthropic"]) -> None:
        self.plan = Plan(faults)
        self._app = app
        self._dialect = dialect
        self._turns = 0
        self._held: OrderedDict[bytes, Delivery] = OrderedDict()

    def check(self) -> None:
        """Raises `ScriptError` where a fault never happened, so that a test can't take it for overcome."""
        if unmet := self.plan.unmet():
            names = ", ".join(f"{fault.name} (turn {fault.turn or 'any'})" for fault in unmet)
            raise ScriptError(f"faults that never happened, in {self._turns} requests for a message: {names}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] != "/v1/messages":
            await self._app(scope, receive, send)
            return
        self._turns += 1
        turn, raw = self._turns, await _read(receive)
        body = _parsed(raw)
        exchange = _Exchange(self._app, scope, raw, body, receive, self._held)
        asked = Asked(body, turn, f"req_01{uuid.uuid4().hex[:22]}", self._dialect)
        delivery = await self._damaged(asked, exchange) or await exchange.kept()
        if delivery is None:
            await self._app(scope, resent(exchange.raw, receive), send)
        else:
            arrived = await deliver(delivery, scope, receive, send)
            if arrived and delivery.pause and delivery.status == 200:
                exchange.release()

    async def _damaged(self, asked: Asked, exchange: _Exchange) -> Delivery | None:
        for at, fault in self.plan.due(asked.turn, streamed=bool(asked.body.get("stream"))):
            delivery = await _made(fault, asked, exchange)
            if delivery is not None:
                self.plan.met.append((asked.turn, fault))
                return delivery
            self.plan.give_back(at)
        return None


class _Exchange:
    """One request, and the reply to it once the application was asked."""

    def __init__(
        self,
        app: App,
        scope: Scope,
        raw: bytes,
        body: dict[str, Any],
        receive: Receive,
        held: OrderedDict[bytes, Delivery],
    ) -> None:
        self._key = hashlib.sha256(raw).digest()
        theirs = without_ours(body)
        self.raw = raw if theirs == body else encode(theirs)
        self._app = app
        self._scope = scope
        self._receive = receive
        self._held = held
        self._reply: Delivery | None = None

    async def reply(self) -> Delivery:
        """What the application answers, or answered to the same request before that got lost."""
        if self._reply is None:
            self._reply = self._held.pop(self._key, None)
        if self._reply is None:
            self._reply = await collected(self._app, self._scope, self.raw, self._receive)
        return self._reply

    async def kept(self) -> Delivery | None:
        """The reply, if the application was asked; it is not asked for this."""
        return await self.reply() if self._reply is not None or self._key in self._held else None

    def hold(self) -> None:
        """The reply gets lost, if the application was asked."""
        if self._reply is None:
            return
        self._held[self._key] = self._reply
        while len(self._held) > _MOST_HELD:
            self._held.popitem(last=False)

    def release(self) -> None:
        """It was not lost after all: the client had the patience."""
        self._held.pop(self._key, None)


async def _made(fault: Fault, asked: Asked, exchange: _Exchange) -> Delivery | None:
    """How a fault looks here; None where it does not fit."""
    row = fault.row
    if isinstance(row, Answered):
        answer = row.make(asked)
        if answer is not None:
            exchange.hold()
        return answer
    reply = await exchange.reply()
    if reply.status != 200:
        return None
    assert isinstance(row, Damaged | Rewritten)
    if isinstance(row, Rewritten):
        delivery = rewritten(reply, row.make, asked.dialect)
    else:
        delivery = row.make(reply, Place(fault.event, fault.byte))
    if delivery is not None and row.lost:
        exchange.hold()
    return delivery


async def _read(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


def _parsed(raw: bytes) -> dict[str, Any]:
    try:
        body = parse_json(raw)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
