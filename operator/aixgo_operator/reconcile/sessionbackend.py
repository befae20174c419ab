"""One SessionBackend: its managed Redis or volume, what it answers, who uses it, and its deletion."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from aixgo_operator.api.constants import (
    ANNOTATION_FORCE_DELETE,
    FINALIZER_SESSION_PROTECTION,
)
from aixgo_operator.api.v1alpha1 import SessionBackend
from aixgo_operator.domain import naming
from aixgo_operator.domain.conditions import resolved_refs
from aixgo_operator.domain.consent import EVERY_NAMESPACE, allowed_namespaces
from aixgo_operator.domain.observation import BackendObservation
from aixgo_operator.domain.redis_users import key_prefix
from aixgo_operator.domain.references import replication_key
from aixgo_operator.domain.resolve import resolve_backend
from aixgo_operator.domain.status import backend_status
from aixgo_operator.kube.errors import ConflictError, ForbiddenError, RefusedError
from aixgo_operator.kube.resources import REDIS_REPLICATIONS, SECRETS, SESSION_BACKENDS
from aixgo_operator.pki.issue import LeafRequest
from aixgo_operator.probe.redis_info import ProbeError
from aixgo_operator.reconcile.describe import with_outcome
from aixgo_operator.reconcile.observe_backend import endpoint, observe_backend
from aixgo_operator.reconcile.pace import next_look
from aixgo_operator.reconcile.referenced import secret_data
from aixgo_operator.reconcile.status import is_ready
from aixgo_operator.reconcile.workqueue import Requeue
from aixgo_operator.render.manifests import render_backend
from aixgo_operator.render.secrets import redis_auth_secret, redis_tls_secret

if TYPE_CHECKING:
    from datetime import datetime

    from aixgo_operator.domain.resolved import ResolvedBackend
    from aixgo_operator.domain.snapshot import Snapshot
    from aixgo_operator.kube.apply import ApplyResult
    from aixgo_operator.kube.resources import Manifest
    from aixgo_operator.reconcile.context import Context
    from aixgo_operator.reconcile.keys import Key

log = logging.getLogger(__name__)

#: Keys that one purge step deletes before the backend's status is written again.
PURGE_STEP: Final = 10_000
#: Seconds between two steps: others that wait for a worker come first.
_NEXT_STEP: Final = 0.05
_PASSWORD_BYTES: Final = 32


@dataclass(slots=True)
class _Material:
    """Secrets of a managed Redis and when to look at them again."""

    manifests: list[Manifest] = field(default_factory=list)
    due: datetime | None = None


async def reconcile_backend(context: Context, key: Key) -> Requeue:
    """Bring one SessionBackend to what is wanted and write its status. Raises whatever a write raises."""
    manifest = context.cache.get(key)
    if manifest is None:
        context.attempts.pop(key, None)
        context.redis_shows.pop((key.namespace, key.name), None)
        context.endpoints.pop((key.namespace, key.name), None)
        return Requeue()
    try:
        backend = context.cache.parse(key)
    except ValidationError as error:
        await context.status.refuse(manifest, error)
        return Requeue()
    assert isinstance(backend, SessionBackend)  # noqa: S101  the cache parses by kind

    replication = replication_key(backend)
    if replication is not None:
        # Nobody watches it: every look at the backend reads it anew, for its consumers, too.
        context.referenced.forget(REDIS_REPLICATIONS.kind, *replication)
    snapshot = await context.collector.backend(backend)
    resolved = resolve_backend(snapshot, context.settings)
    if backend.metadata.deletion_timestamp is None:
        await _protect(context, manifest, resolved)
    elif not _waits_for_consumers(manifest, resolved):
        return await _delete(context, key, manifest, resolved, snapshot)
    # Else it goes on serving: for as long as that takes it needs its certificate, its users and its repairs.

    try:
        rendered, material, applied = await _apply(context, manifest, resolved)
    except ForbiddenError as error:
        if backend.metadata.deletion_timestamp is not None and error.namespace_is_going:
            # Its objects go before it does: what is left to do is to say what its deletion waits for.
            seen = await observe_backend(context, resolved, snapshot, [])
            await _conclude(context, manifest, resolved, seen)
        raise
    if applied.conflicts:
        snapshot = replace(snapshot, name_conflicts=applied.conflict_messages(backend.namespace))
        resolved = resolve_backend(snapshot, context.settings)
    if applied.wrote("Secret"):
        # The probe below wants the passwords that were just made.
        snapshot = replace(await context.collector.backend(backend), name_conflicts=snapshot.name_conflicts)

    observation = await observe_backend(context, resolved, snapshot, rendered)
    observation = with_outcome(observation, applied)
    status = await _conclude(context, manifest, resolved, observation)
    if applied.refused:
        raise RefusedError(applied.refused[0])  # the queue tries again with growing pauses
    settled = is_ready(status) and not applied.waiting
    attempts = 0 if settled else context.attempts.get(key, 0) + 1
    context.attempts[key] = attempts
    return next_look(
        settled=settled,
        attempts=max(attempts - 1, 0),
        quick=context.settings.probe_interval_seconds,
        steady=context.settings.backend_probe_interval_seconds,
        due=material.due,
        now=context.now(),
    )


async def _apply(
    context: Context, manifest: Manifest, resolved: ResolvedBackend
) -> tuple[list[Manifest], _Material, ApplyResult]:
    """Bring the children to what is wanted; return what was rendered, generated and done. Raises ApiError."""
    async with context.authority_gate.shared():
        material = await _generate(context, resolved)
        rendered = render_backend(resolved, context.settings)
        if resolved.held:
            applied = await context.applier.apply(manifest, material.manifests, keep=lambda _: True)
        else:
            applied = await context.applier.apply(manifest, [*rendered, *material.manifests])
    return rendered, material, applied


async def report_error(context: Context, key: Key, message: str) -> None:
    """Write Degraded/ReconcileError into the backend's status."""
    manifest = context.cache.get(key)
    backend = context.cache.backend((key.namespace, key.name))
    if manifest is None or backend is None:
        return
    snapshot = await context.collector.backend(backend)
    resolved = resolve_backend(snapshot, context.settings)
    await _conclude(context, manifest, resolved, BackendObservation(reconcile_error=message))


async def _generate(context: Context, resolved: ResolvedBackend) -> _Material:
    """Make what a managed Redis needs: a password per user that has none, and its certificate."""
    material = _Material()
    backend = resolved.backend
    redis = backend.spec.redis
    if redis is None or redis.managed is None:
        return material
    if resolved.held:
        # What serves goes on serving, and must not be stopped by a certificate that nobody renews.
        tls = naming.redis_tls_secret(backend.name)
        if context.cache.find(SECRETS, backend.namespace, tls) is not None:
            await _certify(context, resolved, material)
        return material
    where = (backend.namespace, naming.redis_auth_secret(backend.name))
    # Straight from the API server unless it is in the watched cache: a password must never be made twice.
    stored = context.cache.find(SECRETS, *where) or await context.client.get(SECRETS, *where)
    known = {} if stored is None else secret_data(stored)
    passwords = {
        user.password_key: known[user.password_key].decode()
        if known.get(user.password_key)
        else secrets.token_urlsafe(_PASSWORD_BYTES)
        for user in resolved.users
    }
    material.manifests.append(redis_auth_secret(resolved, passwords, context.settings))
    await _certify(context, resolved, material)
    return material


async def _certify(context: Context, resolved: ResolvedBackend, material: _Material) -> None:
    backend = resolved.backend
    leaf = await context.certificates.leaf(
        (backend.namespace, naming.redis_tls_secret(backend.name)),
        LeafRequest(
            f"{naming.redis_workload(backend.name)}.{backend.namespace}",
            timedelta(seconds=context.settings.redis_certificate_duration_seconds),
            # The readiness probe inside the pod asks 127.0.0.1 and checks the chain by this name.
            resolved.dns_names,
            client=False,
        ),
    )
    material.manifests.append(redis_tls_secret(resolved, leaf.material, context.settings))
    material.due = leaf.next_check_at


async def _conclude(
    context: Context, manifest: Manifest, resolved: ResolvedBackend, observation: BackendObservation
) -> Manifest:
    metadata = manifest["metadata"]
    current = context.cache.get((manifest["kind"], metadata["namespace"], metadata["name"])) or manifest
    status = backend_status(
        resolved, observation, context.settings, previous=current.get("status") or {}, now=context.now()
    )
    await context.status.write(current, status)
    return status


# Deletion


async def _protect(context: Context, manifest: Manifest, resolved: ResolvedBackend) -> None:
    """Hold the finalizer exactly while a deletion would have something to wait for."""
    wanted = bool(resolved.consumers) or _purges(resolved)
    await _set_protection(context, manifest, wanted=wanted)


def _purges(resolved: ResolvedBackend) -> bool:
    """Whether a deletion has to delete keys. The volumes of managed backends go with their claims."""
    spec = resolved.backend.spec
    return spec.deletion_policy == "Delete" and spec.redis is not None and spec.redis.managed is None


async def _set_protection(context: Context, manifest: Manifest, *, wanted: bool) -> None:
    metadata = manifest["metadata"]
    finalizers = list(metadata.get("finalizers") or ())
    if wanted == (FINALIZER_SESSION_PROTECTION in finalizers):
        return
    if wanted:
        finalizers.append(FINALIZER_SESSION_PROTECTION)
    else:
        finalizers.remove(FINALIZER_SESSION_PROTECTION)
    try:
        stored = await context.client.set_finalizers(
            SESSION_BACKENDS,
            metadata["namespace"],
            metadata["name"],
            finalizers,
            resource_version=metadata["resourceVersion"],
        )
    except ConflictError:
        return  # it has changed meanwhile: its event brings it back here
    if stored is not None and not (not finalizers and metadata.get("deletionTimestamp")):
        context.cache.put(stored)


def _waits_for_consumers(manifest: Manifest, resolved: ResolvedBackend) -> bool:
    """Whether the deletion is held up by AgentRuntimes that use the backend."""
    return _is_protected(manifest) and not _is_forced(manifest) and bool(resolved.consumers)


def _is_protected(manifest: Manifest) -> bool:
    return FINALIZER_SESSION_PROTECTION in (manifest["metadata"].get("finalizers") or ())


def _is_forced(manifest: Manifest) -> bool:
    """Whether somebody wants the deletion to end, whoever uses the backend."""
    return (manifest["metadata"].get("annotations") or {}).get(ANNOTATION_FORCE_DELETE) == "true"


async def _delete(
    context: Context, key: Key, manifest: Manifest, resolved: ResolvedBackend, snapshot: Snapshot
) -> Requeue:
    if not _is_protected(manifest):
        return Requeue()  # gone in a moment, or held by somebody else's finalizer
    if not _is_forced(manifest) and _purges(resolved):
        try:
            more = await _purge(context, resolved, snapshot)
        except ProbeError as error:
            await _conclude(
                context, manifest, resolved, BackendObservation(purging=True, purge_error=str(error))
            )
            return Requeue(context.settings.probe_interval_seconds)
        if more:
            await _conclude(context, manifest, resolved, BackendObservation(purging=True))
            return Requeue(_NEXT_STEP)
    await _set_protection(context, manifest, wanted=False)
    context.attempts.pop(key, None)
    return Requeue()


async def _purge(context: Context, resolved: ResolvedBackend, snapshot: Snapshot) -> bool:
    """Delete the next keys; tell whether there may be more. Raises ProbeError."""
    backend = resolved.backend
    # With a namespace its Secrets go in any order: then what the operator knew has to do.
    found = endpoint(resolved, snapshot) or context.endpoints.get((backend.namespace, backend.name))
    if found is None:
        missing = resolved_refs(resolved.problems)
        raise ProbeError("the credentials are not there" if missing.holds else missing.message)
    namespaces = allowed_namespaces(backend.spec.allowed_consumers, backend.namespace, snapshot.namespaces)
    # Another SessionBackend may use the same Redis and prefix for other namespaces: its keys stay.
    prefixes = (
        [backend.spec.key_prefix]
        if namespaces == EVERY_NAMESPACE
        else [key_prefix(backend.spec.key_prefix, namespace) for namespace in namespaces]
    )
    for prefix in prefixes:
        if await context.backends.purge(found, prefix, limit=PURGE_STEP) >= PURGE_STEP:
            return True
    return False
