"""What people read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benchmarks.common.tables import Chart, head_lines, operation_lines

if TYPE_CHECKING:
    from benchmarks.common.goals import Verdict
    from benchmarks.common.results import Results

_STEPS: Final = ("cold", "steady", "secret", "restart")
_COLUMNS: Final = ("seconds", "cpu", "writes", "reads", "reconciles", "rss", "peak")
_EACH: Final = ("writes per object", "reads per object", "cpu per object")

CHART: Final = Chart(
    title="The operator at scale",
    panels=(
        ("cold start, seconds", "cold", "seconds"),
        ("restart, seconds", "restart", "seconds"),
        ("CPU of a cold start per object, ms", "cold", "cpu per object"),
        ("memory after a restart, MB", "restart", "rss"),
    ),
    ours=(),
    note="By number of Agents.",
    logarithmic=False,
)


def markdown(results: Results, verdicts: list[Verdict], about: dict[str, Any]) -> str:
    """Return the whole report."""
    parts = head_lines(CHART.title, about, verdicts)
    parts += ["Seconds; CPU in seconds (steady: per minute); memory in MB.", ""]
    for step in _STEPS:
        parts += [f"## {step}", "", *_table(results, step, *_COLUMNS, *_EACH), ""]
    parts += ["## An operator that does nothing", ""]
    parts += [*_table(results, "nothing", "seconds", "cpu", "rss", "peak"), "", *_ratios(results), ""]
    parts += ["## CPU seconds of the servers in a cold start", ""]
    parts += _table(results, "cold", "server cpu", "etcd cpu", "controllers cpu")
    return "\n".join(parts) + "\n"


def _table(results: Results, step: str, *numbers: str) -> list[str]:
    return operation_lines(results, step, [(number, number) for number in numbers], rows="agents")


def _ratios(results: Results) -> list[str]:
    """Return how a restart compares with an operator that does nothing."""
    lines = ["| agents | restart: seconds | cpu | rss |", "|---|---|---|---|"]
    for row in results.rounds.get("nothing", {}):
        cells = []
        for name in ("seconds", "cpu", "rss"):
            ours, theirs = results.column("restart", row, name)[-1], results.column("nothing", row, name)[-1]
            cells.append(f"{ours / theirs:.2f}x")
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return lines
