"""AgentRuntime: a set of gRPC server pods that agents attach to."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from aixgo_operator.api.base import (
    ATOMIC,
    ApiModel,
    Int32,
    IntOrString,
    ListMap,
    Name,
    RawEnvVar,
    RawObject,
    RawVolume,
    RawVolumeMount,
    Rule,
)
from aixgo_operator.api.constants import KIND_AGENT_RUNTIME, PLURAL_AGENT_RUNTIMES
from aixgo_operator.api.meta import (
    AGE_COLUMN,
    MESSAGE_COLUMN,
    READY_COLUMN,
    REASON_COLUMN,
    STATUS_COLUMN,
    CustomResource,
    PrinterColumn,
    ResourceInfo,
    Status,
    Timestamp,
)
from aixgo_operator.api.references import (
    SAME_NAMESPACE_ONLY,
    CABundleReference,
    Consent,
    LocalReference,
    ObjectReference,
)


class GrpcSpec(ApiModel):
    """The gRPC listener of the pods."""

    port: Annotated[Int32, Field(ge=1024, le=65535)] = 50051
    """Port that the pods listen on."""
    max_connection_age_seconds: Annotated[Int32, Field(ge=0)] = 600
    """Age at which a connection is closed after its calls, so that clients spread over the pods. 0: never."""
    max_message_bytes: Annotated[Int32, Field(ge=1024)] = 16 * 1024 * 1024
    """Largest message in either direction."""


class IssuerReference(ApiModel):
    """A cert-manager issuer."""

    group: str = "cert-manager.io"
    """API group of the issuer."""
    kind: Literal["Issuer", "ClusterIssuer"] = "Issuer"
    """Kind of the issuer."""
    name: Name
    """Name of the issuer."""


class ManagedCertificateSpec(ApiModel):
    """Certificates from the certificate authority of the installation."""

    duration_seconds: Annotated[Int32, Field(ge=600)] = 86400
    """Life of a certificate. It is renewed after two thirds of it."""


class RotationSpec(ApiModel):
    """How a new certificate gets into use."""

    strategy: Literal["Reload", "RollingRestart"] = "Reload"
    """Reload: the pods read the new files. RollingRestart: the pods are replaced."""
    reload_timeout_seconds: Annotated[Int32, Field(ge=5)] = 180
    """How long the pods may take to serve a new certificate before it counts as a failure."""
    expiry_warning_seconds: Annotated[Int32, Field(ge=0)] = 604800
    """How long before its expiry a certificate that was not renewed is reported."""


def _sources(tls: TLSSpec) -> int:
    return sum(tls.has(source) for source in ("certificate_ref", "issuer_ref", "managed"))


class TLSSpec(ApiModel):
    """Transport security between callers and agents."""

    mode: Literal["Mutual", "External", "Disabled"] = "Mutual"
    """Mutual: the pods do mutual TLS. External: a service mesh does. Disabled: plaintext."""
    certificate_ref: LocalReference | None = None
    """Secret with tls.crt, tls.key and ca.crt."""
    issuer_ref: IssuerReference | None = None
    """cert-manager issuer to get the certificate from."""
    managed: ManagedCertificateSpec | None = None
    """Certificates from the certificate authority of the installation."""
    ca_bundle_ref: CABundleReference | None = None
    """CA certificates to trust instead of the ca.crt of certificateRef."""
    rotation: RotationSpec = RotationSpec()
    """How a new certificate gets into use."""

    rules = (
        Rule(
            "self.mode != 'Mutual' || ((has(self.certificateRef) ? 1 : 0) + (has(self.issuerRef) ? 1 : 0)"
            " + (has(self.managed) ? 1 : 0)) == 1",
            "exactly one of certificateRef, issuerRef or managed is required when mode is Mutual",
            lambda self: self.mode != "Mutual" or _sources(self) == 1,
        ),
        Rule(
            "self.mode == 'Mutual' || ((has(self.certificateRef) ? 1 : 0) + (has(self.issuerRef) ? 1 : 0)"
            " + (has(self.managed) ? 1 : 0)) == 0",
            "no certificate source may be set when mode is External or Disabled",
            lambda self: self.mode == "Mutual" or _sources(self) == 0,
        ),
        Rule(
            "!has(self.caBundleRef) || has(self.certificateRef)",
            "caBundleRef only applies to certificateRef",
            lambda self: not self.has("ca_bundle_ref") or self.has("certificate_ref"),
        ),
    )


class ClientSpec(ApiModel):
    """A caller that is no runtime itself; its certificate goes into Secret <runtime>-client-<name>."""

    name: Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?$")]
    """Name of the caller."""


class UpdateStrategySpec(ApiModel):
    """How a change replaces pods."""

    max_unavailable: IntOrString = 0
    """Replicas that may be missing during a change: a count or a percentage."""
    max_surge: IntOrString = 1
    """Replicas that may be added during a change: a count or a percentage."""
    progress_deadline_seconds: Annotated[Int32, Field(ge=10)] = 600
    """Time without progress after which a change counts as failed. The old pods go on serving."""
    drain_timeout_seconds: Annotated[Int32, Field(ge=0, le=3600)] = 120
    """How long a pod that goes away may take to finish its calls."""


class DisruptionBudgetSpec(ApiModel):
    """How many replicas a voluntary disruption, such as a node drain, may take."""

    min_available: IntOrString | None = None
    """Replicas that must stay: a count or a percentage."""
    max_unavailable: IntOrString | None = None
    """Replicas that may be missing: a count or a percentage."""

    rules = (
        Rule(
            "has(self.minAvailable) != has(self.maxUnavailable)",
            "set exactly one of minAvailable or maxUnavailable",
            lambda self: self.has("min_available") != self.has("max_unavailable"),
        ),
    )


class AutoscalingSpec(ApiModel):
    """Scaling by CPU use. The operator never writes replicas while this is set."""

    min_replicas: Annotated[Int32, Field(ge=1)] = 1
    """Fewest replicas."""
    max_replicas: Annotated[Int32, Field(ge=1)]
    """Most replicas."""
    target_cpu_utilization_percentage: Annotated[Int32, Field(ge=1, le=100)] = Field(
        default=80, alias="targetCPUUtilizationPercentage"
    )
    """Mean CPU use, in percent of the request, that scaling aims at."""

    rules = (
        Rule(
            "self.minReplicas <= self.maxReplicas",
            "minReplicas must not exceed maxReplicas",
            lambda self: self.min_replicas <= self.max_replicas,
        ),
    )


class NetworkPolicySpec(ApiModel):
    """Who keeps the NetworkPolicy of the pods."""

    management: Literal["Managed", "Unmanaged"] = "Managed"
    """Managed: the operator. Unmanaged: you; the operator makes none."""


class AgentRuntimeSpec(ApiModel):
    """What is wanted of an AgentRuntime."""

    image: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """Image of the pods. Default: the runtime image of the installation."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """When the image is pulled."""
    image_pull_secrets: Annotated[tuple[LocalReference, ...], Field(max_length=16), ListMap("name")] = ()
    """Secrets for pulling the image."""
    replicas: Annotated[Int32, Field(ge=0)] = 1
    """Number of pods."""
    operating_mode: Literal["Running", "Suspended"] = "Running"
    """Suspended: no pods; every session is kept."""
    grpc: GrpcSpec = GrpcSpec()
    """The gRPC listener of the pods."""
    tls: TLSSpec = TLSSpec(mode="Mutual", managed=ManagedCertificateSpec())
    """Transport security between callers and agents."""
    session_backend_ref: ObjectReference | None = None
    """SessionBackend that keeps the conversations."""
    allowed_agents: Consent = SAME_NAMESPACE_ONLY
    """Namespaces whose Agents may attach."""
    max_concurrent_calls: Annotated[Int32, Field(ge=0)] = 0
    """Calls that a pod runs at once; more are refused with RESOURCE_EXHAUSTED. 0: no limit."""
    clients: Annotated[tuple[ClientSpec, ...], Field(max_length=32), ListMap("name")] = ()
    """Callers that are no runtimes themselves, such as people, CI and gateways."""
    update_strategy: UpdateStrategySpec = UpdateStrategySpec()
    """How a change replaces pods."""
    disruption_budget: DisruptionBudgetSpec | None = None
    """How many replicas a voluntary disruption may take."""
    autoscaling: AutoscalingSpec | None = None
    """Scaling by CPU use."""
    network_policy: NetworkPolicySpec = NetworkPolicySpec(management="Managed")
    """Who keeps the NetworkPolicy of the pods."""
    env: Annotated[tuple[RawEnvVar, ...], Field(max_length=256), ListMap("name")] = ()
    """Environment of the container (core/v1 EnvVar). Not for secrets: they belong into Secret references."""
    resources: RawObject | None = None
    """Resources of the container (core/v1 ResourceRequirements)."""
    service_account_name: Annotated[str, Field(max_length=253)] | None = None
    """ServiceAccount of the pods. Default: one of their own, without a mounted token."""
    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels of the nodes that the pods may run on."""
    tolerations: Annotated[tuple[RawObject, ...], Field(max_length=64)] = ()
    """Tolerations of the pods (core/v1 Toleration)."""
    affinity: RawObject | None = None
    """Affinity of the pods (core/v1 Affinity)."""
    topology_spread_constraints: Annotated[tuple[RawObject, ...], Field(max_length=16)] = ()
    """Spread of the pods (core/v1 TopologySpreadConstraint). Default: over zones and hosts."""
    priority_class_name: Annotated[str, Field(max_length=253)] | None = None
    """PriorityClass of the pods."""
    volumes: Annotated[tuple[RawVolume, ...], Field(max_length=64), ListMap("name")] = ()
    """Further volumes of the pods (core/v1 Volume)."""
    volume_mounts: Annotated[tuple[RawVolumeMount, ...], Field(max_length=64), ListMap("mountPath")] = ()
    """Further mounts of the container (core/v1 VolumeMount)."""
    pod_labels: dict[str, str] = Field(default_factory=dict)
    """Further labels of the pods."""
    pod_annotations: dict[str, str] = Field(default_factory=dict)
    """Further annotations of the pods."""

    rules = (
        Rule(
            "!has(self.clients) || has(self.tls.managed)",
            "clients need managed certificates",
            lambda self: not self.has("clients") or self.tls.has("managed"),
        ),
    )


class RevisionStatus(ApiModel):
    """Revisions of the configuration."""

    model_config = ConfigDict(json_schema_extra=ATOMIC)

    desired: str | None = None
    """Revision that the operator last wrote."""
    current: str | None = None
    """Revision that every ready pod serves."""


class TLSStatus(ApiModel):
    """The certificate in use."""

    model_config = ConfigDict(json_schema_extra=ATOMIC)

    serial_number: str | None = None
    """Serial number, in hexadecimal."""
    sha256_fingerprint: str | None = None
    """SHA-256 of the certificate, in hexadecimal."""
    not_after: Timestamp | None = None
    """When it expires."""
    reloaded_replicas: Int32 | None = None
    """Replicas that serve it."""
    trust_bundle_phase: Literal["Stable", "Distributing", "Signing", "Pruning"] | None = None
    """Where a change of the certificate authority is."""


class AgentRuntimeStatus(Status):
    """What the operator sees of an AgentRuntime."""

    replicas: Int32 | None = None
    """Pods that exist."""
    ready_replicas: Int32 | None = None
    """Pods that serve."""
    updated_replicas: Int32 | None = None
    """Pods of the newest revision."""
    selector: str | None = None
    """Label selector of the pods, for autoscalers."""
    address: str | None = None
    """Where the runtime is called: host:port."""
    attached_agents: Int32 | None = None
    """Agents that are attached."""
    revision: RevisionStatus | None = None
    """Revisions of the configuration."""
    tls: TLSStatus | None = None
    """The certificate in use."""


class AgentRuntime(CustomResource):
    """A set of gRPC server pods that agents attach to."""

    resource: ClassVar[ResourceInfo] = ResourceInfo(
        kind=KIND_AGENT_RUNTIME,
        plural=PLURAL_AGENT_RUNTIMES,
        short_name="agrt",
        status=AgentRuntimeStatus,
        scalable=True,
        columns=(
            READY_COLUMN,
            STATUS_COLUMN,
            PrinterColumn("Replicas", "integer", ".status.readyReplicas"),
            PrinterColumn("Agents", "integer", ".status.attachedAgents"),
            PrinterColumn("Sessions", "string", ".spec.sessionBackendRef.name"),
            PrinterColumn("Cert-Expires", "string", ".status.tls.notAfter"),
            AGE_COLUMN,
            REASON_COLUMN,
            PrinterColumn("Image", "string", ".spec.image", priority=1),
            PrinterColumn("Address", "string", ".status.address", priority=1),
            MESSAGE_COLUMN,
        ),
    )

    kind: Literal["AgentRuntime"] = KIND_AGENT_RUNTIME
    spec: AgentRuntimeSpec
