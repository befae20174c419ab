"""What can go wrong with a call to an agent.

Texts are those of Aixgo where it has one; none names a path, a key or an address.
"""

from __future__ import annotations

import secrets

from aixgo.errors import AixgoError


def new_error_id() -> str:
    """Return an id under which a caller's error is found in the log."""
    return secrets.token_hex(6)


class ListenError(AixgoError):
    """A port cannot be listened on: it is taken, or the address is none of this machine."""

    def __init__(self, address: str) -> None:
        super().__init__(f"cannot listen on {address}: it is taken, or no address of this machine")


class RuntimeNotStartedError(AixgoError):
    """The runtime was not started, or was stopped (Go: ErrRuntimeNotStarted)."""

    def __init__(self) -> None:
        super().__init__("runtime not started")


class RuntimeAlreadyStartedError(AixgoError):
    """``start`` was called twice (Go: ErrRuntimeAlreadyStarted)."""

    def __init__(self) -> None:
        super().__init__("runtime already started")


class SessionManagerNotConfiguredError(AixgoError):
    """A session was asked for and there is no session backend (Go: ErrSessionManagerNotConfigured)."""

    def __init__(self) -> None:
        super().__init__("session manager not configured")


class AgentError(AixgoError):
    """Something about one agent; :attr:`agent` is its name."""

    def __init__(self, agent: str, text: str) -> None:
        super().__init__(text)
        self.agent = agent


class AgentNotFoundError(AgentError):
    """No agent has this name (Go: ErrAgentNotFound)."""

    def __init__(self, agent: str) -> None:
        super().__init__(agent, f"agent not found: {agent}")


class AgentAlreadyRegisteredError(AgentError):
    """An agent has this name already (Go: ErrAgentAlreadyRegistered)."""

    def __init__(self, agent: str) -> None:
        super().__init__(agent, f"agent already registered: {agent}")


class AgentNotReadyError(AgentError):
    """The agent exists and does not answer now (Go: ErrAgentNotReady)."""

    def __init__(self, agent: str, why: str = "") -> None:
        super().__init__(agent, f"agent not ready: {agent}" + (f": {why}" if why else ""))
        self.why = why


class AgentFailedError(AgentError):
    """The agent raised an exception, which is the cause (``__cause__``); only the log has its text.

    :attr:`error_id` is in the log of the process that the agent runs in, too.
    """

    def __init__(self, agent: str, error_id: str | None = None) -> None:
        self.error_id = new_error_id() if error_id is None else error_id
        super().__init__(agent, f"agent {agent!r} failed (error id {self.error_id})")


class AnswerTooLargeError(AixgoError):
    """The answer does not fit into a message of ``limit`` bytes; nothing of the call was stored."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the answer is larger than a message may be ({limit} bytes)")
        self.limit = limit


class AgentLoadError(AixgoError):
    """An agent cannot be built from its configuration. The text is shown in ``/statusz``."""


class ModelError(AixgoError):
    """The model provider failed. The text is fit for a caller."""


class ModelUnavailableError(ModelError):
    """The model provider does not answer, or refuses the request."""


class ModelUnreachableError(ModelUnavailableError):
    """No connection to the model provider."""


class ModelRateLimitError(ModelError):
    """The model provider asks for fewer requests. ``retry_after`` is in seconds, None if it did not say."""

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class UsageLimitError(ModelError):
    """The call would have used more of the model than the agent may; ``limit`` is the key of its roleConfig.

    Trying again does not help.
    """

    def __init__(self, limit: str) -> None:
        super().__init__(f"the agent's limit for one call is reached: {limit}")
        self.limit = limit


class InvalidRequestError(AixgoError):
    """A field of the request is missing or malformed; :attr:`field` names it."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(f"{field}: {text}")
        self.field = field


class CallerNotAllowedError(AgentError):
    """The caller's identity may not call this agent. Reads the same whether or not the agent exists."""

    def __init__(self, agent: str) -> None:
        super().__init__(agent, f"the caller is not allowed to call agent {agent!r}")


class CallLoopError(AixgoError):
    """A chain of agents calling agents is too deep."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"agents call each other in a chain deeper than {limit}")


class TooManyCallsError(AixgoError):
    """The limit of concurrent calls is reached; try again in ``retry_after`` seconds."""

    def __init__(self, limit: int, retry_after: float) -> None:
        super().__init__(f"too many concurrent calls (limit {limit})")
        self.retry_after = retry_after


class DrainingError(AixgoError):
    """The runtime is shutting down and takes no new calls."""

    def __init__(self) -> None:
        super().__init__("runtime is draining")


class CallDeadlineError(AixgoError, TimeoutError):
    """The call took longer than its deadline; nothing of it was stored."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"deadline exceeded after {seconds:.3g} s")


class ChannelFullError(AixgoError, TimeoutError):
    """A message could not be put into a channel in time."""

    def __init__(self, target: str) -> None:
        super().__init__(f"timeout sending message to {target} (channel full)")
        self.target = target


class CycleError(AixgoError):
    """Agents depend on each other in a circle (Go: CycleError)."""

    def __init__(self, cycle: list[str]) -> None:
        super().__init__("dependency cycle detected: " + " -> ".join(cycle))
        self.cycle = cycle


class UnknownDependencyError(AixgoError):
    """An agent depends on one that does not exist."""

    def __init__(self, agent: str, dependency: str) -> None:
        super().__init__(f'unknown dependency: agent "{agent}" depends on unknown agent "{dependency}"')


class PhaseStartError(AixgoError):
    """A phase of ``start_agents_phased`` did not become ready."""

    def __init__(self, phase: int, agent: str, why: str) -> None:
        super().__init__(f"phase {phase} startup failed: agent {agent} failed to become ready: {why}")
