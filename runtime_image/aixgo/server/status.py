"""What a runtime says of itself: ``/statusz``, and health in the form of Aixgo v0.3.3.

Functions from data to data.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from aixgo.contract import AgentStatus, Statusz, TLSStatus
from aixgo.version import version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aixgo.rpc.certificates import CertificateStore

Health = Literal["healthy", "degraded", "unhealthy"]


@dataclass(frozen=True, slots=True)
class Check:
    """One part of the process's health.

    A critical one that fails makes the process unhealthy, another one degraded.
    """

    name: str
    ok: bool
    message: str
    critical: bool = True


def tls_status(
    certificates: CertificateStore | None, without: Literal["External", "Disabled"] = "Disabled"
) -> TLSStatus:
    """Return what ``/statusz`` says of the certificate that new connections meet.

    Args:
        certificates: Certificates of mutual TLS, or None.
        without: The mode when there are none.
    """
    if certificates is None:
        return TLSStatus(mode=without)
    bundle = certificates.bundle
    return TLSStatus(
        mode="Mutual",
        serial_number=bundle.serial_number,
        sha256_fingerprint=bundle.sha256_fingerprint,
        not_after=rfc3339(bundle.not_after),
        trust_bundle=bundle.trust_bundle,
        last_reload_error=certificates.last_reload_error,
    )


def judge(status: Statusz, persistent_agents: Sequence[str], now: datetime) -> list[Check]:
    """Judge the parts of the process.

    A model that is not reachable and one broken agent among others degrade; they must not take the pod away
    from the agents that work. Nothing to call at all, no valid certificate or draining does.

    Args:
        status: What the process says of itself.
        persistent_agents: Names of the agents that keep sessions.
        now: The present moment, with its time zone.
    """
    return [
        Check("ping", ok=True, message="the process answers"),
        _draining_check(status.draining),
        *_agent_checks(status.agents),
        _tls_check(status.tls, now),
        _session_check(status, persistent_agents),
    ]


def overall(results: Sequence[Check]) -> Health:
    """Return the sum of the checks."""
    if any(not check.ok and check.critical for check in results):
        return "unhealthy"
    return "healthy" if all(check.ok for check in results) else "degraded"


def health_document(
    results: Sequence[Check], started_at: datetime, now: datetime, *, memory_bytes: float, tasks: int
) -> dict[str, Any]:
    """Return the JSON document of ``/health``, with the keys and units of Aixgo v0.3.3."""
    megabytes = round(memory_bytes / 2**20, 1)
    return {
        "status": overall(results),
        "timestamp": rfc3339(now),
        "version": version(),
        "uptime": int((now - started_at).total_seconds() * 1e9),
        "checks": {
            check.name: {
                "status": "healthy" if check.ok else "unhealthy" if check.critical else "degraded",
                "message": check.message,
                "last_checked": rfc3339(now),
                "duration": 0,
            }
            for check in results
        },
        "system": {
            "num_goroutines": tasks,
            "num_cpu": os.cpu_count() or 1,
            "mem_alloc_mb": megabytes,
            "mem_sys_mb": megabytes,
        },
    }


def rfc3339(moment: datetime) -> str:
    """Return a moment as RFC 3339 in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _draining_check(draining: bool) -> Check:
    return Check("accepting", ok=not draining, message="draining" if draining else "taking calls")


def _agent_checks(agents: Sequence[AgentStatus]) -> list[Check]:
    """Judge the agents: loaded is what the process can do something about, ready is what a caller meets."""
    served = [agent for agent in agents if agent.revision]
    troubled = [
        f"{agent.name}: {agent.error}" for agent in agents if agent.error and agent.error != "suspended"
    ]
    return [
        Check(
            "agents",
            ok=bool(served) or not agents,
            message=f"{len(served)} of {len(agents)} agents are loaded",
        ),
        Check(
            "agents_ready",
            ok=not troubled,
            message="; ".join(troubled) or "no agent has a problem",
            critical=False,
        ),
    ]


def _tls_check(tls: TLSStatus, now: datetime) -> Check:
    if tls.not_after is None:
        return Check("tls", ok=True, message=f"mode {tls.mode}")
    expired = datetime.fromisoformat(tls.not_after) <= now
    text = f"the certificate expired at {tls.not_after}" if expired else f"valid until {tls.not_after}"
    return Check("tls", ok=not expired, message=text)


def _session_check(status: Statusz, persistent_agents: Sequence[str]) -> Check:
    sessions = status.sessions
    names = [agent.name for agent in status.agents]
    every_agent_needs_it = bool(names) and set(names) <= set(persistent_agents)
    message = sessions.error or (
        "no session backend" if sessions.type == "None" else f"{sessions.type} is ready"
    )
    return Check("sessions", ok=sessions.ready, message=message, critical=every_agent_needs_it)
