"""What another runtime answered, as the error that a runtime in this process would have raised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from aixgo.agents.errors import AgentNotImplementedError, NoAgreementError
from aixgo.errors import SessionConflictError, SessionNotFoundError, StorageError
from aixgo.runtime.call_context import MAX_CHAIN, current_call
from aixgo.runtime.errors import (
    AgentFailedError,
    AgentNotFoundError,
    AgentNotReadyError,
    AnswerTooLargeError,
    CallDeadlineError,
    CallerNotAllowedError,
    CallLoopError,
    ChannelFullError,
    InvalidRequestError,
    ModelRateLimitError,
    ModelUnavailableError,
    SessionManagerNotConfiguredError,
    TooManyCallsError,
    UsageLimitError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from aixgo.rpc.client import RpcError

_BY_REASON: dict[str, Callable[[RpcError, str], Exception]] = {
    "AGENT_NOT_FOUND": lambda _, agent: AgentNotFoundError(agent),
    "AGENT_NOT_READY": lambda error, agent: AgentNotReadyError(agent, _why(error.text, agent)),
    "AGENT_FAILED": lambda error, agent: AgentFailedError(agent, error.error_id),
    "ANSWER_TOO_LARGE": lambda error, _: AnswerTooLargeError(_number(error.text)),
    "CALLER_NOT_ALLOWED": lambda _, agent: CallerNotAllowedError(agent),
    "CALL_LOOP": lambda _, __: CallLoopError(MAX_CHAIN),
    "CHANNEL_FULL": lambda _, agent: ChannelFullError(agent),
    "DEADLINE": lambda _, __: _deadline(),
    "DRAINING": lambda error, agent: AgentNotReadyError(agent, error.text),
    "INTERNAL": lambda error, agent: AgentFailedError(agent, error.error_id),
    "INVALID_REQUEST": lambda error, _: InvalidRequestError(*_split(error.text)),
    "MODEL_RATE_LIMIT": lambda error, _: ModelRateLimitError(error.text, error.retry_after),
    "MODEL_UNAVAILABLE": lambda error, _: ModelUnavailableError(error.text),
    "NOT_IMPLEMENTED": lambda error, agent: AgentNotImplementedError(agent, error.text.rpartition(" ")[2]),
    "NO_AGREEMENT": lambda error, agent: NoAgreementError(agent, error.text),
    "NO_SESSION_BACKEND": lambda _, __: SessionManagerNotConfiguredError(),
    "SESSION_BACKEND": lambda error, _: StorageError(error.text),
    "SESSION_CONFLICT": lambda error, _: SessionConflictError(error.text),
    "SESSION_NOT_FOUND": lambda _, __: SessionNotFoundError(),
    "TOO_MANY_CALLS": lambda error, _: TooManyCallsError(_number(error.text), error.retry_after or 0.0),
    "USAGE_LIMIT": lambda error, _: UsageLimitError(error.text.rpartition(": ")[2]),
}
#: Of servers that give no reason, and of connections.
_BY_CODE: dict[grpc.StatusCode, str] = {
    grpc.StatusCode.NOT_FOUND: "AGENT_NOT_FOUND",
    grpc.StatusCode.DEADLINE_EXCEEDED: "DEADLINE",
    grpc.StatusCode.INTERNAL: "INTERNAL",
    grpc.StatusCode.PERMISSION_DENIED: "CALLER_NOT_ALLOWED",
}
#: Their texts may name an address.
_NO_CONNECTION = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAUTHENTICATED)


def local_error(error: RpcError, agent: str) -> Exception:
    """Return the error that ``agent`` would have given in this process; ``error`` itself if there is none."""
    make = _BY_REASON.get(error.reason or _BY_CODE.get(error.code, ""))
    if make is not None:
        return make(error, agent)
    return AgentNotReadyError(agent) if error.code in _NO_CONNECTION else error


def _why(text: str, agent: str) -> str:
    return text.removeprefix(f"agent not ready: {agent}").removeprefix(": ")


def _split(text: str) -> tuple[str, str]:
    field, _, rest = text.partition(": ")
    return (field, rest) if rest else ("", text)


def _number(text: str) -> int:
    digits = "".join(character for character in text if character.isdigit())
    return int(digits or 0)


def _deadline() -> CallDeadlineError:
    return CallDeadlineError(current_call().remaining() or 0.0)
