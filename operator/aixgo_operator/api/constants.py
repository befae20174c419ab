"""Every name of the API that appears in an object: group, kinds, labels, annotations, reasons and so on."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

GROUP: Final = "aixgo.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = "aixgo.dev/v1alpha1"
CATEGORY: Final = "aixgo"

KIND_AGENT_RUNTIME: Final = "AgentRuntime"
KIND_AGENT: Final = "Agent"
KIND_SESSION_BACKEND: Final = "SessionBackend"
PLURAL_AGENT_RUNTIMES: Final = "agentruntimes"
PLURAL_AGENTS: Final = "agents"
PLURAL_SESSION_BACKENDS: Final = "sessionbackends"
#: Plural of every kind, as it stands in URLs and in RBAC rules.
PLURALS: Final = {
    KIND_AGENT_RUNTIME: PLURAL_AGENT_RUNTIMES,
    KIND_AGENT: PLURAL_AGENTS,
    KIND_SESSION_BACKEND: PLURAL_SESSION_BACKENDS,
}

#: The owner of fields in server-side apply. One per controller, never shared.
FIELD_MANAGER: Final = "aixgo-operator"
#: Name that Events carry as their reporting controller.
CONTROLLER_NAME: Final = "aixgo.dev/operator"

# Labels. Values are at most 63 characters: longer names are cut and hashed by domain.naming.
LABEL_NAME: Final = "app.kubernetes.io/name"
LABEL_INSTANCE: Final = "app.kubernetes.io/instance"
LABEL_COMPONENT: Final = "app.kubernetes.io/component"
LABEL_PART_OF: Final = "app.kubernetes.io/part-of"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABEL_VERSION: Final = "app.kubernetes.io/version"
LABEL_RUNTIME: Final = "aixgo.dev/runtime"
LABEL_SESSION_BACKEND: Final = "aixgo.dev/session-backend"
PART_OF: Final = "aixgo"
MANAGED_BY: Final = "aixgo-operator"

#: On the pod template: hash of what needs a restart (image, environment, resources, ports).
ANNOTATION_RESTART_HASH: Final = "aixgo.dev/restart-hash"
#: On a runtime's Deployment: the ``spec.replicas`` of the AgentRuntime that was wished last.
ANNOTATION_REPLICAS: Final = "aixgo.dev/replicas"
#: On a pod: written after one of its files changed, so that the kubelet refreshes its volumes at once. On a
#: runtime's Deployment: the state of the files before it, which all of its pods have mounted, or a later one.
ANNOTATION_SYNCED: Final = "aixgo.dev/synced"
#: On a SessionBackend: the value "true" releases a deletion that consumers hold back.
ANNOTATION_FORCE_DELETE: Final = "aixgo.dev/force-delete"
#: On a CRD: hash of the schema that it was generated with.
ANNOTATION_SCHEMA_HASH: Final = "aixgo.dev/schema-hash"
#: On every owned object: hash of what the operator last applied.
ANNOTATION_APPLIED_HASH: Final = "aixgo.dev/applied-hash"

#: The only finalizer of the product; on SessionBackends that have consumers or keys to purge.
FINALIZER_SESSION_PROTECTION: Final = "aixgo.dev/session-protection"

#: Secret of the installation's certificate authority, in the operator's namespace.
CA_SECRET_NAME: Final = "aixgo-ca"  # noqa: S105 - a name, no secret
CA_CERT_KEY: Final = "ca.crt"
CA_PRIVATE_KEY_KEY: Final = "ca.key"
#: Every CA certificate that peers have to trust at the moment, newest first.
CA_TRUST_BUNDLE_KEY: Final = "trust-bundle.crt"
#: On that Secret: a new value asks for a new authority; the last value that was obeyed.
ANNOTATION_ROTATE: Final = "aixgo.dev/rotate"
ANNOTATION_ROTATED: Final = "aixgo.dev/rotated"
#: What the work queue calls the installation's authority. It is no kind of the API.
KIND_AUTHORITY: Final = "CertificateAuthority"

#: Lease of the acting operator, in the operator's namespace. The chart grants rights to this name.
LEASE_NAME: Final = "aixgo-operator"

# Keys of a Secret with a serving certificate (type kubernetes.io/tls).
TLS_CERT_KEY: Final = "tls.crt"
TLS_PRIVATE_KEY_KEY: Final = "tls.key"
TLS_CA_KEY: Final = "ca.crt"


class ConditionType(StrEnum):
    """Types of ``status.conditions``. Reconciling and Stalled are kstatus' own: present only while true."""

    ACCEPTED = "Accepted"
    RESOLVED_REFS = "ResolvedRefs"
    CERTIFICATES_READY = "CertificatesReady"
    SESSION_BACKEND_READY = "SessionBackendReady"
    PROGRESSING = "Progressing"
    REACHABLE = "Reachable"
    DURABLE = "Durable"
    EVICTION_SAFE = "EvictionSafe"
    IN_USE = "InUse"
    LOADED = "Loaded"
    DEGRADED = "Degraded"
    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


class ConditionStatus(StrEnum):
    """The three values of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Reason(StrEnum):
    """Reasons of conditions. The comment names the condition that a group belongs to."""

    # Accepted
    ACCEPTED = "Accepted"
    INVALID_SPEC = "InvalidSpec"
    DUPLICATE_AGENT_NAME = "DuplicateAgentName"
    FILE_BACKEND_NOT_SHARED = "FileBackendNotShared"
    NAME_CONFLICT = "NameConflict"
    # ResolvedRefs
    RESOLVED = "Resolved"
    RUNTIME_NOT_FOUND = "RuntimeNotFound"
    AGENT_NOT_FOUND = "AgentNotFound"
    SESSION_BACKEND_NOT_FOUND = "SessionBackendNotFound"
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105 - a reason, no secret
    CONFIG_MAP_NOT_FOUND = "ConfigMapNotFound"
    KEY_NOT_FOUND = "KeyNotFound"
    REDIS_REPLICATION_NOT_FOUND = "RedisReplicationNotFound"
    REF_NOT_PERMITTED = "RefNotPermitted"
    INVALID_CERTIFICATE = "InvalidCertificate"
    ISSUER_NOT_AVAILABLE = "IssuerNotAvailable"
    # CertificatesReady
    SERVING = "Serving"
    NOT_REQUIRED = "NotRequired"
    NOT_ISSUED = "NotIssued"
    RELOAD_PENDING = "ReloadPending"
    RELOAD_TIMEOUT = "ReloadTimeout"
    EXPIRING_SOON = "ExpiringSoon"
    EXPIRED = "Expired"
    CHAIN_INVALID = "ChainInvalid"
    KEY_MISMATCH = "KeyMismatch"
    SAN_MISMATCH = "SANMismatch"
    # SessionBackendReady, Reachable
    CONNECTED = "Connected"
    NOT_CONFIGURED = "NotConfigured"
    NOT_READY = "NotReady"
    DIAL_FAILED = "DialFailed"
    TLS_HANDSHAKE_FAILED = "TLSHandshakeFailed"
    AUTH_FAILED = "AuthFailed"
    READ_ONLY_REPLICA = "ReadOnlyReplica"
    NOT_PROBED = "NotProbed"
    # Progressing
    ROLLING = "Rolling"
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
    ROLLOUT_COMPLETE = "RolloutComplete"
    # Durable, EvictionSafe
    UNKNOWN = "Unknown"
    NO_PERSISTENCE = "NoPersistence"
    SNAPSHOT_ONLY = "SnapshotOnly"
    AOF = "AOF"
    VOLUME = "Volume"
    ALL_KEYS_EVICTION = "AllKeysEviction"
    NO_EVICTION = "NoEviction"
    VOLATILE_ONLY = "VolatileOnly"
    # InUse
    NOT_USED = "NotUsed"
    HAS_CONSUMERS = "HasConsumers"
    DELETION_BLOCKED = "DeletionBlocked"
    # Loaded
    PENDING = "Pending"
    LOAD_FAILED = "LoadFailed"
    LOADED = "Loaded"
    # Degraded
    RECONCILE_ERROR = "ReconcileError"
    PARTIAL_OUTAGE = "PartialOutage"
    # Ready
    READY = "Ready"
    SUSPENDED = "Suspended"
    NO_READY_REPLICAS = "NoReadyReplicas"
