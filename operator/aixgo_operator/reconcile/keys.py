"""Names of things to reconcile."""

from __future__ import annotations

from typing import NamedTuple


class Key(NamedTuple):
    """One object of one of our kinds."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"
