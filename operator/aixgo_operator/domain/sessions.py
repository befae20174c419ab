"""The session backend: as a runtime uses it, and as the operator keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aixgo.contract import FileSessionConfig, RedisSessionConfig, SecretFile, SessionBackendConfig
from aixgo_operator.api.constants import TLS_CA_KEY, TLS_CERT_KEY, TLS_PRIVATE_KEY_KEY, ConditionType, Reason
from aixgo_operator.domain import naming
from aixgo_operator.domain.consent import allows
from aixgo_operator.domain.lookup import missing_bundle, missing_secret_keys, refused, unresolved
from aixgo_operator.domain.problem import Problem
from aixgo_operator.domain.redis_access import Located, locate, redis_access
from aixgo_operator.domain.redis_users import (
    PASSWORD_KEY,
    USERNAME_KEY,
    key_prefix,
    namespace_user,
    redis_users,
)
from aixgo_operator.domain.references import backend_key
from aixgo_operator.domain.resolved import (
    FileSource,
    RedisAccess,
    ResolvedBackend,
    SecretCopy,
    SecretKey,
)
from aixgo_operator.domain.validate import backend_spec_problems

if TYPE_CHECKING:
    from aixgo_operator.api.v1alpha1 import AgentRuntime, RedisSpec, SessionBackend
    from aixgo_operator.domain.settings import OperatorSettings
    from aixgo_operator.domain.snapshot import Snapshot

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SessionsResult:
    """What a runtime needs for its session backend."""

    config: SessionBackendConfig | None = None
    problems: tuple[Problem, ...] = ()
    #: The runtime must not be rendered: it would serve without the sessions that it should have.
    held: bool = False
    secret_files: tuple[FileSource, ...] = ()
    tls_files: tuple[FileSource, ...] = ()
    claim: str | None = None
    copies: tuple[SecretCopy, ...] = field(default=())


def resolve_sessions(snapshot: Snapshot, runtime: AgentRuntime, settings: OperatorSettings) -> SessionsResult:
    """Return how ``runtime`` reaches its session backend, or why it may not."""
    wanted = backend_key(runtime)
    if wanted is None:
        return SessionsResult()
    backend = snapshot.backend
    if backend is None or not allows(
        backend.spec.allowed_consumers, backend.namespace, runtime.namespace, snapshot.namespaces
    ):
        return SessionsResult(problems=(_not_there(runtime, wanted),), held=True)
    if backend.spec.redis is not None:
        return _redis(snapshot, runtime, backend, backend.spec.redis, settings)
    return _file(snapshot, runtime, backend)


def resolve_backend_of(
    snapshot: Snapshot, backend: SessionBackend, settings: OperatorSettings
) -> ResolvedBackend:
    """Return what ``backend`` should be, and its allowed consumers."""
    consumers = tuple(
        sorted(
            (
                runtime
                for runtime in snapshot.consumers
                if allows(
                    backend.spec.allowed_consumers,
                    backend.namespace,
                    runtime.namespace,
                    snapshot.namespaces,
                )
            ),
            key=lambda runtime: (runtime.namespace, runtime.name),
        )
    )
    conflicts = tuple(refused(Reason.NAME_CONFLICT, text) for text in snapshot.name_conflicts)
    redis = backend.spec.redis
    if redis is None:
        return ResolvedBackend(backend, conflicts, consumers=consumers)
    name = naming.redis_workload(backend.name)
    dns_names = (
        f"{name}.{backend.namespace}.svc",
        naming.service_host(name, backend.namespace, settings.cluster_domain),
    )
    if invalid := backend_spec_problems(backend):
        problems = (*invalid, *conflicts)
        return ResolvedBackend(backend, problems, held=True, consumers=consumers, dns_names=dns_names)
    located = locate(snapshot.replication, backend, redis, settings)
    if not isinstance(located, Located):
        return ResolvedBackend(backend, (located, *conflicts), held=True, consumers=consumers)
    access = redis_access(backend, redis, located)
    resolved = ResolvedBackend(
        backend,
        (*conflicts, *_backend_references(snapshot, backend, redis)),
        access=access,
        consumers=consumers,
        address=access.addresses[0],
    )
    if redis.managed is None:
        return resolved
    return replace(
        resolved,
        users=redis_users(
            backend.namespace, backend.spec.key_prefix, (runtime.namespace for runtime in consumers)
        ),
        dns_names=dns_names,
    )


def _not_there(runtime: AgentRuntime, wanted: tuple[str, str]) -> Problem:
    namespace, name = wanted
    if namespace == runtime.namespace:
        return unresolved(
            Reason.SESSION_BACKEND_NOT_FOUND,
            f"SessionBackend {namespace}/{name} not found: create it, or change spec.sessionBackendRef",
        )
    return unresolved(
        Reason.REF_NOT_PERMITTED,
        f"SessionBackend {namespace}/{name} does not exist or does not allow runtimes from namespace"
        f" {runtime.namespace}: ask its owner to set spec.allowedConsumers, or change spec.sessionBackendRef",
    )


def _backend_references(snapshot: Snapshot, backend: SessionBackend, redis: RedisSpec) -> tuple[Problem, ...]:
    """Return what is missing of the Secrets and ConfigMaps that the user named."""
    if redis.managed is not None:
        return ()
    namespace = backend.namespace
    found: list[Problem | None] = []
    if redis.auth is not None:
        for ref, where in (
            (redis.auth.username_secret_ref, "spec.redis.auth.usernameSecretRef"),
            (redis.auth.password_secret_ref, "spec.redis.auth.passwordSecretRef"),
        ):
            if ref is not None:
                found.append(missing_secret_keys(snapshot, namespace, ref.name, [ref.key], where))
    if redis.tls is not None and redis.tls.mode == "Required":
        if (bundle := redis.tls.ca_bundle_ref) is not None:
            where = "spec.redis.tls.caBundleRef"
            found.append(missing_bundle(snapshot, namespace, bundle.kind, bundle.name, bundle.key, where))
        if (certificate := redis.tls.certificate_ref) is not None:
            keys, where = (TLS_CERT_KEY, TLS_PRIVATE_KEY_KEY), "spec.redis.tls.certificateRef"
            found.append(missing_secret_keys(snapshot, namespace, certificate.name, keys, where))
    return tuple(problem for problem in found if problem is not None)


def _redis(
    snapshot: Snapshot,
    runtime: AgentRuntime,
    backend: SessionBackend,
    redis: RedisSpec,
    settings: OperatorSettings,
) -> SessionsResult:
    own = resolve_backend_of(snapshot, backend, settings)
    if own.held or own.access is None:
        return SessionsResult(problems=(_backend_not_ready(backend, "see its status"),), held=True)
    access = own.access
    if redis.managed is not None:
        user = namespace_user(runtime.namespace, backend.spec.key_prefix, backend.namespace)
        auth = naming.redis_auth_secret(backend.name)
        access = replace(
            access,
            username=SecretKey(backend.namespace, auth, user.username_key),
            password=SecretKey(backend.namespace, auth, user.password_key),
        )
        if not _generated(snapshot, access):
            problem = _backend_not_ready(backend, "its credentials are being set up")
            return SessionsResult(problems=(problem,), held=True)
    problems = tuple(
        problem
        if backend.namespace == runtime.namespace
        else replace(problem, message=f"SessionBackend {backend.namespace}/{backend.name} is incomplete")
        for problem in own.problems
        if problem.condition == ConditionType.RESOLVED_REFS
    )
    mounts = _Mounts(runtime, access)
    config = SessionBackendConfig(
        type="Redis",
        key_prefix=key_prefix(backend.spec.key_prefix, runtime.namespace),
        default_ttl_seconds=backend.spec.default_ttl_seconds,
        redis=RedisSessionConfig(
            mode=access.mode,
            addresses=access.addresses,
            database=access.database,
            sentinel_master=access.sentinel_master,
            username=mounts.credential(access.username, USERNAME_KEY),
            password=mounts.credential(access.password, PASSWORD_KEY),
            tls=access.tls,
            client_certificate=access.client_certificate is not None,
            server_name=access.server_name,
        ),
    )
    return SessionsResult(
        config=config,
        problems=problems,
        secret_files=mounts.secret_files(),
        tls_files=mounts.tls_files(),
        copies=mounts.copies(),
    )


def _generated(snapshot: Snapshot, access: RedisAccess) -> bool:
    """Tell whether what the operator generates for a managed Redis is there."""
    for item in (access.username, access.password, access.ca):
        if isinstance(item, SecretKey):
            secret = snapshot.secrets.get((item.namespace, item.name))
            if secret is None or secret.get(item.key) is None:
                return False
    return True


def _backend_not_ready(backend: SessionBackend, why: str) -> Problem:
    return Problem(
        ConditionType.SESSION_BACKEND_READY,
        Reason.NOT_READY,
        f"SessionBackend {backend.namespace}/{backend.name} is not set up: {why}",
    )


class _Mounts:
    """Where a runtime finds credentials: in the backend's Secrets, or in a copy if that is elsewhere."""

    def __init__(self, runtime: AgentRuntime, access: RedisAccess) -> None:
        self._access = access
        self._namespace = runtime.namespace
        self._copy = naming.session_auth_secret(runtime.name)
        self._entries: dict[str, SecretKey] = {}
        self._config_map_entries: dict[str, SecretKey] = {}
        self._files: dict[str, dict[str, str]] = {}
        self._tls: list[FileSource] = []
        self._collect_tls()

    def credential(self, source: SecretKey | str | None, key: str) -> SecretFile | None:
        if not isinstance(source, SecretKey):
            return None
        name = source.name
        if source.namespace == self._namespace:
            key = source.key
        else:
            name = self._copy
            self._entries[key] = source
        self._files.setdefault(name, {})[key] = f"{name}/{key}"
        return SecretFile(secret=name, key=key)

    def secret_files(self) -> tuple[FileSource, ...]:
        return tuple(
            FileSource("Secret", name, dict(sorted(items.items())), optional=True)
            for name, items in sorted(self._files.items())
        )

    def tls_files(self) -> tuple[FileSource, ...]:
        return tuple(self._tls)

    def copies(self) -> tuple[SecretCopy, ...]:
        if not self._entries and not self._config_map_entries:
            return ()
        return (SecretCopy(self._copy, self._entries, self._config_map_entries),)

    def _collect_tls(self) -> None:
        ca, certificate = self._access.ca, self._access.client_certificate
        if ca is not None:
            if ca.namespace == self._namespace:
                self._tls.append(
                    FileSource(self._access.ca_kind, ca.name, {ca.key: TLS_CA_KEY}, optional=True)
                )
            else:
                self._copied_tls_file(TLS_CA_KEY, ca, self._access.ca_kind)
        if certificate is not None:
            namespace, name = certificate
            keys = (TLS_CERT_KEY, TLS_PRIVATE_KEY_KEY)
            if namespace == self._namespace:
                self._tls.append(FileSource("Secret", name, {key: key for key in keys}, optional=True))
            else:
                for key in keys:
                    self._copied_tls_file(key, SecretKey(namespace, name, key), "Secret")

    def _copied_tls_file(self, key: str, source: SecretKey, kind: str) -> None:
        (self._entries if kind == "Secret" else self._config_map_entries)[key] = source
        self._tls.append(FileSource("Secret", self._copy, {key: key}, optional=True))


def _file(snapshot: Snapshot, runtime: AgentRuntime, backend: SessionBackend) -> SessionsResult:
    problem = _not_shared(snapshot, runtime, backend)
    if problem is not None:
        return SessionsResult(problems=(problem,), held=True)
    file = backend.spec.file
    return SessionsResult(
        config=SessionBackendConfig(
            type="File",
            key_prefix=key_prefix(backend.spec.key_prefix, runtime.namespace),
            default_ttl_seconds=backend.spec.default_ttl_seconds,
            file=FileSessionConfig(durability="fsync" if file is None else file.durability),
        ),
        claim=naming.sessions_claim(backend.name),
    )


def _not_shared(snapshot: Snapshot, runtime: AgentRuntime, backend: SessionBackend) -> Problem | None:
    """Return why ``runtime`` cannot have the File backend: its files have one writer, in one namespace."""
    who = f"SessionBackend {backend.namespace}/{backend.name} of type File"
    advice = "or use a SessionBackend of type Redis"
    scaling = runtime.spec.autoscaling
    if runtime.spec.operating_mode == "Running" and (
        runtime.spec.replicas > 1 or (scaling is not None and scaling.max_replicas > 1)
    ):
        return refused(
            Reason.FILE_BACKEND_NOT_SHARED,
            f"{who} serves one replica only: set spec.replicas to 1 without autoscaling, {advice}",
        )
    if backend.namespace != runtime.namespace:
        return refused(
            Reason.FILE_BACKEND_NOT_SHARED,
            f"{who} serves runtimes of its own namespace only: use one here, {advice}",
        )
    others = [
        other
        for other in snapshot.consumers
        if other.namespace == runtime.namespace
        and other.spec.operating_mode == "Running"
        and _age(other) < _age(runtime)
    ]
    if others and runtime.spec.operating_mode == "Running":
        first = min(others, key=_age)
        return refused(
            Reason.FILE_BACKEND_NOT_SHARED,
            f"{who} is used by AgentRuntime {first.namespace}/{first.name}: give each its own, {advice}",
        )
    return None


def _age(runtime: AgentRuntime) -> tuple[datetime, str]:
    return (runtime.metadata.creation_timestamp or _NEVER, runtime.name)
