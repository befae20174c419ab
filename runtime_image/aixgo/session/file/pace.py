"""Whether the disk is so fast that waiting for it costs the event loop less than handing over to a thread."""

from __future__ import annotations

from typing import Final

#: Seconds that a flush takes on average at most. Waking a thread and being woken costs about half of it.
_FAST: Final = 0.000_25
#: What a flush counts for at most in the average: a few that are slower change little.
_MOST: Final = 2 * _FAST
#: One flush that takes longer shows that the disk may stall.
_STALL: Final = 0.05
#: Weight of the newest flush in the average.
_WEIGHT: Final = 0.125
#: So many flushes in a row without a stall have to be seen in the thread; twice as many after each stall.
_LEAST_TRIALS: Final = 16
_MOST_TRIALS: Final = 1024
#: So many more make the stalls forgotten.
_FORGOTTEN: Final = 1024


class DiskPace:
    """Fed with the time of each flush. Begins with distrust. Not safe in threads."""

    def __init__(self) -> None:
        self._average = _MOST
        self._steady = 0
        self._trials = _LEAST_TRIALS

    @property
    def is_fast(self) -> bool:
        """Whether the next flush may be waited for in the event loop."""
        return self._steady >= self._trials and self._average <= _FAST

    def flushed(self, seconds: float) -> None:
        """Take note of a flush."""
        self._average += (min(seconds, _MOST) - self._average) * _WEIGHT
        if seconds > _STALL:
            if self._steady >= self._trials:
                self._trials = min(self._trials * 2, _MOST_TRIALS)
            self._steady = 0
            return
        self._steady += 1
        if self._steady >= _FORGOTTEN + self._trials:
            self._trials = _LEAST_TRIALS
