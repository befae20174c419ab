"""Waiting for a condition instead of for a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def wait_until(
    condition: Callable[[], object], what: str, *, timeout: float = 10.0, every: float = 0.05
) -> None:
    """Return as soon as `condition` is true; asked every `every` seconds.

    Raises:
        AssertionError: not true after `timeout` seconds; the message has `what`.
    """
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout:.0f} s: {what}")
        time.sleep(every)
