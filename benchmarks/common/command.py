"""What the commands of the benchmarks have in common."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common.machine import BEGIN, ROOT, load, say
from benchmarks.common.tables import Chart, as_json, write

if TYPE_CHECKING:
    from benchmarks.common.goals import Verdict
    from benchmarks.common.results import Results


def command_line(name: str, doc: str | None) -> argparse.ArgumentParser:
    """Return the parser of ``python -m benchmarks.<name>``; :func:`rounds` completes what it found."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=doc)
    parser.add_argument("--quick", action="store_true", help="3 short rounds")
    parser.add_argument("--rounds", type=int, help="rounds (5, with --quick 3)")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "benchmarks" / name)
    return parser


def rounds(arguments: argparse.Namespace) -> int:
    """Return how many rounds are wanted."""
    wanted: int | None = arguments.rounds
    return wanted if wanted is not None else 3 if arguments.quick else 5


def now(about: dict[str, Any]) -> None:
    """Note what is known when everything was measured."""
    about["load after"] = load()
    about["seconds"] = round(time.monotonic() - BEGIN)


def finish(
    directory: Path,
    text: str,
    results: Results,
    verdicts: list[Verdict],
    about: dict[str, Any],
    chart: Chart,
    drawing: Path,
) -> int:
    """Write and print a report; return the exit code.

    Args:
        directory: Where to.
        text: The report in Markdown.
        results: What was measured.
        verdicts: How the goals went.
        about: How it was measured.
        chart: What to draw.
        drawing: A Python that has matplotlib.
    """
    write(directory, text, as_json(results, verdicts, about, chart), drawing)
    print(text)
    say(f"written to {directory}: report.md, result.json, chart.png")
    for key, error in results.errors.items():
        say(f"{key}: {error}")
    return 1 if results.errors else 0
