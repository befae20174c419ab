"""What the admin endpoints show of a runtime that runs out of a configuration file."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aixgo.contract import AgentConfig, AgentStatus, SessionStatus, Statusz, content_hash
from aixgo.observability.prometheus import resident_bytes
from aixgo.server.status import Check, Health, checks, health_document, overall, rfc3339, tls_status
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
        self._started_at = datetime.now(UTC)

    def statusz(self) -> Statusz:
        """Return the document of ``/statusz``."""
        certificates = self._certificates
        return Statusz(
            version=version(),
            started_at=rfc3339(self._started_at),
            config_revision="",
            draining=self.stopping,
            agents=tuple(self._agent(name) for name in sorted(self._revisions)),
            tls=tls_status(
                "Mutual" if certificates is not None else "Disabled",
                certificates.bundle if certificates is not None else None,
                certificates.last_reload_error if certificates is not None else None,
            ),
            sessions=self._sessions.status()
            if self._sessions is not None
            else SessionStatus(type="None", ready=True),
        )

    def health(self) -> dict[str, Any]:
        """Return the document of ``/health``."""
        return health_document(
            self._checks(),
            self._started_at,
            datetime.now(UTC),
            memory_bytes=resident_bytes(),
            tasks=len(asyncio.all_tasks()),
        )

    def condition(self) -> Health:
        """Return the sum of the health checks."""
        return overall(self._checks())

    def _checks(self) -> list[Check]:
        started = Check("started", ok=self.started, message="started" if self.started else "starting")
        return [*checks(self.statusz(), self._persistent, datetime.now(UTC)), started]

    def _agent(self, name: str) -> AgentStatus:
        why = self._runtime.why_not_ready(name)
        return AgentStatus(name=name, ready=why is None, revision=self._revisions[name], error=why)
