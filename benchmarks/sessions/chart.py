# mypy: disable-error-code="import-not-found,import-untyped"
"""Draws the result, with the peers' environment's matplotlib: ``chart.py result.json chart.png``."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot

_PANELS = (
    ("append, 1 client: p50, us", "append", "p50"),
    ("append, 32 clients: operations per second", "x32", "ops"),
    ("append, 32 clients: p99, us", "x32", "p99"),
    ("last 100 of 1,000 messages: p50, us", "last100", "p50"),
)
_OURS = ("file-fsync", "file-os", "redis", "redis-always")


def _values(result: dict[str, Any], operation: str, number: str) -> dict[str, tuple[float, float, float]]:
    found: dict[str, tuple[float, float, float]] = {}
    for row, rounds in result["rounds"].get(operation, {}).items():
        values = [numbers[number] for numbers in rounds if numbers]
        if values:
            found[row] = (statistics.median(values), min(values), max(values))
    return found


def _label(result: dict[str, Any], row: str) -> str:
    durable = result["rows"][row]["durability"].startswith("power loss (")
    return f"{row} *" if durable else row


def draw(result: dict[str, Any], target: Path) -> None:
    """Write the chart."""
    figure, axes = pyplot.subplots(2, 2, figsize=(15, 10))
    for axis, (title, operation, number) in zip(axes.flat, _PANELS, strict=True):
        values = _values(result, operation, number)
        rows = list(values)[::-1]
        middles = [values[row][0] for row in rows]
        spread = [
            [values[row][0] - values[row][1] for row in rows],
            [values[row][2] - values[row][0] for row in rows],
        ]
        colors = ["#1f6feb" if row in _OURS else "#b0b8c1" for row in rows]
        axis.barh(rows, middles, xerr=spread, color=colors, error_kw={"linewidth": 0.8})
        axis.set_xscale("log")
        axis.set_title(title)
        axis.set_yticks(range(len(rows)), [_label(result, row) for row in rows])
        for place, row in enumerate(rows):
            axis.text(values[row][2], place, f"  {values[row][0]:,.0f}", va="center", fontsize=8)
    figure.suptitle("Session stores, side by side")
    text = "Blue: ours. Numbers: medians; whiskers: min and max of the rounds. *: survives a power loss."
    figure.text(0.01, 0.01, text, fontsize=9)
    figure.tight_layout(rect=(0, 0.02, 1, 0.98))
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
