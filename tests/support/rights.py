"""What a chart's roles allow, one permission at a time, and which of it a list of requests has used."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.audit import Request


@dataclass(frozen=True, slots=True, order=True)
class Permission:
    """``namespace`` empty: everywhere. ``name`` empty: every name."""

    namespace: str
    group: str
    resource: str
    verb: str
    name: str

    def covers(self, request: Request) -> bool:
        """Whether the request needs this permission (among others, perhaps)."""
        return (
            self.namespace in ("", request.namespace)
            and (self.group, self.resource) == (request.group, request.resource)
            and self.verb in _verbs(request)
            and self.name in ("", request.name)
        )


def permissions(documents: Iterable[dict[str, Any]]) -> set[Permission]:
    """Return everything that the Roles and ClusterRoles among these objects allow."""
    return {
        Permission(document["metadata"].get("namespace", ""), group, resource, verb, name)
        for document in documents
        if document["kind"] in ("Role", "ClusterRole")
        for rule in document["rules"]
        for group, resource, verb, name in product(
            rule["apiGroups"], rule["resources"], rule["verbs"], rule.get("resourceNames") or [""]
        )
    }


def _verbs(request: Request) -> set[str]:
    # Server-side apply of an object that is not there needs both.
    created = request.verb == "patch" and request.status == 201
    return {request.verb, "create"} if created else {request.verb}
