"""Counters and histograms for what every call feeds.

The library's are made for many threads: each step takes a lock and checks itself. Five of them cost as much
as an eighth of a small call. These are fed by the event loop's thread alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prometheus_client import CollectorRegistry, Metric


class CallCounter(Collector):
    """A counter with labels."""

    def __init__(self, name: str, text: str, labels: Sequence[str], *, registry: CollectorRegistry) -> None:
        self._about = name, text, labels
        self._counts: Counter[tuple[str, ...]] = Counter()
        registry.register(self)

    def inc(self, *values: str) -> None:
        """Count one, with these values of the labels."""
        self._counts[values] += 1

    def collect(self) -> Iterable[Metric]:
        """Return the series at a scrape."""
        name, text, labels = self._about
        family = CounterMetricFamily(name, text, labels=labels)
        for values, count in self._counts.items():
            family.add_metric(values, count)
        return [family]


class CallHistogram(Collector):
    """A histogram of seconds with one label."""

    def __init__(
        self, name: str, text: str, label: str, buckets: Sequence[float], *, registry: CollectorRegistry
    ) -> None:
        self._about = name, text, label
        self._bounds = tuple(buckets)
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}
        registry.register(self)

    def observe(self, value: str, seconds: float) -> None:
        """Record a duration, with this value of the label."""
        counts = self._counts.get(value)
        if counts is None:
            counts = self._counts[value] = [0] * (len(self._bounds) + 1)
            self._sums[value] = 0.0
        counts[bisect_left(self._bounds, seconds)] += 1
        self._sums[value] += seconds

    def collect(self) -> Iterable[Metric]:
        """Return the series at a scrape."""
        name, text, label = self._about
        family = HistogramMetricFamily(name, text, labels=[label])
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        for value, counts in self._counts.items():
            buckets = list(zip(bounds, map(float, accumulate(counts)), strict=True))
            family.add_metric([value], buckets, self._sums[value])
        return [family]
