"""Our series read as the library's do."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from aixgo.observability.call_series import CallCounter, CallHistogram

BUCKETS = (0.005, 0.1, 1, 120)
SECONDS = (0.0, 0.005, 0.0051, 0.1, 0.5, 1, 119.5, 120, 121, 3600)


def lines(registry: CollectorRegistry) -> list[str]:
    """Return the exposition without the moment at which a series was made, which only the library's tell."""
    text = generate_latest(registry).decode()
    return sorted(line for line in text.splitlines() if "_created" not in line)


def test_they_read_as_the_librarys_do() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    counter = CallCounter("calls", "Calls", ["method", "status"], registry=ours)
    histogram = CallHistogram("seconds", "Durations", "method", BUCKETS, registry=ours)
    their_counter = Counter("calls", "Calls", ["method", "status"], registry=theirs)
    their_histogram = Histogram("seconds", "Durations", ["method"], buckets=BUCKETS, registry=theirs)
    for method in ("Execute", 'odd "\\\n name'):
        for seconds in SECONDS:
            counter.inc(method, "OK")
            their_counter.labels(method, "OK").inc()
            histogram.observe(method, seconds)
            their_histogram.labels(method).observe(seconds)
    assert lines(ours) == lines(theirs)
    assert any(line.startswith("calls_total{") for line in lines(ours))


def test_nothing_was_fed() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    CallCounter("calls", "Calls", ["method"], registry=ours)
    CallHistogram("seconds", "Durations", "method", BUCKETS, registry=ours)
    Counter("calls", "Calls", ["method"], registry=theirs)
    Histogram("seconds", "Durations", ["method"], buckets=BUCKETS, registry=theirs)
    assert lines(ours) == lines(theirs)
