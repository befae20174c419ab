"""Parts of reports in Markdown that every benchmark has."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common.results import spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.common.goals import Verdict
    from benchmarks.common.results import Results


@dataclass(frozen=True)
class Chart:
    """What the chart of a run shows."""

    title: str
    #: Title, operation and number of each.
    panels: Sequence[tuple[str, str, str]]
    #: The rows that are ours.
    ours: Sequence[str]
    #: What stands beside a row, if not its name.
    labels: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    logarithmic: bool = True


def as_json(results: Results, verdicts: list[Verdict], about: dict[str, Any], chart: Chart) -> dict[str, Any]:
    """Return everything that was measured, and what to draw of it."""
    goals = [
        {
            **asdict(verdict.goal),
            "median": verdict.median,
            "min": verdict.low,
            "max": verdict.high,
            "verdict": verdict.word,
        }
        for verdict in verdicts
    ]
    return {"about": about, "goals": goals, "chart": asdict(chart), **asdict(results)}


def about_lines(about: dict[str, Any]) -> list[str]:
    """Return how it was measured."""
    return [f"- {key}: {value}" for key, value in about.items()]


def goal_lines(verdicts: list[Verdict]) -> list[str]:
    """Return the table of goals."""
    lines = [
        "| goal | what | against | floor | stretch | measured (min..max) | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for verdict in verdicts:
        goal = verdict.goal
        sign = ">=" if goal.at_least else "<="
        stretch = "" if goal.stretch is None else f"{sign} {short(goal.stretch)}"
        measured = "-"
        if verdict.median is not None:
            ends = f"({short(verdict.low)}..{short(verdict.high)})"
            measured = f"{short(verdict.median)}{goal.unit} {ends}"
        lines.append(
            f"| {goal.id} | {goal.what} | {goal.against} | {sign} {short(goal.floor)} | {stretch} | "
            f"{measured} | {verdict.word} |"
        )
    return lines


def head_lines(title: str, about: dict[str, Any], verdicts: list[Verdict]) -> list[str]:
    """Return how a report begins: what it is of, how it was measured, how the goals went."""
    return [f"# {title}", "", *about_lines(about), "", "## Goals", "", *goal_lines(verdicts), ""]


def operation_lines(
    results: Results, operation: str, columns: Sequence[tuple[str, str]], *, rows: str = "row"
) -> list[str]:
    """Return the table of an operation: a line per row, a column (title and number) each."""
    lines = [f"| {rows} | " + " | ".join(title for title, _ in columns) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for row in results.rounds.get(operation, {}):
        cells = [cell(results, operation, row, number) for _, number in columns]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return lines


def cell(results: Results, operation: str, row: str, number: str) -> str:
    """Return one number of an operation of a row."""
    if f"{row}: {operation}" in results.errors:
        return "error"
    values = results.column(operation, row, number)
    return spread_text(values) if values else "n/a"


def spread_text(values: list[float]) -> str:
    """Return ``median (min..max)``, or the one value that there is."""
    median, low, high = spread(values)
    if len(values) == 1:
        return short(median)
    return f"{short(median)} ({short(low)}..{short(high)})"


def version_lines(results: Results) -> list[str]:
    """Return the table of versions."""
    lines = ["| row | versions |", "|---|---|"]
    for row, about in results.rows.items():
        versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
        lines.append(f"| {row} | {versions} |")
    return lines


def error_lines(results: Results) -> list[str]:
    """Return what went wrong; nothing if nothing did."""
    if not results.errors:
        return []
    lines = [f"- {key}: {(text.strip() or '?').splitlines()[-1]}" for key, text in results.errors.items()]
    return ["## Errors", "", *lines]


def short(value: float) -> str:
    """Return three digits' worth of a number."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def write(directory: Path, text: str, result: dict[str, Any], python: Path) -> None:
    """Write ``report.md``, ``result.json`` and ``chart.png``; ``python`` has matplotlib."""
    (directory / "report.md").write_text(text)
    (directory / "result.json").write_text(json.dumps(result, indent=1))
    chart = [str(python), str(Path(__file__).with_name("chart.py"))]
    subprocess.run([*chart, str(directory / "result.json"), str(directory / "chart.png")], check=True)
