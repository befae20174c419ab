"""The series of a process through the Prometheus library, which is loaded for nothing else."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from aixgo.observability.series import Counts, Durations

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prometheus_client import Metric

    from aixgo.observability.series import Series


def registry_of(series: Sequence[Series]) -> CollectorRegistry:
    """Return a registry with these series, whatever they are at a scrape, and those of every process."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    registry.register(_Collector(series))
    return registry


def text_of(registry: CollectorRegistry) -> bytes:
    """Return a registry in the Prometheus text format."""
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, series: Sequence[Series]) -> None:
        self._series = series

    def collect(self) -> Iterable[Metric]:
        """Return the families at a scrape."""
        return [_family(each) for each in self._series]


def _family(series: Series) -> Metric:
    if isinstance(series, Counts):
        counter = CounterMetricFamily(series.name, series.text, labels=series.labels)
        for values, count in series.values.items():
            counter.add_metric(values, count)
        return counter
    if isinstance(series, Durations):
        histogram = HistogramMetricFamily(series.name, series.text, labels=series.labels)
        bounds = [*map(floatToGoString, series.bounds), "+Inf"]
        for values, counts in series.counts.items():
            buckets = list(zip(bounds, map(float, accumulate(counts)), strict=True))
            histogram.add_metric(values, buckets, series.sums[values])
        return histogram
    gauge = GaugeMetricFamily(series.name, series.text, labels=series.labels)
    for values, value in series.read().items():
        gauge.add_metric(values, value)
    return gauge
