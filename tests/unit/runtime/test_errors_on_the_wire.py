"""The status table of the runtime contract."""

from __future__ import annotations

import grpc
import pytest

from aixgo import errors
from aixgo.rpc.errors import retry_after, to_failure
from aixgo.runtime import errors as runtime_errors

CODE = grpc.StatusCode


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (runtime_errors.InvalidRequestError("input", "is required"), CODE.INVALID_ARGUMENT),
        (errors.InvalidPathComponentError(), CODE.INVALID_ARGUMENT),
        (errors.InvalidMessageError("too large"), CODE.INVALID_ARGUMENT),
        (runtime_errors.AgentNotFoundError("a"), CODE.NOT_FOUND),
        (runtime_errors.AgentNotReadyError("a", "suspended"), CODE.UNAVAILABLE),
        (runtime_errors.CallerNotAllowedError("a"), CODE.PERMISSION_DENIED),
        (errors.SessionNotFoundError(), CODE.NOT_FOUND),
        (errors.SessionConflictError(), CODE.ABORTED),
        (runtime_errors.TooManyCallsError(1, 2.5), CODE.RESOURCE_EXHAUSTED),
        (runtime_errors.CallDeadlineError(1), CODE.DEADLINE_EXCEEDED),
        (runtime_errors.AgentFailedError("a"), CODE.INTERNAL),
        (runtime_errors.ModelUnreachableError("the model endpoint is not reachable"), CODE.UNAVAILABLE),
        (runtime_errors.ModelRateLimitError("slow down", 7.0), CODE.RESOURCE_EXHAUSTED),
        (runtime_errors.UsageLimitError("maxRequests"), CODE.RESOURCE_EXHAUSTED),
        (runtime_errors.CallLoopError(16), CODE.FAILED_PRECONDITION),
        (runtime_errors.DrainingError(), CODE.UNAVAILABLE),
        (errors.StorageError("disk at /var/lib/aixgo is full"), CODE.UNAVAILABLE),
        (ValueError("/etc/aixgo/secrets/key sk-123 10.0.0.1"), CODE.INTERNAL),
    ],
)
def test_code(error: Exception, code: grpc.StatusCode) -> None:
    failure = to_failure(error)
    assert failure.code is code
    for forbidden in ("/var/lib", "/etc", "sk-123", "10.0.0.1"):
        assert forbidden not in failure.text


def test_internal_errors_carry_an_id_that_the_log_has_too() -> None:
    failure = to_failure(runtime_errors.AgentFailedError("a"))
    assert failure.error_id is not None
    assert failure.text == f"agent 'a' failed (error id {failure.error_id})"


def test_the_retry_hint_survives_the_trailer() -> None:
    assert retry_after(to_failure(runtime_errors.TooManyCallsError(1, 2.5)).trailers()) == 2.5
    assert retry_after(to_failure(runtime_errors.DrainingError()).trailers()) is None
