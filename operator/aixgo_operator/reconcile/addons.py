"""Kinds that exist only where an add-on is installed (cert-manager): is it, and has it come since?

The watches are chosen when they begin, so what is there is found out once, before. Whoever wants an add-on
that was not there waits for :meth:`Addons.have_come`, upon which the process begins anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aixgo_operator.api.constants import KIND_AGENT_RUNTIME
from aixgo_operator.kube.errors import ForbiddenError
from aixgo_operator.kube.resources import CERTIFICATES, OPTIONAL_KINDS, Resource

if TYPE_CHECKING:
    from aixgo_operator.domain.settings import OperatorSettings
    from aixgo_operator.kube.client import KubeClient
    from aixgo_operator.reconcile.cache import Cache


class Addons:
    """What :meth:`look` found. Before that nothing is there."""

    def __init__(self, client: KubeClient, cache: Cache, settings: OperatorSettings) -> None:
        self._client = client
        self._cache = cache
        self._namespace = next(iter(settings.watch_namespaces), None)
        #: Kinds that the API server has and the operator may use.
        self.installed: tuple[Resource, ...] = ()
        #: Kinds that it may not use; whether they are there it cannot tell.
        self.refused: tuple[Resource, ...] = ()

    async def look(self) -> None:
        """Ask for every optional kind. Raises ApiError."""
        installed, refused = [], []
        for resource in OPTIONAL_KINDS:
            try:
                if await self._client.installed(resource, self._namespace):
                    installed.append(resource)
            except ForbiddenError:
                refused.append(resource)
        self.installed, self.refused = tuple(installed), tuple(refused)

    async def have_come(self) -> bool:
        """Whether a kind that somebody wants can be used by now; nothing is asked if nobody wants one.

        Raises ApiError.
        """
        for resource in OPTIONAL_KINDS:
            if resource in self.installed or not self._wanted(resource):
                continue
            try:
                if await self._client.installed(resource, self._namespace):
                    return True
            except ForbiddenError:
                continue
        return False

    def _wanted(self, resource: Resource) -> bool:
        if resource != CERTIFICATES:
            return False
        specs = (manifest["spec"] for manifest in self._cache.all_of(KIND_AGENT_RUNTIME))
        return any((spec.get("tls") or {}).get("issuerRef") for spec in specs)
