"""The objects of a SessionBackend: a managed Redis, or the volume of a File backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aixgo_operator.api.constants import (
    ANNOTATION_RESTART_HASH,
    TLS_CA_KEY,
    TLS_CERT_KEY,
    TLS_PRIVATE_KEY_KEY,
)
from aixgo_operator.domain import labels, naming
from aixgo_operator.domain.hashing import digest
from aixgo_operator.domain.redis_access import REDIS_PORT
from aixgo_operator.domain.redis_users import (
    ACL_FILE_KEY,
    OPERATOR_PASSWORD_KEY,
    OPERATOR_USERNAME_KEY,
)
from aixgo_operator.domain.resolved import FileSource
from aixgo_operator.render import redis_scripts as scripts
from aixgo_operator.render.common import (
    Manifest,
    container_security_context,
    manifest,
    pod_security_context,
    pods_in,
    projected_volume,
    without_none,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aixgo_operator.api.v1alpha1 import ManagedRedisSpec
    from aixgo_operator.domain.resolved import ResolvedBackend
    from aixgo_operator.domain.settings import OperatorSettings

CONTAINER: Final = "redis"
RELOAD_CONTAINER: Final = "reload"
REDIS_PORT_NAME: Final = "redis"

DEFAULT_RESOURCES: Final[Manifest] = {"requests": {"cpu": "50m", "memory": "64Mi"}}
RELOAD_RESOURCES: Final[Manifest] = {
    "requests": {"cpu": "5m", "memory": "8Mi"},
    "limits": {"memory": "32Mi"},
}


def managed_redis(
    resolved: ResolvedBackend, spec: ManagedRedisSpec, settings: OperatorSettings
) -> list[Manifest]:
    """Return StatefulSet, Service, ConfigMap, NetworkPolicy and claim of a managed Redis."""
    backend = resolved.backend
    name = naming.redis_workload(backend.name)
    pod_labels = labels.redis_labels(backend.name)
    selector = labels.redis_selector(backend.name)
    data = {
        scripts.REDIS_CONF: scripts.redis_conf(spec),
        scripts.READY_SCRIPT: scripts.ready_script(),
        scripts.LIVE_SCRIPT: scripts.live_script(),
        scripts.RELOAD_SCRIPT: scripts.reload_script(),
    }
    template: Manifest = {
        "metadata": {
            "labels": pod_labels,
            "annotations": {"kubectl.kubernetes.io/default-container": CONTAINER},
        },
        "spec": _pod(backend.name, spec, settings),
    }
    template["metadata"]["annotations"][ANNOTATION_RESTART_HASH] = digest(
        {"template": template, "files": data}
    )
    port = {"name": REDIS_PORT_NAME, "port": REDIS_PORT, "targetPort": REDIS_PORT_NAME, "protocol": "TCP"}
    own = labels.with_version(pod_labels, settings.operator_version)
    return [
        manifest("v1", "ConfigMap", name, owner=backend, labels=own, data=data),
        manifest(
            "v1",
            "Service",
            name,
            owner=backend,
            labels=own,
            spec={"type": "ClusterIP", "selector": selector, "ports": [port]},
        ),
        _network_policy(resolved, settings, own),
        _claim(resolved, name, spec.storage, spec.storage_class_name, own),
        manifest(
            "apps/v1",
            "StatefulSet",
            name,
            owner=backend,
            labels=own,
            spec={
                "replicas": 1,
                "serviceName": name,
                # OrderedReady never replaces a pod that cannot start, not even by a corrected template.
                "podManagementPolicy": "Parallel",
                "selector": {"matchLabels": selector},
                "revisionHistoryLimit": 3,
                "template": template,
            },
        ),
    ]


def _network_policy(
    resolved: ResolvedBackend, settings: OperatorSettings, own: Mapping[str, str]
) -> Manifest:
    """Return the NetworkPolicy: Redis is reached by the runtimes that use it, and by the operator."""
    backend = resolved.backend
    namespaces = {backend.namespace, *(runtime.namespace for runtime in resolved.consumers)}
    return manifest(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        naming.redis_workload(backend.name),
        owner=backend,
        labels=own,
        spec={
            "podSelector": {"matchLabels": labels.redis_selector(backend.name)},
            "policyTypes": ["Ingress"],
            "ingress": [
                {
                    "ports": [{"port": REDIS_PORT_NAME, "protocol": "TCP"}],
                    "from": [
                        pods_in(namespaces, labels.COMPONENT_RUNTIME),
                        pods_in({settings.operator_namespace}, labels.COMPONENT_OPERATOR),
                    ],
                }
            ],
        },
    )


def file_volume(resolved: ResolvedBackend, settings: OperatorSettings) -> list[Manifest]:
    """Return the claim of a File backend."""
    backend, file = resolved.backend, resolved.backend.spec.file
    return [
        _claim(
            resolved,
            naming.sessions_claim(backend.name),
            "1Gi" if file is None else file.storage,
            None if file is None else file.storage_class_name,
            labels.with_version(labels.files_labels(backend.name), settings.operator_version),
        )
    ]


def _claim(
    resolved: ResolvedBackend,
    name: str,
    storage: str,
    storage_class: str | None,
    own: Mapping[str, str],
) -> Manifest:
    """Return a claim. With ``deletionPolicy: Retain`` it has no owner, so that it outlives the backend.

    A claim of its own instead of a volumeClaimTemplate: that could never be changed again, not even to grow.
    """
    return manifest(
        "v1",
        "PersistentVolumeClaim",
        name,
        owner=resolved.backend,
        labels=own,
        owned=resolved.backend.spec.deletion_policy == "Delete",
        spec=without_none(
            {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": storage_class,
                "resources": {"requests": {"storage": storage}},
            }
        ),
    )


def _pod(backend: str, spec: ManagedRedisSpec, settings: OperatorSettings) -> Manifest:
    name = naming.redis_workload(backend)
    auth_keys = (ACL_FILE_KEY, OPERATOR_USERNAME_KEY, OPERATOR_PASSWORD_KEY)
    tls_keys = (TLS_CERT_KEY, TLS_PRIVATE_KEY_KEY, TLS_CA_KEY)
    return without_none(
        {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 30,
            "securityContext": pod_security_context(),
            "imagePullSecrets": [{"name": secret} for secret in sorted(set(settings.image_pull_secrets))],
            "containers": [_redis(spec, settings), _reload(settings)],
            "volumes": [
                {"name": "config", "configMap": {"name": name}},
                projected_volume(
                    "auth",
                    [
                        FileSource(
                            "Secret", naming.redis_auth_secret(backend), {key: key for key in auth_keys}
                        )
                    ],
                ),
                projected_volume(
                    "tls",
                    [FileSource("Secret", naming.redis_tls_secret(backend), {key: key for key in tls_keys})],
                ),
                {"name": "data", "persistentVolumeClaim": {"claimName": name}},
                {"name": "socket", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            ],
        }
    )


def _redis(spec: ManagedRedisSpec, settings: OperatorSettings) -> Manifest:
    return {
        "name": CONTAINER,
        "image": settings.redis_image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["redis-server", f"{scripts.CONFIG_DIRECTORY}/{scripts.REDIS_CONF}"],
        "ports": [{"name": REDIS_PORT_NAME, "containerPort": REDIS_PORT, "protocol": "TCP"}],
        "resources": spec.resources if spec.resources is not None else DEFAULT_RESOURCES,
        "securityContext": container_security_context(),
        "readinessProbe": {
            "exec": {"command": ["sh", f"{scripts.CONFIG_DIRECTORY}/{scripts.READY_SCRIPT}"]},
            "periodSeconds": 2,
            "timeoutSeconds": 3,
            "failureThreshold": 2,
        },
        # Reading a long append-only file is an answer too: that must not restart Redis.
        "livenessProbe": {
            "exec": {"command": ["sh", f"{scripts.CONFIG_DIRECTORY}/{scripts.LIVE_SCRIPT}"]},
            "initialDelaySeconds": 5,
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [*_mounts(), {"name": "data", "mountPath": scripts.DATA_DIRECTORY}],
    }


def _reload(settings: OperatorSettings) -> Manifest:
    return {
        "name": RELOAD_CONTAINER,
        "image": settings.redis_image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["sh", f"{scripts.CONFIG_DIRECTORY}/{scripts.RELOAD_SCRIPT}"],
        "resources": RELOAD_RESOURCES,
        "securityContext": container_security_context(),
        "volumeMounts": _mounts(),
    }


def _mounts() -> list[dict[str, Any]]:
    return [
        {"name": "config", "mountPath": scripts.CONFIG_DIRECTORY, "readOnly": True},
        {"name": "auth", "mountPath": scripts.AUTH_DIRECTORY, "readOnly": True},
        {"name": "tls", "mountPath": scripts.TLS_DIRECTORY, "readOnly": True},
        {"name": "socket", "mountPath": scripts.SOCKET_DIRECTORY},
    ]
