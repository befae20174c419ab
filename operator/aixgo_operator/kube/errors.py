"""Errors of the API server, as types that a caller can tell apart."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """The API server answered with a failure. ``status`` 0: it did not answer."""

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}" if status else f"{reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        #: Seconds that the server asked to wait, if it did.
        self.retry_after = retry_after

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed a moment later."""
        return self.status in {0, 429, 500, 502, 503, 504}


class NotFoundError(ApiError):
    """404."""


class ConflictError(ApiError):
    """409: a precondition (uid, resourceVersion, field manager) does not hold."""


class AlreadyExistsError(ConflictError):
    """409 on creation: somebody else was first."""


class ForbiddenError(ApiError):
    """403: a rule is missing in the operator's role, an admission plugin says no, or the namespace is being
    deleted."""

    @property
    def namespace_is_going(self) -> bool:
        """Whether nothing can be made any more because the namespace is being deleted."""
        return "being terminated" in self.message


class InvalidError(ApiError):
    """422: the API server refuses the object itself; repeating the request cannot help."""


class RefusedError(Exception):
    """Children were refused. Their owner's status says so already; the others were written."""


class UnavailableError(ApiError):
    """No answer: connection refused, reset or timed out."""


class NotLeadingError(Exception):
    """A write was stopped because this process is not (or no longer) the leader."""


def concerns_one_object(error: ApiError) -> bool:
    """Whether the failure is about the object that was written, so that others can be written all the same.

    A quota, a policy, a webhook that says no or does not answer: none of them speaks for other kinds.
    """
    if isinstance(error, ForbiddenError):
        return not error.namespace_is_going
    return error.status in {400, 422} or "failed calling webhook" in error.message


_BY_STATUS: dict[int, type[ApiError]] = {
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    422: InvalidError,
}


def from_response(status: int, body: Any, retry_after: str | None) -> ApiError:
    """Build the error of a failed response. ``body`` is the decoded ``Status`` object, or text."""
    reason, message = "", ""
    if isinstance(body, dict):
        reason = str(body.get("reason") or "")
        message = str(body.get("message") or "")
    elif body:
        message = str(body)[:500]
    kind = AlreadyExistsError if reason == "AlreadyExists" else _BY_STATUS.get(status, ApiError)
    try:
        seconds = float(retry_after) if retry_after else None
    except ValueError:
        seconds = None
    return kind(status, reason or "Error", message, seconds)
