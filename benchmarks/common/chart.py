# mypy: disable-error-code="import-not-found,import-untyped"
"""Draws a result with matplotlib, which only the peers' environment has: ``chart.py result.json chart.png``.

What to draw is in the result, under ``chart``; see :class:`benchmarks.common.tables.Chart`.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot


def _values(result: dict[str, Any], operation: str, number: str) -> dict[str, tuple[float, float, float]]:
    found: dict[str, tuple[float, float, float]] = {}
    for row, rounds in result["rounds"].get(operation, {}).items():
        values = [numbers[number] for numbers in rounds if numbers]
        if values:
            found[row] = (statistics.median(values), min(values), max(values))
    return found


def draw(result: dict[str, Any], target: Path) -> None:
    """Write the chart."""
    chart = result["chart"]
    lines = (len(chart["panels"]) + 1) // 2
    figure, axes = pyplot.subplots(lines, 2, figsize=(15, 5 * lines), squeeze=False)
    for unused in axes.flat[len(chart["panels"]) :]:
        unused.set_visible(False)
    for axis, (title, operation, number) in zip(axes.flat, chart["panels"], strict=False):
        values = _values(result, operation, number)
        rows = list(values)[::-1]
        middles = [values[row][0] for row in rows]
        spread = [
            [values[row][0] - values[row][1] for row in rows],
            [values[row][2] - values[row][0] for row in rows],
        ]
        colors = ["#1f6feb" if row in chart["ours"] else "#b0b8c1" for row in rows]
        axis.barh(rows, middles, xerr=spread, color=colors, error_kw={"linewidth": 0.8})
        if chart["logarithmic"]:
            axis.set_xscale("log")
        else:
            axis.margins(x=0.12)
        axis.set_title(title)
        axis.set_yticks(range(len(rows)), [chart["labels"].get(row, row) for row in rows])
        for place, row in enumerate(rows):
            axis.text(values[row][2], place, f"  {values[row][0]:,.0f}", va="center", fontsize=8)
    figure.suptitle(chart["title"])
    text = f"Blue: ours. Numbers: medians; whiskers: min and max of the rounds. {chart['note']}"
    figure.text(0.01, 0.01, text, fontsize=9)
    figure.tight_layout(rect=(0, 0.02, 1, 0.98))
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
