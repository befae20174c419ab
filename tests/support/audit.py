"""What the API server's audit log says: who asked for what, when, and whether he was allowed to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

_WRITES: Final = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True, slots=True)
class Request:
    """One request. ``resource`` has its subresource: ``agents/status``."""

    user: str
    verb: str
    group: str
    resource: str
    namespace: str
    name: str
    status: int
    received: datetime
    #: Whether RBAC allowed it.
    allowed: bool

    @property
    def writes(self) -> bool:
        """Whether it would change something."""
        return self.verb in _WRITES

    @property
    def lease(self) -> bool:
        """Whether it is about a Lease."""
        return self.resource == "leases"


def account(namespace: str, name: str) -> str:
    """Return the user name of a ServiceAccount."""
    return f"system:serviceaccount:{namespace}:{name}"


def requests_of(log: Path, user: str) -> list[Request]:
    """Return a user's requests in the order in which they came in; watches from their first answer on."""
    found: dict[str, Request] = {}
    with log.open() as lines:
        for line in lines:
            if f'"{user}"' not in line or not line.endswith("\n"):
                continue
            event = json.loads(line)
            if event["user"]["username"] == user and "objectRef" in event:
                found[event["auditID"]] = _request(event)
    return sorted(found.values(), key=lambda request: request.received)


def _request(event: dict[str, Any]) -> Request:
    target = event["objectRef"]
    resource = target["resource"] + (f"/{target['subresource']}" if "subresource" in target else "")
    return Request(
        user=event["user"]["username"],
        verb=event["verb"],
        group=target.get("apiGroup", ""),
        resource=resource,
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        status=event.get("responseStatus", {}).get("code", 0),
        received=datetime.fromisoformat(event["requestReceivedTimestamp"]),
        allowed=event.get("annotations", {}).get("authorization.k8s.io/decision") == "allow",
    )
