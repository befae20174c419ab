"""Everything that a run measured."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

#: One set of numbers per round; None where there is nothing to measure.
Rounds = list[dict[str, float] | None]


@dataclass
class Results:
    """What was measured, by operation and row."""

    #: Row -> what it is: versions, durability and the like.
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: Operation -> row -> one set of numbers per round.
    rounds: dict[str, dict[str, Rounds]] = field(default_factory=dict)
    #: Row and operation -> what went wrong.
    errors: dict[str, str] = field(default_factory=dict)

    def add(self, operation: str, row: str, numbers: dict[str, float] | None) -> None:
        """Note the numbers of one round."""
        self.rounds.setdefault(operation, {}).setdefault(row, []).append(numbers)

    def column(self, operation: str, row: str, number: str) -> list[float]:
        """Return one number of all rounds that have it."""
        rounds = self.rounds.get(operation, {}).get(row, [])
        return [numbers[number] for numbers in rounds if numbers is not None and number in numbers]


def spread(values: list[float]) -> tuple[float, float, float]:
    """Return median, least and greatest."""
    return statistics.median(values), min(values), max(values)
