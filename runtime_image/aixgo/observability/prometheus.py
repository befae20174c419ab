"""The Prometheus collector.

Metric names are those of Aixgo v0.3.3; labels are bounded by the configuration.
"""

from __future__ import annotations

import asyncio
import resource
import threading
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from aixgo.observability.series import Counts, Durations, Readings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prometheus_client import CollectorRegistry

    from aixgo.observability.metrics import Direction, Outcome
    from aixgo.observability.series import Series

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
        self._rpc = Counts("aixgo_grpc_requests", "gRPC calls", ("method", "status"))
        self._rpc_seconds = Durations(
            "aixgo_grpc_request_duration_seconds", "Duration of gRPC calls", ("method",), SECONDS
        )
        self._messages = Counts(
            "aixgo_agent_messages", "Messages of an agent, by direction", ("agent", "type")
        )
        self._execution = Durations(
            "aixgo_agent_execution_duration_seconds", "Duration of an agent's executions", ("agent",), SECONDS
        )
        self._sessions = Counts(
            "aixgo_session_operations", "Operations on the session backend", ("operation", "result")
        )
        self._session_seconds = Durations(
            "aixgo_session_operation_duration_seconds",
            "Duration of operations on the session backend; of a turn without the agent's part",
            ("operation",),
            FAST_SECONDS,
        )
        self._tools = Counts("aixgo_mcp_tool_calls", "Calls of tools of MCP servers", ("tool", "status"))
        self._tool_seconds = Durations(
            "aixgo_mcp_tool_call_duration_seconds",
            "Duration of calls of tools of MCP servers",
            ("tool",),
            SECONDS,
        )
        self._tool_names: set[str] = set()
        self._calls_in_flight = 0
        self._tls = Counts("aixgo_tls_reloads", "New certificates taken or refused", ("result",))
        self._tls_lock = threading.Lock()
        self._config = Counts("aixgo_config_reloads", "New configurations taken or refused", ("result",))
        for outcome in ("ok", "failed"):
            self._tls.show(outcome)
            self._config.show(outcome)
        self._refused = Counts(
            "aixgo_authorization_refused", "Calls refused with PERMISSION_DENIED", ("agent",)
        )
        self._http = Counts(
            "aixgo_http_requests", "Requests to the admin server", ("method", "path", "status")
        )
        self._http_seconds = Durations(
            "aixgo_http_request_duration_seconds",
            "Duration of requests to the admin server",
            ("method", "path"),
            SECONDS,
        )
        self._series: list[Series] = [
            *(self._rpc, self._rpc_seconds, self._messages, self._execution),
            *(self._sessions, self._session_seconds, self._tools, self._tool_seconds),
            *(self._tls, self._config, self._refused, self._http, self._http_seconds),
        ]
        self._read("aixgo_calls_in_flight", "Calls that are running now", lambda: self._calls_in_flight)
        self._read("aixgo_memory_usage_bytes", "Resident memory of the process", resident_bytes)
        self._read(
            "aixgo_goroutines", "Running asyncio tasks; the name is that of the Go original", _task_count
        )

    @cached_property
    def registry(self) -> CollectorRegistry:
        """All metrics, for the library."""
        # Half of what it loads is a web server; many a process is never scraped, and none before it listens.
        from aixgo.observability.exposition import registry_of

        return registry_of(self._series)

    def watch_connections(self, *grpc_ports: int) -> None:
        """Count the connections to these ports at every scrape, as ``aixgo_active_connections``."""
        self._read(
            "aixgo_active_connections",
            "Open connections to the gRPC port",
            lambda: sum(open_connections(port) for port in grpc_ports),
        )

    def watch_certificate(self, not_after: Callable[[], float]) -> None:
        """Show when the certificate in use expires, as ``aixgo_tls_certificate_not_after_seconds``.

        Args:
            not_after: Returns the moment as seconds since 1970.
        """
        self._read(
            "aixgo_tls_certificate_not_after_seconds",
            "When the certificate that new connections meet expires, in seconds since 1970",
            not_after,
        )

    def watch_session_backend(self, state: Callable[[], tuple[str, bool]]) -> None:
        """Show the type of the session backend and whether it answers, as ``aixgo_session_backend_ready``."""

        def ready() -> dict[tuple[str, ...], float]:
            # One series for the present backend, none for those before it.
            kind, is_ready = state()
            return {(kind,): float(is_ready)}

        text = "Whether the session backend answers, by its type"
        self._series.append(Readings("aixgo_session_backend_ready", text, ("type",), ready))

    def exposition(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        from aixgo.observability.exposition import text_of

        return text_of(self.registry)

    def _read(self, name: str, text: str, value: Callable[[], float]) -> None:
        self._series.append(Readings(name, text, (), lambda: {(): value()}))

    # What every call feeds counts without a call of its own.

    def rpc_finished(self, method: str, status: str, seconds: float) -> None:
        """Feed ``aixgo_grpc_requests_total`` and its duration."""
        self._rpc.values[method, status] += 1
        self._rpc_seconds.observe(seconds, method)

    def agent_message(self, agent: str, direction: Direction) -> None:
        """Feed ``aixgo_agent_messages_total``."""
        self._messages.values[agent, direction] += 1

    def agent_executed(self, agent: str, seconds: float) -> None:
        """Feed ``aixgo_agent_execution_duration_seconds``."""
        self._execution.observe(seconds, agent)

    def session_operation(self, operation: str, outcome: Outcome, seconds: float) -> None:
        """Feed ``aixgo_session_operations_total`` and its duration."""
        self._sessions.values[operation, outcome] += 1
        self._session_seconds.observe(seconds, operation)

    def mcp_tool_called(self, tool: str, outcome: Outcome, seconds: float) -> None:
        """Feed ``aixgo_mcp_tool_calls_total`` and its duration."""
        if tool not in self._tool_names:
            if len(self._tool_names) >= MAX_TOOL_NAMES:
                tool = "other"
            else:
                self._tool_names.add(tool)
        self._tools.inc(tool, outcome)
        self._tool_seconds.observe(seconds, tool)

    def calls_in_flight(self, count: int) -> None:
        """Feed ``aixgo_calls_in_flight``."""
        self._calls_in_flight = count

    def tls_reload(self, outcome: Outcome) -> None:
        """Feed ``aixgo_tls_reloads_total``."""
        with self._tls_lock:  # the only one that gRPC's threads feed, too
            self._tls.inc(outcome)

    def config_reload(self, outcome: Outcome) -> None:
        """Feed ``aixgo_config_reloads_total``."""
        self._config.inc(outcome)

    def authorization_refused(self, agent: str) -> None:
        """Feed ``aixgo_authorization_refused_total``."""
        self._refused.inc(agent)

    def http_finished(self, method: str, path: str, status: int, seconds: float) -> None:
        """Feed ``aixgo_http_requests_total`` and its duration."""
        self._http.inc(method, path, str(status))
        self._http_seconds.observe(seconds, method, path)


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
