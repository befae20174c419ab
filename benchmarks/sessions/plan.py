"""What is measured, of which rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

#: Rows of our own environment, in one process.
OURS: Final = ("limits", "file-fsync", "file-os", "redis", "redis-always", "file-os@10", "file-os@5000")
#: Rows of the peers' environment, a process each.
PEERS: Final = (
    "oa-sqlite",
    "lg-sqlite",
    "adk-db",
    "adk-sqlite",
    "sqlite-full",
    "sqlite-normal",
    "go-file",
    "oa-redis",
    "go-redis",
    "go-file@5000",
)
#: Rows of the large table, in its order.
STORES: Final = (
    "file-fsync",
    "oa-sqlite",
    "lg-sqlite",
    "adk-db",
    "adk-sqlite",
    "sqlite-full",
    "file-os",
    "sqlite-normal",
    "go-file",
    "redis",
    "oa-redis",
    "go-redis",
    "redis-always",
)
_CHECKPOINTS: Final = tuple(row for row in STORES if not row.startswith(("oa-", "adk-")))


@dataclass(frozen=True)
class Step:
    """One operation: a column."""

    name: str
    rows: tuple[str, ...]
    #: Every round has so many parts, and every part all rows: a stall of the machine meets them all.
    parts: int = 1
    #: Arguments of :meth:`Measurer.run`.
    measure: dict[str, Any] = field(default_factory=dict)


def plan(*, quick: bool) -> list[list[Step]]:
    """Return the steps of a round, in groups: those of a group are measured part by part, in turn."""
    window = 0.4 if quick else 1.0
    factor = 1 if quick else 2

    def step(title: str, rows: tuple[str, ...], kind: str, samples: int, **arguments: Any) -> Step:
        parts = {"extra": 1, "cold": 1, "clients": 2}.get(kind, 5)
        measure = {"kind": kind, "samples": samples * factor // parts, "seconds": window / parts, **arguments}
        return Step(title, rows, parts, measure)

    def limit(name: str) -> Step:
        return step(name, ("limits",), "limit", 200, name=name)

    def history(kind: str, messages: int) -> Step:
        return step(f"{kind}@{messages}", ("file-fsync", "redis"), kind, 100, history=messages)

    grown = ("file-os@10", "file-os@5000", "go-file@5000")
    return [
        [step("create", STORES, "create", 40)],
        [
            limit("prealloc-fdatasync"),
            limit("prealloc-fdatasync-thread"),
            limit("write"),
            limit("open-write-close"),
            limit("xadd-everysec"),
            limit("xadd-always"),
            step("append", STORES, "append", 100, history=100),
            # As many as appends: the first ones of each part find cold caches.
            step("append@1k", STORES, "append", 100, history=1000),
            step("checkpoint", _CHECKPOINTS, "checkpoint", 100, history=1000),
            step("restore", _CHECKPOINTS, "restore", 100, history=1000),
        ],
        [history(kind, messages) for kind in ("checkpoint", "restore") for messages in (100, 10_000)],
        [step("append, many sessions", grown, "append", 50, history=5)],
        [
            limit("decode-100"),
            step("last100", STORES, "read", 50, history=1000, limit=100),
            step("last100 decoded", ("file-fsync",), "read", 50, history=1000, limit=100, forget=True),
            step("last100 cold", ("file-fsync",), "cold", 10, history=1000, limit=100),
            step("last100 cold@100k", ("file-fsync",), "cold", 5, history=100_000, limit=100),
            step("all1000", STORES, "read", 15, history=1000, limit=None),
        ],
        [step("x1", STORES, "clients", 0, clients=1), step("x32", STORES, "clients", 0, clients=32)],
        [step(name, ("redis",), "extra", 1, name=name) for name in ("round-trips", "race")],
        [step("replay", ("file-fsync",), "extra", 1, name="replay")],
    ]
