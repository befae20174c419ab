"""The Prometheus collector.

Metric names are those of Aixgo v0.3.3; labels are bounded by the configuration.
"""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from aixgo.observability.call_series import CallCounter, CallHistogram

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from prometheus_client import Metric

    from aixgo.observability.metrics import Direction, Outcome

#: From a cached answer to a slow model.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
#: For what takes a fraction of a millisecond when all is well.
FAST_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
#: An MCP server names its tools itself; so many different names become labels, the rest is ``other``.
MAX_TOOL_NAMES = 200
#: State 01 of the kernel's socket table.
ESTABLISHED = "01"
SOCKET_TABLES = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))


class PrometheusMetrics:
    """A collector with a registry of its own, so that a process may hold several runtimes."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._rpc = CallCounter("aixgo_grpc_requests", "gRPC calls", ["method", "status"], registry=registry)
        self._rpc_seconds = CallHistogram(
            "aixgo_grpc_request_duration_seconds",
            "Duration of gRPC calls",
            "method",
            buckets=SECONDS,
            registry=registry,
        )
        self._messages = CallCounter(
            "aixgo_agent_messages", "Messages of an agent, by direction", ["agent", "type"], registry=registry
        )
        self._execution = CallHistogram(
            "aixgo_agent_execution_duration_seconds",
            "Duration of an agent's executions",
            "agent",
            buckets=SECONDS,
            registry=registry,
        )
        self._sessions = CallCounter(
            "aixgo_session_operations",
            "Operations on the session backend",
            ["operation", "result"],
            registry=registry,
        )
        self._session_seconds = CallHistogram(
            "aixgo_session_operation_duration_seconds",
            "Duration of operations on the session backend; of a turn without the agent's part",
            "operation",
            buckets=FAST_SECONDS,
            registry=registry,
        )
        self._tools = Counter(
            "aixgo_mcp_tool_calls", "Calls of tools of MCP servers", ["tool", "status"], registry=registry
        )
        self._tool_seconds = Histogram(
            "aixgo_mcp_tool_call_duration_seconds",
            "Duration of calls of tools of MCP servers",
            ["tool"],
            buckets=SECONDS,
            registry=registry,
        )
        self._tool_names: set[str] = set()
        in_flight = Gauge("aixgo_calls_in_flight", "Calls that are running now", registry=registry)
        in_flight.set_function(lambda: self._calls_in_flight)
        self._calls_in_flight = 0
        self._tls = Counter(
            "aixgo_tls_reloads", "New certificates taken or refused", ["result"], registry=registry
        )
        self._config = Counter(
            "aixgo_config_reloads", "New configurations taken or refused", ["result"], registry=registry
        )
        for outcome in ("ok", "failed"):
            self._tls.labels(outcome)
            self._config.labels(outcome)
        self._refused = Counter(
            "aixgo_authorization_refused",
            "Calls refused with PERMISSION_DENIED",
            ["agent"],
            registry=registry,
        )
        self._http = Counter(
            "aixgo_http_requests",
            "Requests to the admin server",
            ["method", "path", "status"],
            registry=registry,
        )
        self._http_seconds = Histogram(
            "aixgo_http_request_duration_seconds",
            "Duration of requests to the admin server",
            ["method", "path"],
            buckets=SECONDS,
            registry=registry,
        )
        memory = Gauge("aixgo_memory_usage_bytes", "Resident memory of the process", registry=registry)
        memory.set_function(resident_bytes)
        tasks = Gauge(
            "aixgo_goroutines",
            "Running asyncio tasks; the name is that of the Go original",
            registry=registry,
        )
        tasks.set_function(_task_count)

    def watch_connections(self, *grpc_ports: int) -> None:
        """Count the connections to these ports at every scrape, as ``aixgo_active_connections``."""
        connections = Gauge(
            "aixgo_active_connections", "Open connections to the gRPC port", registry=self.registry
        )
        connections.set_function(lambda: sum(open_connections(port) for port in grpc_ports))

    def watch_certificate(self, not_after: Callable[[], float]) -> None:
        """Show when the certificate in use expires, as ``aixgo_tls_certificate_not_after_seconds``.

        Args:
            not_after: Returns the moment as seconds since 1970.
        """
        gauge = Gauge(
            "aixgo_tls_certificate_not_after_seconds",
            "When the certificate that new connections meet expires, in seconds since 1970",
            registry=self.registry,
        )
        gauge.set_function(not_after)

    def watch_session_backend(self, state: Callable[[], tuple[str, bool]]) -> None:
        """Show the type of the session backend and whether it answers, as ``aixgo_session_backend_ready``."""
        self.registry.register(_SessionBackend(state))

    def exposition(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self.registry)

    def rpc_finished(self, method: str, status: str, seconds: float) -> None:
        """Feed ``aixgo_grpc_requests_total`` and its duration."""
        self._rpc.inc(method, status)
        self._rpc_seconds.observe(method, seconds)

    def agent_message(self, agent: str, direction: Direction) -> None:
        """Feed ``aixgo_agent_messages_total``."""
        self._messages.inc(agent, direction)

    def agent_executed(self, agent: str, seconds: float) -> None:
        """Feed ``aixgo_agent_execution_duration_seconds``."""
        self._execution.observe(agent, seconds)

    def session_operation(self, operation: str, outcome: Outcome, seconds: float) -> None:
        """Feed ``aixgo_session_operations_total`` and its duration."""
        self._sessions.inc(operation, outcome)
        self._session_seconds.observe(operation, seconds)

    def mcp_tool_called(self, tool: str, outcome: Outcome, seconds: float) -> None:
        """Feed ``aixgo_mcp_tool_calls_total`` and its duration."""
        if tool not in self._tool_names:
            if len(self._tool_names) >= MAX_TOOL_NAMES:
                tool = "other"
            else:
                self._tool_names.add(tool)
        self._tools.labels(tool, outcome).inc()
        self._tool_seconds.labels(tool).observe(seconds)

    def calls_in_flight(self, count: int) -> None:
        """Feed ``aixgo_calls_in_flight``."""
        self._calls_in_flight = count

    def tls_reload(self, outcome: Outcome) -> None:
        """Feed ``aixgo_tls_reloads_total``."""
        self._tls.labels(outcome).inc()

    def config_reload(self, outcome: Outcome) -> None:
        """Feed ``aixgo_config_reloads_total``."""
        self._config.labels(outcome).inc()

    def authorization_refused(self, agent: str) -> None:
        """Feed ``aixgo_authorization_refused_total``."""
        self._refused.labels(agent).inc()

    def http_finished(self, method: str, path: str, status: int, seconds: float) -> None:
        """Feed ``aixgo_http_requests_total`` and its duration."""
        self._http.labels(method, path, str(status)).inc()
        self._http_seconds.labels(method, path).observe(seconds)


class _SessionBackend(Collector):
    """One series for the present backend, none for those before it."""

    def __init__(self, state: Callable[[], tuple[str, bool]]) -> None:
        self._state = state

    def collect(self) -> Iterable[Metric]:
        """Return the series at a scrape."""
        kind, ready = self._state()
        family = GaugeMetricFamily(
            "aixgo_session_backend_ready", "Whether the session backend answers, by its type", labels=["type"]
        )
        family.add_metric([kind], float(ready))
        return [family]


def resident_bytes() -> float:
    """Return the resident memory of this process in bytes (the peak where the kernel does not tell the
    current).
    """
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
    return float(pages * resource.getpagesize())


def open_connections(port: int, tables: Sequence[Path] = SOCKET_TABLES) -> float:
    """Return how many TCP connections to the local ``port`` are established; NaN where the kernel does not
    tell.

    gRPC for Python counts none of its connections, the kernel's table does.
    """
    suffix = f":{port:04X}"
    count, known = 0, False
    for table in tables:
        try:
            lines = table.read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        known = True
        for line in lines:
            fields = line.split()
            count += len(fields) > 3 and fields[1].endswith(suffix) and fields[3] == ESTABLISHED
    return float(count) if known else float("nan")


def _task_count() -> float:
    try:
        return float(len(asyncio.all_tasks()))
    except RuntimeError:  # asked from outside the event loop
        return 0.0
