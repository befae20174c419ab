"""What people read: a table of goals, a table of rows, how it was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.common.tables import (
    Chart,
    cell,
    error_lines,
    head_lines,
    spread_text,
    version_lines,
)
from benchmarks.sessions.plan import STORES

if TYPE_CHECKING:
    from benchmarks.common.goals import Verdict
    from benchmarks.common.results import Results

_TITLE = "Session stores, side by side"
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


def chart(results: Results) -> Chart:
    """Return what the chart shows."""
    durable = [row for row, about in results.rows.items() if about["durability"].startswith("power loss (")]
    return Chart(
        title=_TITLE,
        panels=(
            ("append, 1 client: p50, us", "append", "p50"),
            ("append, 32 clients: operations per second", "x32", "ops"),
            ("append, 32 clients: p99, us", "x32", "p99"),
            ("last 100 of 1,000 messages: p50, us", "last100", "p50"),
        ),
        ours=("file-fsync", "file-os", "redis", "redis-always"),
        labels={row: f"{row} *" for row in durable},
        note="*: survives a power loss.",
    )


def markdown(results: Results, verdicts: list[Verdict], about: dict[str, Any]) -> str:
    """Return the whole report."""
    parts = head_lines(_TITLE, about, verdicts)
    parts += ["## Rows", "", "Medians of the rounds, (min..max) below; microseconds unless said.", ""]
    parts += [*_rows(results), "", "## Ratios per round", "", "Above 1: ours is better.", ""]
    parts += [*_ratios(results), "", "## Versions", "", *version_lines(results), ""]
    parts += ["## Limits and other rows", "", *_others(results), ""]
    parts += error_lines(results)
    return "\n".join(parts) + "\n"


def _rows(results: Results) -> list[str]:
    titles = ["row", "acknowledged survives", *(title for title, _, _ in _COLUMNS)]
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for row in STORES:
        if row in results.rows:
            cells = [cell(results, operation, row, number) for _, operation, number in _COLUMNS]
            lines.append(f"| {row} | {results.rows[row]['durability']} | " + " | ".join(cells) + " |")
    return lines


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
    return spread_text(values) if values else "n/a"


def _others(results: Results) -> list[str]:
    shown = {operation for _, operation, _ in _COLUMNS}
    lines = ["| operation | row | numbers: median (min..max) |", "|---|---|---|"]
    for operation, rows in results.rounds.items():
        if operation in shown:
            continue
        for row, rounds in rows.items():
            keys = next((numbers for numbers in rounds if numbers), {})
            wanted = [key for key in keys if key in ("p50", "p99", "flushes")] or list(keys)
            cells = [f"{key} {cell(results, operation, row, key)}" for key in wanted]
            lines.append(f"| {operation} | {row} | {', '.join(cells)} |")
    return lines
