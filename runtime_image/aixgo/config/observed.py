"""What the admin endpoints show of a runtime that runs out of a configuration file."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aixgo.contract import AgentConfig, AgentStatus, SessionStatus, Statusz, content_hash
from aixgo.server.status import Check, judge, rfc3339, tls_status
from aixgo.version import version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aixgo.config.sessions import SessionStore
    from aixgo.observability.prometheus import PrometheusMetrics
    from aixgo.rpc.certificates import CertificateStore
    from aixgo.runtime import Runtime


class Observation:
    """The admin server's view (see :class:`aixgo.server.admin.Observed`)."""

    def __init__(
        self,
        runtime: Runtime,
        agents: Sequence[AgentConfig],
        metrics: PrometheusMetrics,
        sessions: SessionStore | None,
        certificates: CertificateStore | None,
    ) -> None:
        self.metrics = metrics
        self.stopping = False
        #: Whether all agents were started once.
        self.started = False
        self._runtime = runtime
        self._revisions = {agent.name: content_hash(agent) for agent in agents}
        text = "\n".join(f"{name} {revision}" for name, revision in sorted(self._revisions.items()))
        self._revision = hashlib.sha256(text.encode()).hexdigest()[:16]
        self._persistent = [agent.name for agent in agents if agent.session.mode == "Persistent"]
        self._sessions = sessions
        self._certificates = certificates
        self.started_at = datetime.now(UTC)

    def statusz(self) -> Statusz:
        """Return the document of ``/statusz``."""
        return Statusz(
            version=version(),
            started_at=rfc3339(self.started_at),
            config_revision=self._revision,
            draining=self.stopping,
            agents=tuple(self._agent(name) for name in sorted(self._revisions)),
            tls=tls_status(self._certificates),
            sessions=self._session_status(),
        )

    def checks(self) -> list[Check]:
        """Return what the parts of the process are like now."""
        started = Check("started", ok=self.started, message="started" if self.started else "starting")
        return [*judge(self.statusz(), self._persistent, datetime.now(UTC)), started]

    def session_backend(self) -> tuple[str, bool]:
        """Return the type of the session backend and whether it answers."""
        status = self._session_status()
        return status.type, status.ready

    def _session_status(self) -> SessionStatus:
        if self._sessions is None:
            return SessionStatus(type="None", ready=True)
        return self._sessions.status()

    def _agent(self, name: str) -> AgentStatus:
        why = self._runtime.why_not_ready(name)
        return AgentStatus(name=name, ready=why is None, revision=self._revisions[name], error=why)
