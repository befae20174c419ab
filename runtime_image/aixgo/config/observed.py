"""What the admin endpoints show of a runtime that runs out of a configuration file."""

from __future__ import annotations

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
        self._persistent = [agent.name for agent in agents if agent.session.mode == "Persistent"]
        self._sessions = sessions
        self._certificates = certificates
        self.started_at = datetime.now(UTC)

    def statusz(self) -> Statusz:
        """Return the document of ``/statusz``."""
        return Statusz(
            version=version(),
            started_at=rfc3339(self.started_at),
            config_revision="",
            draining=self.stopping,
            agents=tuple(self._agent(name) for name in sorted(self._revisions)),
            tls=tls_status(self._certificates),
            sessions=self._sessions.status()
            if self._sessions is not None
            else SessionStatus(type="None", ready=True),
        )

    def checks(self) -> list[Check]:
        """Return what the parts of the process are like now."""
        started = Check("started", ok=self.started, message="started" if self.started else "starting")
        return [*judge(self.statusz(), self._persistent, datetime.now(UTC)), started]

    def _agent(self, name: str) -> AgentStatus:
        why = self._runtime.why_not_ready(name)
        return AgentStatus(name=name, ready=why is None, revision=self._revisions[name], error=why)
