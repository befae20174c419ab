"""Errors in plain words, for a status."""

from __future__ import annotations

from aixgo_operator.kube.errors import ApiError
from aixgo_operator.pki.errors import PKIError


def describe(*errors: Exception) -> str:
    """Return errors in plain words: nothing of a traceback, and nothing that could be a secret."""
    return "; ".join(_describe(error) for error in errors)


def _describe(error: Exception) -> str:
    if isinstance(error, ApiError):
        return f"the API server said: {error}"
    if isinstance(error, PKIError):
        return f"certificates: {error}"
    return f"internal error ({type(error).__name__}): see the operator's log"
