"""Reading the whole cluster: at the start, and now and then to notice what watches have missed.

A watch that had to start over (410) never tells of the objects that went meanwhile; this does.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aixgo_operator.api.constants import LABEL_MANAGED_BY, MANAGED_BY
from aixgo_operator.kube.errors import ForbiddenError, NotFoundError
from aixgo_operator.kube.resources import CHILD_KINDS, NAMESPACES, OPTIONAL_KINDS, OUR_KINDS, PODS
from aixgo_operator.reconcile.cache import ref_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aixgo_operator.domain.settings import OperatorSettings
    from aixgo_operator.kube.client import KubeClient
    from aixgo_operator.kube.resources import Manifest, Resource
    from aixgo_operator.reconcile.cache import Cache, Ref

#: Objects that are taken in without letting anything else run.
_BATCH: Final = 100
#: What the watches over children select on the server.
OUR_LABEL = f"{LABEL_MANAGED_BY}={MANAGED_BY}"


async def list_everything(
    client: KubeClient, cache: Cache, settings: OperatorSettings, *, may_lack: int = 0
) -> AsyncIterator[tuple[Resource, Manifest, bool]]:
    """Yield every object of interest with its kind; True at the end marks one of the cache that is gone.

    Page by page, so that not the whole cluster is in memory twice: namespaces, then our own, so that children
    find their owners. Raises ApiError; NotFoundError when more than ``may_lack`` of our kinds are not served:
    those have no objects.
    """
    for item in await _namespaces(client, settings):
        yield (NAMESPACES, item, False)
    for resource in (*OUR_KINDS, *CHILD_KINDS, *OPTIONAL_KINDS, PODS):
        selector = "" if resource in OUR_KINDS else OUR_LABEL
        listed: set[Ref] = set()
        try:
            for namespace in settings.watch_namespaces or (None,):
                async for item in _listed(client, resource, namespace, selector):
                    listed.add(ref_of(item))
                    yield (resource, item, False)
        except NotFoundError:
            if resource not in OUR_KINDS or may_lack <= 0:
                raise
            may_lack -= 1
        for known in list(cache.all_of(resource.kind)):
            if ref_of(known) not in listed and await _gone(client, resource, known):
                yield (resource, known, True)


async def _listed(
    client: KubeClient, resource: Resource, namespace: str | None, selector: str
) -> AsyncIterator[Manifest]:
    """Yield the objects of a kind, page by page; those that went while it was read may be among them."""
    try:
        async for page in client.pages(resource, namespace, label_selector=selector):
            while page:
                yield page.pop()
                if len(page) % _BATCH == 0:
                    await asyncio.sleep(0)
    except (NotFoundError, ForbiddenError):
        if resource not in OPTIONAL_KINDS:
            raise  # else the add-on is not installed, or its use is switched off


async def _gone(client: KubeClient, resource: Resource, known: Manifest) -> bool:
    """Whether an object that was not listed is gone: it may have been created after the list was read."""
    metadata = known["metadata"]
    current = await client.get(resource, metadata.get("namespace"), metadata["name"])
    return current is None or current["metadata"]["uid"] != metadata["uid"]


async def _namespaces(client: KubeClient, settings: OperatorSettings) -> list[Manifest]:
    if not settings.watch_namespaces:
        return await client.list_objects(NAMESPACES)
    found = []
    for name in settings.watch_namespaces:
        try:
            item = await client.get(NAMESPACES, None, name)
        except ForbiddenError:
            continue  # its labels stay unknown: consent by selector does not match it
        if item is not None:
            found.append(item)
    return found
