"""What becomes of backends when the process forks: the child's copy is closed.

It shares sockets, file positions and the lock of the store with its parent, and has none of its threads.
"""

from __future__ import annotations

import os
from typing import Final, Protocol
from weakref import WeakSet


class Forkable(Protocol):
    """A backend that is open."""

    def close_in_child(self) -> None:
        """Refuse every call from now on. The parent's backend is not touched."""


_open: Final[WeakSet[Forkable]] = WeakSet()


def watch(backend: Forkable) -> None:
    """Close the copy of a backend in every process that is forked from now on."""
    _open.add(backend)


def _close_all() -> None:
    for backend in list(_open):
        backend.close_in_child()
    _open.clear()


os.register_at_fork(after_in_child=_close_all)
