"""The runtime process as one object: parts, their wiring, and what changes while it runs."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from aixgo.agents.services import AgentServices
from aixgo.agents.url_guard import LOCAL, AddressPolicy
from aixgo.contract import RUNTIME_JSON, TLS_CA, TLS_CERT, TLS_KEY, RuntimeConfig, Statusz
from aixgo.files import Stamp, stamp
from aixgo.observability.logs import get_logger
from aixgo.observability.prometheus import PrometheusMetrics
from aixgo.observability.redaction import remember_secret
from aixgo.observability.tracing import NO_TRACING, wanted_exporter
from aixgo.rpc.authorization import Authorizer
from aixgo.rpc.certificates import CertificateStore
from aixgo.rpc.credentials import server_credentials
from aixgo.rpc.server import RpcServer, server_options
from aixgo.rpc.service import AgentService, Rules
from aixgo.runtime.channels import Channels
from aixgo.runtime.gate import CallGate
from aixgo.server.admin import AdminServer
from aixgo.server.agent_calls import AgentCalls
from aixgo.server.agent_channels import AgentChannels
from aixgo.server.agent_set import AgentSet
from aixgo.server.backends import session_secrets
from aixgo.server.configuration import ConfigurationError, load_configuration
from aixgo.server.model_probe import ModelProbe
from aixgo.server.secret_files import SecretFiles
from aixgo.server.sessions import Sessions
from aixgo.server.status import Check, judge, overall, rfc3339, tls_status
from aixgo.version import version

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from aixgo.contract import RuntimePaths
    from aixgo.observability.otel import OpenTelemetryTracing

#: Addresses on which nobody but this machine is served.
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "[::1]", "localhost"})
#: Seconds between two looks at the files. A look is a few system calls.
WATCH_SECONDS = 0.2
#: Seconds between two tries to load an agent that could not be loaded.
RETRY_AGENTS_SECONDS = 15.0
#: Seconds between two reports to the health service when nothing calls for one.
HEALTH_SECONDS = 1.0
#: What streams that never end by themselves (health watch, reflection) get when all calls have ended.
STREAM_GRACE_SECONDS = 0.2
#: Time for calls that were cut off to undo what they began.
CLEAN_UP_SECONDS = 2.0

_log = get_logger("aixgo.server")


@dataclass(slots=True)
class _Stamps:
    """The versions of the files that were last looked at."""

    config: Stamp
    secrets: Stamp
    session_tls: Stamp


class RuntimeServer:
    """Everything behind the two ports of a runtime."""

    def __init__(self, paths: RuntimePaths, config: RuntimeConfig, host: str = "") -> None:
        """Build the parts and bind the gRPC port; nothing runs yet.

        Args:
            paths: Where the files of the contract are.
            config: The configuration to begin with.
            host: The address to listen on; "" is every address. On a loopback address this is local mode:
                model endpoints and MCP servers may be on this machine, and MCP servers may be programs.

        Raises:
            InvalidCertificateError: mode Mutual, and the certificate cannot be used.
            ListenError: the gRPC port cannot be bound.
            ValueError: the environment asks for an exporter of traces that there is not.
        """
        self._paths = paths
        self._config = config
        self._config_error: str | None = None
        self.started_at = datetime.now(UTC)
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        secrets = SecretFiles(paths.secrets)
        self._secrets = secrets
        self._stamps = self._look()

        self.metrics = PrometheusMetrics()
        self._tracing = _open_tracing(config)
        self._gate = CallGate(config.limits.max_concurrent_calls, self.metrics)
        self._channels = Channels()
        # Who listens on loopback only is no pod: a laptop, or a test.
        local = host in LOOPBACK_HOSTS
        policy = LOCAL if local else AddressPolicy()
        self._probe = ModelProbe(self._changed.set, policy)
        self._calls = AgentCalls(
            paths.tls if config.tls.mode == "Mutual" else None, self.metrics, self._tracing or NO_TRACING
        )
        services = AgentServices(policy, local, self.metrics, secrets.headers, self._calls)
        self._inputs = AgentChannels(self._channels, self._calls)
        self._agents = AgentSet(secrets, self._probe.error, self._agents_changed, services, self._inputs)
        self._calls.serve(self._agents)
        self._sessions = Sessions(paths, secrets, self._changed.set)
        self._certificates: CertificateStore | None = None
        if config.tls.mode == "Mutual":
            certificates = CertificateStore(paths.tls, self._certificate_reloaded)
            self._certificates = certificates
            remember_secret(certificates.bundle.key_pem.decode("ascii", "replace"))
            self.metrics.watch_certificate(lambda: certificates.bundle.not_after.timestamp())
        self.metrics.watch_session_backend(self._session_backend)
        service = AgentService(
            agents=self._agents,
            sessions=self._sessions,
            gate=self._gate,
            channels=self._channels,
            rules=_rules(config),
            metrics=self.metrics,
            on_model_unreachable=self._probe.look_now,
            tracing=self._tracing or NO_TRACING,
            max_message_bytes=config.grpc.max_message_bytes,
        )
        self._service = service
        self._rpc = RpcServer(
            service,
            f"{host or '[::]'}:{config.grpc.port}",
            partial(server_credentials, self._certificates) if self._certificates is not None else None,
            server_options(config.grpc, config.limits.drain_timeout_seconds),
        )
        self.metrics.watch_connections(self._rpc.port)
        self._admin = AdminServer(self, host, config.admin.port)

    @property
    def grpc_port(self) -> int:
        """The port of the gRPC listener."""
        return self._rpc.port

    async def start(self) -> None:
        """Open both ports, load the agents and begin to watch.

        Raises:
            OSError: the admin port cannot be bound.
        """
        await self._admin.start()
        self._apply(self._config)
        self._run("sessions", self._sessions.run())
        self._run("model probe", self._probe.run())
        self._run("watch", self._watch())
        self._run("retry", self._retry())
        self._run("health", self._report())
        await self._rpc.start()
        _log.info(
            "listening",
            runtime=self._config.runtime.name,
            namespace=self._config.runtime.namespace,
            grpc_port=self._rpc.port,
            admin_port=self._admin.port,
            revision=self._config.revision,
            version=version(),
        )

    async def drain(self) -> bool:
        """Refuse new calls and wait for the running ones, at most the drain timeout.

        Returns:
            Whether all of them ended by themselves.
        """
        seconds = float(self._config.limits.drain_timeout_seconds)
        _log.info("draining", in_flight=self._gate.in_flight, timeout_seconds=seconds)
        self._gate.draining = True
        pumping = asyncio.create_task(self._finish_inputs(seconds))
        await self._rpc.report_health({"": False})
        # From here on clients are told to go elsewhere; what runs may end.
        stopping = asyncio.create_task(self._rpc.stop(seconds))
        drained = True
        try:
            async with asyncio.timeout(seconds):
                await self._gate.wait_idle()
                drained = await pumping
        except TimeoutError:
            drained = False
            _log.warning("calls were cut off", in_flight=self._gate.in_flight)
        await self._rpc.stop(STREAM_GRACE_SECONDS)
        await stopping
        if not drained:
            # What was cut off still has to clean up after itself, while the session backend is there.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLEAN_UP_SECONDS):
                    await self._gate.wait_idle()
        return drained

    async def _finish_inputs(self, seconds: float) -> bool:
        """Read no more inputs, and close the channels when what was read is answered."""
        try:
            return await self._inputs.stop(seconds)
        finally:
            self._channels.close()

    async def close(self) -> None:
        """Stop what still runs. Calls that are running are cut off; use :meth:`drain` before."""
        await self._rpc.stop(0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._inputs.stop(0)
        await self._agents.close()
        await self._calls.close()
        await self._sessions.close()
        await self._admin.stop()
        if self._tracing is not None:
            await self._tracing.close()

    def statusz(self) -> Statusz:
        """Return the document of ``/statusz``."""
        return Statusz(
            version=version(),
            started_at=rfc3339(self.started_at),
            config_revision=self._config.revision,
            draining=self._gate.draining,
            in_flight=self._gate.in_flight,
            agents=self._agents.statuses(),
            tls=tls_status(self._certificates, self._plaintext_mode()),
            sessions=self._sessions.status(),
            last_config_error=self._config_error,
            refused_calls=self._service.refusals.snapshot(),
        )

    def checks(self) -> list[Check]:
        """Return what the parts of the process are like now."""
        persistent = [agent.name for agent in self._config.agents if agent.session.mode == "Persistent"]
        return judge(self.statusz(), persistent, datetime.now(UTC))

    def _agents_changed(self) -> None:
        if self._tracing is not None:
            # The library of models is imported with the first agent that needs it.
            self._tracing.instrument_models()
        self._changed.set()

    def _session_backend(self) -> tuple[str, bool]:
        status = self._sessions.status()
        return status.type, status.ready

    def _plaintext_mode(self) -> Literal["External", "Disabled"]:
        return "External" if self._config.tls.mode == "External" else "Disabled"

    def _run(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(_log_death)
        self._tasks.append(task)

    def _apply(self, config: RuntimeConfig) -> None:
        """Put a configuration in force."""
        self._gate.max_concurrent = config.limits.max_concurrent_calls
        self._probe.watch(config.agents)
        self._sessions.apply(config.sessions)
        self._calls.apply(config)
        self._agents.apply(config.agents)
        self._service.apply(_rules(config))
        self._config = config
        self._config_error = None
        self._stamps.secrets = self._look().secrets
        self._changed.set()

    def _look(self) -> _Stamps:
        secrets = [reference for agent in self._config.agents for reference in self._secrets.of_agent(agent)]
        secrets += session_secrets(self._config.sessions)
        names = sorted({f"{reference.secret}/{reference.key}" for reference in secrets})
        return _Stamps(
            config=stamp(self._paths.config, (RUNTIME_JSON,)),
            secrets=stamp(self._paths.secrets, names),
            session_tls=stamp(self._paths.session_tls, (TLS_CA, TLS_CERT, TLS_KEY)),
        )

    async def _watch(self) -> None:
        """Follow the files. One look costs less than a millisecond; nothing here may end the loop."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            newest = self._look()
            if newest.config != self._stamps.config:
                self._stamps.config = newest.config
                self._reload_configuration()
            if newest.secrets != self._stamps.secrets:
                self._stamps.secrets = newest.secrets
                self._agents.reload_secrets()
                self._sessions.look_now()
            if newest.session_tls != self._stamps.session_tls:
                self._stamps.session_tls = newest.session_tls
                self._sessions.look_now()
            if self._certificates is not None:
                self._certificates.refresh()

    async def _retry(self) -> None:
        while True:
            await asyncio.sleep(RETRY_AGENTS_SECONDS)
            self._agents.retry_failed()

    async def _report(self) -> None:
        """Keep the gRPC health service truthful."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEALTH_SECONDS):
                    await self._changed.wait()
            self._changed.clear()
            if self._gate.draining:
                return
            serving = {agent.name: agent.ready for agent in self._agents.statuses()}
            await self._rpc.report_health({"": overall(self.checks()) != "unhealthy"} | serving)

    def _reload_configuration(self) -> None:
        try:
            config = load_configuration(self._paths.config)
        except ConfigurationError as error:
            self._config_error = str(error)
            self.metrics.config_reload("failed")
            _log.error("new configuration refused, the old one goes on", error=str(error))
            return
        for part in _needs_restart(self._config, config):
            _log.warning("takes effect after a restart only", part=part)
        self._apply(config)
        self.metrics.config_reload("ok")
        _log.info("configuration reloaded", revision=config.revision)

    def _certificate_reloaded(self, error: str | None) -> None:
        # Called from gRPC's threads, too; the collector and the log are thread-safe.
        if error is not None:
            self.metrics.tls_reload("failed")
            _log.error("new certificate refused, the old one goes on", error=error)
            return
        self.metrics.tls_reload("ok")
        if self._certificates is not None:
            bundle = self._certificates.bundle
            remember_secret(bundle.key_pem.decode("ascii", "replace"))
            _log.info(
                "certificate reloaded",
                serial_number=bundle.serial_number,
                not_after=rfc3339(bundle.not_after),
            )


def _open_tracing(config: RuntimeConfig) -> OpenTelemetryTracing | None:
    if wanted_exporter() is None:
        return None
    # Without an exporter the SDK is not even imported.
    from aixgo.observability.otel import open_tracing

    return open_tracing(
        {"aixgo.runtime": config.runtime.name, "k8s.namespace.name": config.runtime.namespace}
    )


def _rules(config: RuntimeConfig) -> Rules:
    authorizer = Authorizer(config.runtime.trust_domain, enforced=config.tls.mode == "Mutual")
    return Rules(authorizer, config.runtime.namespace)


def _needs_restart(old: RuntimeConfig, new: RuntimeConfig) -> list[str]:
    """Return the changed parts of the configuration that only a new process takes up."""
    parts = {
        "grpc": old.grpc != new.grpc,
        "admin": old.admin != new.admin,
        "tls.mode": old.tls.mode != new.tls.mode,
    }
    return [part for part, changed in parts.items() if changed]


def _log_death(task: asyncio.Task[None]) -> None:
    """A loop that dies would make the process lie from then on; say so loudly."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.critical("background task died", task=task.get_name(), exc_info=error)
