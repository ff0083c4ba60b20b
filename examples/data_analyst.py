"""An analyst: asks a CSV file with SQL, draws a chart, tells the story.

    python examples/data_analyst.py lighthouse/

The folder gets the data (visitors of a lighthouse, made up the same way each time) and the charts. With a key in the
environment a model is asked; without one a script on this machine plays its part.
"""

import base64
import csv
import os
import random
import sys
from contextlib import nullcontext
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import anyio

from agentkit import Agent, Client, RunResult
from agentkit.emulator import Emulator, reply, tool_use
from agentkit_tools import data

QUESTION = "Which month of 2025 had the most visitors, and what does rain do to a day? Draw the months."
PER_MONTH = "SELECT month(day) AS month, sum(visitors) AS visitors FROM visits GROUP BY ALL ORDER BY month"
RAIN = "SELECT rain_mm >= 1 AS rain, avg(visitors) AS visitors, count(*) AS days FROM visits GROUP BY ALL ORDER BY rain"


def write_visits(path: Path) -> None:
    """A year of a small lighthouse: more people in summer and at weekends, fewer in the rain."""
    chance = random.Random(1911)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["day", "visitors", "rain_mm"])
        for number in range(365):
            day = date(2025, 1, 1) + timedelta(days=number)
            rain = round(chance.expovariate(0.4), 1) if chance.random() < 0.4 else 0.0
            visitors = chance.gauss((30, 35, 60, 90, 120, 160, 240, 250, 140, 80, 40, 35)[day.month - 1], 5)
            visitors *= (1.5 if day.weekday() >= 5 else 1) * (0.5 if rain >= 1 else 1)
            table.writerow([day, round(visitors), rain])


def script(request: dict[str, Any]) -> Any:
    """What a model would do: look, count, draw, and tell what came back."""
    blocks = [block for message in request["messages"] for block in message["content"]]
    results = [block for block in blocks if block["type"] == "tool_result"]
    if not results:
        return reply("I look at what there is.", tool_use("list_tables"))
    if len(results) == 1:
        return reply(tool_use("query_data", sql=PER_MONTH), tool_use("query_data", sql=RAIN))
    if len(results) == 3:
        return reply(tool_use("draw_chart", sql=PER_MONTH, kind="bar", title="Visitors of the lighthouse, 2025"))
    months, rain = (rows(result["content"]) for result in results[1:3])
    best = max(months, key=lambda row: float(row[1]))
    dry, wet = (float(row[1]) for row in rain)
    month = date(2025, int(best[0]), 1).strftime("%B")
    rainy = f"On a day with rain {wet:.0f} people come, on a dry one {dry:.0f}."
    return reply(f"{month} had the most visitors: {best[1]}. {rainy}")


def rows(table: str | list[dict[str, Any]]) -> list[list[str]]:
    """The cells of a table that came back, its head left out."""
    text = table if isinstance(table, str) else table[0]["text"]
    return [line.strip("| ").split(" | ") for line in text.splitlines()[2:]]


def save_charts(result: RunResult, folder: Path) -> list[Path]:
    """Writes the images that the model saw."""
    saved: list[Path] = []
    for call in result.tool_calls:
        content = (call.raw or {}).get("content")
        for block in content if isinstance(content, list) else ():
            if block["type"] == "image":
                saved.append(folder / f"chart-{len(saved) + 1}.png")
                saved[-1].write_bytes(base64.b64decode(block["source"]["data"]))
    return saved


async def main(folder: Path) -> None:
    write_visits(folder / "visits.csv")
    has_key = os.environ.get("ANTHROPIC_API_KEY") or os.environ.get("COMETAPI_KEY")
    with nullcontext() if has_key else Emulator(script=script) as emulator:
        async with Client(base_url=emulator.url, api_key="any") if emulator else Client() as client:
            agent = Agent("claude-sonnet-4-6", tools=data(folder), client=client)
            result = await agent.run(QUESTION)
    print(result.text)
    for call in result.tool_calls:
        print(f"  {call.name}: {call.input.get('sql', '')}")
    for chart in save_charts(result, folder):
        print(f"  chart: {chart}")


if __name__ == "__main__":
    place = Path(sys.argv[1] if len(sys.argv) > 1 else "lighthouse")
    place.mkdir(exist_ok=True)
    anyio.run(main, place)
