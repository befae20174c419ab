"""What a runtime counts, as a protocol: Prometheus in the pod, nothing by default in the library."""

from __future__ import annotations

from typing import Literal, Protocol

Direction = Literal["input", "output"]
Outcome = Literal["ok", "failed"]


class MetricsCollector(Protocol):
    """Where measurements go. Every call must be cheap and must never raise. Durations are in seconds."""

    def rpc_finished(self, method: str, status: str, seconds: float) -> None:
        """Count one gRPC call by the name of its status code."""

    def agent_message(self, agent: str, direction: Direction) -> None:
        """Count a message that an agent received (``input``) or answered (``output``)."""

    def agent_executed(self, agent: str, seconds: float) -> None:
        """Record how long one execution of an agent took, failed ones included."""

    def session_operation(self, operation: str, outcome: Outcome, seconds: float) -> None:
        """Count an operation on the session backend: ``get``, ``create``, ``turn``, ``delete``.

        The duration of a turn is without the agent's: opening, waiting for its turn, and committing.
        """

    def mcp_tool_called(self, tool: str, outcome: Outcome, seconds: float) -> None:
        """Count one call of a tool of an MCP server, by the tool's name."""

    def calls_in_flight(self, count: int) -> None:
        """Set the number of calls that are running now."""

    def tls_reload(self, outcome: Outcome) -> None:
        """Count a new certificate that was taken, or refused while the old one goes on."""

    def config_reload(self, outcome: Outcome) -> None:
        """Count a new configuration that was taken, or refused while the old one goes on."""

    def authorization_refused(self, agent: str) -> None:
        """Count a caller that may not call ``agent``."""

    def http_finished(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count one request to the admin server."""


class NoMetrics:
    """A collector that forgets everything."""

    def rpc_finished(self, method: str, status: str, seconds: float) -> None:
        """Do nothing."""

    def agent_message(self, agent: str, direction: Direction) -> None:
        """Do nothing."""

    def agent_executed(self, agent: str, seconds: float) -> None:
        """Do nothing."""

    def session_operation(self, operation: str, outcome: Outcome, seconds: float) -> None:
        """Do nothing."""

    def mcp_tool_called(self, tool: str, outcome: Outcome, seconds: float) -> None:
        """Do nothing."""

    def calls_in_flight(self, count: int) -> None:
        """Do nothing."""

    def tls_reload(self, outcome: Outcome) -> None:
        """Do nothing."""

    def config_reload(self, outcome: Outcome) -> None:
        """Do nothing."""

    def authorization_refused(self, agent: str) -> None:
        """Do nothing."""

    def http_finished(self, method: str, path: str, status: int, seconds: float) -> None:
        """Do nothing."""
