"""The goals."""

from __future__ import annotations

from typing import Final

from benchmarks.common.goals import Cell, Goal


def _least(
    goal: str, what: str, against: str, above: Cell, below: Cell, floor: float, stretch: float | None = None
) -> Goal:
    return Goal(goal, what, against, above, below, floor, stretch, at_least=True)


def _turn(goal: str, row: str, operation: str, number: str, floor: float, *, at_least: bool = False) -> Goal:
    what = f"{row} CallWithSession {operation} {'rps' if number == 'ops' else number}"
    cells = (operation, row, number), (operation, "bare", number)
    return Goal(goal, what, "bare echo", *cells, floor, at_least=at_least)


GOALS: Final = (
    _least(
        "G1",
        "echo rps, 16 clients, mTLS (callers are authorised)",
        "bare grpc.aio, mTLS",
        ("echo x16 mTLS", "aixgo-mtls", "ops"),
        ("echo x16 mTLS", "bare-mtls", "ops"),
        0.80,
        0.90,
    ),
    _least(
        "G1",
        "echo rps, 16 clients, plaintext",
        "bare grpc.aio",
        ("echo x16", "aixgo", "ops"),
        ("echo x16", "bare", "ops"),
        0.80,
        0.90,
    ),
    _turn("G2", "file-os", "x1", "p50", 1.5),
    _turn("G2", "file-fsync", "x1", "p50", 2.7),
    _turn("G2", "redis", "x1", "p50", 2.5),
    _turn("G3", "file-os", "x32", "ops", 0.65, at_least=True),
    _turn("G3", "file-fsync", "x32", "ops", 0.50, at_least=True),
    _turn("G3", "redis", "x32", "ops", 0.50, at_least=True),
    _least(
        "G4",
        "echo rps, 16 clients, mTLS",
        "plaintext",
        ("echo x16 mTLS", "aixgo-mtls", "ops"),
        ("echo x16 mTLS", "aixgo", "ops"),
        0.85,
    ),
    _least(
        "G5",
        "streamed chunks/s, 1 stream",
        "bare grpc.aio, a message per chunk",
        ("stream x1", "aixgo", "ops"),
        ("stream x1", "bare", "ops"),
        0.80,
    ),
    _least(
        "G5",
        "streamed chunks/s, 8 streams",
        "bare grpc.aio, a message per chunk",
        ("stream x8", "aixgo", "ops"),
        ("stream x8", "bare", "ops"),
        0.80,
    ),
    _least(
        "G6",
        "rps of 2 processes on one port, all on the same 2 cores",
        "1 process",
        ("processes x64", "two-processes", "ops"),
        ("processes x64", "one-process", "ops"),
        1.1,
    ),
    Goal(
        "S1",
        "server ready (health, reflection, agents, file backend)",
        "bare grpc.aio + health + reflection",
        ("start", "aixgo serve", "ms"),
        ("start", "bare server", "ms"),
        1.5,
    ),
    Goal(
        "S1",
        "the same, RSS above it",
        "bare grpc.aio + health + reflection",
        ("start", "aixgo serve", "rss"),
        ("start", "bare server", "rss"),
        20,
        unit=" MiB",
        difference=True,
    ),
    Goal(
        "S2",
        "aixgo --version",
        "python: import asyncio",
        ("start", "aixgo --version", "ms"),
        ("start", "import asyncio", "ms"),
        3,
    ),
    Goal(
        "S2",
        "aixgo --help",
        "python: import asyncio",
        ("start", "aixgo --help", "ms"),
        ("start", "import asyncio", "ms"),
        3,
    ),
    Goal(
        "S3",
        "operator process made",
        "python: import kopf, kubernetes.aio",
        ("start", "operator", "ms"),
        ("start", "import kopf, kubernetes.aio", "ms"),
        1.3,
    ),
    Goal(
        "S3",
        "operator process made, RSS",
        "python: import kopf, kubernetes.aio",
        ("start", "operator", "rss"),
        ("start", "import kopf, kubernetes.aio", "rss"),
        1.3,
    ),
)
