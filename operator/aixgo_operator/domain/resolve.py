"""Snapshot to wanted configuration: every reference looked up, every refusal a Problem, nothing raised."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aixgo_operator.api.v1alpha1 import Agent
    from aixgo_operator.domain.resolved import ResolvedAgent, ResolvedBackend, ResolvedRuntime
    from aixgo_operator.domain.settings import OperatorSettings
    from aixgo_operator.domain.snapshot import Snapshot


def resolve_runtime(snapshot: Snapshot, settings: OperatorSettings) -> ResolvedRuntime:
    """Return what the snapshot's runtime should be. Raises ValueError for a snapshot without one."""
    raise NotImplementedError


def resolve_unattached_agent(agent: Agent) -> ResolvedAgent:
    """Return the verdict on an Agent whose runtime does not exist (or is not watched)."""
    raise NotImplementedError


def resolve_backend(snapshot: Snapshot, settings: OperatorSettings) -> ResolvedBackend:
    """Return what the snapshot's backend should be. Raises ValueError for a snapshot without one."""
    raise NotImplementedError
