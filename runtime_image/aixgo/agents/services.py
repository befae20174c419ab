"""What a runtime gives to the agents that it builds out of a configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from aixgo.agents.url_guard import AddressPolicy
from aixgo.observability.metrics import MetricsCollector, NoMetrics
from aixgo.runtime.errors import AgentLoadError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aixgo.contract import AgentToolConfig
    from aixgo.message import Message


class AgentCaller(Protocol):
    """Calls other agents, be they in this process or behind a route."""

    def description(self, target: AgentToolConfig) -> str:
        """Return what the agent says of itself; "" if it is not known here."""

    async def call(self, target: AgentToolConfig, message: Message) -> Message:
        """Call the agent, without a session, within the deadline of the present call.

        Raises:
            CallLoopError: the chain of agents that call each other is too deep.
            AixgoError: the call failed.
        """


class HeaderReader(Protocol):
    """Reads the Secret with the headers for an MCP server."""

    def __call__(self, secret: str) -> Mapping[str, str]:
        """Return the headers.

        Raises:
            AgentLoadError: there is no such Secret.
        """


def _no_headers(secret: str) -> Mapping[str, str]:
    raise AgentLoadError(f"secret {secret!r} is not available")


@dataclass(frozen=True, slots=True)
class AgentServices:
    """The defaults are those of a pod without other agents: what is not given is refused, never assumed."""

    #: Which addresses model endpoints and MCP servers may have.
    policy: AddressPolicy = field(default_factory=AddressPolicy)
    #: Whether tools may be programs of this machine (MCP over stdio): on a laptop, not in a pod.
    programs: bool = False
    metrics: MetricsCollector = field(default_factory=NoMetrics)
    headers: HeaderReader = _no_headers
    #: None: agents cannot be tools.
    caller: AgentCaller | None = None
