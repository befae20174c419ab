"""Agents in several processes that find each other by address (Go: DistributedRuntime)."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from aixgo.contract import AgentConfig, GrpcConfig
from aixgo.observability.metrics import MetricsCollector, NoMetrics
from aixgo.rpc.authorization import Authorizer
from aixgo.rpc.certificates import CertificateFiles, CertificateStore
from aixgo.rpc.client import AgentClient
from aixgo.rpc.credentials import server_credentials
from aixgo.rpc.server import RpcServer, server_options
from aixgo.rpc.service import AgentService, Callee, Rules
from aixgo.runtime.errors import (
    AgentAlreadyRegisteredError,
    AgentNotFoundError,
    SessionManagerNotConfiguredError,
)
from aixgo.runtime.gate import CallGate
from aixgo.runtime.local import Runtime
from aixgo.runtime.remote import RemoteAgent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from aixgo.message import Message
    from aixgo.runtime.tls import TLSConfig
    from aixgo.session import Manager

#: How long :meth:`DistributedRuntime.stop` waits for calls from outside, in seconds.
STOP_GRACE_SECONDS = 5.0
#: Seconds between two reports to the health service.
REPORT_SECONDS = 0.1
#: Calls from outside last as long as their caller allows; this is the longest that the contract knows.
LONGEST_CALL_SECONDS = 86_400


class DistributedRuntime(Runtime):
    """A :class:`Runtime` whose agents may be called from other processes, and that calls agents there."""

    def __init__(
        self,
        listen_address: str,
        *,
        tls: TLSConfig | None = None,
        allow_insecure: bool = False,
        session_manager: Manager | None = None,
        metrics: MetricsCollector | None = None,
        max_message_bytes: int = GrpcConfig().max_message_bytes,
        **settings: Any,
    ) -> None:
        """Make a runtime (Go: NewDistributedRuntime).

        Args:
            listen_address: ``host:port`` to take calls on; port 0 takes a free one.
            tls: Mutual TLS, or :meth:`TLSConfig.external`. None: plaintext.
            allow_insecure: Must be True for plaintext.
            session_manager: Where sessions are.
            metrics: Where measurements go.
            max_message_bytes: Largest message in either direction.
            settings: As for :class:`Runtime`.

        Raises:
            ValueError: plaintext without ``allow_insecure``.
            InvalidCertificateError: the certificate cannot be used.
        """
        if tls is None and not allow_insecure:
            raise ValueError("plaintext needs allow_insecure=True: give tls=TLSConfig(...)")
        super().__init__(session_manager=session_manager, metrics=metrics, **settings)
        self._wanted_address = listen_address
        self._tls = tls
        self._files: CertificateFiles | None = None
        self._store: CertificateStore | None = None
        if tls is not None and not tls.is_external:
            self._files = CertificateFiles(tls.cert_file, tls.key_file, tls.ca_file)
            self._store = CertificateStore(self._files)
        self._grpc = GrpcConfig(max_message_bytes=max_message_bytes)
        self._metrics = metrics or NoMetrics()
        self._session_manager = session_manager
        self._remote: dict[str, RemoteAgent] = {}
        self._server: RpcServer | None = None
        self._gate: CallGate | None = None
        self._reporting: asyncio.Task[None] | None = None

    @property
    def listen_address(self) -> str:
        """Where calls are taken; with the real port once started (Go: ListenAddr)."""
        if self._server is None:
            return self._wanted_address
        return f"{self._wanted_address.rpartition(':')[0]}:{self._server.port}"

    async def connect(self, name: str, address: str) -> None:
        """Make the agent ``name`` of the runtime at ``address`` an agent of this one (Go: Connect).

        Nothing is sent before its first use.

        Raises:
            AgentAlreadyRegisteredError: the name is taken.
        """
        if name in self.list():
            raise AgentAlreadyRegisteredError(name)
        server_name = self._tls.server_name if self._tls is not None else None
        size = self._grpc.max_message_bytes

        def make_client() -> AgentClient:
            return AgentClient(address, self._files, server_name, max_message_bytes=size)

        agent = self._remote[name] = RemoteAgent(name, make_client)
        self.register(name, agent)

    async def unregister(self, name: str) -> None:
        """Stop and remove a local agent, or close the connection to a remote one (Go: Unregister)."""
        await super().unregister(name)
        remote = self._remote.pop(name, None)
        if remote is not None:
            await remote.stop()

    async def start(self) -> None:
        """Allow calls, also from outside (Go: Start).

        Raises:
            RuntimeAlreadyStartedError: it was started and not stopped.
            RuntimeError: the address cannot be bound.
        """
        await super().start()
        self._gate = CallGate(0, self._metrics)
        service = AgentService(
            agents=_LocalAgents(self, self._remote),
            sessions=_LocalSessions(self._session_manager),
            gate=self._gate,
            channels=self._channels,
            # Who has a certificate of the trusted CA may call; namespaces are the cluster's notion.
            rules=Rules(Authorizer("", enforced=False), ""),
            metrics=self._metrics,
            on_model_unreachable=lambda: None,
        )
        credentials = server_credentials(self._store) if self._store is not None else None
        options = server_options(self._grpc, int(STOP_GRACE_SECONDS))
        try:
            self._server = RpcServer(service, self._wanted_address, credentials, options)
        except RuntimeError:
            await super().stop()
            raise
        await self._server.start()
        self._reporting = asyncio.create_task(self._report())

    async def stop(self) -> None:
        """Refuse calls from outside, let running ones end for a moment, then stop as a Runtime does."""
        server, self._server = self._server, None
        if server is not None and self._gate is not None and self._reporting is not None:
            self._gate.draining = True
            self._channels.close()
            self._reporting.cancel()
            stopping = asyncio.create_task(server.stop(STOP_GRACE_SECONDS))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_GRACE_SECONDS):
                    await self._gate.wait_idle()
            await server.stop(0)
            await stopping
        await super().stop()
        for remote in self._remote.values():
            await remote.stop()

    async def send(self, target: str, message: Message) -> None:
        """Put a message into a channel, here or in the process of a connected agent (Go: Send).

        Raises:
            ChannelFullError: there was no room in time.
            RuntimeNotStartedError: the runtime was stopped.
            RpcError: the other process did not take it.
        """
        remote = self._remote.get(target)
        if remote is None:
            await super().send(target, message)
        else:
            await remote.client.send(target, message, timeout=self._settings.send_timeout)
            self._messages_sent += 1

    async def recv(self, source: str) -> Message:
        """Take the oldest message out of a channel, here or in the process of a connected agent (Go: Recv).

        Raises:
            RuntimeNotStartedError: the runtime was stopped and the channel is empty.
            RpcError: the connection to the other process ended.
        """
        remote = self._remote.get(source)
        return await super().recv(source) if remote is None else await remote.receive()

    async def _report(self) -> None:
        """Keep the health service truthful: other processes wait for it before they call."""
        while self._server is not None:
            local = [name for name in self.list() if name not in self._remote]
            await self._server.report_health({"": True} | dict.fromkeys(local, True))
            await asyncio.sleep(REPORT_SECONDS)


class _LocalAgents:
    """The agents of this process, for calls from outside. Connected ones are not passed on."""

    def __init__(self, runtime: Runtime, remote: Mapping[str, RemoteAgent]) -> None:
        self._runtime = runtime
        self._remote = remote

    def wanted(self, name: str) -> AgentConfig | None:
        """Return a configuration for an agent that was made in code."""
        if name in self._remote or name not in self._runtime.list():
            return None
        timeout = self._runtime.config().timeout or LONGEST_CALL_SECONDS
        return AgentConfig(name=name, namespace="", role="custom", timeout_seconds=max(1, round(timeout)))

    @asynccontextmanager
    async def use(self, name: str) -> AsyncIterator[Callee]:
        """Start the agent if it has not been started, and return it."""
        config = self.wanted(name)
        if config is None:
            raise AgentNotFoundError(name)
        yield Callee(config, await self._runtime.ready_agent(name))


class _LocalSessions:
    """The session manager that the user gave."""

    def __init__(self, manager: Manager | None) -> None:
        self._manager = manager

    @contextmanager
    def borrow(self) -> Iterator[Manager]:
        """Return the manager."""
        if self._manager is None:
            raise SessionManagerNotConfiguredError
        yield self._manager

    def look_now(self) -> None:
        """Do nothing: the manager is the user's."""
