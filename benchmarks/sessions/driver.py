"""Runs the workers, and every round of every operation."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common.results import Results
from benchmarks.common.workers import WorkerError, WorkerProcess
from benchmarks.sessions.plan import OURS, PEERS, Step

if TYPE_CHECKING:
    from collections.abc import Callable

_WORKER = "benchmarks.sessions.worker"


def run(
    groups: list[list[Step]],
    rounds: int,
    places: dict[str, Any],
    pythons: tuple[Path, Path],
    say: Callable[[str], None],
) -> Results:
    """Measure: every operation of every row, round by round, so that all rows meet the same weather.

    Args:
        groups: What to measure, and what of it in turn.
        rounds: How often.
        places: What the workers get: where to store, ports, which event loop.
        pythons: The interpreters of our environment and of the peers'.
        say: Where progress goes.
    """
    results = Results()
    ours, theirs = pythons
    with ExitStack() as stack:
        workers: dict[str, WorkerProcess] = {}

        def start(name: str, python: Path) -> WorkerProcess:
            log = Path(places["directory"]) / f"{name}.log"
            return stack.enter_context(WorkerProcess(python, _WORKER, places, log))

        shared = start("ours", ours)  # one process with the limits: their ratios are about the same process
        workers |= dict.fromkeys(OURS, shared)
        workers |= {row: start(row, theirs) for row in PEERS}
        for row, worker in workers.items():
            say(f"opening {row}")
            try:
                results.rows[row] = worker.ask(do="open", row=row)
            except WorkerError as error:
                results.errors[row] = str(error)
        for number in range(rounds):
            for group in groups:
                say(f"round {number + 1}/{rounds}: {', '.join(step.name for step in group)}")
                _one_round(group, number, workers, results)
    return results


def _one_round(group: list[Step], number: int, workers: dict[str, WorkerProcess], results: Results) -> None:
    samples: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for part in range(max(step.parts for step in group)):
        for step in group:
            if part >= step.parts:
                continue
            rows = [row for row in step.rows if row in results.rows]
            turn = (number + part) % len(rows) if rows else 0
            for row in rows[turn:] + rows[:turn]:
                key = f"{row}: {step.name}"
                if key in results.errors:
                    continue
                measure = {**step.measure, "first": part == 0}
                try:
                    sample = workers[row].ask(do="measure", row=row, measure=measure)
                except WorkerError as error:
                    results.errors[key] = str(error)
                    continue
                if sample is not None:
                    samples.setdefault((step.name, row), []).append(sample)
    for step in group:
        for row in step.rows:
            if row in results.rows and f"{row}: {step.name}" not in results.errors:
                results.add(step.name, row, _numbers(samples.get((step.name, row), [])))


def _numbers(samples: list[dict[str, Any]]) -> dict[str, float] | None:
    """Return the numbers of one round: times in microseconds, ``ops`` per second, the rest per operation."""
    if not samples:
        return None
    if "times" not in samples[0]:
        return samples[0]
    times = sorted(value for sample in samples for value in sample["times"])
    count = len(times)
    numbers = {
        "n": count,
        "p50": times[count // 2],
        "p99": times[min(count - 1, count * 99 // 100)],
        "ops": count / sum(sample["elapsed"] for sample in samples),
        "cpu": sum(sample["cpu"] for sample in samples) / count * 1e6,
    }
    if "flushes" in samples[0]:
        numbers["flushes"] = sum(sample["flushes"] for sample in samples) / count
    return numbers
