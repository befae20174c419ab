"""Answers of many callers that leave together (decision 0023).

An answer that leaves by itself wakes gRPC's thread, the event loop and the caller, and the next call comes by
itself too: with many callers that is dearer than what the call is about. Answers that are ready within a few
milliseconds and leave together share all of this, and the turns between them find the caches warm.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

#: With fewer conversations at work nobody waits for anybody.
MANY: Final = 8
#: Who took no turn in so many seconds, at most twice as many, is not at work any more.
LATELY: Final = 0.05
#: Longest time that an answer waits for others, in seconds.
LONGEST: Final = 0.005
#: How long it waits when no other becomes ready, at most twice as long.
QUIET: Final = 0.001
#: After a wait for nobody so many answers leave at once: the conversations belong to few callers.
LEFT_ALONE: Final = 64


class Together:
    """Holds answers back until those of everybody who is at work are ready. For one event loop only."""

    def __init__(self) -> None:
        self._now: set[str] = set()
        self._before: set[str] = set()
        self._since = 0.0
        self._waiting: list[asyncio.Future[None]] = []
        #: How many of them are new since the timer was set, and when they leave whatever happens.
        self._new = 0
        self._latest = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        #: So many answers leave at once before the next one waits.
        self._at_once = 0

    def ready(self, conversation: str) -> asyncio.Future[None] | None:
        """Hear that an answer is ready.

        Args:
            conversation: The session that it belongs to: one caller at a time.

        Returns:
            What is done when it may leave; None: at once.
        """
        now = time.monotonic()
        if now - self._since > LATELY:
            self._before = self._now if now - self._since <= 2 * LATELY else set()
            self._now, self._since = set(), now
        self._now.add(conversation)
        at_work = max(len(self._before), len(self._now))
        if at_work < MANY:
            return None
        if self._at_once:
            self._at_once -= 1
            return None
        if len(self._waiting) + 1 >= at_work:
            self._leave()
            return None
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        place: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(place)
        self._new += 1
        if self._timer is None:
            self._latest = now + LONGEST
            self._timer = self._loop.call_later(QUIET, self._look, self._loop)
        return place

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._new and time.monotonic() < self._latest:
            self._new = 0
            self._timer = loop.call_later(QUIET, self._look, loop)
            return
        if len(self._waiting) < MANY // 2:
            self._at_once = LEFT_ALONE
        self._leave()

    def _leave(self) -> None:
        waiting, self._waiting, self._new = self._waiting, [], 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for place in waiting:
            if not place.done():  # else its caller is gone
                place.set_result(None)
