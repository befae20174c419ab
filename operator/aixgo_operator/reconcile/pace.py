"""When to look again."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from aixgo_operator.reconcile.workqueue import Requeue

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

#: The pause between two looks grows by this factor, up to the longest one, while something is not as wanted.
_GROWTH: Final = 1.4
LONGEST_WAIT: Final = 5.0


def next_look(
    *,
    settled: bool,
    attempts: int,
    quick: float,
    steady: float,
    due: datetime | None = None,
    now: datetime,
    jitter: Callable[[], float] = random.random,
) -> Requeue:
    """Return when to look again: soon and then less often until it is settled, then at the steady pace.

    ``due``: a time (certificate renewal) that must not be missed. A look at the steady pace is patient: those
    to whom something happens go first. Up to a fifth is added to that pace, so that a thousand runtimes are
    not probed in one moment. All pauses are in seconds.
    """
    if settled:
        after = steady * (1.0 + 0.2 * jitter())
    else:
        after = min(quick * _GROWTH ** min(attempts, 20), max(LONGEST_WAIT, quick))
    left = float("inf") if due is None else max((due - now).total_seconds(), 0.0) + 0.05
    return Requeue(min(after, left), patient=settled and after < left)
