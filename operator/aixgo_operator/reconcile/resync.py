"""Reading the whole cluster: at the start, and now and then to notice what watches have missed.

A watch that had to start over (410) never tells of the objects that went meanwhile; this does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aixgo_operator.api.constants import LABEL_MANAGED_BY, MANAGED_BY
from aixgo_operator.kube.errors import ForbiddenError, NotFoundError
from aixgo_operator.kube.resources import CHILD_KINDS, NAMESPACES, OPTIONAL_KINDS, OUR_KINDS, PODS
from aixgo_operator.reconcile.cache import ref_of

if TYPE_CHECKING:
    from aixgo_operator.domain.settings import OperatorSettings
    from aixgo_operator.kube.client import KubeClient
    from aixgo_operator.kube.resources import Manifest, Resource
    from aixgo_operator.reconcile.cache import Cache

#: What the watches over children select on the server.
OUR_LABEL = f"{LABEL_MANAGED_BY}={MANAGED_BY}"


async def list_everything(
    client: KubeClient, cache: Cache, settings: OperatorSettings
) -> list[tuple[Resource, Manifest, bool]]:
    """Return every object of interest with its kind; True at the end marks one of the cache that is gone.

    Our own kinds come first, so that children find their owners. Raises ApiError; NotFoundError when a CRD is
    missing.
    """
    found: list[tuple[Resource, Manifest, bool]] = []
    for resource in (*OUR_KINDS, *CHILD_KINDS, *OPTIONAL_KINDS, PODS):
        selector = "" if resource in OUR_KINDS else OUR_LABEL
        items: list[Manifest] = []
        for namespace in settings.watch_namespaces or (None,):
            items += await _listed(client, resource, namespace, selector)
        found += [(resource, item, False) for item in items]
        listed = {ref_of(item) for item in items}
        for known in list(cache.all_of(resource.kind)):
            if ref_of(known) not in listed and await _gone(client, resource, known):
                found.append((resource, known, True))
    return [*await _namespaces(client, settings), *found]


async def _listed(
    client: KubeClient, resource: Resource, namespace: str | None, selector: str
) -> list[Manifest]:
    try:
        return await client.list_objects(resource, namespace, label_selector=selector)
    except (NotFoundError, ForbiddenError):
        if resource in OPTIONAL_KINDS:
            return []  # the add-on is not installed, or its use is switched off
        raise


async def _gone(client: KubeClient, resource: Resource, known: Manifest) -> bool:
    """Whether an object that was not listed is gone: it may have been created after the list was read."""
    metadata = known["metadata"]
    current = await client.get(resource, metadata.get("namespace"), metadata["name"])
    return current is None or current["metadata"]["uid"] != metadata["uid"]


async def _namespaces(
    client: KubeClient, settings: OperatorSettings
) -> list[tuple[Resource, Manifest, bool]]:
    if not settings.watch_namespaces:
        return [(NAMESPACES, item, False) for item in await client.list_objects(NAMESPACES)]
    found = []
    for name in settings.watch_namespaces:
        try:
            item = await client.get(NAMESPACES, None, name)
        except ForbiddenError:
            continue  # its labels stay unknown: consent by selector does not match it
        if item is not None:
            found.append((NAMESPACES, item, False))
    return found
