"""SessionBackend: where conversations live: a Redis (yours or managed) or files on a volume."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from aixgo_operator.api.base import ApiModel, Int32, Int64, RawObject, Rule
from aixgo_operator.api.constants import KIND_SESSION_BACKEND, PLURAL_SESSION_BACKENDS
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
    condition_column,
)
from aixgo_operator.api.references import (
    SAME_NAMESPACE_ONLY,
    CABundleReference,
    Consent,
    KeyReference,
    LocalReference,
    ObjectReference,
)


class ManagedRedisSpec(ApiModel):
    """A Redis that the operator runs: one pod with a volume and an append-only file."""

    storage: str = "1Gi"
    """Size of the volume."""
    storage_class_name: Annotated[str, Field(max_length=253)] | None = None
    """StorageClass of the volume. Default: the cluster's."""
    append_fsync: Literal["always", "everysec"] = "everysec"
    """When the append-only file is forced to the disk."""
    max_memory: str | None = None
    """Memory at which Redis refuses writes, such as 200mb. Sessions are never evicted."""
    resources: RawObject | None = None
    """Resources of the container (core/v1 ResourceRequirements)."""


class SentinelSpec(ApiModel):
    """A Redis behind Sentinel."""

    master_name: Annotated[str, Field(min_length=1)]
    """Name of the master in Sentinel."""


class RedisAuthSpec(ApiModel):
    """Credentials of an ACL user."""

    username_secret_ref: KeyReference | None = None
    """Key of a Secret with the user name. Default: Redis' default user."""
    password_secret_ref: KeyReference | None = None
    """Key of a Secret with the password."""


class RedisTLSSpec(ApiModel):
    """Transport security to Redis."""

    mode: Literal["Required", "Disabled"] = "Required"
    """Whether connections use TLS."""
    ca_bundle_ref: CABundleReference | None = None
    """CA certificates to trust. Default: those of the image."""
    certificate_ref: LocalReference | None = None
    """Secret with a client certificate (tls.crt, tls.key)."""
    server_name: Annotated[str, Field(max_length=253)] | None = None
    """Name that the server's certificate must have. Default: the host of the address."""


def _sources(redis: RedisSpec) -> int:
    return sum(redis.has(source) for source in ("addresses", "replication_ref", "managed"))


class RedisSpec(ApiModel):
    """A Redis as session backend."""

    mode: Literal["Standalone", "Sentinel", "Cluster"] = "Standalone"
    """How the Redis is set up."""
    addresses: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=261)], ...], Field(min_length=1, max_length=32)
    ] = ()
    """host:port of the server, of the Sentinels, or of some nodes of the cluster."""
    replication_ref: ObjectReference | None = None
    """A replication that a Redis operator runs."""
    managed: ManagedRedisSpec | None = None
    """A Redis that this operator runs."""
    sentinel: SentinelSpec | None = None
    """Settings of Sentinel mode."""
    database: Annotated[Int32, Field(ge=0, le=15)] = 0
    """Number of the database."""
    auth: RedisAuthSpec | None = None
    """Credentials. A managed Redis has its own."""
    tls: RedisTLSSpec | None = None
    """Transport security. A managed Redis always has its own."""

    rules = (
        Rule(
            "((has(self.addresses) ? 1 : 0) + (has(self.replicationRef) ? 1 : 0)"
            " + (has(self.managed) ? 1 : 0)) == 1",
            "exactly one of addresses, replicationRef or managed is required",
            lambda self: _sources(self) == 1,
        ),
        Rule(
            "self.mode != 'Sentinel' || has(self.sentinel) || has(self.replicationRef)",
            "sentinel.masterName is required in Sentinel mode",
            lambda self: self.mode != "Sentinel" or self.has("sentinel") or self.has("replication_ref"),
        ),
        Rule(
            "self.mode != 'Cluster' || self.database == 0",
            "Redis Cluster only has database 0",
            lambda self: self.mode != "Cluster" or self.database == 0,
        ),
        Rule(
            "!has(self.managed) || self.mode == 'Standalone'",
            "managed Redis is Standalone; use addresses or replicationRef for Sentinel and Cluster",
            lambda self: not self.has("managed") or self.mode == "Standalone",
        ),
    )


class FileSpec(ApiModel):
    """Files on a volume as session backend, for runtimes with one replica."""

    storage: str = "1Gi"
    """Size of the volume."""
    storage_class_name: Annotated[str, Field(max_length=253)] | None = None
    """StorageClass of the volume. Default: the cluster's."""
    durability: Literal["fsync", "os"] = "fsync"
    """When an append counts as kept: on the disk, or with the operating system."""


class SessionBackendSpec(ApiModel):
    """What is wanted of a SessionBackend."""

    type: Literal["Redis", "File"]
    """What keeps the sessions. Cannot be changed."""
    redis: RedisSpec | None = None
    """A Redis, when type is Redis."""
    file: FileSpec | None = None
    """Files on a volume, when type is File."""
    key_prefix: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9:_.{}-]+$")] = (
        "aixgo:sessions:"
    )
    """Start of every key; the namespace of the consumer follows it. Cannot be changed."""
    default_ttl_seconds: Annotated[Int64, Field(ge=0)] = Field(default=0, alias="defaultTTLSeconds")
    """Sliding life of sessions whose agent sets none. 0: for ever."""
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """What becomes of the sessions when this object is deleted."""
    allowed_consumers: Consent = SAME_NAMESPACE_ONLY
    """Namespaces whose runtimes may use the backend."""

    rules = (
        Rule(
            "has(self.redis) == (self.type == 'Redis')",
            "redis is required when type is Redis and only allowed there",
            lambda self: self.has("redis") == (self.type == "Redis"),
        ),
        Rule(
            "!has(self.file) || self.type == 'File'",
            "file is only allowed when type is File",
            lambda self: not self.has("file") or self.type == "File",
        ),
        Rule("self.type == oldSelf.type", "type is immutable"),
        Rule(
            "self.keyPrefix == oldSelf.keyPrefix",
            "keyPrefix is immutable: changing it would orphan every session",
        ),
    )


class SessionBackendStatus(Status):
    """What the operator sees of a SessionBackend."""

    server_version: str | None = None
    """Version of the Redis server."""
    address: str | None = None
    """Where the backend is: host:port."""
    consumers: Int32 | None = None
    """Number of runtimes that use the backend."""
    consumer_names: Annotated[tuple[str, ...], Field(max_length=64)] = ()
    """Runtimes that use the backend: namespace/name, the first 64 of them."""


class SessionBackend(CustomResource):
    """Where conversations live: a Redis, yours or managed, or files on a volume."""

    resource: ClassVar[ResourceInfo] = ResourceInfo(
        kind=KIND_SESSION_BACKEND,
        plural=PLURAL_SESSION_BACKENDS,
        short_name="sbe",
        status=SessionBackendStatus,
        columns=(
            PrinterColumn("Type", "string", ".spec.type"),
            READY_COLUMN,
            STATUS_COLUMN,
            condition_column("Durable"),
            PrinterColumn("Consumers", "integer", ".status.consumers"),
            AGE_COLUMN,
            REASON_COLUMN,
            MESSAGE_COLUMN,
        ),
    )

    kind: Literal["SessionBackend"] = KIND_SESSION_BACKEND
    spec: SessionBackendSpec
