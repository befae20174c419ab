"""Ways to go wrong, as a user does, for the page on troubleshooting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.support import manifests as m
from tests.support import pod_troubles
from tests.support.kubelet import serving
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
    #: Of its condition Ready.
    status: str = "False"

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


async def _wrong_key(cluster: Cluster, operator: Operator, namespace: str) -> None:
    await cluster.apply(m.secret(namespace, "model-key", tokens="misspelt"))
    await _no_key(cluster, operator, namespace)


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


async def _in_use(cluster: Cluster, _: Operator, namespace: str) -> None:
    await cluster.apply(m.file_backend(namespace))
    await cluster.apply(m.runtime(namespace, "agents", sessionBackendRef={"name": "sessions"}))
    await cluster.until_condition(AGENT_RUNTIMES, namespace, "agents", "Ready", "True", timeout=60)
    await cluster.delete(SESSION_BACKENDS, namespace, "sessions")
    await cluster.until_condition(
        SESSION_BACKENDS, namespace, "sessions", "InUse", "True", "DeletionBlocked", timeout=60
    )


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


def _pods(name: str, title: str, cause: str, remedy: str, make: Any, reason: str = "Rolling") -> Trouble:
    """Return a trouble of the pods of the AgentRuntime that has the namespace's name."""
    return Trouble(name, title, cause, remedy, AGENT_RUNTIMES, name, reason, make)


def wrong_password(address: str) -> Trouble:
    """Return the trouble with a Redis that wants another password than "wrong"."""

    async def make(cluster: Cluster, _: Operator, namespace: str) -> None:
        await cluster.apply(m.secret(namespace, "redis", password="wrong"))
        auth = {"passwordSecretRef": {"name": "redis", "key": "password"}}
        redis = {"addresses": [address], "tls": {"mode": "Disabled"}, "auth": auth}
        await cluster.apply(m.managed_redis(namespace, redis=redis))

    return Trouble(
        "wrong-password",
        "Redis refuses the password",
        "The password in the Secret of a SessionBackend, or the user, is not the one that Redis knows.",
        "Correct the Secret: pods and the operator take the new password without a restart.",
        SESSION_BACKENDS,
        "sessions",
        "AuthFailed",
        make,
    )


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
        "wrong-key",
        "A Secret does not have the key",
        "The Secret is there, and the key that the Agent names is not.",
        "Add the key to the Secret, or correct `key`. Nothing has to be restarted.",
        AGENTS,
        "assistant",
        "KeyNotFound",
        _wrong_key,
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
        pod_troubles.no_image,
    ),
    _pods(
        "no-pull-secret",
        "The registry does not know who pulls",
        "The image is private, and a Secret of `spec.imagePullSecrets` is missing or wrong.",
        "Create the Secret (type `kubernetes.io/dockerconfigjson`) in the runtime's namespace and name it in"
        " `spec.imagePullSecrets`.",
        pod_troubles.no_pull_secret,
    ),
    _pods(
        "crash",
        "The pods crash",
        "The container ends by itself. Its exit code and its last words are told.",
        "Correct what the last words name. Where a revision serves already, it goes on serving.",
        pod_troubles.crashing,
    ),
    _pods(
        "no-memory",
        "The pods need more memory",
        "The container is killed for using more memory than `spec.resources` allows.",
        "Raise `limits.memory`, or put fewer Agents on one runtime.",
        pod_troubles.no_memory,
    ),
    _pods(
        "evicted",
        "A node has evicted a pod",
        "The node was short of memory or disk. Another pod is started, if there is room for it.",
        "Set requests in `spec.resources` that say what the pods need, or add nodes.",
        pod_troubles.evicted,
    ),
    _pods(
        "over-quota",
        "A quota of the namespace is used up",
        "The API server refuses to create pods.",
        "Raise the ResourceQuota, or ask for less. The next try comes by itself.",
        pod_troubles.over_quota,
    ),
    _pods(
        "over-limit",
        "A LimitRange forbids the resources",
        "The requests or limits of the pods are not what a LimitRange of the namespace allows.",
        "Set `spec.resources` within the limits, or change the LimitRange.",
        pod_troubles.over_limit,
    ),
    _pods(
        "no-volume",
        "A volume is not made",
        "The StorageClass of a SessionBackend of type File does not exist, or has no room.",
        "Make the class, or name another one: the class of a volume claim cannot be changed, so delete the"
        " SessionBackend and create it again.",
        pod_troubles.no_volume,
    ),
    _pods(
        "kept-out",
        "The operator cannot ask the pods",
        "The pods are ready for their node, but a NetworkPolicy keeps the operator from their admin port.",
        "Allow the operator's namespace, see [network policies](network-policies.md).",
        pod_troubles.kept_out,
        "NoReadyReplicas",
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
        "in-use",
        "A session backend is not deleted",
        "Somebody deletes a SessionBackend that AgentRuntimes use: `kubectl delete` waits.",
        "Delete the AgentRuntimes that are listed, or let them use another backend. Until then all goes on.",
        SESSION_BACKENDS,
        "sessions",
        "DeletionBlocked",
        _in_use,
        "True",
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
