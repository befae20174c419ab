"""Connections to Redis: TLS with a name of its own, credentials that can change, Sentinel and Cluster."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Any, Final, cast

from redis import exceptions as redis_errors
from redis.asyncio import BlockingConnectionPool, Connection, Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider

from aixgo.session.redis.link import Link, Multiplexer
from aixgo.session.redis.options import RedisTLS

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping, Sequence

    from aixgo.session.redis.options import Address, RedisOptions

Client = Redis | RedisCluster

#: Connections to each node of a cluster that calls leave to redis-py, which looks at the topology.
_SPARE: Final = 2
#: A peer that is gone is noticed although nothing is sent.
_KEEPALIVE: Final = {socket.TCP_KEEPIDLE: 15, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3}


class Credentials(CredentialProvider):
    """User and password for new connections. Both can be replaced at any time."""

    def __init__(self, username: str | None, password: str | None) -> None:
        self.set(username, password)

    def set(self, username: str | None, password: str | None) -> None:
        """Use these from now on."""
        self._username, self._password = username, password

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return what AUTH takes."""
        if self._username:
            return self._username, self._password or ""
        return (self._password or "",)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """Return what AUTH takes."""
        return self.get_credentials()

    def __bool__(self) -> bool:
        """Whether there is anything to authenticate with; redis-py asks before it does."""
        return bool(self._username or self._password)


def tls_context(tls: RedisTLS) -> ssl.SSLContext:
    """Return a context with the files as they are now; it checks name and chain of the server.

    Raises:
        OSError: a file cannot be read, or is no certificate or key.
    """
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=tls.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.cert_file is not None:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    return context


class _Handover(Connection):
    """A connection whose socket can be taken over when it is connected and authenticated."""

    async def _send_packed_command(self, command: Any) -> None:
        # The client of a cluster closes the connections that nobody uses; by then somebody may use this one.
        if self._writer is None:
            raise redis_errors.ConnectionError("connection lost")
        await super()._send_packed_command(command)

    async def link(self, timeout: float) -> Link:
        """Connect, and go on as a link.

        Raises:
            redis.RedisError: it cannot be connected.
        """
        try:
            await self.connect()  # type: ignore[no-untyped-call]
            writer = self._writer
            if writer is None:  # lost since
                raise redis_errors.ConnectionError("connection lost")
            link = Link(timeout)
            # The writer stays with the link: it closes the transport when nobody holds it any more.
            link.attach(cast("asyncio.Transport", writer.transport), writer)
        except BaseException:
            await self.disconnect(nowait=True)
            raise
        self._reader = self._writer = None
        return link


class PlainConnection(_Handover):
    """A connection without TLS."""


class SentinelPlainConnection(_Handover, SentinelManagedConnection):
    """A connection without TLS to the master that the sentinels name."""


class _TLSArguments(_Handover):
    """Dials with TLS.

    Not redis-py's own TLS: that cannot check another name than the host, nor read files again.
    """

    def __init__(self, *, tls: RedisTLS, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._tls = tls

    def _connection_arguments(self) -> Mapping[str, Any]:
        arguments = dict(super()._connection_arguments())
        arguments["ssl"] = tls_context(self._tls)
        arguments["server_hostname"] = self._tls.server_name or arguments["host"]
        return arguments


class TLSConnection(_TLSArguments):
    """A connection with TLS."""


class SentinelTLSConnection(_TLSArguments, SentinelManagedConnection):
    """A connection with TLS to the master that the sentinels name."""


class MultiplexedRedis(Redis):
    """redis-py's client with all its commands on one connection."""

    def __init__(self, pool: Any, timeout: float) -> None:
        super().__init__(connection_pool=pool)

        async def dial() -> Link:
            connection: _Handover = pool.make_connection()
            return await connection.link(timeout)

        self.multiplexer = Multiplexer(dial)

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command and return its answer."""
        return self._decoded(args[0], await self.multiplexer.execute(args), options)

    async def together(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send commands in one write and return their answers."""
        answers = await self.multiplexer.together(list(commands))
        return [
            self._decoded(command[0], answer, {}) for command, answer in zip(commands, answers, strict=True)
        ]

    async def execute_and_wait(self, *command: Any, replicas: int, milliseconds: int) -> tuple[Any, int]:
        """Return the answer to a command, and how many replicas have what it saw.

        All commands of one tick share one WAIT.
        """
        wait = ("WAIT", replicas, milliseconds)
        answer, count = await self.multiplexer.execute_then(command, wait)
        return answer, int(count)

    def _decoded(self, name: str, answer: Any, options: dict[str, Any]) -> Any:
        options.pop("keys", None)  # redis-py's own cache wants it
        callback = self.response_callbacks.get(name)
        return answer if callback is None else callback(answer, **options)

    def renew(self) -> None:
        """Dial again before the next command."""
        self.multiplexer.renew()

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close the connection."""
        await self.multiplexer.close()
        await super().aclose(close_connection_pool)


async def together(client: Client, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Run commands, such as ``("HGETALL", key)``, that do not depend on each other, in one round trip."""
    if isinstance(client, MultiplexedRedis):
        return await client.together(commands)
    pipeline: Any = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    answers: list[Any] = await pipeline.execute()
    return answers


def connect(addresses: list[Address], options: RedisOptions, credentials: Credentials) -> Client:
    """Return a client. It dials when it is first used; retrying is the caller's business."""
    shared: dict[str, Any] = {
        "credential_provider": credentials,
        "socket_timeout": options.read_timeout,
        "socket_connect_timeout": options.dial_timeout,
        "client_name": "aixgo",
        "driver_info": None,
        "protocol": 2,
        "socket_keepalive": True,
        "socket_keepalive_options": _KEEPALIVE,
    }
    tls = _tls(options)
    if options.cluster:
        return _cluster(addresses, options, tls, shared)
    shared |= {"db": options.db, "retry": Retry(NoBackoff(), 0)}
    if tls is not None:
        shared["tls"] = tls
    if options.sentinel_master:
        return _sentinel(addresses, options, options.sentinel_master, tls, shared)
    host, port = addresses[0]
    pool = BlockingConnectionPool(
        max_connections=options.pool_size,
        timeout=options.read_timeout,
        connection_class=PlainConnection if tls is None else TLSConnection,
        host=host,
        port=port,
        **shared,
    )
    return MultiplexedRedis(pool, options.read_timeout)


def _sentinel(
    addresses: list[Address],
    options: RedisOptions,
    master: str,
    tls: RedisTLS | None,
    shared: dict[str, Any],
) -> Redis:
    manager: Any = Sentinel([], sentinel_kwargs={})  # type: ignore[no-untyped-call]
    timeouts = {key: value for key, value in shared.items() if key.startswith("socket_")}
    for host, port in addresses:
        secured: dict[str, Any] = {} if tls is None else {"tls": tls}
        of_sentinel = BlockingConnectionPool(
            max_connections=2,
            timeout=options.read_timeout,
            connection_class=Connection if tls is None else TLSConnection,
            host=host,
            port=port,
            username=options.sentinel_username,
            password=options.sentinel_password,
            protocol=2,
            driver_info=None,
            retry=Retry(NoBackoff(), 0),
            **secured,
            **timeouts,
        )
        manager.sentinels.append(Redis.from_pool(of_sentinel))
    pool = SentinelConnectionPool(  # type: ignore[no-untyped-call]
        master,
        manager,
        max_connections=options.pool_size,
        connection_class=SentinelPlainConnection if tls is None else SentinelTLSConnection,
        **shared,
    )
    return MultiplexedRedis(pool, options.read_timeout)


def _cluster(
    addresses: list[Address], options: RedisOptions, tls: RedisTLS | None, shared: dict[str, Any]
) -> RedisCluster:
    nodes = [ClusterNode(host, port) for host, port in addresses]
    client = RedisCluster(startup_nodes=nodes, max_connections=options.pool_size + _SPARE, **shared)
    # There is no argument for this: what nodes are made from, and those that are made already.
    made_from: dict[str, Any] = {"connection_class": PlainConnection}
    if tls is not None:
        made_from = {"connection_class": TLSConnection, "tls": tls}
    client.connection_kwargs |= made_from
    client.nodes_manager.connection_kwargs |= made_from
    for node in client.nodes_manager.startup_nodes.values():
        node.connection_class = made_from["connection_class"]
        if tls is not None:
            node.connection_kwargs["tls"] = tls
    return client


async def reauthenticate(client: Client) -> None:
    """Let every connection dial again before it is used the next time. Calls in flight are not touched."""
    if isinstance(client, RedisCluster):
        for node in client.get_nodes():
            node.update_active_connections_for_reconnect()
            await node.disconnect_free_connections()
        return
    if isinstance(client, MultiplexedRedis):
        client.renew()


async def disconnect(client: Client) -> None:
    """Close every connection."""
    await client.aclose()
    pool = getattr(client, "connection_pool", None)
    if isinstance(pool, SentinelConnectionPool):
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.aclose()


def _tls(options: RedisOptions) -> RedisTLS | None:
    if options.tls is None or options.tls is False:
        return None
    return RedisTLS() if options.tls is True else options.tls
