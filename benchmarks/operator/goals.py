"""The goals."""

from __future__ import annotations

from typing import Final

from benchmarks.common.goals import Goal

#: What a number may have grown by, per object, from the small to the large installation.
LINEAR: Final = 1.1


def goals(small: str, large: str) -> tuple[Goal, ...]:
    """Return the goals of a run; rows are named after the numbers of their Agents."""
    return (
        _at_most("O1", "cold start until all are Ready", ("cold", large, "seconds"), 60, " s"),
        _at_most("O2", "restart until all was looked at", ("restart", large, "seconds"), 20, " s"),
        _at_most("O3", "most memory of all steps", ("cold", large, "peak"), 400, " MB"),
        _at_most("O3", "the same after a restart", ("restart", large, "peak"), 400, " MB"),
        _at_most("O4", "writes in the steady state", ("steady", large, "writes"), 0, ""),
        _at_most("O4", "writes after a restart", ("restart", large, "writes"), 0, ""),
        _at_most("O5", "others' objects changed by a Secret", ("secret", large, "strangers"), 0, ""),
        *(
            Goal(
                "O6",
                f"{step}: {number} per object",
                f"{small} Agents",
                (step, large, f"{number} per object"),
                (step, small, f"{number} per object"),
                LINEAR,
            )
            for step, number in (
                ("cold", "writes"),
                ("cold", "reads"),
                ("cold", "cpu"),
                ("restart", "reads"),
                ("restart", "cpu"),
            )
        ),
        Goal(
            "O6",
            "steady: CPU per look at a runtime",
            f"{small} Agents",
            ("steady", large, "cpu per look"),
            ("steady", small, "cpu per look"),
            LINEAR,
        ),
    )


def _at_most(goal: str, what: str, cell: tuple[str, str, str], floor: float, unit: str) -> Goal:
    return Goal(goal, what, "-", cell, None, floor, unit=unit)
