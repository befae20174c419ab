"""Somebody else who undoes each of our writes must not make us write without end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

#: Writes of the same that follow each other without a pause: people edit and delete things, too.
FREE: Final = 5
#: Seconds of the first pause, which is doubled for each further write, and of the longest.
FIRST: Final = 1.0
LONGEST: Final = 60.0
#: Objects that are remembered.
_MOST: Final = 1000


@dataclass(slots=True)
class _Series:
    wish: str
    count: int
    last: float


class Contention:
    """How often the same content was written to the same object, and when it may be written again."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._series: dict[tuple[str, str, str], _Series] = {}

    def wait(self, where: tuple[str, str, str], wish: str) -> float:
        """Return for how many seconds the object should be left alone; 0: write."""
        series = self._series.get(where)
        if series is None or series.wish != wish:
            return 0.0
        return max(0.0, series.last + _pause(series.count) - self._monotonic())

    def wrote(self, where: tuple[str, str, str], wish: str) -> int:
        """Count a write; return how many of the same have followed each other."""
        now = self._monotonic()
        series = self._series.get(where)
        if series is None or series.wish != wish or now - series.last > 2 * LONGEST:
            if len(self._series) >= _MOST:
                self._forget(now)
            series = self._series[where] = _Series(wish, 0, now)
        series.count += 1
        series.last = now
        return series.count

    def _forget(self, now: float) -> None:
        """Forget those that are over; if there are none, all."""
        self._series = {k: v for k, v in self._series.items() if now - v.last <= 2 * LONGEST}
        if len(self._series) >= _MOST:
            self._series.clear()


def _pause(count: int) -> float:
    """Seconds after the write of that number."""
    return 0.0 if count < FREE else min(FIRST * 2.0 ** min(count - FREE, 10), LONGEST)
