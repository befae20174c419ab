"""Ten ways to go wrong, as a user does, for the page on troubleshooting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.support import manifests as m
from tests.support.kubelet import ready_status, serving
from tests.support.operator import until

from aixgo.contract import RuntimeConfig, SessionStatus, Statusz
from aixgo_operator.domain import naming
from aixgo_operator.kube.resources import (
    AGENT_RUNTIMES,
    AGENTS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    PODS,
    SECRETS,
    SESSION_BACKENDS,
    Resource,
)
from aixgo_operator.probe.statusz import ProbeAnswer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.operator import Cluster, Operator

NO_SUCH_IMAGE = "registry.example/agents:nosuch"


@dataclass(frozen=True)
class Trouble:
    """One case. It is set up in a namespace of the same name."""

    name: str
    title: str
    #: What the user did.
    cause: str
    #: What to do.
    remedy: str
    #: The object to explain, and the reason of its condition Ready.
    resource: Resource
    target: str
    reason: str
    make: Callable[[Cluster, Operator, str], Awaitable[None]]

    @property
    def explained(self) -> str:
        """What ``aixgo explain`` is asked for."""
        return f"{self.resource.kind.lower()}/{self.target}"


async def _statusz(cluster: Cluster, namespace: str) -> Statusz:
    """Return what the pods of a runtime say when all is well."""
    config_map = await cluster.get(CONFIG_MAPS, namespace, naming.runtime_config_map("agents"))
    secret = await cluster.get(SECRETS, namespace, naming.runtime_tls_secret("agents"))
    return serving(RuntimeConfig.from_json(config_map["data"]["runtime.json"]), secret)


async def _no_runtime(cluster: Cluster, _: Operator, namespace: str) -> None:
    await cluster.apply(m.agent(namespace, runtime="agents"))


async def _no_key(cluster: Cluster, _: Operator, namespace: str) -> None:
    key = {"name": "model-key", "key": "token"}
    model = {"provider": "openai", "name": "small", "baseURL": "http://model:8080/v1", "apiKeySecretRef": key}
    await cluster.apply(m.runtime(namespace, "agents"))
    await cluster.apply(m.agent(namespace, runtime="agents", model=model))


async def _no_consent(cluster: Cluster, _: Operator, namespace: str) -> None:
    ref = {"name": "agents", "namespace": "shared"}
    await cluster.apply(m.agent(namespace, runtimeRef=ref))


async def _no_backend(cluster: Cluster, _: Operator, namespace: str) -> None:
    await cluster.apply(m.runtime(namespace, "agents", sessionBackendRef={"name": "sessions"}))
    await cluster.apply(m.agent(namespace, runtime="agents"))


async def _no_redis(cluster: Cluster, operator: Operator, namespace: str) -> None:
    # Nobody listens on port 1.
    redis = {"addresses": ["127.0.0.1:1"], "tls": {"mode": "Disabled"}}
    await cluster.apply(m.managed_redis(namespace, redis=redis))
    await cluster.apply(m.runtime(namespace, "agents", sessionBackendRef={"name": "sessions"}))
    await cluster.apply(m.agent(namespace, runtime="agents"))

    await cluster.until_condition(AGENTS, namespace, "assistant", "Loaded", "True", timeout=60)
    statusz = await _statusz(cluster, namespace)
    sessions = SessionStatus(type="Redis", ready=False, error="redis is not reachable: Connection refused")
    statusz = statusz.changed(sessions=sessions)
    operator.pods.override[namespace, "agents"] = ProbeAnswer(statusz=statusz)


async def _no_image(cluster: Cluster, operator: Operator, namespace: str) -> None:
    operator.kubelet.hold.add("no-image-")
    await cluster.apply(m.runtime(namespace, "no-image", image=NO_SUCH_IMAGE))
    await cluster.apply(m.agent(namespace, runtime="no-image"))

    async def told() -> bool:
        for pod in await cluster.client.list_objects(PODS, namespace):
            message = f'Back-off pulling image "{NO_SUCH_IMAGE}"'
            status = ready_status(pod, "")
            waiting = {"reason": "ImagePullBackOff", "message": message}
            container = status["containerStatuses"][0]
            container |= {"ready": False, "started": False, "state": {"waiting": waiting}}
            body = {"status": {"phase": "Pending", "containerStatuses": [container]}}
            await cluster.patch(PODS, namespace, pod["metadata"]["name"], body, "status")
            return True
        return False

    await until(told, "the pod is there", timeout=30)


async def _not_loaded(cluster: Cluster, operator: Operator, namespace: str) -> None:
    await cluster.apply(m.runtime(namespace, "agents"))
    await cluster.apply(m.agent(namespace, runtime="agents"))
    await cluster.until_condition(AGENTS, namespace, "assistant", "Ready", "True", timeout=60)
    statusz = await _statusz(cluster, namespace)
    error = "model.baseURL is refused: its host is a loopback address"
    agents = tuple(each.changed(ready=False, loaded=False, error=error) for each in statusz.agents)
    statusz = statusz.changed(agents=agents)
    operator.pods.override[namespace, "agents"] = ProbeAnswer(statusz=statusz)


async def _name_taken(cluster: Cluster, _: Operator, namespace: str) -> None:
    spec = {"ports": [{"port": 80}], "selector": {"app": "web"}}
    metadata = {"name": "agents", "namespace": namespace}
    await cluster.apply({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
    await cluster.apply(m.runtime(namespace, "agents"))


async def _shared_files(cluster: Cluster, _: Operator, namespace: str) -> None:
    await cluster.apply(m.file_backend(namespace))
    ref = {"name": "sessions"}
    await cluster.apply(m.runtime(namespace, "agents", sessionBackendRef=ref, replicas=2))
    await cluster.apply(m.agent(namespace, runtime="agents"))


async def _suspended(cluster: Cluster, _: Operator, namespace: str) -> None:
    await cluster.apply(m.runtime(namespace, "agents"))
    await cluster.apply(m.agent(namespace, runtime="agents"))
    await cluster.until_condition(AGENTS, namespace, "assistant", "Ready", "True", timeout=60)
    await cluster.apply(m.runtime(namespace, "agents", operatingMode="Suspended"))

    async def stopped() -> bool:
        found = await cluster.get(DEPLOYMENTS, namespace, "agents")
        pods = await cluster.client.list_objects(PODS, namespace)
        return not pods and not found["status"].get("replicas")

    await until(stopped, "its pods are gone", timeout=60)


def _trouble(*values: Any) -> Trouble:
    return Trouble(*values)


TROUBLES = (
    _trouble(
        "no-runtime",
        "The runtime does not exist",
        "An Agent names an AgentRuntime that is not there, or is misspelt.",
        "Create the AgentRuntime, or correct `spec.runtimeRef`. The Agent attaches as soon as it is there.",
        AGENTS,
        "assistant",
        "RuntimeNotFound",
        _no_runtime,
    ),
    _trouble(
        "no-key",
        "A Secret is missing",
        "The Agent's API key is in a Secret that is not there.",
        "Create the Secret with that key in the Agent's namespace. Nothing has to be restarted.",
        AGENTS,
        "assistant",
        "SecretNotFound",
        _no_key,
    ),
    _trouble(
        "no-consent",
        "Another namespace does not allow it",
        "An Agent names an AgentRuntime of another namespace that has not agreed, or does not exist.",
        "Ask the owner of that namespace. The answer is the same whether or not the object exists.",
        AGENTS,
        "assistant",
        "RefNotPermitted",
        _no_consent,
    ),
    _trouble(
        "no-backend",
        "The session backend does not exist",
        "An AgentRuntime names a SessionBackend that is not there.",
        "Create the SessionBackend, or correct `spec.sessionBackendRef`. No pod is started before.",
        AGENT_RUNTIMES,
        "agents",
        "SessionBackendNotFound",
        _no_backend,
    ),
    _trouble(
        "no-redis",
        "Redis does not answer",
        "The address of a SessionBackend leads nowhere.",
        "Correct the address, or bring Redis back. It is asked again all the time.",
        SESSION_BACKENDS,
        "sessions",
        "DialFailed",
        _no_redis,
    ),
    _trouble(
        "no-image",
        "The image cannot be pulled",
        "`spec.image` of an AgentRuntime does not exist.",
        "Correct the image. Where a revision serves already, it goes on serving.",
        AGENT_RUNTIMES,
        "no-image",
        "Rolling",
        _no_image,
    ),
    _trouble(
        "not-loaded",
        "A runtime cannot load an agent",
        "The pods run, but cannot build the agent from its configuration.",
        "Correct what the message names. The other agents of the runtime go on.",
        AGENTS,
        "assistant",
        "LoadFailed",
        _not_loaded,
    ),
    _trouble(
        "name-taken",
        "An object of that name exists already",
        "A Service that has nothing to do with the AgentRuntime has its name.",
        "Rename the AgentRuntime, or delete the other object. The operator never takes over what is not its.",
        AGENT_RUNTIMES,
        "agents",
        "NameConflict",
        _name_taken,
    ),
    _trouble(
        "shared-files",
        "Two replicas on one volume",
        "An AgentRuntime with two replicas keeps its sessions in files.",
        "Use one replica, or a SessionBackend of type Redis.",
        AGENT_RUNTIMES,
        "agents",
        "FileBackendNotShared",
        _shared_files,
    ),
    _trouble(
        "suspended",
        "The runtime is suspended",
        "Somebody set `spec.operatingMode: Suspended`.",
        "Set it back to `Running`. All sessions are still there.",
        AGENT_RUNTIMES,
        "agents",
        "Suspended",
        _suspended,
    ),
)
