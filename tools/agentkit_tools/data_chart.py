"""Charts of rows, as PNG images."""

from __future__ import annotations

import io
import math
import threading
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from agentkit import ToolError
from agentkit_tools.data_rows import Rows

__all__ = ["MOST_POINTS", "Kind", "drawn"]

Kind: TypeAlias = Literal["line", "bar", "scatter", "histogram"]
MOST_POINTS = 5000
_MOST_BARS, _MOST_SERIES = 60, 10
_lock = threading.Lock()  # matplotlib is not made for threads


def drawn(kind: Kind, title: str, found: Rows) -> bytes:
    """A chart: the first column is its x axis, each further one a series; a histogram counts the values of the first.

    Raises:
        ToolError: The rows can't be drawn so; the text says what would do.
    """
    _check(kind, found)
    xs = [row[0] for row in found.rows]
    names = found.columns[1:]
    series = [_numbers(name, [row[at] for row in found.rows]) for at, name in enumerate(names, 1)]
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ToolError("Charts can't be drawn here: pip install 'agentkit-loop[data]'") from None
    with _lock:
        figure = Figure(figsize=(8, 4.5), dpi=110, layout="constrained")
        canvas: Any = FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        if kind == "histogram":
            axes.hist(_numbers(found.columns[0], xs), bins=min(40, max(5, math.isqrt(len(xs)))))
        elif kind == "bar":
            _bars(axes, list(map(_label, xs)), series, names)
        else:
            _points(axes, kind, xs, series, names)
        axes.set_title(_label(title, 120))
        axes.set_xlabel(_label(found.columns[0]))
        if len(names) == 1:
            axes.set_ylabel(_label(names[0]))
        elif names:
            axes.legend()
        axes.grid(visible=True, alpha=0.3)
        axes.set_axisbelow(True)
        file = io.BytesIO()
        canvas.print_png(file)
    return file.getvalue()


def _check(kind: Kind, found: Rows) -> None:
    if not found.rows:
        raise ToolError("The query gives no rows: there is nothing to draw.")
    if kind != "histogram" and not 2 <= len(found.columns) <= _MOST_SERIES + 1:
        raise ToolError(f"Select the x axis first, then 1 to {_MOST_SERIES} columns of numbers.")
    most = _MOST_BARS if kind == "bar" else MOST_POINTS
    if len(found.rows) > most or found.are_cut:
        raise ToolError(f"That is too much for one chart: aggregate to {most} rows or fewer.")


def _numbers(name: str, values: list[Any]) -> list[float]:
    try:
        return [math.nan if value is None else float(value) for value in values]
    except (TypeError, ValueError):
        raise ToolError(f"The column {name} is not all numbers: cast it, or leave it out.") from None


def _bars(axes: Any, labels: list[str], series: list[list[float]], names: list[str]) -> None:
    width = 0.8 / len(series)
    for number, (values, name) in enumerate(zip(series, names, strict=True)):
        places = [at - 0.4 + width * (number + 0.5) for at in range(len(labels))]
        axes.bar(places, values, width, label=_label(name))
    axes.set_xticks(range(len(labels)), labels)
    if max(map(len, labels)) * len(labels) > 80:
        axes.tick_params(axis="x", labelrotation=90 if len(labels) > 20 else 45)


def _points(axes: Any, kind: Kind, xs: list[Any], series: list[list[float]], names: list[str]) -> None:
    places = _places(xs)
    for values, name in zip(series, names, strict=True):
        if kind == "line":
            axes.plot(places, values, label=_label(name), marker="." if len(places) <= 60 else None)
        else:
            axes.scatter(places, values, label=_label(name), s=12)
    if places and isinstance(places[0], str) and len(set(places)) > 12:
        axes.locator_params(axis="x", nbins=12)
        axes.tick_params(axis="x", labelrotation=45)


def _places(xs: list[Any]) -> list[Any]:
    """Numbers or dates where all are, else texts."""
    if all(isinstance(x, int | float | Decimal) for x in xs):
        return list(map(float, xs))
    try:
        return [x if isinstance(x, date) else datetime.fromisoformat(x) for x in xs]
    except (TypeError, ValueError):
        return list(map(_label, xs))


def _label(value: object, longest: int = 40) -> str:
    text = "NULL" if value is None else " ".join(str(value).split())
    # A dollar would begin a formula.
    return (text if len(text) <= longest else f"{text[:longest]}…").replace("$", r"\$")
