"""The goals: ``goals.csv``. A cell is operation/row/number; without ``below`` it is about a number itself."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

from benchmarks.common.goals import Cell, Goal


def _cell(text: str) -> Cell:
    operation, row, number = text.split("/")
    return operation, row, number


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
    )


def _goals() -> tuple[Goal, ...]:
    with Path(__file__).with_name("goals.csv").open(newline="") as file:
        return tuple(map(_goal, csv.DictReader(file)))


GOALS: Final = _goals()
