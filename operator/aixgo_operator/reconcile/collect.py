"""Gather what one reconcile may look at: caches first, the API server for what users' objects refer to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aixgo_operator.domain import naming, references
from aixgo_operator.domain.redis_access import Replication
from aixgo_operator.domain.snapshot import Snapshot
from aixgo_operator.kube.errors import ForbiddenError
from aixgo_operator.kube.resources import CERTIFICATES, DEPLOYMENTS, REDIS_REPLICATIONS
from aixgo_operator.reconcile.observe import scaled_by

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aixgo_operator.api.v1alpha1 import AgentRuntime, SessionBackend
    from aixgo_operator.domain.references import References
    from aixgo_operator.domain.settings import OperatorSettings
    from aixgo_operator.reconcile.addons import Addons
    from aixgo_operator.reconcile.cache import Cache
    from aixgo_operator.reconcile.referenced import ReferencedObjects

_NAME_LABEL = "kubernetes.io/metadata.name"


class Collector:
    """Builds snapshots."""

    def __init__(
        self, cache: Cache, referenced: ReferencedObjects, addons: Addons, settings: OperatorSettings
    ) -> None:
        self._cache = cache
        self._addons = addons
        self._referenced = referenced
        self._settings = settings

    async def runtime(self, runtime: AgentRuntime) -> tuple[Snapshot, References]:
        """Return the snapshot of an AgentRuntime and what it refers to. Raises ApiError."""
        cache = self._cache
        here = (runtime.namespace, runtime.name)
        agents = tuple(cache.agents_of(here))
        backend_key = references.backend_key(runtime)
        backend = cache.backend(backend_key) if backend_key is not None else None
        wanted = references.runtime_references(runtime, agents, backend)
        targets = {key: cache.agent(key) for key in references.agent_targets(agents)}
        target_agents = {key: agent for key, agent in targets.items() if agent is not None}
        runtimes = {
            key: cache.runtime(key)
            for key in {references.runtime_key(agent) for agent in target_agents.values()}
        }
        workload = naming.runtime_workload(runtime.name)
        snapshot = Snapshot(
            runtime=runtime,
            agents=agents,
            backend=backend,
            consumers=tuple(cache.runtimes_of(backend_key)) if backend_key is not None else (),
            namespaces=self._namespaces(),
            secrets=await self._referenced.secrets(wanted.secrets),
            config_maps=await self._referenced.config_maps(wanted.config_maps),
            target_agents=target_agents,
            target_runtimes={key: found for key, found in runtimes.items() if found is not None},
            replication=await self._replication(backend),
            issuer_problem=self._issuer_problem(runtime),
            replicas_managed_by=scaled_by(
                cache.find(DEPLOYMENTS, runtime.namespace, workload), runtime.spec.replicas
            ),
        )
        return snapshot, wanted

    async def backend(self, backend: SessionBackend) -> Snapshot:
        """Return the snapshot of a SessionBackend. Raises ApiError."""
        wanted = references.backend_references(backend)
        return Snapshot(
            backend=backend,
            consumers=tuple(self._cache.runtimes_of((backend.namespace, backend.name))),
            namespaces=self._namespaces(),
            secrets=await self._referenced.secrets(wanted.secrets),
            config_maps=await self._referenced.config_maps(wanted.config_maps),
            replication=await self._replication(backend),
        )

    async def _replication(self, backend: SessionBackend | None) -> Replication | None:
        where = None if backend is None else references.replication_key(backend)
        if where is None:
            return None
        try:
            found = await self._referenced.read(REDIS_REPLICATIONS, where) or {}
        except ForbiddenError:
            return Replication({}, forbidden=True)
        info = (found.get("status") or {}).get("connectionInfo")
        return Replication(info if isinstance(info, dict) else {})

    def _issuer_problem(self, runtime: AgentRuntime) -> str | None:
        issuer = runtime.spec.tls.issuer_ref
        if issuer is None:
            return None
        wanted = f"{issuer.kind} {issuer.name}"
        if CERTIFICATES in self._addons.installed:
            return None
        if CERTIFICATES in self._addons.refused:
            return f"spec.tls.issuerRef ({wanted}): the operator may not make Certificates of cert-manager"
        return (
            f"spec.tls.issuerRef ({wanted}): cert-manager is not installed (the API server has no kind"
            " Certificate of cert-manager.io/v1): install it, or use spec.tls.managed"
        )

    def _namespaces(self) -> Mapping[str, Mapping[str, str]]:
        """Return namespaces and their labels. Those that are watched have at least the label with their
        name."""
        known = self._cache.namespace_labels()
        if not self._settings.watch_namespaces:
            return known
        return {name: {_NAME_LABEL: name} for name in self._settings.watch_namespaces} | known
