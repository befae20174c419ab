"""From objects of the API server to observations."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from aixgo_operator.api.constants import ANNOTATION_REPLICAS, ANNOTATION_RESTART_HASH, FIELD_MANAGER
from aixgo_operator.domain.observation import ClaimObservation, DeploymentObservation, PodObservation
from aixgo_operator.kube.apply import controller_of
from aixgo_operator.probe.statusz import ProbeTarget

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aixgo_operator.kube.resources import Manifest
    from aixgo_operator.probe.statusz import ProbeAnswer

#: Label that the Deployment controller puts on ReplicaSets and their pods.
_TEMPLATE_HASH = "pod-template-hash"


def pods_of_deployment(pods: Iterable[Manifest], deployment: Manifest) -> list[Manifest]:
    """Return the pods that the Deployment's ReplicaSets control: labels alone make no pod ours.

    The Deployment controller names a ReplicaSet ``<deployment>-<pod-template-hash>``, so that the pod itself
    tells.
    """
    name = deployment["metadata"]["name"]
    found = []
    for pod in pods:
        owner = controller_of(pod)
        template = (pod["metadata"].get("labels") or {}).get(_TEMPLATE_HASH)
        if owner and owner["kind"] == "ReplicaSet" and template and owner["name"] == f"{name}-{template}":
            found.append(pod)
    return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))


def pods_of_stateful_set(pods: Iterable[Manifest], stateful_set: Manifest) -> list[Manifest]:
    """Return the pods that the StatefulSet controls."""
    uid = stateful_set["metadata"]["uid"]
    found = [pod for pod in pods if (controller_of(pod) or {}).get("uid") == uid]
    return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))


def running(pod: Manifest) -> bool:
    """Whether the pod's containers may have its files mounted."""
    return (pod.get("status") or {}).get("phase") == "Running" and not pod["metadata"].get(
        "deletionTimestamp"
    )


def probe_target(pod: Manifest, port: int) -> ProbeTarget | None:
    """Return where to ask the pod, or None while it has no address."""
    ip = (pod.get("status") or {}).get("podIP")
    return ProbeTarget(pod["metadata"]["name"], ip, port) if ip and running(pod) else None


def observe_pod(pod: Manifest, answer: ProbeAnswer | None = None) -> PodObservation:
    """Return what is seen of a pod; ``answer`` is its own word."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    container = _main_container(pod)
    state = container.get("state") or {}
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
    waiting = state.get("waiting") or {}
    terminating = bool(metadata.get("deletionTimestamp"))
    over = status.get("phase") in ("Failed", "Succeeded")
    scheduled = _condition(status, "PodScheduled")
    return PodObservation(
        name=metadata["name"],
        created_at=_moment(metadata.get("creationTimestamp")),
        ends_at=_moment(metadata.get("deletionTimestamp")),
        ready=_condition(status, "Ready").get("status") == "True" and not terminating and not over,
        terminating=terminating,
        restart_hash=(metadata.get("annotations") or {}).get(ANNOTATION_RESTART_HASH),
        started=bool(container.get("started")),
        restarts=int(container.get("restartCount") or 0),
        waiting_reason=waiting.get("reason"),
        waiting_message=waiting.get("message"),
        exit_code=ended.get("exitCode"),
        terminated_reason=ended.get("reason"),
        terminated_message=ended.get("message"),
        ended=over,
        ended_reason=status.get("reason") if over else None,
        ended_message=status.get("message") if over else None,
        unschedulable_message=scheduled.get("message") if scheduled.get("status") == "False" else None,
        statusz=answer.statusz if answer else None,
        probe_error=answer.error if answer else None,
    )


def observe_deployment(deployment: Manifest) -> DeploymentObservation:
    """Return what is seen of a Deployment."""
    status, spec = deployment.get("status") or {}, deployment["spec"]
    template = spec["template"].get("metadata") or {}
    failure = _condition(status, "ReplicaFailure")
    replicas = spec.get("replicas")
    return DeploymentObservation(
        generation=int(deployment["metadata"].get("generation") or 0),
        observed_generation=int(status.get("observedGeneration") or 0),
        desired=1 if replicas is None else int(replicas),
        replicas=int(status.get("replicas") or 0),
        updated=int(status.get("updatedReplicas") or 0),
        ready=int(status.get("readyReplicas") or 0),
        available=int(status.get("availableReplicas") or 0),
        restart_hash=(template.get("annotations") or {}).get(ANNOTATION_RESTART_HASH),
        progressing_reason=_condition(status, "Progressing").get("reason"),
        replica_failure=failure.get("message") if failure.get("status") == "True" else None,
    )


def observe_claim(claim: Manifest) -> ClaimObservation:
    """Return what is seen of a PersistentVolumeClaim."""
    return ClaimObservation(phase=str((claim.get("status") or {}).get("phase") or "Pending"))


def scaled_by(deployment: Manifest | None, wished: int) -> str | None:
    """Return the manager who wrote the Deployment's replicas through its /scale, if another one did.

    None also when ``wished``, the AgentRuntime's ``spec.replicas``, is another number than when the operator
    wrote the Deployment last: then the AgentRuntime was scaled later.
    """
    if deployment is None:
        return None
    metadata = deployment["metadata"]
    if (metadata.get("annotations") or {}).get(ANNOTATION_REPLICAS, str(wished)) != str(wished):
        return None
    for entry in metadata.get("managedFields") or ():
        fields = (entry.get("fieldsV1") or {}).get("f:spec") or {}
        if entry.get("subresource") == "scale" and "f:replicas" in fields:
            manager = str(entry.get("manager"))
            if manager != FIELD_MANAGER:
                return manager
    return None


def restart_hash(manifests: Iterable[Manifest], kind: str) -> str | None:
    """Return the restart hash of the rendered workload of a kind."""
    for manifest in manifests:
        if manifest["kind"] == kind:
            annotations = manifest["spec"]["template"]["metadata"].get("annotations") or {}
            return str(annotations.get(ANNOTATION_RESTART_HASH)) if annotations else None
    return None


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _main_container(pod: Manifest) -> Mapping[str, Any]:
    """Return the status of the container that the operator wrote: the first one; injected ones come after
    it."""
    containers = (pod.get("spec") or {}).get("containers") or []
    name = containers[0]["name"] if containers else None
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        if status.get("name") == name:
            return dict(status)
    return {}


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    for condition in status.get("conditions") or ():
        if condition.get("type") == kind:
            return dict(condition)
    return {}
