"""Goals as ratios of two things that were measured in the same round."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.common.results import spread

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.common.results import Results

#: An operation, a row, and one of its numbers.
Cell = tuple[str, str, str]


@dataclass(frozen=True)
class Goal:
    """``above / below`` is at most, or at least, ``floor``. Without ``below`` it is about a number itself.

    With ``difference`` it is ``above - below``.
    """

    id: str
    what: str
    against: str
    above: Cell
    below: Cell | None
    floor: float
    stretch: float | None = None
    at_least: bool = False
    #: For times: "faster" reads better than a ratio below one.
    unit: str = "x"
    difference: bool = False


@dataclass(frozen=True)
class Verdict:
    """How a goal went: the ratio of each round, in the middle and at both ends."""

    goal: Goal
    median: float | None
    low: float = 0.0
    high: float = 0.0

    @property
    def word(self) -> str:
        """``stretch``, ``met`` or ``MISSED``; ``no data`` when a row failed."""
        if self.median is None:
            return "no data"
        if self._reaches(self.goal.stretch):
            return "stretch"
        return "met" if self._reaches(self.goal.floor) else "MISSED"

    def _reaches(self, mark: float | None) -> bool:
        if mark is None or self.median is None:
            return False
        return self.median >= mark if self.goal.at_least else self.median <= mark


def read_goals(path: Path) -> tuple[Goal, ...]:
    """Return the goals in a CSV file.

    A cell is operation/row/number; without ``below`` a goal is about a number itself. ``bound`` is ``most``
    or ``least``; ``compare``, where there is such a column, is ``ratio`` or ``difference``.
    """
    with path.open(newline="") as file:
        return tuple(map(_goal, csv.DictReader(file)))


def judge(goals: Sequence[Goal], results: Results) -> list[Verdict]:
    """Return how each goal went."""
    return [_judge(goal, results) for goal in goals]


def _goal(line: dict[str, str]) -> Goal:
    return Goal(
        id=line["id"],
        what=line["what"],
        against=line["against"],
        above=_cell(line["above"]),
        below=_cell(line["below"]) if line["below"] else None,
        floor=float(line["floor"]),
        stretch=float(line["stretch"]) if line["stretch"] else None,
        at_least=line["bound"] == "least",
        unit=line["unit"],
        difference=line.get("compare") == "difference",
    )


def _cell(text: str) -> Cell:
    operation, row, number = text.split("/")
    return operation, row, number


def _judge(goal: Goal, results: Results) -> Verdict:
    above = results.column(*goal.above)
    if goal.below is None:
        values = above
    else:
        pairs = zip(above, results.column(*goal.below), strict=False)
        values = [one - other if goal.difference else one / other for one, other in pairs if other]
    if not values:
        return Verdict(goal, None)
    return Verdict(goal, *spread(values))
