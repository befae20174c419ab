"""``/statusz``: what a runtime says of itself. The operator derives every truthful condition from it."""

from __future__ import annotations

from typing import Literal

from aixgo.contract.model import ContractModel
from aixgo.version import CONTRACT_VERSION


class AgentStatus(ContractModel, frozen=True, kw_only=True):
    """One agent as it is being served."""

    name: str
    ready: bool
    #: Revision of the agent's configuration that is being served (not the one that failed to load).
    revision: str
    #: Why the newest configuration of this agent could not be loaded, or why it is not ready. Never a secret.
    error: str | None = None
    #: Whether the newest configuration of this agent is in force. True with ``ready`` false: it is loaded
    #: and cannot answer, because it is suspended or its model is not reachable. False with ``ready`` true:
    #: the old one answers.
    loaded: bool = True


class TLSStatus(ContractModel, frozen=True, kw_only=True):
    """The certificate that new connections meet."""

    mode: Literal["Mutual", "External", "Disabled"]
    serial_number: str | None = None
    sha256_fingerprint: str | None = None
    not_after: str | None = None
    #: SHA-256 of each CA certificate in the trust bundle.
    trust_bundle: tuple[str, ...] = ()
    last_reload_error: str | None = None


class SessionStatus(ContractModel, frozen=True, kw_only=True):
    """The session backend as this runtime sees it."""

    type: Literal["Redis", "File", "None"]
    ready: bool
    error: str | None = None
    #: SHA-256 of each CA certificate that a Redis may be signed by. None: not known, or no such file.
    trust_bundle: tuple[str, ...] | None = None


class RefusedCalls(ContractModel, frozen=True, kw_only=True):
    """Calls that one caller made of one agent, and that were refused with PERMISSION_DENIED."""

    agent: str
    #: SPIFFE id in the caller's certificate, which the installation's authority signed; "": it has none.
    caller: str
    #: Since the process started.
    count: int
    #: RFC 3339.
    last_at: str


class Statusz(ContractModel, frozen=True, kw_only=True):
    """The JSON document at ``/statusz``."""

    version: str
    contract: int = CONTRACT_VERSION
    started_at: str
    config_revision: str
    draining: bool = False
    in_flight: int = 0
    agents: tuple[AgentStatus, ...] = ()
    tls: TLSStatus
    sessions: SessionStatus
    #: Why the newest ``runtime.json`` was refused; the previous one goes on being served.
    last_config_error: str | None = None
    #: Callers that the present rules refuse, and that tried; the latest of them.
    refused_calls: tuple[RefusedCalls, ...] = ()
