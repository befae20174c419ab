"""What is wanted, with no reference left to look up: the input of rendering and of the status."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aixgo.contract import AgentConfig, RuntimeConfig
    from aixgo_operator.api.v1alpha1 import Agent, AgentRuntime, SessionBackend
    from aixgo_operator.domain.problem import Problem


@dataclass(frozen=True, slots=True, order=True)
class SecretKey:
    """One key of a Secret."""

    namespace: str
    name: str
    key: str


@dataclass(frozen=True, slots=True)
class SecretCopy:
    """A Secret that the operator keeps beside the runtime because a pod cannot mount from elsewhere."""

    name: str
    #: Key in the copy -> where its value comes from. CA bundles may come from a ConfigMap.
    entries: Mapping[str, SecretKey]
    config_map_entries: Mapping[str, SecretKey] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileSource:
    """Files of a projected volume, from a Secret or ConfigMap of the pod's namespace."""

    kind: Literal["Secret", "ConfigMap"]
    name: str
    #: Key -> path inside the volume.
    items: Mapping[str, str]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class ResolvedAgent:
    """One Agent as its runtime should serve it, or why it should not."""

    agent: Agent
    #: None: the agent is left out of the configuration.
    config: AgentConfig | None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class ResolvedRuntime:
    """One AgentRuntime with everything that it refers to."""

    runtime: AgentRuntime
    #: With revisions filled in: what ``runtime.json`` holds.
    config: RuntimeConfig
    #: Every Agent of the snapshot, ordered by namespace and name.
    agents: tuple[ResolvedAgent, ...] = ()
    problems: tuple[Problem, ...] = ()
    #: True: the runtime itself cannot be rendered. Nothing is applied and nothing is pruned, so that
    #: what serves goes on serving; only the status is written.
    held: bool = False
    #: None: another manager scales the Deployment: ``replicas_managed_by``.
    replicas: int | None = 1
    replicas_managed_by: str | None = None
    #: Files of the TLS volume, of the secrets volume and of the session TLS volume.
    tls_files: tuple[FileSource, ...] = ()
    secret_files: tuple[FileSource, ...] = ()
    session_tls_files: tuple[FileSource, ...] = ()
    #: Claim of a File backend.
    sessions_claim: str | None = None
    #: Secrets to copy into the runtime's namespace (``render.secrets.render_secret_copies``).
    secret_copies: tuple[SecretCopy, ...] = ()
    #: Namespaces whose callers the NetworkPolicy lets in. None: every namespace.
    caller_namespaces: tuple[str, ...] | None = ()
    #: Digest of the serving certificate. Only set (by the reconciler, ``dataclasses.replace``) for the
    #: strategy RollingRestart, where a new certificate is a reason for a rollout.
    certificate_digest: str | None = None


@dataclass(frozen=True, slots=True)
class RedisUser:
    """An ACL user of a managed Redis. Passwords live in Secret ``<backend>-redis-auth``."""

    username: str
    #: Keys of name and password in that Secret.
    username_key: str
    password_key: str
    #: The user reaches only keys that begin with this. None: the operator's own user, all keys.
    key_prefix: str | None


@dataclass(frozen=True, slots=True)
class RedisAccess:
    """How the operator itself reaches a Redis (probe, purge). None of the keys has to exist."""

    mode: Literal["Standalone", "Sentinel", "Cluster"]
    #: ``host:port``, of the Sentinels in Sentinel mode.
    addresses: tuple[str, ...]
    database: int = 0
    sentinel_master: str | None = None
    #: A literal user name, or the key that holds it.
    username: str | SecretKey | None = None
    password: SecretKey | None = None
    tls: bool = True
    #: CA bundle; ``ca_kind`` says where to look. None: the system's.
    ca: SecretKey | None = None
    ca_kind: Literal["Secret", "ConfigMap"] = "Secret"
    #: Secret (namespace, name) with tls.crt and tls.key, if a client certificate is wanted.
    client_certificate: tuple[str, str] | None = None
    server_name: str | None = None


@dataclass(frozen=True, slots=True)
class ResolvedBackend:
    """One SessionBackend with everything that it refers to."""

    backend: SessionBackend
    problems: tuple[Problem, ...] = ()
    #: True: nothing is applied and nothing is pruned.
    held: bool = False
    #: None for a File backend, or while the address is not known.
    access: RedisAccess | None = None
    #: Users of a managed Redis: for the backend's namespace, for other consumers', for the operator.
    users: tuple[RedisUser, ...] = ()
    #: DNS names for the certificate of a managed Redis.
    dns_names: tuple[str, ...] = ()
    #: Allowed consumers, ordered by namespace and name.
    consumers: tuple[AgentRuntime, ...] = ()
    #: ``host:port`` for the status; None for a File backend.
    address: str | None = None
