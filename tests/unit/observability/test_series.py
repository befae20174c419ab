"""Our series read as the library's do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from aixgo.observability.exposition import registry_of
from aixgo.observability.prometheus import PrometheusMetrics
from aixgo.observability.series import Counts, Durations, Readings

BUCKETS = (0.005, 0.1, 1, 120)
SECONDS = (0.0, 0.005, 0.0051, 0.1, 0.5, 1, 119.5, 120, 121, 3600)
NAMES = ("calls", "seconds", "level", "state")


def lines(registry: CollectorRegistry) -> list[str]:
    """Return the series of this test, without the moment at which one was made: only the library's tell."""
    text = generate_latest(registry).decode()
    wanted = [
        line
        for line in text.splitlines()
        if line.removeprefix("# HELP ").removeprefix("# TYPE ").startswith(NAMES)
    ]
    return sorted(line for line in wanted if "_created" not in line)


def test_they_read_as_the_librarys_do() -> None:
    counts = Counts("calls", "Calls", ("method", "status"))
    durations = Durations("seconds", "Durations", ("method", "path"), BUCKETS)
    level = Readings("level", "The level", (), lambda: {(): 0.25})
    state = Readings("state", "The state", ("type",), lambda: {("File",): 1.0})
    theirs = CollectorRegistry()
    their_counter = Counter("calls", "Calls", ["method", "status"], registry=theirs)
    their_histogram = Histogram("seconds", "Durations", ["method", "path"], buckets=BUCKETS, registry=theirs)
    Gauge("level", "The level", registry=theirs).set_function(lambda: 0.25)
    Gauge("state", "The state", ["type"], registry=theirs).labels("File").set(1.0)
    counts.show("Send", "OK")
    their_counter.labels("Send", "OK")
    for method in ("Execute", 'odd "\\\n name'):
        for seconds in SECONDS:
            counts.inc(method, "OK")
            their_counter.labels(method, "OK").inc()
            durations.observe(seconds, method, "/")
            their_histogram.labels(method, "/").observe(seconds)
    ours = lines(registry_of([counts, durations, level, state]))
    assert ours == lines(theirs)
    assert 'calls_total{method="Send",status="OK"} 0.0' in ours
    assert 'seconds_bucket{le="+Inf",method="Execute",path="/"} 10.0' in ours


def test_nothing_was_fed() -> None:
    ours = [Counts("calls", "Calls", ("method",)), Durations("seconds", "Durations", ("method",), BUCKETS)]
    theirs = CollectorRegistry()
    Counter("calls", "Calls", ["method"], registry=theirs)
    Histogram("seconds", "Durations", ["method"], buckets=BUCKETS, registry=theirs)
    assert lines(registry_of(ours)) == lines(theirs)


def test_what_was_counted_before_the_first_scrape_and_after_it_is_told() -> None:
    metrics = PrometheusMetrics()
    metrics.rpc_finished("Execute", "OK", 0.1)
    assert 'aixgo_grpc_requests_total{method="Execute",status="OK"} 1.0' in metrics.exposition().decode()
    metrics.rpc_finished("Execute", "OK", 0.1)
    metrics.watch_session_backend(lambda: ("File", False))
    text = metrics.exposition().decode()
    assert 'aixgo_grpc_requests_total{method="Execute",status="OK"} 2.0' in text
    assert 'aixgo_session_backend_ready{type="File"} 0.0' in text
    assert 'aixgo_tls_reloads_total{result="failed"} 0.0' in text
    for of_every_process in ("process_resident_memory_bytes", "python_gc_collections_total", "python_info"):
        assert of_every_process in text


def test_reloads_that_threads_report_are_all_counted() -> None:
    metrics = PrometheusMetrics()
    with ThreadPoolExecutor(4) as threads:
        for _ in range(4):
            threads.submit(lambda: [metrics.tls_reload("ok") for _ in range(5_000)])
    assert 'aixgo_tls_reloads_total{result="ok"} 20000.0' in metrics.exposition().decode()
