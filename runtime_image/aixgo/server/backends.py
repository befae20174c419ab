"""Session backends out of their configuration. A Redis library is imported only when Redis is configured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from aixgo.contract import TLS_CA, TLS_CERT, TLS_KEY

if TYPE_CHECKING:
    from aixgo.contract import RedisSessionConfig, RuntimePaths, SecretFile, SessionBackendConfig
    from aixgo.server.secret_files import SecretFiles
    from aixgo.session import FileBackend, RedisBackend, RedisTLS

    AnyBackend: TypeAlias = FileBackend | RedisBackend


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to log in at the backend."""

    username: str = ""
    password: str = ""

    def __repr__(self) -> str:  # the password must not reach a log
        return f"Credentials(username={self.username!r})"


def session_secrets(config: SessionBackendConfig | None) -> list[SecretFile]:
    """Return the secret files that the backend needs."""
    if config is None or config.redis is None:
        return []
    return [
        reference for reference in (config.redis.username, config.redis.password) if reference is not None
    ]


def read_credentials(config: SessionBackendConfig, secrets: SecretFiles) -> Credentials:
    """Return the present credentials of the backend.

    Raises:
        AgentLoadError: a secret is not available.
    """
    redis = config.redis
    if redis is None:
        return Credentials()
    return Credentials(
        username=secrets.read(redis.username).strip() if redis.username is not None else "",
        password=secrets.read(redis.password).strip() if redis.password is not None else "",
    )


def open_backend(config: SessionBackendConfig, paths: RuntimePaths, credentials: Credentials) -> AnyBackend:
    """Return the backend that ``config`` describes. Nothing is connected yet; ``ping`` tells whether it
    answers.

    Raises:
        ValueError: an address or a setting is none.
    """
    if config.redis is not None and config.type == "Redis":
        return _redis(config, config.redis, paths, credentials)
    from aixgo.session import FileBackend

    durability = config.file.durability if config.file is not None else "fsync"
    return FileBackend(paths.sessions, durability=durability, ttl=config.default_ttl_seconds)


def _redis(
    config: SessionBackendConfig, redis: RedisSessionConfig, paths: RuntimePaths, credentials: Credentials
) -> RedisBackend:
    from aixgo.session import RedisBackend, RedisOptions

    options = RedisOptions(
        username=credentials.username or None,
        password=credentials.password or None,
        db=redis.database,
        key_prefix=config.key_prefix,
        ttl=config.default_ttl_seconds,
        tls=_redis_tls(redis, paths),
        sentinel_master=redis.sentinel_master if redis.mode == "Sentinel" else None,
        cluster=redis.mode == "Cluster",
    )
    return RedisBackend(list(redis.addresses), options)


def _redis_tls(redis: RedisSessionConfig, paths: RuntimePaths) -> RedisTLS | None:
    if not redis.tls:
        return None
    from aixgo.session import RedisTLS

    # The files are read for every new connection; a replaced CA or client certificate needs nothing else.
    files = paths.session_tls
    return RedisTLS(
        ca_file=files / TLS_CA,
        cert_file=files / TLS_CERT if redis.client_certificate else None,
        key_file=files / TLS_KEY if redis.client_certificate else None,
        server_name=redis.server_name,
    )
