"""Errors in plain words, for a status."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from aixgo_operator.kube.errors import ApiError
from aixgo_operator.pki.errors import PKIError

if TYPE_CHECKING:
    from aixgo_operator.domain.observation import BackendObservation, RuntimeObservation
    from aixgo_operator.kube.apply import ApplyResult

T = TypeVar("T", "RuntimeObservation", "BackendObservation")


def describe(*errors: Exception) -> str:
    """Return errors in plain words: nothing of a traceback, and nothing that could be a secret."""
    return "; ".join(_describe(error) for error in errors)


def with_outcome(observation: T, applied: ApplyResult) -> T:
    """Return an observation with what became of the object's children: what waits, and what was refused."""
    observation = replace(observation, unwritten=applied.unwritten)
    if not applied.refused:
        return observation
    text = describe(*applied.refused)
    return replace(observation, reconcile_error=text, stuck=applied.refused_for_good)


def _describe(error: Exception) -> str:
    if isinstance(error, ApiError):
        return f"the API server said: {error}"
    if isinstance(error, PKIError):
        return f"certificates: {error}"
    return f"internal error ({type(error).__name__}): see the operator's log"
