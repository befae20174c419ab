"""What one reconcile may look at, already read. Resolving a snapshot needs nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aixgo_operator.api.v1alpha1 import Agent, AgentRuntime, SessionBackend
    from aixgo_operator.domain.redis_access import Replication

#: Namespace and name of an object.
ObjectKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class SecretView:
    """The decoded data of a Secret. Its values never show in a representation."""

    data: Mapping[str, bytes] = field(repr=False)

    def get(self, key: str) -> bytes | None:
        """Return the value of ``key``, or None."""
        return self.data.get(key)


@dataclass(frozen=True, slots=True)
class ConfigMapView:
    """The data of a ConfigMap."""

    data: Mapping[str, str]

    def get(self, key: str) -> str | None:
        """Return the value of ``key``, or None."""
        return self.data.get(key)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything about one AgentRuntime, or about one SessionBackend, at one moment.

    An object that is not in a mapping does not exist (or its namespace is not watched).
    """

    #: The runtime under reconcile; None while a SessionBackend is under reconcile.
    runtime: AgentRuntime | None = None
    #: For a runtime: every Agent, of any namespace, whose runtimeRef points to it, allowed or not.
    agents: tuple[Agent, ...] = ()
    #: The backend under reconcile, or the one that the runtime's sessionBackendRef points to, allowed or not.
    backend: SessionBackend | None = None
    #: Every AgentRuntime, of any namespace, whose sessionBackendRef points to ``backend``, allowed or not.
    consumers: tuple[AgentRuntime, ...] = ()
    #: Labels of every namespace that is known.
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    #: The Secrets and ConfigMaps of :mod:`~aixgo_operator.domain.references`, those that exist.
    secrets: Mapping[ObjectKey, SecretView] = field(default_factory=dict)
    config_maps: Mapping[ObjectKey, ConfigMapView] = field(default_factory=dict)
    #: The Agents of ``references.agent_targets`` that exist, and the runtimes they are on.
    target_agents: Mapping[ObjectKey, Agent] = field(default_factory=dict)
    target_runtimes: Mapping[ObjectKey, AgentRuntime] = field(default_factory=dict)
    #: What ``backend``'s replicationRef leads to; None: it has none.
    replication: Replication | None = None
    #: Messages about child objects whose name is taken by an object that the operator does not own.
    name_conflicts: tuple[str, ...] = ()
    #: Why no cert-manager Certificate can be made for ``spec.tls.issuerRef``; None: it can.
    issuer_problem: str | None = None
    #: The field manager who wrote the Deployment's /scale since ``spec.replicas`` was changed last: the
    #: operator leaves its replicas alone. None: they are the operator's.
    replicas_managed_by: str | None = None
