"""What to write into ``/status``. The same inputs give the same status: nothing in it counts time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from aixgo_operator.domain.observation import BackendObservation, RuntimeObservation
    from aixgo_operator.domain.resolved import ResolvedAgent, ResolvedBackend, ResolvedRuntime
    from aixgo_operator.domain.settings import OperatorSettings

Status = dict[str, Any]


def runtime_status(
    resolved: ResolvedRuntime,
    observation: RuntimeObservation,
    settings: OperatorSettings,
    *,
    previous: Mapping[str, Any],
    now: datetime,
) -> Status:
    """Return the whole status of an AgentRuntime. ``previous`` is the stored one, ``now`` is aware."""
    raise NotImplementedError


def agent_status(
    resolved: ResolvedAgent,
    runtime: ResolvedRuntime | None,
    observation: RuntimeObservation | None,
    settings: OperatorSettings,
    *,
    previous: Mapping[str, Any],
    now: datetime,
) -> Status:
    """Return the whole status of an Agent. ``runtime`` and ``observation``: None when it has no runtime."""
    raise NotImplementedError


def backend_status(
    resolved: ResolvedBackend,
    observation: BackendObservation,
    settings: OperatorSettings,
    *,
    previous: Mapping[str, Any],
    now: datetime,
) -> Status:
    """Return the whole status of a SessionBackend."""
    raise NotImplementedError


def invalid_status(generation: int, message: str, *, previous: Mapping[str, Any], now: datetime) -> Status:
    """Return the status of an object that the models refuse (``message``: ``describe_errors``)."""
    raise NotImplementedError
