"""Counters, histograms and readings as plain data; :mod:`aixgo.observability.exposition` writes them down.

The Prometheus library's own are made for many threads: each step takes a lock and checks itself. Five of them
cost as much as an eighth of a small call. These are fed by the event loop's thread alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: So many durations are counted together.
_FRESH: Final = 256


class Counts:
    """A counter with labels."""

    def __init__(self, name: str, text: str, labels: Sequence[str]) -> None:
        """Make the counter. ``name`` is without ``_total``, ``text`` says what is counted."""
        self.name, self.text, self.labels = name, text, tuple(labels)
        #: What was counted, by the values of the labels.
        self.values: Counter[tuple[str, ...]] = Counter()

    def inc(self, *values: str) -> None:
        """Count one, with these values of the labels."""
        self.values[values] += 1

    def show(self, *values: str) -> None:
        """Show these values of the labels although nothing was counted yet."""
        self.values[values] += 0


class Durations:
    """A histogram of seconds with labels."""

    def __init__(self, name: str, text: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        """Make the histogram. ``bounds`` are the upper ends of its buckets, in order; +Inf is added."""
        self.name, self.text, self.labels = name, text, tuple(labels)
        self.bounds = tuple(bounds)
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}
        #: What was recorded and not counted yet. Counted together it costs a third.
        self._fresh: list[tuple[float, tuple[str, ...]]] = []

    def observe(self, seconds: float, *values: str) -> None:
        """Record a duration, with these values of the labels."""
        fresh = self._fresh
        fresh.append((seconds, values))
        if len(fresh) >= _FRESH:
            self._count()

    @property
    def counts(self) -> dict[tuple[str, ...], list[int]]:
        """How many durations are in each bucket, not cumulated, by the values of the labels."""
        self._count()
        return self._counts

    @property
    def sums(self) -> dict[tuple[str, ...], float]:
        """The sums of the durations in seconds, by the values of the labels."""
        self._count()
        return self._sums

    def _count(self) -> None:
        fresh, self._fresh = self._fresh, []
        for seconds, values in fresh:
            counts = self._counts.get(values)
            if counts is None:
                counts = self._counts[values] = [0] * (len(self.bounds) + 1)
                self._sums[values] = 0.0
            counts[bisect_left(self.bounds, seconds)] += 1
            self._sums[values] += seconds


class Readings:
    """Values that are read at a scrape."""

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        read: Callable[[], Mapping[tuple[str, ...], float]],
    ) -> None:
        """Make the gauge. ``read`` returns the present values, by the values of the labels."""
        self.name, self.text, self.labels = name, text, tuple(labels)
        self.read = read


Series: TypeAlias = Counts | Durations | Readings
