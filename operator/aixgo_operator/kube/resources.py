"""The kinds that the operator reads or writes, and their paths on the API server.

A fixed table instead of API discovery: no requests at start, no cache file on a read-only root, and the table
is the list that RBAC has to cover.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

#: One Kubernetes object as JSON.
Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of the API server."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        group, _, version = self.api_version.rpartition("/")
        return group if version else ""

    @property
    def version(self) -> str:
        """The version inside the group."""
        return self.api_version.rpartition("/")[2]

    def path(
        self, namespace: str | None = None, name: str | None = None, subresource: str | None = None
    ) -> str:
        """Return the URL path of one object, or of the collection when ``name`` is None."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        parts = [root]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name is not None:
            parts.append(quote(name, safe=""))
        if subresource is not None:
            parts.append(subresource)
        return "/".join(parts)


_AIXGO = "aixgo.dev/v1alpha1"

AGENT_RUNTIMES: Final = Resource(_AIXGO, "AgentRuntime", "agentruntimes")
AGENTS: Final = Resource(_AIXGO, "Agent", "agents")
SESSION_BACKENDS: Final = Resource(_AIXGO, "SessionBackend", "sessionbackends")

PODS: Final = Resource("v1", "Pod", "pods")
SERVICES: Final = Resource("v1", "Service", "services")
CONFIG_MAPS: Final = Resource("v1", "ConfigMap", "configmaps")
SECRETS: Final = Resource("v1", "Secret", "secrets")
SERVICE_ACCOUNTS: Final = Resource("v1", "ServiceAccount", "serviceaccounts")
CLAIMS: Final = Resource("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
NAMESPACES: Final = Resource("v1", "Namespace", "namespaces", namespaced=False)
EVENTS: Final = Resource("v1", "Event", "events")
DEPLOYMENTS: Final = Resource("apps/v1", "Deployment", "deployments")
STATEFUL_SETS: Final = Resource("apps/v1", "StatefulSet", "statefulsets")
BUDGETS: Final = Resource("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
AUTOSCALERS: Final = Resource("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
NETWORK_POLICIES: Final = Resource("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
CERTIFICATES: Final = Resource("cert-manager.io/v1", "Certificate", "certificates")
#: Of the Redis operator of OpsTree; read only.
REDIS_REPLICATIONS: Final = Resource(
    "redis.redis.opstreelabs.in/v1beta2", "RedisReplication", "redisreplications"
)
LEASES: Final = Resource("coordination.k8s.io/v1", "Lease", "leases")

#: The users' kinds.
OUR_KINDS: Final = (SESSION_BACKENDS, AGENT_RUNTIMES, AGENTS)

#: Kinds that the operator creates and owns. They carry its labels, so watches filter on the server.
CHILD_KINDS: Final = (
    DEPLOYMENTS,
    STATEFUL_SETS,
    SERVICES,
    CONFIG_MAPS,
    SECRETS,
    SERVICE_ACCOUNTS,
    CLAIMS,
    BUDGETS,
    AUTOSCALERS,
    NETWORK_POLICIES,
)

#: Kinds that exist only where an add-on is installed; a cluster without them is in order.
OPTIONAL_KINDS: Final = (CERTIFICATES,)

_BY_KIND: Final = {
    (resource.api_version, resource.kind): resource
    for resource in (*OUR_KINDS, *CHILD_KINDS, *OPTIONAL_KINDS, PODS, NAMESPACES, EVENTS, LEASES)
}


def resource_of(manifest: Mapping[str, Any]) -> Resource:
    """Return the table entry of a manifest. Raises KeyError for a kind that the operator does not handle."""
    return _BY_KIND[(manifest["apiVersion"], manifest["kind"])]


def with_type(resource: Resource, item: Manifest) -> Manifest:
    """Fill in ``apiVersion`` and ``kind``, which the API server leaves out of the items of a list."""
    item.setdefault("apiVersion", resource.api_version)
    item.setdefault("kind", resource.kind)
    return item
