"""Agents of this runtime that call others: in the same process, or over a route of the configuration."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc

from aixgo.observability.logs import get_logger
from aixgo.observability.tracing import NO_TRACING
from aixgo.rpc.certificates import InvalidCertificateError
from aixgo.rpc.client import AgentClient, RpcError
from aixgo.runtime.call_context import MAX_CHAIN
from aixgo.runtime.errors import AgentNotFoundError, AgentNotReadyError, CallLoopError
from aixgo.runtime.running_calls import RunningCalls
from aixgo.runtime.turns import TurnRequest, TurnRunner

if TYPE_CHECKING:
    from pathlib import Path

    from aixgo.contract import AgentToolConfig, RouteConfig, RuntimeConfig
    from aixgo.message import Message
    from aixgo.observability.metrics import MetricsCollector
    from aixgo.observability.tracing import Tracing
    from aixgo.rpc.service import Agents

_log = get_logger("aixgo.server.calls")


class AgentCalls:
    """Calls agents by namespace and name (an :class:`~aixgo.agents.services.AgentCaller`).

    Such a call has no session, ends with the deadline of the call that it is made in, and knows through which
    agents it came. For the event loop's thread only.
    """

    def __init__(
        self, tls_dir: Path | None, metrics: MetricsCollector, tracing: Tracing = NO_TRACING
    ) -> None:
        """Make a caller that knows nobody; see :meth:`serve` and :meth:`apply`.

        Args:
            tls_dir: The runtime's certificate, which it shows to other runtimes. None: plaintext.
            metrics: Counts the calls of agents in this process.
            tracing: Records them.
        """
        self._tls_dir = tls_dir
        self._metrics = metrics
        self._tracing = tracing
        self._agents: Agents | None = None
        self._routes: dict[tuple[str, str], RouteConfig] = {}
        self._clients: dict[tuple[str, str], AgentClient] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._running = RunningCalls()

    def serve(self, agents: Agents) -> None:
        """Tell which agents are in this process."""
        self._agents = agents

    def apply(self, config: RuntimeConfig) -> None:
        """Take the routes of a new configuration; connections that no route needs are closed."""
        self._routes = {(route.namespace, route.agent): route for route in config.routes}
        used = {(route.address, route.server_name) for route in config.routes}
        for key in self._clients.keys() - used:
            task = asyncio.create_task(self._clients.pop(key).close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close all connections."""
        clients, self._clients = list(self._clients.values()), {}
        await asyncio.gather(*(client.close() for client in clients), *self._closing, return_exceptions=True)

    def description(self, target: AgentToolConfig) -> str:
        """Return the description of an agent of this process; "" for others."""
        local = self._agents.wanted(target.name) if self._agents is not None else None
        return local.description if local is not None and local.namespace == target.namespace else ""

    async def call(self, target: AgentToolConfig, message: Message) -> Message:
        """Call an agent.

        Raises:
            CallLoopError: agents call each other in a circle.
            AgentNotFoundError: there is neither such an agent here nor a route to one.
            AixgoError: the call failed.
        """
        local = self._agents.wanted(target.name) if self._agents is not None else None
        if local is not None and local.namespace == target.namespace:
            return await self.call_here(target.name, message)
        route = self._routes.get((target.namespace, target.name))
        if route is None:
            raise AgentNotFoundError(target.name)
        return await self._call_there(route, message)

    async def call_here(self, name: str, message: Message) -> Message:
        """Call an agent of this process.

        Raises:
            AgentNotFoundError: there is no such agent.
            AixgoError: the call failed.
        """
        if self._agents is None:
            raise AgentNotFoundError(name)
        runner = TurnRunner(None, self._metrics, self._tracing)
        async with self._agents.use(name) as callee:
            # It has no place of its own among the concurrent calls: the call that waits for it has one.
            with self._running.call(name, callee.config.timeout_seconds):
                request = TurnRequest(name, message)
                return (await runner.run(callee.agent, request, callee.config.session)).output

    def is_elsewhere(self, namespace: str, name: str) -> bool:
        """Say whether this is an agent of another runtime to which there is a route."""
        here = self._agents is not None and self._agents.wanted(name) is not None
        return not here and (namespace, name) in self._routes

    async def send(self, namespace: str, name: str, message: Message | None, *, sender: str) -> None:
        """Put a message into the channel of an agent of another runtime.

        Raises:
            AgentNotFoundError: there is no route to it.
            RpcError: it did not arrive.
        """
        route = self._routes.get((namespace, name))
        if route is None:
            raise AgentNotFoundError(name)
        await self._client(route).send(name, message, sender=sender)

    async def _call_there(self, route: RouteConfig, message: Message) -> Message:
        try:
            with self._tracing.call(route.agent, remote_address=route.address):
                return (await self._client(route).execute(route.agent, message)).output
        except InvalidCertificateError as error:
            raise AgentNotReadyError(route.agent, "this runtime has no usable certificate") from error
        except RpcError as error:
            if error.code is grpc.StatusCode.FAILED_PRECONDITION and "chain deeper" in error.text:
                raise CallLoopError(MAX_CHAIN) from error
            if error.code is grpc.StatusCode.UNAVAILABLE:
                # Its text may name addresses.
                _log.warning("agent not reachable", agent=route.agent, namespace=route.namespace)
                raise AgentNotReadyError(route.agent) from error
            raise

    def _client(self, route: RouteConfig) -> AgentClient:
        key = (route.address, route.server_name)
        client = self._clients.get(key)
        if client is None:
            # Only the CA of this trust is trusted, and only the runtime of the route has a certificate with
            # this server name, in which its SPIFFE id is, too: gRPC for Python cannot compare that itself.
            server_name = route.server_name if self._tls_dir is not None else None
            client = self._clients[key] = AgentClient(route.address, self._tls_dir, server_name)
        return client
