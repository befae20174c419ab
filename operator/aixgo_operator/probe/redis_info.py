"""Ask a Redis whether it answers, persists and evicts: PING, INFO, CONFIG GET."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from aixgo_operator.api.constants import ConditionType, Reason
from aixgo_operator.domain.observation import RedisProbe
from aixgo_operator.domain.problem import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from redis.asyncio import Redis

#: Redis' own words for a wrong password, a missing one, and a user that is switched off.
_AUTH_ERRORS: Final = ("WRONGPASS", "NOAUTH", "NOPERM", "invalid username-password", "invalid password")


@dataclass(frozen=True, slots=True)
class RedisEndpoint:
    """How to reach a Redis, with every reference resolved. Key material never shows in a representation."""

    mode: Literal["Standalone", "Sentinel", "Cluster"]
    #: ``host:port`` of the server, of the Sentinels, or of some nodes of the cluster.
    addresses: tuple[str, ...]
    database: int = 0
    sentinel_master: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = True
    #: CA certificates (PEM). None: the system's.
    ca: bytes | None = None
    certificate: bytes | None = None
    private_key: bytes | None = field(default=None, repr=False)
    #: Name that the server's certificate must have. None: the host of the address.
    server_name: str | None = None


class BackendProber(Protocol):
    """Looks at session backends."""

    async def probe(self, endpoint: RedisEndpoint) -> RedisProbe:
        """Return what the Redis says of itself. Never raises for a Redis that fails."""

    async def purge(self, endpoint: RedisEndpoint, prefix: str, *, limit: int) -> int:
        """Delete up to ``limit`` keys that begin with ``prefix``; return how many went. Raises ProbeError."""


class ProbeError(Exception):
    """A Redis did not do what was asked of it."""


class RedisProber:
    """:class:`BackendProber` over the network; a whole probe takes at most ``timeout`` seconds."""

    def __init__(self, *, timeout: float = 2.0, concurrency: int = 16) -> None:
        self._timeout = timeout
        self._limit = asyncio.Semaphore(concurrency)

    async def probe(self, endpoint: RedisEndpoint) -> RedisProbe:
        """See :meth:`BackendProber.probe`."""
        from redis.exceptions import RedisError

        shown: list[bytes] = []
        async with self._limit:
            try:
                async with (
                    asyncio.timeout(self._timeout),
                    _connected(endpoint, self._timeout, shown) as client,
                ):
                    found = await _look(client)
            except (RedisError, OSError, TimeoutError, ssl.SSLError, ValueError, EOFError) as error:
                found = RedisProbe(failure=classify(error, endpoint))
        if not shown:
            return found
        return replace(found, certificate=hashlib.sha256(shown[-1]).hexdigest())

    async def purge(self, endpoint: RedisEndpoint, prefix: str, *, limit: int) -> int:
        """See :meth:`BackendProber.purge`."""
        from redis.exceptions import RedisError

        async with self._limit:
            try:
                async with asyncio.timeout(30.0):
                    gone = 0
                    for node in await _writable(endpoint, self._timeout):
                        async with _connected(node, self._timeout) as client:
                            gone += await _delete(client, prefix, limit - gone)
                        if gone >= limit:
                            break
                    return gone
            except (RedisError, OSError, TimeoutError, ValueError, EOFError) as error:
                raise ProbeError(classify(error, endpoint).message) from error


def classify(error: BaseException, endpoint: RedisEndpoint) -> Problem:
    """Return why a Redis is not reachable. The message names the address and never a credential."""
    chain = list(_causes(error))
    where = ", ".join(endpoint.addresses)
    text = " ".join(str(item) for item in chain)
    reason, what = Reason.DIAL_FAILED, "cannot be reached"
    if any(isinstance(item, ssl.SSLError) for item in chain) or "CERTIFICATE_VERIFY_FAILED" in text:
        reason, what = Reason.TLS_HANDSHAKE_FAILED, "failed the TLS handshake"
        detail = next((_tls_detail(item) for item in chain if isinstance(item, ssl.SSLError)), "")
        what += f" ({detail})" if detail else ""
    elif any(type(item).__name__ in {"AuthenticationError", "NoPermissionError"} for item in chain) or any(
        word in text for word in _AUTH_ERRORS
    ):
        reason, what = Reason.AUTH_FAILED, "refused the user or the password"
    elif any(isinstance(item, TimeoutError) for item in chain) or "Timeout" in text:
        what = "did not answer in time"
    return Problem(ConditionType.REACHABLE, reason, f"Redis at {where} {what}")


def interpret(
    info: Mapping[str, Any], policy: Mapping[Any, Any] | None, save: Mapping[Any, Any] | None
) -> RedisProbe:
    """Return the probe for INFO and what CONFIG GET gave (None: the user may not ask)."""
    memory_policy = (policy or {}).get("maxmemory-policy", info.get("maxmemory_policy"))
    failure = None
    if info.get("role") == "slave" and str(info.get("slave_read_only", 1)) == "1":
        failure = Problem(
            ConditionType.REACHABLE,
            Reason.READ_ONLY_REPLICA,
            "the address leads to a read-only replica: point to the master, or use Sentinel",
        )
    snapshots = None if save is None or "save" not in save else bool(str(save["save"]).strip())
    return RedisProbe(
        failure=failure,
        server_version=_text(info.get("redis_version")),
        aof_enabled=None if "aof_enabled" not in info else str(info["aof_enabled"]) == "1",
        snapshots_enabled=snapshots,
        max_memory_bytes=None if "maxmemory" not in info else int(info["maxmemory"]),
        max_memory_policy=_text(memory_policy),
    )


async def _look(client: Redis) -> RedisProbe:
    from redis.exceptions import ResponseError

    async def setting(name: str) -> Mapping[Any, Any] | None:
        with contextlib.suppress(ResponseError):  # NOPERM, or a service that has no CONFIG
            return await client.config_get(name)
        return None

    await client.ping()
    info: dict[str, Any] = {}
    for section in ("server", "memory", "persistence", "replication"):
        with contextlib.suppress(ResponseError):
            info |= await client.info(section)
    return interpret(info, await setting("maxmemory-policy"), await setting("save"))


async def _writable(endpoint: RedisEndpoint, timeout: float) -> list[RedisEndpoint]:
    """Return the servers that have keys: of a Cluster each of its masters, else the endpoint itself."""
    if endpoint.mode != "Cluster":
        return [endpoint]
    async with _connected(endpoint, timeout) as client:
        slots: list[Any] = await client.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
    default = _host_port(endpoint.addresses[0])[0]
    # A node that does not know its own address answers with none: it is the one that was asked.
    masters = {(_text(host) or default, int(port)) for _, _, (host, port, *_), *_ in slots}
    return [replace(endpoint, addresses=(f"{host}:{port}",)) for host, port in sorted(masters)]


async def _delete(client: Redis, prefix: str, limit: int) -> int:
    async def unlink(keys: list[str]) -> int:
        # One by one: the keys of a Cluster are in many slots.
        async with client.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.unlink(key)
            return sum(await pipeline.execute())

    pattern = "".join(f"\\{char}" if char in "*?[]\\^-" else char for char in prefix) + "*"
    gone, batch = 0, []
    async for key in client.scan_iter(match=pattern, count=500):
        batch.append(key)
        if len(batch) == 500:
            gone += await unlink(batch)
            batch = []
        if gone + len(batch) >= limit:
            break
    if batch:
        gone += await unlink(batch)
    return gone


@contextlib.asynccontextmanager
async def _connected(
    endpoint: RedisEndpoint, timeout: float, shown: list[bytes] | None = None
) -> AsyncIterator[Redis]:
    """Give a client of the server that takes writes (Sentinel: the master; Cluster: the first node that
    answers). ``shown`` gets the certificate (DER) that the server shows."""
    from redis.asyncio import ConnectionPool, Redis

    host, port = await _server(endpoint, timeout)
    pool = ConnectionPool(**_arguments(endpoint, host, port, timeout, shown))
    client = Redis(connection_pool=pool)
    try:
        yield client
    finally:
        with contextlib.suppress(Exception):
            await client.aclose()
            await pool.disconnect()


async def _server(endpoint: RedisEndpoint, timeout: float) -> tuple[str, int]:
    if endpoint.mode != "Sentinel":
        return _host_port(endpoint.addresses[0])
    from redis.asyncio import ConnectionPool, Redis
    from redis.exceptions import RedisError

    failure: Exception | None = None
    for address in endpoint.addresses:
        host, port = _host_port(address)
        # Sentinels have no database and usually no user of the data servers.
        arguments = _arguments(endpoint, host, port, timeout) | {"db": 0, "username": None, "password": None}
        client: Any = Redis(connection_pool=ConnectionPool(**arguments))
        try:
            found = await client.execute_command(
                "SENTINEL", "GET-MASTER-ADDR-BY-NAME", endpoint.sentinel_master
            )
        except (RedisError, OSError) as error:
            failure = error
        else:
            if found:
                return _text(found[0]) or "", int(found[1])
            failure = ValueError(f"Sentinel knows no master {endpoint.sentinel_master}")
        finally:
            with contextlib.suppress(Exception):
                await client.aclose(close_connection_pool=True)
    raise failure or ValueError("no Sentinel address")


def _arguments(
    endpoint: RedisEndpoint, host: str, port: int, timeout: float, shown: list[bytes] | None = None
) -> dict[str, Any]:
    from redis.asyncio.connection import Connection
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    arguments: dict[str, Any] = {
        "host": host,
        "port": port,
        "db": endpoint.database,
        "username": endpoint.username,
        "password": endpoint.password,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "decode_responses": True,
        "retry": Retry(NoBackoff(), 0),
        "max_connections": 2,
    }
    if not endpoint.tls:
        return arguments | {"connection_class": Connection}
    context = _tls(endpoint)

    class TLSConnection(Connection):
        """A connection with a context of its own: key material comes from memory, not from paths."""

        def _connection_arguments(self) -> Mapping[str, Any]:
            name = endpoint.server_name or self.host
            return {**super()._connection_arguments(), "ssl": context, "server_hostname": name}

        async def _connect(self) -> None:
            await super()._connect()  # type: ignore[no-untyped-call]
            if shown is not None and self._writer is not None:
                certificate = self._writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
                shown.append(certificate)

    return arguments | {"connection_class": TLSConnection}


def _tls(endpoint: RedisEndpoint) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=endpoint.ca.decode() if endpoint.ca else None)
    if endpoint.certificate and endpoint.private_key:
        # OpenSSL reads key pairs from files only: a private directory that is gone a moment later.
        with tempfile.TemporaryDirectory() as folder:
            pair = Path(folder) / "pair.pem"
            pair.touch(mode=0o600)
            pair.write_bytes(endpoint.certificate.rstrip() + b"\n" + endpoint.private_key)
            context.load_cert_chain(pair)
    return context


def _host_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _causes(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    return chain


def _tls_detail(error: BaseException) -> str:
    reason = getattr(error, "verify_message", None) or getattr(error, "reason", None)
    return str(reason).lower() if reason else ""


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
