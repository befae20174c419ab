"""What people read: a table of goals, a table of rows, how it was measured."""

from __future__ import annotations

import statistics
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchmarks.sessions.plan import STORES

if TYPE_CHECKING:
    from benchmarks.sessions.driver import Results
    from benchmarks.sessions.goals import Verdict

_COLUMNS = (
    ("create", "create", "p50"),
    ("append", "append", "p50"),
    ("append p99", "append", "p99"),
    ("append@1k", "append@1k", "p50"),
    ("last100", "last100", "p50"),
    ("all1000", "all1000", "p50"),
    ("ckpt", "checkpoint", "p50"),
    ("restore", "restore", "p50"),
    ("x1 ops/s", "x1", "ops"),
    ("x32 ops/s", "x32", "ops"),
    ("x32 p50", "x32", "p50"),
    ("x32 p99", "x32", "p99"),
    ("x1 CPU", "x1", "cpu"),
    ("x32 CPU", "x32", "cpu"),
)
_RATIOS = tuple(
    column for column in _COLUMNS if column[0] not in ("append p99", "x32 p50", "x1 CPU", "x32 CPU")
)
_PAIRS = (
    ("file-fsync", "oa-sqlite"),
    ("file-fsync", "lg-sqlite"),
    ("file-fsync", "adk-db"),
    ("file-fsync", "adk-sqlite"),
    ("file-fsync", "sqlite-full"),
    ("file-os", "sqlite-normal"),
    ("file-os", "go-file"),
    ("redis", "oa-redis"),
    ("redis", "go-redis"),
    ("redis-always", "oa-sqlite"),
    ("redis-always", "lg-sqlite"),
)


def markdown(results: Results, verdicts: list[Verdict], about: dict[str, Any]) -> str:
    """Return the whole report."""
    parts = ["# Session stores, side by side", "", *_about(about), ""]
    parts += ["## Goals", "", *_goals(verdicts), ""]
    parts += ["## Rows", "", "Medians of the rounds, (min..max) below; microseconds unless said.", ""]
    parts += [*_rows(results), "", "## Ratios per round", "", "Above 1: ours is better.", ""]
    parts += [*_ratios(results), "", "## Versions", "", *_versions(results), ""]
    parts += ["## Limits and other rows", "", *_others(results), ""]
    if results.errors:
        parts += ["## Errors", ""]
        parts += [
            f"- {key}: {(text.strip() or '?').splitlines()[-1]}" for key, text in results.errors.items()
        ]
    return "\n".join(parts) + "\n"


def as_json(results: Results, verdicts: list[Verdict], about: dict[str, Any]) -> dict[str, Any]:
    """Return everything that was measured."""
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
    return {"about": about, "goals": goals, **asdict(results)}


def _about(about: dict[str, Any]) -> list[str]:
    return [f"- {key}: {value}" for key, value in about.items()]


def _goals(verdicts: list[Verdict]) -> list[str]:
    lines = [
        "| goal | what | against | floor | stretch | measured (min..max) | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for verdict in verdicts:
        goal = verdict.goal
        sign = ">=" if goal.at_least else "<="
        stretch = "" if goal.stretch is None else f"{sign} {_short(goal.stretch)}"
        measured = "-"
        if verdict.median is not None:
            ends = f"({_short(verdict.low)}..{_short(verdict.high)})"
            measured = f"{_short(verdict.median)}{goal.unit} {ends}"
        lines.append(
            f"| {goal.id} | {goal.what} | {goal.against} | {sign} {_short(goal.floor)} | {stretch} | "
            f"{measured} | {verdict.word} |"
        )
    return lines


def _rows(results: Results) -> list[str]:
    titles = ["row", "acknowledged survives", *(title for title, _, _ in _COLUMNS)]
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for row in STORES:
        if row in results.rows:
            cells = [_cell(results, operation, row, number) for _, operation, number in _COLUMNS]
            lines.append(f"| {row} | {results.rows[row]['durability']} | " + " | ".join(cells) + " |")
    return lines


def _cell(results: Results, operation: str, row: str, number: str) -> str:
    if f"{row}: {operation}" in results.errors:
        return "error"
    rounds = results.rounds.get(operation, {}).get(row, [])
    values = [numbers[number] for numbers in rounds if numbers is not None]
    if not values:
        return "n/a"
    return _spread(values)


def _spread(values: list[float]) -> str:
    return f"{_short(statistics.median(values))} ({_short(min(values))}..{_short(max(values))})"


def _ratios(results: Results) -> list[str]:
    titles = [title for title, _, _ in _RATIOS]
    lines = ["| ours / peer | " + " | ".join(titles) + " |", "|---" * (len(titles) + 1) + "|"]
    for ours, theirs in _PAIRS:
        cells = [_ratio(results, ours, theirs, *column) for column in _RATIOS]
        lines.append(f"| {ours} / {theirs} | " + " | ".join(cells) + " |")
    return lines


def _ratio(results: Results, ours: str, theirs: str, _: str, operation: str, number: str) -> str:
    rows = results.rounds.get(operation, {})
    pairs = zip(rows.get(ours, []), rows.get(theirs, []), strict=False)
    better = [(one[number], other[number]) for one, other in pairs if one is not None and other is not None]
    values = [one / other if number == "ops" else other / one for one, other in better]
    return _spread(values) if values else "n/a"


def _versions(results: Results) -> list[str]:
    lines = ["| row | versions |", "|---|---|"]
    for row, about in results.rows.items():
        versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
        lines.append(f"| {row} | {versions} |")
    return lines


def _others(results: Results) -> list[str]:
    shown = {operation for _, operation, _ in _COLUMNS}
    lines = ["| operation | row | numbers: median (min..max) |", "|---|---|---|"]
    for operation, rows in results.rounds.items():
        if operation in shown:
            continue
        for row, rounds in rows.items():
            keys = next((numbers for numbers in rounds if numbers), {})
            wanted = [key for key in keys if key in ("p50", "p99", "flushes")] or list(keys)
            cells = [f"{key} {_cell(results, operation, row, key)}" for key in wanted]
            lines.append(f"| {operation} | {row} | {', '.join(cells)} |")
    return lines


def _short(value: float) -> str:
    """Return three digits' worth of a number."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"
