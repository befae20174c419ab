"""How to reach a Redis. Importing this does not import ``redis``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from aixgo.session import validation

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    StrPath = str | os.PathLike[str]

DEFAULT_PREFIX: Final = "aixgo:sessions:"
DEFAULT_PORT: Final = 6379

#: Host and port.
Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class RedisTLS:
    """TLS to Redis. The files are read again for every new connection, so a rotation needs no restart."""

    #: The CAs that the server's certificate may come from. None: those of the system.
    ca_file: StrPath | None = None
    #: The client certificate and its key, if the server asks for one.
    cert_file: StrPath | None = None
    key_file: StrPath | None = None
    #: The name that must be in the server's certificate. None: the host that is dialled.
    server_name: str | None = None


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """Settings of a :class:`RedisBackend` (Go: RedisOptions). Times are in seconds."""

    #: ACL user. None: the user ``default``.
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    #: Every key begins with it, as it is.
    key_prefix: str = DEFAULT_PREFIX
    #: Sliding time to live of sessions that have none of their own. None or 0: none.
    ttl: float | None = None
    #: None or False: no TLS. True: TLS with the CAs of the system.
    tls: RedisTLS | bool | None = None
    #: Name of the master. The addresses are those of the sentinels.
    sentinel_master: str | None = None
    #: Credentials for the sentinels themselves.
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    #: Redis Cluster. The addresses are those of some of its nodes.
    cluster: bool = False
    dial_timeout: float = 5.0
    read_timeout: float = 5.0
    #: Most connections at once (Go: PoolSize).
    pool_size: int = 32
    #: How long a call goes on trying when the connection is lost or the server is failing over.
    retry_timeout: float = 5.0
    #: A change is acknowledged when so many replicas have it. A failover loses nothing when that is every
    #: replica that may become the master: Sentinel does not know exactly which one is ahead. Not with
    #: ``cluster``. The Redis user needs the right to WAIT.
    min_replicas: int = 0
    #: How long a turn stays alone after its process went away.
    lease_seconds: float = 10.0

    def __post_init__(self) -> None:
        validation.ttl_seconds(self.ttl)
        validation.not_negative("db", self.db)
        validation.not_negative("min_replicas", self.min_replicas)
        if self.cluster and self.sentinel_master:
            raise ValueError("a Redis is either behind Sentinel or a Cluster, not both")
        if self.cluster and self.db:
            raise ValueError("a Redis Cluster has only database 0")
        if self.cluster and self.min_replicas:
            raise ValueError("min_replicas is not supported with a Redis Cluster")
        for name in ("dial_timeout", "read_timeout", "lease_seconds", "pool_size"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive")


def parse_addresses(address: str | Sequence[str]) -> list[Address]:
    """Return the addresses of a text such as ``redis-0:6379,redis-1`` or of several texts.

    Raises:
        ValueError: there is none, or one is no address.
    """
    parts = address.split(",") if isinstance(address, str) else list(address)
    parts = [part.strip() for part in parts if part.strip()]
    if not parts:
        raise ValueError("redis address is required")
    return [_parse_address(part) for part in parts]


def parse_url(url: str) -> tuple[str, dict[str, object]]:
    """Return address and options of ``redis[s]://[user[:password]@]host[:port][/db]``.

    Raises:
        ValueError: it is no such URL. The text does not repeat it: it may hold a password.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("not a Redis URL") from None
    database = parts.path.strip("/")
    if parts.query or parts.fragment:  # redis-py knows some; to ignore one would be to use another database
        raise ValueError("a Redis URL takes no ?query: give options as arguments")
    if parts.scheme not in ("redis", "rediss") or not host or (database and not database.isdecimal()):
        raise ValueError("not a Redis URL: expected redis://[user[:password]@]host[:port][/db] or rediss://")
    options: dict[str, object] = {"db": int(database or 0)}
    if parts.scheme == "rediss":
        options["tls"] = True
    if parts.username:
        options["username"] = unquote(parts.username)
    if parts.password:
        options["password"] = unquote(parts.password)
    name = f"[{host}]" if ":" in host else host
    return f"{name}:{port or DEFAULT_PORT}", options


def _parse_address(text: str) -> Address:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.path or parts.query or parts.username is not None:
        raise ValueError("not a Redis address: expected host:port")
    return host, port or DEFAULT_PORT
