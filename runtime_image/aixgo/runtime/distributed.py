"""Agents in several processes that find each other by address (Go: DistributedRuntime)."""

from __future__ import annotations

import asyncio
import contextlib
import math
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from aixgo.cancellation import see_through
from aixgo.contract import AgentConfig, GrpcConfig
from aixgo.observability.metrics import MetricsCollector, NoMetrics
from aixgo.rpc.authorization import Authorizer
from aixgo.rpc.certificates import CertificateFiles, CertificateStore
from aixgo.rpc.client import AgentClient
from aixgo.rpc.credentials import server_credentials
from aixgo.rpc.server import RpcServer, server_options
from aixgo.rpc.service import AgentService, Callee, Rules
from aixgo.runtime.errors import AgentNotFoundError, RuntimeNotStartedError, SessionManagerNotConfiguredError
from aixgo.runtime.gate import CallGate
from aixgo.runtime.local import Runtime
from aixgo.runtime.remote import RemoteAgent
from aixgo.runtime.tls import TLSConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from aixgo.agents.protocol import Agent
    from aixgo.contract import SessionConfig
    from aixgo.message import Message
    from aixgo.runtime.running_calls import RunningCalls
    from aixgo.session import Manager

#: Seconds between two reports to the health service when nothing calls for one.
REPORT_SECONDS = 1.0
#: How long calls that were cut off may take to undo what they began, in seconds.
CLEAN_UP_SECONDS = 2.0
#: Calls from outside last as long as their caller allows; this is the longest that the contract knows.
LONGEST_CALL_SECONDS = 86_400
LAST_PORT = 65_535


class DistributedRuntime(Runtime):
    """A :class:`Runtime` whose agents may be called from other processes, and that calls agents there."""

    def __init__(
        self,
        listen_address: str | Sequence[str],
        *,
        tls: TLSConfig | None = None,
        allow_insecure: bool = False,
        session_manager: Manager | None = None,
        metrics: MetricsCollector | None = None,
        max_message_bytes: int = GrpcConfig().max_message_bytes,
        stop_grace: float = 5.0,
        **settings: Any,
    ) -> None:
        """Make a runtime (Go: NewDistributedRuntime).

        Args:
            listen_address: ``host:port`` to take calls on, one or more; port 0 takes a free one, and without
                a host it is every address of the machine.
            tls: Mutual TLS, or :meth:`TLSConfig.external`. None: plaintext.
            allow_insecure: Must be True for plaintext.
            session_manager: Where sessions are.
            metrics: Where measurements go.
            max_message_bytes: Largest message in either direction.
            stop_grace: Seconds that :meth:`stop` lets calls from other processes go on.
            settings: As for :class:`Runtime`. ``max_concurrent_calls`` is also the limit of calls from other
                processes.

        Raises:
            ValueError: plaintext without ``allow_insecure``; no address, or one that is none.
            InvalidCertificateError: the certificate cannot be used.
        """
        if tls is None and not allow_insecure:
            raise ValueError("plaintext needs allow_insecure=True: give tls=TLSConfig(...)")
        if tls is not None and not isinstance(tls, TLSConfig):
            raise TypeError(f"tls must be a TLSConfig, not {type(tls).__name__}")
        given = (listen_address,) if isinstance(listen_address, str) else tuple(listen_address)
        addresses = tuple(_listen_address(address) for address in given)
        if not addresses:
            raise ValueError("listen_address: at least one is needed")
        super().__init__(session_manager=session_manager, metrics=metrics, **settings)
        self._wanted_addresses = addresses
        self._tls = tls
        self._files: CertificateFiles | None = None
        self._store: CertificateStore | None = None
        if tls is not None and not tls.is_external:
            self._files = CertificateFiles(tls.cert_file, tls.key_file, tls.ca_file)
            self._store = CertificateStore(self._files)
        self._grpc = GrpcConfig(max_message_bytes=max_message_bytes)
        self._stop_grace = stop_grace
        self._metrics = metrics or NoMetrics()
        self._session_manager = session_manager
        self._remote: dict[str, RemoteAgent] = {}
        self._serving: _Serving | None = None

    @property
    def certificates(self) -> CertificateStore | None:
        """The certificate that is being served, and what became of newer ones; None without TLS."""
        return self._store

    @property
    def listen_addresses(self) -> tuple[str, ...]:
        """Where calls are taken; with the real ports once started."""
        if self._serving is None:
            return self._wanted_addresses
        ports = self._serving.server.ports
        return tuple(
            f"{address.rpartition(':')[0]}:{port}"
            for address, port in zip(self._wanted_addresses, ports, strict=True)
        )

    @property
    def listen_address(self) -> str:
        """The first address on which calls are taken; with the real port once started (Go: ListenAddr)."""
        return self.listen_addresses[0]

    async def connect(self, name: str, address: str) -> None:
        """Make the agent ``name`` of the runtime at ``address`` an agent of this one (Go: Connect).

        Nothing is sent before its first use.

        Raises:
            AgentAlreadyRegisteredError: the name is taken.
            ValueError: the address is none.
        """
        if not isinstance(address, str) or not address.strip():
            raise ValueError("an agent of another process needs its address, host:port")
        server_name = self._tls.server_name if self._tls is not None else None
        size = self._grpc.max_message_bytes

        def make_client() -> AgentClient:
            return AgentClient(address, self._files, server_name, max_message_bytes=size)

        agent = RemoteAgent(name, address, make_client, self._settings.agent_start_timeout)
        super().register(name, agent)
        self._remote[name] = agent

    def register(
        self, name: str | Agent, agent: Agent | None = None, *, session: SessionConfig | None = None
    ) -> None:
        """Add an agent of this process. As :meth:`Runtime.register`."""
        super().register(name, agent, session=session)
        if self._serving is not None:
            self._serving.changed.set()

    async def unregister(self, name: str) -> None:
        """Stop and remove a local agent, or close the connection to a remote one (Go: Unregister)."""
        remote = self._remote.pop(name, None)
        try:
            await super().unregister(name)
        finally:
            if remote is not None:
                await remote.stop()
            if self._serving is not None:
                self._serving.changed.set()

    async def _open(self) -> None:
        gate = CallGate(0, self._metrics)
        service = AgentService(
            agents=_LocalAgents(self, self._is_local, self._calls),
            sessions=_LocalSessions(self._session_manager),
            gate=gate,
            channels=self._channels,
            # Who has a certificate of the trusted CA may call; namespaces are the cluster's notion.
            rules=Rules(Authorizer("", enforced=False), ""),
            metrics=self._metrics,
            on_model_unreachable=lambda: None,
            tracing=self._tracing,
            max_message_bytes=self._grpc.max_message_bytes,
        )
        credentials = partial(server_credentials, self._store) if self._store is not None else None
        options = server_options(self._grpc, max(1, round(self._stop_grace)))
        server = RpcServer(service, self._wanted_addresses, credentials, options)
        await server.start()
        self._serving = _Serving(server, service, gate, self._serving_agents)

    async def _close(self) -> None:
        """Refuse calls from outside, let running ones end for a moment, then stop as a Runtime does."""
        serving, self._serving = self._serving, None
        try:
            if serving is not None:
                self._channels.close()
                await serving.stop(self._stop_grace)
        finally:
            try:
                await super()._close()
            finally:
                for remote in tuple(self._remote.values()):
                    await remote.stop()

    async def _deliver(self, target: str, message: Message | None, sender: str) -> None:
        remote = self._remote.get(target)
        if remote is None:
            await super()._deliver(target, message, sender)
            return
        if self._channels.closed:
            raise RuntimeNotStartedError
        await self._forward(remote)
        await remote.send(message, timeout=self._settings.send_timeout, sender=sender)
        self._messages_sent += 1

    async def recv(self, source: str) -> Message:
        """Take the oldest message out of a channel, here or in the process of a connected agent (Go: Recv).

        A broken connection is made again; no message is lost with it.

        Raises:
            RuntimeNotStartedError: the runtime was stopped and the channel is empty.
            AgentNotReadyError: the other process is not there, for all of ``agent_start_timeout``.
        """
        remote = self._remote.get(source)
        if remote is None:
            return await super().recv(source)
        if self._channels.closed:
            raise RuntimeNotStartedError
        await self._forward(remote)
        return await remote.receive()

    async def _forward(self, remote: RemoteAgent) -> None:
        """Send what was put into the channel before the agent was connected."""
        queued = self._channels.take_all(remote.name)
        while queued:
            try:
                await remote.send(queued[0], timeout=self._settings.send_timeout)
            except BaseException:
                self._channels.put_back(remote.name, queued)
                raise
            queued.pop(0)

    def _is_local(self, name: str) -> bool:
        return name in self._agents and name not in self._remote

    def _serving_agents(self) -> dict[str, bool]:
        return {name: self._agents.is_serving(name) for name in self._agents.names() if self._is_local(name)}


def _listen_address(address: str) -> str:
    """Return ``host:port`` as gRPC takes it.

    Raises:
        ValueError: it is something else.
    """
    host, colon, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
    is_port = port.isascii() and port.isdecimal() and int(port) <= LAST_PORT
    is_host = not set(host) & set("/ \t\n") and (":" not in host or host.startswith("["))
    if not (colon and is_port and is_host):
        raise ValueError(f"listen_address: {address!r} is not host:port")
    return address if host else f"[::]:{port}"


class _Serving:
    """What a started runtime has open for other processes."""

    def __init__(
        self,
        server: RpcServer,
        service: AgentService,
        gate: CallGate,
        agents: Callable[[], dict[str, bool]],
    ) -> None:
        self.server = server
        self.changed = asyncio.Event()
        self._service = service
        self._gate = gate
        self._agents = agents
        self._reporting = asyncio.create_task(self._report())

    async def stop(self, grace: float) -> None:
        """Take no more calls, and cut off after ``grace`` seconds, or when cancelled, what still runs."""
        self._gate.draining = True
        self._reporting.cancel()
        stopping = asyncio.create_task(self.server.stop(grace))
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self._gate.wait_idle()
        finally:
            await see_through(self._cut_off(stopping))

    async def _cut_off(self, stopping: asyncio.Task[None]) -> None:
        await self.server.stop(0)
        await stopping
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLEAN_UP_SECONDS):
                await self._gate.wait_idle()
        self._service.close()

    async def _report(self) -> None:
        """Keep the health service truthful: other processes wait for it before they call."""
        while True:
            self.changed.clear()
            await self.server.report_health({"": True} | self._agents())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REPORT_SECONDS):
                    await self.changed.wait()


class _LocalAgents:
    """The agents of this process, for calls from outside. Connected ones are not passed on."""

    def __init__(self, runtime: Runtime, is_local: Callable[[str], bool], calls: RunningCalls) -> None:
        self._runtime = runtime
        self._is_local = is_local
        self._calls = calls
        self._configs: dict[str, AgentConfig] = {}

    def wanted(self, name: str) -> AgentConfig | None:
        """Return a configuration for an agent that was made in code."""
        if not self._is_local(name):
            return None
        config = self._configs.get(name)
        if config is None:
            timeout = self._runtime.config().timeout or LONGEST_CALL_SECONDS
            config = self._configs[name] = AgentConfig(
                name=name,
                namespace="",
                role="custom",
                timeout_seconds=max(1, math.ceil(timeout)),
                session=self._runtime.session_settings(name),
            )
        return config

    @asynccontextmanager
    async def use(self, name: str) -> AsyncIterator[Callee]:
        """Start the agent if it has not been started, and return it."""
        config = self.wanted(name)
        if config is None:
            raise AgentNotFoundError(name)
        if not self._calls.limited:
            yield Callee(config, await self._runtime.ready_agent(name))
            return
        async with self._calls.place():
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
