"""Waiting for a condition instead of for a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: How much longer than its author thought a wait may take: a machine with other work may be that slow. Who
#: waits for what does not come waits longer; nobody else does.
PATIENCE = 6.0


def wait_until(
    condition: Callable[[], object], what: str, *, timeout: float = 10.0, every: float = 0.05
) -> None:
    """Return as soon as `condition` is true; asked every `every` seconds.

    `timeout` is that of a quiet machine, in seconds: :data:`PATIENCE` times as long is waited.

    Raises:
        AssertionError: not true after that time; the message has `what`.
    """
    end = time.monotonic() + PATIENCE * timeout
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {PATIENCE * timeout:.0f} s: {what}")
        time.sleep(every)
