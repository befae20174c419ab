"""Where the Redis of a SessionBackend is, and how the operator itself gets in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from aixgo_operator.api.constants import TLS_CA_KEY, Reason
from aixgo_operator.domain import naming
from aixgo_operator.domain.lookup import refused, unresolved
from aixgo_operator.domain.redis_users import OPERATOR_PASSWORD_KEY, OPERATOR_USERNAME_KEY
from aixgo_operator.domain.references import replication_key
from aixgo_operator.domain.resolved import RedisAccess, SecretKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aixgo_operator.api.v1alpha1 import RedisSpec, SessionBackend
    from aixgo_operator.domain.problem import Problem
    from aixgo_operator.domain.settings import OperatorSettings

REDIS_PORT: Final = 6379
#: A DNS name or an IPv4 address; nothing that would end an address early.
_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", re.IGNORECASE)
_MASTER_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,253}")


@dataclass(frozen=True, slots=True)
class Replication:
    """What was read of the RedisReplication that ``spec.redis.replicationRef`` names."""

    #: Its ``status.connectionInfo``, as it is stored; empty: it has none (yet), or does not exist.
    connection_info: Mapping[str, Any]
    #: The operator may not read it.
    forbidden: bool = False


@dataclass(frozen=True, slots=True)
class Located:
    """Where a Redis is."""

    mode: Literal["Standalone", "Sentinel", "Cluster"]
    #: ``host:port``, of the Sentinels in Sentinel mode.
    addresses: tuple[str, ...]
    sentinel_master: str | None = None


def locate(
    replication: Replication | None, backend: SessionBackend, redis: RedisSpec, settings: OperatorSettings
) -> Located | Problem:
    """Return where the Redis of ``backend`` is, or why nobody knows."""
    if redis.managed is not None:
        return Located("Standalone", (_managed_address(backend, settings),))
    master = None if redis.sentinel is None else redis.sentinel.master_name
    if redis.replication_ref is None:
        return Located(redis.mode, redis.addresses, master)
    if redis.mode == "Cluster":
        text = (
            "spec.redis.replicationRef leads to a master and its replicas: set mode to Standalone or Sentinel"
        )
        return refused(Reason.INVALID_SPEC, text)
    namespace, name = replication_key(backend) or ("", "")
    where = f"RedisReplication {namespace}/{name}"
    if replication is not None and replication.forbidden:
        text = f"the operator may not read {where}: set redisOperator.enabled in its chart"
        return unresolved(Reason.REDIS_REPLICATION_NOT_FOUND, text)
    info = {} if replication is None else replication.connection_info
    host, port = info.get("host"), _port(info.get("port"))
    master = info.get("masterName") or master
    if not isinstance(host, str) or not _HOST.fullmatch(host) or port is None:
        # Told alike whether or not it exists: it may be in another namespace.
        text = (
            f"{where} does not exist or has no status.connectionInfo with host and port yet:"
            " create it, or change spec.redis.replicationRef"
        )
        return unresolved(Reason.REDIS_REPLICATION_NOT_FOUND, text)
    if master is None and redis.mode == "Standalone":
        return Located("Standalone", (f"{host}:{port}",))
    if not isinstance(master, str) or not _MASTER_NAME.fullmatch(master):
        text = f"{where} names no master for its Sentinels: set spec.redis.sentinel, or mode to Standalone"
        return unresolved(Reason.REDIS_REPLICATION_NOT_FOUND, text)
    return Located("Sentinel", (f"{host}:{port}",), master)


def redis_access(backend: SessionBackend, redis: RedisSpec, located: Located) -> RedisAccess:
    """Return how the operator itself reaches the Redis of ``backend``."""
    namespace = backend.namespace
    if redis.managed is not None:
        auth = naming.redis_auth_secret(backend.name)
        return RedisAccess(
            mode=located.mode,
            addresses=located.addresses,
            database=redis.database,
            username=SecretKey(namespace, auth, OPERATOR_USERNAME_KEY),
            password=SecretKey(namespace, auth, OPERATOR_PASSWORD_KEY),
            ca=SecretKey(namespace, naming.redis_tls_secret(backend.name), TLS_CA_KEY),
        )
    auth_spec = redis.auth
    username = None if auth_spec is None else auth_spec.username_secret_ref
    password = None if auth_spec is None else auth_spec.password_secret_ref
    tls = redis.tls if redis.tls is not None and redis.tls.mode == "Required" else None
    bundle = None if tls is None else tls.ca_bundle_ref
    certificate = None if tls is None else tls.certificate_ref
    return RedisAccess(
        mode=located.mode,
        addresses=located.addresses,
        database=redis.database,
        sentinel_master=located.sentinel_master,
        username=None if username is None else SecretKey(namespace, username.name, username.key),
        password=None if password is None else SecretKey(namespace, password.name, password.key),
        tls=tls is not None,
        ca=None if bundle is None else SecretKey(namespace, bundle.name, bundle.key),
        ca_kind="Secret" if bundle is None else bundle.kind,
        client_certificate=None if certificate is None else (namespace, certificate.name),
        server_name=None if tls is None else tls.server_name,
    )


def _managed_address(backend: SessionBackend, settings: OperatorSettings) -> str:
    workload = naming.redis_workload(backend.name)
    return f"{naming.service_host(workload, backend.namespace, settings.cluster_domain)}:{REDIS_PORT}"


def _port(value: object) -> int | None:
    """Return a port that is a number, or text with one."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return int(text) if re.fullmatch(r"[0-9]{1,5}", text) and 0 < int(text) < 65536 else None
