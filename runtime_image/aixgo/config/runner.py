"""``aixgo run``: the agents of a configuration file, from start to a graceful end (Go: RunWithConfig)."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from aixgo.agents.factory import build_agent
from aixgo.agents.services import AgentServices
from aixgo.agents.url_guard import LOCAL
from aixgo.config.models import split_address
from aixgo.config.observed import Observation
from aixgo.config.problems import ConfigError
from aixgo.config.sessions import AutoCheckpoints, SessionStore, open_backend
from aixgo.config.translate import CALL_TIMEOUT_SECONDS, Connection
from aixgo.contract import TLS_CA, TLS_CERT, TLS_KEY
from aixgo.errors import AixgoError
from aixgo.observability.logs import get_logger
from aixgo.observability.metrics import MetricsCollector, NoMetrics
from aixgo.observability.prometheus import PrometheusMetrics
from aixgo.observability.tracing import wanted_exporter
from aixgo.rpc.certificates import InvalidCertificateError
from aixgo.runtime import DistributedRuntime, Runtime, TLSConfig
from aixgo.runtime.errors import AgentLoadError, ListenError
from aixgo.runtime.pump import InputPump, needs_pump
from aixgo.server.admin import AdminServer
from aixgo.server.stopping import stop_requests
from aixgo.version import version

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from aixgo.agents.protocol import Agent
    from aixgo.config.reading import ConfigFile
    from aixgo.config.translate import Plan
    from aixgo.observability.otel import OpenTelemetryTracing

#: Exit codes of the command.
OK, FAILED = 0, 1
#: How long messages in work may go on after a request to stop, in seconds.
GRACE_SECONDS = 20.0
#: How long an agent may take until it is ready, in seconds (Go: AgentStartTimeout).
START_TIMEOUT_SECONDS = 30.0

_log = get_logger("aixgo.run")


class StartError(AixgoError):
    """The configuration is good and cannot be run now: a port is taken, an agent does not become ready."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is not in the file."""

    #: Address of the admin server; "" is every address.
    host: str = ""
    #: Its port; 0 takes a free one.
    http_port: int = 8080
    connection: Connection = field(default_factory=Connection)


def build_agents(file: ConfigFile, plan: Plan, metrics: MetricsCollector | None = None) -> list[Agent]:
    """Build all agents. Imports what their roles need, which may take seconds.

    Raises:
        ConfigError: agents cannot be built; all of them with their place in the file.
    """
    services = AgentServices(
        policy=LOCAL, programs=True, metrics=metrics or NoMetrics(), headers=plan.read_headers
    )
    if any(config.role == "custom" for config in plan.agents):
        # Modules beside the file are found, too, after everything that is installed.
        sys.path.append(str(Path(file.name).resolve().parent))
    agents, problems = [], []
    for index, config in enumerate(plan.agents):
        try:
            agents.append(build_agent(config, plan.secrets.read, services))
        except AgentLoadError as error:
            text = f"failed to create agent {config.name}: {error}"
            problems.append(file.problem(text, "agents", index))
    if problems:
        raise ConfigError(file.name, problems)
    return agents


def run(file: ConfigFile, plan: Plan, environment: Mapping[str, str], options: Options) -> int:
    """Run the agents until SIGTERM, SIGINT or SIGHUP. A second one ends the process at once.

    Returns:
        0 after a graceful end; 1 when the start failed or messages in work had to be cut off.

    Raises:
        ConfigError: an agent cannot be built.
    """
    metrics = PrometheusMetrics()
    agents = build_agents(file, plan, metrics)
    for warning in plan.warnings:
        _log.warning(warning.text, file=file.name, line=warning.place.line, column=warning.place.column)
    return uvloop.run(_serve(plan, agents, environment, options, metrics))


async def _serve(
    plan: Plan,
    agents: list[Agent],
    environment: Mapping[str, str],
    options: Options,
    metrics: PrometheusMetrics,
) -> int:
    stop = stop_requests()
    process: ConfiguredRuntime | None = None
    try:
        process = ConfiguredRuntime(plan, agents, environment, options, metrics)
        starting = asyncio.create_task(process.start())
        stopping = asyncio.create_task(stop.get())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.wait({starting})
            return OK
        starting.result()
        await stopping
        _log.info("stopping")
        draining = asyncio.create_task(process.drain())
        impatient = asyncio.create_task(stop.get())
        await asyncio.wait({draining, impatient}, return_when=asyncio.FIRST_COMPLETED)
        impatient.cancel()
        drained = draining.done() and draining.result()
        if not draining.done():
            draining.cancel()
            await asyncio.wait({draining})
    except (AixgoError, InvalidCertificateError) as error:
        _log.error("start failed", error=str(error))
        return FAILED
    finally:
        if process is not None:
            await process.close()
    _log.info("stopped", drained=drained)
    return OK if drained else FAILED


class ConfiguredRuntime:
    """The agents of a plan in a runtime, with the admin server and the session store beside them."""

    def __init__(
        self,
        plan: Plan,
        agents: list[Agent],
        environment: Mapping[str, str],
        options: Options,
        metrics: PrometheusMetrics,
    ) -> None:
        """Build the parts; nothing runs yet.

        Raises:
            InvalidCertificateError: the certificate cannot be used.
            StartError: the settings of the session store are wrong.
        """
        self._plan = plan
        self._tasks: list[asyncio.Task[None]] = []
        self._pumps: list[InputPump] = []
        self._store = _open_store(plan, environment)
        self._tracing = _open_tracing()
        self.runtime = _runtime(
            plan,
            options.connection,
            session_manager=self._store.manager if self._store is not None else None,
            metrics=metrics,
            tracing=self._tracing,
            timeout=float(CALL_TIMEOUT_SECONDS),
            agent_start_timeout=START_TIMEOUT_SECONDS,
        )
        for config, agent in zip(plan.agents, agents, strict=True):
            self.runtime.register(config.name, agent, session=config.session)
        self.runtime.route(plan.routing)
        certificates = self.runtime.certificates if isinstance(self.runtime, DistributedRuntime) else None
        self.observed = Observation(self.runtime, plan.agents, metrics, self._store, certificates)
        metrics.watch_session_backend(self.observed.session_backend)
        if certificates is not None:
            metrics.watch_certificate(lambda: certificates.bundle.not_after.timestamp())
        self._admin = AdminServer(self.observed, options.host, options.http_port)

    @property
    def http_port(self) -> int:
        """The port of the admin server."""
        return self._admin.port

    async def start(self) -> None:
        """Start everything, agents by what they depend on.

        Raises:
            StartError: a port cannot be bound.
            PhaseStartError: an agent did not become ready.
        """
        try:
            await self._admin.start()
        except OSError as error:
            text = f"cannot listen on HTTP port {self._admin.port}: {error.strerror}"
            raise StartError(text) from error
        if self._store is not None:
            if (why := await self._store.look()) is not None:
                _log.warning("session store is not ready", error=why)
            self._run("sessions", self._store.watch())
        try:
            await self.runtime.start()
        except ListenError as error:
            addresses = ", ".join(self._plan.listen)
            raise StartError(f"cannot listen for calls on {addresses}") from error
        self.observed.metrics.watch_connections(*(split_address(each)[1] for each in self._listening()))
        if isinstance(self.runtime, DistributedRuntime):
            for name, address in self._plan.remotes.items():
                await self.runtime.connect(name, address)
        await self.runtime.start_agents_phased(self._plan.dependencies)
        for config in self._plan.agents:
            self._pump(config.name)
        self._save_checkpoints()
        self.observed.started = True
        _log.info(
            "all agents started",
            agents=len(self._plan.agents),
            http_port=self.http_port,
            listen=self._listening(),
            version=version(),
        )

    async def drain(self) -> bool:
        """Take no more messages and calls, and let those in work end, for a while.

        Returns:
            Whether all messages in work did.
        """
        self.observed.stopping = True
        ended = await asyncio.gather(*(pump.stop(GRACE_SECONDS) for pump in self._pumps))
        await self.runtime.stop()
        return all(ended)

    async def close(self) -> None:
        """Stop everything."""
        self.observed.stopping = True
        await asyncio.gather(*(pump.stop() for pump in self._pumps))
        await self.runtime.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._store is not None:
            await self._store.close()
        await self._admin.stop()
        if self._tracing is not None:
            await self._tracing.close()

    def _pump(self, name: str) -> None:
        config = next(each for each in self._plan.agents if each.name == name)
        if not needs_pump(self.runtime.get(name), config.inputs):
            return
        pump = InputPump(
            name,
            role=config.role,
            inputs=config.inputs,
            outputs=config.outputs,
            mailbox=self.runtime.mailbox(name),
            call=partial(self.runtime.call, name),
        )
        pump.start()
        self._pumps.append(pump)

    def _save_checkpoints(self) -> None:
        session = self._plan.session
        if self._store is None or session is None or not session.checkpoint.auto_save:
            return
        saving = AutoCheckpoints(self._store.manager, self._plan.persistent, session.checkpoint.interval)
        self._run("checkpoints", saving.run())

    def _listening(self) -> list[str]:
        if not self._plan.listen or not isinstance(self.runtime, DistributedRuntime):
            return []
        return list(self.runtime.listen_addresses)

    def _run(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(_log_death)
        self._tasks.append(task)


def _runtime(plan: Plan, connection: Connection, **settings: Any) -> Runtime:
    if not plan.listen and not plan.remotes:
        return Runtime(**settings)
    tls: TLSConfig | None = None
    if (directory := connection.tls_directory) is not None:
        tls = TLSConfig(directory / TLS_CERT, directory / TLS_KEY, directory / TLS_CA)
    # A runtime that only calls others has an address, too; nobody else can reach it.
    addresses = plan.listen or ("127.0.0.1:0",)
    # Plaintext was allowed by the user, or the plan keeps it on this machine.
    return DistributedRuntime(
        addresses, tls=tls, allow_insecure=tls is None, stop_grace=GRACE_SECONDS, **settings
    )


def _open_tracing() -> OpenTelemetryTracing | None:
    if wanted_exporter() is None:
        return None
    from aixgo.observability.otel import open_tracing

    tracing = open_tracing({})
    tracing.instrument_models()
    return tracing


def _open_store(plan: Plan, environment: Mapping[str, str]) -> SessionStore | None:
    if plan.session is None:
        return None
    try:
        return SessionStore(plan.session, open_backend(plan.session, environment))
    except ValueError as error:
        raise StartError(f"session: {error}") from error
    except ImportError as error:
        raise StartError(
            "session: store redis needs the extra 'redis': pip install 'aixgo[redis]'"
        ) from error


def _log_death(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.critical("background task died", task=task.get_name(), exc_info=error)
