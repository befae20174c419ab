"""One AgentRuntime with its Agents: collect, resolve, certify, render, apply, observe, conclude, write."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from pydantic import ValidationError

from aixgo_operator.api.constants import (
    KIND_AGENT,
    KIND_AGENT_RUNTIME,
    KIND_SESSION_BACKEND,
    LABEL_RUNTIME,
    TLS_CA_KEY,
    Reason,
)
from aixgo_operator.api.v1alpha1 import AgentRuntime
from aixgo_operator.domain import naming
from aixgo_operator.domain.observation import RuntimeObservation
from aixgo_operator.domain.resolve import resolve_runtime
from aixgo_operator.domain.status import agent_status, in_trouble, runtime_status
from aixgo_operator.kube.apply import ApplyResult, ChildKey
from aixgo_operator.kube.errors import RefusedError
from aixgo_operator.kube.resources import CERTIFICATES, CONFIG_MAPS, DEPLOYMENTS, SECRETS
from aixgo_operator.pki.issue import LeafRequest
from aixgo_operator.reconcile.certificates import observe_leaf, observe_secret
from aixgo_operator.reconcile.describe import with_outcome
from aixgo_operator.reconcile.keys import Key
from aixgo_operator.reconcile.observe import (
    observe_deployment,
    observe_pod,
    pods_of_deployment,
    probe_target,
    restart_hash,
)
from aixgo_operator.reconcile.pace import next_look
from aixgo_operator.reconcile.referenced import secret_data
from aixgo_operator.reconcile.refusals import tell_refusals
from aixgo_operator.reconcile.status import condition, is_on_its_way, is_ready
from aixgo_operator.reconcile.sync import state_of_files, sync_pods, synced, with_first_state
from aixgo_operator.reconcile.workqueue import Requeue
from aixgo_operator.render.manifests import render_runtime
from aixgo_operator.render.secrets import client_secret, runtime_tls_secret, secret_copies

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from aixgo_operator.domain.observation import CertificateObservation
    from aixgo_operator.domain.references import References
    from aixgo_operator.domain.resolved import ResolvedRuntime
    from aixgo_operator.domain.snapshot import ObjectKey, Snapshot
    from aixgo_operator.kube.apply import ApplyResult
    from aixgo_operator.kube.resources import Manifest
    from aixgo_operator.reconcile.context import Context

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Certificates:
    """What certifying gave."""

    observation: CertificateObservation | None = None
    manifests: list[Manifest] = field(default_factory=list)
    due: datetime | None = None

    def check(self, due: datetime) -> None:
        """Decide again at that time, if not earlier."""
        self.due = due if self.due is None else min(self.due, due)


async def reconcile_runtime(context: Context, key: Key) -> Requeue:
    """Bring one AgentRuntime to what is wanted, and write its status and that of its Agents.

    Raises whatever a write raises; the queue tries again, and :func:`report_error` has said so in the status.
    """
    manifest = context.cache.get(key)
    if manifest is None or manifest["metadata"].get("deletionTimestamp"):
        _forget(context, key)
        if manifest is None:
            # A reconcile that was under way may have written its Agents' statuses after they had been told.
            for agent in context.cache.agents_of((key.namespace, key.name)):
                context.enqueue(Key(KIND_AGENT, agent.namespace, agent.name), 0.0)
        return Requeue()
    try:
        runtime = context.cache.parse(key)
    except ValidationError as error:
        await context.status.refuse(manifest, error)
        return Requeue()
    assert isinstance(runtime, AgentRuntime)  # noqa: S101  the cache parses by kind

    snapshot, references = await context.collector.runtime(runtime)
    resolved = resolve_runtime(snapshot, context.settings)
    async with context.authority_gate.shared():
        certificates = await _certify(context, manifest, resolved, snapshot)
        if (
            certificates.observation is not None
            and runtime.spec.tls.rotation is not None
            and runtime.spec.tls.rotation.strategy == "RollingRestart"
        ):
            resolved = replace(resolved, certificate_digest=certificates.observation.sha256_fingerprint)

        rendered = render_runtime(resolved, context.settings)
        applied = await _apply(context, manifest, resolved, snapshot, references, rendered, certificates)
    if applied.conflicts:
        snapshot = replace(snapshot, name_conflicts=applied.conflict_messages(runtime.namespace))
        resolved = replace(
            resolve_runtime(snapshot, context.settings),
            certificate_digest=resolved.certificate_digest,
        )

    observation = await _observe(context, resolved, references, rendered, certificates)
    await tell_refusals(context, resolved, observation)
    observation = with_outcome(observation, applied)
    settled = await _conclude(context, manifest, resolved, observation)
    if applied.refused:
        raise RefusedError(applied.refused[0])  # the queue tries again with growing pauses
    return _requeue(context, key, settled=settled and not applied.waiting, due=certificates.due)


async def report_error(context: Context, key: Key, message: str) -> None:
    """Write Degraded/ReconcileError into the runtime's status, with everything else as last concluded."""
    manifest = context.cache.get(key)
    runtime = context.cache.runtime((key.namespace, key.name))
    if manifest is None or runtime is None:
        return
    snapshot, _ = await context.collector.runtime(runtime)
    resolved = resolve_runtime(snapshot, context.settings)
    seen = context.seen.get((key.namespace, key.name), RuntimeObservation())
    await _conclude(context, manifest, resolved, replace(seen, reconcile_error=message))


async def _certify(
    context: Context, manifest: Manifest, resolved: ResolvedRuntime, snapshot: Snapshot
) -> _Certificates:
    runtime, tls = resolved.runtime, resolved.runtime.spec.tls
    result = _Certificates()
    if tls.mode != "Mutual":
        return result
    namespace, domain = runtime.namespace, context.settings.cluster_domain
    dns_names = naming.runtime_dns_names(runtime.name, namespace, domain)
    spiffe_id = resolved.config.runtime.spiffe_id
    if tls.managed is None:
        secret = naming.runtime_tls_secret(runtime.name)
        if tls.certificate_ref is not None:
            secret = tls.certificate_ref.name
        stored = await context.referenced.read(SECRETS, (runtime.namespace, secret))
        result.observation = observe_secret(
            None if stored is None else secret_data(stored),
            _bundle(resolved, snapshot),
            name=f"{runtime.namespace}/{secret}",
            hosts=[name for name in dns_names if not name.startswith("*")],
            spiffe_id=spiffe_id,
            now=context.now(),
        )
        result.observation = _since(context, (runtime.namespace, secret), result.observation)
        if tls.issuer_ref is not None and not resolved.held:
            result.observation = _with_word_of_issuer(context, runtime, result.observation)
        return result

    # One that has no children yet has no Secret either: a name that is taken shows when it is created.
    first = not context.cache.owned_by(manifest["metadata"]["uid"])
    duration = timedelta(seconds=tls.managed.duration_seconds)
    where = (namespace, naming.runtime_tls_secret(runtime.name))
    if _keeps(context, resolved, where):
        request = LeafRequest(f"{runtime.name}.{namespace}", duration, dns_names, (spiffe_id,))
        leaf = await context.certificates.leaf(where, request, first=first)
        result.observation = observe_leaf(leaf)
        result.manifests.append(runtime_tls_secret(resolved, leaf.material, context.settings))
        result.check(leaf.next_check_at)
    for client in runtime.spec.clients:
        where = (namespace, naming.client_secret(runtime.name, client.name))
        if not _keeps(context, resolved, where):
            continue
        identity = f"spiffe://{context.settings.trust_domain}/ns/{namespace}/client/{client.name}"
        request = LeafRequest(f"{client.name}.{namespace}", duration, uris=(identity,), server=False)
        leaf = await context.certificates.leaf(where, request, first=first)
        result.manifests.append(client_secret(resolved, client.name, leaf.material, context.settings))
        result.check(leaf.next_check_at)
    return result


def _keeps(context: Context, resolved: ResolvedRuntime, secret: ObjectKey) -> bool:
    """Whether the runtime has, or gets, a Secret with a certificate.

    One that is held gets no new ones: a certificate for a Secret that is not written would be issued again in
    every look. What serves goes on serving, and must not be stopped by a certificate that nobody renews.
    """
    return not resolved.held or context.cache.find(SECRETS, *secret) is not None


def _since(
    context: Context, where: tuple[str, str], observation: CertificateObservation
) -> CertificateObservation:
    """Say since when the certificate is in its Secret: pods have only so long to load it."""
    fingerprint = observation.sha256_fingerprint
    if fingerprint is None:
        return observation
    known = context.certificate_since.get(where)
    if known is None or known[0] != fingerprint:
        known = context.certificate_since[where] = (fingerprint, context.now())
    return replace(observation, issued_at=known[1])


def _with_word_of_issuer(
    context: Context, runtime: AgentRuntime, observation: CertificateObservation
) -> CertificateObservation:
    """Add what cert-manager says of a certificate that it has not issued yet."""
    problem = observation.problem
    if problem is None or problem.reason is not Reason.NOT_ISSUED:
        return observation
    name = naming.runtime_tls_secret(runtime.name)
    found = context.cache.find(CERTIFICATES, runtime.namespace, name) or {}
    said = condition(found.get("status") or {}, "Ready").get("message")
    if not said:
        return observation
    return replace(observation, problem=replace(problem, message=f"{problem.message}; cert-manager: {said}"))


def _bundle(resolved: ResolvedRuntime, snapshot: Snapshot) -> bytes | None:
    """Return the CA bundle that the spec names beside the certificate."""
    reference = resolved.runtime.spec.tls.ca_bundle_ref
    if reference is None:
        return None
    where = (resolved.runtime.namespace, reference.name)
    if reference.kind == "Secret":
        secret = snapshot.secrets.get(where)
        return None if secret is None else secret.get(reference.key or TLS_CA_KEY)
    config_map = snapshot.config_maps.get(where)
    text = None if config_map is None else config_map.get(reference.key or TLS_CA_KEY)
    return None if text is None else text.encode()


async def _apply(
    context: Context,
    manifest: Manifest,
    resolved: ResolvedRuntime,
    snapshot: Snapshot,
    references: References,
    rendered: list[Manifest],
    certificates: _Certificates,
) -> ApplyResult:
    if resolved.held:
        return await context.applier.apply(manifest, certificates.manifests, keep=_kept_while_held(resolved))
    copies = secret_copies(resolved, snapshot, context.settings)
    versions = await context.referenced.versions(references)

    def finish(wanted: Manifest, observed: Manifest | None) -> Manifest:
        if wanted["kind"] != DEPLOYMENTS.kind:
            return wanted
        return with_first_state(wanted, observed, lambda: _files(context, resolved, versions))

    return await context.applier.apply(manifest, [*rendered, *certificates.manifests, *copies], finish=finish)


def _kept_while_held(resolved: ResolvedRuntime) -> Callable[[ChildKey], bool]:
    """Return which children stay although nothing is rendered: what serves, and not what is no longer ours.

    A session backend's owner who takes his consent back takes his credentials back, too.
    """
    copy = ChildKey(SECRETS.kind, naming.session_auth_secret(resolved.runtime.name))
    refused = any(problem.reason is Reason.REF_NOT_PERMITTED for problem in resolved.problems)
    return lambda key: not (refused and key == copy)


def _files(context: Context, resolved: ResolvedRuntime, versions: list[str]) -> str:
    """Return the state of what the pods mount; ``versions``: of what the runtime refers to."""
    runtime = resolved.runtime
    mounted = [(CONFIG_MAPS, naming.runtime_config_map(runtime.name))]
    mounted += [(SECRETS, naming.runtime_tls_secret(runtime.name))]
    mounted += [(SECRETS, copy.name) for copy in resolved.secret_copies]
    return state_of_files(context.cache, runtime.namespace, mounted, versions)


async def _observe(
    context: Context,
    resolved: ResolvedRuntime,
    references: References,
    rendered: list[Manifest],
    certificates: _Certificates,
) -> RuntimeObservation:
    runtime = resolved.runtime
    workload = naming.runtime_workload(runtime.name)
    deployment = context.cache.find(DEPLOYMENTS, runtime.namespace, workload)
    if deployment is None:
        observation = RuntimeObservation(
            wanted_restart_hash=restart_hash(rendered, DEPLOYMENTS.kind), certificate=certificates.observation
        )
        context.seen[(runtime.namespace, runtime.name)] = observation
        return observation
    labelled = context.cache.pods_labelled(runtime.namespace, LABEL_RUNTIME, naming.label_value(runtime.name))
    pods = pods_of_deployment(labelled, deployment)
    files = _files(context, resolved, await context.referenced.versions(references))
    await sync_pods(context, runtime.namespace, pods, files, synced(deployment))
    port = resolved.config.admin.port
    targets = [target for pod in pods if (target := probe_target(pod, port)) is not None]
    answers = await context.pods.probe(targets)
    observation = RuntimeObservation(
        wanted_restart_hash=restart_hash(rendered, DEPLOYMENTS.kind),
        deployment=observe_deployment(deployment),
        pods=tuple(observe_pod(pod, answers.get(pod["metadata"]["name"])) for pod in pods),
        certificate=certificates.observation,
    )
    context.seen[(runtime.namespace, runtime.name)] = observation
    return observation


async def _conclude(
    context: Context, manifest: Manifest, resolved: ResolvedRuntime, observation: RuntimeObservation
) -> bool:
    """Write the statuses; tell whether everything is as it should be."""
    now, settings = context.now(), context.settings
    runtime = resolved.runtime
    waited = now - context.unsettled.get(Key(KIND_AGENT_RUNTIME, runtime.namespace, runtime.name), now)
    trouble = in_trouble(resolved, observation)
    # The agents first: a runtime that says it is done has agents that say so too.
    settled = True
    for item in resolved.agents:
        agent = context.cache.get((KIND_AGENT, item.agent.namespace, item.agent.name))
        if agent is None:
            continue
        verdict = agent_status(
            item, resolved, observation, settings, previous=agent.get("status") or {}, now=now
        )
        if not is_on_its_way(agent, verdict, trouble=trouble, waited=waited):
            await context.status.write(agent, verdict)
        settled = settled and (is_ready(verdict) or item.config is None)
    current = context.cache.get((KIND_AGENT_RUNTIME, runtime.namespace, runtime.name)) or manifest
    status = runtime_status(resolved, observation, settings, previous=current.get("status") or {}, now=now)
    if not is_on_its_way(current, status, trouble=trouble, waited=waited):
        await context.status.write(current, status)
    if runtime.spec.session_backend_ref is not None:
        _tell_backend(context, runtime, observation)
    return settled and is_ready(status)


def _tell_backend(context: Context, runtime: AgentRuntime, observation: RuntimeObservation) -> None:
    """A File backend's status is what its consumers' pods say: let it look when that changed."""
    reference = runtime.spec.session_backend_ref
    if reference is None:
        return
    backend = (reference.namespace or runtime.namespace, reference.name)
    parsed = context.cache.backend(backend)
    if parsed is None or parsed.spec.type != "File":
        return
    if any(pod.statusz is not None for pod in observation.pods):
        context.enqueue(Key(KIND_SESSION_BACKEND, *backend), context.settings.probe_interval_seconds)


def _requeue(context: Context, key: Key, *, settled: bool, due: datetime | None) -> Requeue:
    attempts = 0 if settled else context.attempts.get(key, 0) + 1
    if settled:
        context.attempts.pop(key, None)
        context.unsettled.pop(key, None)
    else:
        context.attempts[key] = attempts
        context.unsettled.setdefault(key, context.now())
    return next_look(
        settled=settled,
        attempts=max(attempts - 1, 0),
        quick=context.settings.probe_interval_seconds,
        steady=context.settings.steady_probe_interval_seconds,
        due=due,
        now=context.now(),
    )


def _forget(context: Context, key: Key) -> None:
    context.seen.pop((key.namespace, key.name), None)
    context.attempts.pop(key, None)
    context.unsettled.pop(key, None)
