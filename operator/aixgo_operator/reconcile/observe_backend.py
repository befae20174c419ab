"""What is seen of a SessionBackend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aixgo_operator.api.constants import LABEL_SESSION_BACKEND
from aixgo_operator.domain import naming
from aixgo_operator.domain.observation import BackendObservation
from aixgo_operator.domain.resolved import SecretKey
from aixgo_operator.kube.resources import CLAIMS, CONFIG_MAPS, SECRETS, STATEFUL_SETS
from aixgo_operator.probe.redis_info import RedisEndpoint
from aixgo_operator.reconcile.observe import (
    observe_claim,
    observe_pod,
    pods_of_stateful_set,
    restart_hash,
)
from aixgo_operator.reconcile.sync import state_of_files, sync_pods

if TYPE_CHECKING:
    from aixgo_operator.api.v1alpha1 import SessionBackend
    from aixgo_operator.domain.observation import ClaimObservation, PodObservation, RedisProbe
    from aixgo_operator.domain.resolved import ResolvedBackend
    from aixgo_operator.domain.snapshot import Snapshot
    from aixgo_operator.kube.resources import Manifest
    from aixgo_operator.reconcile.context import Context


async def observe_backend(
    context: Context, resolved: ResolvedBackend, snapshot: Snapshot, rendered: list[Manifest]
) -> BackendObservation:
    """Return what is seen of a backend: its pods, its volume, what its Redis or its consumers say.

    Raises ApiError.
    """
    backend = resolved.backend
    namespace = backend.namespace
    redis = backend.spec.redis
    if redis is None:
        ready, error = _said_by_consumers(context, resolved)
        return BackendObservation(
            claim=_claim(context, namespace, naming.sessions_claim(backend.name)),
            consumers_ready=ready,
            consumers_error=error,
        )
    pods: tuple[PodObservation, ...] = ()
    claim: ClaimObservation | None = None
    if redis.managed is not None:
        workload = naming.redis_workload(backend.name)
        pods = await _managed_pods(context, backend, workload)
        claim = _claim(context, namespace, workload)
    return BackendObservation(
        probe=await _probe(context, resolved, snapshot, pods),
        pods=pods,
        claim=claim,
        wanted_restart_hash=restart_hash(rendered, STATEFUL_SETS.kind),
    )


async def _managed_pods(
    context: Context, backend: SessionBackend, workload: str
) -> tuple[PodObservation, ...]:
    stateful_set = context.cache.find(STATEFUL_SETS, backend.namespace, workload)
    if stateful_set is None:
        return ()
    labelled = context.cache.pods_labelled(
        backend.namespace, LABEL_SESSION_BACKEND, naming.label_value(backend.name)
    )
    pods = pods_of_stateful_set(labelled, stateful_set)
    mounted = [
        (CONFIG_MAPS, workload),
        (SECRETS, naming.redis_auth_secret(backend.name)),
        (SECRETS, naming.redis_tls_secret(backend.name)),
    ]
    await sync_pods(
        context, backend.namespace, pods, state_of_files(context.cache, backend.namespace, mounted)
    )
    return tuple(observe_pod(pod) for pod in pods)


async def _probe(
    context: Context, resolved: ResolvedBackend, snapshot: Snapshot, pods: tuple[PodObservation, ...]
) -> RedisProbe | None:
    redis = resolved.backend.spec.redis
    if redis is None or resolved.held:
        return None
    if redis.managed is not None and not any(pod.started for pod in pods):
        return None  # nothing to dial yet: the pods say why
    found = endpoint(resolved, snapshot)
    if found is None:
        return None
    key = (resolved.backend.namespace, resolved.backend.name)
    if redis.managed is None:
        context.endpoints[key] = found
    probe = await context.backends.probe(found)
    if probe.certificate is None:
        context.redis_shows.pop(key, None)
    else:
        context.redis_shows[key] = probe.certificate
    return probe


def endpoint(resolved: ResolvedBackend, snapshot: Snapshot) -> RedisEndpoint | None:
    """Return how to reach the backend's Redis, with the values of its Secrets; None while one is missing."""
    access = resolved.access
    if access is None:
        return None

    def secret(key: SecretKey) -> bytes | None:
        view = snapshot.secrets.get((key.namespace, key.name))
        return None if view is None else view.get(key.key)

    def bundle(key: SecretKey) -> bytes | None:
        if access.ca_kind == "Secret":
            return secret(key)
        view = snapshot.config_maps.get((key.namespace, key.name))
        text = None if view is None else view.get(key.key)
        return None if text is None else text.encode()

    username = access.username
    if isinstance(username, SecretKey):
        raw = secret(username)
        if raw is None:
            return None
        username = raw.decode(errors="replace").strip()
    password = None if access.password is None else secret(access.password)
    ca = None if access.ca is None else bundle(access.ca)
    certificate = private_key = None
    if access.client_certificate is not None:
        certificate = secret(SecretKey(*access.client_certificate, "tls.crt"))
        private_key = secret(SecretKey(*access.client_certificate, "tls.key"))
    missing = (access.password is not None and password is None) or (access.ca is not None and ca is None)
    if missing or (access.client_certificate is not None and not (certificate and private_key)):
        return None
    return RedisEndpoint(
        mode=access.mode,
        addresses=access.addresses,
        database=access.database,
        sentinel_master=access.sentinel_master,
        username=username,
        password=None if password is None else password.decode(errors="replace").strip(),
        tls=access.tls,
        ca=ca,
        certificate=certificate,
        private_key=private_key,
        server_name=access.server_name,
    )


def _said_by_consumers(context: Context, resolved: ResolvedBackend) -> tuple[bool | None, str | None]:
    """Return what the pods of the consumers say of a File backend; None: nobody has said anything."""
    said = [
        pod.statusz.sessions
        for runtime in resolved.consumers
        if (seen := context.seen.get((runtime.namespace, runtime.name))) is not None
        for pod in seen.pods
        if pod.statusz is not None and pod.statusz.sessions.type == "File"
    ]
    if not said:
        return None, None
    errors = [session.error for session in said if not session.ready]
    return not errors, next((error for error in errors if error), None)


def _claim(context: Context, namespace: str, name: str) -> ClaimObservation | None:
    found = context.cache.find(CLAIMS, namespace, name)
    return None if found is None else observe_claim(found)
