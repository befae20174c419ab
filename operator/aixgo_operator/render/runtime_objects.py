"""What surrounds the pods of a runtime: Services, identity, disruption budget, autoscaler, network policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aixgo_operator.api.constants import API_VERSION, KIND_AGENT_RUNTIME
from aixgo_operator.domain import labels, naming
from aixgo_operator.render.common import Manifest, manifest, pods_in, without_none
from aixgo_operator.render.runtime_pods import ADMIN_PORT, GRPC_PORT

if TYPE_CHECKING:
    from aixgo_operator.domain.resolved import ResolvedRuntime
    from aixgo_operator.domain.settings import OperatorSettings


def services(resolved: ResolvedRuntime, settings: OperatorSettings) -> list[Manifest]:
    """Return the Service for simple callers and the headless one, which balances calls over the pods."""
    runtime = resolved.runtime
    selector = labels.runtime_selector(runtime.name)
    grpc = {
        "name": GRPC_PORT,
        "port": resolved.config.grpc.port,
        "targetPort": GRPC_PORT,
        "protocol": "TCP",
        # What the port speaks, for service meshes and gateways.
        **({} if runtime.spec.tls.mode == "Mutual" else {"appProtocol": "kubernetes.io/h2c"}),
    }
    admin = {
        "name": ADMIN_PORT,
        "port": resolved.config.admin.port,
        "targetPort": ADMIN_PORT,
        "protocol": "TCP",
    }
    return [
        _object(
            "v1",
            "Service",
            naming.runtime_workload(runtime.name),
            resolved,
            settings,
            spec={"type": "ClusterIP", "selector": selector, "ports": [grpc]},
        ),
        _object(
            "v1",
            "Service",
            naming.runtime_pods_service(runtime.name),
            resolved,
            settings,
            spec={
                "clusterIP": "None",
                "selector": selector,
                "publishNotReadyAddresses": False,
                "ports": [grpc, admin],
            },
        ),
    ]


def service_account(resolved: ResolvedRuntime, settings: OperatorSettings) -> Manifest | None:
    """Return the pods' own ServiceAccount, unless the spec names another."""
    if resolved.runtime.spec.service_account_name:
        return None
    name = naming.runtime_workload(resolved.runtime.name)
    return _object("v1", "ServiceAccount", name, resolved, settings, automountServiceAccountToken=False)


def disruption_budget(resolved: ResolvedRuntime, settings: OperatorSettings) -> Manifest | None:
    """Return the PodDisruptionBudget: the spec's, or one pod at a time where there can be several."""
    spec = resolved.runtime.spec
    budget = spec.disruption_budget
    bounds: Manifest
    if budget is not None:
        bounds = without_none(
            {"minAvailable": budget.min_available, "maxUnavailable": budget.max_unavailable}
        )
    elif spec.replicas > 1 or (spec.autoscaling is not None and spec.autoscaling.max_replicas > 1):
        bounds = {"maxUnavailable": 1}
    else:
        return None
    return _object(
        "policy/v1",
        "PodDisruptionBudget",
        naming.runtime_workload(resolved.runtime.name),
        resolved,
        settings,
        spec={
            **bounds,
            "selector": {"matchLabels": labels.runtime_selector(resolved.runtime.name)},
            # A pod that does not serve anyway must not block the drain of its node.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    )


def autoscaler(resolved: ResolvedRuntime, settings: OperatorSettings) -> Manifest | None:
    """Return the HorizontalPodAutoscaler. It scales the AgentRuntime, and the operator follows."""
    runtime, scaling = resolved.runtime, resolved.runtime.spec.autoscaling
    # The autoscaler would pull a suspended runtime up to its minimum.
    if scaling is None or runtime.spec.operating_mode == "Suspended":
        return None
    return _object(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        naming.runtime_workload(runtime.name),
        resolved,
        settings,
        spec={
            "scaleTargetRef": {
                "apiVersion": API_VERSION,
                "kind": KIND_AGENT_RUNTIME,
                "name": runtime.name,
            },
            "minReplicas": scaling.min_replicas,
            "maxReplicas": scaling.max_replicas,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {
                        "name": "cpu",
                        "target": {
                            "type": "Utilization",
                            "averageUtilization": scaling.target_cpu_utilization_percentage,
                        },
                    },
                }
            ],
        },
    )


def network_policy(resolved: ResolvedRuntime, settings: OperatorSettings) -> Manifest | None:
    """Return the NetworkPolicy: callers reach the gRPC port, the operator and monitoring the admin port.

    Egress stays open: models, MCP servers and Redis can be anywhere. None when the spec says so, and in
    External mode, where the mesh decides and brings ports of its own.
    """
    runtime = resolved.runtime
    if runtime.spec.network_policy.management != "Managed" or runtime.spec.tls.mode == "External":
        return None
    grpc: Manifest = {"ports": [{"port": GRPC_PORT, "protocol": "TCP"}]}
    if resolved.caller_namespaces is not None:
        grpc["from"] = [pods_in(resolved.caller_namespaces)]
    admin = {
        "ports": [{"port": ADMIN_PORT, "protocol": "TCP"}],
        "from": [pods_in({settings.operator_namespace, *settings.monitoring_namespaces})],
    }
    return _object(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        naming.runtime_workload(runtime.name),
        resolved,
        settings,
        spec={
            "podSelector": {"matchLabels": labels.runtime_selector(runtime.name)},
            "policyTypes": ["Ingress"],
            "ingress": [grpc, admin],
        },
    )


def certificate(resolved: ResolvedRuntime, settings: OperatorSettings) -> Manifest | None:
    """Return the cert-manager Certificate for ``spec.tls.issuerRef``; it fills Secret ``<runtime>-tls``."""
    runtime = resolved.runtime
    issuer = runtime.spec.tls.issuer_ref
    if issuer is None:
        return None
    return _object(
        "cert-manager.io/v1",
        "Certificate",
        naming.runtime_tls_secret(runtime.name),
        resolved,
        settings,
        spec={
            "secretName": naming.runtime_tls_secret(runtime.name),
            "secretTemplate": {"labels": labels.runtime_labels(runtime.name)},
            "issuerRef": {"group": issuer.group, "kind": issuer.kind, "name": issuer.name},
            "dnsNames": list(
                naming.runtime_dns_names(runtime.name, runtime.namespace, settings.cluster_domain)
            ),
            "uris": [resolved.config.runtime.spiffe_id],
            "usages": ["digital signature", "key encipherment", "server auth", "client auth"],
            "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
        },
    )


def _object(
    api_version: str,
    kind: str,
    name: str,
    resolved: ResolvedRuntime,
    settings: OperatorSettings,
    **content: Any,
) -> Manifest:
    runtime = resolved.runtime
    own = labels.with_version(labels.runtime_labels(runtime.name), settings.operator_version)
    return manifest(api_version, kind, name, owner=runtime, labels=own, **content)
