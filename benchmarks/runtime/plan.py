"""What is measured, of which rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Rows with a session backend.
STORES: Final = ("file-os", "file-fsync", "redis")


@dataclass(frozen=True)
class Step:
    """One operation. Its rows are measured in turn, in several parts per round."""

    name: str
    rows: tuple[str, ...]
    kind: str
    clients: int
    #: The kind of rows that are measured in another way.
    kinds: tuple[tuple[str, str], ...] = ()

    def kind_of(self, row: str) -> str:
        """Return what the client calls."""
        return dict(self.kinds).get(row, self.kind)


def _sessions(name: str, clients: int) -> Step:
    kinds = tuple((row, "remember") for row in STORES)
    return Step(name, ("bare", "bare-tuned", "aixgo", *STORES), "echo", clients, kinds)


STEPS: Final = (
    Step("echo x16", ("bare", "aixgo", "bare-tuned"), "echo", 16),
    Step("echo x16 mTLS", ("bare-mtls", "aixgo-mtls", "aixgo"), "echo", 16),
    _sessions("x1", 1),
    _sessions("x32", 32),
    Step("stream x1", ("bare", "aixgo"), "tokens", 1),
    Step("stream x8", ("bare", "aixgo"), "tokens", 8),
    Step("processes x64", ("one-process", "two-processes"), "light", 64),
)
#: Parts of a round, and seconds of each.
PARTS: Final = 4
