"""What people read: a table of goals, a table of every operation, how it was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benchmarks.common.tables import Chart, error_lines, head_lines, operation_lines
from benchmarks.runtime.plan import STEPS

if TYPE_CHECKING:
    from benchmarks.common.goals import Verdict
    from benchmarks.common.results import Results

_CALLS: Final = (("calls/s", "ops"), ("p50", "p50"), ("p99", "p99"), ("server CPU per call", "cpu"))
_STREAMS: Final = (
    ("chunks/s", "ops"),
    ("p50 of a stream", "p50"),
    ("server CPU per chunk", "cpu"),
    ("messages per stream", "messages"),
)
_STARTS: Final = (("ms", "ms"), ("RSS MiB", "rss"), ("modules", "modules"))


CHART: Final = Chart(
    title="The runtime beside bare grpc.aio",
    panels=(
        ("echo, 16 clients: calls per second", "echo x16", "ops"),
        ("echo, 16 clients, mutual TLS: calls per second", "echo x16 mTLS", "ops"),
        ("CallWithSession, 1 client: p50, us", "x1", "p50"),
        ("CallWithSession, 32 clients: calls per second", "x32", "ops"),
        ("streams of 1,000 chunks, 8 clients: chunks per second", "stream x8", "ops"),
        ("start of a process, ms", "start", "ms"),
    ),
    ours=(
        *("aixgo", "aixgo-mtls", "file-os", "file-fsync", "redis"),
        *("aixgo serve", "aixgo --version", "aixgo --help", "operator"),
    ),
    note="x1 and x32: bare and aixgo are echoes without a session.",
    logarithmic=False,
)


def markdown(results: Results, verdicts: list[Verdict], about: dict[str, Any]) -> str:
    """Return the whole report."""
    parts = head_lines(CHART.title, about, verdicts)
    parts += ["Medians of the rounds, (min..max) below; microseconds unless said.", ""]
    for step in STEPS:
        columns = _STREAMS if step.kind == "tokens" else _CALLS
        parts += [f"## {step.name}", "", *operation_lines(results, step.name, columns), ""]
    parts += ["## Starting a process", "", *operation_lines(results, "start", _STARTS), ""]
    parts += error_lines(results)
    return "\n".join(parts) + "\n"
