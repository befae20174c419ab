"""The Deployment of a runtime. Its pod template holds only what needs a restart; the rest is files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from aixgo.contract import RUNTIME_JSON, RuntimePaths
from aixgo_operator.api.constants import ANNOTATION_REPLICAS, ANNOTATION_RESTART_HASH
from aixgo_operator.domain import labels, naming
from aixgo_operator.domain.hashing import digest
from aixgo_operator.domain.validate import TEMPORARY_DIRECTORY, VOLUME_PREFIX
from aixgo_operator.render.common import (
    Manifest,
    container_security_context,
    manifest,
    pod_security_context,
    projected_volume,
    without_none,
)

if TYPE_CHECKING:
    from aixgo_operator.domain.resolved import ResolvedRuntime
    from aixgo_operator.domain.settings import OperatorSettings

CONTAINER: Final = "runtime"
GRPC_PORT: Final = "grpc"
ADMIN_PORT: Final = "admin"

#: Seconds between the end of a pod's endpoints and SIGTERM: proxies and clients have to learn of it first.
PRE_STOP_SECONDS: Final = 3
#: Seconds on top of the drain, for what follows it (flushing sessions and traces).
TERMINATION_MARGIN_SECONDS: Final = 10
#: Enough to be scheduled sensibly and for autoscaling to have a base; no limits that nobody asked for.
DEFAULT_RESOURCES: Final[Manifest] = {"requests": {"cpu": "100m", "memory": "192Mi"}}

#: Label that the Deployment controller puts on the pods of one revision.
_TEMPLATE_HASH: Final = "pod-template-hash"
_READABLE: Final = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE


def deployment(resolved: ResolvedRuntime, settings: OperatorSettings) -> Manifest:
    """Return the Deployment, whose template carries ``aixgo.dev/restart-hash``."""
    runtime, strategy = resolved.runtime, resolved.runtime.spec.update_strategy
    template = _template(resolved, settings)
    template["metadata"]["annotations"][ANNOTATION_RESTART_HASH] = _restart_hash(resolved, template)
    spec = without_none(
        {
            "replicas": resolved.replicas,
            "selector": {"matchLabels": labels.runtime_selector(runtime.name)},
            "strategy": _strategy(resolved),
            "progressDeadlineSeconds": strategy.progress_deadline_seconds,
            "revisionHistoryLimit": 3,
            "template": template,
        }
    )
    rendered = manifest(
        "apps/v1",
        "Deployment",
        naming.runtime_workload(runtime.name),
        owner=runtime,
        labels=labels.with_version(labels.runtime_labels(runtime.name), settings.operator_version),
        spec=spec,
    )
    rendered["metadata"]["annotations"] = {ANNOTATION_REPLICAS: str(runtime.spec.replicas)}
    return rendered


def config_map(resolved: ResolvedRuntime, settings: OperatorSettings) -> Manifest:
    """Return the ConfigMap with ``runtime.json``."""
    runtime = resolved.runtime
    data = resolved.config.document()
    return manifest(
        "v1",
        "ConfigMap",
        naming.runtime_config_map(runtime.name),
        owner=runtime,
        labels=labels.with_version(labels.runtime_labels(runtime.name), settings.operator_version),
        data={RUNTIME_JSON: orjson.dumps(data, option=_READABLE).decode()},
    )


def _strategy(resolved: ResolvedRuntime) -> Manifest:
    if resolved.sessions_claim is not None:
        # A File backend has one writer: the new pod cannot become ready while the old one holds the lock.
        return {"type": "Recreate"}
    strategy = resolved.runtime.spec.update_strategy
    return {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": strategy.max_unavailable, "maxSurge": strategy.max_surge},
    }


def _restart_hash(resolved: ResolvedRuntime, template: Manifest) -> str:
    """Return the hash of the template and of the parts of ``runtime.json`` that are read once, at start."""
    document = resolved.config.document()
    config = {part: document[part] for part in ("grpc", "admin", "tls")}
    return digest({"template": template, "config": config, "certificate": resolved.certificate_digest})


def _template(resolved: ResolvedRuntime, settings: OperatorSettings) -> Manifest:
    runtime = resolved.runtime
    spec = runtime.spec
    drain = spec.update_strategy.drain_timeout_seconds
    pull_secrets = {ref.name for ref in spec.image_pull_secrets} | set(settings.image_pull_secrets)
    spreads = not spec.topology_spread_constraints
    pod = without_none(
        {
            "serviceAccountName": spec.service_account_name or naming.runtime_workload(runtime.name),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": drain + PRE_STOP_SECONDS + TERMINATION_MARGIN_SECONDS,
            "securityContext": pod_security_context(),
            "imagePullSecrets": [{"name": name} for name in sorted(pull_secrets)],
            "nodeSelector": spec.node_selector,
            "tolerations": list(spec.tolerations),
            "affinity": (_host_preference(runtime.name) if spreads else {}) | (spec.affinity or {}) or None,
            "priorityClassName": spec.priority_class_name,
            "topologySpreadConstraints": (
                _spread(runtime.name) if spreads else list(spec.topology_spread_constraints)
            ),
            "containers": [_container(resolved, settings)],
            "volumes": [*_volumes(resolved), *spec.volumes],
        }
    )
    return {
        "metadata": {
            "labels": {**spec.pod_labels, **labels.runtime_labels(runtime.name)},
            "annotations": {
                **spec.pod_annotations,
                "kubectl.kubernetes.io/default-container": CONTAINER,
            },
        },
        "spec": pod,
    }


def _spread(runtime: str) -> list[Manifest]:
    """Spread over zones and hosts. Also with one replica: adding it later would restart that one."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": labels.runtime_selector(runtime)},
            # Pods of the revision that is going away, and nodes that take no pods, must not count.
            "matchLabelKeys": [_TEMPLATE_HASH],
            "nodeTaintsPolicy": "Honor",
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]


def _host_preference(runtime: str) -> Manifest:
    """Prefer hosts without pods of the runtime: a list of constraints is ignored on nodes that lack
    one of its labels, and many clusters have no zones.
    """
    term = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": labels.runtime_selector(runtime)},
        "matchLabelKeys": [_TEMPLATE_HASH],
    }
    preferred = [{"weight": 100, "podAffinityTerm": term}]
    return {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}


def _container(resolved: ResolvedRuntime, settings: OperatorSettings) -> Manifest:
    spec = resolved.runtime.spec
    env = [{"name": "HOME", "value": TEMPORARY_DIRECTORY}]
    given = {item["name"] for item in spec.env}
    return {
        "name": CONTAINER,
        "image": spec.image or settings.runtime_image,
        "imagePullPolicy": spec.image_pull_policy or settings.image_pull_policy,
        "args": ["serve"],
        "env": [*(item for item in env if item["name"] not in given), *spec.env],
        "ports": [
            {"name": GRPC_PORT, "containerPort": resolved.config.grpc.port, "protocol": "TCP"},
            {"name": ADMIN_PORT, "containerPort": resolved.config.admin.port, "protocol": "TCP"},
        ],
        "resources": spec.resources if spec.resources is not None else DEFAULT_RESOURCES,
        "securityContext": container_security_context(),
        "startupProbe": _probe("/health/live", period=1, timeout=2, failures=120),
        # Quick, so that a pod gets calls as soon as it can answer them, and none when it cannot.
        "readinessProbe": _probe("/health/ready", period=2, timeout=2, failures=2),
        "livenessProbe": _probe("/health/live", period=10, timeout=5, failures=6),
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
        # The reason of a refused configuration shows up in the status of the runtime.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [*_mounts(resolved), *spec.volume_mounts],
    }


def _probe(path: str, *, period: int, timeout: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": ADMIN_PORT},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
    }


def _volumes(resolved: ResolvedRuntime) -> list[Manifest]:
    volumes: list[Manifest] = [
        {
            "name": f"{VOLUME_PREFIX}config",
            "configMap": {"name": naming.runtime_config_map(resolved.runtime.name)},
        },
        {"name": f"{VOLUME_PREFIX}tmp", "emptyDir": {}},
    ]
    for name, sources in (
        ("tls", resolved.tls_files),
        ("secrets", resolved.secret_files),
        ("session-tls", resolved.session_tls_files),
    ):
        if sources:
            volumes.append(projected_volume(f"{VOLUME_PREFIX}{name}", sources))
    if resolved.sessions_claim is not None:
        claim = {"claimName": resolved.sessions_claim}
        volumes.append({"name": f"{VOLUME_PREFIX}sessions", "persistentVolumeClaim": claim})
    return volumes


def _mounts(resolved: ResolvedRuntime) -> list[Manifest]:
    paths = RuntimePaths.in_pod()
    mounts: list[tuple[str, Any, bool, bool]] = [
        ("config", paths.config, True, True),
        ("tmp", TEMPORARY_DIRECTORY, False, True),
        ("tls", paths.tls, True, bool(resolved.tls_files)),
        ("secrets", paths.secrets, True, bool(resolved.secret_files)),
        ("session-tls", paths.session_tls, True, bool(resolved.session_tls_files)),
        ("sessions", paths.sessions, False, resolved.sessions_claim is not None),
    ]
    return [
        {
            "name": f"{VOLUME_PREFIX}{name}",
            "mountPath": str(path),
            **({"readOnly": True} if read_only else {}),
        }
        for name, path, read_only, wanted in mounts
        if wanted
    ]
