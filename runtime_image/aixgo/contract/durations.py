"""Durations as Go writes them: ``300ms``, ``1.5h``, ``2h45m``."""

from __future__ import annotations

import re
from typing import Final

_SECONDS: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
#: What 63 bits of nanoseconds hold: 292 years.
_LONGEST_SECONDS: Final = 2**63 / 1e9


def parse_duration(text: str) -> float:
    """Return a duration in seconds (Go: time.ParseDuration).

    Raises:
        ValueError: it is no duration; the text says how one is written.
    """
    sign, rest = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    if rest == "0":
        return 0.0
    seconds, position = 0.0, 0
    while match := _PART.match(rest, position):
        seconds += float(match[1]) * _SECONDS[match[2]]
        position = match.end()
    if not rest or position != len(rest) or seconds >= _LONGEST_SECONDS:
        raise ValueError(f"{text!r} is no duration: write it as 500ms, 10s or 1h30m")
    return sign * seconds
