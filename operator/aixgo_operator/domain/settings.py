"""The operator's settings: a file that the chart writes, read once at start."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from aixgo.version import version


class OperatorSettings(BaseModel):
    """Settings of one installation. ``OperatorSettings.model_validate(yaml)`` takes camelCase keys.

    An unknown key is an error: a mistyped setting must not be silently without effect. Raises
    ``pydantic.ValidationError``.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    #: Namespace of the operator's pods, its Lease and the Secret of the certificate authority.
    operator_namespace: str = "aixgo-system"
    cluster_domain: str = "cluster.local"
    #: Trust domain of the SPIFFE ids in certificates.
    trust_domain: str = "cluster.local"

    #: Image of runtimes whose spec names none.
    runtime_image: str = "ghcr.io/aixgo/aixgo-runtime:0.1.0"
    #: Image of managed Redis; it must have ``redis-server``, ``redis-cli`` and ``sh``.
    redis_image: str = "docker.io/library/redis:7.4"
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()

    #: Namespaces to work in. Empty: all of them.
    watch_namespaces: tuple[str, ...] = ()
    #: Namespaces, beside the operator's own, that may reach the pods' admin port (metrics).
    monitoring_namespaces: tuple[str, ...] = ()

    #: Life of the certificate authority; 10 years.
    ca_duration_seconds: int = Field(default=10 * 365 * 86_400, ge=86_400)
    #: Shortest time of each step when the authority is changed, for clients that cannot be asked whether they
    #: have read their new Secret; 8 hours, the third of a leaf's life that is left when it is renewed.
    ca_rotation_overlap_seconds: int = Field(default=8 * 3600, ge=0)
    #: Life of the certificates that the operator issues for managed Redis servers.
    redis_certificate_duration_seconds: int = Field(default=86_400, ge=600)

    #: Time between two looks at a runtime's pods while they are not as wanted, and while they are.
    probe_interval_seconds: float = Field(default=1.0, gt=0)
    steady_probe_interval_seconds: float = Field(default=15.0, gt=0)
    #: Longest time to wait for one answer of a pod or of Redis.
    probe_timeout_seconds: float = Field(default=2.0, gt=0)
    #: Time between two looks at a Redis.
    backend_probe_interval_seconds: float = Field(default=15.0, gt=0)
    #: Time after which every object is looked at again although nothing was seen to happen.
    resync_seconds: float = Field(default=600.0, gt=0)

    #: Version that stands in the label ``app.kubernetes.io/version``.
    operator_version: str = Field(default_factory=version)
