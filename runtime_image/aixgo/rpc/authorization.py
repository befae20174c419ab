"""Who may call which agent: the caller is known by the URI SAN of its certificate."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from aixgo.runtime.errors import CallerNotAllowedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aixgo.contract import AgentConfig

#: Callers of every namespace.
EVERY_NAMESPACE = "*"
SPIFFE_ID = re.compile(
    r"spiffe://(?P<trust_domain>[a-z0-9._-]{1,255})/ns/(?P<namespace>[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)/.+"
)


@dataclass(frozen=True, slots=True)
class Caller:
    """The verified identity of a caller."""

    spiffe_id: str
    namespace: str


def identify(uris: Sequence[str], trust_domain: str) -> Caller | None:
    """Return the caller with these URI SANs. None if none of them is of our trust domain, or more than one
    is.

    Two identities in one certificate would let a caller choose; such a certificate identifies nobody.
    """
    return _identified(tuple(uris), trust_domain)


@lru_cache(maxsize=1024)  # the same few callers come again and again
def _identified(uris: tuple[str, ...], trust_domain: str) -> Caller | None:
    callers = [
        Caller(uri, match["namespace"])
        for uri in uris
        if (match := SPIFFE_ID.fullmatch(uri)) and match["trust_domain"] == trust_domain
    ]
    return callers[0] if len(callers) == 1 else None


def uris_of(auth_context: Mapping[str, Iterable[bytes]]) -> list[str]:
    """Return the URI SANs in a gRPC authentication context."""
    return [value.decode("utf-8", "replace") for value in auth_context.get("peer_uri", ())]


class Authorizer:
    """Decides with the caller's namespace: the agent's own may call, others when the agent allows them."""

    def __init__(self, trust_domain: str, *, enforced: bool = True) -> None:
        """Make an authorizer.

        Args:
            trust_domain: The SPIFFE trust domain of valid callers.
            enforced: False in the TLS modes External (the mesh decides) and Disabled.
        """
        self._trust_domain = trust_domain
        #: False: everybody may call.
        self.enforced = enforced

    def check(
        self, uris: Sequence[str], agent_name: str, agent: AgentConfig | None, home_namespace: str
    ) -> None:
        """Return if the caller may call the agent.

        Args:
            uris: The URI SANs of the caller's certificate.
            agent_name: The name that the caller asks for.
            agent: The agent, or None if there is none of this name: only callers of ``home_namespace`` are
                told so.
            home_namespace: The namespace of the runtime.

        Raises:
            CallerNotAllowedError: it may not. Reads the same whether or not the agent exists.
        """
        if not self.enforced:
            return
        caller = identify(uris, self._trust_domain)
        if caller is None:
            raise CallerNotAllowedError(agent_name)
        if agent is None:
            allowed = caller.namespace == home_namespace
        else:
            allowed = caller.namespace == agent.namespace or bool(
                {caller.namespace, EVERY_NAMESPACE} & set(agent.allowed_caller_namespaces)
            )
        if not allowed:
            raise CallerNotAllowedError(agent_name)
