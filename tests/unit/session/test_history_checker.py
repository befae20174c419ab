"""The checker of histories finds what no order explains; else it would prove nothing."""

from __future__ import annotations

import pytest
from tests.support.histories import CONFLICT, DONE, UNKNOWN, Operation, State, linearize


def append(begin: int, end: float, value: str, answer: str = DONE, expected: int | None = None) -> Operation:
    return Operation("append", ((value,), expected), begin, end, answer)


def read(begin: int, end: float, *values: str) -> Operation:
    return Operation("read", None, begin, end, values)


NEVER = float("inf")


@pytest.mark.parametrize(
    "history",
    [
        [append(1, 2, "a"), append(3, 4, "b"), read(5, 6, "a", "b")],
        [append(1, 4, "a"), append(2, 3, "b"), read(5, 6, "a", "b")],
        [append(1, 4, "a"), append(2, 3, "b"), read(5, 6, "b", "a")],
        [append(1, 4, "a"), read(2, 3)],
        [append(1, 4, "a"), read(2, 3, "a")],
        [append(1, NEVER, "a", UNKNOWN), read(2, 3), read(4, 5, "a")],
        [append(1, NEVER, "a", UNKNOWN), read(2, 3), read(4, 5)],
        [append(1, 4, "a", DONE, 0), append(2, 3, "b", CONFLICT, 0)],
    ],
)
def test_what_can_be_explained(history: list[Operation]) -> None:
    linearize(history, State())


@pytest.mark.parametrize(
    "history",
    [
        [append(1, 2, "a"), read(3, 4)],  # lost
        [append(1, 2, "a"), read(3, 4, "a", "a")],  # doubled
        [append(1, 2, "a"), append(3, 4, "b"), read(5, 6, "b", "a")],  # reordered
        [read(1, 2, "a"), append(3, 4, "a")],  # seen before it was asked for
        [append(1, 6, "a"), read(2, 3, "a"), read(4, 5)],  # seen, then gone
        [append(1, NEVER, "a", UNKNOWN), read(2, 3, "a"), read(4, 5)],
        [append(1, 2, "a", DONE, 0), append(3, 4, "b", DONE, 0)],  # two winners
        [append(1, 2, "a", CONFLICT, 0)],  # a conflict with nobody
        [Operation("restore", "c", 1, 2, DONE)],
        [
            append(1, 2, "a"),
            Operation("checkpoint", None, 3, 4, "c"),
            append(5, 6, "b"),
            Operation("restore", "c", 7, 8, DONE),
            read(9, 10, "a", "b"),  # the restore had no effect
        ],
    ],
)
def test_what_cannot_be_explained(history: list[Operation]) -> None:
    with pytest.raises(AssertionError, match="no order explains this"):
        linearize(history, State())
