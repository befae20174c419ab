"""The status that a caller sees for each failure (runtime contract v1).

Texts never hold a path, a key, an address or a stack trace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from aixgo.agents.errors import AgentNotImplementedError, NoAgreementError
from aixgo.errors import (
    InvalidMessageError,
    InvalidPathComponentError,
    SessionConflictError,
    SessionNotFoundError,
    StorageError,
)
from aixgo.runtime.errors import (
    AgentFailedError,
    AgentNotFoundError,
    AgentNotReadyError,
    AnswerTooLargeError,
    CallDeadlineError,
    CallerNotAllowedError,
    CallLoopError,
    ChannelFullError,
    DrainingError,
    InvalidRequestError,
    ModelRateLimitError,
    ModelUnavailableError,
    RuntimeNotStartedError,
    SessionManagerNotConfiguredError,
    TooManyCallsError,
    UsageLimitError,
    new_error_id,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The trailer in which gRPC carries a ``google.rpc.Status``.
DETAILS_TRAILER = "grpc-status-details-bin"

#: The domain of our ``google.rpc.ErrorInfo``: its ``reason`` tells errors of one status code apart.
ERROR_DOMAIN = "aixgo"

#: Exceptions whose own text is fit for a caller: their code, and their reason.
_CODES: tuple[tuple[type[Exception], grpc.StatusCode, str], ...] = (
    (InvalidRequestError, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    (AgentNotFoundError, grpc.StatusCode.NOT_FOUND, "AGENT_NOT_FOUND"),
    (AgentNotReadyError, grpc.StatusCode.UNAVAILABLE, "AGENT_NOT_READY"),
    (CallerNotAllowedError, grpc.StatusCode.PERMISSION_DENIED, "CALLER_NOT_ALLOWED"),
    (SessionNotFoundError, grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND"),
    (SessionConflictError, grpc.StatusCode.ABORTED, "SESSION_CONFLICT"),
    (SessionManagerNotConfiguredError, grpc.StatusCode.FAILED_PRECONDITION, "NO_SESSION_BACKEND"),
    (AnswerTooLargeError, grpc.StatusCode.RESOURCE_EXHAUSTED, "ANSWER_TOO_LARGE"),
    (TooManyCallsError, grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS"),
    (CallDeadlineError, grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE"),
    (CallLoopError, grpc.StatusCode.FAILED_PRECONDITION, "CALL_LOOP"),
    (ChannelFullError, grpc.StatusCode.RESOURCE_EXHAUSTED, "CHANNEL_FULL"),
    (DrainingError, grpc.StatusCode.UNAVAILABLE, "DRAINING"),
    (RuntimeNotStartedError, grpc.StatusCode.UNAVAILABLE, "DRAINING"),
    (ModelRateLimitError, grpc.StatusCode.RESOURCE_EXHAUSTED, "MODEL_RATE_LIMIT"),
    (UsageLimitError, grpc.StatusCode.RESOURCE_EXHAUSTED, "USAGE_LIMIT"),
    (AgentNotImplementedError, grpc.StatusCode.UNIMPLEMENTED, "NOT_IMPLEMENTED"),
    (NoAgreementError, grpc.StatusCode.FAILED_PRECONDITION, "NO_AGREEMENT"),
)


@dataclass(frozen=True, slots=True)
class RpcFailure:
    """A failed call as its caller sees it."""

    code: grpc.StatusCode
    text: str
    #: Which error it is, in capitals; programs compare this, not the text.
    reason: str
    #: After how many seconds a new try makes sense; None: not said.
    retry_after: float | None = None
    #: Set when the log has more than the text; both carry the id.
    error_id: str | None = None

    def trailers(self) -> tuple[tuple[str, bytes], ...]:
        """Return the trailing metadata: a ``google.rpc.Status`` with ErrorInfo, and RetryInfo if there is a
        retry hint.
        """
        info = error_details_pb2.ErrorInfo(reason=self.reason, domain=ERROR_DOMAIN)
        if self.error_id is not None:
            info.metadata["error_id"] = self.error_id
        details = [_packed(info)]
        if self.retry_after is not None:
            delay = duration_pb2.Duration()
            delay.FromNanoseconds(int(self.retry_after * 1e9))
            details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
        status = status_pb2.Status(code=self.code.value[0], message=self.text, details=details)
        return ((DETAILS_TRAILER, status.SerializeToString()),)


def _packed(detail: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


def to_failure(error: Exception) -> RpcFailure:
    """Return what the caller sees of ``error``.

    Unknown exceptions become INTERNAL with an error id and nothing else.
    """
    code = grpc.StatusCode
    if isinstance(error, InvalidPathComponentError):
        return RpcFailure(code.INVALID_ARGUMENT, f"session_id: {error}", "INVALID_REQUEST")
    if isinstance(error, InvalidMessageError):
        return RpcFailure(code.INVALID_ARGUMENT, f"input: {error}", "INVALID_REQUEST")
    for kind, status, reason in _CODES:
        if isinstance(error, kind):
            return RpcFailure(status, str(error), reason, getattr(error, "retry_after", None))
    if isinstance(error, AgentFailedError):
        return RpcFailure(code.INTERNAL, str(error), "AGENT_FAILED", error_id=error.error_id)
    error_id = new_error_id()
    if isinstance(error, ModelUnavailableError):
        text = f"{error} (error id {error_id})"
        return RpcFailure(code.UNAVAILABLE, text, "MODEL_UNAVAILABLE", error_id=error_id)
    if isinstance(error, StorageError):
        text = f"the session backend failed (error id {error_id})"
        return RpcFailure(code.UNAVAILABLE, text, "SESSION_BACKEND", error_id=error_id)
    return RpcFailure(code.INTERNAL, f"internal error (error id {error_id})", "INTERNAL", error_id=error_id)


@dataclass(frozen=True, slots=True)
class FailureDetails:
    """What the trailing metadata of a failed call says beyond code and text."""

    reason: str = ""
    error_id: str | None = None
    retry_after: float | None = None


def failure_details(trailers: Iterable[tuple[str, str | bytes]]) -> FailureDetails:
    """Return what the trailing metadata of a failed call says; nothing if it is not ours."""
    reason, error_id, seconds = "", None, None
    for key, value in trailers:
        if key != DETAILS_TRAILER or not isinstance(value, bytes):
            continue
        try:
            status = status_pb2.Status.FromString(value)
        except DecodeError:
            continue
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        for detail in status.details:
            if detail.Unpack(info) and info.domain == ERROR_DOMAIN:
                reason, error_id = info.reason, info.metadata.get("error_id")
            elif detail.Unpack(retry):
                seconds = retry.retry_delay.ToNanoseconds() / 1e9
    return FailureDetails(reason, error_id, seconds)


def retry_after(trailers: Iterable[tuple[str, str | bytes]]) -> float | None:
    """Return the retry hint in the trailing metadata of a failed call, in seconds; None if there is none."""
    return failure_details(trailers).retry_after
