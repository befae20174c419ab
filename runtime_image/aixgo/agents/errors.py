"""What a role refuses to do. The texts are fit for a caller."""

from __future__ import annotations

from aixgo.runtime.errors import AgentError


class AgentNotImplementedError(AgentError):
    """The role has no such operation (Go: NotImplementedError)."""

    def __init__(self, agent: str, operation: str) -> None:
        super().__init__(agent, f"agent {agent} does not implement {operation}")


class NoAgreementError(AgentError):
    """A vote has no result, because the inputs disagree."""
