"""Whether changes of many sessions gather for some time before they are flushed.

Callers over a network come a few per tick of the event loop. A flush of a fast disk is over before the next
few are there, so nearly every change would get a flush, two switches of threads and a wake-up of its caller
of its own, and the processor would be busy with those. Where many sessions are at work, a batch that gathers
for longer costs each of them less than it makes it wait.
"""

from __future__ import annotations

from typing import Final

#: Seconds that a batch gathers at most.
PATIENCE: Final = 0.002
#: So many sessions are many.
_MANY: Final = 8
#: So many more are worth the time.
_WORTH: Final = 2
#: After waiting for fewer, so many batches do not gather; twice as many after each further time.
_LEAST_PAUSE: Final = 4
_MOST_PAUSE: Final = 1024


class Gathering:
    """Fed with how many changes wait. Gathers only as long as others really come. Not safe in threads."""

    def __init__(self) -> None:
        self._before = 0
        #: Batches that do not gather.
        self._left = 0
        self._pause = _LEAST_PAUSE
        #: So many are enough: those who did not come yet go on while these are flushed.
        self.enough = 0

    def begins(self, waiting: int, at_work: int) -> bool:
        """Say whether a batch is to gather.

        Args:
            waiting: How many changes are in it.
            at_work: How many sessions changed lately, those in the batch among them.
        """
        if at_work < _MANY or 2 * waiting >= at_work:
            return False
        if self._left:
            self._left -= 1
            return False
        self._before, self.enough = waiting, at_work // 2
        return True

    def ends(self, waiting: int) -> None:
        """Note how many came in the end."""
        if waiting - self._before >= _WORTH:
            self._pause = _LEAST_PAUSE
        else:  # nobody is there: perhaps one caller with many sessions
            self._left, self._pause = self._pause, min(2 * self._pause, _MOST_PAUSE)
