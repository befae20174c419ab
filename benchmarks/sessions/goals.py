"""The goals."""

from __future__ import annotations

from typing import Final

from benchmarks.common.goals import Cell, Goal


def _most(
    goal: str, what: str, against: str, above: Cell, below: Cell, floor: float, stretch: float | None = None
) -> Goal:
    return Goal(goal, what, against, above, below, floor, stretch)


def _faster(
    goal: str,
    op: str,
    ours: str,
    theirs: str,
    floor: float,
    stretch: float | None = None,
    number: str = "p50",
) -> Goal:
    """Our time goes below theirs."""
    what = f"{ours} {op} {number}"
    return Goal(
        goal,
        what,
        theirs,
        (op, theirs, number),
        (op, ours, number),
        floor,
        stretch,
        at_least=True,
        unit="x faster",
    )


def _more(goal: str, ours: str, theirs: str, floor: float, stretch: float | None = None) -> Goal:
    """Our operations per second at 32 clients go above theirs."""
    cells = ("x32", ours, "ops"), ("x32", theirs, "ops")
    return Goal(goal, f"{ours} x32 ops/s", theirs, *cells, floor, stretch, at_least=True, unit="x as many")


def _itself(goal: str, what: str, cell: Cell, floor: float, *, at_least: bool = False) -> Goal:
    return Goal(goal, what, "count", cell, None, floor, at_least=at_least, unit="")


_APPEND: Final = ("append", "file-fsync", "p50")
_REDIS: Final = ("append", "redis", "p50")

GOALS: Final = (
    _most(
        "F1",
        "file-fsync append p50",
        "prealloc pwrite+fdatasync",
        _APPEND,
        ("prealloc-fdatasync", "limits", "p50"),
        2.5,
        1.8,
    ),
    _faster("F2", "append", "file-fsync", "oa-sqlite", 1.5, 2),
    _faster("F2", "append", "file-fsync", "lg-sqlite", 1.5, 2),
    _more("F3", "file-fsync", "oa-sqlite", 10, 20),
    _more("F3", "file-fsync", "lg-sqlite", 10, 20),
    _faster("F4", "x32", "file-fsync", "oa-sqlite", 8, 20, number="p99"),
    _faster("F4", "x32", "file-fsync", "lg-sqlite", 8, 20, number="p99"),
    Goal("F4", "file-fsync x32 p99 (us)", "absolute", ("x32", "file-fsync", "p99"), None, 2000, unit=" us"),
    _itself("F5", "file-fsync flushes per append, 32 clients", ("x32", "file-fsync", "flushes"), 1 / 8),
    _most(
        "F6",
        "file-os append p50",
        "open+write+close",
        ("append", "file-os", "p50"),
        ("open-write-close", "limits", "p50"),
        6,
    ),
    _most(
        "F7",
        "file-os append, 5,000 sessions",
        "itself with 10",
        ("append, many sessions", "file-os@5000", "p50"),
        ("append, many sessions", "file-os@10", "p50"),
        2,
    ),
    Goal(
        "F7",
        "file-os append, 5,000 sessions",
        "go-file with 5,000",
        ("append, many sessions", "go-file@5000", "p50"),
        ("append, many sessions", "file-os@5000", "p50"),
        100,
        at_least=True,
        unit="x faster",
    ),
    _most(
        "F8",
        "file-fsync last 100 of 1,000",
        "orjson decode of 100",
        ("last100", "file-fsync", "p50"),
        ("decode-100", "limits", "p50"),
        4,
    ),
    _most(
        "F8",
        "file-fsync last 100 of 1,000, cold",
        "orjson decode of 100",
        ("last100 cold", "file-fsync", "p50"),
        ("decode-100", "limits", "p50"),
        5,
    ),
    _faster("F8", "last100", "file-fsync", "oa-sqlite", 3),
    _faster("F8", "last100", "file-fsync", "lg-sqlite", 5),
    _faster("F8", "last100", "file-fsync", "adk-db", 30),
    _faster("F8", "last100", "file-fsync", "adk-sqlite", 30),
    _most(
        "F9",
        "cold last 100 of 100,000",
        "of 1,000",
        ("last100 cold@100k", "file-fsync", "p50"),
        ("last100 cold", "file-fsync", "p50"),
        1.5,
    ),
    _faster("F10", "all1000", "file-fsync", "lg-sqlite", 0.75),
    _faster("F10", "all1000", "file-fsync", "oa-sqlite", 2),
    _faster("F10", "all1000", "file-fsync", "adk-db", 20),
    _faster("F10", "all1000", "file-fsync", "adk-sqlite", 20),
    _most("F11", "file-fsync checkpoint", "own append", ("checkpoint", "file-fsync", "p50"), _APPEND, 1.3),
    _most("F11", "file-fsync restore", "own append", ("restore", "file-fsync", "p50"), _APPEND, 1.5),
    _most(
        "F11",
        "file-fsync checkpoint, 10,000 messages",
        "100 messages",
        ("checkpoint@10000", "file-fsync", "p50"),
        ("checkpoint@100", "file-fsync", "p50"),
        1.2,
    ),
    _most(
        "F11",
        "file-fsync restore, 10,000 messages",
        "100 messages",
        ("restore@10000", "file-fsync", "p50"),
        ("restore@100", "file-fsync", "p50"),
        1.2,
    ),
    _faster("F11", "checkpoint", "file-fsync", "lg-sqlite", 3),
    _faster("F11", "restore", "file-fsync", "lg-sqlite", 5),
    _itself("R1", "redis append, round trips", ("round-trips", "redis", "round_trips"), 1),
    _most("R2", "redis append p50", "redis-py XADD", _REDIS, ("xadd-everysec", "limits", "p50"), 1.7, 1.2),
    _most(
        "R2",
        "redis-always append p50",
        "redis-py XADD",
        ("append", "redis-always", "p50"),
        ("xadd-always", "limits", "p50"),
        1.7,
        1.2,
    ),
    _faster("R3", "append", "redis", "oa-redis", 4, 10),
    _more("R3", "redis", "oa-redis", 4, 12),
    _faster("R4", "append", "redis", "go-redis", 2, 4),
    _more("R4", "redis", "go-redis", 2, 8),
    Goal(
        "R5",
        "redis, two replicas race: entries",
        "acknowledgements",
        ("race", "redis", "entries"),
        ("race", "redis", "acks"),
        1,
    ),
    _most("R6", "redis checkpoint", "own append", ("checkpoint", "redis", "p50"), _REDIS, 1.2),
    _most("R6", "redis restore", "own append", ("restore", "redis", "p50"), _REDIS, 1.2),
    _most(
        "R6",
        "redis restore, 10,000 messages",
        "100 messages",
        ("restore@10000", "redis", "p50"),
        ("restore@100", "redis", "p50"),
        1.2,
    ),
)
