"""The status that a caller sees for each failure (runtime contract v1).

Texts never hold a path, a key, an address or a stack trace.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from google.protobuf import any_pb2, duration_pb2
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
    CallDeadlineError,
    CallerNotAllowedError,
    CallLoopError,
    ChannelFullError,
    DrainingError,
    InvalidRequestError,
    ModelRateLimitError,
    ModelUnavailableError,
    SessionManagerNotConfiguredError,
    TooManyCallsError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The trailer in which gRPC carries a ``google.rpc.Status``.
DETAILS_TRAILER = "grpc-status-details-bin"

#: Exceptions whose own text is fit for a caller.
_CODES: tuple[tuple[type[Exception], grpc.StatusCode], ...] = (
    (InvalidRequestError, grpc.StatusCode.INVALID_ARGUMENT),
    (AgentNotFoundError, grpc.StatusCode.NOT_FOUND),
    (AgentNotReadyError, grpc.StatusCode.UNAVAILABLE),
    (AgentNotImplementedError, grpc.StatusCode.UNIMPLEMENTED),
    (NoAgreementError, grpc.StatusCode.FAILED_PRECONDITION),
    (CallerNotAllowedError, grpc.StatusCode.PERMISSION_DENIED),
    (SessionNotFoundError, grpc.StatusCode.NOT_FOUND),
    (SessionConflictError, grpc.StatusCode.ABORTED),
    (SessionManagerNotConfiguredError, grpc.StatusCode.FAILED_PRECONDITION),
    (TooManyCallsError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (CallDeadlineError, grpc.StatusCode.DEADLINE_EXCEEDED),
    (CallLoopError, grpc.StatusCode.FAILED_PRECONDITION),
    (ChannelFullError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (DrainingError, grpc.StatusCode.UNAVAILABLE),
    (ModelRateLimitError, grpc.StatusCode.RESOURCE_EXHAUSTED),
)


@dataclass(frozen=True, slots=True)
class RpcFailure:
    """A failed call as its caller sees it."""

    code: grpc.StatusCode
    text: str
    #: After how many seconds a new try makes sense; None: not said.
    retry_after: float | None = None
    #: Set when the log has more than the text; both carry the id.
    error_id: str | None = None

    def trailers(self) -> tuple[tuple[str, bytes], ...]:
        """Return the trailing metadata: a ``google.rpc.Status`` with RetryInfo, if there is a retry hint."""
        if self.retry_after is None:
            return ()
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(self.retry_after * 1e9))
        detail = any_pb2.Any()
        detail.Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        status = status_pb2.Status(code=self.code.value[0], message=self.text, details=[detail])
        return ((DETAILS_TRAILER, status.SerializeToString()),)


def to_failure(error: Exception) -> RpcFailure:
    """Return what the caller sees of ``error``.

    Unknown exceptions become INTERNAL with an error id and nothing else.
    """
    if isinstance(error, InvalidPathComponentError):
        return RpcFailure(grpc.StatusCode.INVALID_ARGUMENT, f"session_id: {error}")
    if isinstance(error, InvalidMessageError):
        return RpcFailure(grpc.StatusCode.INVALID_ARGUMENT, f"input: {error}")
    for kind, code in _CODES:
        if isinstance(error, kind):
            return RpcFailure(code, str(error), getattr(error, "retry_after", None))
    error_id = secrets.token_hex(6)
    if isinstance(error, ModelUnavailableError):
        return RpcFailure(grpc.StatusCode.UNAVAILABLE, f"{error} (error id {error_id})", error_id=error_id)
    if isinstance(error, AgentFailedError):
        return RpcFailure(grpc.StatusCode.INTERNAL, f"{error} (error id {error_id})", error_id=error_id)
    if isinstance(error, StorageError):
        text = f"the session backend failed (error id {error_id})"
        return RpcFailure(grpc.StatusCode.UNAVAILABLE, text, error_id=error_id)
    return RpcFailure(grpc.StatusCode.INTERNAL, f"internal error (error id {error_id})", error_id=error_id)


def retry_after(trailers: Iterable[tuple[str, str | bytes]]) -> float | None:
    """Return the retry hint in the trailing metadata of a failed call, in seconds; None if there is none."""
    for key, value in trailers:
        if key != DETAILS_TRAILER:
            continue
        status = status_pb2.Status.FromString(value)
        for detail in status.details:
            info = error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                return float(info.retry_delay.ToNanoseconds() / 1e9)
    return None
