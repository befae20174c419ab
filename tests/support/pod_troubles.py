"""Ways in which pods do not come up, for the page on troubleshooting.

What quotas and limits refuse is real. What a node says (a pull, a crash, an eviction) a stand-in says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support import manifests as m
from tests.support.kubelet import ready_status
from tests.support.operator import until

from aixgo_operator.kube.resources import PODS
from aixgo_operator.probe.statusz import ProbeAnswer

if TYPE_CHECKING:
    from tests.support.operator import Cluster, Operator

NO_SUCH_IMAGE = "registry.example/agents:nosuch"
PRIVATE_IMAGE = "registry.example/private/agents:1"


async def show(cluster: Cluster, namespace: str, status: dict[str, Any]) -> None:
    """Write a status into the first pod that comes."""

    async def shown() -> bool:
        for pod in await cluster.client.list_objects(PODS, namespace):
            await cluster.patch(PODS, namespace, pod["metadata"]["name"], {"status": status}, "status")
            return True
        return False

    await until(shown, "a pod is there", timeout=60)


def container(state: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the status of the runtime's container that does not run."""
    pod = {"spec": {"containers": [{"name": "runtime", "image": "runtime"}]}}
    (found,) = ready_status(pod, "")["containerStatuses"]
    return dict(found) | {"ready": False, "started": False, "state": state} | more


async def held_runtime(cluster: Cluster, operator: Operator, namespace: str, **spec: Any) -> None:
    """Make a runtime whose pods stay as they are, and an Agent on it."""
    operator.kubelet.hold.add(f"{namespace}-")
    await cluster.apply(m.runtime(namespace, namespace, **spec))
    await cluster.apply(m.agent(namespace, runtime=namespace))


async def _not_pulled(cluster: Cluster, operator: Operator, namespace: str, image: str, message: str) -> None:
    await held_runtime(cluster, operator, namespace, image=image)
    waiting = {"reason": "ImagePullBackOff", "message": message}
    await show(
        cluster,
        namespace,
        {"phase": "Pending", "containerStatuses": [container({"waiting": waiting})]},
    )


async def no_image(cluster: Cluster, operator: Operator, namespace: str) -> None:
    message = f'Back-off pulling image "{NO_SUCH_IMAGE}"'
    await _not_pulled(cluster, operator, namespace, NO_SUCH_IMAGE, message)


async def no_pull_secret(cluster: Cluster, operator: Operator, namespace: str) -> None:
    message = (
        f'Back-off pulling image "{PRIVATE_IMAGE}": ErrImagePull: failed to resolve reference'
        f' "{PRIVATE_IMAGE}": pull access denied, repository does not exist or may require authorization'
    )
    await _not_pulled(cluster, operator, namespace, PRIVATE_IMAGE, message)


async def crashing(cluster: Cluster, operator: Operator, namespace: str) -> None:
    await _crash(cluster, operator, namespace, 1, "Error", "ModuleNotFoundError: No module named 'mine'\n")


async def no_memory(cluster: Cluster, operator: Operator, namespace: str) -> None:
    await _crash(cluster, operator, namespace, 137, "OOMKilled", "")


async def _crash(
    cluster: Cluster, operator: Operator, namespace: str, code: int, reason: str, words: str
) -> None:
    await held_runtime(cluster, operator, namespace)
    waiting = {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}
    last = {"terminated": {"exitCode": code, "reason": reason, "message": words}}
    statuses = [container({"waiting": waiting}, lastState=last, restartCount=4)]
    await show(cluster, namespace, {"phase": "Running", "containerStatuses": statuses})


async def evicted(cluster: Cluster, operator: Operator, namespace: str) -> None:
    await held_runtime(cluster, operator, namespace)
    words = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 52Mi. "
    await show(cluster, namespace, {"phase": "Failed", "reason": "Evicted", "message": words})


async def over_quota(cluster: Cluster, operator: Operator, namespace: str) -> None:
    await _limited(cluster, operator, namespace, "resourcequotas", {"hard": {"pods": "0"}})


async def over_limit(cluster: Cluster, operator: Operator, namespace: str) -> None:
    limits = [{"type": "Container", "max": {"memory": "64Mi"}}]
    await _limited(cluster, operator, namespace, "limitranges", {"limits": limits})


async def _limited(
    cluster: Cluster, operator: Operator, namespace: str, plural: str, spec: dict[str, Any]
) -> None:
    body = {"metadata": {"name": "team"}, "spec": spec}
    await cluster.client.request("POST", f"/api/v1/namespaces/{namespace}/{plural}", body=body)
    await held_runtime(cluster, operator, namespace)


async def no_volume(cluster: Cluster, operator: Operator, namespace: str) -> None:
    await cluster.apply(m.file_backend(namespace, file={"storageClassName": "nosuch"}))
    await held_runtime(cluster, operator, namespace, sessionBackendRef={"name": "sessions"})
    words = "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims."
    scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}
    await show(cluster, namespace, {"phase": "Pending", "conditions": [scheduled]})


async def kept_out(cluster: Cluster, operator: Operator, namespace: str) -> None:
    operator.pods.override[namespace, namespace] = ProbeAnswer(error="/statusz did not answer in 2 s")
    await cluster.apply(m.runtime(namespace, namespace))
    await cluster.apply(m.agent(namespace, runtime=namespace))
