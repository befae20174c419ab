"""The operator's client of the API server: few verbs, plain dictionaries, server-side apply."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

from aixgo_operator.api.constants import FIELD_MANAGER
from aixgo_operator.kube.calls import Caller
from aixgo_operator.kube.errors import AlreadyExistsError, ApiError, NotFoundError, NotLeadingError
from aixgo_operator.kube.resources import EVENTS, Manifest, Resource, resource_of, with_type
from aixgo_operator.kube.slim import slim

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

log = logging.getLogger(__name__)

#: Objects per page of a list.
PAGE: Final = 500

#: What every write says of itself. No warnings of unknown fields: nobody reads them, and to find them the API
#: server decodes each body a second time.
_OURS: Final = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Ignore"}

_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"


class KubeClient(Protocol):
    """What the operator does with the API server. Every method raises
    :class:`~aixgo_operator.kube.errors.ApiError`."""

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Manifest | None:
        """Return the object, or None if there is none."""

    async def list_objects(
        self, resource: Resource, namespace: str | None = None, *, label_selector: str = ""
    ) -> list[Manifest]:
        """Return all objects of a kind, :func:`~aixgo_operator.kube.slim.slim`.

        Raises NotFoundError when the kind is not installed.
        """

    def pages(
        self, resource: Resource, namespace: str | None = None, *, label_selector: str = ""
    ) -> AsyncIterator[list[Manifest] | None]:
        """Yield the same page by page. None: it begins again, and what came before does not count."""

    async def installed(self, resource: Resource, namespace: str | None = None) -> bool:
        """Whether the API server has the kind. Raises ForbiddenError when it may not be asked."""

    async def create(self, manifest: Manifest) -> Manifest:
        """Create the object. Raises AlreadyExistsError when there is one of that name."""

    async def replace(self, manifest: Manifest) -> Manifest:
        """Replace the object that has the manifest's resourceVersion. Raises ConflictError when it moved
        on."""

    async def apply(self, manifest: Manifest, *, force: bool = True) -> Manifest:
        """Server-side apply as the operator. A ``metadata.uid`` in the manifest is a precondition."""

    async def replace_status(self, manifest: Manifest, status: Manifest) -> Manifest | None:
        """Replace the ``/status`` of the object in the manifest's version. Returns None when it is gone.

        Raises ConflictError when it moved on.
        """

    async def delete(
        self, resource: Resource, namespace: str, name: str, *, uid: str, orphan: bool = False
    ) -> None:
        """Delete the object in the background if it still has that uid. An object that is gone is fine.

        ``orphan``: what it controls stays.
        """

    async def annotate(
        self, resource: Resource, namespace: str, name: str, annotations: Mapping[str, str | None]
    ) -> Manifest | None:
        """Set (or with None remove) annotations. Returns None when the object is gone."""

    async def set_finalizers(
        self, resource: Resource, namespace: str, name: str, finalizers: list[str], *, resource_version: str
    ) -> Manifest | None:
        """Replace the finalizers if the object has not changed since. Returns None when the object is
        gone."""

    async def create_event(
        self, involved: Manifest, *, kind: str, reason: str, message: str, timestamp: str, name: str
    ) -> None:
        """Record an Event of type ``kind`` (Normal, Warning) about an object. A failure is logged, never
        raised."""


class ApiServerClient(Caller):
    """:class:`KubeClient` over HTTPS."""

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Manifest | None:
        """See :meth:`KubeClient.get`."""
        try:
            return await self._call("GET", resource, resource.path(namespace, name))
        except NotFoundError:
            return None

    async def list_objects(
        self, resource: Resource, namespace: str | None = None, *, label_selector: str = ""
    ) -> list[Manifest]:
        """See :meth:`KubeClient.list_objects`."""
        items: list[Manifest] = []
        async for page in self.pages(resource, namespace, label_selector=label_selector):
            items = [] if page is None else items + page
        return items

    async def pages(
        self, resource: Resource, namespace: str | None = None, *, label_selector: str = ""
    ) -> AsyncIterator[list[Manifest] | None]:
        """See :meth:`KubeClient.pages`."""
        first = {"limit": str(PAGE)} | ({"labelSelector": label_selector} if label_selector else {})
        params = first
        while True:
            try:
                page = await self._call("GET", resource, resource.path(namespace), params=params)
            except ApiError as error:
                if error.status != 410 or "continue" not in params:
                    raise
                # The pages took so long that their common state is forgotten: from the beginning.
                params = first
                yield None
                continue
            token = (page.get("metadata") or {}).get("continue")
            yield [slim(with_type(resource, item)) for item in page.pop("items", None) or ()]
            if not token:
                return
            params = first | {"continue": token}

    async def installed(self, resource: Resource, namespace: str | None = None) -> bool:
        """See :meth:`KubeClient.installed`."""
        try:
            await self._call("GET", resource, resource.path(namespace), params={"limit": "1"})
        except NotFoundError:
            return False
        return True

    async def create(self, manifest: Manifest) -> Manifest:
        """See :meth:`KubeClient.create`."""
        resource = resource_of(manifest)
        path = resource.path(manifest["metadata"].get("namespace"))
        return await self._call("POST", resource, path, body=manifest, params=_OURS)

    async def replace(self, manifest: Manifest) -> Manifest:
        """See :meth:`KubeClient.replace`."""
        resource, metadata = resource_of(manifest), manifest["metadata"]
        path = resource.path(metadata.get("namespace"), metadata["name"])
        return await self._call("PUT", resource, path, body=manifest, params=_OURS)

    async def apply(self, manifest: Manifest, *, force: bool = True) -> Manifest:
        """See :meth:`KubeClient.apply`."""
        resource, metadata = resource_of(manifest), manifest["metadata"]
        path = resource.path(metadata.get("namespace"), metadata["name"])
        return await self._patch(resource, path, manifest, _APPLY, force=force)

    async def replace_status(self, manifest: Manifest, status: Manifest) -> Manifest | None:
        """See :meth:`KubeClient.replace_status`."""
        resource, metadata = resource_of(manifest), manifest["metadata"]
        path = resource.path(metadata["namespace"], metadata["name"], "status")
        # As a whole: only the status is taken from it, but what is left out loses its owner (a finalizer).
        body = manifest | {"status": status}
        try:
            return await self._call("PUT", resource, path, body=body, params=_OURS)
        except NotFoundError:
            return None

    async def delete(
        self, resource: Resource, namespace: str, name: str, *, uid: str, orphan: bool = False
    ) -> None:
        """See :meth:`KubeClient.delete`."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Orphan" if orphan else "Background",
            "preconditions": {"uid": uid},
        }
        try:
            await self._call("DELETE", resource, resource.path(namespace, name), body=body)
        except NotFoundError:
            return

    async def annotate(
        self, resource: Resource, namespace: str, name: str, annotations: Mapping[str, str | None]
    ) -> Manifest | None:
        """See :meth:`KubeClient.annotate`."""
        body = {"metadata": {"annotations": dict(annotations)}}
        try:
            return await self._patch(resource, resource.path(namespace, name), body, _MERGE)
        except NotFoundError:
            return None

    async def set_finalizers(
        self, resource: Resource, namespace: str, name: str, finalizers: list[str], *, resource_version: str
    ) -> Manifest | None:
        """See :meth:`KubeClient.set_finalizers`."""
        body = {"metadata": {"finalizers": finalizers, "resourceVersion": resource_version}}
        try:
            return await self._patch(resource, resource.path(namespace, name), body, _MERGE)
        except NotFoundError:
            return None

    async def create_event(
        self, involved: Manifest, *, kind: str, reason: str, message: str, timestamp: str, name: str
    ) -> None:
        """See :meth:`KubeClient.create_event`."""
        metadata = involved["metadata"]
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": metadata["namespace"]},
            "involvedObject": {
                "apiVersion": involved["apiVersion"],
                "kind": involved["kind"],
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata.get("uid"),
                "resourceVersion": metadata.get("resourceVersion"),
            },
            "type": kind,
            "reason": reason,
            "message": message[:1024],
            "source": {"component": FIELD_MANAGER},
            "reportingComponent": FIELD_MANAGER,
            "firstTimestamp": timestamp,
            "lastTimestamp": timestamp,
            "count": 1,
        }
        try:
            path = EVENTS.path(metadata["namespace"])
            await self._call("POST", EVENTS, path, body=body, params=_OURS, deadline=5.0)
        except NotLeadingError:
            raise
        except AlreadyExistsError:
            return  # it was told before
        except Exception as error:  # noqa: BLE001  an Event is a courtesy: losing one must not fail a reconcile
            # Of an object whose namespace is going away nobody is left to tell.
            level = logging.DEBUG if "being terminated" in str(error) else logging.WARNING
            log.log(level, "event not recorded", extra={"reason": reason, "error": str(error)})

    async def _patch(
        self, resource: Resource, path: str, body: Manifest, content_type: str, *, force: bool | None = None
    ) -> Manifest:
        params = _OURS if force is None else _OURS | {"force": "true" if force else "false"}
        return await self._call("PATCH", resource, path, body=body, params=params, content_type=content_type)
