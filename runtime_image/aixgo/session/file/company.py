"""Who changes sessions at the same time: whether a batch has everybody who is at work."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Who changed nothing in so many batches, at most twice as many, is not at work any more.
_BATCHES: Final = 4
#: Nor is anybody after so many seconds without a batch.
_IDLE: Final = 0.02


class Company:
    """Fed with the sessions of each batch. Not safe in threads."""

    def __init__(self) -> None:
        self._now: set[str] = set()
        self._before: set[str] = set()
        self._batches = 0
        self._newest = 0.0

    def is_complete(self, sessions: Iterable[str]) -> bool:
        """Note a batch, and say whether everybody who changed something lately is in it."""
        batch = set(sessions)
        moment = time.monotonic()
        if moment - self._newest > _IDLE:
            self._now, self._before, self._batches = set(), set(), 0
        self._newest = moment
        complete = self._now <= batch and self._before <= batch
        self._batches += 1
        if self._batches == _BATCHES:
            self._before, self._now, self._batches = self._now, batch, 0
        else:
            self._now |= batch
        return complete

    def is_only(self, session: str) -> bool:
        """Say whether this session, and no other, was changed in the batches before."""
        return len(self._before) == 1 and session in self._before and self._now <= self._before
