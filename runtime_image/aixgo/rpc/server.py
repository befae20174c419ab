"""The gRPC server: its limits, its keepalive, and the services beside ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from aixgo.rpc import agent_service_pb2 as pb
from aixgo.rpc import agent_service_pb2_grpc as pb_grpc
from aixgo.rpc.accepting import called_often, called_seldom, make_server
from aixgo.runtime.errors import ListenError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import grpc.aio

    from aixgo.contract import GrpcConfig

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["AgentService"].full_name


def server_options(config: GrpcConfig, drain_seconds: int) -> list[tuple[str, int]]:
    """Return the channel arguments of the server.

    Args:
        config: Message size and age of connections.
        drain_seconds: How long calls may go on when their connection has reached its age.
    """
    options = [
        ("grpc.max_send_message_length", config.max_message_bytes),
        ("grpc.max_receive_message_length", config.max_message_bytes),
        # Two processes on one port would share the calls silently.
        ("grpc.so_reuseport", 0),
        # Clients ping every 30 s (rpc/credentials.py); the default allows one in 300 s and cuts the others
        # off.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
    ]
    if config.max_connection_age_seconds > 0:
        # A connection keeps the certificates that it began with; its age bounds for how long.
        options += [
            ("grpc.max_connection_age_ms", config.max_connection_age_seconds * 1000),
            ("grpc.max_connection_age_grace_ms", max(drain_seconds, 1) * 1000),
        ]
    return options


class RpcServer:
    """A grpc.aio server with AgentService, health and reflection."""

    def __init__(
        self,
        service: pb_grpc.AgentServiceServicer,
        addresses: str | Sequence[str],
        credentials: Callable[[], grpc.ServerCredentials] | None,
        options: list[tuple[str, int]],
    ) -> None:
        """Bind the ports.

        Args:
            service: The implementation of ``aixgo.AgentService``.
            addresses: ``host:port`` to listen on, one or more.
            credentials: Makes those of one address; they know which certificate it has seen last. None:
                plaintext.
            options: See :func:`server_options`.

        Raises:
            ListenError: a port cannot be bound.
        """
        self._server = make_server(options)
        self._health = health.aio.HealthServicer()
        self._reported: dict[str, bool] = {}
        pb_grpc.add_AgentServiceServicer_to_server(service, called_often(self._server))  # type: ignore[no-untyped-call]
        seldom = called_seldom(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, seldom)
        names = (SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, seldom)
        #: The real ports, in the order of the addresses.
        self.ports = tuple(
            self._bind(address, credentials)
            for address in ([addresses] if isinstance(addresses, str) else addresses)
        )

    @property
    def port(self) -> int:
        """The port of the first address."""
        return self.ports[0]

    async def start(self) -> None:
        """Take calls. Nothing is reported as serving until :meth:`report_health` says so."""
        await self.report_health({"": False})
        await self._server.start()

    async def report_health(self, serving: dict[str, bool]) -> None:
        """Publish which services (``""`` and the agents' names) are serving.

        Those that are gone become NOT_SERVING.
        """
        wanted = dict.fromkeys(self._reported, False) | serving
        for name, is_serving in wanted.items():
            if self._reported.get(name) is not is_serving:
                status = health_pb2.HealthCheckResponse
                await self._health.set(name, status.SERVING if is_serving else status.NOT_SERVING)
        self._reported = wanted

    async def stop(self, grace: float) -> None:
        """Take no new connections and calls; running calls may go on for ``grace`` seconds.

        May be called again with less.
        """
        await self._server.stop(grace)

    def _bind(self, address: str, credentials: Callable[[], grpc.ServerCredentials] | None) -> int:
        try:
            if credentials is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, credentials())
        except RuntimeError as error:  # gRPC's only way to say so
            raise ListenError(address) from error
