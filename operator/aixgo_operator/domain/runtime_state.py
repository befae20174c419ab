"""The conditions of an AgentRuntime that depend on what its pods say: certificates, sessions, rollout."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from aixgo_operator.api.constants import ConditionType, Reason
from aixgo_operator.domain.conditions import Verdict, false, from_problems, true, unknown, unwritten
from aixgo_operator.domain.pod_trouble import slow_ends, slow_starts, trouble, troubles

if TYPE_CHECKING:
    from datetime import datetime

    from aixgo.contract import Statusz
    from aixgo_operator.domain.observation import (
        CertificateObservation,
        DeploymentObservation,
        PodObservation,
        RuntimeObservation,
    )
    from aixgo_operator.domain.resolved import ResolvedRuntime

CERTIFICATES = ConditionType.CERTIFICATES_READY
SESSIONS = ConditionType.SESSION_BACKEND_READY
PROGRESSING = ConditionType.PROGRESSING

#: What a runtime says of an agent that it is just loading.
LOADING = "loading"
#: A certificate that renews itself counts as late when less than this part of its life is left.
LATE_PART_OF_LIFE = 4


@dataclass(frozen=True, slots=True)
class Replica:
    """A pod that serves: ready for the kubelet, answering at this moment, not draining."""

    pod: PodObservation
    statusz: Statusz


def replicas(observation: RuntimeObservation) -> tuple[Replica, ...]:
    """Return the pods that serve, by name."""
    return tuple(
        Replica(pod, pod.statusz)
        for pod in sorted(observation.pods, key=lambda pod: pod.name)
        if pod.ready and pod.alive and pod.statusz is not None and not pod.statusz.draining
    )


def answering(observation: RuntimeObservation) -> tuple[Replica, ...]:
    """Return the pods that serve; when none does, those that at least say why they do not."""
    return replicas(observation) or tuple(
        Replica(pod, pod.statusz)
        for pod in sorted(observation.pods, key=lambda pod: pod.name)
        if pod.statusz is not None and pod.alive
    )


def is_suspended(resolved: ResolvedRuntime) -> bool:
    """Tell whether the runtime is to have no pods."""
    return resolved.runtime.spec.operating_mode == "Suspended"


def serves_certificate(statusz: Statusz, certificate: CertificateObservation) -> bool:
    """Tell whether a pod serves the certificate of the Secret and trusts what it should."""
    served = _plain(statusz.tls.sha256_fingerprint)
    if served is None or served != _plain(certificate.sha256_fingerprint):
        return False
    trusted = {_plain(item) for item in statusz.tls.trust_bundle}
    return all(_plain(item) in trusted for item in certificate.trust_bundle)


def certificates(resolved: ResolvedRuntime, observation: RuntimeObservation, now: datetime) -> Verdict:
    """Return the condition CertificatesReady."""
    mode = resolved.runtime.spec.tls.mode
    if mode != "Mutual":
        return true(CERTIFICATES, Reason.NOT_REQUIRED, f"transport security is {mode}")
    certificate = observation.certificate
    if certificate is not None and certificate.problem is not None:
        failed = from_problems(CERTIFICATES, [certificate.problem])
        if failed is not None:
            return failed
    if certificate is None or certificate.sha256_fingerprint is None:
        if resolved.held:
            # Not what is wrong, but what follows from it.
            return unknown(
                CERTIFICATES, Reason.NOT_ISSUED, "nothing is issued before the problems are solved"
            )
        return false(CERTIFICATES, Reason.NOT_ISSUED, "there is no certificate yet")
    if certificate.not_after is not None and certificate.not_after <= now:
        return false(
            CERTIFICATES, Reason.EXPIRED, f"the certificate expired at {certificate.not_after:%F %TZ}"
        )
    serving = replicas(observation)
    if (late := _late_in_a_change(resolved, observation, certificate, now)) is not None:
        return false(CERTIFICATES, Reason.RELOAD_TIMEOUT, late)
    if not serving:
        return unknown(CERTIFICATES, Reason.RELOAD_PENDING, "no replica serves, so none shows a certificate")
    pending = [item for item in serving if not serves_certificate(item.statusz, certificate)]
    if pending:
        return _reload_pending(resolved, certificate, pending, len(serving), now)
    if _expires_soon(resolved, certificate, now):
        return false(
            CERTIFICATES,
            Reason.EXPIRING_SOON,
            f"the certificate expires at {certificate.not_after:%F %TZ} and has not been renewed",
        )
    return true(CERTIFICATES, Reason.SERVING, "every replica serves the certificate of the Secret")


def sessions(resolved: ResolvedRuntime, observation: RuntimeObservation) -> Verdict:
    """Return the condition SessionBackendReady."""
    if resolved.runtime.spec.session_backend_ref is None:
        return false(
            SESSIONS,
            Reason.NOT_CONFIGURED,
            "spec.sessionBackendRef is not set: calls that carry a session are refused",
        )
    failed = from_problems(SESSIONS, resolved.problems)
    if failed is not None:
        return failed
    if resolved.config.sessions is None:
        return unknown(
            SESSIONS, Reason.NOT_READY, "spec.sessionBackendRef does not lead to a backend that can be used"
        )
    wanted = resolved.config.sessions.type
    serving = replicas(observation)
    # A backend that is away makes pods unready: then their word counts all the same.
    said = [item.statusz for item in answering(observation)]
    broken = [item for item in said if item.sessions.type == wanted and not item.sessions.ready]
    if broken:
        errors = dict.fromkeys(item.sessions.error or "not ready" for item in broken)
        return false(SESSIONS, Reason.NOT_READY, "; ".join(errors))
    if not serving:
        return unknown(SESSIONS, Reason.NOT_READY, "no replica serves, so none shows its session backend")
    if any(item.statusz.sessions.type != wanted for item in serving):
        return unknown(SESSIONS, Reason.NOT_READY, "not every replica uses the backend yet")
    return true(SESSIONS, Reason.CONNECTED, "every replica is connected")


def progressing(resolved: ResolvedRuntime, observation: RuntimeObservation, now: datetime) -> Verdict:
    """Return the condition Progressing: True while rolling and when done, False after the deadline."""
    deployment = observation.deployment
    if is_suspended(resolved):
        left = [pod for pod in observation.pods if pod.alive]
        if left or (deployment is not None and deployment.replicas):
            text = "the pods are being stopped"
            return true(PROGRESSING, Reason.ROLLING, _joined(text, slow_ends(observation.pods, now)))
        return true(PROGRESSING, Reason.ROLLOUT_COMPLETE, "suspended: there are no pods")
    if resolved.held:
        return unknown(PROGRESSING, Reason.ROLLING, "nothing is rolled out before the problems are solved")
    if deployment is None:
        return true(PROGRESSING, Reason.ROLLING, "the Deployment is being created")
    newest = [pod for pod in observation.pods if pod.restart_hash == observation.wanted_restart_hash]
    detail = (
        troubles(newest)
        or deployment.replica_failure
        or slow_starts(newest, now)
        or slow_ends(observation.pods, now)
    )
    current = deployment.restart_hash == observation.wanted_restart_hash and (
        resolved.replicas is None or deployment.desired == resolved.replicas
    )
    if current and deployment.progressing_reason == "ProgressDeadlineExceeded":
        seconds = resolved.runtime.spec.update_strategy.progress_deadline_seconds
        text = f"no progress in {seconds} s, {_count(deployment.updated, deployment)} are new"
        return false(PROGRESSING, Reason.PROGRESS_DEADLINE_EXCEEDED, _joined(text, detail))
    if not current or not _rolled_out(observation, deployment):
        ready = sum(1 for pod in newest if pod.ready and pod.alive)
        text = f"{_count(ready, deployment)} of the newest kind serve"
        return true(PROGRESSING, Reason.ROLLING, _joined(text, detail))
    return _configured(resolved, observation, deployment)


def still_to_come(
    resolved: ResolvedRuntime,
    observation: RuntimeObservation,
    ready: Verdict,
    progress: Verdict,
    now: datetime,
) -> Verdict | None:
    """Return what a tool has to wait for that waits for the runtime (kstatus), if anything.

    A runtime that answers calls is Ready while replicas that are wanted besides are on their way; to whoever
    applied their number it is not done yet.
    """
    if not ready.holds:
        if ready.reason is not Reason.SUSPENDED:
            return ready
        return None if progress.reason is Reason.ROLLOUT_COMPLETE else progress
    if (waiting := unwritten(observation.unwritten)) is not None:
        return waiting
    deployment = observation.deployment
    if deployment is None:
        return None
    serving = len(replicas(observation))
    there = sum(pod.alive for pod in observation.pods)
    if serving < deployment.desired:
        detail = troubles(observation.pods) or slow_starts(observation.pods, now)
        text = _joined(f"{_count(serving, deployment)} serve", detail)
        return false(ConditionType.READY, Reason.PENDING, text)
    if there > deployment.desired:
        text = f"{there - deployment.desired} of {there} replicas are to be stopped"
        return false(ConditionType.READY, Reason.PENDING, text)
    return None


def nobody_to_call(resolved: ResolvedRuntime, observation: RuntimeObservation) -> Verdict | None:
    """Return why the runtime is not ready although its pods serve: on one of them every agent fails.

    None: each replica has an agent that answers, or none is to answer (no Agent, or all are suspended). One
    agent that fails beside others is told in its own status alone: whoever attaches a broken Agent must not
    take the others' runtime down.
    """
    wanted = {agent.name for agent in resolved.config.agents if agent.operating_mode != "Suspended"}
    if not wanted:
        return None
    for replica in replicas(observation):
        said = [agent for agent in replica.statusz.agents if agent.name in wanted]
        if any(agent.ready and agent.loaded for agent in said):
            continue
        ready = ConditionType.READY
        where = f"no agent answers on pod {replica.pod.name}"
        errors = {agent.name: agent.error for agent in said if agent.error not in (None, LOADING)}
        if not errors:
            return false(ready, Reason.PENDING, f"{where}: loading")
        failed = any(agent.name in errors and not agent.loaded for agent in said)
        told = "; ".join(f"agent {name}: {error}" for name, error in sorted(errors.items()))
        return false(ready, Reason.LOAD_FAILED if failed else Reason.NOT_READY, f"{where}: {told}")
    return None


def partial_outage(resolved: ResolvedRuntime, observation: RuntimeObservation) -> str | None:
    """Return what is wrong while some replicas serve and others cannot; None also while a rollout goes on."""
    deployment = observation.deployment
    if deployment is None or is_suspended(resolved) or not _rolled_out(observation, deployment):
        return None
    serving = replicas(observation)
    broken = [pod for pod in observation.pods if pod.alive and trouble(pod) is not None]
    # A pod that is just starting, as when scaling up, is no outage.
    if not serving or not broken or len(serving) >= deployment.desired:
        return None
    return f"{_count(len(serving), deployment)} serve: {troubles(broken)}"


def _rolled_out(observation: RuntimeObservation, deployment: DeploymentObservation) -> bool:
    """Tell whether all pods are of the newest template and were available once (a loss is no rollout)."""
    if deployment.observed_generation < deployment.generation:
        # The counts are of an older generation. A new template is not the only thing that makes one: an
        # annotation and a number of replicas do, too. The pods tell which template they are made from.
        there = {pod.restart_hash for pod in observation.pods if pod.alive}
        if there != {observation.wanted_restart_hash}:
            return False
    return deployment.updated == deployment.replicas and (
        deployment.progressing_reason == "NewReplicaSetAvailable"
        or deployment.available >= deployment.desired
    )


def _configured(
    resolved: ResolvedRuntime, observation: RuntimeObservation, deployment: DeploymentObservation
) -> Verdict:
    """Return the verdict on a rolled-out Deployment: do its pods serve the newest configuration?"""
    serving, wanted = replicas(observation), resolved.config.revision
    behind = [item for item in serving if item.statusz.config_revision != wanted]
    stale = [item for item in serving if item.pod.restart_hash != observation.wanted_restart_hash]
    if not behind and not stale:
        text = f"{_count(len(serving), deployment)} serve"
        return true(PROGRESSING, Reason.ROLLOUT_COMPLETE, _more(text, scaled_elsewhere(resolved, deployment)))
    errors = "; ".join(
        f"pod {item.pod.name} refused it: {item.statusz.last_config_error}"
        for item in behind
        if item.statusz.last_config_error
    )
    done = len(serving) - len({id(item) for item in (*behind, *stale)})
    text = f"{done} of {len(serving)} serving replicas have loaded configuration {wanted}"
    return true(PROGRESSING, Reason.ROLLING, _joined(text, errors))


def scaled_elsewhere(resolved: ResolvedRuntime, deployment: DeploymentObservation) -> str:
    """Return who decides on the number of replicas, if it is not ``spec.replicas``; else nothing."""
    wished = resolved.runtime.spec.replicas
    if resolved.replicas is not None or deployment.desired == wished:
        return ""
    return (
        f"{resolved.replicas_managed_by} scaled the Deployment to {deployment.desired}, and spec.replicas"
        f" ({wished}) counts again when it is changed: scale the AgentRuntime, not its Deployment"
    )


def _late_in_a_change(
    resolved: ResolvedRuntime,
    observation: RuntimeObservation,
    certificate: CertificateObservation,
    now: datetime,
) -> str | None:
    """Return which pods hold up a change of the certificate authority: they are called, and say nothing."""
    if certificate.trust_bundle_phase == "Stable" or not _is_late(resolved, certificate, now):
        return None
    mute = [pod for pod in observation.pods if pod.ready and pod.alive and pod.statusz is None]
    if not mute:
        return None
    names = ", ".join(f"{pod.name} ({pod.probe_error or 'not asked yet'})" for pod in mute)
    phase = certificate.trust_bundle_phase
    return f"the change of the certificate authority ({phase}) waits for pods that do not answer: {names}"


def _is_late(resolved: ResolvedRuntime, certificate: CertificateObservation, now: datetime) -> bool:
    limit = timedelta(seconds=resolved.runtime.spec.tls.rotation.reload_timeout_seconds)
    return certificate.issued_at is not None and now - certificate.issued_at > limit


def _reload_pending(
    resolved: ResolvedRuntime,
    certificate: CertificateObservation,
    pending: list[Replica],
    total: int,
    now: datetime,
) -> Verdict:
    errors = dict.fromkeys(
        item.statusz.tls.last_reload_error for item in pending if item.statusz.tls.last_reload_error
    )
    text = f"{total - len(pending)} of {total} serving replicas have loaded the certificate of the Secret"
    if errors:
        text += f": {'; '.join(errors)}"
    if _is_late(resolved, certificate, now):
        return false(CERTIFICATES, Reason.RELOAD_TIMEOUT, text)
    return false(CERTIFICATES, Reason.RELOAD_PENDING, text)


def _expires_soon(resolved: ResolvedRuntime, certificate: CertificateObservation, now: datetime) -> bool:
    if certificate.not_after is None:
        return False
    tls = resolved.runtime.spec.tls
    warning = timedelta(seconds=tls.rotation.expiry_warning_seconds)
    if tls.certificate_ref is None and certificate.not_before is not None:
        # It is renewed by itself; its whole life may be shorter than the warning.
        life = certificate.not_after - certificate.not_before
        warning = min(warning, life / LATE_PART_OF_LIFE)
    return certificate.not_after - now < warning


def _count(number: int, deployment: DeploymentObservation) -> str:
    return f"{number} of {deployment.desired} replicas"


def _more(text: str, more: str) -> str:
    return f"{text}; {more}" if more else text


def _joined(text: str, detail: str) -> str:
    return f"{text}: {detail}" if detail else text


def _plain(fingerprint: str | None) -> str | None:
    return None if fingerprint is None else fingerprint.replace(":", "").lower()
