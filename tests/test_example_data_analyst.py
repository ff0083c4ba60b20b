"""The data analyst runs offline, and its numbers are those of its file."""

from __future__ import annotations

import calendar
import csv
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from agentkit import image

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[1] / "examples" / "data_analyst.py"


@pytest.mark.slow
def test_the_data_analyst_answers_from_the_data_and_draws_them(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.endswith(("_KEY", "_URL"))}
    command = [sys.executable, str(EXAMPLE), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    months: Counter[str] = Counter()
    with (tmp_path / "visits.csv").open() as file:
        for row in csv.DictReader(file):
            months[row["day"][5:7]] += int(row["visitors"])
    ((month, visitors),) = months.most_common(1)
    assert done.stdout.startswith(f"{calendar.month_name[int(month)]} had the most visitors: {visitors}. ")
    assert f"chart: {tmp_path / 'chart-1.png'}" in done.stdout
    assert image(tmp_path / "chart-1.png")["source"]["media_type"] == "image/png"
    assert not list(tmp_path.glob("chart-2.png"))
