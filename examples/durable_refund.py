"""Refunds that survive their process: kill it at any point, start it again, and nothing is paid twice.

    python examples/durable_refund.py refunds/

The folder holds the journal of the runs and the book of a small bank. With a key in the environment a model is asked;
without one a script on this machine plays its part.
"""

import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import anyio

from agentkit import Agent, Client, Journal, NotDone, RunContext, tool
from agentkit.emulator import Emulator, reply, tool_use

QUESTION = "Orders 17 and 23 came in pieces. Pay back 40 euros for the first and 25 for the second."


class Bank:
    """Another system, whose payments stay made whatever happens to us. It knows each by the key that came with it."""

    def __init__(self, book: Path) -> None:
        self.book = book

    def payments(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.book.read_text().splitlines()] if self.book.exists() else []

    def pay(self, key: str, order: int, euros: int) -> str:
        with self.book.open("a") as book:
            book.write(json.dumps({"key": key, "order": order, "euros": euros}) + "\n")
            book.flush()
            os.fsync(book.fileno())
        return f"Paid {euros} euros for order {order}."


def was_paid(ctx: RunContext[Bank], arguments: dict[str, Any]) -> str:
    """What became of a payment whose process died: the bank knows."""
    for payment in ctx.deps.payments():
        if payment["key"] == ctx.idempotency_key:
            return f"Paid {payment['euros']} euros for order {payment['order']}."
    raise NotDone


@tool(verify=was_paid)
def refund(ctx: RunContext[Bank], order: int, euros: int) -> str:
    """Pay money back.

    Args:
        order: Number of the order.
        euros: How much.
    """
    return ctx.deps.pay(ctx.idempotency_key, order, euros)


def script(request: dict[str, Any]) -> Any:
    """What a model would say."""
    if len(request["messages"]) > 1:
        return reply("Both customers have their money back.")
    return reply(tool_use("refund", order=17, euros=40), tool_use("refund", order=23, euros=25))


async def main(folder: Path) -> None:
    journal, bank = Journal(folder / "runs.db"), Bank(folder / "bank.jsonl")
    has_key = os.environ.get("ANTHROPIC_API_KEY") or os.environ.get("COMETAPI_KEY")
    with nullcontext() if has_key else Emulator(script=script) as emulator:
        async with Client(base_url=emulator.url, api_key="any") if emulator else Client() as client:
            agent = Agent("claude-sonnet-4-6", tools=[refund], client=client, journal=journal)
            begun = journal.runs(1)
            if begun:
                print(f"Going on with run {begun[0].run_id}.")  # to its end, or if it has ended, to the same answer
                result = await agent.resume(begun[0].run_id, deps=bank)
            else:
                result = await agent.run(QUESTION, deps=bank)
            print(result.text)
    for payment in bank.payments():
        print(f"  order {payment['order']}: {payment['euros']} euros")


if __name__ == "__main__":
    place = Path(sys.argv[1] if len(sys.argv) > 1 else "refunds")
    place.mkdir(exist_ok=True)
    anyio.run(main, place)
